"""Whether full-sized packets fit the path between two pods."""

from __future__ import annotations

from dataclasses import replace

from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.matchers import Matcher, describe
from pytest_k8snet.claims.path import target, underlay
from pytest_k8snet.claims.verdict import Verdict, broken, held, inconclusive, shown_by
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.observations import PodEvidence, PodNetworkLab
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent

#: Bytes that an envelope adds: an IPv4 header; IPv4 + UDP + VXLAN + Ethernet (RFC 7348).
OVERHEAD = {"ipip": 20, "vxlan": 50, None: 0}
LARGE = 64 * 1024  #: bytes of answer that show the path carries full-sized packets
_FRAGMENTATION_NEEDED = {4: (3, 4), 6: (2, 0)}  # RFC 792; RFC 4443 "packet too big"


def link_fits(pod: PodEvidence, kind: str | None) -> Verdict:
    """The pod's full-sized packets, with the envelope around them, fit its node's uplink."""
    eth0, uplink, overhead = _eth0(pod), pod.node.uplink.get(), OVERHEAD[kind]
    need = eth0.mtu + overhead
    expected = (
        f"{pod.pod.name}'s eth0 MTU {eth0.mtu} + {overhead} bytes of {kind or 'no'} envelope "
        f"<= MTU {uplink.mtu} of {pod.node.name}'s {uplink.interface}"
    )
    seen = f"{pod.pod.name}: {eth0.mtu} + {overhead} = {need}, uplink {uplink.mtu}"
    if need <= uplink.mtu:
        return held(expected, seen, **shown_by(pod.inside, "eth0"))
    advice = f"set Calico's MTU (veth_mtu, or Felix's *MTU) to at most {uplink.mtu - overhead}"
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


def tunnelled(hop: Hop, envelope: Matcher) -> Verdict:
    """All of the large answer is in the tunnel, else it shows nothing of what fits there."""
    expected = f"{hop.where}: the large answer as {envelope}"
    answers = [packet for packet in hop.replies if packet.tcp is not None and packet.tcp.payload]
    strays = [packet for packet in answers if not envelope.matches(packet)]
    if answers and not strays:
        return held(
            expected, f"{len(answers)} packets in their envelope", where=hop.where, command=hop.command
        )
    seen = f"packet {strays[0].number}: {describe(strays[0])}" if strays else "no payload came back"
    return inconclusive(
        expected,
        f"the large answer did not use the tunnel: {seen}",
        where=hop.where,
        command=hop.command,
        advice="nothing shows that full-sized packets fit inside the envelope: see reply-encapsulated first",
        details=hop.ledger.text,
    )


def unfragmented(hop: Hop, lab: PodNetworkLab) -> Verdict:
    """No IP fragment between these pods and nodes, and no ICMP that asks for smaller packets.

    The ICMP goes to whoever sent the large packet: for a tunnel that is too narrow, to the pod, over
    its host interface alone.
    """
    ends = {lab.large.client_ip, target(lab.large)[0], underlay(lab.source.node), underlay(lab.target.node)}
    expected = f"{hop.where}: a large answer without fragments"
    try:
        capture = hop.capture
    except NotObserved as missing:
        advice = missing.advice or "run the capture by hand on that node and see what it says"
        return inconclusive(expected, missing.cause, where=hop.where, command=hop.command, advice=advice)
    for packet in capture.packets:
        headers = [*(tunnel.outer for tunnel in packet.tunnels), packet.ip]
        cut = [header for header in headers if header.fragment and {header.src, header.dst} <= ends]
        too_big = packet.icmp == _FRAGMENTATION_NEEDED[packet.ip.src.version] and packet.ip.dst in ends
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


def _eth0(pod: PodEvidence) -> Interface:
    for interface in pod.inside.get():
        if interface.name == "eth0":
            return interface
    raise NotObserved(
        f"{pod.pod.name} has no eth0 to read an MTU from", node=pod.node.name, command=pod.inside.command
    )
