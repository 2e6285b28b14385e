"""What nodes do to packets on their way: drop, rewrite, find too large."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from pytest_k8snet.claims.causes.ways import (
    Traced,
    entry_uplink,
    first_hop,
    hop_at,
    silent,
    translated,
    tunnel_device,
    ways,
)
from pytest_k8snet.claims.diagnosis import cause
from pytest_k8snet.claims.flow import ttl_change
from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.matchers import describe
from pytest_k8snet.claims.mtu import overhead
from pytest_k8snet.claims.path import encapsulation, own_addresses, same_node
from pytest_k8snet.evidence import netconf
from pytest_k8snet.evidence.interfaces import Interface, named
from pytest_k8snet.evidence.observations import ClusterIPLab, NodeEvidence, PodEvidence, PodNetworkLab
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent


@cause(
    symptom="packets come out of the tunnel and are gone",
    evidence="rp_filter is strict on the tunnel (the higher of all's and its own), and the node's route back "
    "to the inner source leads elsewhere",
    remedy="give the way back the tunnel too, or set rp_filter to 2 (loose) on the tunnel and on all",
)
def rp_filter_strict(lab: Traced, intent: Intent) -> str | None:
    """The kernel drops what comes in by another interface than it would answer by (RFC 3704, strict)."""
    hops = {lab.request.target.node.name: Ledger.of(lab.request, intent).hop("target-uplink")}
    hops[lab.request.entry.name] = entry_uplink(lab, intent)
    for way in ways(lab, intent):
        device = tunnel_device(way.node, intent)
        if device is None or way.route is None or way.route.device == device.name:
            continue
        came = [p for p in hops[way.node.name].capture.packets if p.tunnels and p.ip.src == way.address]
        if came and netconf.rp_filter(_netconf(lab, way.node), device.name) == "strict":
            back = way.route.device or "no interface"
            takes = f"{way.node.name} takes {way.address} in by {device.name}, where rp_filter is strict"
            return f"{takes}, and would answer it by {back}"
    return None


@cause(
    symptom="nothing gets through a node, though it answers itself",
    evidence="ip netconf: the interface that packets come in by does not forward",
    remedy="sysctl -w net.ipv4.ip_forward=1, and see which of /etc/sysctl.d turned it off",
)
def forwarding_off(lab: Traced, intent: Intent) -> str | None:
    """The node does not forward."""
    for node, interface in _entrances(lab, intent):
        if netconf.forwards(_netconf(lab, node), interface) is False:
            return f"{node.name} does not forward what comes in by {interface}"
    return None


@cause(
    symptom="pods on one node can't be reached from others",
    evidence="the request arrives encapsulated on the target's uplink and never on the pod's host interface, "
    "whose capture shows the control; the node's tunnel device is missing or down",
    remedy="ip -d link show type ipip (or vxlan): who took it down? See calico-node's log on that node",
)
def not_decapsulated(lab: Traced, intent: Intent) -> str | None:
    """The target's node does not take packets out of their envelope."""
    ledger, node = Ledger.of(lab.request, intent), lab.request.target.node
    arrived, veth = ledger.hop("target-uplink"), ledger.hop("target-veth")
    if not any(packet.tunnels for packet in arrived.sightings) or not silent(veth) or ledger.answered:
        return None
    device = tunnel_device(node, intent)
    if device is None:
        why = f"{node.name} has no {intent.tunnel} interface"
    elif not device.up:
        why = f"{device.name} of {node.name} is down"
    else:
        return None  # what is taken out and then dropped looks the same: lost_on_node
    return f"the request arrives on {arrived.where} and not on {veth.where}: {why}"


@cause(
    symptom="a request vanishes on a node that it reached",
    evidence="it is seen coming in, and the working capture of the way out does not hold it",
    remedy="iptables -vL on that node: counters of DROP in FORWARD (a NetworkPolicy?), and in INPUT for the "
    "envelope's protocol; nstat -az for the kernel's own drops",
)
def lost_on_node(lab: Traced, intent: Intent) -> str | None:
    """A node takes the request in and does not send it on."""
    ledger = Ledger.of(lab.request, intent)
    if ledger.answered:
        return None
    first, veth = first_hop(lab, intent), ledger.hop("target-veth")
    stretches = [(first, entry_uplink(lab, intent)), (ledger.hop("target-uplink"), veth)]
    if same_node(first.node, veth.node):
        stretches = [(first, veth)]
    for came, left in stretches:
        sent = bool(translated(left)) if came.point.id == left.point.id else not silent(left)
        if came.sightings and not sent:
            return (
                f"{came.node.name} takes it in by {came.point.interface}, and sends nothing by {left.where}"
            )
    return None


@cause(
    symptom="requests arrive, and clients wait in vain",
    evidence="the answer is seen coming in by the uplink of the client's node, and never at the client",
    remedy="iptables -vL FORWARD and -t mangle -vL on that node (counters of DROP), conntrack -S (invalid)",
)
def answer_lost_on_node(lab: Traced, intent: Intent) -> str | None:
    """The node that sent the request on takes the answer in, and does not hand it back."""
    ledger = Ledger.of(lab.request, intent)
    came, client = entry_uplink(lab, intent), hop_at(lab, intent, "source-veth", "client-uplink")
    onward = {(p.ip.src, p.tcp.sport) for p in translated(came) if p.tcp}
    answers = [p for p in came.replies if p.tcp and (p.ip.dst, p.tcp.dport) in onward]
    if ledger.answered or client.replies or not answers:
        return None
    return f"{came.where} shows {describe(answers[0])} coming in, and {client.where} no answer"


