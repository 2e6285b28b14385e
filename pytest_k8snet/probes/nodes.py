"""A node's interfaces, routes, rules, listeners and uplink."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_interface, ip_network
from typing import TypeVar

from pytest_k8snet.clusters.base import Cluster, ClusterError, Node
from pytest_k8snet.evidence import (
    interfaces,
    netconf,
    objects,
    routes,
    sockets,
)
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.netconf import NetConf
from pytest_k8snet.evidence.objects import NodeObject
from pytest_k8snet.evidence.observations import OTHER_MODE, NodeEvidence, Uplink
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.evidence.routes import Route
from pytest_k8snet.evidence.sockets import Listener
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes.commands import (
    derive,
    failed,
    failed_as,
    last_line,
    read,
    read_objects,
    unreached,
)
from pytest_k8snet.probes.rules import (
    RULES,
    read_ipsets,
    read_ipvs,
    read_ipvs_conntrack,
    read_nftables,
    read_rules,
)

T = TypeVar("T")

ADDRESSES = ("ip", "-j", "-d", "addr", "show")
ROUTES = ("ip", "-j", "-d", "route", "show", "table", "all")
LISTENERS = ("ss", "-H", "-ltnp")
LISTENERS_NETSTAT = ("netstat", "-ltnp")
NETCONF = ("ip", "-j", "-4", "netconf", "show")

#: The kernel's ENETUNREACH and EHOSTUNREACH: no route fits; an unreachable route does, or forwarding is off
#: (``fib_table_lookup``, ``ip_route_input_slow``).
NO_ROUTE = ("RTNETLINK answers: Network is unreachable", "RTNETLINK answers: No route to host")

#: Where Calico (since 2.0) notes the address that its BGP and its tunnels use, with prefix length.
CALICO_ADDRESS = "projectcalico.org/IPv4Address"
CALICO_ADDRESS_IPV6 = "projectcalico.org/IPv6Address"


def observe_node(
    cluster: Cluster,
    node: Node,
    intent: Intent,
    *,
    rules: bool = True,
    listeners: bool = True,
    node_objects: Reading[tuple[NodeObject, ...]] | None = None,
) -> NodeEvidence:
    """Everything the claims ask of a node. What a lab has no use for is left out: commands cost time.

    ``node_objects`` saves the API read where the lab made it already.
    """
    if node_objects is None:
        node_objects = read_node_objects(cluster)
    own = derive(node_objects, lambda listed: _named(listed, node.name))
    addresses = read(node, ADDRESSES, interfaces.parse_addresses)
    mode = intent.proxy_mode if rules else ""
    version = intent.service_cidr.version
    return NodeEvidence(
        name=node.name,
        role=node.role,
        uplink=find_uplink(node.name, addresses, own, intent),
        interfaces=addresses,
        routes=read(node, ROUTES, routes.parse_routes),
        rules=read_rules(node, version) if mode in ("iptables", "ipvs") else _left_out(node, RULES),
        listeners=read_listeners(node) if listeners else _left_out(node, LISTENERS),
        object=own,
        nftables=read_nftables(node, intent) if mode == "nftables" else OTHER_MODE,
        ipvs=read_ipvs(node) if mode == "ipvs" else OTHER_MODE,
        ipsets=read_ipsets(node) if mode == "ipvs" else OTHER_MODE,
        ipvs_conntrack=read_ipvs_conntrack(node) if mode == "ipvs" else OTHER_MODE,
    )


def read_node_objects(cluster: Cluster) -> Reading[tuple[NodeObject, ...]]:
    return read_objects(cluster, "nodes", objects.parse_nodes)


def find_uplink(
    node: str,
    addresses: Reading[tuple[Interface, ...]],
    node_object: Reading[NodeObject],
    intent: Intent,
) -> Reading[Uplink]:
    """The interface that carries traffic between nodes: the one named in the intent, else the one that
    holds Calico's address of the node, else the one that holds its InternalIP.

    A node with two families counts by its address of the services' family.
    """
    if intent.uplink is None and node_object.failure:
        return failed_as(node_object)
    wanted = _underlay_addresses(node_object.value) if node_object.value else []
    wanted.sort(key=lambda address: address.version != intent.service_cidr.version)
    return derive(addresses, lambda listed: _uplink(node, listed, wanted, intent.uplink))


def read_listeners(node: Node) -> Reading[tuple[Listener, ...]]:
    """``ss``, and netstat where ss fails; the failure is that of ss."""
    listed = read(node, LISTENERS, sockets.parse_ss)
    if not listed.failure:
        return listed
    fallback = read(node, LISTENERS_NETSTAT, sockets.parse_netstat)
    return listed if fallback.failure else fallback


def read_route_to(
    node: Node, address: IPAddress, source: IPAddress, interface: Reading[str]
) -> Reading[Route]:
    """The route that the node's kernel takes for a packet ``source`` -> ``address`` that comes in by
    ``interface`` (``host_interface`` of the pod that sends it), so that policy rules have their say.

    That the kernel would forward it nowhere is an answer too: a route of type "unreachable".
    """
    if interface.failure or interface.value is None:
        return failed_as(interface)
    argv = ("ip", "-j", "-d", "route", "get", str(address), "from", str(source), "iif", interface.value)
    command = shlex.join(argv)
    try:
        result = node.run(*argv)
    except ClusterError as error:
        return unreached(node.name, command, error)
    if last_line(result.stderr) in NO_ROUTE:
        return Reading(node.name, command, Route(ip_network(address), None, type="unreachable", table=""))
    if result.exit_status:
        return failed(node.name, command, result)
    return derive(Reading(node.name, command, result.stdout), routes.parse_route_get)


def read_netconf(node: Node) -> Reading[tuple[NetConf, ...]]:
    """Forwarding and reverse path filtering of the node's interfaces."""
    return read(node, NETCONF, netconf.parse_netconf)


