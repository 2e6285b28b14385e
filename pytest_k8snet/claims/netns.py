"""A pod's containers, its sandbox, and the network namespace they share."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pytest_k8snet.claims.verdict import Verdict, broken, held, shown_by
from pytest_k8snet.evidence import sandboxes
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.observations import PodEvidence
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.evidence.sandboxes import Container

_PROC_PATH = re.compile(r"/proc/(\d+)/ns/net")


def listed(pod: PodEvidence) -> tuple[Container, ...]:
    containers = pod.containers.get()
    if not containers or not pod.pod.containers:
        raise unlisted(pod, "lists no container of the pod")
    return containers


def unlisted(pod: PodEvidence, cause: str) -> NotObserved:
    return NotObserved(
        f"the runtime {cause} {pod.pod.namespace}/{pod.pod.name}",
        node=pod.node.name,
        command=pod.containers.command,
        advice="check that this is the runtime the kubelet uses, and that the pod is on this node",
    )


def listing(containers: tuple[Container, ...]) -> str:
    return ", ".join(f"{c.name} {c.id[:12]} (pid {c.pid})" for c in containers)


def sandbox_of(containers: tuple[Container, ...]) -> Container | None:
    """The pod's sandbox: of several, the one that its containers name."""
    sandboxes = [container for container in containers if container.sandbox]
    named = {container.sandbox_id for container in containers if not container.sandbox}
    return next((s for s in sandboxes if s.id in named), sandboxes[0] if sandboxes else None)


def pinned_namespace(pod: PodEvidence, containers: tuple[Container, ...]) -> str | None:
    """Where CRI-O pinned the namespace of a pod whose pause process it dropped; None for other runtimes."""
    if not pod.node.object.get().container_runtime.startswith("cri-o"):
        return None
    return sandboxes.pinned_namespace(containers)


def joins(pod: PodEvidence, container: Container, sandbox: Container) -> Verdict:
    shown = shown_by(pod.containers)
    if container.network_mode is not None:
        expected = f"NetworkMode container:{sandbox.id} of {container.name}"
        if container.network_mode == f"container:{sandbox.id}":
            return held(expected, f"{container.name}: {container.network_mode}", **shown)
        advice = "the container has left the pod's network: delete the pod and let it be made again"
        return broken(expected, f"{container.name}: {container.network_mode}", advice=advice, **shown)
    expected = f"{container.name}'s network namespace is that of the pause container {sandbox.id[:12]}"
    path = container.network_namespace
    if path is None and container.runtime == "oci":
        return broken(
            expected,
            f"the spec of {container.name} names no path: it makes a network namespace of its own",
            advice="compare linux.namespaces in the container's config.json",
            **shown,
        )
    if path is not None:
        by_pid = _PROC_PATH.fullmatch(path)
        if by_pid and int(by_pid[1]) == sandbox.pid:
            return held(expected, f"{container.name}: {path}, the pause process", **shown)
        if sandbox.network_namespace and _run(path) == _run(sandbox.network_namespace):
            dropped = "" if sandbox.pid > 0 else "; it stands in for the pause process that CRI-O dropped"
            return held(expected, f"{container.name}: {path}, the sandbox's own{dropped}", **shown)
    inodes = pod.inodes.get()
    by_pid = _PROC_PATH.fullmatch(path or "")
    pid = int(by_pid[1]) if by_pid and int(by_pid[1]) in inodes else container.pid
    own, theirs = inode_of(pod, inodes, pid), inode_of(pod, inodes, sandbox.pid)
    whose = "the pause container's" if sandbox.pid > 0 else "CRI-O's pinned namespace"
    seen = f"{container.name}: {path or 'no path shown'} is net:[{own}], {whose} net:[{theirs}]"
    if own == theirs:
        return held(expected, seen, **shown)
    return broken(expected, seen, advice="compare the namespace paths of the runtime specs", **shown)


def _run(path: str) -> str:
    return path.removeprefix("/var") if path.startswith("/var/run/") else path


def inode_of(pod: PodEvidence, inodes: Mapping[int, int], pid: int) -> int:
    """The inode of a process's network namespace, or of the pinned one (:data:`sandboxes.PINNED`).

    Raises NotObserved where it was not read.
    """
    if pid not in inodes and pid == sandboxes.PINNED:
        raise NotObserved(
            "the sandbox has no process, and the network namespace that is pinned for it was not read",
            node=pod.node.name,
            command=pod.inodes.command,
            advice="see one-sandbox",
        )
    if pid not in inodes:
        raise NotObserved(
            f"the network namespace of pid {pid} was not read",
            node=pod.node.name,
            command=f"stat -Lc %i /proc/{pid}/ns/net",
            advice="the process may have ended meanwhile: run the lab again",
        )
    return inodes[pid]


def eth0_of(pod: PodEvidence) -> Interface:
    """The pod's eth0, or a stand-in without index and address where the namespace has none.

    Raises NotObserved when the namespace shows no interface at all (even lo).
    """
    interfaces = pod.inside.get()
    if not interfaces:
        raise NotObserved(
            "the pod's namespace shows no interface, not even lo",
            node=pod.node.name,
            command=pod.inside.command,
        )
    return next((i for i in interfaces if i.name == "eth0"), Interface(0, "eth0", 0))


def host_end(pod: PodEvidence, eth0: Interface) -> Interface | None:
    """The node's interface at the other end of eth0."""
    if eth0.peer_index is None or eth0.peer_netnsid is None:
        return None
    for interface in pod.node.interfaces.get():
        if interface.index == eth0.peer_index and interface.peer_netnsid is not None:
            return interface
    return None
