"""Packets of a capture: scapy decodes, these frozen types keep what claims ask about."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address


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
    icmp: tuple[int, int] | None = None  #: (type, code)

    @property
    def bare(self) -> bool:
        return not self.tunnels


@dataclass(frozen=True, slots=True)
class Capture:
    """A whole capture file: its IP packets, and how many frames were not IP (ARP and the like)."""

    packets: tuple[Packet, ...]
    not_ip: int = 0
