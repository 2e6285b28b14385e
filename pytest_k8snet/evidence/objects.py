"""Kubernetes objects, from the JSON of API reads (``kubectl get ... -o json`` prints the same lists)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from pytest_k8snet.evidence.packets import IPAddress


@dataclass(frozen=True)
class Pod:
    name: str
    namespace: str
    uid: str
    node: str  #: spec.nodeName, the node's real name
    ips: tuple[IPAddress, ...]  #: status.podIPs (status.podIP where there is only that)
    ready: bool
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
