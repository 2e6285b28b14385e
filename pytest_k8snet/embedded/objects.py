"""The reference network's description as the objects that Kubernetes' and Calico's APIs would list."""

from __future__ import annotations

from typing import Any

from pytest_k8snet.embedded import kube_proxy_rules
from pytest_k8snet.embedded.description import Network

#: The proxy whose rules and listeners the reference network has, as a node would state it.
KUBE_PROXY_VERSION = "v1.20.0+k8snet-reference"


def listed(network: Network, resource: str) -> list[dict[str, Any]]:
    """Items of "nodes", "pods", "services", "endpointslices", "ippools" or "clustercidrs". KeyError."""
    return _LISTS[resource](network)


def _nodes(network: Network) -> list[dict[str, Any]]:
    return [
        {
            "kind": "Node",
            "metadata": {
                "name": node.name,
                "annotations": {"projectcalico.org/IPv4Address": network.on_underlay(node)},
            },
            "spec": {},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": str(node.eth1)},
                    {"type": "Hostname", "address": node.name},
                ],
                "nodeInfo": {
                    "kubeletVersion": "",
                    "kubeProxyVersion": KUBE_PROXY_VERSION,
                    "containerRuntimeVersion": "crun://",
                },
            },
        }
        for node in network.nodes
    ]


def _pods(network: Network) -> list[dict[str, Any]]:
    return [
        {
            "kind": "Pod",
            "metadata": {
                "name": pod.name,
                "namespace": pod.namespace,
                "uid": pod.uid,
                "labels": dict(pod.labels),
            },
            "spec": {
                "nodeName": pod.node,
                "containers": [{"name": name, "image": image} for name, image in pod.containers],
            },
            "status": {
                "phase": "Running",
                "podIP": str(pod.ip),
                "podIPs": [{"ip": str(pod.ip)}],
                "conditions": [{"type": "Ready", "status": str(pod.name not in network.not_ready)}],
            },
        }
        for pod in network.pods.values()
    ]


def _services(network: Network) -> list[dict[str, Any]]:
    return [
        {
            "kind": "Service",
            "metadata": {"name": service.name, "namespace": service.namespace},
            "spec": {
                "type": service.type,
                "clusterIP": str(service.cluster_ip),
                "selector": dict(service.selector),
                "ports": [
                    {
                        "port": port,
                        "targetPort": target,
                        "protocol": "TCP",
                        **({"name": name} if name else {}),
                        **({"nodePort": node_port} if node_port is not None else {}),
                    }
                    for name, port, target, node_port in service.ports
                ],
            },
        }
        for service in network.services.values()
    ]


def _endpointslices(network: Network) -> list[dict[str, Any]]:
    return [
        {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": service.name,
                "namespace": service.namespace,
                "labels": {"kubernetes.io/service-name": service.name},
            },
            "addressType": "IPv4",
            "ports": [
                {
                    "name": name,
                    "protocol": "TCP",
                    "port": kube_proxy_rules.target_port(
                        target, next((pod.containers for pod in network.endpoints(service)), ())
                    ),
                }
                for name, _, target, _ in service.ports
                if isinstance(target, int) or network.endpoints(service)
            ],
            "endpoints": [
                {
                    "addresses": [str(pod.ip)],
                    "conditions": {"ready": pod.name not in network.not_ready},
                    "nodeName": pod.node,
                    "targetRef": {"kind": "Pod", "name": pod.name, "namespace": pod.namespace},
                }
                for pod in network.endpoints(service)
            ],
        }
        for service in network.services.values()
    ]


def _ippools(network: Network) -> list[dict[str, Any]]:
    return [
        {
            "kind": "IPPool",
            "apiVersion": "crd.projectcalico.org/v1",
            "metadata": {"name": "default-ipv4-ippool"},
            "spec": {
                "cidr": str(network.pool_cidr or network.pod_cidr),
                "ipipMode": network.pool_modes[0],
                "vxlanMode": network.pool_modes[1],
                "natOutgoing": False,
                "blockSize": 26,
            },
        }
    ]


def _clustercidrs(network: Network) -> list[dict[str, Any]]:
    return [{"source": "kube-proxy clusterCIDR", "cidr": str(network.proxy_cidr)}]


_LISTS = {
    "nodes": _nodes,
    "pods": _pods,
    "services": _services,
    "endpointslices": _endpointslices,
    "ippools": _ippools,
    "clustercidrs": _clustercidrs,
}
