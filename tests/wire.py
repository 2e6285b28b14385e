"""Capture files for tests, made with scapy: what tcpdump would have written.

>>> flow = http_flow(("20.109.131.5", 35096), ("20.111.156.72", 8080), "run-1", tunnel="ipip",
...                  outer=("192.168.219.23", "192.168.219.22"))
>>> parse_pcap(pcap(flow)).packets[3].tcp.payload
b'GET /hostname HTTP/1.1\\r\\n...X-K8snet: run-1\\r\\n\\r\\n'

A flow is a plain list of frames in the order of the wire: slice, drop, repeat or edit them to break it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

__all__ = [
    "ARP",
    "ICMP",
    "IP",
    "TCP",
    "UDP",
    "VXLAN",
    "CookedLinux",
    "CookedLinuxV2",
    "Dot1Q",
    "Ether",
    "IPOption_NOP",
    "IPv6",
    "Raw",
    "encapsulate",
    "http_flow",
    "ip",
    "link",
    "pcap",
]

START = 1_600_000_000.0  #: time of a flow's first packet unless told otherwise
LINKTYPES = {"ethernet": 1, "raw": 101, "sll": 113, "sll2": 276}
CALICO_VNI = 4096

Frame = Any  # a scapy packet


def pcap(
    frames: Iterable[Frame | bytes],
    *,
    linktype: int | None = None,
    big_endian: bool = False,
    nanoseconds: bool = False,
    snaplen: int = 262_144,
) -> bytes:
    """A classic pcap file of ``frames`` (scapy packets with ``.time``, or bytes), cut to ``snaplen`` each.

    The link type is that of the first frame's outermost layer; an empty capture is Ethernet.
    """
    listed = list(frames)
    if linktype is None:
        linktype = _linktype(listed[0]) if listed else LINKTYPES["ethernet"]
    order = ">" if big_endian else "<"
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    file = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, linktype)]
    for position, frame in enumerate(listed):
        content = bytes(frame)
        time = START + position * 0.001 if isinstance(frame, bytes) else float(frame.time)
        seconds, fraction = divmod(round(time * 1e6), 1_000_000)  # all that a float of today's time holds
        fraction *= 1000 if nanoseconds else 1
        kept = content[:snaplen]
        file.append(struct.pack(order + "IIII", seconds, fraction, len(kept), len(content)) + kept)
    return b"".join(file)


def _linktype(frame: Frame | bytes) -> int:
    if isinstance(frame, CookedLinuxV2):  # first: it is a subclass of the older one
        return LINKTYPES["sll2"]
    if isinstance(frame, CookedLinux):
        return LINKTYPES["sll"]
    if isinstance(frame, IP | IPv6):
        return LINKTYPES["raw"]
    return LINKTYPES["ethernet"]


def ip(src: str, dst: str, **fields: Any) -> Frame:
    """An IPv4 or IPv6 header, by the look of the addresses; ``ttl`` and ``id`` as IPv4 names them."""
    if ":" not in src:
        return IP(src=src, dst=dst, **fields)
    fields.pop("id", None)
    return IPv6(src=src, dst=dst, hlim=fields.pop("ttl", 64), **fields)


def encapsulate(
    packet: Frame,
    tunnel: str | None,
    outer: tuple[str, str],
    *,
    ttl: int = 64,
    vni: int = CALICO_VNI,
    udp_port: int = 4789,
) -> Frame:
    """``packet`` (from its IP header on) inside IPIP or VXLAN; apply it twice for a doubled tunnel."""
    src, dst = outer
    if tunnel is None:
        return packet
    if tunnel == "ipip":
        wrapped = IP(src=src, dst=dst, ttl=ttl, flags="DF") / packet
    elif tunnel == "vxlan":
        inner = packet if isinstance(packet, Ether) else Ether(src=MAC, dst=MAC) / packet
        header = UDP(sport=50_000, dport=udp_port) / VXLAN(vni=vni, flags="Instance")
        wrapped = ip(src, dst, ttl=ttl) / header / inner
    else:
        raise ValueError(f"tunnel is ipip, vxlan or None, not {tunnel!r}")
    wrapped.time = packet.time
    return wrapped


MAC = "ee:ee:ee:ee:ee:ee"


def link(packet: Frame, kind: str = "ethernet") -> Frame:
    """``packet`` in the frame of a link: "ethernet", "sll" (tcpdump -i any), "sll2" or "raw"."""
    if kind == "raw":
        return packet
    ethertype = 0x86DD if isinstance(packet, IPv6) else 0x0800
    if kind == "ethernet":
        framed = Ether(src=MAC, dst=MAC, type=ethertype) / packet
    elif kind == "sll":
        framed = CookedLinux(proto=ethertype, src=b"\xee" * 6) / packet
    elif kind == "sll2":
        framed = CookedLinuxV2(proto=ethertype, src=b"\xee" * 6) / packet
    else:
        raise ValueError(f"link is one of {sorted(LINKTYPES)}, not {kind!r}")
    framed.time = packet.time
    return framed


def http_flow(
    client: tuple[str, int],
    server: tuple[str, int],
    token: str,
    *,
    path: str = "/hostname",
    body: bytes = b"pod-dest\n",
    tunnel: str | None = None,
    outer: tuple[str, str] = ("192.168.219.23", "192.168.219.22"),
    ttl: int = 64,
    reply_ttl: int = 64,
    outer_ttl: int = 64,
    start: float = START,
    step: float = 0.0001,
    client_isn: int = 1_000,
    server_isn: int = 900_000,
    mss: int = 1_400,
    dont_fragment: bool = True,
    kind: str = "ethernet",
) -> list[Frame]:
    """One request and its answer: SYN, SYN-ACK, ACK, request, answer (each segment acknowledged), FINs.

    ``client`` and ``server`` are (address, port) *as this point of the path sees them*: build the
    flow once per capture point with the addresses that NAT left there. The sequence numbers follow
    from the two initial ones alone, so that all those captures show one flow. ``outer`` is the
    tunnel's (source, destination) for requests; answers have it reversed. Times are ``start`` and
    ``step`` seconds more for each packet.
    """
    host = f"[{server[0]}]" if ":" in server[0] else server[0]
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{server[1]}\r\nX-K8snet: {token}\r\n\r\n".encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    sequence = {True: client_isn, False: server_isn}
    segments: list[tuple[bool, str, bytes]] = [(True, "S", b""), (False, "SA", b""), (True, "A", b"")]
    segments.append((True, "PA", request))
    for offset in range(0, len(answer), mss):
        last = offset + mss >= len(answer)
        segments += [(False, "PA" if last else "A", answer[offset : offset + mss]), (True, "A", b"")]
    segments += [(True, "FA", b""), (False, "FA", b""), (True, "A", b"")]

    frames = []
    for position, (forward, flags, payload) in enumerate(segments):
        (src, sport), (dst, dport) = (client, server) if forward else (server, client)
        header = ip(src, dst, ttl=ttl if forward else reply_ttl, id=position + 1)
        if dont_fragment and isinstance(header, IP):
            header.flags = "DF"
        tcp = TCP(
            sport=sport,
            dport=dport,
            seq=sequence[forward] % 2**32,
            ack=sequence[not forward] % 2**32 if "A" in flags else 0,
            flags=flags,
            window=512,
            options=[("NOP", None), ("NOP", None), ("Timestamp", (position, 0))],
        )
        packet = header / tcp / Raw(payload) if payload else header / tcp
        packet.time = start + position * step
        sequence[forward] += len(payload) + ("S" in flags) + ("F" in flags)
        way: Sequence[str] = outer if forward else outer[::-1]
        frames.append(link(encapsulate(packet, tunnel, (way[0], way[1]), ttl=outer_ttl), kind))
    return frames
