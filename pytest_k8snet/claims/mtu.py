"""Whether full-sized packets fit the path between two pods."""

from __future__ import annotations

from dataclasses import replace

from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.matchers import describe
from pytest_k8snet.claims.path import target, underlay
from pytest_k8snet.claims.verdict import Verdict, broken, held, inconclusive, shown_by
from pytest_k8snet.evidence.observations import PodEvidence, PodNetworkLab
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent

#: Bytes that an envelope adds: an IPv4 header; IPv4 + UDP + VXLAN + Ethernet (RFC 7348).
OVERHEAD = {"ipip": 20, "vxlan": 50, None: 0}
LARGE = 64 * 1024  #: bytes of answer that show the path carries full-sized packets
_FRAGMENTATION_NEEDED = {4: (3, 4), 6: (2, 0)}  # RFC 792; RFC 4443 "packet too big"


def link_fits(pod: PodEvidence, kind: str | None) -> Verdict:
    eth0 = next((i for i in pod.inside.get() if i.name == "eth0"), None)
    uplink, overhead = pod.node.uplink.get(), OVERHEAD[kind]
    if eth0 is None:
        raise NotObserved(
            f"{pod.pod.name} has no eth0 to read an MTU from", node=pod.node.name, command=pod.inside.command
        )
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


def unfragmented(hop: Hop, lab: PodNetworkLab) -> Verdict:
    """No IP fragment between these pods and nodes, and no ICMP that asks for smaller packets."""
    ends = {lab.large.client_ip, target(lab.large)[0], underlay(lab.source.node), underlay(lab.target.node)}
    capture = hop.capture
    expected = f"{hop.where}: a large answer without fragments"
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
