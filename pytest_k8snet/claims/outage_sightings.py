"""What the captures of an outage watch show around a gap, connection by connection, point by point.

**What belongs to a path.** Where its client is, its SYNs are those from the client's address to the one that
it asks. From there a SYN is followed by its sequence number, which NAT and envelopes leave as it is. A
SYN/ACK and a RST acknowledge it; an ICMP error quotes addresses and identification of a header that was seen.

**Not seen.** That a point does not show a packet says something only where its capture is whole and shows
others of the same path and direction around the gap: else their form may be one that no filter finds.

**Clocks** differ between nodes. Times are the client's; a point's own only order what that point shows. Its
window is moved by what is known of its node's clock, and wider by :data:`CLOCKS`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.outage import HELD_PORTS, Attempt, OutageLab, PathWatched
from pytest_k8snet.evidence.packets import ICMP_ERRORS, IPAddress, IPHeader, Packet, TCPSegment
from pytest_k8snet.evidence.raw_captures import RawCapture
from pytest_k8snet.evidence.reading import NotObserved, Reading

MARGIN = 0.2  #: seconds before and after a gap that are shown with it
CLOCKS = 2.0  #: seconds by which clocks may differ unknown, and around the gap where controls are sought
JOINED = 0.5  #: seconds at most between what the client calls the beginning of an attempt, and its SYN
LONGEST = 60.0  #: seconds of a gap that are looked at: what is lost after them, was lost before

#: The points of each path, in its order. A NodePort's request comes and leaves by the same uplink.
POINTS = {
    "pod": ("source-veth", "source-uplink", "target-uplink", "target-veth"),
    "clusterip": ("source-veth", "source-uplink", "target-uplink", "target-veth"),
    "nodeport": ("client-uplink", "source-uplink", "source-uplink", "target-uplink", "target-veth"),
}
SEQUENCE_NUMBERS = 2**32

ByNumber = Mapping[int, list[Packet]]  #: of one step, by TCP sequence number


@dataclass(frozen=True)
class Step:
    """A point that the path's packets pass: by its capture, those around the gap that may be this path's."""

    capture: RawCapture
    packets: tuple[Packet, ...]
    problem: str = ""  #: why what it does not show may have been there
    form: str = ""  #: which packets of its interface, where the path passes that twice

    @property
    def interface(self) -> str:
        return f"{self.capture.interface} ({self.form})" if self.form else self.capture.interface

    @property
    def where(self) -> str:
        return f"{self.capture.node} {self.interface}".strip()


@dataclass(frozen=True)
class Trail:
    """One attempt of the client: what each step shows of it, by step."""

    sent: float  #: by the client's clock: its first SYN, or the attempt where no SYN is known
    port: int  #: the client's
    said: Attempt | None  #: by the client
    syns: tuple[tuple[Packet, ...], ...]
    answers: tuple[tuple[Packet, ...], ...]  #: SYN/ACKs
    resets: tuple[tuple[Packet, ...], ...]  #: RSTs that refuse the SYN
    errors: tuple[tuple[Packet, ...], ...]  #: ICMP errors about it

    @property
    def failed(self) -> bool:
        """By the client's own word; where it said nothing, by the answer that never came to it."""
        return self.said.took is None if self.said else not self.answers[0]


