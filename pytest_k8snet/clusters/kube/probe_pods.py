"""The way to the nodes of a cluster that exists: a privileged pod on each, driven by the API's exec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_k8snet.clusters.api.client import ApiRefused
from pytest_k8snet.clusters.api.execution import PodAccess
from pytest_k8snet.clusters.base import Deadline, Node
from pytest_k8snet.clusters.kube.waiting import Pods, pods_ready, refusal
from pytest_k8snet.clusters.kube.workloads import GRACE, PART, RUN, Site, on_nodes
from pytest_k8snet.clusters.ways.toolbox import HOST, ToolNode

if TYPE_CHECKING:
    from pytest_k8snet.clusters.kube.kubernetes_cluster import KubernetesCluster

NAME = "k8snet-probe"
CONTAINER = "probe"


def daemon_set(site: Site, nodes: Sequence[str]) -> dict[str, Any]:
    """The DaemonSet: a pod on each of ``nodes`` that sees what the node sees and does nothing by itself."""
    labels = site.labels | {PART: "probe"}
    spec: dict[str, Any] = {
        "hostNetwork": True,
        "hostPID": True,
        "dnsPolicy": "Default",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE,
        # A cordoned or tainted node is observed too; the pod asks it for nothing.
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": on_nodes(list(nodes))},
        "containers": [
            {
                "name": CONTAINER,
                "image": site.images.probe_image,
                "imagePullPolicy": "IfNotPresent",
                # 68 years; "infinity" is not known to every sleep. In the host's PID namespace it is not the
                # first process, so SIGTERM ends it at once.
                "command": ["sleep", "2147483647"],
                "securityContext": {"privileged": True, "runAsUser": 0},
            }
        ],
    }
    if site.images.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in site.images.pull_secrets]
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "namespace": site.namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {RUN: site.run, PART: "probe"}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def reach(cluster: KubernetesCluster, deadline: Deadline) -> Mapping[str, Node]:
    """Make the pods, wait until they are Ready, and give a node by name for each role's.

    A command runs in the pod; where its image lacks the program, in the node's own namespaces. Raises
    ClusterError, one line: refused, no image, not scheduled.
    """
    site, api = cluster.site, cluster.api
    names = list(site.roles.nodes.values())
    try:
        api.create(f"/apis/apps/v1/namespaces/{site.namespace}/daemonsets", daemon_set(site, names))
    except ApiRefused as error:
        raise refusal(f"DaemonSet {NAME}", error) from None

    def missing(pods: Pods) -> str:
        there = {pod["spec"].get("nodeName") for pod in pods.values()}
        away = [name for name in names if name not in there]
        return f"no probe pod on {', '.join(away)} yet" if away else ""

    pods = pods_ready(
        api,
        site.namespace,
        selector=f"{RUN}={site.run},{PART}=probe",
        missing=missing,
        makers=[NAME],
        deadline=deadline,
        progress=cluster.progress,
    )
    nodes: dict[str, ToolNode] = {}
    there = {seen["spec"]["nodeName"]: pod for pod, seen in pods.items()}
    for name in names:
        pod = there[name]
        here = PodAccess(api, site.namespace, pod, CONTAINER, place=name)
        host = PodAccess(api, site.namespace, pod, CONTAINER, prefix=HOST, place=name)
        nodes[name] = node = ToolNode(cluster, name, here=here, host=host)
        cluster.ending.callback(node.close)
    return nodes
