"""A container that dies: what it was before, and what comes back in its place."""

from __future__ import annotations

from pytest_k8snet.clusters.base import Cluster, Node
from pytest_k8snet.evidence import interfaces
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.observations import Identity, Restart
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.sandboxes import Container
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes.commands import derive, failed_as, read, run
from pytest_k8snet.probes.nodes import ADDRESSES
from pytest_k8snet.probes.pods import (
    container_named,
    find_pod,
    of_process,
    read_containers,
    read_inodes,
    read_inside,
    read_pods,
)

#: Seconds between looks at the runtime's listing. They end by count, so that a replay ends where the recorded
#: run did. kubelet restarts a container that died once at once.
PAUSE = 0.25


def restart_container(
    cluster: Cluster, intent: Intent, *, pod: str = "pod-pause", container: str = "container2"
) -> Reading[Restart]:
    """Kill the container's process (SIGKILL, on its node) and wait for another in its place.

    Raises ClusterError when the pod does not exist.
    """
    found = find_pod(cluster, pod, read_pods(cluster))
    node = cluster.nodes[found.node]
    before = derive(read_containers(cluster, node, found), lambda listed: container_named(listed, container))
    if before.failure or before.value is None:
        return failed_as(before)
    was = identify(cluster, node, found, before.value)
    killed = run(node, ("kill", "-KILL", str(before.value.pid)))
    if killed.failure:
        return failed_as(killed)
    after = _come_back(cluster, node, found, before.value)
    if after.failure or after.value is None:
        return failed_as(after)
    now = identify(cluster, node, found, after.value)
    if was.failure:
        return failed_as(was)
    return derive(now, lambda identity: Restart(was.get(), identity, found.ips))


def identify(cluster: Cluster, node: Node, pod: Pod, container: Container) -> Reading[Identity]:
    """What must survive, read in the container's own namespace: not what the API says of it.

    A namespace without eth0 gives no addresses and no host interface, which is an answer.
    """
    alone: Reading[tuple[Container, ...]] = Reading(node.name, "", (container,))
    inodes = read_inodes(node, alone)
    inside = read_inside(node, Reading(node.name, "", of_process(container.pid)))
    outside = read(node, ADDRESSES, interfaces.parse_addresses)
    for reading in (inodes, inside, outside):
        if reading.failure:
            return failed_as(reading)

    def identity(listed: tuple[Interface, ...]) -> Identity:
        eth0 = interfaces.named(listed, "eth0")
        ends = interfaces.host_ends(eth0, outside.get()) if eth0 else ()
        return Identity(
            container=container.id,
            pid=container.pid,
            inode=inodes.get()[container.pid],
            ips=tuple(own.ip for own in eth0.addresses if not own.ip.is_link_local) if eth0 else (),
            host_interface=ends[0].name if ends else "",
        )

    return derive(inside, identity)


def _come_back(cluster: Cluster, node: Node, pod: Pod, before: Container) -> Reading[Container]:
    last: Reading[tuple[Container, ...]] = Reading(node.name, "")
    looks = max(1, round(cluster.patience.command / PAUSE))
    for _ in range(looks):
        # A look may fall between two containers (the old one's files go away meanwhile): look again.
        last = read_containers(cluster, node, pod)
        for container in last.value or ():
            if container.name == before.name and (container.id, container.pid) != (before.id, before.pid):
                return Reading(node.name, last.command, container)
        cluster.tape.wait(PAUSE)
    seen = last.failure or "the others are: " + ", ".join(sorted(c.name for c in last.value or ()))
    return Reading(
        node.name,
        last.command,
        failure=f"{before.name} was killed and did not run again within {looks} looks at the runtime; {seen}",
        advice=f"see the events of pod {pod.name} (its restartPolicy, a back-off after earlier restarts)",
    )