def uplink_interface(node: NodeEvidence) -> Reading[str]:
    """The name of the node's interface between nodes."""
    return derive(node.uplink, lambda uplink: uplink.interface)


def host_interface(node: NodeEvidence, address: IPAddress) -> Reading[str]:
    """The host's end of a pod's veth pair, as the lab finds it: the device of the route to the pod's address
    alone (``route | grep cal``)."""

    alone = ip_network(address)

    def device(listed: tuple[Route, ...]) -> str:
        for route in listed:
            # An address of type "local" is the node's own: no way to a pod.
            if route.destination == alone and route.type == "unicast" and route.device:
                return route.device
        raise NotObserved(
            f"{node.name} has no route to {address} alone, so the pod's host interface is not known",
            advice=f"run `ip route` on {node.name}; see what the CNI plugin logged for the pod",
        )

    return derive(node.routes, device)


def underlay_address(node: NodeEvidence) -> IPAddress:
    """The node's address among nodes. Raises ClusterError when neither uplink nor InternalIP is known."""
    if node.uplink.value:
        return node.uplink.value.ip
    if node.object.value and node.object.value.internal_ips:
        return node.object.value.internal_ips[0]
    raise ClusterError(f"no address of {node.name} among the nodes is known: {node.uplink.failure}")


def _named(listed: tuple[NodeObject, ...], name: str) -> NodeObject:
    for node in listed:
        if node.name == name:
            return node
    raise NotObserved(f"the API lists no node {name}", advice="name the nodes with --k8snet-role")


def _underlay_addresses(node: NodeObject) -> list[IPAddress]:
    """In the order of trust: Calico tunnels between its own addresses, whatever kubelet registered."""
    calico: list[IPAddress] = []
    for name in (CALICO_ADDRESS, CALICO_ADDRESS_IPV6):
        with suppress(ValueError):  # it has none of that family, or no Calico
            calico.append(ip_interface(node.annotations.get(name, "")).ip)
    return [*calico, *node.internal_ips]


def _uplink(
    node: str, listed: tuple[Interface, ...], wanted: Sequence[IPAddress], named: str | None
) -> Uplink:
    candidates = [interface for interface in listed if named in (None, interface.name)]
    for address in wanted:
        for interface in candidates:
            if any(own.ip == address for own in interface.addresses):
                if named is None and (interface.name == "lo" or interface.kind == "dummy"):
                    raise NotObserved(
                        f"{node} has its address {address} on {interface.name}, which no packet leaves by",
                        advice="name the interface between the nodes with k8snet_uplink",
                    )
                return Uplink(interface.name, address, interface.mtu)
    if named is None:
        known = " or ".join(map(str, wanted)) or "an address (its Node object has none)"
        raise NotObserved(
            f"{node} has no interface with {known}, so its uplink is not known",
            advice="name the interface between the nodes with k8snet_uplink",
        )
    for interface in candidates:
        for own in interface.addresses:
            if not own.ip.is_link_local:
                return Uplink(interface.name, own.ip, interface.mtu)
    what = "has no address" if candidates else "is not there"
    raise NotObserved(
        f"the uplink that was named, {named}, {what} on {node}",
        advice=f"choose another with k8snet_uplink; {node} has "
        + ", ".join(interface.name for interface in listed),
    )


def _left_out(node: Node, argv: Sequence[str]) -> Reading[T]:
    return Reading(node.name, shlex.join(argv), failure="not read for this lab: none of its claims needs it")
