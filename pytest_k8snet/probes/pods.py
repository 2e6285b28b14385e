"""A pod: its object, its containers on the node, and the inside of its network namespace."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_k8snet.clusters.base import Cluster, ClusterError, Node
from pytest_k8snet.evidence import interfaces, objects, sandboxes
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.observations import NodeEvidence, PodEvidence
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.evidence.sandboxes import Container
from pytest_k8snet.probes import cri, docker, oci
from pytest_k8snet.probes.commands import derive, failed_as, read, read_objects
from pytest_k8snet.probes.nodes import ADDRESSES

#: What reads the containers of a pod on its node, by ``Cluster.runtime_of``.
RUNTIMES: Mapping[str, Callable[[Node, Pod], Reading[tuple[Container, ...]]]] = {
    "oci": oci.read_containers,
    "docker": docker.read_containers,
    "cri": cri.read_containers,
}


def read_pods(cluster: Cluster) -> Reading[tuple[Pod, ...]]:
    return read_objects(cluster, "pods", objects.parse_pods)


def find_pod(cluster: Cluster, name: str, pods: Reading[tuple[Pod, ...]]) -> Pod:
    """The lab's pod ``name``. Raises ClusterError when there is none: the lab has nothing to look at."""
    if pods.failure:
        raise ClusterError(f"{pods.command}: {pods.failure}")
    for pod in pods.get():
        if pod.name == name and pod.namespace == cluster.namespace:
            if pod.node not in cluster.nodes:
                raise ClusterError(
                    f"pod {name} is on {pod.node or 'no node'}, which this run can't look into"
                )
            return pod
    raise ClusterError(f"no pod {name} in namespace {cluster.namespace}: was its manifest applied?")


def pod_address(pod: Pod, like: IPAddress | None = None) -> IPAddress:
    """The pod's first address, of the family of ``like`` where it has one of that. Raises ClusterError when
    it has none at all."""
    if not pod.ips:
        raise ClusterError(f"pod {pod.name} has no IP: see its events (kubectl describe pod {pod.name})")
    return next((ip for ip in pod.ips if like is not None and ip.version == like.version), pod.ips[0])


def observe_pod(
    cluster: Cluster, pod: Pod, node: NodeEvidence, *, inside: bool = True, inodes: bool = True
) -> PodEvidence:
    """``node`` is the pod's own. ``inside`` and ``inodes`` say what the lab's claims ask for: reading costs
    one to four commands."""
    where = cluster.nodes[pod.node]
    left_out: Reading[tuple[Container, ...]] = Reading(
        where.name, "", failure="not read for this lab: none of its claims needs it"
    )
    containers = read_containers(cluster, where, pod) if inside or inodes else left_out
    namespace = derive(containers if inside else left_out, lambda listed: namespace_of(pod, listed))
    return PodEvidence(
        pod=pod,
        node=node,
        inside=read_inside(where, namespace),
        containers=containers,
        inodes=read_inodes(where, containers if inodes else left_out),
    )


def read_containers(cluster: Cluster, node: Node, pod: Pod) -> Reading[tuple[Container, ...]]:
    """The pod's running containers, its sandbox included, as the node's runtime lists them."""
    runtime = cluster.runtime_of(node.name)
    try:
        listing = RUNTIMES[runtime]
    except KeyError:
        raise ClusterError(
            f"containers of runtime {runtime!r} on {node.name} can't be read by this version"
        ) from None
    return listing(node, pod)


def sandbox_of(pod: Pod, containers: tuple[Container, ...]) -> Container:
    """The sandbox that the pod's containers belong to: where there are two, the one in use."""
    pauses = [container for container in containers if container.sandbox]
    used = {container.sandbox_id for container in containers if not container.sandbox}
    for sandbox in pauses:
        if sandbox.id in used:
            return sandbox
    if pauses:
        return pauses[0]
    raise NotObserved(
        f"the runtime lists no running sandbox (pause container) of pod {pod.name}",
        advice="list the node's containers and see whether the pod runs",
    )


def container_named(containers: tuple[Container, ...], name: str) -> Container:
    """Raises NotObserved when no such container runs."""
    for container in containers:
        if container.name == name and not container.sandbox:
            return container
    raise NotObserved(f"container {name} does not run", advice="see the pod's events")


def namespace_of(pod: Pod, containers: tuple[Container, ...]) -> tuple[str, ...]:
    """nsenter's options for the pod's network namespace: by its sandbox's process, else by the path where
    CRI-O pinned it, as process 1 sees it (a probe pod has another /run; /var/run would lead it there).

    Raises NotObserved.
    """
    sandbox = sandbox_of(pod, containers)
    if sandbox.pid > 0:
        return of_process(sandbox.pid)
    if path := sandboxes.pinned_namespace(containers):
        return (f"--net=/proc/1/root{path.removeprefix('/var') if path.startswith('/var/run/') else path}",)
    raise NotObserved(
        f"the sandbox {sandbox.id[:12]} of pod {pod.name} has no process, and its namespace no known path",
        advice=f"compare linux.namespaces in `crictl inspectp {sandbox.id[:12]}` with the containers' own",
    )


def of_process(pid: int) -> tuple[str, ...]:
    """nsenter's options for the network namespace of process ``pid``."""
    return ("-t", str(pid), "-n")


def read_inside(node: Node, namespace: Reading[tuple[str, ...]]) -> Reading[tuple[Interface, ...]]:
    """The addresses in a network namespace, by nsenter's options for it."""
    if namespace.failure or namespace.value is None:
        return failed_as(namespace)
    return read(node, ("nsenter", *namespace.value, *ADDRESSES), interfaces.parse_addresses)


def read_inodes(node: Node, containers: Reading[tuple[Container, ...]]) -> Reading[Mapping[int, int]]:
    """pid -> inode of its network namespace, for pid 1 (the node itself) and every container; PINNED -> that
    of the namespace that CRI-O pinned for a sandbox without a process."""
    if containers.failure or containers.value is None:
        return failed_as(containers)
    pids = sorted({1, *(container.pid for container in containers.value if container.pid > 0)})
    paths = [f"/proc/{pid}/ns/net" for pid in pids]
    if pinned := sandboxes.pinned_namespace(containers.value):
        paths.append(pinned)
    argv = ("stat", "-Lc", "%n %i", *paths)
    return read(node, argv, lambda said: sandboxes.parse_namespace_inodes(said, pinned or ""))
