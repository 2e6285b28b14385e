"""Packets of a capture: scapy's layouts decode, these frozen types keep what claims ask about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from pytest_k8snet.evidence import pcap
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.layouts import layout, tcp_flags

IPAddress = IPv4Address | IPv6Address

IPIP, TCP, UDP, ICMP, ICMPV6 = 4, 6, 17, 1, 58  #: IANA protocol numbers
#: Types that quote the packet they are about, by IP version: RFC 792 (unreachable, quench, redirect, time
#: exceeded, parameter problem) and RFC 4443 (all below 128).
ICMP_ERRORS = {4: frozenset({3, 4, 5, 11, 12}), 6: frozenset(range(1, 128))}
IPV6_EXTENSIONS = frozenset({0, 43, 60})  #: hop-by-hop, routing, destination options (RFC 8200)
IPV6_FRAGMENT = 44
ETHERTYPES_IP = frozenset({0x0800, 0x86DD})
ETHERTYPES_VLAN = frozenset({0x8100, 0x88A8, 0x9100})
VXLAN_PORTS = frozenset({4789, 8472})  #: IANA's, and Linux's default from before it was assigned


@dataclass(frozen=True, slots=True)
class IPHeader:
    """RFC 791 (or RFC 8200) header. ``fragment_offset`` and ``length`` in bytes."""

    src: IPAddress
    dst: IPAddress
    protocol: int
    ttl: int
    ident: int = 0
    dont_fragment: bool = False
    more_fragments: bool = False
    fragment_offset: int = 0
    length: int = 0

    @property
    def fragment(self) -> bool:
        return self.more_fragments or self.fragment_offset > 0


@dataclass(frozen=True, slots=True)
class TCPSegment:
    """RFC 9293 segment; ``flags`` as scapy writes them ("S", "SA", "PA", "FA")."""

    sport: int
    dport: int
    seq: int
    ack: int
    flags: str
    payload: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One encapsulation around a packet: ``kind`` "ipip" (RFC 2003, protocol 4) or "vxlan" (RFC 7348)."""

    kind: str
    outer: IPHeader
    vni: int | None = None
    udp_port: int | None = None


@dataclass(frozen=True, slots=True)
class Packet:
    """One captured IP packet, encapsulations taken off: ``tunnels`` outermost first, ``ip`` innermost."""

    number: int  #: 1-based position in the capture, as Wireshark counts
    time: float  #: seconds since the epoch by the capturing node's clock
    ip: IPHeader
    tunnels: tuple[Tunnel, ...] = ()
    tcp: TCPSegment | None = None
    icmp: tuple[int, int] | None = None  #: (type, code) of ICMP, or of ICMPv6 where ``ip`` is IPv6
    quoted: IPHeader | None = None  #: of the packet that an ICMP error is about, as far as it is there

    @property
    def bare(self) -> bool:
        return not self.tunnels


@dataclass(frozen=True, slots=True)
class Capture:
    """A whole capture file: its IP packets, and how many frames were not IP (ARP and the like)."""

    packets: tuple[Packet, ...]
    not_ip: int = 0


def parse_pcap(content: bytes) -> Capture:
    """Every IP packet of a pcap file, with the encapsulations around it.

    Reads Ethernet (VLAN tags taken off), LINUX_SLL, LINUX_SLL2 and RAW link types. Encapsulations are
    IPIP (RFC 2003) and VXLAN (RFC 7348, UDP port 4789 or Linux's older 8472), at any depth. A packet
    keeps what a snaplen or a fragment left of it: ``tcp`` is None where its header is not there, as
    in every fragment but the first.

    Raises :class:`ParseError` for a file that is cut or is no pcap, for a link type not listed above,
    and for an IP header that can't be read: what it carried might be what a claim asks about.
    """
    link = pcap.link_type(content)
    if link not in LINKS:
        raise ParseError(pcap.WHAT, f"unknown link type {link}, expected one of {sorted(LINKS)}")
    take_off_link = LINKS[link]
    packets = []
    not_ip = 0
    for record in pcap.records(content):
        try:
            network = take_off_link(record.content)
            packet = None if network is None else _packet(record, network)
        except _Unreadable as problem:
            kept = len(record.content)
            if kept < record.length:
                problem = _Unreadable(f"{problem}: only {kept} of {record.length} bytes were captured")
            raise ParseError(pcap.WHAT, f"packet {record.number}: {problem}", record.content.hex()) from None
        if packet is None:
            not_ip += 1
        else:
            packets.append(packet)
    return Capture(tuple(packets), not_ip)


class _Unreadable(Exception):
    """A header that is cut or says impossible things."""


def _ethernet(frame: bytes) -> bytes | None:
    header = layout("l2", "Ether", "type")
    fields = header.read(frame)
    end = header.size
    while fields is not None and fields["type"] in ETHERTYPES_VLAN:
        tag = layout("l2", "Dot1Q", "type")
        fields = tag.read(frame, end)
        end += tag.size
    if fields is None:
        raise _Unreadable("the Ethernet header is cut")
    return frame[end:] if fields["type"] in ETHERTYPES_IP else None


def _cooked(layer: str) -> Callable[[bytes], bytes | None]:
    def take_off(frame: bytes) -> bytes | None:
        header = layout("l2", layer, "proto")
        fields = header.read(frame)
        if fields is None or len(frame) < COOKED_SIZE[layer]:
            raise _Unreadable("the cooked link header is cut")
        return frame[COOKED_SIZE[layer] :] if fields["proto"] in ETHERTYPES_IP else None

    return take_off


def _raw(frame: bytes) -> bytes | None:
    return frame if frame[:1] and frame[0] >> 4 in (4, 6) else None


