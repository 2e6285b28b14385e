"""What an outage watch comes to in numbers: gaps of a path, stalls of the machines that watched it.

Clocks differ between nodes. A client's times are its node's; they are compared with another machine's by what
was read of both at once (:class:`~pytest_k8snet.evidence.outage.Clock`), give or take what that took. Where
a clock was never read, any two moments may be the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from pytest_k8snet.evidence.outage import (
    KINDS,
    LIMIT,
    PATIENCE,
    Attempt,
    Beat,
    Clock,
    OutageLab,
    PathWatched,
    Watched,
)
from pytest_k8snet.evidence.reading import NotObserved, Reading

#: What TCP makes of an outage on a held connection: what was lost is sent again after a first wait (0.2 s and
#: more by Linux), then after twice that, and so on (RFC 6298, 5.5). The first time that is after the outage
#: comes before the outage has lasted once more and one such wait.
AGAIN = 0.5  #: seconds of that first wait, on a slow machine


@dataclass(frozen=True)
class Gap:
    """Losses in a row, or one answer on the held connection that came late (``lost`` 0).

    Times are the client's clock, in seconds since the epoch.
    """

    kind: str
    start: float  #: when the last attempt was sent that was answered before
    end: float | None  #: when the first one was sent that was answered after; None: it never was again
    lost: int
    seconds: float  #: between the two, less the interval that is between any two
    #: Seconds at its end in which nothing was sent: on the held connection, those for which the last lost
    #: answer was awaited.
    waited: float = 0.0

    @property
    def certain(self) -> float:
        """Seconds for which the path was broken at least. Where a connection is held the path may be whole
        again long before anything is sent over it: see :data:`AGAIN`. An answer that never came, too, was
        asked for again and again, unless it was a SYN: that is given up before TCP repeats it."""
        if self.kind == "new":
            return self.seconds
        if not self.lost:
            return max(0.0, (self.seconds - AGAIN) / 2)
        return self.seconds - self.waited + max(0.0, (self.waited - LIMIT) / 2)


@dataclass(frozen=True)
class Stall:
    """A machine that did not run."""

    place: str
    late: float  #: seconds
    close: bool = True  #: whether its clock is known, so that this was then


@dataclass(frozen=True)
class Stretch:
    """What one path and kind did from the command's beginning on."""

    kind: str
    attempts: tuple[Attempt, ...]  #: sent since then, or under way then
    gaps: tuple[Gap, ...]

    @property
    def lost(self) -> int:
        return sum(attempt.took is None for attempt in self.attempts)

    @property
    def longest(self) -> Gap | None:
        return max(self.gaps, key=lambda gap: gap.seconds, default=None)

    @property
    def slowest(self) -> Gap | None:
        """The answer that took longest."""
        took = [(attempt.took, attempt.sent) for attempt in self.attempts if attempt.took is not None]
        if not took:
            return None
        seconds, sent = max(took)
        return Gap(self.kind, sent, sent + seconds, 0, seconds)

    @property
    def remade(self) -> int:
        """How often the held connection was made anew."""
        ports = [attempt.port for attempt in self.attempts if attempt.port]
        return sum(one != other for one, other in pairwise(ports))


