"""What each of the document's labs gathers, once, for all of its claims.

Readings that fail stay in the observation as such. :class:`ClusterError` is raised only where there is
nothing to look at: the lab's pod or service does not exist, or the API does not answer. Run each of these
inside ``cluster.lab(name)``; :func:`restart_container` and :func:`observe_spread` change the cluster and are
best kept as labs of their own, so that a replay of one claim alone asks what was recorded.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_k8snet.clusters.base import Cluster, ClusterError, Node
from pytest_k8snet.evidence import objects
from pytest_k8snet.evidence.objects import Endpoint, NodeObject, Pod, Service
from pytest_k8snet.evidence.observations import (
    ClusterIPLab,
    NodeEvidence,
    NodePortLab,
    PauseLab,
    PodEvidence,
    PodNetworkLab,
    Request,
    Spread,
    TracedRequest,
)
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.routes import Route
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes.commands import derive, failed_as, read_objects, unreached
from pytest_k8snet.probes.nodes import (
    host_interface,
    observe_node,
    read_node_objects,
    read_route_to,
    underlay_address,
)
from pytest_k8snet.probes.pods import find_pod, observe_pod, pod_address, read_pods
from pytest_k8snet.probes.requests import Client, ask, ask_often, from_node, from_pod, url
from pytest_k8snet.probes.traces import Question, trace_from_node, trace_from_pod

if TYPE_CHECKING:
    from pytest_k8snet.manifests import Manifest

PAUSE, SOURCE, TARGET = "pod-pause", "pod-src", "pod-dest"
CLUSTERIP, NODEPORT = "svc-clusterip", "svc-nodeport"
PAUSE_PORTS = {"container1": 8000, "container2": 8080}
PORT = 8080  #: pod-dest's and both services'
PATH = "/hostname"
LARGE = "/large"  #: the reference network's application answers it with 128 KiB; no other knows it

#: Connections of :func:`observe_spread`. With three endpoints chosen at random, the chance that one of them
#: is never chosen is at most 3 * (2/3)^40 = 2.7e-7.
SPREAD = 40


class LabNodes:
    """The nodes of one lab, each observed once, with what its claims need."""

    def __init__(
        self, cluster: Cluster, intent: Intent, *, rules: bool = False, listeners: bool = False
    ) -> None:
        self._cluster = cluster
        self._intent = intent
        self._parts = {"rules": rules, "listeners": listeners}
        self._objects: Reading[tuple[NodeObject, ...]] = read_node_objects(cluster)
        self._seen: dict[str, NodeEvidence] = {}

    def named(self, name: str, *, rules: bool | None = None) -> NodeEvidence:
        if name not in self._seen:
            parts = self._parts if rules is None else {**self._parts, "rules": rules}
            self._seen[name] = observe_node(
                self._cluster, self._cluster.nodes[name], self._intent, node_objects=self._objects, **parts
            )
        return self._seen[name]

    def role(self, role: str) -> NodeEvidence:
        """Raises ClusterError where no node has it."""
        if role not in self._cluster.roles:
            raise ClusterError(f"no node has the role {role}: name one with --k8snet-role")
        return self.named(self._cluster.roles[role])


def observe_pause(cluster: Cluster, intent: Intent) -> PauseLab:
    """Lab 1: pod-pause, its namespace, and requests to its two ports from inside and outside."""
    found = find_pod(cluster, PAUSE, read_pods(cluster))
    nodes = LabNodes(cluster, intent)
    pod = observe_pod(cluster, found, nodes.named(found.node))
    (first, first_port), (second, second_port) = PAUSE_PORTS.items()
    siblings = tuple(
        _request(cluster, from_pod(cluster, found, here), f"{here} -> 127.0.0.1:{port}", "127.0.0.1", port)
        for here, port in ((first, second_port), (second, first_port))
    )
    address = pod_address(found)
    outside = tuple(
        _request(cluster, from_node(other), f"{other.name} -> {PAUSE} {address}:{port}", str(address), port)
        for other in _other_nodes(cluster, found.node)[:1]
        for port in PAUSE_PORTS.values()
    )
    return PauseLab(pod, siblings, outside)


def observe_pod_network(cluster: Cluster, intent: Intent) -> PodNetworkLab:
    """Lab 2: pod-src asks pod-dest on another node, once briefly and once with a large transfer.

    That is an answer of the reference network's application. Others have none to give: there it is a request.
    """
    nodes = LabNodes(cluster, intent)
    source, target = pods_of(cluster, nodes, (SOURCE, TARGET))
    request, large = trace_from_pod(
        cluster,
        source,
        target,
        questions=(Question("request", PATH), large_question(cluster)),
        target_port=PORT,
    )
    return PodNetworkLab(
        source=source,
        target=target,
        request=request,
        large=large,
        to_target=_route(cluster, source, target),
        to_source=_route(cluster, target, source),
        pools=read_objects(cluster, "ippools", objects.parse_ippools),
        cluster_cidrs=read_objects(cluster, "clustercidrs", objects.parse_cluster_cidrs),
    )


def large_question(cluster: Cluster) -> Question:
    if cluster.info.reference:
        return Question("large", LARGE, discard=True)
    return Question("large", PATH, discard=True, upload=True)


def observe_clusterip(cluster: Cluster, intent: Intent) -> ClusterIPLab:
    """Lab 3: pod-src asks svc-clusterip; the rules that count are those of pod-src's node."""
    pods = read_pods(cluster)
    services = read_objects(cluster, "services", objects.parse_services)
    service = find_service(cluster, CLUSTERIP, services)
    if service.cluster_ip is None:
        raise ClusterError(f"service {CLUSTERIP} has no cluster IP: it can't be asked")
    nodes = LabNodes(cluster, intent)
    nodes.named(find_pod(cluster, SOURCE, pods).node, rules=True)
    source, target = pods_of(cluster, nodes, (SOURCE, TARGET), pods, inside=False)
    (request,) = trace_from_pod(
        cluster,
        source,
        target,
        questions=(Question("request", PATH),),
        asked_ip=service.cluster_ip,
        asked_port=service.ports[0].port,
        asked_name=CLUSTERIP,
        target_port=target_port_of(service),
    )
    return ClusterIPLab(
        source=source,
        request=request,
        service=derive(services, lambda _: service),
        endpoints=_endpoints(cluster, CLUSTERIP),
        pods=pods,
    )


