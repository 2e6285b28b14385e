"""A pod's containers from a CRI runtime (containerd, CRI-O) by crictl, from its version 1.11 on.

Where a node has no /etc/crictl.yaml, :class:`~pytest_k8snet.clusters.ways.toolbox.ToolNode` leads crictl to
the runtime's socket.
"""

from __future__ import annotations

from pytest_k8snet.clusters.base import Node
from pytest_k8snet.evidence import sandboxes
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.sandboxes import Container
from pytest_k8snet.probes.commands import failed_as, read


def read_containers(node: Node, pod: Pod) -> Reading[tuple[Container, ...]]:
    """The ready sandboxes and running containers of ``pod``. Ended ones are not listed.

    Two listings and two inspections, since a listing has no pids; the reading's command is a listing's.
    """
    labels = _labels(pod)
    pods = read(node, ("crictl", "pods", "-q", "--state", "ready", *labels), sandboxes.parse_ids)
    if pods.failure or pods.value is None:
        return failed_as(pods)
    listed = read(node, ("crictl", "ps", "-q", *labels), sandboxes.parse_ids)
    if listed.failure or listed.value is None:
        return failed_as(listed)
    found: tuple[Container, ...] = ()
    inspections = (
        ("inspectp", pods.value, sandboxes.parse_crictl_inspectp),
        ("inspect", listed.value, sandboxes.parse_crictl_inspect),
    )
    for subcommand, ids, parse in inspections:
        if ids:
            inspected = read(node, ("crictl", subcommand, *ids), parse)
            if inspected.failure or inspected.value is None:
                return inspected
            found += inspected.value
    return Reading(node.name, listed.command, found)


def _labels(pod: Pod) -> tuple[str, ...]:
    labels = (f"io.kubernetes.pod.name={pod.name}", f"io.kubernetes.pod.namespace={pod.namespace}")
    return tuple(word for label in labels for word in ("--label", label))
