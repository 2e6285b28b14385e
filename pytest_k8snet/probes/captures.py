"""tcpdump at several points of a path at once: all listen before the traffic, all end after it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pytest_k8snet.clusters.base import Cluster, ClusterError, CommandResult, Deadline, RunningCommand
from pytest_k8snet.evidence import packets, tcpdump
from pytest_k8snet.evidence.observations import CapturePoint, CaptureRun, NodeEvidence
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.probes.commands import NOT_FOUND, derive, failed, failed_as, unreached

LISTENING = b"listening on"

#: Seconds between the client's end and that of the captures. curl exits when it has read the answer: the
#: FINs and the last ACK are then still on their way, and SIGINT makes tcpdump leave what its socket holds.
SETTLE = 0.15
#: Seconds for all captures of a trace to read what their sockets hold by then. On a busy machine that takes
#: longer than SETTLE; on a busy uplink there is always more, and what belongs to the request is long read.
CATCHING_UP = 3.0
#: What real clusters need beside. Their uplinks carry others' envelopes too, and where a device cuts and
#: joins segments itself (cards, veths) libpcap keeps room for 64 KiB a frame: 32 frames in the 2 MiB that it
#: takes by default, 255 in these 16 MiB. And uplinks of machines in use must not become promiscuous.
REAL = ("-p", "-B", "16384")
WHOLE = ("-nn", "-U", "--immediate-mode", "-s", "0")  #: every packet, all of it, written as it comes


@dataclass(frozen=True)
class Point:
    """A place to capture at. The interface may not be known: that point then has no capture, and says why."""

    id: str
    node: NodeEvidence
    interface: Reading[str]


@dataclass
class Captures:
    """Captures under way; ``points`` is filled when they have ended."""

    points: tuple[CapturePoint, ...] = field(default=())


@contextmanager
def capturing(cluster: Cluster, points: Sequence[Point], *, pcap: str, filter: str) -> Iterator[Captures]:
    """All of ``points`` capture while the block runs.

    ``pcap`` begins the names of the files that a bundle keeps ("<lab>-<request>"). What goes wrong with a
    capture becomes the failed reading of its point; the others go on.
    """
    captures = Captures()
    options = WHOLE if cluster.info.reference else (*REAL, *WHOLE)
    running = Tcpdumps(cluster, pcap=pcap, options=options, filter=filter)
    try:
        with running.at(points):
            yield captures
    finally:
        captures.points = tuple(
            CapturePoint(
                id=capture.point.id,
                node=capture.point.node,
                interface=capture.interface,
                run=derive(capture.run, captured),
                pcap=capture.pcap,
            )
            for capture in running.ended
        )


@dataclass(frozen=True)
class Ended:
    """One tcpdump that has ended, raw."""

    point: Point
    interface: str
    command: str
    result: CommandResult | None  #: None: it never ran, or what it said is lost
    problem: Reading[CommandResult] | None  #: why it may have missed packets: it did not listen in time
    pcap: str  #: file name in the bundle

    @property
    def run(self) -> Reading[CommandResult]:
        """What it said, as far as that may be judged."""
        node = self.point.node.name
        if self.result is None:
            return self.problem or Reading(node, self.command)
        # What tcpdump itself says (127: not installed; 1: no such device) tells more than "not listening".
        if self.result.exit_status == NOT_FOUND or (self.problem is None and self.result.exit_status):
            return failed(node, self.command, self.result)
        return self.problem or Reading(node, self.command, self.result)


class Tcpdumps:
    """One tcpdump at each of several points: with ``options``, for what passes ``filter``."""

    def __init__(self, cluster: Cluster, *, pcap: str, options: Sequence[str], filter: str) -> None:
        self.ended: list[Ended] = []  #: in the order of the points, when they have ended
        self._cluster = cluster
        self._pcap = pcap
        self._options = options
        self._filter = filter
        self._started: list[_Started] = []

    @contextmanager
    def at(self, points: Sequence[Point]) -> Iterator[None]:
        """All listen when the block begins, and have ended after it."""
        deadline = Deadline(self._cluster.patience.listening)
        try:
            for point in points:
                pcap = f"{self._pcap}-{point.id}.pcap"
                self._started.append(_Started(self._cluster, point, pcap, self._options, self._filter))
            for capture in self._started:
                capture.wait(deadline)
            yield
            if self._listening:
                self._cluster.tape.wait(SETTLE)
            deadline = Deadline(CATCHING_UP)
            for capture in self._listening:
                capture.catch_up(deadline)
        finally:
            # Also when the block was left by an exception: no tcpdump stays behind on a node.
            self.ended.extend(capture.end() for capture in self._started)

    def take_in(self) -> None:
        """Read what they wrote so far, so that none waits for a reader."""
        for capture in self._started:
            capture.take_in()

    @property
    def _listening(self) -> list[_Started]:
        return [capture for capture in self._started if capture.listens]


def flow_filter(ports: Iterable[int], version: int = 4) -> str:
    """All that can belong to a flow to one of ``ports``, whatever was done to it on the way: IPIP, VXLAN
    (port 4789), ICMP errors about it, fragments after the first (they hold no port), plain TCP.

    For IP ``version`` 6 also ICMPv6 errors (RFC 4443: types below 128) and every fragment (RFC 8200, 4.5).
    """
    tcp = " or ".join(f"port {port}" for port in sorted(set(ports)))
    ipv6 = "(icmp6 and ip6[40] < 128) or ip6 proto 44 or " if version == 6 else ""
    return f"{ipv6}ip proto 4 or udp port 4789 or icmp or (ip[6:2] & 0x1fff != 0) or (tcp and ({tcp}))"


class _Started:
    """One tcpdump, from its start to its packets."""

    def __init__(
        self, cluster: Cluster, point: Point, pcap: str, options: Sequence[str], filter: str
    ) -> None:
        self._point = point
        self._pcap = pcap
        self._node = point.node.name
        self._interface = point.interface.value or ""
        self._running: RunningCommand | None = None
        self._problem: Reading[CommandResult] | None = None
        # Not as another user (-Z root): nothing is written to disk, and the node may not have user tcpdump.
        argv = ("tcpdump", "-i", self._interface, *options, "-Z", "root", "-w", "-", filter)
        self._command = shlex.join(argv)
        if point.interface.failure or not self._interface:
            self._problem = failed_as(point.interface)
            return
        try:
            self._running = cluster.nodes[self._node].spawn(*argv, pcap=pcap)
        except ClusterError as error:
            self._problem = unreached(self._node, self._command, error)

    @property
    def listens(self) -> bool:
        return self._running is not None and self._problem is None

    def wait(self, deadline: Deadline) -> None:
        if self._running is None:
            return
        try:
            self._running.wait_for(LISTENING, round(deadline.left, 1))
        except ClusterError as error:
            self._problem = Reading(
                self._node,
                self._command,
                failure=f"tcpdump was not listening before the request: {error}",
                advice=f"run `{self._command}` on {self._node} and see what it says",
            )

    def take_in(self) -> None:
        if self._running is not None:
            self._running.drain()

    def catch_up(self, deadline: Deadline) -> None:
        if self._running is not None:
            with suppress(ClusterError):  # its end will tell
                self._running.catch_up(tcpdump.all_read, deadline.left)

    def end(self) -> Ended:
        result, problem = None, self._problem
        if self._running is not None:
            try:
                result = self._running.stop()
            except ClusterError as error:
                problem = problem or unreached(self._node, self._command, error)
        pcap = self._pcap if self._running else ""
        return Ended(self._point, self._interface, self._command, result, problem, pcap)


def captured(result: CommandResult) -> CaptureRun:
    """The packets of an ended tcpdump. Raises ParseError, or NotObserved for a file that is not whole."""
    capture = packets.parse_pcap(result.stdout)
    counters = tcpdump.parse_counters(result.stderr)
    seen = len(capture.packets) + capture.not_ip
    if counters.captured != seen:
        raise NotObserved(
            f"the capture is cut: tcpdump captured {counters.captured} packets and {seen} arrived",
            advice="see what ended the stream from the node, then run again",
        )
    return CaptureRun(capture, dropped=counters.dropped, received=counters.received)