def observe_nodeport(cluster: Cluster, intent: Intent) -> NodePortLab:
    """Lab 4: the master asks node2's NodePort, then every node's."""
    pods = read_pods(cluster)
    services = read_objects(cluster, "services", objects.parse_services)
    service = find_service(cluster, NODEPORT, services)
    nodes = LabNodes(cluster, intent, rules=True, listeners=True)
    master, entry = nodes.role("master"), nodes.role("node2")
    (target,) = pods_of(cluster, nodes, (TARGET,), pods, inside=False)
    everywhere = tuple(nodes.named(name) for name in dict.fromkeys(cluster.roles.values()))
    (request,) = trace_from_node(
        cluster,
        master,
        entry,
        target,
        questions=(Question("request", PATH),),
        node_port=intent.node_port,
        target_port=target_port_of(service),
    )
    client = from_node(cluster.nodes[master.name])
    asked = []
    for node in everywhere:
        address = str(underlay_address(node))
        label = f"{master.name} -> {node.name} {address}:{intent.node_port}"
        if node is entry:  # the traced request asked it already
            asked.append((node, Request(label, request.answer)))
        else:
            asked.append((node, _request(cluster, client, label, address, intent.node_port)))
    return NodePortLab(
        request=request,
        nodes=everywhere,
        service=derive(services, lambda _: service),
        endpoints=_endpoints(cluster, NODEPORT),
        every_node=tuple(asked),
    )


