"""What goes wrong with a pod's one network namespace, its address and its way to the node."""

from __future__ import annotations

from ipaddress import ip_network
from urllib.parse import urlsplit

from pytest_k8snet.claims.diagnosis import cause
from pytest_k8snet.claims.netns import eth0_of, host_end, listing, pinned_namespace, sandbox_of
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.evidence.interfaces import named
from pytest_k8snet.evidence.observations import PauseLab, PodEvidence, Restart
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.routes import Route, lookup
from pytest_k8snet.evidence.sandboxes import Container
from pytest_k8snet.intent import Intent


@cause(
    symptom="a container does not answer its sibling on localhost; its NetworkMode is another",
    evidence="its /proc/PID/ns/net has the inode of pid 1's",
    remedy="find what started it in the host's network (hostNetwork, --network host); delete the pod",
)
def container_in_node_netns(lab: PauseLab, intent: Intent) -> str | None:
    """A container runs in the node's own network namespace."""
    inodes = lab.pod.inodes.get()
    found = [c for c in _members(lab.pod) if c.pid in inodes and inodes[c.pid] == inodes.get(1)]
    if not found:
        return None
    return f"{_named(found)} runs in net:[{inodes[1]}], that of pid 1 on {lab.pod.node.name}"


@cause(
    symptom="a container does not answer its sibling on localhost; its NetworkMode is another",
    evidence="its /proc/PID/ns/net has an inode that neither the pause container nor pid 1 has",
    remedy="compare the namespace paths of the containers' runtime specs; delete the pod",
)
def container_in_own_netns(lab: PauseLab, intent: Intent) -> str | None:
    """A container was started in a network namespace of its own, outside the pod's sandbox."""
    inodes, sandbox = lab.pod.inodes.get(), sandbox_of(lab.pod.containers.get())
    if sandbox is None or sandbox.pid not in inodes or 1 not in inodes:
        return None
    pod, node = inodes[sandbox.pid], inodes[1]
    found = [c for c in _members(lab.pod) if inodes.get(c.pid, pod) not in (pod, node)]
    if not found:
        return None
    return f"{_named(found)} runs in net:[{inodes[found[0].pid]}], the pause container in net:[{pod}]"


@cause(
    symptom="two pause containers for one pod",
    evidence="the runtime lists more than one sandbox of the pod",
    remedy="remove the one that no container joined (crictl stopp, rmp); see the kubelet's log",
)
def leftover_sandbox(lab: PauseLab, intent: Intent) -> str | None:
    """A sandbox from an earlier life of the pod was never removed."""
    containers = lab.pod.containers.get()
    sandboxes = [container for container in containers if container.sandbox]
    used = sandbox_of(containers)
    if len(sandboxes) < 2 or used is None:
        return None
    spare = [sandbox for sandbox in sandboxes if sandbox.id != used.id]
    return f"the containers use {used.id[:12]}; no container joined {listing(tuple(spare))}"


@cause(
    symptom="containers run, no pause container does",
    evidence="the runtime lists the pod's containers and no running sandbox (nor CRI-O's pinned namespace)",
    remedy="see why the pause process died (dmesg: out of memory?) and delete the pod",
)
def sandbox_missing(lab: PauseLab, intent: Intent) -> str | None:
    """The pause container is gone: nothing holds the pod's namespace any more."""
    containers = lab.pod.containers.get()
    if not _members(lab.pod) or any(c.sandbox and c.pid > 0 for c in containers):
        return None
    if pinned_namespace(lab.pod, containers):
        return None
    return f"{_named(_members(lab.pod))} runs on {lab.pod.node.name} without a running pause container"


@cause(
    symptom="the pod's IP answers as the node, or not at all",
    evidence="an interface of the node holds the pod's IP",
    remedy="see who set it there (a CNI plugin's log, a keepalived) before you take it off: ip addr del",
)
def pod_ip_on_node(lab: PauseLab, intent: Intent) -> str | None:
    """The pod's IP was given to the node itself."""
    node = lab.pod.node
    # A pod with hostNetwork has its node's address, and rightly so.
    own = {*(node.object.value.internal_ips if node.object.value else ())}
    own |= {node.uplink.value.ip} if node.uplink.value else set()
    ips = set(lab.pod.pod.ips) - own
    held = [
        f"{interface.name} of {node.name} holds {address.ip}"
        for interface in node.interfaces.get()
        for address in interface.addresses
        if address.ip in ips
    ]
    return "; ".join(held) or None


@cause(
    symptom="the pod's IP does not answer",
    evidence="eth0 is in the pod's namespace, without an address",
    remedy="see the CNI plugin's log on the node (its ADD sets the address); delete the pod",
)
def pod_without_address(lab: PauseLab, intent: Intent) -> str | None:
    """The pod's eth0 lost its address, or never got one."""
    eth0 = named(lab.pod.inside.get(), "eth0")
    if eth0 is None or any(not address.ip.is_link_local for address in eth0.addresses):
        return None
    return f"eth0 of {lab.pod.pod.name} has no address; its status says {_ips(lab.pod)}"


