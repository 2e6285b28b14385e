"""The reference network as a description: the document's machines, addresses and names.

Everything the agent builds is computed here first; most faults (``embedded/faults``) change this description.
Ranges other than the document's make another network of the same shape.
Source: labs.md; names as Calico gives them (libcalico-go ``VethNameForWorkload``: prefix and the first
11 hexadecimal digits of SHA-1 over "namespace.pod" - which yields the document's own interface names).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from pytest_k8snet.manifests import DOCUMENT_NODES

BIRD = 12  #: route protocol "bird", as Calico's BGP back end leaves it
TUNNEL_MTU = 1480
POD_MTU = 1440  #: what the document's pods show
UPLINK_MTU = 1500

#: Addresses that the document prints; everything else takes the next free one.
DOCUMENT_POD_IPS = {
    "pod-pause": IPv4Address("20.111.156.71"),
    "pod-dest": IPv4Address("20.111.156.72"),
    "pod-src": IPv4Address("20.109.131.5"),
}
DOCUMENT_CLUSTER_IPS = {"svc-clusterip": IPv4Address("10.107.94.97")}
DOCUMENT_UNDERLAY = IPv4Network("192.168.219.0/24")  #: between the nodes, on eth1
NAT = IPv4Network("10.0.2.0/24")  #: each node's own, on eth0: VirtualBox's
BLOCK_LENGTH = 26  #: Calico's default blockSize

#: What the lab's images listen on. The reference network has no registry: its own app stands in.
IMAGE_PORTS = {"kubetm/p8000": 8000, "kubetm/p8080": 8080, "kubetm/init": 8080, "kubetm/app": 8080}
#: Where every node finds the interpreter and the app of those images; links, so that no path of the
#: machine that runs us stands in what is recorded.
PYTHON = "/run/k8snet/python"
APP = "/run/k8snet/app.py"
PAUSE_IMAGE = "pause:3.2"


def veth_name(namespace: str, pod: str, prefix: str = "cali") -> str:
    """The host's end of a pod's veth pair, as Calico names it."""
    digest = hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False)
    return prefix + digest.hexdigest()[:11]


@dataclass(frozen=True)
class NodePlan:
    """One machine: ``block`` is the /26 that Calico's IPAM gave it; its first address sits on tunl0."""

    name: str
    role: str
    eth1: IPv4Address
    block: IPv4Network

    @property
    def tunnel_ip(self) -> IPv4Address:
        return self.block.network_address


#: The document's machines.
NODES = (
    NodePlan("k8s-master", "master", IPv4Address("192.168.219.21"), IPv4Network("20.108.82.192/26")),
    NodePlan("k8s-node1", "node1", IPv4Address("192.168.219.22"), IPv4Network("20.111.156.64/26")),
    NodePlan("k8s-node2", "node2", IPv4Address("192.168.219.23"), IPv4Network("20.109.131.0/26")),
)


def nodes_within(
    pod_cidr: IPv4Network, underlay: IPv4Network = DOCUMENT_UNDERLAY, names: Mapping[str, str] | None = None
) -> tuple[NodePlan, ...]:
    """The document's machines in other ranges: same host numbers in ``underlay``, blocks of ``pod_cidr``.

    A block of the document stays where it lies in the range; else the node takes the next free one.
    ``names`` are the machines' by role, where not the document's. ValueError for a range without room.
    """
    if underlay.prefixlen > DOCUMENT_UNDERLAY.prefixlen:
        raise ValueError(f"{underlay} has no room for the nodes: they need /{DOCUMENT_UNDERLAY.prefixlen}")
    taken = [underlay, NAT]

    def free(block: IPv4Network) -> bool:
        return block.subnet_of(pod_cidr) and not any(block.overlaps(other) for other in taken)

    blocks = {node.role: node.block for node in NODES if free(node.block)}
    taken += blocks.values()
    has_blocks = pod_cidr.prefixlen <= BLOCK_LENGTH
    spare = filter(free, pod_cidr.subnets(new_prefix=BLOCK_LENGTH) if has_blocks else ())
    try:
        blocks |= {node.role: next(spare) for node in NODES if node.role not in blocks}
    except StopIteration:
        raise ValueError(f"{pod_cidr} has no room for {len(NODES)} /{BLOCK_LENGTH} blocks") from None
    offsets = {node.role: int(node.eth1) - int(DOCUMENT_UNDERLAY.network_address) for node in NODES}
    return tuple(
        NodePlan(
            (names or {}).get(node.role, node.name),
            node.role,
            underlay.network_address + offsets[node.role],
            blocks[node.role],
        )
        for node in NODES
    )


@dataclass(frozen=True)
class PodPlan:
    """One pod with its place in the network."""

    name: str
    namespace: str
    node: str
    ip: IPv4Address
    labels: Mapping[str, str]
    containers: tuple[tuple[str, str], ...]  #: (name, image)
    interface_prefix: str = "cali"

    @property
    def uid(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}.{self.namespace}.k8snet"))

    @property
    def veth(self) -> str:
        return veth_name(self.namespace, self.name, self.interface_prefix)


@dataclass(frozen=True)
class ServicePlan:
    """One service and the ports it claims: (name, port, target port, node port or None)."""

    name: str
    namespace: str
    type: str
    cluster_ip: IPv4Address
    selector: Mapping[str, str]
    ports: tuple[tuple[str, int, int | str, int | None], ...]


