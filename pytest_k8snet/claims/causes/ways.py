"""Which way the nodes of a traced request send its packets: what causes of the overlay ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.nat import entry_walk
from pytest_k8snet.claims.path import encapsulation, masquerade_sources, same_node, target
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.observations import ClusterIPLab, NodeEvidence, NodePortLab, PodNetworkLab
from pytest_k8snet.evidence.packets import IPAddress, Packet
from pytest_k8snet.evidence.routes import Route, lookup
from pytest_k8snet.intent import Intent

ServiceLab = ClusterIPLab | NodePortLab
Traced = PodNetworkLab | ClusterIPLab | NodePortLab  #: labs whose request crosses from node to node


@dataclass(frozen=True)
class Way:
    """A node's choice for packets to ``address``, which is at ``other``."""

    node: NodeEvidence
    other: NodeEvidence
    address: IPAddress
    route: Route | None  #: as the kernel said, where it was asked; else by the listing; None: no way at all

    @property
    def blocks(self) -> list[Route]:
        """Routes of table main that hold the address, the default route left out."""
        return [
            route
            for route in self.node.routes.get()
            if self.address in route.destination
            and route.destination.prefixlen
            and (route.table, route.type) == ("main", "unicast")
        ]

    def __str__(self) -> str:
        if self.route is None or self.route.device is None:
            return f"{self.node.name} sends packets for {self.address} nowhere"
        via = f"via {self.route.gateway} " if self.route.gateway else ""
        return f"{self.node.name} sends packets for {self.address} {via}dev {self.route.device}"


def ways(lab: Traced, intent: Intent) -> Iterator[Way]:
    """There and back between entry and target node; nothing where both are one node."""
    request = lab.request
    entry, goal, (address, _) = request.entry, request.target.node, target(request)
    if same_node(entry, goal):
        return
    if isinstance(lab, PodNetworkLab):
        yield Way(entry, goal, address, lab.to_target.get())
        yield Way(goal, entry, request.client_ip, lab.to_source.get())
        return
    yield Way(entry, goal, address, lookup(entry.routes.get(), address))
    sources = {request.client_ip}
    if isinstance(lab, NodePortLab):
        # Without a tunnel the source is the entry node's own address: no pod's, so no way of the overlay.
        tunnel = encapsulation(intent, entry, goal)
        sources = set(masquerade_sources(intent, entry, goal, address.version)) if tunnel else set()
    for source in sorted(sources, key=str):
        yield Way(goal, entry, source, lookup(goal.routes.get(), source))


def tunnel_device(node: NodeEvidence, intent: Intent) -> Interface | None:
    """The node's tunnel of the declared kind, where there are several the one that its routes use; None
    where it has none."""
    tunnels = [i for i in node.interfaces.get() if i.kind and i.kind == intent.tunnel]
    if len(tunnels) > 1 and not node.routes.failure:
        used = {route.device for route in node.routes.get() if route.gateway is not None}
        tunnels.sort(key=lambda tunnel: tunnel.name not in used)
    return tunnels[0] if tunnels else None


def hop_at(lab: Traced, intent: Intent, *points: str) -> Hop:
    """The first of ``points`` where the lab's request was captured. Raises NotObserved for none."""
    ledger = Ledger.of(lab.request, intent)
    known = {point.id for point in lab.request.points}
    return ledger.hop(next((point for point in points if point in known), points[0]))


def first_hop(lab: Traced, intent: Intent) -> Hop:
    """Where the request enters its entry node: the pod's host interface, or the uplink."""
    return hop_at(lab, intent, "source-veth", "entry-uplink")


def entry_uplink(lab: Traced, intent: Intent) -> Hop:
    return hop_at(lab, intent, "source-uplink", "entry-uplink")


def translated(hop: Hop) -> list[Packet]:
    """Sightings of the request that are addressed to the endpoint already."""
    address, port = target(hop.ledger.request)
    return [p for p in hop.sightings if p.tcp and (p.ip.dst, p.tcp.dport) == (address, port)]


def silent(hop: Hop) -> bool:
    """The capture worked, holds packets, and none of the request's. Raises NotObserved where it failed."""
    return bool(hop.capture.packets or hop.capture.not_ip) and not hop.sightings


def walk_of(lab: ServiceLab, intent: Intent) -> tuple[Walk, str]:
    """The walk of the lab's request, and the node whose rules it passes. Raises NotObserved."""
    ledger = Ledger.of(lab.request, intent)
    result, rules = entry_walk(ledger, first_hop(lab, intent).point.id)
    return result, rules.node
