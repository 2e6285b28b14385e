"""Small packet matchers that compose, outermost layer first.

::

    ipip(src=node2, dst=node1) / tcp(dst=("20.111.156.72", 8080))   # exactly this envelope
    tcp(dst=("20.111.156.72", 8080))                                # bare: no envelope at all
    anywhere(tcp(dst=("10.107.94.97", 8080)))                       # bare or inside any envelope

A matcher says in words what it looks for (``str``) and how a packet differs from it
(:meth:`Matcher.differences`); both go into failure texts as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from pytest_k8snet.evidence.packets import IPAddress, IPHeader, Packet, Tunnel

#: An address, an address with a port, or a set of addresses of which one is meant.
Who = IPAddress | str | tuple[IPAddress | str, int] | frozenset[IPAddress]

CALICO_VXLAN_PORT = 4789  #: Felix VXLANPort
CALICO_VNI = 4096  #: Felix VXLANVNI
_TITLES = {"ipip": "IPIP", "vxlan": "VXLAN"}


@dataclass(frozen=True, slots=True)
class Outer:
    """One envelope that is looked for; ``None`` and an empty set mean any."""

    kind: str
    src: frozenset[IPAddress] = frozenset()
    dst: frozenset[IPAddress] = frozenset()
    vni: int | None = None
    udp_port: int | None = None

    def differences(self, tunnel: Tunnel) -> list[str]:
        if tunnel.kind != self.kind:
            return [f"encapsulated as {_title(tunnel.kind)} instead of {_title(self.kind)}"]
        found = _differing_addresses(self.src, self.dst, tunnel.outer, "outer ")
        if self.vni is not None and tunnel.vni != self.vni:
            found.append(f"VNI {tunnel.vni} instead of {self.vni}")
        if self.udp_port is not None and tunnel.udp_port != self.udp_port:
            found.append(f"UDP port {tunnel.udp_port} instead of {self.udp_port}")
        return found

    def __str__(self) -> str:
        vni = f" VNI {self.vni}" if self.vni is not None else ""
        return f"{_title(self.kind)}{vni}{_arrow(_words(self.src), _words(self.dst))}"


@dataclass(frozen=True, slots=True)
class Inner:
    """The innermost headers that are looked for."""

    src: frozenset[IPAddress] = frozenset()
    dst: frozenset[IPAddress] = frozenset()
    sport: int | None = None
    dport: int | None = None
    ttl: int | None = None
    segment: bool = False  #: must be TCP
    payload: bytes = b""  #: must stand in the TCP payload

    def differences(self, packet: Packet) -> list[str]:
        found = _differing_addresses(self.src, self.dst, packet.ip, "inner " if packet.tunnels else "")
        if self.ttl is not None and packet.ip.ttl != self.ttl:
            found.append(f"TTL {packet.ip.ttl} instead of {self.ttl}")
        if not self.segment:
            return found
        if packet.tcp is None:
            return [*found, f"IP protocol {packet.ip.protocol} instead of TCP"]
        if self.sport is not None and packet.tcp.sport != self.sport:
            found.append(f"source port {packet.tcp.sport} instead of {self.sport}")
        if self.dport is not None and packet.tcp.dport != self.dport:
            found.append(f"destination port {packet.tcp.dport} instead of {self.dport}")
        if self.payload not in packet.tcp.payload:
            found.append(f"payload without {_text(self.payload)}")
        return found

    def over(self, other: Inner) -> Inner:
        """Both conditions in one; where both name a value, ``other`` (written further right) wins."""
        return Inner(
            other.src or self.src,
            other.dst or self.dst,
            self.sport if other.sport is None else other.sport,
            self.dport if other.dport is None else other.dport,
            self.ttl if other.ttl is None else other.ttl,
            self.segment or other.segment,
            other.payload or self.payload,
        )

    def __str__(self) -> str:
        head = "TCP" if self.segment else "IP"
        arrow = _arrow(_words(self.src, self.sport), _words(self.dst, self.dport))
        ttl = f" with TTL {self.ttl}" if self.ttl is not None else ""
        payload = f" carrying {_text(self.payload)}" if self.payload else ""
        return f"{head}{arrow}{ttl}{payload}"


@dataclass(frozen=True, slots=True)
class Matcher:
    """Envelopes around an inner packet. ``outer`` lists exactly these, outermost first; ``None``: any."""

    outer: tuple[Outer, ...] | None = ()
    inner: Inner = field(default_factory=Inner)
    other_envelope: bool = False  #: the inner packet in any envelope *but* ``outer``

    def matches(self, packet: Packet) -> bool:
        if self.inner.differences(packet):
            return False
        return bool(self._envelope_differences(packet)) == self.other_envelope

    def differences(self, packet: Packet) -> list[str]:
        """How ``packet`` differs, in words; empty exactly when it matches."""
        if self.matches(packet):
            return []
        found = self._envelope_differences(packet)
        if self.other_envelope:
            found = [] if found else ["in the envelope that is excepted"]
        return found + self.inner.differences(packet)

    def _envelope_differences(self, packet: Packet) -> list[str]:
        if self.outer is None:
            return []
        if len(packet.tunnels) > len(self.outer):
            if self.outer:
                return [f"encapsulated {len(packet.tunnels)} times instead of {len(self.outer)}"]
            return [f"encapsulated ({describe_envelope(packet)})"]
        if len(packet.tunnels) < len(self.outer):
            return ["bare, without encapsulation" if packet.bare else "one encapsulation is missing"]
        return [
            words
            for wanted, tunnel in zip(self.outer, packet.tunnels, strict=True)
            for words in wanted.differences(tunnel)
        ]

    def in_another_envelope(self) -> Matcher:
        """The same inner packet, but bare, in another tunnel, addressed otherwise or wrapped twice."""
        return replace(self, other_envelope=True)

    def __truediv__(self, inside: Matcher) -> Matcher:
        if self.outer is None or inside.outer is None:
            return Matcher(None, self.inner.over(inside.inner))
        return Matcher(self.outer + inside.outer, self.inner.over(inside.inner))

    def __str__(self) -> str:
        if self.outer is None:
            return f"{self.inner}, bare or inside any envelope"
        if self.other_envelope:
            envelope = " around ".join(map(str, self.outer)) or "none"
            return f"{self.inner} in another envelope than {envelope}"
        if not self.outer:
            return f"plain {self.inner}"
        return " around ".join([*map(str, self.outer), str(self.inner)])


def ip(src: Who | None = None, dst: Who | None = None, ttl: int | None = None) -> Matcher:
    """An IP packet without envelope. ``ttl`` as in the header at the capture point."""
    return Matcher(inner=Inner(_addresses(src), _addresses(dst), ttl=ttl))


def tcp(
    src: Who | None = None,
    dst: Who | None = None,
    sport: int | None = None,
    dport: int | None = None,
    payload: bytes = b"",
) -> Matcher:
    """A TCP segment without envelope; ``src`` and ``dst`` may be ``(address, port)``."""
    return Matcher(
        inner=Inner(
            _addresses(src),
            _addresses(dst),
            src[1] if isinstance(src, tuple) else sport,
            dst[1] if isinstance(dst, tuple) else dport,
            segment=True,
            payload=payload,
        )
    )


def ipip(src: Who | None = None, dst: Who | None = None) -> Matcher:
    """An IP-in-IP envelope (RFC 2003, IP protocol 4)."""
    return Matcher((Outer("ipip", _addresses(src), _addresses(dst)),))


def vxlan(
    src: Who | None = None,
    dst: Who | None = None,
    vni: int | None = None,
    udp_port: int | None = CALICO_VXLAN_PORT,
) -> Matcher:
    """A VXLAN envelope (RFC 7348); the destination port is Calico's, 4789, unless given."""
    return Matcher((Outer("vxlan", _addresses(src), _addresses(dst), vni, udp_port),))


