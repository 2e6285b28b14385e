"""Kubernetes objects, from the JSON of API reads (``kubectl get ... -o json`` prints the same lists)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from pytest_k8snet.evidence import jsontree
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.jsontree import Tree
from pytest_k8snet.evidence.packets import IPAddress


@dataclass(frozen=True)
class Pod:
    name: str
    namespace: str
    uid: str
    node: str  #: spec.nodeName, the node's real name
    ips: tuple[IPAddress, ...]  #: status.podIPs (status.podIP where there is only that)
    ready: bool  #: condition Ready, and not being deleted: what may stand behind a service
    labels: Mapping[str, str] = field(default_factory=dict)
    containers: tuple[str, ...] = ()  #: names in spec order


@dataclass(frozen=True, slots=True)
class ServicePort:
    port: int
    target_port: int | str
    node_port: int | None = None
    protocol: str = "TCP"
    name: str = ""


@dataclass(frozen=True)
class Service:
    name: str
    namespace: str
    type: str
    cluster_ip: IPAddress | None  #: None when headless
    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str] = field(default_factory=dict)
    external_traffic_policy: str = "Cluster"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One ready address of a service, from its EndpointSlices (``discovery.k8s.io/v1`` or ``v1beta1``)."""

    service: str
    namespace: str
    ip: IPAddress
    port: int
    ready: bool = True
    pod: str = ""  #: targetRef.name
    node: str = ""


@dataclass(frozen=True, slots=True)
class IPPool:
    """Calico's pool (``crd.projectcalico.org/v1`` or ``projectcalico.org/v3``)."""

    name: str
    cidr: IPv4Network | IPv6Network
    ipip_mode: str = "Never"  #: "Always", "CrossSubnet", "Never"
    vxlan_mode: str = "Never"
    nat_outgoing: bool = False
    block_size: int = 26
    disabled: bool = False


@dataclass(frozen=True)
class NodeObject:
    name: str
    internal_ips: tuple[IPAddress, ...]
    kubelet_version: str = ""
    kube_proxy_version: str = ""
    container_runtime: str = ""  #: "docker://20.10.8", "containerd://1.6.20", "cri-o://1.30"
    annotations: Mapping[str, str] = field(default_factory=dict)
    pod_cidrs: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterCIDR:
    """One place that states the cluster's pod range."""

    source: str  #: "kubeadm-config podSubnet", "kube-proxy clusterCIDR", "node podCIDR of k8s-node1"
    network: IPv4Network | IPv6Network


def parse_pods(text: str | bytes) -> tuple[Pod, ...]:
    """The pods of a ``v1`` PodList. Raises ParseError, as all parsers here do, for anything that is no
    whole list (a page of one included) or an object without the fields that its API makes obligatory."""
    return tuple(_pod(entry) for entry in _items("pods", text))


def _pod(entry: Tree) -> Pod:
    metadata, spec, status = entry["metadata"], entry["spec"], entry.get("status")
    ips = [ip["ip"].address() for ip in status.items_of("podIPs")] if status else []
    if status and not ips and status.text_or("podIP", ""):
        ips = [status["podIP"].address()]
    conditions = {
        condition["type"].text(): condition["status"].text()
        for condition in (status.items_of("conditions") if status else ())
    }
    return Pod(
        name=metadata["name"].text(),
        namespace=metadata["namespace"].text(),
        uid=metadata["uid"].text(),
        node=spec.text_or("nodeName", ""),
        ips=tuple(ips),
        ready=conditions.get("Ready") == "True" and metadata.get("deletionTimestamp") is None,
        labels=metadata.texts_or_none("labels"),
        containers=tuple(container["name"].text() for container in spec["containers"].items()),
    )


def parse_services(text: str | bytes) -> tuple[Service, ...]:
    """The services of a ``v1`` ServiceList."""
    return tuple(_service(entry) for entry in _items("services", text))


def _service(entry: Tree) -> Service:
    metadata, spec = entry["metadata"], entry["spec"]
    return Service(
        name=metadata["name"].text(),
        namespace=metadata["namespace"].text(),
        type=spec.text_or("type", "ClusterIP"),
        cluster_ip=(None if spec.text_or("clusterIP", "") in ("", "None") else spec["clusterIP"].address()),
        ports=tuple(_service_port(port) for port in spec.items_of("ports")),
        selector=spec.texts_or_none("selector"),
        external_traffic_policy=spec.text_or("externalTrafficPolicy", "Cluster"),
    )


