"""Whether full-sized packets fit the path between two pods."""

from __future__ import annotations

from dataclasses import replace

from pytest_k8snet.claims.ledger import Hop, Ledger, flow_tuple
from pytest_k8snet.claims.matchers import Matcher, anywhere, describe, tcp
from pytest_k8snet.claims.path import envelope, target, underlay
from pytest_k8snet.claims.verdict import Verdict, all_of, broken, held, inconclusive, shown_by
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.observations import PodEvidence, PodNetworkLab
from pytest_k8snet.evidence.packets import IPIP, UDP, IPAddress, Packet
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent

#: Bytes that an envelope adds: an IPv4 header; IPv4 + UDP + VXLAN + Ethernet (RFC 7348).
OVERHEAD = {"ipip": 20, "vxlan": 50, None: 0}
_LONGER_HEADER = 20  #: of IPv6 (RFC 8200, 3) than of IPv4
LARGE = 64 * 1024  #: bytes of answer or request that show the path carries full-sized packets
_FRAGMENTATION_NEEDED = {4: (3, 4), 6: (2, 0)}  # RFC 792; RFC 4443 "packet too big"
_ENVELOPE = {"ipip": IPIP, "vxlan": UDP}  #: the protocol of a tunnel's outer header


def overhead(kind: str | None, underlay: IPAddress) -> int:
    """Bytes that the envelope adds between nodes whose addresses are of that family."""
    return OVERHEAD[kind] + (_LONGER_HEADER if kind and underlay.version == 6 else 0)


def link_fits(pod: PodEvidence, kind: str | None) -> Verdict:
    """The pod's full-sized packets, with the envelope around them, fit its node's uplink."""
    eth0, uplink = _eth0(pod), pod.node.uplink.get()
    added = overhead(kind, uplink.ip)
    need = eth0.mtu + added
    expected = (
        f"{pod.pod.name}'s eth0 MTU {eth0.mtu} + {added} bytes of {kind or 'no'} envelope "
        f"<= MTU {uplink.mtu} of {pod.node.name}'s {uplink.interface}"
    )
    seen = f"{pod.pod.name}: {eth0.mtu} + {added} = {need}, uplink {uplink.mtu}"
    if need <= uplink.mtu:
        return held(expected, seen, **shown_by(pod.inside, "eth0"))
    advice = f"set Calico's MTU (veth_mtu, or Felix's *MTU) to at most {uplink.mtu - added}"
    return broken(expected, seen, advice=advice, **shown_by(pod.inside, "eth0"))


def tunnel_fits(pod: PodEvidence, kind: str) -> Verdict:
    """The pod's full-sized packets pass the tunnel device of its node.

    That device's MTU already allows for the envelope, and it counts before the uplink's: a larger
    packet is answered with ICMP "fragmentation needed" (RFC 1191) and never reaches the uplink.
    """
    eth0, tunnels = _eth0(pod), [i for i in pod.node.interfaces.get() if i.kind == kind]
    shown = shown_by(pod.node.interfaces)
    expected = f"{pod.pod.name}'s eth0 MTU {eth0.mtu} <= MTU of the {kind} device on {pod.node.name}"
    if not tunnels:
        advice = "check that calico-node runs there and that the declared encapsulation is the real one"
        seen = f"{pod.node.name} has no {kind} interface"
        return inconclusive(expected, seen, advice=advice, **shown)
    narrowest = min(tunnels, key=lambda tunnel: tunnel.mtu)
    seen = f"{pod.pod.name}: {eth0.mtu}, {narrowest.name} {narrowest.mtu}"
    shown = shown_by(pod.node.interfaces, narrowest.name)
    if eth0.mtu <= narrowest.mtu:
        return held(expected, seen, **shown)
    advice = f"give {narrowest.name} and the pods one MTU: Calico's veth_mtu, or Felix's *MTU"
    return broken(expected, seen, advice=advice, **shown)


