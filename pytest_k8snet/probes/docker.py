"""A pod's containers from Docker: dockershim's (Kubernetes 1.20 to 1.23) and cri-dockerd's alike.

Both give every container the kubelet's labels (``io.kubernetes.pod.name`` and so on). crictl on such a node
shows neither NetworkMode nor a pid, so Docker itself is asked.
"""

from __future__ import annotations

from pytest_k8snet.clusters.base import Node
from pytest_k8snet.evidence import sandboxes
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.sandboxes import Container
from pytest_k8snet.probes.commands import derive, failed_as, read


def read_containers(node: Node, pod: Pod) -> Reading[tuple[Container, ...]]:
    """The running containers of ``pod``, its sandboxes included. Ended ones are not listed."""
    listed = read(node, ("docker", "ps", "-q", "--no-trunc", *filters("--filter", pod)), sandboxes.parse_ids)
    if listed.failure or listed.value is None:
        return failed_as(listed)
    if not listed.value:
        return derive(listed, lambda _: ())
    return read(node, ("docker", "inspect", *listed.value), sandboxes.parse_docker_inspect)


def filters(option: str, pod: Pod) -> tuple[str, ...]:
    labels = (f"io.kubernetes.pod.name={pod.name}", f"io.kubernetes.pod.namespace={pod.namespace}")
    return tuple(word for label in labels for word in (option, f"label={label}"))
