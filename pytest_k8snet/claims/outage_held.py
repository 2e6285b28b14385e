"""What a path's held connections sent again around a gap, and which points show it how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_k8snet.claims.outage_sightings import SEQUENCE_NUMBERS, ByNumber, Sightings, at, by_number
from pytest_k8snet.evidence.packets import Packet, TCPSegment


@dataclass(frozen=True)
class Segment:
    """What a held connection carried at once, by step."""

    name: str  #: "request" or "answer"
    port: int  #: the client's, as it sent
    seen: tuple[tuple[Packet, ...], ...]

    @property
    def again(self) -> int:
        """How often it was sent again, at the step that shows most."""
        return max(map(len, self.seen)) - 1

    def silent(self, step: int, sightings: Sightings, segments: tuple[Segment, ...]) -> bool:
        """Whether it means something that ``step`` does not show it: others of its kind are there. Where a
        port was translated no filter finds them."""
        return not sightings.problem(step) and any(
            other.seen[step] for other in segments if (other.name, other.port) == (self.name, self.port)
        )


def segments(sightings: Sightings) -> tuple[Segment, ...]:
    """All that the path's held connections carried around the gap, requests first."""
    requests: list[ByNumber] = []
    answers: list[ByNumber] = []
    server = {sightings.asked[1], sightings.target[1]}
    for step in sightings.steps:
        carried = [(packet, packet.tcp) for packet in step.packets if packet.tcp and _carries(packet)]
        requests.append(by_number((packet for packet, tcp in carried if tcp.dport in server), _sent))
        answers.append(by_number((packet for packet, tcp in carried if tcp.sport in server), _sent))
    ports = {
        number: packet.tcp.sport
        for number, (packet, *_) in requests[0].items()
        if packet.tcp
        and packet.ip.src == sightings.watched.client_ip
        and (packet.ip.dst, packet.tcp.dport) == sightings.asked
        and packet.tcp.sport in sightings.held_ports
    }
    found = [Segment("request", port, at(requests, number)) for number, port in ports.items()]
    spans: dict[int, tuple[int, int]] = {}  # port -> the first and the last of its requests
    for number, port in ports.items():
        spans[port] = spans.get(port, (number, number))[0], number
    for number in dict.fromkeys(number for each in answers for number in each):
        seen = at(answers, number)
        asked_by = _asked_by(next(packet for packets in seen for packet in packets), spans)
        if asked_by is not None:
            found.append(Segment("answer", asked_by, seen))
    return tuple(found)


def sent_again(sightings: Sightings) -> tuple[list[str], list[list[str]]]:
    """The heading, and a row for each segment that was sent again: ms since the gap began, the client's port,
    a cell for each step, what it was.

    A cell lists milliseconds since that point's first sighting: "0 208 415"; "-" where it is certain that the
    segment was not seen, "?" where it is not.
    """
    everything = segments(sightings)
    begin, end = sightings.shown
    rows = []
    for segment in everything:
        # Only the client's own point has the client's clock.
        when = segment.seen[0][0].time if segment.seen[0] else None
        if not segment.again or (when is not None and not begin <= when <= end):
            continue
        cells = [
            _times(packets) if packets else "-" if segment.silent(step, sightings, everything) else "?"
            for step, packets in enumerate(segment.seen)
        ]
        ms = "" if when is None else f"{round((when - sightings.start) * 1000):+d}"
        rows.append([ms, str(segment.port), *cells, segment.name])
    first, problem = sightings.steps[0], sightings.problem(0)
    if rows:
        return ["held connection, what was sent again: ms after each point's first sighting of it"], rows
    if problem:
        return [f"held connection: {first.where} can't tell what was sent again: {problem}"], []
    if not everything:
        return [f"held connection: {first.where} shows none of its packets around the gap"], []
    return ["held connection: nothing was sent again"], []


def _times(packets: tuple[Packet, ...]) -> str:
    shown = [f"{(packet.time - packets[0].time) * 1000:.0f}" for packet in packets[:6]]
    return " ".join([*shown, "..."] if len(packets) > 6 else shown)


def _carries(packet: Packet) -> bool:
    """Neither opens nor resets a connection: the filter lets such a packet pass for what it carries."""
    return packet.tcp is not None and not {"S", "R"} & set(packet.tcp.flags)


def _sent(tcp: TCPSegment) -> int:
    return tcp.seq


def _asked_by(answer: Packet, spans: Mapping[int, tuple[int, int]]) -> int | None:
    """The client's port of the requests that ``answer`` acknowledges; None: it is another connection's."""
    assert answer.tcp
    for port, (first, last) in spans.items():
        most = (last - first) % SEQUENCE_NUMBERS + 65_535  # as much as one request may be long
        if (answer.tcp.ack - first) % SEQUENCE_NUMBERS <= most:
            return port
    return None
