"""What clients said that sent over every path while an upgrade ran (pure).

A client (``probes/outage_client.py``) prints one line, its fields separated by tabs, for each of these::

    start  EPOCH  INTERVAL                             the first; seconds since the epoch, seconds
    a      PATH  KIND  SENT  TOOK|-  PORT  ERROR       a finished attempt; ms since EPOCH, ms
    b      DUE  LATE                                   a beat that came late; ms since EPOCH, ms
    end    WHEN  BEATS  ATTEMPTS  LATE                 the last; ms, and how many of each there were

The machine that runs pytest keeps its own part (:class:`Alongside`) as one JSON object.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, TypeVar

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.lines import port as read_port
from pytest_k8snet.evidence.observations import NodeEvidence, PodEvidence
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.raw_captures import RawCapture
from pytest_k8snet.evidence.reading import Reading

T = TypeVar("T")

#: "pod": pod-src -> pod-dest; "clusterip": pod-src -> svc-clusterip; "nodeport": master -> node2's NodePort.
PATHS = ("pod", "clusterip", "nodeport")
KINDS = ("new", "held")  #: a connection for each request; one connection for all of them

INTERVAL = 0.05  #: seconds between two requests of a path and kind
#: Seconds within which the whole answer on a new connection must be there. A lost SYN is sent again after one
#: second (RFC 6298, 2.1): below that, no retransmission of it hides the loss.
LIMIT = 0.9
#: Likewise on the held connection. TCP sends again what was lost there after 0.2, 0.6, 1.4, 3.0 s: such an
#: answer is late, and nothing is lost. After these seconds the connection is given up and made anew.
PATIENCE = 5.0
#: Source ports of the held connections, below the ports that Linux takes by itself
#: (net.ipv4.ip_local_port_range begins at 32768): the first free one, and another for each new connection.
HELD_PORTS = {
    "pod": range(20100, 20110),
    "clusterip": range(20110, 20120),
    "nodeport": range(20120, 20130),
}
#: Seconds by which a beat must be late to be told.
LATE = 0.02

WHAT = "outage client"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of a client. Times are the client's clock, in seconds since the epoch."""

    path: str
    kind: str
    sent: float  #: when it was sent
    took: float | None  #: seconds until its whole answer; None: none came in time
    port: int = 0  #: the client's, 0 where it got none
    error: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat of a control that came late: a clock that should tick every 50 ms and asks nobody but its own
    machine."""

    place: str  #: node name; "" for the machine that runs pytest
    due: float  #: seconds since the epoch
    late: float  #: seconds by which it came too late


@dataclass(frozen=True)
class Watched:
    """All that one client process said."""

    attempts: tuple[Attempt, ...]  #: in the order in which they were sent
    beats: tuple[Beat, ...]  #: those that were late by :data:`LATE` or more
    began: float = 0.0  #: seconds since the epoch
    ended: float = 0.0
    beaten: int = 0  #: how many beats there were, late or not


@dataclass(frozen=True)
class Command:
    """The user's command, as it ended."""

    text: str
    exit_status: int
    began: float  #: seconds since the epoch, by the clock of the machine that runs pytest
    ended: float
    tail: str = ""  #: the last lines of what it printed


@dataclass(frozen=True, slots=True)
class Clock:
    """A node's clock beside that of the machine that runs pytest, as a question and its answer showed it."""

    place: str  #: node name
    offset: float  #: seconds by which it is ahead
    error: float  #: give or take


@dataclass(frozen=True)
class Alongside:
    """What the machine that runs pytest kept of a watch."""

    command: Command
    control: Watched  #: beats only
    clocks: tuple[Clock, ...]

    def written(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True)
class PathWatched:
    """One path: who sent, and to where."""

    path: str
    client: str  #: "pod-src", or the master's name
    client_node: NodeEvidence
    client_ip: IPAddress
    asked_ip: IPAddress
    asked_port: int
    target: PodEvidence
    target_port: int
    client_said: Reading[Watched]
    entry: NodeEvidence  #: where an address is translated: the client's node, or that whose port is asked


