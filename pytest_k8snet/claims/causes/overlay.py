"""What goes wrong between two nodes: pools, routes, tunnels."""

from __future__ import annotations

import re

from pytest_k8snet.claims.causes.ways import (
    Traced,
    entry_uplink,
    translated,
    tunnel_device,
    walk_of,
    ways,
)
from pytest_k8snet.claims.diagnosis import cause
from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.matchers import describe_envelope
from pytest_k8snet.claims.path import encapsulation, pod_ip, target, underlay
from pytest_k8snet.claims.pools import MODES, pool_of
from pytest_k8snet.evidence.observations import ClusterIPLab, PodNetworkLab
from pytest_k8snet.intent import Intent

#: kube-proxy's rule for clients from outside the cluster, in the modes iptables and ipvs, and nftables.
_OUTSIDE = re.compile(r" ! -s (\S+) .*-j KUBE-MARK-MASQ$| saddr != (\S+) jump mark-for-masquerade$")


@cause(
    symptom="pod traffic crosses the uplink bare, or in another envelope than declared",
    evidence="the IPPool that holds a pod's IP states other modes than the declared encapsulation",
    remedy="calicoctl patch ippool NAME with the mode that is meant, or declare k8snet_encapsulation",
)
def pool_mode(lab: PodNetworkLab, intent: Intent) -> str | None:
    """Calico's pool says another mode: Never, CrossSubnet, or VXLAN instead of IPIP."""
    meant = MODES[intent.encapsulation]
    for pod in (lab.source, lab.target):
        pool = pool_of(lab.pools.get(), pod_ip(pod.pod, lab.request.client_ip))
        if pool and (pool.ipip_mode or "Never", pool.vxlan_mode or "Never") != meant:
            says = f"ipipMode {pool.ipip_mode}, vxlanMode {pool.vxlan_mode}"
            return f"pool {pool.name} ({pool.cidr}) says {says}; declared is {intent.encapsulation}"
    return None


@cause(
    symptom="pods see a node's address instead of the asking pod's",
    evidence="kube-proxy's clusterCIDR, as it is stated or as its rules have it, does not contain a pod's IP",
    remedy="set kube-proxy's clusterCIDR to the pool's range and restart it on every node",
)
def cluster_cidr_misses_pods(lab: PodNetworkLab | ClusterIPLab, intent: Intent) -> str | None:
    """kube-proxy takes the pods for clients outside the cluster, and masquerades what they send."""
    if isinstance(lab, ClusterIPLab):
        return _marked_as_outsider(lab, intent)
    addresses = [pod_ip(pod.pod, lab.request.client_ip) for pod in (lab.source, lab.target)]
    for place in lab.cluster_cidrs.get():
        if "kube-proxy" not in place.source or place.network.version != addresses[0].version:
            continue
        outside = [address for address in addresses if address not in place.network]
        if outside:
            out = " and ".join(map(str, outside))
            return (
                f"{place.source} is {place.network}: kube-proxy takes {out} for a client outside the cluster"
            )
    return None


@cause(
    symptom="pods get addresses that other parts of the cluster do not take for pods'",
    evidence="the IPPool's CIDR and the cluster's pod CIDR differ, or no pool holds a pod's IP",
    remedy="give Calico's pool, kubeadm, controller-manager and kube-proxy one range; make the pods anew",
)
def pool_cidr(lab: PodNetworkLab, intent: Intent) -> str | None:
    """Calico's pool is another range than the cluster's pod CIDR."""
    pools = lab.pools.get()
    for pod in (lab.source, lab.target):
        address = pod_ip(pod.pod, lab.request.client_ip)
        pool = pool_of(pools, address)
        if pool is None:
            known = ", ".join(str(pool.cidr) for pool in pools) or "none"
            return f"no pool holds {address} of {pod.pod.name}; pools: {known}"
        for place in lab.cluster_cidrs.get():
            # A node's podCIDR is a share of the range, and Calico's IPAM does not use it.
            share = place.source.startswith("node ")
            if not share and place.network.version == address.version and place.network != pool.cidr:
                return f"pool {pool.name} is {pool.cidr}, {place.source} is {place.network}"
    return None


@cause(
    symptom="a pod's packets take another way than the node's main table shows",
    evidence="ip route get, asked as for the pod's own packet, answers from a table other than main, and "
    "not with the other node's address on the tunnel",
    remedy="ip rule show on the node: whose rule is it? Give its table the route that main has, or remove it",
)
def policy_route(lab: Traced, intent: Intent) -> str | None:
    """A policy rule of the node sends the pod's packets by another table."""
    for way in ways(lab, intent):
        if not way.route or not way.route.device or way.route.table in ("main", "local", ""):
            continue
        device = tunnel_device(way.node, intent)
        if (way.route.device, way.route.gateway) != (device and device.name, underlay(way.other)):
            return f"{way}, by table {way.route.table}: see ip rule"
    return None


