"""What a cluster made by kubeadm with Calico holds before anybody uses it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakeapi.statuses import Json
from tests.fakeapi.store import Store

HOSTNAME = "kubernetes.io/hostname"


@dataclass(frozen=True)
class FakeNode:
    name: str
    address: str  #: InternalIP, and what Calico's BGP peers use
    block: str  #: Calico's address block on it: its pods' addresses come from there
    control_plane: bool = False
    runtime: str = "containerd://1.6.20"
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Json] = ()
    ready: bool = True
    unschedulable: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)


def document_nodes(runtime: str = "containerd://1.6.20") -> tuple[FakeNode, ...]:
    """The document's three nodes, with the blocks that its captures show."""
    return (
        FakeNode("k8s-master", "192.168.219.21", "20.108.82.192/26", control_plane=True, runtime=runtime),
        FakeNode("k8s-node1", "192.168.219.22", "20.111.156.64/26", runtime=runtime),
        FakeNode("k8s-node2", "192.168.219.23", "20.109.131.0/26", runtime=runtime),
    )


@dataclass(frozen=True)
class Content:
    """What differs between clusters; ``None`` leaves an object out."""

    pod_cidr: str = "20.96.0.0/12"
    service_cidr: str = "10.96.0.0/12"
    pool_cidr: str | None = None  #: the IPPool's; the pod CIDR unless given
    ipip_mode: str = "Always"
    vxlan_mode: str = "Never"
    proxy_mode: str | None = ""  #: kube-proxy's `mode`; "" as kubeadm leaves it; None: no ConfigMap
    kubeadm: bool = True  #: the ConfigMap kubeadm-config
    controller_manager: bool = True  #: its pod, with --cluster-cidr
    calico: bool = True  #: CRDs, the IPPool and calico-node
    operator: bool = False  #: calico-node in calico-system, as the Tigera operator installs it


def fill(store: Store, nodes: Sequence[FakeNode], version: str, content: Content) -> None:
    """Create all of it."""
    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        store.create("namespaces", {"metadata": {"name": name}})
    for number, node in enumerate(nodes):
        store.create("nodes", _node(node, number, version, content))
    if content.kubeadm:
        store.create(
            "configmaps", _config_map("kubeadm-config", ClusterConfiguration=_kubeadm(version, content))
        )
    if content.proxy_mode is not None:
        conf = (
            f'clusterCIDR: {content.pod_cidr}\nkind: KubeProxyConfiguration\nmode: "{content.proxy_mode}"\n'
        )
        store.create("configmaps", _config_map("kube-proxy", **{"config.conf": _API + conf}))
    if content.calico:
        store.create("ippools", _pool(content))
        namespace = "calico-system" if content.operator else "kube-system"
        if content.operator:
            store.create("namespaces", {"metadata": {"name": namespace}})
        store.create("daemonsets", _daemon_set("calico-node", "calico/node:v3.20.6", namespace))
    if content.proxy_mode is not None:
        image = f"k8s.gcr.io/kube-proxy:{version}"
        store.create("daemonsets", _daemon_set("kube-proxy", image, "kube-system"))
    if content.controller_manager:
        for node in nodes:
            if node.control_plane:
                store.create("pods", _controller_manager(node, version, content))


_API = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n"


