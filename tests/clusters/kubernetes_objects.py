"""Kubernetes objects as an API answers them, in the parts that the providers read."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def node(
    name: str,
    *,
    control_plane: str = "",
    ready: str = "True",
    taints: tuple[str, ...] = (),
    cordoned: bool = False,
    os: str = "linux",
    hostname: str = "",
    runtime: str = "containerd://1.6.20",
    labels: Json | None = None,
) -> Json:
    """``control_plane``: the era's label; ``taints``: "KEY:EFFECT" each."""
    labels = {"kubernetes.io/hostname": hostname or name, "kubernetes.io/os": os, **(labels or {})}
    if control_plane:
        labels[f"node-role.kubernetes.io/{control_plane}"] = ""
    spec: Json = {"taints": [dict(zip(("key", "effect"), t.split(":"), strict=True)) for t in taints]}
    if cordoned:
        spec["unschedulable"] = True
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
            "nodeInfo": {"containerRuntimeVersion": runtime, "kubeletVersion": "v1.20.8"},
        },
    }


def pod(
    name: str = "pod-src", *, image: str = "kubetm/init", labels: Json | None = None, **status: Any
) -> Json:
    """``status`` is its whole status."""
    return {
        "metadata": {"name": name, "namespace": "k8snet-abc", "labels": labels or {}},
        "spec": {"nodeName": "k8s-node2", "containers": [{"name": "container", "image": image}]},
        "status": status,
    }


def waiting(reason: str, message: str = "", /, **last: Any) -> Json:
    """The status of a pod whose container waits."""
    return {
        "phase": "Pending",
        "containerStatuses": [
            {
                "name": "container",
                "image": "sha256:0",
                "state": {"waiting": {"reason": reason, "message": message}},
                "lastState": {"terminated": last} if last else {},
            }
        ],
    }
