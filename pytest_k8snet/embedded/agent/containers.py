"""Pods as OCI containers: a pause container whose namespaces the others join, run by crun."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from pytest_k8snet.embedded.agent.children import Reaper

STATE = "/run/crun"
BUNDLES = "/run/containers"
#: The containers' root: the node's own file system, bound once more because pivot_root needs a mount.
ROOT = "/run/rootfs"
ANNOTATION = "io.kubernetes.cri."  #: containerd's prefix (containerd 1.6 pkg/cri/annotations)
CRUN = ["crun", "--root", STATE, "--cgroup-manager=disabled"]
CAPABILITIES = ["CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_KILL"]


def container_id(pod: dict[str, Any], name: str, attempt: int) -> str:
    """64 hexadecimal digits, as every runtime gives, the same for the same pod, name and attempt."""
    return hashlib.sha256(f"{pod['uid']}/{name}/{attempt}".encode()).hexdigest()


def config(
    pod: dict[str, Any],
    name: str,
    argv: list[str],
    image: str,
    sandbox_id: str,
    sandbox_pid: int | None,
    network: str = "sandbox",
) -> dict[str, Any]:
    """The OCI runtime specification of one container; ``sandbox_pid`` None makes the pause container.

    ``network``: whose namespace it joins: the "sandbox"'s, the "node"'s, or its "own".
    """
    namespaces = [{"type": "pid"}, {"type": "mount"}]
    for kind in ("network", "ipc", "uts"):
        holder = {"sandbox": sandbox_pid, "node": 1, "own": None}[network if kind == "network" else "sandbox"]
        file = {"network": "net"}.get(kind, kind)
        namespaces.append(
            {"type": kind} if holder is None else {"type": kind, "path": f"/proc/{holder}/ns/{file}"}
        )
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": argv,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "root": {"path": ROOT, "readonly": True},
        **({"hostname": pod["name"]} if sandbox_pid is None else {}),
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "mode=755", "size=64k"],
            },
        ],
        "linux": {"namespaces": namespaces},
        "annotations": {
            ANNOTATION + "container-type": "sandbox" if sandbox_pid is None else "container",
            ANNOTATION + "sandbox-id": sandbox_id,
            ANNOTATION + "sandbox-name": pod["name"],
            ANNOTATION + "sandbox-namespace": pod["namespace"],
            ANNOTATION + "sandbox-uid": pod["uid"],
            ANNOTATION + "image-name": image,
            **({} if sandbox_pid is None else {ANNOTATION + "container-name": name}),
        },
    }


def run(reaper: Reaper, identifier: str, specification: dict[str, Any]) -> int:
    """Start a container and return its pid as the node sees it. OSError with crun's words if it can't."""
    bundle = f"{BUNDLES}/{identifier}"
    os.makedirs(bundle, exist_ok=True)
    with open(f"{bundle}/config.json", "w") as handle:
        json.dump(specification, handle)
    pid_file = f"{bundle}/pid"
    reaper.call([*CRUN, "run", "--detach", "--bundle", bundle, "--pid-file", pid_file, identifier])
    with open(pid_file) as handle:
        return int(handle.read())


def remove(reaper: Reaper, identifier: str) -> None:
    """Kill and forget a container, its bundle too."""
    reaper.call([*CRUN, "delete", "--force", identifier])
    bundle = f"{BUNDLES}/{identifier}"
    for name in os.listdir(bundle):
        os.unlink(f"{bundle}/{name}")
    os.rmdir(bundle)
