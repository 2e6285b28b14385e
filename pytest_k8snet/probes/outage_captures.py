"""Captures that last as long as an upgrade: who opened a connection, who refused it, who answered.

They take little, so that many minutes of them can be kept: each connection's SYN, SYN/ACK and RST, what the
held connections carry, and ICMP errors; of each packet the headers alone.

With one new and one held request every 50 ms, one form of a path's packets (bare, or in its envelope) is
about 9 kB/s at a point: 20/s * (SYN, SYN/ACK and RST of 70 to 110 bytes, two packets of up to 128 bytes).
Measured on the reference network:

=============  =====  ====  ==============  ===============================================
point          forms  kB/s  MB, 30 minutes
=============  =====  ====  ==============  ===============================================
client-uplink  1      10    18              NodePort, as asked
source-veth    2      20    36              pod, ClusterIP
source-uplink  4      36    65              pod, ClusterIP, NodePort as asked and translated
target-uplink  3      27    49              all three
target-veth    3      24    43              all three
all            13     117   211
=============  =====  ====  ==============  ===============================================

A running command's output is in memory until it ends, and is then written into the bundle. :data:`LIMIT`
bounds it, where others send much to these ports too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pytest_k8snet.clusters.base import Cluster, CommandResult
from pytest_k8snet.evidence import pcap as pcap_file
from pytest_k8snet.evidence import tcpdump
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.observations import NodeEvidence, PodEvidence
from pytest_k8snet.evidence.raw_captures import RawCapture
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.probes.captures import Ended, Point, Tcpdumps
from pytest_k8snet.probes.commands import failed_as
from pytest_k8snet.probes.nodes import host_interface, uplink_interface
from pytest_k8snet.probes.pods import pod_address

#: Bytes kept of a frame, by IP version: Ethernet and a VLAN tag (18), the outer header (20 or 40), UDP and
#: VXLAN (16), the inner Ethernet (14), the inner header, 20 of TCP or of an ICMP error's beginning.
SNAPLEN = {4: 112, 6: 152}
#: Frames of one capture: 192 MB at most. The source's uplink reaches it after more than an hour.
LIMIT = 1_500_000
VXLAN_PORTS = (4789, 8472)  #: IANA's, and Linux's default from before it was assigned


def points(source: PodEvidence, target: PodEvidence, client: NodeEvidence) -> tuple[Point, ...]:
    """Where all three paths pass, each once: the NodePort is asked from ``client`` on the source's node."""
    veths = {pod.pod.name: host_interface(pod.node, pod_address(pod.pod)) for pod in (source, target)}
    return (
        Point("client-uplink", client, uplink_interface(client)),
        Point("source-veth", source.node, veths[source.pod.name]),
        Point("source-uplink", source.node, uplink_interface(source.node)),
        Point("target-uplink", target.node, uplink_interface(target.node)),
        Point("target-veth", target.node, veths[target.pod.name]),
    )


def outage_filter(ports: Iterable[int], held: Iterable[int], version: int = 4) -> str:
    """The BPF filter of a watch, bare, in IPIP (RFC 2003) and in VXLAN (RFC 7348): of connections to the
    server's ``ports`` what opens or refuses them, of those from the client's ports ``held`` also what carries
    something, and all ICMP but echoes.

    Header lengths are computed, since a header may have options. In IPv6 (``version`` 6) a TCP header behind
    extension headers is not found, nor is a tunnel of IPv6 in IPv4. A held connection whose port was
    translated is found by its SYN alone.
    """
    asked, lasting = _ranges(ports), _ranges(held)
    vxlan = [f"{'ip6[42:2]' if version == 6 else 'udp[2:2]'} = {port}" for port in VXLAN_PORTS]
    if version == 6:
        inside = _and("ip6[6] = 17", _or(vxlan), "ip6[68:2] = 0x86dd", _ipv6(asked, lasting, 70))
        return _or([_ipv6(asked, lasting, 0), inside])
    bare = _ipv4(asked, lasting, _load("ip"), _load("tcp"), _load("icmp"))
    in_ipip = _inner("ip", "(ip[0] & 0xf) * 4 + ")
    in_vxlan = _inner("udp", "30 + ")
    return _or(
        [
            bare,
            _and("ip proto 4", _ipv4(asked, lasting, *in_ipip)),
            _and("udp", _or(vxlan), "udp[28:2] = 0x800", _ipv4(asked, lasting, *in_vxlan)),
        ]
    )


#: A load of a BPF filter: "13" or "2:2" (offset, or offset and size in bytes) -> "ip[20 + 13]".
_Load = Callable[[str], str]


def _load(layer: str, base: str = "") -> _Load:
    return lambda field: f"{layer}[{base}{field}]"


def _inner(layer: str, base: str) -> tuple[_Load, _Load, _Load]:
    """Loads from the IPv4 header at ``base`` and, twice, from what is behind it: TCP or ICMP."""
    ip = _load(layer, base)
    behind = _load(layer, f"{base}({ip('0')} & 0xf) * 4 + ")
    return ip, behind, behind


