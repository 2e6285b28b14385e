"""Whom one observation knows: the roles of its addresses, devices and chains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pytest_k8snet.claims.path import underlay_network
from pytest_k8snet.claims.rulewalk import service_chain_name
from pytest_k8snet.evidence.netfilter import Chain
from pytest_k8snet.evidence.objects import Endpoint, Pod, Service
from pytest_k8snet.evidence.observations import (
    ClusterIPLab,
    NodeEvidence,
    NodePortLab,
    PauseLab,
    PodEvidence,
    PodNetworkLab,
    TracedRequest,
)
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.intent import Intent
from pytest_k8snet.meaning.roles import (
    ANOTHER,
    BLOCK,
    LAB_POD,
    NODES,
    PODS,
    SERVICES,
    TUNNELS,
    IPNetwork,
    Roles,
)

ANOTHER_POD = "another pod"


@dataclass(frozen=True)
class _Known:
    """What an observation holds, gathered from wherever it stands; later ones repeat earlier ones."""

    nodes: tuple[NodeEvidence, ...]
    pods: tuple[PodEvidence, ...]
    listed: tuple[Pod, ...] = ()  #: pods by the API alone
    services: tuple[Service, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    requests: tuple[TracedRequest, ...] = ()
    ranges: tuple[IPNetwork, ...] = ()  #: of pods, as pools and cluster state them
    asked: tuple[tuple[IPAddress, str], ...] = ()  #: who was asked, where that is the lab's to say
    readings: tuple[Reading[Any], ...] = ()  #: those that all of this is from, nodes' left out


def of_pause(lab: PauseLab, intent: Intent) -> Roles:
    return _roles(_Known((lab.pod.node,), (lab.pod,)), intent)


def of_pod_network(lab: PodNetworkLab, intent: Intent) -> Roles:
    places = lab.cluster_cidrs.value or ()  # a node's podCIDR is but a share of the range
    stated = [place.network for place in places if not place.source.startswith("node ")]
    known = _Known(
        (lab.source.node, lab.target.node),
        (lab.source, lab.target),
        requests=(lab.request, lab.large),
        ranges=tuple(stated or (pool.cidr for pool in lab.pools.value or ())),
        readings=(lab.pools, lab.cluster_cidrs) if intent.pod_cidr is None else (),
    )
    return _roles(known, intent)


def of_clusterip(lab: ClusterIPLab, intent: Intent) -> Roles:
    target = lab.request.target
    known = _Known(
        (lab.source.node, target.node, lab.request.entry),
        (lab.source, target),
        lab.pods.value or (),
        _one(lab.service),
        lab.endpoints.value or (),
        (lab.request,),
        asked=((lab.request.asked_ip, "svc-clusterip"),),
        readings=(lab.pods, lab.service, lab.endpoints),
    )
    return _roles(known, intent)


def of_nodeport(lab: NodePortLab, intent: Intent) -> Roles:
    target = lab.request.target
    known = _Known(
        (*lab.nodes, lab.request.entry, target.node),
        (target,),
        services=_one(lab.service),
        endpoints=lab.endpoints.value or (),
        requests=(lab.request,),
        readings=(lab.service, lab.endpoints),
    )
    return _roles(known, intent)


def _one(reading: Reading[Service]) -> tuple[Service, ...]:
    return () if reading.failure or reading.value is None else (reading.value,)


def _roles(known: _Known, intent: Intent) -> Roles:
    nodes = {node.name: node.role or ANOTHER for node in known.nodes}
    addresses: dict[IPAddress, str] = {}
    for address, role in _addresses(known):
        addresses.setdefault(address, role)
    pods = (*(pod.pod for pod in known.pods), *known.listed)
    return Roles(
        nodes=nodes,
        addresses=addresses,
        homes={
            address: nodes.get(pod.node, ANOTHER)
            for pod in pods
            if LAB_POD.fullmatch(pod.name)
            for address in pod.ips
        },
        networks=_networks(known, nodes, pods, intent),
        uplinks=frozenset(
            (node.name, node.uplink.value.interface) for node in known.nodes if node.uplink.value is not None
        ),
        chains=dict(_chains(known, addresses)),
        service_ports=frozenset(port.port for service in known.services for port in service.ports),
        target_ports=frozenset(
            (
                *(request.target_port for request in known.requests),
                *(endpoint.port for endpoint in known.endpoints),
            )
        ),
        node_port=intent.node_port,
        namespace=next((pod.namespace for pod in pods), ""),
        prefix=intent.interface_prefix,
        unread=_unread(known),
    )


def _unread(known: _Known) -> str:
    """Why names may be missing: the first reading that failed of those that give names."""
    of_nodes = [
        reading
        for node in known.nodes
        for reading in (node.uplink, node.interfaces, node.routes, node.object)
    ]
    failures = [reading.failure for reading in (*of_nodes, *known.readings) if reading.failure]
    return failures[0] if failures else ""


def _addresses(known: _Known) -> Iterator[tuple[IPAddress, str]]:
    """The surest first."""
    pods = (*(each.pod for each in known.pods), *known.listed)
    yield from ((address, pod.name) for pod in pods if LAB_POD.fullmatch(pod.name) for address in pod.ips)
    yield from known.asked
    for service in known.services:
        if service.cluster_ip is not None:
            yield service.cluster_ip, service.name
    for endpoint in known.endpoints:
        yield endpoint.ip, _pod(endpoint.pod)
    for node in known.nodes:
        role = node.role or ANOTHER
        if node.uplink.value is None:
            continue  # which of its addresses are what is not known
        yield node.uplink.value.ip, f"{role}.uplink"
        for address in _tunnel_addresses(node):
            yield address, f"{role}.tunnel"
        for address in node.object.value.internal_ips if node.object.value else ():
            yield address, f"{role}.internal"
    # A pod of the host's network (a probe pod of ours) has its node's address, known here or not.
    between = list(_between_nodes(known.nodes))
    for pod in pods if between else ():
        yield from ((ip, ANOTHER_POD) for ip in pod.ips if not any(ip in network for network in between))


def _between_nodes(nodes: Iterable[NodeEvidence]) -> Iterator[IPNetwork]:
    for node in nodes:
        with suppress(NotObserved):
            yield underlay_network(node)


def _tunnel_addresses(node: NodeEvidence) -> Iterator[IPAddress]:
    for interface in node.interfaces.value or ():
        if interface.kind in TUNNELS:
            yield from (own.ip for own in interface.addresses if not own.ip.is_link_local)


def _pod(name: str) -> str:
    return name if LAB_POD.fullmatch(name) else ANOTHER_POD


def _networks(
    known: _Known, nodes: dict[str, str], pods: tuple[Pod, ...], intent: Intent
) -> dict[IPNetwork, str]:
    """The ranges by name; blocks of pods by the node that has them."""
    found: dict[IPNetwork, str] = {}
    tunnels = {address: nodes[node.name] for node in known.nodes for address in _tunnel_addresses(node)}
    for network in (intent.pod_cidr, *known.ranges):
        if network is not None:
            found.setdefault(network, PODS)
    found.setdefault(intent.service_cidr, SERVICES)
    for network in _between_nodes(known.nodes):
        found.setdefault(network, NODES)
    for node in known.nodes:
        for route in node.routes.value or ():
            block = route.destination
            if block.num_addresses > 1 and block.prefixlen and block not in found:
                # A pod may have borrowed its address from another node's block; a tunnel device does not.
                homes = {role for address, role in tunnels.items() if address in block} or {
                    nodes.get(pod.node, ANOTHER) for pod in pods for ip in pod.ips if ip in block
                }
                if len(homes) == 1:
                    found[block] = f"{BLOCK}{homes.pop()}"
    return found


def _chains(known: _Known, addresses: dict[IPAddress, str]) -> Iterator[tuple[str, str]]:
    """Hashes of kube-proxy's chains in mode iptables: a service's by its name, an endpoint's by where it
    leads."""
    for service in known.services:
        for port in service.ports:
            name = service_chain_name(service.namespace, service.name, port.name, port.protocol)
            role = service.name + (f":{port.name}" if port.name else "")
            yield name.rpartition("-")[2], role
    for node in known.nodes:
        rules = None if node.rules.failure else node.rules.value
        for name, chain in (rules.tables.get("nat", {}) if rules else {}).items():
            if name.startswith("KUBE-SEP-"):
                yield name.rpartition("-")[2], _destination(chain, addresses)


def _destination(chain: Chain, addresses: dict[IPAddress, str]) -> str:
    for rule in chain.rules:
        for option, values in rule.target.options if rule.target else ():
            if option == "--to-destination" and values:
                with suppress(ValueError):
                    host = values[0].rpartition(":")[0].strip("[]")
                    return addresses.get(ip_address(host), "another endpoint")
    return "no endpoint"
