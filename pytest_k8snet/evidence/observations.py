"""What one lab gathered, as the claims of that lab receive it (frozen; readings may have failed).

Roles are the document's: ``master`` sends the NodePort request, ``node1`` runs pod-pause and
pod-dest, ``node2`` runs pod-src. Names are the cluster's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_k8snet.evidence.conntrack import Connection
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.ipsets import IPSet
from pytest_k8snet.evidence.ipvs import VirtualServer
from pytest_k8snet.evidence.netconf import NetConf
from pytest_k8snet.evidence.netfilter import RuleSet
from pytest_k8snet.evidence.nftables import NftTable
from pytest_k8snet.evidence.objects import ClusterCIDR as ClusterCIDR
from pytest_k8snet.evidence.objects import Endpoint, IPPool, NodeObject, Pod, Service
from pytest_k8snet.evidence.packets import Capture, IPAddress
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.routes import Route
from pytest_k8snet.evidence.sandboxes import Container
from pytest_k8snet.evidence.sockets import Listener


@dataclass(frozen=True, slots=True)
class Uplink:
    """The interface that carries traffic between nodes, and the node's address on it."""

    interface: str
    ip: IPAddress
    mtu: int


#: Evidence of a proxy mode that is not declared.
OTHER_MODE: Reading[Any] = Reading(
    "", "", failure="not read: another proxy mode is declared, or none of this lab's claims needs it"
)


@dataclass(frozen=True)
class NodeEvidence:
    name: str
    role: str  #: "master", "node1", "node2"
    uplink: Reading[Uplink]
    interfaces: Reading[tuple[Interface, ...]]
    routes: Reading[tuple[Route, ...]]
    rules: Reading[RuleSet]  #: iptables-save of the back end that kube-proxy uses (modes iptables, ipvs)
    listeners: Reading[tuple[Listener, ...]]
    object: Reading[NodeObject]
    nftables: Reading[NftTable] = OTHER_MODE  #: kube-proxy's own table
    ipvs: Reading[tuple[VirtualServer, ...]] = OTHER_MODE
    ipsets: Reading[Mapping[str, IPSet]] = OTHER_MODE  #: by name; read in mode ipvs
    ipvs_conntrack: Reading[bool] = OTHER_MODE  #: net.ipv4.vs.conntrack: ip_vs keeps conntrack up to date


@dataclass(frozen=True)
class PodEvidence:
    pod: Pod
    node: NodeEvidence
    inside: Reading[tuple[Interface, ...]]  #: ``ip -j -d addr`` in the sandbox's network namespace
    containers: Reading[tuple[Container, ...]]  #: this pod's, sandbox included, by the runtime's listing
    inodes: Reading[Mapping[int, int]]  #: pid -> inode of its network namespace; pid 1 is the node's own


@dataclass(frozen=True)
class Request:
    """One labelled HTTP request without captures: ``container1 -> 127.0.0.1:8080``."""

    label: str
    answer: Reading[Exchange]


@dataclass(frozen=True, slots=True)
class Identity:
    """What must survive a container's restart."""

    container: str  #: runtime id of the container that was killed (or that replaced it)
    pid: int
    inode: int  #: of its network namespace
    ips: tuple[IPAddress, ...]  #: the pod's
    host_interface: str


@dataclass(frozen=True)
class Restart:
    before: Identity
    after: Identity
    pod_ips: tuple[IPAddress, ...] = ()  #: as the pod's status has them


@dataclass(frozen=True)
class PauseLab:
    pod: PodEvidence
    siblings: tuple[Request, ...]  #: each container to its sibling on 127.0.0.1
    from_other_node: tuple[Request, ...]  #: podIP on each containerPort, from another node


@dataclass(frozen=True, slots=True)
class CaptureRun:
    """One finished tcpdump: its packets and the counters it printed when it ended."""

    capture: Capture
    dropped: int | None  #: "packets dropped by kernel"; None when it was not printed
    received: int | None = None  #: "packets received by filter"


@dataclass(frozen=True)
class CapturePoint:
    """One place on a request's path. ``id``: "client-uplink", "source-veth", "source-uplink",
    "entry-uplink", "target-uplink", "target-veth"."""

    id: str
    node: NodeEvidence
    interface: str
    run: Reading[CaptureRun]
    pcap: str = ""  #: file name in the bundle, if one is kept


@dataclass(frozen=True)
class Aftermath:
    """What was asked after a request that got no answer, while its captures still ran.

    The two requests are positive controls: their packets, in an otherwise empty capture, prove that it
    works. Their tokens and their clients' addresses differ from the request's.
    """

    to_pod: Request  #: the target's own node -> the target: its veth, and whether it listens
    between_nodes: (
        Request | None
    )  #: entry node -> the target's node, both uplinks; None where that is one node
    netconf: Mapping[str, Reading[tuple[NetConf, ...]]]  #: by name of the entry's and the target's node


@dataclass(frozen=True)
class TracedRequest:
    """One request, captured at every point of its path at once (points in path order)."""

    name: str  #: "pod-src -> pod-dest:8080/hostname"
    token: str  #: unique; stands in the request's header "X-K8snet: TOKEN"
    path: str  #: "/hostname"
    client_ip: IPAddress  #: pod-src's address, or the master's underlay address
    asked_ip: IPAddress  #: what the client addressed: pod IP, ClusterIP or node2's underlay address
    asked_port: int
    target: PodEvidence  #: pod-dest
    target_port: int
    answer: Reading[Exchange]
    points: tuple[CapturePoint, ...]
    entry: NodeEvidence  #: the node where DNAT is due: pod-src's node, or node2 for NodePort
    connections: Reading[tuple[Connection, ...]]  #: conntrack of the entry node, right after
    aftermath: Aftermath | None = None  #: only where a request of the same trace got no answer
    upload: bool = False  #: a large body went along with the request


@dataclass(frozen=True)
class PodNetworkLab:
    source: PodEvidence
    target: PodEvidence
    request: TracedRequest
    large: TracedRequest  #: a >= 64 KiB answer over the same path, or such a request (``upload``)
    to_target: Reading[Route]  #: node2, for a packet of pod-src's as it comes from there
    to_source: Reading[Route]  #: node1, for a packet of pod-dest's
    pools: Reading[tuple[IPPool, ...]]
    cluster_cidrs: Reading[tuple[ClusterCIDR, ...]]


@dataclass(frozen=True)
class Spread:
    """Many new connections to one service: the body of each answer names the pod that gave it."""

    endpoints: tuple[str, ...]  #: names of the ready pods behind the service
    answers: tuple[Exchange, ...]


@dataclass(frozen=True)
class ClusterIPLab:
    source: PodEvidence
    request: TracedRequest
    service: Reading[Service]
    endpoints: Reading[tuple[Endpoint, ...]]
    pods: Reading[tuple[Pod, ...]]  #: every pod of the service's namespace


@dataclass(frozen=True)
class NodePortLab:
    request: TracedRequest
    nodes: tuple[NodeEvidence, ...]
    service: Reading[Service]
    endpoints: Reading[tuple[Endpoint, ...]]
    every_node: tuple[tuple[NodeEvidence, Request], ...]  #: node -> request to its own address