def transferred(lab: PodNetworkLab, intent: Intent, kind: str | None) -> Verdict:
    """The large transfer arrived, over the uplinks, and all of it in its envelope where one is due.

    It goes the way of the answer, or that of the request where that was the large one.
    """
    transfer = uploaded(lab, intent) if lab.large.upload else arrived(lab, intent)
    if not transfer.held:
        return transfer
    ledger, nodes = Ledger.of(lab.large, intent), (lab.source.node, lab.target.node)
    uplinks = [ledger.hop("target-uplink"), ledger.hop("source-uplink")]
    if lab.large.upload:
        packets = tcp(dst=target(lab.large))
        passed = [hop.shows(anywhere(packets)) for hop in uplinks]
    else:
        packets, nodes = tcp(src=target(lab.large)), (lab.target.node, lab.source.node)
        passed = [hop.reply_shows(anywhere(packets)) for hop in uplinks]
    if kind and all(verdict.held for verdict in passed):
        passed = [tunnelled(hop, envelope(intent, *nodes) / packets) for hop in uplinks]
    return all_of((transfer, *passed))


def tunnelled(hop: Hop, inside: Matcher) -> Verdict:
    """All of the large transfer is in the tunnel, else it shows nothing of what fits there."""
    what = _large(hop)
    expected = f"{hop.where}: the {what} as {inside}"
    upload = hop.ledger.request.upload
    packets = [packet for packet in (requests(hop) if upload else hop.replies) if _payload(packet)]
    strays = [packet for packet in packets if not inside.matches(packet)]
    if packets and not strays:
        return held(
            expected, f"{len(packets)} packets in their envelope", where=hop.where, command=hop.command
        )
    seen = f"packet {strays[0].number}: {describe(strays[0])}" if strays else "no payload came back"
    return inconclusive(
        expected,
        f"the {what} did not use the tunnel: {seen}",
        where=hop.where,
        command=hop.command,
        advice="nothing shows that full-sized packets fit inside the envelope: see "
        + ("encapsulated-on-source-uplink first" if upload else "reply-encapsulated first"),
        details=hop.ledger.text,
    )


def requests(hop: Hop) -> tuple[Packet, ...]:
    """Packets of the request's connection towards the server, in capture order."""
    tuples = hop.ledger.tuples
    return tuple(packet for packet in hop.flow if flow_tuple(packet) in tuples)


def unfragmented(hop: Hop, lab: PodNetworkLab, kind: str | None) -> Verdict:
    """No IP fragment between these pods, or of their envelope (``kind``), and no ICMP that asks for smaller
    packets.

    The ICMP goes to whoever sent the large packet: for a tunnel that is too narrow, to the pod, over
    its host interface alone. What the nodes themselves send, to each other or to others, is not the pods'.
    """
    nodes = {underlay(lab.source.node), underlay(lab.target.node)}
    ends = nodes | {lab.large.client_ip, target(lab.large)[0]}
    expected = f"{hop.where}: a {_large(hop)} without fragments"
    try:
        capture = hop.capture
    except NotObserved as missing:
        advice = missing.advice or "run the capture by hand on that node and see what it says"
        return inconclusive(expected, missing.cause, where=hop.where, command=hop.command, advice=advice)
    for packet in capture.packets:
        headers = [*(tunnel.outer for tunnel in packet.tunnels), packet.ip]
        cut = [
            header
            for header in headers
            if header.fragment
            and {header.src, header.dst} <= ends
            and (header.protocol == _ENVELOPE.get(kind or "") or not {header.src, header.dst} <= nodes)
        ]
        too_big = (
            packet.icmp == _FRAGMENTATION_NEEDED[packet.ip.src.version]
            and packet.ip.dst in ends
            and (packet.quoted is None or packet.quoted.dst in ends)
        )
        if cut or too_big:
            what = "ICMP fragmentation needed" if too_big else "an IP fragment"
            return broken(
                expected,
                f"packet {packet.number} is {what}: {describe(replace(packet, tcp=None))}",
                where=hop.where,
                command=hop.command,
                advice="the pods' MTU is larger than the path carries: lower it on both nodes",
            )
    seen = f"none among {len(capture.packets)} packets"
    return held(expected, seen, where=hop.where, command=hop.command)


