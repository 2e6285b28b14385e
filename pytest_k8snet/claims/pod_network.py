"""Lab 2: from pod to pod across nodes, inside the overlay."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from pytest_k8snet.claims.causes import BETWEEN_NODES, ROUTES, overlay, traffic
from pytest_k8snet.claims.diagnosis import explained_by
from pytest_k8snet.claims.flow import Sighting, breaks, clock_jump, disorder
from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.matchers import describe, tcp
from pytest_k8snet.claims.mtu import link_fits, transferred, tunnel_fits, unfragmented
from pytest_k8snet.claims.path import (
    encapsulation,
    envelope,
    masquerade_sources,
    pod_ip,
    same_node,
    target,
    underlay,
    underlay_network,
)
from pytest_k8snet.claims.pools import MODES, pool_of
from pytest_k8snet.claims.verdict import (
    Outcome,
    Verdict,
    all_of,
    broken,
    claim,
    held,
    inconclusive,
    shown_by,
)
from pytest_k8snet.evidence.observations import NodeEvidence, PodEvidence, PodNetworkLab
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.evidence.routes import Route
from pytest_k8snet.intent import Intent


@explained_by(overlay.pool_cidr, overlay.pool_mode)
@claim
def ippool_mode(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """The pool that holds both pod IPs has the declared mode."""
    ipip, vxlan = MODES[intent.encapsulation]
    verdicts = []
    for pod in (lab.source, lab.target):
        address = pod_ip(pod.pod, lab.request.client_ip)
        expected = f"ipipMode {ipip}, vxlanMode {vxlan} in the pool of {pod.pod.name} ({address})"
        pool = pool_of(lab.pools.get(), address)
        if pool is None:
            verdicts.append(_no_pool(lab, expected, address))
            continue
        seen = f"{pool.name} ({pool.cidr}): ipipMode {pool.ipip_mode}, vxlanMode {pool.vxlan_mode}"
        if (pool.ipip_mode or "Never", pool.vxlan_mode or "Never") == (ipip, vxlan):
            verdicts.append(held(expected, seen, **shown_by(lab.pools)))
        else:
            advice = f"kubectl edit ippool {pool.name}, or declare k8snet_encapsulation as it is meant to be"
            verdicts.append(broken(expected, seen, advice=advice, **shown_by(lab.pools)))
    return all_of(verdicts)


@explained_by(overlay.cluster_cidr_misses_pods, overlay.pool_cidr)
@claim
def cidr_agrees(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """Pool CIDR and the cluster's pod CIDR are the same range, and both pod IPs are in it."""
    addresses = [pod_ip(pod.pod, lab.request.client_ip) for pod in (lab.source, lab.target)]
    stated = [c for c in lab.cluster_cidrs.get() if c.network.version == addresses[0].version]
    pools = [pool_of(lab.pools.get(), address) for address in addresses]
    expected = f"one range for pool and cluster that holds {' and '.join(map(str, addresses))}"
    if not stated:
        advice = "name a source: kubeadm-config, kube-controller-manager's flags, kube-proxy's config"
        seen = "nothing on the cluster states its pod CIDR"
        return inconclusive(expected, seen, advice=advice, **shown_by(lab.cluster_cidrs))
    for address, pool in zip(addresses, pools, strict=True):
        if pool is None:
            return _no_pool(lab, expected, address)
    found = [pool for pool in pools if pool is not None]
    cidr = found[0].cidr
    wrong = [f"pool {pool.name} {pool.cidr}" for pool in found[1:] if pool.cidr != cidr]
    advice = "pool, kube-proxy and controller-manager must be given the same range"
    for place in stated:
        # a node's podCIDR is its share of the cluster's range, all other places state the whole
        share = place.source.startswith("node ")
        inside = place.network.version == cidr.version and place.network.subnet_of(cidr)  # type: ignore[arg-type]
        if not (inside if share else place.network == cidr):
            wrong.append(f"{place.source} {place.network}")
    if intent.pod_cidr and intent.pod_cidr.version == cidr.version and intent.pod_cidr != cidr:
        wrong.append(f"declared k8snet_pod_cidr {intent.pod_cidr}")
    pool_words = f"pool {found[0].name} {cidr}"
    if wrong:
        seen = f"{pool_words}, but {', '.join(wrong)}"
        return broken(expected, seen, advice=advice, **shown_by(lab.cluster_cidrs))
    seen = f"{pool_words}; {', '.join(f'{place.source} {place.network}' for place in stated)}"
    return held(expected, seen, **shown_by(lab.cluster_cidrs))