def observe_spread(cluster: Cluster, intent: Intent, pod_dest: Manifest) -> Reading[Spread]:
    """Lab 3, last claim: two more pods like pod-dest behind svc-clusterip, and :data:`SPREAD` connections.

    The two pods are removed again, whatever happens.
    """
    services = read_objects(cluster, "services", objects.parse_services)
    service = find_service(cluster, CLUSTERIP, services)
    source = find_pod(cluster, SOURCE, read_pods(cluster))
    more = [_like(pod_dest, f"{pod_dest.name}-{number}") for number in (2, 3)]
    try:
        cluster.apply(more)
        endpoints = _endpoints(cluster, CLUSTERIP)
        if service.cluster_ip is None:
            raise ClusterError(f"service {CLUSTERIP} has no cluster IP: it can't be asked")
        answers = ask_often(
            from_pod(cluster, source),
            url(service.cluster_ip, service.ports[0].port, PATH),
            cluster.tape.token("spread"),
            SPREAD,
        )
    except ClusterError as error:
        return unreached("", f"kubectl apply -f {pod_dest.source}", error)
    finally:
        cluster.delete(more)
    if endpoints.failure:
        return failed_as(endpoints)
    names = tuple(sorted({endpoint.pod for endpoint in endpoints.get() if endpoint.ready}))
    return derive(answers, lambda exchanges: Spread(names, exchanges))


def trace_between(
    cluster: Cluster,
    intent: Intent,
    source: str,
    target: str,
    *,
    port: int = PORT,
    path: str = PATH,
    asked: IPAddress | None = None,
    asked_port: int | None = None,
    container: str = "",
) -> TracedRequest:
    """Any pod asks any pod, or the service address ``asked`` that leads to it: for tests that users write."""
    nodes = LabNodes(cluster, intent, rules=True)
    one, other = pods_of(cluster, nodes, (source, target), inside=False)
    (request,) = trace_from_pod(
        cluster,
        one,
        other,
        questions=(Question(f"{source}-{target}-{asked_port or port}{path}", path),),
        target_port=port,
        asked_ip=asked,
        asked_port=asked_port,
        container=container,
    )
    return request


def pods_of(
    cluster: Cluster,
    nodes: LabNodes,
    names: Iterable[str],
    pods: Reading[tuple[Pod, ...]] | None = None,
    *,
    inside: bool = True,
) -> tuple[PodEvidence, ...]:
    listed = pods or read_pods(cluster)
    found = [find_pod(cluster, name, listed) for name in names]
    return tuple(
        observe_pod(cluster, pod, nodes.named(pod.node), inside=inside, inodes=False) for pod in found
    )


def _route(cluster: Cluster, source: PodEvidence, target: PodEvidence) -> Reading[Route]:
    """The way of a packet from one pod to another, as the sender's node knows it."""
    address = pod_address(source.pod)
    interface = host_interface(source.node, address)
    return read_route_to(cluster.nodes[source.node.name], pod_address(target.pod), address, interface)


def _request(cluster: Cluster, client: Client, label: str, address: str, port: int) -> Request:
    answer = ask(
        client, f"http://{address}:{port}{PATH}", cluster.tape.token(f"{client.name}-{address}-{port}")
    )
    return Request(label, answer)


def _other_nodes(cluster: Cluster, node: str) -> list[Node]:
    """All but ``node``; node2 first where it can be: the document asks pod-pause from there."""
    preferred = [cluster.roles[role] for role in ("node2", "node1", "master") if role in cluster.roles]
    return [cluster.nodes[name] for name in dict.fromkeys([*preferred, *cluster.nodes]) if name != node]


def find_service(cluster: Cluster, name: str, services: Reading[tuple[Service, ...]]) -> Service:
    if services.failure:
        raise ClusterError(f"{services.command}: {services.failure}")
    for service in services.get():
        if (service.namespace, service.name) == (cluster.namespace, name):
            if not service.ports:
                raise ClusterError(f"service {name} has no ports: it can't be asked")
            return service
    raise ClusterError(f"no service {name} in namespace {cluster.namespace}: was its manifest applied?")


def target_port_of(service: Service) -> int:
    """A named target port is the container's business; the labs' pods all listen on :data:`PORT`."""
    port = service.ports[0].target_port
    return port if isinstance(port, int) else PORT


def _endpoints(cluster: Cluster, service: str) -> Reading[tuple[Endpoint, ...]]:
    listed = read_objects(cluster, "endpointslices", objects.parse_endpointslices)
    return derive(
        listed,
        lambda found: tuple(e for e in found if (e.namespace, e.service) == (cluster.namespace, service)),
    )


def _like(manifest: Manifest, name: str) -> Manifest:
    body = copy.deepcopy(dict(manifest.body))
    body["metadata"] = {**body["metadata"], "name": name}
    return replace(manifest, name=name, body=body)