@dataclass
class Network:
    """The whole network as it is meant to be right now."""

    pod_cidr: (
        IPv4Network  #: of the IP pool, and what kube-proxy is told unless ``cluster_cidr`` says otherwise
    )
    service_cidr: IPv4Network
    interface_prefix: str = "cali"
    cluster_cidr: IPv4Network | None = None  #: kube-proxy's clusterCIDR, where it is not the pool's
    pool_modes: tuple[str, str] = ("Always", "Never")  #: the pool's ipipMode and vxlanMode
    not_ready: tuple[str, ...] = ()  #: names of pods that run and are not ready
    pool_cidr: IPv4Network | None = None  #: of the IP pool, where it is not the pods' range
    underlay: IPv4Network = DOCUMENT_UNDERLAY
    names: Mapping[str, str] = field(default_factory=dict)  #: of nodes by role, where not the document's
    pods: dict[str, PodPlan] = field(default_factory=dict)
    services: dict[str, ServicePlan] = field(default_factory=dict)
    nodes: tuple[NodePlan, ...] = field(init=False)

    def __post_init__(self) -> None:
        """ValueError for ranges that have no room: see :func:`nodes_within`."""
        self.nodes = nodes_within(self.pod_cidr, self.underlay, self.names)

    @property
    def proxy_cidr(self) -> IPv4Network:
        """kube-proxy's clusterCIDR."""
        return self.cluster_cidr or self.pod_cidr

    def node(self, selected: str) -> NodePlan:
        """The node that a manifest selects: a name of the document means the role, another one itself."""
        role = DOCUMENT_NODES.get(selected)
        return next(node for node in self.nodes if (node.role == role if role else node.name == selected))

    def free_pod_ip(self, pod: str, node: NodePlan) -> IPv4Address:
        """The document's address for the document's pods, else the next free one of the node's block."""
        taken = {other.ip for other in self.pods.values()} | {node.tunnel_ip}
        wanted = DOCUMENT_POD_IPS.get(pod)
        if wanted is not None and wanted in node.block and wanted not in taken:
            return wanted
        reserved = taken | set(DOCUMENT_POD_IPS.values())
        return next(ip for ip in node.block.hosts() if ip not in reserved)

    def free_cluster_ip(self, service: str) -> IPv4Address:
        """Likewise for a service."""
        taken = {other.cluster_ip for other in self.services.values()}
        wanted = DOCUMENT_CLUSTER_IPS.get(service)
        if wanted is not None and wanted in self.service_cidr and wanted not in taken:
            return wanted
        first = int(self.service_cidr.network_address)
        for offset in range(1, self.service_cidr.num_addresses):
            ip = IPv4Address(first + (offset * 40503) % self.service_cidr.num_addresses)
            if ip not in taken and int(ip) != first:
                return ip
        raise ValueError(f"no free address in {self.service_cidr}")

    def endpoints(self, service: ServicePlan) -> list[PodPlan]:
        """The pods its selector selects, ready or not; an empty selector selects none (Kubernetes' rule)."""
        if not service.selector:
            return []
        return [
            pod
            for pod in self.pods.values()
            if pod.namespace == service.namespace
            and all(pod.labels.get(key) == value for key, value in service.selector.items())
        ]

    def on_underlay(self, node: NodePlan) -> str:
        """ "192.168.219.21/24"."""
        return f"{node.eth1}/{self.underlay.prefixlen}"

    def node_request(self, node: NodePlan) -> dict[str, Any]:
        """What the agent configures on one node (see ``NodeAgent.do_configure``)."""
        others = [other for other in self.nodes if other != node]
        return {
            "name": node.name,
            "eth0": {"address": f"{NAT[15]}/{NAT.prefixlen}", "mtu": UPLINK_MTU},
            "eth1": {"address": self.on_underlay(node), "mtu": UPLINK_MTU},
            "tunnel": {"address": f"{node.tunnel_ip}/32", "mtu": TUNNEL_MTU},
            "sysctls": {
                "net/ipv4/ip_forward": 1,
                "net/ipv4/conf/all/rp_filter": 0,
                "net/ipv4/conf/default/rp_filter": 0,
            },
            "routes": [
                {"dst": "0.0.0.0/0", "via": str(NAT[2]), "dev": "eth0"},
                {"dst": str(node.block), "type": "blackhole", "proto": BIRD},
                *(
                    {
                        "dst": str(other.block),
                        "via": str(other.eth1),
                        "dev": "tunl0",
                        "proto": BIRD,
                        "onlink": True,
                    }
                    for other in others
                ),
            ],
        }

    def pod_request(self, pod: PodPlan) -> dict[str, Any]:
        """What the agent makes of one pod (see ``Pods.add``)."""
        return {
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.uid,
            "addresses": [f"{pod.ip}/32"],
            "mtu": POD_MTU,
            "veth": pod.veth,
            "routes": [{"dst": f"{pod.ip}/32", "dev": pod.veth, "scope": "link", "proto": 3}],
            "sandboxes": 1,
            # Where a kubelet on the node would probe whether the pod is ready.
            "ready": [[str(pod.ip), image_port(image)] for _, image in pod.containers],
            "pause": {"image": PAUSE_IMAGE, "argv": ["sleep", "infinity"]},
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "argv": [PYTHON, "-I", "-S", APP, str(image_port(image))],
                    "network": "sandbox",  # or "node", or "own": a namespace that nobody else is in
                    "network_again": "sandbox",  # the same once it was restarted
                }
                for name, image in pod.containers
            ],
        }


def image_port(image: str) -> int:
    """The port an image serves (a tag does not matter). KeyError for an image that is not in the labs."""
    return IMAGE_PORTS[image.partition(":")[0]]