def _service_port(entry: Tree) -> ServicePort:
    target = entry.get("targetPort") or entry["port"]
    node_port = entry.get("nodePort")
    return ServicePort(
        port=entry["port"].integer(),
        target_port=target.text() if isinstance(target.value, str) else target.integer(),
        node_port=node_port.integer() if node_port else None,
        protocol=entry.text_or("protocol", "TCP"),
        name=entry.text_or("name", ""),
    )


def parse_endpointslices(text: str | bytes) -> tuple[Endpoint, ...]:
    """One :class:`Endpoint` per address and port of every EndpointSlice (``v1`` or ``v1beta1``).

    Slices of host names (addressType FQDN) are left out: kube-proxy doesn't use them.
    """
    return tuple(
        endpoint
        for entry in _items("endpointslices", text)
        if entry["addressType"].text() != "FQDN"
        for endpoint in _endpoints(entry)
    )


def _endpoints(entry: Tree) -> Iterator[Endpoint]:
    metadata = entry["metadata"]
    ports = [port["port"].integer() for port in entry.items_of("ports")]
    for endpoint in entry.items_of("endpoints"):
        ready = endpoint.dig("conditions", "ready")
        pod = endpoint.dig("targetRef", "name")
        node = endpoint.get("nodeName") or endpoint.dig("topology", "kubernetes.io/hostname")
        for address in endpoint["addresses"].items():
            for port in ports:
                yield Endpoint(
                    service=metadata.texts_or_none("labels").get("kubernetes.io/service-name", ""),
                    namespace=metadata["namespace"].text(),
                    ip=address.address(),
                    port=port,
                    ready=ready.flag() if ready else True,  # the API: absent is to be read as true
                    pod=pod.text() if pod else "",
                    node=node.text() if node else "",
                )


def parse_ippools(text: str | bytes) -> tuple[IPPool, ...]:
    """Calico's pools, from an IPPoolList. Absent modes are "Never", as Calico's API says."""
    return tuple(_ippool(entry) for entry in _items("ippools", text))


def _ippool(entry: Tree) -> IPPool:
    spec = entry["spec"]
    cidr = spec["cidr"].network()
    return IPPool(
        name=entry["metadata"]["name"].text(),
        cidr=cidr,
        ipip_mode=spec.text_or("ipipMode", "") or "Never",
        vxlan_mode=spec.text_or("vxlanMode", "") or "Never",
        nat_outgoing=spec.flag_or("natOutgoing", False),
        block_size=spec.integer_or("blockSize", 26 if cidr.version == 4 else 122),
        disabled=spec.flag_or("disabled", False),
    )


def parse_nodes(text: str | bytes) -> tuple[NodeObject, ...]:
    """The nodes of a ``v1`` NodeList."""
    return tuple(_node(entry) for entry in _items("nodes", text))


def _node(entry: Tree) -> NodeObject:
    metadata, status = entry["metadata"], entry["status"]
    spec = entry.get("spec")
    cidrs = [cidr.network() for cidr in spec.items_of("podCIDRs")] if spec else []
    if spec and not cidrs and spec.text_or("podCIDR", ""):
        cidrs = [spec["podCIDR"].network()]
    info = status["nodeInfo"]
    return NodeObject(
        name=metadata["name"].text(),
        internal_ips=tuple(
            address["address"].address()
            for address in status.items_of("addresses")
            if address["type"].text() == "InternalIP"
        ),
        kubelet_version=info.text_or("kubeletVersion", ""),
        kube_proxy_version=info.text_or("kubeProxyVersion", ""),
        container_runtime=info.text_or("containerRuntimeVersion", ""),
        annotations=metadata.texts_or_none("annotations"),
        pod_cidrs=tuple(cidrs),
    )


def parse_cluster_cidrs(text: str | bytes) -> tuple[ClusterCIDR, ...]:
    """The places that state the pod range, as a provider lists them:
    ``{"items": [{"source": "kube-proxy clusterCIDR", "cidr": "20.96.0.0/12"}]}``."""
    return tuple(
        ClusterCIDR(entry["source"].text(), entry["cidr"].network()) for entry in _items("clustercidrs", text)
    )


def _items(resource: str, text: str | bytes) -> Iterator[Tree]:
    document = jsontree.parse(resource, text)
    if document.dig("metadata", "continue") and document["metadata"]["continue"].text():
        raise ParseError(resource, "only a page of the list: ask for all of it (no limit)")
    return document["items"].items()