class Timeline:
    """One path of a watch. Raises NotObserved, on first use, where its client or the command said nothing."""

    def __init__(self, lab: OutageLab, path: str) -> None:
        self.lab = lab
        self.watched: PathWatched = next(watched for watched in lab.paths if watched.path == path)

    @property
    def said(self) -> Watched:
        return self.watched.client_said.get()

    @cached_property
    def began(self) -> float:
        """The command's beginning by the client's clock, as early as it may have been."""
        command = self.lab.command.get()  # where it was not run, that is the cause, and no clock was kept
        clock = self._clock(self.watched.client_node.name)
        if math.isinf(clock.error):
            raise NotObserved(
                f"the clock of {clock.place} was never read: nothing tells when the command began there",
                node=clock.place,
                command=self.watched.client_said.command,
                advice=f"see why the client on {clock.place} did not answer SIGUSR1",
            )
        return command.began + clock.offset - clock.error

    @cached_property
    def ended(self) -> float:
        """The command's end, as late as it may have been."""
        clock = self._clock(self.watched.client_node.name)
        return self.lab.command.get().ended + clock.offset + clock.error

    def since(self, moment: float) -> str:
        """A moment by the client's clock: "+2.31 s"."""
        return f"{moment - self.began:+.2f} s"

    def stretch(self, kind: str) -> Stretch:
        return self._stretches[kind]

    @cached_property
    def _stretches(self) -> dict[str, Stretch]:
        return {kind: self._stretch(kind) for kind in KINDS}

    def _stretch(self, kind: str) -> Stretch:
        mine = [a for a in self.said.attempts if (a.path, a.kind) == (self.watched.path, kind)]
        found = tuple(gaps(mine, self.began, self.lab.interval))
        first = min((gap.start for gap in found), default=self.began)
        counted = [a for a in mine if (first < a.sent if a.took is None else self.began <= a.sent + a.took)]
        return Stretch(kind, tuple(counted), found)

    def silence(self) -> tuple[float, float]:
        """The longest time without a new connection being tried, beyond the interval: (when, seconds)."""
        sent = [a.sent for a in self.said.attempts if (a.path, a.kind) == (self.watched.path, "new")]
        before = [moment for moment in sent if moment < self.began][-1:]  # it may have paused from there on
        during = before + [moment for moment in sent if moment >= self.began]
        longest = max(((later - sooner, sooner) for sooner, later in pairwise(during)), default=None)
        if longest is None:
            return self.began, math.inf
        return longest[1], max(0.0, longest[0] - self.lab.interval)

    def stall(self, gap: Gap) -> Stall | None:
        """The longest stall of a machine on the path that may account for ``gap``: it fell into that time, or
        into that of the last answers that were awaited, and was longer than half of it."""
        mine = self._clock(self.watched.client_node.name)
        awaited = 0.0 if not gap.lost else LIMIT if gap.kind == "new" else PATIENCE
        end = (self.said.ended if gap.end is None else gap.end) + awaited
        found = []
        for place in places(self.watched):
            clock = self._clock(place)
            margin = 0.0 if place == mine.place else mine.error + clock.error
            ahead = 0.0 if math.isinf(margin) else clock.offset - mine.offset
            for beat in self._beats(place):
                due = beat.due - ahead
                if (
                    beat.late > gap.seconds / 2
                    and due - margin < end
                    and due + beat.late + margin > gap.start
                ):
                    found.append(Stall(place, beat.late, not math.isinf(margin)))
        return max(found, key=lambda stall: stall.late, default=None)

    def _clock(self, place: str) -> Clock:
        unknown = Clock(place, 0.0, math.inf)
        return next((clock for clock in self.lab.clocks if clock.place == place), unknown)

    def _beats(self, place: str) -> Iterator[Beat]:
        for reading in controls(self.lab, place):
            yield from reading.get().beats


def places(watched: PathWatched) -> tuple[str, ...]:
    """The machines that a path's packets pass."""
    nodes = (watched.client_node, watched.entry, watched.target.node)
    return tuple(dict.fromkeys(node.name for node in nodes))


def controls(lab: OutageLab, place: str) -> list[Reading[Watched]]:
    """All that beat on one machine: a control, or the clients there."""
    found = [reading for name, reading in lab.controls if name == place]
    clients = {id(p.client_said): p.client_said for p in lab.paths if p.client_node.name == place}
    return found + list(clients.values())


def gaps(attempts: Sequence[Attempt], began: float, interval: float) -> Iterator[Gap]:
    """The gaps of one path and kind, ``attempts`` in the order in which they were sent; those that had ended
    before ``began`` left out."""
    before = attempts[0].sent - interval if attempts else 0.0
    lost: list[Attempt] = []
    for attempt in attempts:
        if attempt.took is None:
            lost.append(attempt)
            continue
        if lost and attempt.sent >= began:
            seconds, waited = (attempt.sent - sent - interval for sent in (before, lost[-1].sent))
            yield Gap(attempt.kind, before, attempt.sent, len(lost), seconds, max(0.0, waited))
        lost, before = [], attempt.sent
    if lost:
        yield Gap(lost[0].kind, before, None, len(lost), lost[-1].sent - before)


def felt(seconds: float) -> float:
    """The longest that an answer on a held connection may take over a path that is broken for ``seconds``."""
    return 2 * seconds + AGAIN