@cause(
    symptom="pods on other nodes are out of reach, or reached past the overlay by the default route",
    evidence="the node's table main has no route to the other pod but its default route",
    remedy="calicoctl node status: is the BGP session (or Felix) to that node up? See calico-node's log",
)
def no_route_to_block(lab: Traced, intent: Intent) -> str | None:
    """The route to the other node's address block is missing: BIRD or Felix did not write it."""
    for way in ways(lab, intent):
        # Without an overlay the routers between the nodes may know the way, and the default route be right.
        if not way.blocks and encapsulation(intent, way.node, way.other):
            device = tunnel_device(way.node, intent)
            # The kernel takes routes over an interface away with it.
            down = f"; its {device.name} is down" if device is not None and not device.up else ""
            return f"{way}: it has no route to the block of {way.other.name}{down}"
    return None


@cause(
    symptom="traffic works, but crosses the uplink without its envelope",
    evidence="the node's route to the other pod leads over its uplink instead of its tunnel",
    remedy="ip route show: who wrote it (its proto)? Remove it; see the pool's mode",
)
def route_bypasses_tunnel(lab: Traced, intent: Intent) -> str | None:
    """A route over the uplink goes past the tunnel."""
    for way in ways(lab, intent):
        kind = encapsulation(intent, way.node, way.other)
        uplink = way.node.uplink.get().interface
        if kind and way.blocks and way.route and way.route.device == uplink:
            return f"{way}, past its {kind} tunnel"
    return None


@cause(
    symptom="packets arrive at a node that does not run the pod",
    evidence="the route's gateway, or the envelope on the wire, is not the address of the pod's node",
    remedy="ip route show on the sending node; calicoctl ipam show --show-blocks: whose block is it?",
)
def tunnel_to_other_node(lab: Traced, intent: Intent) -> str | None:
    """The tunnel leads to another node than the pod's."""
    for way in ways(lab, intent):
        device = next(
            (i for i in way.node.interfaces.get() if way.route and i.name == way.route.device), None
        )
        meant = underlay(way.other)
        if (
            device is not None
            and device.kind == encapsulation(intent, way.node, way.other) == "ipip"
            and way.route is not None
            and way.route.gateway not in (None, meant)
        ):
            return f"{way}; {way.other.name} is {meant}"
    goal = lab.request.target.node
    for packet in translated(entry_uplink(lab, intent)):
        if len(packet.tunnels) == 1 and packet.tunnels[0].outer.dst != underlay(goal):
            return f"the envelope goes {describe_envelope(packet)}; {goal.name} is {underlay(goal)}"
    return None


@cause(
    symptom="packets between nodes are larger than the overlay's envelope explains",
    evidence="a packet of the request's connection carries more than one envelope",
    remedy="ip -d link show on the sending node: is the tunnel's own traffic routed into a tunnel?",
)
def encapsulated_twice(lab: Traced, intent: Intent) -> str | None:
    """The envelope is put into a second one."""
    for hop in Ledger.of(lab.request, intent).hops:
        for packet in hop.flow if hop.readable else ():
            if len(packet.tunnels) > 1:
                return f"packet {packet.number} on {hop.where} goes {describe_envelope(packet)}"
    return None


@cause(
    symptom="the request is encapsulated, its answer is not",
    evidence="the target node's uplink carries the bare answer to a request that came in a tunnel",
    remedy="on the target's node: ip route get CLIENT from POD iif VETH, ip rule show",
)
def reply_bypasses_tunnel(lab: Traced, intent: Intent) -> str | None:
    """The target's node sends the answer past the tunnel."""
    hop = Ledger.of(lab.request, intent).hop("target-uplink")
    came = any(packet.tunnels for packet in hop.sightings)
    for packet in hop.replies:
        if came and packet.bare and packet.tcp and (packet.ip.src, packet.tcp.sport) == target(lab.request):
            return f"on {hop.where} packet {packet.number} of the answer to {packet.ip.dst} is bare"
    return None


def _marked_as_outsider(lab: ClusterIPLab, intent: Intent) -> str | None:
    """The rule that marks what comes from outside kube-proxy's clusterCIDR, where it takes the pod's."""
    result, node = walk_of(lab, intent)
    for rule in result.path:
        if outside := _OUTSIDE.search(rule):
            client, cidr = lab.request.client_ip, outside[1] or outside[2]
            return f"{node}'s rules mark {client} for masquerading: it is not in {cidr}"
    return None