COOKED_SIZE = {"CookedLinux": 16, "CookedLinuxV2": 20}
LINKS: dict[int, Callable[[bytes], bytes | None]] = {
    1: _ethernet,
    101: _raw,
    113: _cooked("CookedLinux"),
    276: _cooked("CookedLinuxV2"),
}


def _packet(record: pcap.Record, network: bytes) -> Packet:
    tunnels: list[Tunnel] = []
    ip, payload = _ip(network)
    while (opened := _tunnel(ip, payload)) is not None:
        tunnel, inner = opened
        try:
            inner_ip, inner_payload = _ip(inner)
        except _Unreadable:
            if ip.more_fragments:  # the rest of the inner header is in the next fragment
                break
            raise
        tunnels.append(tunnel)
        ip, payload = inner_ip, inner_payload
    tcp = icmp = quoted = None
    if ip.fragment_offset == 0:
        tcp = _tcp(payload) if ip.protocol == TCP else None
        if ip.protocol == (ICMP if ip.src.version == 4 else ICMPV6) and len(payload) > 1:
            icmp = (payload[0], payload[1])
            quoted = _quoted(payload) if payload[0] in ICMP_ERRORS[ip.src.version] else None
    return Packet(record.number, record.time, ip, tuple(tunnels), tcp, icmp, quoted)


def _quoted(error: bytes) -> IPHeader | None:
    """The header that stands behind the eight bytes of an ICMP error's own; None where it is cut."""
    try:
        return _ip(error[8:])[0]
    except _Unreadable:
        return None


def _tunnel(outer: IPHeader, payload: bytes) -> tuple[Tunnel, bytes] | None:
    """The encapsulation that ``outer`` begins, and the packet inside; None where it is the packet."""
    if outer.fragment_offset:
        return None
    if outer.protocol == IPIP:
        return Tunnel("ipip", outer), payload
    if outer.protocol != UDP:
        return None
    header = layout("inet", "UDP", "chksum")
    udp = header.read(payload)
    if udp is None or udp["dport"] not in VXLAN_PORTS:
        return None
    vni = _vni(payload[header.size : header.size + 8])
    if vni is None:
        return None
    try:
        inner = _ethernet(payload[header.size + 8 :])
    except _Unreadable:
        if outer.more_fragments:
            return None
        raise
    # ARP inside a VXLAN is no IP packet: what the wire shows is then the outer one.
    return None if inner is None else (Tunnel("vxlan", outer, vni, udp["dport"]), inner)


def _vni(header: bytes) -> int | None:
    """The network identifier of a VXLAN header; None where the eight bytes are none (no I flag)."""
    # Not by scapy: its fields move with flags of extensions, while RFC 7348 fixes these two.
    if len(header) < 8 or not header[0] & 0x08:
        return None
    return int.from_bytes(header[4:7], "big")


def _ip(packet: bytes) -> tuple[IPHeader, bytes]:
    """Header and payload, the payload limited to what the header says (Ethernet pads short frames)."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return _ipv4(packet)
    if version == 6:
        return _ipv6(packet)
    raise _Unreadable(f"IP version {version}" if packet else "the IP header is cut")


def _ipv4(packet: bytes) -> tuple[IPHeader, bytes]:
    header = layout("inet", "IP", "dst")
    fields = header.read(packet)
    if fields is None:
        raise _Unreadable("the IPv4 header is cut")
    start = fields["ihl"] * 4
    length = fields["len"] or len(packet)  # 0: the kernel had not yet cut a large send into packets
    if start < header.size or length < start:
        raise _Unreadable(f"an IPv4 header of {start} bytes in a packet of {length}")
    ip = IPHeader(
        IPv4Address(fields["src"]),
        IPv4Address(fields["dst"]),
        fields["proto"],
        fields["ttl"],
        ident=fields["id"],
        dont_fragment=bool(fields["flags"] & 0b010),
        more_fragments=bool(fields["flags"] & 0b001),
        fragment_offset=fields["frag"] * 8,
        length=length,
    )
    return ip, packet[start:length]


def _ipv6(packet: bytes) -> tuple[IPHeader, bytes]:
    header = layout("inet6", "IPv6", "dst")
    fields = header.read(packet)
    if fields is None:
        raise _Unreadable("the IPv6 header is cut")
    length = header.size + fields["plen"] if fields["plen"] else len(packet)
    protocol, position = fields["nh"], header.size
    fragment = {"id": 0, "offset": 0, "m": 0}
    packet = packet[:length]
    while position + 8 <= len(packet):
        if protocol == IPV6_FRAGMENT:
            fragment_header = layout("inet6", "IPv6ExtHdrFragment", "id")
            fragment = fragment_header.read(packet, position) or fragment
            size = fragment_header.size
        elif protocol in IPV6_EXTENSIONS and fragment["offset"] == 0:
            size = (packet[position + 1] + 1) * 8
        else:
            break
        protocol = packet[position]
        position += size
    ip = IPHeader(
        IPv6Address(fields["src"]),
        IPv6Address(fields["dst"]),
        protocol,
        fields["hlim"],
        ident=fragment["id"],
        more_fragments=bool(fragment["m"]),
        fragment_offset=fragment["offset"] * 8,
        length=length,
    )
    return ip, packet[position:]


def _tcp(payload: bytes) -> TCPSegment | None:
    fields = layout("inet", "TCP", "urgptr").read(payload)
    if fields is None or fields["dataofs"] < 5:
        return None
    return TCPSegment(
        fields["sport"],
        fields["dport"],
        fields["seq"],
        fields["ack"],
        tcp_flags(fields["flags"]),
        payload[fields["dataofs"] * 4 :],
    )