class Sightings:
    """The captures of one path around a gap: ``start`` and ``end`` in seconds by the client's clock."""

    def __init__(self, lab: OutageLab, path: str, start: float, end: float) -> None:
        self.lab = lab
        self.watched: PathWatched = next(each for each in lab.paths if each.path == path)
        self.start = start
        self.end = min(end, start + LONGEST)
        self.cut = end > self.end
        self.held_ports = frozenset(HELD_PORTS[path])

    @property
    def shown(self) -> tuple[float, float]:
        """The gap and :data:`MARGIN` around it, by the client's clock."""
        return self.start - MARGIN, self.end + MARGIN

    @property
    def target(self) -> tuple[IPAddress | None, int]:
        """Where the connections must end: pod-dest's address, None where its status has none, and port."""
        version = self.watched.client_ip.version
        ips = (ip for ip in self.watched.target.pod.ips if ip.version == version)
        return next(ips, None), self.watched.target_port

    @property
    def asked(self) -> tuple[IPAddress, int]:
        return self.watched.asked_ip, self.watched.asked_port

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """In the path's order."""
        captures = {capture.id: capture for capture in self.lab.captures}
        names = POINTS[self.watched.path]
        made = []
        read: dict[str, Step] = {}  # two steps of a path may be one capture's
        for position, name in enumerate(names):
            capture = captures.get(name) or RawCapture(name, "", name, Reading("", "", failure="no capture"))
            step = read[name] = read.get(name) or self._read(capture)
            if names.count(name) == 2:
                arriving = names.index(name) == position
                own = (packet for packet in step.packets if self._as_asked(packet) in (arriving, None))
                step = Step(capture, tuple(own), step.problem, "as asked" if arriving else "translated")
            made.append(step)
        return tuple(made)

    def _read(self, capture: RawCapture) -> Step:
        begin, end = self.shown
        ahead = self._ahead(capture.node) - self._ahead(self.watched.client_node.name)
        try:
            found = capture.between(begin + ahead - CLOCKS, end + ahead + CLOCKS).packets
        except NotObserved as missing:
            return Step(capture, (), missing.cause)
        except ParseError as error:
            return Step(capture, (), str(error))
        return Step(capture, found, capture.flaw)

    def _ahead(self, node: str) -> float:
        """Seconds by which a node's clock is ahead of pytest's machine, 0 where that is not known."""
        return next((clock.offset for clock in self.lab.clocks if clock.place == node), 0.0)

    def _as_asked(self, packet: Packet) -> bool | None:
        """Whether it has the address that the client asked, either way; None: it is no TCP segment."""
        if packet.tcp is None:
            return None
        ends = (packet.ip.src, packet.tcp.sport), (packet.ip.dst, packet.tcp.dport)
        return self.asked in ends

    def silent(self, step: int, *, answers: bool = False) -> bool:
        """Whether it means something that ``step`` does not show a SYN (or a SYN/ACK)."""
        return not self.problem(step) and self._proved[step][answers]

    @cached_property
    def _proved(self) -> tuple[tuple[bool, bool], ...]:
        """Of each step, whether it shows SYNs of the path, and SYN/ACKs."""
        found = zip(self._opened, self._answered, strict=True)
        return tuple((not self._own.isdisjoint(syns), not self._own.isdisjoint(back)) for syns, back in found)

    def problem(self, step: int) -> str:
        """Why what ``step`` does not show may have been there; "" where nothing speaks for that."""
        if step == 0 and self._overlooked and not self.steps[0].problem:
            return f"it shows no SYN of {self._overlooked} attempts that were answered"
        return self.steps[step].problem

    @cached_property
    def _overlooked(self) -> int:
        """Attempts that were answered, and whose SYN the client's own point does not show."""
        answered = (trail for trail in self.trails if trail.said and trail.said.took is not None)
        return sum(not any(trail.syns) for trail in answered)

    @cached_property
    def _own(self) -> frozenset[int]:
        """Sequence numbers of the path's SYNs, in and around the gap."""
        return frozenset(
            packet.tcp.seq for packet in self.steps[0].packets if packet.tcp and self._opens(packet)
        )

    def _opens(self, packet: Packet) -> bool:
        """A SYN of the path's client, new connection or held, as it sent it."""
        return (
            packet.tcp is not None
            and _is_syn(packet)
            and packet.ip.src == self.watched.client_ip
            and (packet.ip.dst, packet.tcp.dport) == self.asked
        )

    @cached_property
    def _opened(self) -> list[ByNumber]:
        """By step: SYNs by their sequence number."""
        return [by_number(filter(_is_syn, step.packets), lambda tcp: tcp.seq) for step in self.steps]

    @cached_property
    def _answered(self) -> list[ByNumber]:
        """By step: SYN/ACKs by the number of the SYN that they acknowledge."""
        return [by_number(filter(_is_answer, step.packets), lambda tcp: tcp.ack - 1) for step in self.steps]

    @cached_property
    def _refused(self) -> list[ByNumber]:
        return [by_number(filter(_is_reset, step.packets), lambda tcp: tcp.ack - 1) for step in self.steps]

    @cached_property
    def _quoting(self) -> list[ByNumber]:
        """By step: ICMP errors by the sequence number of the SYN whose header they quote."""
        headers: dict[tuple[IPAddress, IPAddress, int], int] = {}
        for opened in self._opened:
            for number, packets in opened.items():
                for header in (header for packet in packets for header in _headers(packet) if header.ident):
                    headers[header.src, header.dst, header.ident] = number
        found: list[ByNumber] = []
        for step in self.steps:
            errors: dict[int, list[Packet]] = defaultdict(list)
            for packet in filter(_is_error, step.packets):
                quoted = packet.quoted
                if quoted and (quoted.src, quoted.dst, quoted.ident) in headers:
                    errors[headers[quoted.src, quoted.dst, quoted.ident]].append(packet)
            found.append(errors)
        return found

    @cached_property
    def trails(self) -> tuple[Trail, ...]:
        """The attempts on new connections of the gap and of :data:`MARGIN` around it, as they were sent."""
        begin, end = self.shown
        told = self.watched.client_said.value
        said = [
            attempt
            for attempt in (told.attempts if told else ())
            if attempt.path == self.watched.path
            and attempt.kind == "new"
            and begin - JOINED <= attempt.sent <= end + JOINED
        ]
        trails = []
        for number, syns in self._opened[0].items():
            first = syns[0]
            assert first.tcp
            if number not in self._own or first.tcp.sport in self.held_ports:
                continue
            attempt = _said_of(said, first.tcp.sport, first.time, self.lab.interval)
            if attempt is not None:
                said.remove(attempt)
            trails.append(self._trail(first.time, first.tcp.sport, attempt, number))
        trails += [self._trail(attempt.sent, attempt.port, attempt, None) for attempt in said]
        return tuple(
            sorted(
                (trail for trail in trails if begin <= trail.sent <= end),
                key=lambda trail: trail.sent,
            )
        )

    def _trail(self, sent: float, port: int, said: Attempt | None, number: int | None) -> Trail:
        found = self._opened, self._answered, self._refused, self._quoting
        syns, answers, resets, errors = (at(each, number) for each in found)
        return Trail(sent, port, said, syns, answers, resets, errors)

    @cached_property
    def lost(self) -> tuple[Trail, ...]:
        """The attempts of the gap itself that failed."""
        return tuple(trail for trail in self.trails if trail.failed and self.start <= trail.sent <= self.end)