plain = Matcher()  #: any IP packet without envelope


def anywhere(matcher: Matcher) -> Matcher:
    """What ``matcher`` says of the inner packet, bare or inside any envelope."""
    return Matcher(None, matcher.inner)


def describe(packet: Packet) -> str:
    """A packet in the words of the matchers."""
    arrow = f"{describe_end(packet, 'src')} -> {describe_end(packet, 'dst')}"
    head = "TCP" if packet.tcp else "ICMP" if packet.icmp else f"IP protocol {packet.ip.protocol}"
    return " around ".join(part for part in (describe_envelope(packet), f"{head} {arrow}") if part)


def describe_envelope(packet: Packet) -> str:
    """The envelopes of a packet, outermost first; empty when it is bare."""
    return " around ".join(
        f"{_title(tunnel.kind)}{'' if tunnel.vni is None else f' VNI {tunnel.vni}'} "
        f"{tunnel.outer.src} -> {tunnel.outer.dst}"
        for tunnel in packet.tunnels
    )


def describe_end(packet: Packet, end: str) -> str:
    """The inner ``"src"`` or ``"dst"`` with its port: ``"20.111.156.72:8080"``."""
    address = packet.ip.src if end == "src" else packet.ip.dst
    if packet.tcp is None:
        return str(address)
    return address_and_port(address, packet.tcp.sport if end == "src" else packet.tcp.dport)


def address_and_port(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _addresses(who: Who | None) -> frozenset[IPAddress]:
    if who is None:
        return frozenset()
    if isinstance(who, frozenset):
        return who
    address = who[0] if isinstance(who, tuple) else who
    return frozenset({ip_address(address) if isinstance(address, str) else address})


def _differing_addresses(
    src: frozenset[IPAddress], dst: frozenset[IPAddress], header: IPHeader, layer: str
) -> list[str]:
    found = []
    if src and header.src not in src:
        found.append(f"{layer}source {header.src} instead of {_words(src)}")
    if dst and header.dst not in dst:
        found.append(f"{layer}destination {header.dst} instead of {_words(dst)}")
    return found


def _words(addresses: frozenset[IPAddress], port: int | None = None) -> str:
    joined = " or ".join(sorted(map(str, addresses)))
    if port is None:
        return joined
    if len(addresses) == 1:
        return address_and_port(next(iter(addresses)), port)
    return f"{joined} port {port}".strip()


def _arrow(src: str, dst: str) -> str:
    if not src and not dst:
        return ""
    return f" {src} ->" + (f" {dst}" if dst else "") if src else f" -> {dst}"


def _title(kind: str) -> str:
    return _TITLES.get(kind, kind)


def _text(payload: bytes) -> str:
    return '"' + payload.decode("ascii", "backslashreplace") + '"'