@cause(
    symptom="the pod takes its neighbours for hosts on its own link",
    evidence="eth0 holds the pod's IP with a shorter prefix than that of one host",
    remedy="see the CNI plugin's log and configuration: Calico sets /32 and /128",
)
def pod_ip_prefix(lab: PauseLab, intent: Intent) -> str | None:
    """The pod's IP was set with a prefix length other than that of a single host."""
    eth0 = named(lab.pod.inside.get(), "eth0")
    wrong = [
        f"{address} instead of /{address.max_prefixlen}"
        for address in (eth0.addresses if eth0 else ())
        if address.ip in lab.pod.pod.ips and address.network.prefixlen != address.max_prefixlen
    ]
    return f"eth0 of {lab.pod.pod.name} holds {', '.join(wrong)}" if wrong else None


@cause(
    symptom="the pod's IP does not answer, and no interface of the node pairs with the pod",
    evidence="the pod's namespace has interfaces, but no eth0",
    remedy="delete the pod; a moved peer is found by ip -d link show in the other pods' namespaces",
)
def eth0_missing(lab: PauseLab, intent: Intent) -> str | None:
    """The pod's end of its veth pair is gone: deleted, or moved to another namespace."""
    inside = lab.pod.inside.get()
    if not inside or named(inside, "eth0"):
        return None
    return f"{lab.pod.pod.name}'s namespace has {', '.join(i.name for i in inside)} and no eth0"


@cause(
    symptom="the pod's IP does not answer, from its own node neither",
    evidence="no route of the node leads to the pod's IP alone",
    remedy="see calico-node's log on the node: Felix keeps this route; restart it to have it written again",
)
def host_route_missing(lab: PauseLab, intent: Intent) -> str | None:
    """The node's route to the pod is missing."""
    node = lab.pod.node
    routes = node.routes.get()
    for address in lab.pod.pod.ips:
        if routes and not _alone(lab.pod, address):
            instead = lookup(routes, address)
            taken = f"takes {instead.destination} ({_way(instead)})" if instead else "has no route at all"
            return f"{node.name} has no route to {address} alone; a packet for it {taken}"
    return None


@cause(
    symptom="the pod's IP does not answer, or another pod answers",
    evidence="the node's one route to the pod's IP names another interface than the host end of its eth0",
    remedy="ip route replace it; see calico-node's log for workload endpoints that claim the same address",
)
def host_route_elsewhere(lab: PauseLab, intent: Intent) -> str | None:
    """The node's route to the pod leads to another interface."""
    host = host_end(lab.pod, eth0_of(lab.pod))
    for address in lab.pod.pod.ips:
        found = _alone(lab.pod, address)
        if host is not None and len(found) == 1 and found[0].device != host.name:
            return (
                f"{lab.pod.node.name} routes {address} by {_way(found[0])}; its eth0 pairs with {host.name}"
            )
    return None


@cause(
    symptom="the pod answers now, and may not after the next change of routes",
    evidence="the node has more than one route to the pod's IP alone",
    remedy="ip route del the one that does not lead to the pod's own interface; see who wrote it (its proto)",
)
def host_route_twice(lab: PauseLab, intent: Intent) -> str | None:
    """A second route to the pod's IP stands beside Calico's."""
    for address in lab.pod.pod.ips:
        found = _alone(lab.pod, address)
        if len(found) > 1:
            ways = "; ".join(f"{_way(route)} proto {route.protocol or '?'}" for route in found)
            return f"{lab.pod.node.name} has {len(found)} routes to {address}: {ways}"
    return None


@cause(
    symptom="a port of the pod refuses connections, from its sibling as from other nodes",
    evidence="the request of a sibling on localhost is refused",
    remedy="ss -ltnp in the pod: on which port does the container listen? Compare with its containerPort",
)
def container_not_listening(lab: PauseLab, intent: Intent) -> str | None:
    """A container listens on another port than its own, or not at all."""
    refused = [request for request in lab.siblings if _refused(request.answer)]
    ports = ", ".join(str(urlsplit(request.answer.get().url).port) for request in refused)
    if not refused:
        return None
    return f"nothing listens on port {ports} inside {lab.pod.pod.name}: {refused[0].answer.get().error}"


@cause(
    symptom="a restarted container is cut off from its siblings",
    evidence="the inode of its network namespace before and after the restart",
    remedy="see the runtime's log: the new container must join the sandbox that is there",
)
def restarted_outside_sandbox(restart: Reading[Restart]) -> str | None:
    """The container that came back did not join the pod's network namespace."""
    before, after = restart.get().before, restart.get().after
    if before.inode == after.inode:
        return None
    return (
        f"{after.container[:12]} (pid {after.pid}) runs in net:[{after.inode}], not in net:[{before.inode}]"
    )


def _members(pod: PodEvidence) -> list[Container]:
    return [container for container in pod.containers.get() if not container.sandbox]


def _named(containers: list[Container]) -> str:
    return ", ".join(f"{container.name} (pid {container.pid})" for container in containers)


def _ips(pod: PodEvidence) -> str:
    return ", ".join(map(str, pod.pod.ips))


def _alone(pod: PodEvidence, address: IPAddress) -> list[Route]:
    return [route for route in pod.node.routes.get() if route.destination == ip_network(address)]


def _way(route: Route) -> str:
    kind = "" if route.type == "unicast" else f"{route.type} "
    return f"{kind}{f'via {route.gateway} ' if route.gateway else ''}dev {route.device or 'none'}"


def _refused(answer: Reading[Exchange]) -> bool:
    """curl's words for a connection that was refused at once, in its older and newer versions."""
    error = answer.get().error
    return "Couldn't connect" in error or "refused" in error.lower()