@cause(
    symptom="the server sees a node's address instead of the pod's",
    evidence="the request's source behind a node is an address of that node's own",
    remedy="iptables -t nat -vL POSTROUTING on the sending node: which MASQUERADE matches traffic of pods?",
)
def pod_traffic_masqueraded(lab: PodNetworkLab | ClusterIPLab, intent: Intent) -> str | None:
    """A node rewrites the source of traffic between pods."""
    client = lab.request.client_ip
    for hop in Ledger.of(lab.request, intent).hops:
        for packet in hop.sightings if hop.readable else ():
            nodes = (lab.request.entry, hop.node)
            own = frozenset[IPAddress]().union(*(own_addresses(node, client.version) for node in nodes))
            if packet.ip.src != client and packet.ip.src in own:
                return f"{client} became {packet.ip.src}, first seen on {hop.where}: {describe(packet)}"
    return None


@cause(
    symptom="TTLs that no number of routers explains; traceroute lies",
    evidence="inside one node the TTL falls by another number than 1, or it changes in the tunnel",
    remedy="iptables -t mangle -vL on that node: a rule with target TTL; or a router more between the points",
)
def ttl_rewritten(lab: PodNetworkLab, intent: Intent) -> str | None:
    """Something rewrites the TTL."""
    seen = [(hop, hop.packet) for hop in Ledger.of(lab.request, intent).hops]
    for before, after in pairwise(seen):
        if change := ttl_change(before, after):
            return f"between {before[0].where} and {after[0].where}: {change}"
    return None


@cause(
    symptom="large answers are fragmented, or stall",
    evidence="a pod's MTU and the envelope together exceed the uplink's MTU",
    remedy="set Calico's MTU (veth_mtu, or Felix's *MTU) to the uplink's less the envelope, make pods anew",
)
def mtu_too_large(lab: PodNetworkLab, intent: Intent) -> str | None:
    """The pods' MTU leaves no room for the envelope."""
    kind = encapsulation(intent, lab.source.node, lab.target.node)
    for pod, eth0 in _eth0s(lab):
        uplink = pod.node.uplink.get()
        added = overhead(kind, uplink.ip)
        if eth0.mtu + added > uplink.mtu:
            need = f"eth0 of {pod.pod.name} has MTU {eth0.mtu}, {eth0.mtu + added} with its envelope"
            fits = f"{uplink.interface} of {pod.node.name} has {uplink.mtu}, so {uplink.mtu - added} fits"
            return f"{need}; {fits}"
    return None


@cause(
    symptom="large answers wait for an ICMP that asks for smaller packets, or stall",
    evidence="a node's tunnel has a smaller MTU than a pod",
    remedy="give tunnel and pods one MTU (Calico's veth_mtu, or Felix's *MTU); make the pods anew",
)
def tunnel_mtu_too_small(lab: PodNetworkLab, intent: Intent) -> str | None:
    """The tunnel's MTU is smaller than the pods'."""
    for pod, eth0 in _eth0s(lab):
        device = tunnel_device(pod.node, intent)
        if device is not None and device.mtu < eth0.mtu:
            return f"{device.name} of {pod.node.name} has MTU {device.mtu}, eth0 of {pod.pod.name} {eth0.mtu}"
    return None


@cause(
    symptom="small answers come, large ones stall",
    evidence="the small request is answered, the large one is not, and the MTUs of pods and links fit",
    remedy="ping -M do -s SIZE between the nodes finds the largest that passes; let ICMP 3/4 through",
)
def pmtu_black_hole(lab: PodNetworkLab, intent: Intent) -> str | None:
    """Full-sized packets vanish on the way, and no ICMP tells the sender (RFC 2923, 2.1)."""
    large = lab.large.answer.get()
    if large.answered or not lab.request.answer.get().answered:
        return None
    if mtu_too_large.found(lab, intent) or tunnel_mtu_too_small.found(lab, intent):
        return None
    if lab.large.upload:
        return f"the large request was not answered ({large.error or 'no error'}); the small one was"
    return (
        f"of the large answer {large.size} bytes came ({large.error or 'no error'}); the small one came whole"
    )


def _netconf(lab: Traced, node: NodeEvidence) -> tuple[netconf.NetConf, ...]:
    """Raises NotObserved where the node was not asked: the request was answered, or is not IPv4's."""
    after = lab.request.aftermath if lab.request.client_ip.version == 4 else None
    if after is None or node.name not in after.netconf:
        raise NotObserved(f"the settings of {node.name}'s interfaces were not read")
    return after.netconf[node.name].get()


def _entrances(lab: Traced, intent: Intent) -> Iterator[tuple[NodeEvidence, str]]:
    """Interfaces by which the request comes in where it must be forwarded."""
    first = first_hop(lab, intent)
    yield first.node, first.point.interface
    goal = lab.request.target.node
    if not same_node(lab.request.entry, goal):
        device = tunnel_device(goal, intent) if encapsulation(intent, lab.request.entry, goal) else None
        yield goal, device.name if device else goal.uplink.get().interface


def _eth0s(lab: PodNetworkLab) -> Iterator[tuple[PodEvidence, Interface]]:
    for pod in (lab.source, lab.target):
        if eth0 := named(pod.inside.get(), "eth0"):
            yield pod, eth0
