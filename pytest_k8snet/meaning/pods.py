"""What is said of one pod: its addresses, its veth pair, its containers and the namespace they share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from ipaddress import ip_network

from pytest_k8snet.claims.netns import eth0_of, host_end, sandbox_of
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.observations import PodEvidence
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.evidence.sandboxes import NODE_NETWORK, PINNED, Container
from pytest_k8snet.meaning.comparison import Fact
from pytest_k8snet.meaning.roles import Roles
from pytest_k8snet.meaning.told import listed, told

_PROCESS = re.compile(r"/proc/[0-9]+/")
#: "/var/run/netns/cni-<uuid>" (containerd), "/var/run/netns/<uuid>" (CRI-O)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def of_interfaces(pod: PodEvidence, roles: Roles) -> Iterator[Fact]:
    """Addresses, both ends of the veth pair and their MTU."""
    name = pod.pod.name
    yield told(f"address/{name}", lambda: listed(_addresses(pod, roles)))
    yield told(f"mtu/{name}/eth0", lambda: str(eth0_of(pod).mtu or "no eth0"))
    eth0 = (f"mtu/{name}/eth0",)
    yield told(f"veth/{name}", lambda: _pair(pod, roles), rests_on=eth0)
    yield told(f"mtu/{name}/host", lambda: str(_host_end(pod).mtu), rests_on=eth0)


def _addresses(pod: PodEvidence, roles: Roles) -> list[str]:
    found = []
    eth0 = eth0_of(pod)
    for interface in dict.fromkeys((eth0, *pod.inside.get())):
        own = [each for each in interface.addresses if not (each.ip.is_link_local or each.ip.is_loopback)]
        found += [f"{interface.name} {roles.address(each.ip)}/{each.network.prefixlen}" for each in own]
        if interface == eth0 and not own:
            found.append("eth0 without an address" if eth0.index else "no eth0")
    return found


def _pair(pod: PodEvidence, roles: Roles) -> str:
    """Kind and name of the host's end, and whether the node's routes to the pod lead there."""
    end = _host_end(pod)
    alone = {ip_network(address) for address in pod.pod.ips}
    ways = {route.device for route in pod.node.routes.get() if route.destination in alone}
    led = "leads" if ways == {end.name} else "leads not only" if end.name in ways else "does not lead"
    return f"{end.kind or 'no kind'} {roles.device(pod.node.name, end.name)}, the node's route {led} there"


def _host_end(pod: PodEvidence) -> Interface:
    end = host_end(pod, eth0_of(pod))
    if end is None:
        raise NotObserved(f"{pod.node.name} shows no other end of {pod.pod.name}'s eth0")
    return end


def of_containers(pod: PodEvidence) -> Iterator[Fact]:
    """``sandbox/POD``, and under ``netns/POD`` how each container comes to its network namespace and which
    one that is. What a container's path looks like is the runtime's affair; where it leads is the lab's."""
    name = pod.pod.name
    yield told(f"sandbox/{name}", lambda: _sandboxes(pod))
    if pod.containers.failure or pod.containers.value is None:
        yield told(f"version/pause/{name}", lambda: str(pod.containers.get()))
        yield told(f"netns/{name}", lambda: str(pod.containers.get()))
        return
    containers = pod.containers.value
    sandbox = sandbox_of(containers)
    yield told(f"version/pause/{name}", lambda: _image(sandbox))
    for container in sorted(containers, key=lambda each: (not each.sandbox, each.name)):
        if container.sandbox and container is not sandbox:
            continue
        place = f"netns/{name}/{'sandbox' if container.sandbox else container.name}"
        yield told(f"{place}/by", partial(_joined, container, sandbox))
        if not container.sandbox:
            yield told(f"{place}/is", partial(_namespace, pod, container, sandbox))


def _sandboxes(pod: PodEvidence) -> str:
    pauses = [container for container in pod.containers.get() if container.sandbox]
    idle = sum(1 for pause in pauses if pause.pid <= 0)
    return f"{len(pauses)}" + (f", {idle} without a process" if idle else "")


def _image(sandbox: Container | None) -> str:
    """Name and tag: the registry is the machine's affair, and some runtimes know only a digest."""
    if sandbox is None:
        return "no sandbox"
    image = sandbox.image.rpartition("/")[2].partition("@")[0]
    return "not stated" if not image or image.startswith("sha256:") else image


def _joined(container: Container, sandbox: Container | None) -> str:
    """ "container:<the sandbox>", "none", "/proc/*/ns/net", "/var/run/netns/cni-*"."""
    if container.network_mode is not None:
        kind, colon, whose = container.network_mode.partition(":")
        own = "the sandbox" if sandbox is not None and whose == sandbox.id else "another"
        return f"NetworkMode {kind}" + (f":({own})" if colon else "")
    path = container.network_namespace
    if path is None:
        return "a namespace of its own making" if container.runtime == "oci" else "no path shown"
    if path == NODE_NETWORK:
        return "the node's"
    return _UUID.sub("*", _PROCESS.sub("/proc/*/", path))


def _namespace(pod: PodEvidence, container: Container, sandbox: Container | None) -> str:
    inodes: Mapping[int, int] = pod.inodes.get()
    if container.pid not in inodes:
        raise NotObserved(f"the network namespace of {container.name} (pid {container.pid}) was not read")
    own = inodes[container.pid]
    if own == inodes.get(1):
        return "the node's"
    theirs = inodes.get(sandbox.pid if sandbox and sandbox.pid > 0 else PINNED)
    if sandbox is None or theirs is None:
        return "one whose sandbox is gone" if sandbox is None else "one that can't be compared"
    return "the sandbox's" if own == theirs else "another"
