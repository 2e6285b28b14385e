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
    deadline = Deadline(cluster.patience.listening)
    started: list[_Started] = []
    captures = Captures()
    try:
        for point in points:
            started.append(_Started(cluster, point, f"{pcap}-{point.id}.pcap", filter))
        for capture in started:
            capture.wait(deadline)
        yield captures
        listening = [capture for capture in started if capture.listens]
        if listening:
            cluster.tape.wait(SETTLE)
        deadline = Deadline(CATCHING_UP)
        for capture in listening:
            capture.catch_up(deadline)
    finally:
        # Also when the block was left by an exception: no tcpdump stays behind on a node.
        captures.points = tuple(capture.end() for capture in started)


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

    def __init__(self, cluster: Cluster, point: Point, pcap: str, filter: str) -> None:
        self._point = point
        self._pcap = pcap
        self._node = point.node.name
        self._interface = point.interface.value or ""
        self._running: RunningCommand | None = None
        self._problem: Reading[CommandResult] | None = None
        # Not as another user (-Z root): nothing is written to disk, and the node may not have user tcpdump.
        options = ("-nn", "-U", "--immediate-mode", "-s", "0", "-Z", "root", "-w", "-")
        real = () if cluster.info.reference else REAL
        argv = ("tcpdump", "-i", self._interface, *real, *options, filter)
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

    def catch_up(self, deadline: Deadline) -> None:
        if self._running is not None:
            with suppress(ClusterError):  # its end will tell
                self._running.catch_up(tcpdump.all_read, deadline.left)

    def end(self) -> CapturePoint:
        run: Reading[CommandResult]
        if self._running is None:
            run = self._problem or Reading(self._node, self._command)
        else:
            try:
                result = self._running.stop()
            except ClusterError as error:
                run = self._problem or unreached(self._node, self._command, error)
            else:
                run = self._judged(result)
        return CapturePoint(
            id=self._point.id,
            node=self._point.node,
            interface=self._interface,
            run=derive(run, captured),
            pcap=self._pcap if self._running else "",
        )

    def _judged(self, result: CommandResult) -> Reading[CommandResult]:
        # What tcpdump itself says (127: not installed; 1: no such device) tells more than "not listening".
        if result.exit_status == NOT_FOUND or (self._problem is None and result.exit_status):
            return failed(self._node, self._command, result)
        return self._problem or Reading(self._node, self._command, result)


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