@explained_by(overlay.pool_mode, traffic.forwarding_off, *ROUTES)
@claim
def route_via_tunnel(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """node2 routes pod-dest through node1's address on tunl0, and node1 the reverse."""
    _apart(lab)
    return all_of(
        (
            _routed(lab.to_target, lab.source.node, lab.target, lab.request.client_ip, intent),
            _routed(lab.to_source, lab.target.node, lab.source, lab.request.client_ip, intent),
        )
    )


@claim
def plain_on_source_veth(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """On pod-src's host interface the request is plain: pod-src -> pod-dest:8080, GET /hostname."""
    request = lab.request
    asked = (request.asked_ip, request.asked_port)
    wanted = tcp(src=request.client_ip, dst=asked, payload=f"GET {request.path}".encode())
    return Ledger.of(request, intent).hop("source-veth").shows(wanted)


@explained_by(overlay.pool_mode, *BETWEEN_NODES)
@claim
def encapsulated_on_source_uplink(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """On node2's uplink the request is inside IPIP, addressed node2 -> node1, and never bare."""
    return _enveloped(lab, intent, "source-uplink")


@explained_by(overlay.pool_mode, *BETWEEN_NODES)
@claim
def encapsulated_on_target_uplink(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """The same packet, still encapsulated, arrives on node1's uplink."""
    return _enveloped(lab, intent, "target-uplink")


@explained_by(*BETWEEN_NODES)
@claim
def decapsulated_on_target_veth(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """On pod-dest's host interface the request is plain again."""
    wanted = tcp(dst=target(lab.request))
    hop = Ledger.of(lab.request, intent).hop("target-veth")
    return all_of((hop.shows(wanted), hop.never_shows(wanted.in_another_envelope(), control=wanted)))


@explained_by(overlay.encapsulated_twice, overlay.tunnel_to_other_node, traffic.ttl_rewritten, *BETWEEN_NODES)
@claim
def one_flow(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """The four sightings are one flow in order: same ports and TCP sequence, same payload, TTL falling.

    The inner TTL falls by one where a node forwards the packet (RFC 1812, 5.3.1) and stays as it is
    in the tunnel. Capture times are compared within one node only: clocks differ between nodes. Where a
    node's own clock was set meanwhile, nothing can be told of the order.
    """
    _apart(lab)
    ledger = Ledger.of(lab.request, intent)
    expected = f"{lab.request.name}: one packet at every point, its TTL falling by one per forwarding node"
    seen: list[Sighting] = []
    for point in ("source-veth", "source-uplink", "target-uplink", "target-veth"):
        hop = ledger.hop(point)
        if not hop.sightings:
            return hop.absent(expected)
        seen.append((hop, hop.packet))
    if ledger.opening is not None:
        hop, packet = seen[-1]
        cause = f"the connection was never opened, only its SYN came by: {describe(packet)}"
        advice = "find out who drops the SYN/ACK: see reply-encapsulated"
        return inconclusive(
            expected, cause, where=hop.where, command=hop.command, advice=advice, details=ledger.text
        )
    stretches = [
        (before, after, list(breaks(before, after, ledger)), disorder(before, after))
        for before, after in pairwise(seen)
    ]
    jump = clock_jump(seen, disordered=any(late for *_, late in stretches))
    for before, (hop, _), problems, late in stretches:
        if late and not jump:
            problems.append(late)
        if problems:
            return broken(
                expected,
                f"between {before[0].where} and {hop.where}: {'; '.join(problems)}",
                where=hop.where,
                command=hop.command,
                advice="something on this stretch rewrites the packet: list the node's mangle and nat rules",
                details=ledger.text,
            )
    if jump:
        hop, cause = jump
        advice = f"see the time daemon of {hop.node.name} (chronyc tracking; ntpd's log), then run again"
        shown = {"where": hop.where, "command": hop.command}
        return inconclusive(expected, cause, advice=advice, details=ledger.text, **shown)
    ttls = " -> ".join(str(packet.ip.ttl) for _, packet in seen)
    return held(expected, f"one flow at {len(seen)} points, TTL {ttls}", details=ledger.text)


@explained_by(traffic.pod_traffic_masqueraded, *BETWEEN_NODES)
@claim
def source_kept(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """pod-dest sees pod-src's own IP."""
    ledger = Ledger.of(lab.request, intent)
    hop = ledger.hop("target-veth")
    client = lab.request.client_ip
    expected = f"{hop.where}: source {client} (pod-src's own)"
    if not hop.sightings:
        return hop.absent(expected)
    packet, node = hop.packet, lab.source.node
    shown = {"where": hop.where, "command": hop.command, "details": ledger.text}
    if packet.ip.src == client:
        return held(expected, f"packet {packet.number}: {describe(packet)}", **shown)
    seen = f"source {packet.ip.src}{_owner(packet.ip.src, (node, lab.target.node))}"
    if intent.masquerade_all and packet.ip.src in masquerade_sources(
        intent, node, lab.target.node, client.version
    ):
        return held(expected, f"{seen}, as masquerade-all is declared", **shown)
    return broken(
        expected,
        f"{seen}: the pod-to-pod traffic was masqueraded",
        advice="compare kube-proxy's clusterCIDR and --masquerade-all with the pool; see cidr-agrees",
        **shown,
    )


@explained_by(overlay.pool_mode, overlay.reply_bypasses_tunnel, *BETWEEN_NODES)
@claim
def reply_encapsulated(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """The answer goes back the same way, encapsulated between the nodes."""
    _apart(lab)
    ledger = Ledger.of(lab.request, intent)
    back = envelope(intent, lab.target.node, lab.source.node) / tcp(src=target(lab.request))
    verdicts = []
    for point in ("target-uplink", "source-uplink"):
        hop = ledger.hop(point)
        verdicts.append(hop.reply_shows(back, only=True, where_due=True))
        verdicts.append(hop.never_shows(back.in_another_envelope(), control=back))
    return all_of(verdicts)


@explained_by(traffic.mtu_too_large, traffic.tunnel_mtu_too_small, traffic.pmtu_black_hole, *BETWEEN_NODES)
@claim
def mtu_fits(lab: PodNetworkLab, intent: Intent) -> Verdict:
    """Pod MTU and encapsulation overhead fit the uplinks, and a large transfer arrives unfragmented."""
    _apart(lab)
    kind, pods = encapsulation(intent, lab.source.node, lab.target.node), (lab.source, lab.target)
    links = [link_fits(pod, kind) for pod in pods]
    if kind:
        links += [tunnel_fits(pod, kind) for pod in pods]
    fit = all_of(links)
    if fit.outcome is Outcome.BROKEN:
        return fit
    large = Ledger.of(lab.large, intent)
    uplinks = [large.hop("target-uplink"), large.hop("source-uplink")]
    veths = [large.hop("target-veth"), large.hop("source-veth")]
    fragments = [unfragmented(hop, lab, kind) for hop in (*veths, *uplinks)]
    if not fit.held:
        return all_of((*fragments, fit))
    return all_of((*fragments, transferred(lab, intent, kind), fit))


def _apart(lab: PodNetworkLab) -> None:
    if same_node(lab.source.node, lab.target.node):
        raise NotObserved(
            f"both pods run on {lab.source.node.name}: nothing crosses an uplink",
            command="kubectl get pods -o wide",
            advice="pin the pods to two nodes (nodeSelector), or name the roles with --k8snet-role",
        )


def _no_pool(lab: PodNetworkLab, expected: str, address: IPAddress) -> Verdict:
    pools = ", ".join(f"{pool.name} {pool.cidr}" for pool in lab.pools.get()) or "none"
    advice = "the pod got its address from another IPAM, or its pool was deleted meanwhile"
    seen = f"no pool holds {address}; pools: {pools}"
    return broken(expected, seen, advice=advice, **shown_by(lab.pools))


def _routed(
    reading: Reading[Route], node: NodeEvidence, pod: PodEvidence, like: IPAddress, intent: Intent
) -> Verdict:
    """``node`` sends packets for ``pod`` on another node the way that the intent names."""
    route, other = reading.get(), pod.node
    kind = encapsulation(intent, node, other)
    gateway = underlay(other)
    if kind == "vxlan":
        gateway = _vxlan_address(other, gateway)
    # Without an envelope, what is between two networks knows the way: the next hop is a router there.
    routed = kind is None and underlay_network(node) != underlay_network(other)
    device = f"{kind} tunnel" if kind else f"uplink {node.uplink.get().interface}"
    hop = "a router" if routed else gateway
    expected = f"{node.name}: {pod_ip(pod.pod, like)} via {hop} on its {device}"
    via = f"via {route.gateway}" if route.gateway else "directly connected"
    seen = f"{node.name}: {via} dev {route.device}"
    if route.device is None:
        seen = f"{node.name}: none, the kernel forwards such a packet nowhere"
    link = next((i for i in node.interfaces.get() if i.name == route.device), None)
    through = link is not None and (link.kind == kind if kind else link.name == node.uplink.get().interface)
    if not through or (route.gateway is None if routed else route.gateway != gateway):
        if link is not None and link.kind and link.kind != kind:
            seen += f" (kind {link.kind})"
        advice = "ip route show on this node: who wrote this route (proto bird, or 80 for Felix)?"
        return broken(expected, seen, advice=advice, **shown_by(reading, route.device or ""))
    if kind and not _onlink(node, pod_ip(pod.pod, like), route):
        advice = "the gateway is not on the tunnel's own network: the route needs onlink"
        return broken(f"{expected}, onlink", f"{seen}, not onlink", advice=advice, **shown_by(reading))
    return held(expected, seen, **shown_by(reading, route.device or ""))


def _onlink(node: NodeEvidence, address: IPAddress, chosen: Route) -> bool:
    """``ip route get`` never prints onlink, so the table's route to the block must say it."""
    blocks = [
        route
        for route in node.routes.get()
        if address in route.destination
        and (route.device, route.gateway, route.table) == (chosen.device, chosen.gateway, "main")
    ]
    best = max(blocks, key=lambda route: route.destination.prefixlen, default=chosen)
    return chosen.onlink or best.onlink


def _vxlan_address(node: NodeEvidence, underlay_ip: IPAddress) -> IPAddress:
    for interface in node.interfaces.get():
        if interface.kind == "vxlan":
            for address in interface.addresses:
                if address.version == underlay_ip.version:
                    return address.ip
    raise NotObserved(
        f"{node.name} has no vxlan interface with an address",
        node=node.name,
        command=node.interfaces.command,
        advice="vxlan.calico appears when calico-node runs and a pool has a vxlanMode",
    )


def _enveloped(lab: PodNetworkLab, intent: Intent, point: str) -> Verdict:
    _apart(lab)
    wanted = envelope(intent, lab.source.node, lab.target.node) / tcp(dst=target(lab.request))
    hop = Ledger.of(lab.request, intent).hop(point)
    return all_of((hop.shows(wanted), hop.never_shows(wanted.in_another_envelope(), control=wanted)))


def _owner(address: IPAddress, nodes: Iterable[NodeEvidence]) -> str:
    for node in nodes:
        for interface in node.interfaces.get():
            if any(a.ip == address for a in interface.addresses):
                return f", the address of {interface.name} on {node.name}"
    return ""
