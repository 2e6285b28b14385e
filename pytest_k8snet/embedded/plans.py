"""Manifests, placed in the reference network: which node, which address, which ports."""

from __future__ import annotations

from ipaddress import IPv4Address

from pytest_k8snet.embedded.description import Network, PodPlan, ServicePlan
from pytest_k8snet.manifests import Manifest


def pod(network: Network, manifest: Manifest) -> PodPlan:
    """The place of a Pod that :mod:`~pytest_k8snet.embedded.supported` has let through."""
    spec = manifest.body["spec"]
    node = network.node(spec["nodeSelector"]["kubernetes.io/hostname"])
    return PodPlan(
        name=manifest.name,
        namespace=_namespace(manifest),
        node=node.name,
        ip=network.free_pod_ip(manifest.name, node),
        labels=dict(manifest.body["metadata"].get("labels", {})),
        containers=tuple((container["name"], container["image"]) for container in spec["containers"]),
        interface_prefix=network.interface_prefix,
    )


def service(network: Network, manifest: Manifest, node_port: int) -> ServicePlan:
    """The place of a Service; a NodePort that its manifest leaves open is ``node_port``."""
    spec = manifest.body["spec"]
    asked = spec.get("clusterIP")
    default = node_port if spec.get("type") == "NodePort" else None
    return ServicePlan(
        name=manifest.name,
        namespace=_namespace(manifest),
        type=spec.get("type", "ClusterIP"),
        cluster_ip=IPv4Address(asked) if asked else network.free_cluster_ip(manifest.name),
        selector=dict(spec.get("selector", {})),
        ports=tuple(
            (
                port.get("name", ""),
                int(port["port"]),
                port.get("targetPort", port["port"]),
                int(port["nodePort"]) if "nodePort" in port else default,
            )
            for port in spec["ports"]
        ),
    )


def _namespace(manifest: Manifest) -> str:
    return str(manifest.body["metadata"].get("namespace", "default"))