def _ipv4(ports: _Ranges, held: _Ranges, ip: _Load, tcp: _Load, icmp: _Load) -> str:
    first = f"{ip('6:2')} & 0x1fff = 0"  # a later fragment has no TCP header
    payload = f"{ip('2:2')} - ({ip('0')} & 0xf) * 4 - ({tcp('12')} & 0xf0) / 4"
    segment = _and(f"{ip('9')} = 6", _segment(ports, held, tcp, payload))
    error = _and(f"{ip('9')} = 1", f"{icmp('0')} != 0", f"{icmp('0')} != 8")  # RFC 792
    return _and(first, _or([segment, error]))


def _ipv6(ports: _Ranges, held: _Ranges, base: int) -> str:
    ip, behind = _load("ip6", f"{base} + "), _load("ip6", f"{base + 40} + ")
    payload = f"{ip('4:2')} - ({behind('12')} & 0xf0) / 4"
    segment = _and(f"{ip('6')} = 6", _segment(ports, held, behind, payload))
    error = _and(f"{ip('6')} = 58", f"{behind('0')} < 128")  # RFC 4443, 2.1
    return _or([segment, error])


def _segment(ports: _Ranges, held: _Ranges, tcp: _Load, payload: str) -> str:
    """``payload``: its size in bytes."""

    def one_of(ranges: _Ranges) -> str:
        return _or([_within(tcp(end), *numbers) for end in ("0:2", "2:2") for numbers in ranges])

    opens = _and(f"{tcp('13')} & 6 != 0", one_of(ports))  # SYN, RST
    return _or([opens, _and(f"{payload} != 0", one_of(held))]) if held else opens


_Ranges = list[tuple[int, int]]


def _ranges(numbers: Iterable[int]) -> _Ranges:
    """First and last of each run: 20100, 20101, 8080 -> [(8080, 8080), (20100, 20101)]."""
    runs: _Ranges = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _within(field: str, first: int, last: int) -> str:
    return f"{field} = {first}" if first == last else f"{field} >= {first} and {field} <= {last}"


def _and(*parts: str) -> str:
    return " and ".join(parts)


def _or(parts: Sequence[str]) -> str:
    return "(" + " or ".join(f"({part})" if " and " in part else part for part in parts) + ")"


@dataclass
class OutageCaptures:
    """Captures under way; ``captures`` is filled when they have ended."""

    tcpdumps: Tcpdumps
    captures: tuple[RawCapture, ...] = field(default=())

    def take_in(self) -> None:
        """Read what they wrote so far. Whoever waits calls this every second or so: a tcpdump whose output
        nobody reads stops capturing when pipes and its buffer are full."""
        self.tcpdumps.take_in()


@contextmanager
def capturing_outage(
    cluster: Cluster,
    points: Sequence[Point],
    *,
    ports: Iterable[int],
    held: Iterable[int],
    version: int = 4,
    pcap: str = "outage",
) -> Iterator[OutageCaptures]:
    """All of ``points`` capture while the block runs, which begins when they listen.

    ``ports``, ``held``, ``version``: :func:`outage_filter`. ``pcap`` begins the names of the files that a
    bundle keeps. A capture that fails costs its point of the ledger, nothing else.
    """
    # Not written packet by packet (-U, --immediate-mode): tcpdump would be at work all the time, beside the
    # clients whose time is measured. Not promiscuous: these may be uplinks of machines in use.
    options = ("-p", "-nn", "-s", str(SNAPLEN[version]), "-c", str(LIMIT))
    running = Tcpdumps(cluster, pcap=pcap, options=options, filter=outage_filter(ports, held, version))
    seen = OutageCaptures(running)
    try:
        with running.at(points):
            yield seen
    finally:
        seen.captures = tuple(map(_raw, running.ended))


def _raw(ended: Ended) -> RawCapture:
    point = ended.point
    content: Reading[bytes] = failed_as(ended.run)
    flaw = ""
    if ended.result is not None and ended.result.stdout:
        # What a capture shows was there, also where it ended too soon.
        content = Reading(point.node.name, ended.command, ended.result.stdout)
        flaw = ended.problem.failure if ended.problem else _flaw(ended.result)
    return RawCapture(point.id, point.node.name, ended.interface, content, flaw, ended.pcap)


def _flaw(result: CommandResult) -> str:
    """Why a capture may have missed packets; "" for one that is whole."""
    try:
        counters = tcpdump.parse_counters(result.stderr)
        arrived = pcap_file.count(result.stdout)
    except ParseError as error:
        return str(error)
    if counters.captured >= LIMIT:
        return f"it ended after {LIMIT} packets"
    if counters.dropped:
        return f"the kernel dropped {counters.dropped} of its packets"
    if counters.captured != arrived:
        return f"it is cut: tcpdump captured {counters.captured} packets and {arrived} arrived"
    return f"tcpdump exited with status {result.exit_status}" if result.exit_status else ""