@dataclass(frozen=True)
class OutageLab:
    paths: tuple[PathWatched, ...]
    command: Reading[Command]
    controls: tuple[tuple[str, Reading[Watched]], ...]  #: by place; beats only
    interval: float  #: seconds between two requests of a client
    clocks: tuple[Clock, ...] = ()  #: at most one a node
    captures: tuple[RawCapture, ...] = ()  #: of all paths: SYNs, and what the held connections carry


def parse_watched(said: str | bytes, place: str, what: str = WHAT) -> Watched:
    """All that a client on node ``place`` printed.

    Raises ParseError for anything that does not add up: a client that was killed has no last line, and
    output that was cut has fewer lines than the last one counts.
    """
    lines = (said.decode(errors="backslashreplace") if isinstance(said, bytes) else said).split("\n")
    if len(lines) < 3 or lines.pop():
        raise ParseError(what, "it is cut: no whole first and last line", lines[-1] if lines else "")
    first, last = lines[0].split("\t"), lines[-1].split("\t")
    if first[0] != "start" or len(first) != 3:
        raise ParseError(what, "it does not begin with 'start EPOCH INTERVAL'", lines[0])
    if last[0] != "end" or len(last) != 5:
        raise ParseError(what, "it is cut: it does not end with its totals", lines[-1])
    began = _number(what, first[1])
    attempts, beats = [], []
    for line in islice(lines, 1, len(lines) - 1):
        fields = line.split("\t")
        if fields[0] == "a" and len(fields) == 7:
            attempts.append(_attempt(what, fields, began))
        elif fields[0] == "b" and len(fields) == 3:
            due, late = (_number(what, word) / 1000 for word in fields[1:])
            beats.append(Beat(place, began + due, late))
        else:
            raise ParseError(what, "neither an attempt nor a beat", line)
    ended = began + _number(what, last[1]) / 1000
    beaten, *counted = (_each(what, word, int) for word in last[2:])
    if counted != [len(attempts), len(beats)]:
        raise ParseError(
            what,
            f"it is cut: {len(attempts)} attempts and {len(beats)} late beats arrived of {counted[0]} and "
            f"{counted[1]}",
        )
    if beaten < len(beats) or any(attempt.sent > ended for attempt in attempts):
        raise ParseError(what, "its last line contradicts those before", lines[-1])
    attempts.sort(key=lambda attempt: attempt.sent)
    return Watched(tuple(attempts), tuple(beats), began, ended, beaten)


def parse_alongside(said: bytes) -> Alongside:
    """The inverse of :meth:`Alongside.written`. Raises ParseError."""
    what = "outage watch"
    try:
        fields = json.loads(said)
        control = fields["control"]
        return Alongside(
            command=Command(**fields["command"]),
            control=Watched(
                attempts=(),
                beats=tuple(Beat(**beat) for beat in control["beats"]),
                began=_number(what, control["began"]),
                ended=_number(what, control["ended"]),
                beaten=_each(what, control["beaten"], int),
            ),
            clocks=tuple(Clock(**clock) for clock in fields["clocks"]),
        )
    except ParseError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        problem = f"not what a watch keeps ({type(error).__name__}: {error})"
        raise ParseError(what, problem, said[:80].decode(errors="replace")) from None


def _attempt(what: str, fields: list[str], began: float) -> Attempt:
    _, path, kind, sent, took, port, error = fields
    if path not in PATHS or kind not in KINDS:
        raise ParseError(what, "an unknown path or kind", "\t".join(fields))
    if (took == "-") != bool(error):
        raise ParseError(what, "an attempt is answered or has an error", "\t".join(fields))
    return Attempt(
        PATHS[PATHS.index(path)],  # one string, not one for each of an hour's hundreds of thousands
        KINDS[KINDS.index(kind)],
        began + _number(what, sent) / 1000,
        None if took == "-" else _number(what, took) / 1000,
        _each(what, port, read_port),
        error,
    )


def _number(what: str, word: Any) -> float:
    """A finite number, not below zero."""
    number = _each(what, word, float)
    if not math.isfinite(number) or number < 0:
        raise ParseError(what, "no number that can be", word)
    return number


def _each(what: str, word: Any, kind: Callable[[Any], T]) -> T:
    try:
        return kind(word)
    except (ValueError, TypeError):
        raise ParseError(what, "not a number", word) from None