def arrived(lab: PodNetworkLab, intent: Intent) -> Verdict:
    exchange = lab.large.answer.get()
    expected = f"an answer of at least {LARGE} bytes over the same path"
    shown = shown_by(lab.large.answer)
    seen = f"{exchange.size} bytes, HTTP {exchange.status}"
    if exchange.answered and exchange.size >= LARGE:
        return held(expected, seen, **shown)
    if exchange.answered and not exchange.error:
        advice = "ask for a larger answer: small ones fit any MTU"
        return inconclusive(expected, f"{seen}: too small to show anything", advice=advice, **shown)
    seen += f" ({exchange.error})" if exchange.error else ""
    return _vanished(lab, intent, expected, seen, shown)


def uploaded(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """The target's kernel acknowledged a large request, and its process answered with any status.

    What arrived is counted on the wire at the target, from the request's first byte. A server may end the
    connection before it has read all: that shows nothing of the path.
    """
    exchange, hop = lab.large.answer.get(), Ledger.of(lab.large, intent).hop("target-veth")
    expected = f"{hop.where}: at least {LARGE} bytes of a request acknowledged by {lab.target.pod.name}"
    shown: dict[str, str] = {"where": hop.where, "command": hop.command}
    try:
        count, ended = acknowledged(hop)
    except NotObserved as missing:
        return inconclusive(expected, missing.cause, advice=missing.advice, **shown)
    answer = f"HTTP {exchange.status}" if exchange.status else "no answer"
    seen = f"{count} bytes, {answer}" + (f" ({exchange.error})" if exchange.error else "")
    if count >= LARGE:
        if exchange.status and not exchange.error:
            return held(expected, seen, **shown)
        advice = "full-sized packets pass; see why the server does not answer such a request"
        return inconclusive(expected, seen, advice=advice, **shown)
    if (exchange.status and not exchange.error) or ended:
        why = "the server ended the connection" if ended else "too small to show anything"
        advice = (
            "the application takes no large request: name images that do, as --k8snet-images agnhost does"
        )
        return inconclusive(expected, f"{seen}: {why}", advice=advice, **shown)
    return _vanished(lab, intent, expected, seen, shown)


def acknowledged(hop: Hop) -> tuple[int, bool]:
    """How many bytes of the request the server's TCP acknowledged here, and whether it ended the connection.

    Raises NotObserved when the capture can't tell. Sequence numbers wrap at 2^32 (RFC 9293, 3.4).
    """
    if not hop.capture.packets:
        raise NotObserved(
            "the capture holds no IP packet", advice="check that this interface is the right one"
        )
    opening = hop.sightings[0].tcp if hop.sightings else None
    if opening is None:
        return 0, False
    replies = [packet.tcp for packet in hop.replies if packet.tcp is not None]
    counts = [(reply.ack - opening.seq) % 2**32 for reply in replies if "A" in reply.flags]
    ended = any({"F", "R"} & set(reply.flags) for reply in replies)
    return max((count for count in counts if count < 2**31), default=0), ended


def _vanished(lab: PodNetworkLab, intent: Intent, expected: str, seen: str, shown: dict[str, str]) -> Verdict:
    if not Ledger.of(lab.request, intent).answered:
        advice = "not even the small request was answered: see the other claims first"
        return inconclusive(expected, seen, advice=advice, **shown)
    return broken(
        expected,
        f"{seen}, although the small request was answered and the links' MTUs fit: full-sized packets vanish",
        advice="a PMTU black hole: ping -M do -s SIZE between the nodes finds the largest that passes",
        details=Ledger.of(lab.large, intent).text,
        **shown,
    )


def _large(hop: Hop) -> str:
    return "large request" if hop.ledger.request.upload else "large answer"


def _payload(packet: Packet) -> bool:
    return packet.tcp is not None and bool(packet.tcp.payload)


def _eth0(pod: PodEvidence) -> Interface:
    for interface in pod.inside.get():
        if interface.name == "eth0":
            return interface
    raise NotObserved(
        f"{pod.pod.name} has no eth0 to read an MTU from", node=pod.node.name, command=pod.inside.command
    )