def _said_of(said: Iterable[Attempt], port: int, time: float, interval: float) -> Attempt | None:
    """The attempt that a SYN belongs to: by its port, or by its time where the client knew no port."""
    fitting = [
        attempt
        for attempt in said
        if attempt.port in (port, 0) and abs(attempt.sent - time) < (JOINED if attempt.port else interval / 2)
    ]
    return min(fitting, key=lambda attempt: (not attempt.port, abs(attempt.sent - time)), default=None)


def at(found: Iterable[ByNumber], number: int | None) -> tuple[tuple[Packet, ...], ...]:
    """Of each step the packets of one number."""
    return tuple(() if number is None else tuple(each.get(number, ())) for each in found)


def by_number(packets: Iterable[Packet], number: Callable[[TCPSegment], int]) -> ByNumber:
    found: dict[int, list[Packet]] = defaultdict(list)
    for packet in packets:
        if packet.tcp is not None:
            found[number(packet.tcp) % SEQUENCE_NUMBERS].append(packet)
    return found


def _headers(packet: Packet) -> Iterator[IPHeader]:
    yield from (tunnel.outer for tunnel in packet.tunnels)
    yield packet.ip


def _is_syn(packet: Packet) -> bool:
    return packet.tcp is not None and "S" in packet.tcp.flags and "A" not in packet.tcp.flags


def _is_answer(packet: Packet) -> bool:
    return packet.tcp is not None and "S" in packet.tcp.flags and "A" in packet.tcp.flags


def _is_reset(packet: Packet) -> bool:
    # With ACK it answers a SYN, and acknowledges it (RFC 9293, 3.10.7.1 and 3.10.7.3).
    return packet.tcp is not None and "R" in packet.tcp.flags and "A" in packet.tcp.flags


def _is_error(packet: Packet) -> bool:
    return packet.icmp is not None and packet.icmp[0] in ICMP_ERRORS[packet.ip.src.version]