def _node(node: FakeNode, number: int, version: str, content: Content) -> Json:
    minor = int(version.split(".")[1])
    labels = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        HOSTNAME: node.name,
    }
    taints: list[Any] = list(node.taints)
    if node.control_plane:
        # The label and the taint "master" went away in 1.24 and 1.25; "control-plane" came in 1.20 and 1.24.
        roles = ["control-plane"] + ["master"] * (minor < 24)
        labels |= {f"node-role.kubernetes.io/{role}": "" for role in roles}
        role = "master" if minor < 24 else "control-plane"
        taints.append({"effect": "NoSchedule", "key": f"node-role.kubernetes.io/{role}"})
    spec: Json = {"podCIDR": _pod_cidr(content, number), "podCIDRs": [_pod_cidr(content, number)]}
    if node.unschedulable:
        spec["unschedulable"] = True
        taints.append({"effect": "NoSchedule", "key": "node.kubernetes.io/unschedulable"})
    if not node.ready:
        taints.append({"effect": "NoSchedule", "key": "node.kubernetes.io/not-ready"})
    if taints:
        spec["taints"] = taints
    annotations = {"node.alpha.kubernetes.io/ttl": "0"}
    if content.calico:
        annotations |= {
            "projectcalico.org/IPv4Address": f"{node.address}/24",
            "projectcalico.org/IPv4IPIPTunnelAddr": node.block.split("/")[0],
        }
    ready = ("True", "KubeletReady", "kubelet is posting ready status")
    if not node.ready:
        ready = ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    return {
        "metadata": {
            "name": node.name,
            "labels": labels | dict(node.labels),
            "annotations": annotations | dict(node.annotations),
        },
        "spec": spec,
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": node.address},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": [
                {"type": "Ready", "status": ready[0], "reason": ready[1], "message": ready[2]},
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"boot.{node.name}")),
                "machineID": uuid.uuid5(uuid.NAMESPACE_DNS, node.name).hex,
                "systemUUID": str(uuid.uuid5(uuid.NAMESPACE_DNS, node.name)),
                "containerRuntimeVersion": node.runtime,
                "kernelVersion": "5.4.0-80-generic",
                "kubeProxyVersion": version,
                "kubeletVersion": version,
                "operatingSystem": "linux",
                "osImage": "Ubuntu 20.04.2 LTS",
            },
        },
    }


def _pod_cidr(content: Content, number: int) -> str:
    first, second, _, _ = content.pod_cidr.split("/")[0].split(".")
    return f"{first}.{second}.{number}.0/24"


def _config_map(name: str, **entries: str) -> Json:
    return {"metadata": {"name": name, "namespace": "kube-system"}, "data": entries}


def _kubeadm(version: str, content: Content) -> str:
    return (
        "apiVersion: kubeadm.k8s.io/v1beta2\n"
        "kind: ClusterConfiguration\n"
        f"kubernetesVersion: {version}\n"
        "networking:\n"
        "  dnsDomain: cluster.local\n"
        f"  podSubnet: {content.pod_cidr}\n"
        f"  serviceSubnet: {content.service_cidr}\n"
    )


def _pool(content: Content) -> Json:
    spec = {
        "blockSize": 26,
        "cidr": content.pool_cidr or content.pod_cidr,
        "ipipMode": content.ipip_mode,
        "natOutgoing": True,
        "nodeSelector": "all()",
        "vxlanMode": content.vxlan_mode,
    }
    return {"metadata": {"name": "default-ipv4-ippool"}, "spec": spec}


def _daemon_set(name: str, image: str, namespace: str) -> Json:
    labels = {"k8s-app": name}
    container: Json = {"name": name, "image": image}
    if name == "calico-node":
        container["env"] = [{"name": "IP_AUTODETECTION_METHOD", "value": "interface=eth1"}]
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [container],
                    "hostNetwork": True,
                    "tolerations": [{"operator": "Exists"}],
                },
            },
        },
    }


def _controller_manager(node: FakeNode, version: str, content: Content) -> Json:
    command = [
        "kube-controller-manager",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={content.pod_cidr}",
        f"--service-cluster-ip-range={content.service_cidr}",
    ]
    return {
        "metadata": {
            "name": f"kube-controller-manager-{node.name}",
            "namespace": "kube-system",
            "labels": {"component": "kube-controller-manager", "tier": "control-plane"},
        },
        "spec": {
            "containers": [
                {
                    "name": "kube-controller-manager",
                    "image": f"k8s.gcr.io/kube-controller-manager:{version}",
                    "command": command,
                }
            ],
            "hostNetwork": True,
            "nodeName": node.name,
            "tolerations": [{"effect": "NoExecute", "operator": "Exists"}],
        },
    }
