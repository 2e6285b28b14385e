"""The kubeconfig provider: the labs on a cluster that exists, named by its context."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_k8snet.clusters.api.client import Api
from pytest_k8snet.clusters.asked import Asked
from pytest_k8snet.clusters.base import ClusterError, Deadline, Node
from pytest_k8snet.clusters.kube import preflight as looking
from pytest_k8snet.clusters.kube import probe_pods
from pytest_k8snet.clusters.kube.kubernetes_cluster import KubernetesCluster
from pytest_k8snet.clusters.tape import Tape
from pytest_k8snet.clusters.ways.toolbox import ToolNode
from pytest_k8snet.intent import Intent

LOOKING = 60.0  #: seconds for all of a preflight


def preflight(asked: Asked, intent: Intent) -> list[str]:
    """Why a run may not start, one line each; [] when it may. Leaves nothing behind."""
    try:
        with Api.connect(asked.kubeconfig, asked.context) as api:
            api.deadline = Deadline(LOOKING)
            return looking.findings(api, asked, intent)
    except ClusterError as error:
        return [str(error)]


def open_cluster(
    *, tape: Tape, intent: Intent, asked: Asked, progress: Callable[[str], None]
) -> KubernetesCluster:
    """A namespace of ours on the cluster, its nodes reached. Raises ClusterError, one line."""
    return KubernetesCluster.open(
        lambda: Api.connect(asked.kubeconfig, asked.context),
        tape=tape,
        intent=intent,
        asked=asked,
        progress=progress,
        provider="kubeconfig",
        reach=_by_ssh if asked.access == "ssh" else probe_pods.reach,
    )


def _by_ssh(cluster: KubernetesCluster, deadline: Deadline) -> Mapping[str, Node]:
    """The user's own way to each node, by its name or its InternalIP; nothing of ours runs there."""
    from pytest_k8snet.clusters.ways.ssh import SshAccess

    nodes: dict[str, ToolNode] = {}
    for found in cluster.api.listed("/api/v1/nodes")["items"]:
        name, status = found["metadata"]["name"], found["status"]
        if name not in cluster.roles.values():
            continue
        cluster.progress(f"reaching {name} by ssh")
        internal = [each["address"] for each in status["addresses"] if each["type"] == "InternalIP"]
        access = SshAccess(
            name,
            next(iter(internal), ""),
            boot_id=status["nodeInfo"].get("bootID", ""),
            config=cluster.asked.ssh_config,
            identity=cluster.asked.ssh_identity,
            extra=cluster.asked.ssh_extra,
        )
        cluster.ending.callback(access.close)
        nodes[name] = node = ToolNode(cluster, name, here=access)
        cluster.ending.callback(node.close)
    return nodes
