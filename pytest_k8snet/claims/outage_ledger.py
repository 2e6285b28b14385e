"""The ledger of an outage: the packets around a path's longest gap, and where they ended.

::

    6 SYNs of the gap were seen on k8s-node2 calia5814ebbae9 and eth1 and not on k8s-node1 eth1: lost between
    k8s-node2 and k8s-node1
    points: 1 k8s-node2 calia5814ebbae9, 2 k8s-node2 eth1, 3 k8s-node1 eth1, 4 k8s-node1 calib8c6d5407e3; ms
    since the gap began, by the clock of k8s-node2
      ms   port  1              2              3              4
     -50  40000  SYN SYN/ACK    SYN SYN/ACK    SYN SYN/ACK    SYN SYN/ACK    answered in 1.3 ms
      +0  40002  SYN            SYN            -              -              no answer within 0.9 s
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_k8snet.claims.matchers import address_and_port, describe_end
from pytest_k8snet.claims.outage_held import sent_again
from pytest_k8snet.claims.outage_sightings import LONGEST, Sightings, Trail
from pytest_k8snet.evidence.outage import OutageLab
from pytest_k8snet.evidence.packets import Packet

LINES = 40  #: of a ledger at most
NOTHING = "no attempt on a new connection failed in the gap"
AGAIN = 8  #: of them at most for what held connections sent again

#: ICMP's errors by type and code, in the words of their RFCs (792, 1812, 4443).
ERRORS = {
    4: {
        (3, 0): "net unreachable",
        (3, 1): "host unreachable",
        (3, 3): "port unreachable",
        (3, 4): "fragmentation needed",
        (3, 9): "network administratively prohibited",
        (3, 10): "host administratively prohibited",
        (3, 13): "communication administratively prohibited",
        (11, 0): "time to live exceeded",
    },
    6: {
        (1, 0): "no route to destination",
        (1, 1): "communication administratively prohibited",
        (1, 3): "address unreachable",
        (1, 4): "port unreachable",
        (2, 0): "packet too big",
        (3, 0): "hop limit exceeded",
    },
}


@dataclass(frozen=True)
class Ending:
    """Where lost attempts of a gap ended.

    ``kind``: "unsent" (no SYN came from the client), "lost" (between ``last`` and ``missing``), "diverted"
    (sent or translated to somewhere else), "refused" (by RST), "error" (by ICMP), "unanswered" (pod-dest got
    it), "answer lost" (between ``last`` and ``missing``), "stranger" (the answer comes from another address
    than was asked), "connected" (the SYN was answered, what came later was lost), "untold".
    """

    kind: str
    count: int  #: attempts
    sentence: str
    last: str = ""  #: "k8s-node2 eth1", the last point that shows it
    missing: str = ""  #: the first point after that which certainly does not


@dataclass(frozen=True)
class _End:
    kind: str
    last: int | None = None
    missing: int | None = None
    detail: str = ""
    seen: tuple[int, ...] = ()  #: the steps that show the SYN


def lines(lab: OutageLab, path: str, start: float, end: float) -> list[str]:
    """The ledger around the gap of ``path`` from ``start`` to ``end`` (seconds since the epoch, by the
    client's clock), at most :data:`LINES` lines; the first says where packets ended.

    In the table a point shows "SYN", "SYN/ACK", "RST" or "ICMP"; "-" where it certainly shows nothing of the
    attempt, "?" where its capture can't tell.
    """
    sightings = Sightings(lab, path, start, end)
    ended = [ending.sentence for ending in _endings(sightings)] or [NOTHING]
    listed = [*ended, *_doubts(sightings), _legend(sightings)]
    heading, again = sent_again(sightings)
    again = _cut(again, AGAIN)
    numbers = [str(number) for number, _ in enumerate(sightings.steps, 1)]
    room = LINES - len(listed) - len(heading) - len(again) - 1
    rows = _cut([_row(sightings, trail) for trail in sightings.trails], room)
    table = _aligned([["ms", "port", *numbers, ""], *rows, heading, *again])
    return [*listed, *table]


def where_lost(lab: OutageLab, path: str, start: float, end: float) -> tuple[Ending, ...]:
    """The same as data: where the attempts of the gap ended that failed, most of them first."""
    return _endings(Sightings(lab, path, start, end))


def _endings(sightings: Sightings) -> tuple[Ending, ...]:
    counted = Counter(_end(sightings, trail) for trail in sightings.lost)
    found = []
    for end, count in counted.most_common():
        sentence = _sentence(sightings, end, count)
        if sightings.cut:
            sentence += f" (in its first {LONGEST:.0f} s)"
        last, missing = (
            "" if step is None else sightings.steps[step].where for step in (end.last, end.missing)
        )
        found.append(Ending(end.kind, count, sentence, last, missing))
    return tuple(found)


def _end(sightings: Sightings, trail: Trail) -> _End:
    """Where one attempt ended, by the last that is certain of it."""
    final = len(sightings.steps) - 1
    if any(trail.resets):
        step = max(_shown(trail.resets))
        return _End("refused", step, detail=str(trail.resets[step][0].ip.src))
    if any(trail.answers):
        return _end_of_answer(sightings, trail)
    if any(trail.errors):
        step = max(_shown(trail.errors))
        return _End("error", step, detail=_error(trail.errors[step][0]))
    if not any(trail.syns):
        return _End("unsent", missing=0) if sightings.silent(0) else _End("untold")
    seen = tuple(_shown(trail.syns))
    last = seen[-1]
    if detour := _detour(sightings, last, trail.syns[last][-1]):
        return _End("diverted", last, detail=detour, seen=seen)
    if last == final:
        return _End("unanswered" if sightings.silent(final, answers=True) else "untold", last)
    for step in range(last + 1, final + 1):
        if sightings.silent(step):
            return _End("lost", last, step, seen=seen)
    return _End("untold", last)


def _end_of_answer(sightings: Sightings, trail: Trail) -> _End:
    last = min(_shown(trail.answers))
    if last == 0:
        source = describe_end(trail.answers[0][0], "src")
        asked = address_and_port(*sightings.asked)
        return _End("connected" if source == asked else "stranger", 0, detail=source)
    for step in range(last - 1, -1, -1):
        if sightings.silent(step, answers=True):
            return _End("answer lost", last, step)
    return _End("untold", last, detail="SYN/ACK")


def _shown(found: Sequence[Sequence[Packet]]) -> list[int]:
    return [step for step, packets in enumerate(found) if packets]


def _detour(sightings: Sightings, step: int, syn: Packet) -> str:
    """Where a SYN went instead of to pod-dest, by its last sighting; "" where it was on its way."""
    target, node = sightings.watched.target, sightings.watched.target.node
    uplink = node.uplink.value
    for tunnel in syn.tunnels:
        if uplink is not None and tunnel.outer.dst != uplink.ip:
            return f"encapsulated toward {tunnel.outer.dst} instead of {node.name} ({uplink.ip})"
    address, port = sightings.target
    there = syn.ip.dst, syn.tcp.dport if syn.tcp else 0
    if address is None or there == (address, port):
        return ""
    goal = f"{target.pod.name} ({address_and_port(address, port)})"
    if there != sightings.asked:
        return f"translated to {describe_end(syn, 'dst')} instead of {goal}"
    left = sightings.steps[step].capture.id == "source-uplink" and sightings.watched.path == "clusterip"
    return f"sent on to {describe_end(syn, 'dst')}, not translated to {goal}" if left else ""


def _sentence(sightings: Sightings, end: _End, count: int) -> str:
    steps, watched = sightings.steps, sightings.watched
    pod = watched.target.pod.name
    subject = f"{count} SYN{'s' if count > 1 else ''} of the gap {'were' if count > 1 else 'was'}"
    attempts = f"{count} attempt{'s' if count > 1 else ''} of the gap"
    if end.kind == "unsent":
        return f"{attempts} never left {watched.client}: {steps[0].where} shows no SYN"
    if end.last is None:
        return f"{attempts} failed, and whether they sent a SYN can't be told: {_doubt(sightings, 0)}"
    where = steps[end.last].where
    if end.kind == "refused":
        return f"{subject} refused: RST from {end.detail}, first seen on {where}"
    if end.kind == "error":
        return f"{subject} answered by {end.detail}, first seen on {where}"
    if end.kind == "diverted":
        return f"{subject} seen on {_places(sightings, end.seen)}, {end.detail}"
    if end.kind == "unanswered":
        return f"{subject} seen as far as {where}: they reached {pod}, which did not answer"
    if end.kind == "connected":
        return f"{subject} answered, and {where} shows the answer: what was lost came after the handshake"
    if end.kind == "stranger":
        asked = address_and_port(*sightings.asked)
        return f"{subject} answered from {end.detail} instead of {asked}: the translation was not undone"
    if end.kind == "untold":
        back = bool(end.detail)
        others = range(end.last - 1, -1, -1) if back else range(end.last + 1, len(steps))
        told = [_doubt(sightings, step, answers=back) for step in others]
        told = told or [_doubt(sightings, end.last, answers=True)]
        what = f"answered, and the answer seen on {where}" if back else f"last seen on {where}"
        return f"{subject} {what}; what came of it can't be told: {'; '.join(told)}"
    assert end.missing is not None
    missing = f"{steps[end.missing].where}: lost {_between(sightings, end.last, end.missing)}"
    if end.kind == "answer lost":
        return f"{subject} answered; the answer came back to {where} and not to {missing}"
    return f"{subject} seen on {_places(sightings, end.seen)} and not on {missing}"


def _places(sightings: Sightings, seen: Iterable[int]) -> str:
    """The points of some steps, by node: "k8s-node2 calia5814ebbae9 and eth1, k8s-node1 eth1"."""
    by_node: dict[str, list[str]] = {}
    for step in (sightings.steps[number] for number in seen):
        by_node.setdefault(step.capture.node, []).append(step.interface)
    return ", ".join(f"{node} {' and '.join(names)}" for node, names in by_node.items())


def _between(sightings: Sightings, one: int, other: int) -> str:
    nodes = list(dict.fromkeys(sightings.steps[step].capture.node for step in (one, other)))
    return f"inside {nodes[0]}" if len(nodes) == 1 else f"between {' and '.join(nodes)}"


def _doubt(sightings: Sightings, step: int, *, answers: bool = False) -> str:
    """Why it proves nothing that ``step`` shows no SYN, or no SYN/ACK."""
    nothing = f"no {'SYN/ACK' if answers else 'SYN'} of this path around the gap either"
    return f"{sightings.steps[step].where}: {sightings.problem(step) or nothing}"


def _doubts(sightings: Sightings) -> list[str]:
    """The points whose captures can't prove an absence, once each."""
    doubtful = {each.capture.where: sightings.problem(step) for step, each in enumerate(sightings.steps)}
    return [f"the silence of {where} proves nothing: {why}" for where, why in doubtful.items() if why]


def _error(packet: Packet) -> str:
    assert packet.icmp
    name = ERRORS[packet.ip.src.version].get(packet.icmp, f"type {packet.icmp[0]} code {packet.icmp[1]}")
    return f"ICMP {name} from {packet.ip.src}"


def _legend(sightings: Sightings) -> str:
    points = ", ".join(f"{number} {step.where}" for number, step in enumerate(sightings.steps, 1))
    return f"points: {points}; ms since the gap began, by the clock of {sightings.watched.client_node.name}"


def _row(sightings: Sightings, trail: Trail) -> list[str]:
    cells = [_cell(sightings, trail, step) for step in range(len(sightings.steps))]
    ms = f"{round((trail.sent - sightings.start) * 1000):+d}"
    return [ms, str(trail.port or "?"), *cells, _outcome(trail)]


def _cell(sightings: Sightings, trail: Trail, step: int) -> str:
    seen = [
        name if len(packets) == 1 else f"{name} x{len(packets)}"
        for name, packets in (
            ("SYN", trail.syns[step]),
            ("SYN/ACK", trail.answers[step]),
            ("RST", trail.resets[step]),
            ("ICMP", trail.errors[step]),
        )
        if packets
    ]
    if not seen:
        return "-" if sightings.silent(step) else "?"
    if len(seen) == 1 and trail.syns[step] and sightings.problem(step):
        seen.append("?")  # an answer may have been missed
    return " ".join(seen)


def _outcome(trail: Trail) -> str:
    if trail.said is None:
        return ""
    if trail.said.took is None:
        return trail.said.error or "no answer"
    return f"answered in {trail.said.took * 1000:.1f} ms"


def _cut(rows: list[list[str]], room: int) -> list[list[str]]:
    """At most ``room`` rows, the middle left out and counted."""
    if len(rows) <= room:
        return rows
    head = room // 2
    tail = room - head - 1
    return [*rows[:head], [f"... {len(rows) - head - tail} more"], *rows[len(rows) - tail :]]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns padded to their widest cell, the first two to the right. A row of one cell is a sentence."""
    full = [row for row in rows if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column < 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        if len(row) > 1
        else row[0]
        for row in rows
    ]
