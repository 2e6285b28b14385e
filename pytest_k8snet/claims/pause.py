"""Lab 1: the pause container holds the pod's one network namespace."""

from __future__ import annotations

import re
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network
from urllib.parse import urlsplit

from pytest_k8snet.claims.causes import sandbox as cause
from pytest_k8snet.claims.diagnosis import explained_by
from pytest_k8snet.claims.netns import (
    eth0_of,
    host_end,
    inode_of,
    joins,
    listed,
    listing,
    pinned_namespace,
    sandbox_of,
    unlisted,
)
from pytest_k8snet.claims.verdict import Verdict, all_of, broken, claim, held, inconclusive, shown_by
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.observations import PauseLab, PodEvidence, Request, Restart
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.evidence.sandboxes import NODE_NETWORK, PINNED
from pytest_k8snet.intent import Intent


@explained_by(cause.leftover_sandbox, cause.sandbox_missing)
@claim
def one_sandbox(lab: PauseLab, intent: Intent) -> Verdict:
    """Exactly one pause container runs beside the pod's containers.

    CRI-O may drop the pause process (``drop_infra_ctr``): the pinned network namespace that all
    containers share then stands in for it, and the text says so.
    """
    reading, pod = lab.pod.containers, lab.pod.pod
    containers = listed(lab.pod)
    expected = f"one pause container beside {', '.join(pod.containers)} of pod {pod.name}"
    missing = [name for name in pod.containers if name not in {c.name for c in containers if not c.sandbox}]
    if missing:
        return broken(
            expected,
            f"no running container {', '.join(missing)}; listed: {listing(containers)}",
            advice=f"kubectl -n {pod.namespace} describe pod {pod.name}",
            **shown_by(reading),
        )
    sandboxes = [container for container in containers if container.sandbox]
    running = [container for container in sandboxes if container.pid > 0]
    if len(running) == 1 and len(sandboxes) == 1:
        seen = f"{running[0].id[:12]} (pid {running[0].pid}) beside {len(containers) - 1} containers"
        return held(expected, seen, **shown_by(reading))
    if not running and len(sandboxes) < 2 and (pinned := pinned_namespace(lab.pod, containers)):
        seen = f"CRI-O dropped the pause process; the namespace pinned at {pinned} stands in for it"
        return held(expected, seen, **shown_by(reading))
    count = f"{len(sandboxes)} pause containers" if sandboxes else "no pause container"
    idle = "" if len(running) == len(sandboxes) else f", {len(running)} of them running"
    return broken(
        expected,
        f"{count}{idle}; listed: {listing(containers)}",
        advice="a sandbox too many is left over from an earlier life of the pod: see the kubelet's log",
        **shown_by(reading),
    )


@explained_by(
    cause.container_in_node_netns, cause.container_in_own_netns, cause.leftover_sandbox, cause.sandbox_missing
)
@claim
def network_mode(lab: PauseLab, intent: Intent) -> Verdict:
    """Each container's NetworkMode is the pause container: container:<pause id>.

    Docker says so in ``HostConfig.NetworkMode``; CRI and OCI runtimes name a path in
    ``linux.namespaces[type=network]``, which must lead to the sandbox's namespace.
    """
    containers = listed(lab.pod)
    ours = [container for container in containers if not container.sandbox]
    sandbox = sandbox_of(containers)
    if not ours:
        raise unlisted(lab.pod, "lists no container of the pod but its sandbox")
    if sandbox is None:
        pinned = pinned_namespace(lab.pod, containers)
        if pinned:
            seen = f"all containers name the pinned namespace {pinned} (CRI-O without a pause process)"
            return held("one network namespace for all containers", seen, **shown_by(lab.pod.containers))
        return broken(
            "each container joins the pause container's network",
            f"there is no pause container to join; listed: {listing(containers)}",
            advice="see one-sandbox",
            **shown_by(lab.pod.containers),
        )
    verdicts = [joins(lab.pod, container, sandbox) for container in ours]
    hosts = sandbox.network_namespace == NODE_NETWORK
    if hosts or sandbox.network_mode not in (None, "none"):
        own = "a network namespace of its own" if hosts else 'NetworkMode "none"'
        seen = "its runtime spec names no network namespace" if hosts else f'"{sandbox.network_mode}"'
        verdicts.append(
            broken(
                f"{own} of the pause container {sandbox.id[:12]}: CNI makes its network",
                seen,
                advice="a pod with hostNetwork or a runtime without CNI has no network of its own",
                **shown_by(lab.pod.containers),
            )
        )
    return all_of(verdicts)


@explained_by(cause.container_in_node_netns, cause.container_in_own_netns, cause.leftover_sandbox)
@claim
def same_netns(lab: PauseLab, intent: Intent) -> Verdict:
    """Pause and all containers are in one network namespace, which is not the node's.

    Without a running pause container the others agreeing shows nothing of what holds their namespace:
    inconclusive, but for CRI-O (``drop_infra_ctr``), whose pinned namespace stands in for it.
    """
    containers, inodes = listed(lab.pod), lab.pod.inodes.get()
    sandbox = sandbox_of(containers)
    members = [c for c in containers if not c.sandbox]
    if not members:
        raise unlisted(lab.pod, "lists no container of the pod but its sandbox")
    running = sandbox is not None and sandbox.pid > 0
    if sandbox is not None and running:
        members.insert(0, sandbox)
    pinned = None if running else pinned_namespace(lab.pod, containers)
    inode = {member.id: inode_of(lab.pod, inodes, member.pid) for member in members}
    shared = inode_of(lab.pod, inodes, PINNED) if pinned else inode[members[0].id]
    node = inode_of(lab.pod, inodes, 1)
    expected = f"one network namespace for {', '.join(c.name for c in members)}, other than net:[{node}]"
    found = "; ".join(f"{c.name} (pid {c.pid}) net:[{inode[c.id]}]" for c in members)
    if pinned:
        found += f"; the namespace pinned at {pinned}, net:[{shared}], stands in for CRI-O's pause process"
    strangers = [c for c in members if inode[c.id] != shared]
    on_node = [c for c in members if inode[c.id] == node]
    if not strangers and not on_node:
        if running or pinned:
            return held(expected, found, **shown_by(lab.pod.inodes))
        return inconclusive(
            f"the pause container in {expected}",
            f"no pause container runs to compare with: {found}",
            advice="see one-sandbox",
            **shown_by(lab.pod.containers),
        )
    first = "the pinned namespace" if pinned else f"{members[0].name}'s"
    culprits = [f"{c.name} is in the node's own namespace" for c in on_node]
    culprits += [f"{c.name} is not in {first}" for c in strangers if c not in on_node]
    return broken(
        expected,
        f"{', '.join(culprits)}: {found}",
        advice="compare the containers' NetworkMode, or the namespace paths of their runtime specs",
        **shown_by(lab.pod.inodes),
    )


@explained_by(cause.eth0_missing, cause.pod_ip_on_node, cause.pod_without_address, cause.pod_ip_prefix)
@claim
def pod_ip(lab: PauseLab, intent: Intent) -> Verdict:
    """The pod's IP sits on that namespace's eth0, alone, as /32."""
    reading, pod = lab.pod.inside, lab.pod.pod
    interfaces = reading.get()
    eth0 = eth0_of(lab.pod)
    wished = {ip_network(address) for address in _pod_ips(lab.pod)}
    expected = f"{', '.join(sorted(map(str, wished)))} alone on eth0 of {pod.name}"
    addresses = [
        (interface.name, address)
        for interface in interfaces
        for address in interface.addresses
        if not address.ip.is_loopback and not address.ip.is_link_local
    ]
    seen = ", ".join(f"{name} {address}" for name, address in addresses) or "no address at all"
    on_eth0 = [address for name, address in addresses if name == eth0.name]
    if {_as_network(address) for address in on_eth0} == wished and len(addresses) == len(wished):
        return held(expected, seen, **shown_by(reading, "eth0"))
    seen += _on_the_node(lab.pod)
    return broken(
        expected,
        seen,
        advice="the CNI plugin's ADD sets this address: see its log on the node",
        **shown_by(reading, "eth0"),
    )


@explained_by(cause.eth0_missing)
@claim
def veth_pair(lab: PauseLab, intent: Intent) -> Verdict:
    """One host interface pairs with the pod's eth0, 1:1."""
    eth0, node = eth0_of(lab.pod), lab.pod.node
    interfaces = node.interfaces.get()
    expected = f"one {intent.interface_prefix}* interface of {node.name} paired with eth0@if{eth0.peer_index}"
    host = host_end(lab.pod, eth0)
    if host is None:
        seen = f"no interface with index {eth0.peer_index} on {node.name} leads into another namespace"
    elif host.peer_index != eth0.index:
        seen = f"{host.name} (index {host.index}) pairs with if{host.peer_index}, eth0 has index {eth0.index}"
    elif not host.name.startswith(intent.interface_prefix):
        seen = f"{host.name}, whose name does not begin with {intent.interface_prefix}"
    elif host.kind not in ("veth", "netkit"):
        seen = f"{host.name} is a {host.kind or 'hardware'} interface, neither veth nor netkit"
    elif twins := [i.name for i in interfaces if _pair(i) == _pair(host) and i.index != host.index]:
        seen = f"{host.name} and {', '.join(twins)} both claim the same peer"
    else:
        seen = f"{host.name} (index {host.index}) <-> eth0 (index {eth0.index}), both ways"
        return held(expected, seen, **shown_by(node.interfaces, host.name))
    return broken(
        expected,
        seen,
        advice="ip -d link show on the node and inside the pod: compare the numbers behind @if",
        **shown_by(node.interfaces, host.name if host else ""),
    )


@explained_by(
    cause.eth0_missing,
    cause.pod_ip_on_node,
    cause.host_route_missing,
    cause.host_route_twice,
    cause.host_route_elsewhere,
)
@claim
def host_route(lab: PauseLab, intent: Intent) -> Verdict:
    """The node routes podIP/32 to that interface, scope link, and no other interface has it."""
    node = lab.pod.node
    routes, host = node.routes.get(), host_end(lab.pod, eth0_of(lab.pod))
    if not routes:
        raise NotObserved("the node shows no route at all", node=node.name, command=node.routes.command)
    device = host.name if host else "the host end of eth0 (which was not found)"
    verdicts = []
    for address in _pod_ips(lab.pod):
        network = ip_network(address)
        expected = f"{network} dev {device} scope link on {node.name}, and no other route to it"
        found = [route for route in routes if route.destination == network]
        seen = (
            "; ".join(
                f"{'' if r.type == 'unicast' else r.type + ' '}{r.destination} "
                f"{f'via {r.gateway} ' if r.gateway else ''}dev {r.device} scope {r.scope} table {r.table}"
                for r in found
            )
            or f"no route to {network}"
        )
        good = [
            route
            for route in found
            if host is not None
            and (route.device, route.type, route.table) == (host.name, "unicast", "main")
            and route.gateway is None
            # iproute2 prints every IPv6 route as scope global
            and (route.scope == "link" or network.version == 6)
        ]
        if len(good) == len(found) == 1:
            verdicts.append(held(expected, seen, **shown_by(node.routes, device)))
        else:
            advice = "Felix keeps this route (the CNI plugin makes it): see calico-node's log on the node"
            verdicts.append(broken(expected, seen, advice=advice, **shown_by(node.routes)))
    return all_of(verdicts)


@explained_by(cause.container_in_node_netns, cause.container_in_own_netns, cause.container_not_listening)
@claim
def shared_localhost(lab: PauseLab, intent: Intent) -> Verdict:
    """A container reaches its sibling on 127.0.0.1, and the sibling reaches it."""
    expected = f"the containers of {lab.pod.pod.name} answer each other on 127.0.0.1"
    hosts = {request.label: urlsplit(request.answer.get().url).hostname for request in lab.siblings}
    local = [label for label, host in hosts.items() if (address := _address(host)) and address.is_loopback]
    if len(local) < max(2, len(hosts)):
        asked = ", ".join(f"{label} (asked {host})" for label, host in hosts.items()) or "none"
        advice = "the lab needs one request to 127.0.0.1 each way"
        return inconclusive(expected, f"requests sent: {asked}", where=lab.pod.node.name, advice=advice)
    return all_of(_answers(request, "127.0.0.1", lab.pod.pod) for request in lab.siblings)


@explained_by(
    cause.container_in_node_netns,
    cause.container_in_own_netns,
    cause.container_not_listening,
    cause.eth0_missing,
    cause.pod_ip_on_node,
    cause.pod_without_address,
    cause.host_route_missing,
    cause.host_route_twice,
    cause.host_route_elsewhere,
)
@claim
def both_reachable(lab: PauseLab, intent: Intent) -> Verdict:
    """Both ports answer on the one pod IP from another node."""
    pod, requests = lab.pod.pod, lab.from_other_node
    if not requests:
        raise NotObserved(
            f"this run knows no node but {lab.pod.node.name}, which runs {pod.name}: none to ask from",
            node=lab.pod.node.name,
            command="kubectl get nodes",
            advice="name another node with --k8snet-role",
        )
    targets = [urlsplit(request.answer.get().url) for request in requests]
    own = [url for url in targets if _address(url.hostname) in _pod_ips(lab.pod)]
    ports = {url.port for url in own}
    if len(own) < len(targets) or len(ports) < len(pod.containers):
        asked = ", ".join(url.netloc for url in targets) or "nothing"
        return inconclusive(
            f"each of the {len(pod.containers)} ports requested on {pod.name}'s IP",
            f"requested: {asked}",
            where=lab.pod.node.name,
            advice="request every containerPort on the pod IP from another node",
        )
    return all_of(_answers(request, request.answer.get().url, pod) for request in requests)


@explained_by(cause.restarted_outside_sandbox)
@claim
def survives_restart(restart: Reading[Restart]) -> Verdict:
    """A container that dies comes back into the same namespace with the same IP."""
    before, after = restart.get().before, restart.get().after
    expected = f"the same net:[{before.inode}], {_joined(before.ips)} and {before.host_interface}"
    if (before.container, before.pid) == (after.container, after.pid):
        return inconclusive(
            expected,
            f"container {before.container[:12]} (pid {before.pid}) was not restarted",
            advice="kill its process on the node and wait for the kubelet to start it again",
            **shown_by(restart),
        )
    missing = [
        what
        for what, known in (("no address", before.ips), ("no interface on the node", before.host_interface))
        if not known
    ]
    if missing:
        return inconclusive(
            expected,
            f"the pod's eth0 had {' and '.join(missing)} already before the restart: nothing to survive it",
            advice="see pod-ip and veth-pair",
            **shown_by(restart),
        )
    if not set(restart.get().pod_ips) <= set(before.ips):
        return inconclusive(
            expected,
            f"the container was not behind the pod's IP {_joined(restart.get().pod_ips)} already before, "
            f"but behind {_joined(before.ips)}",
            advice="see same-netns",
            **shown_by(restart),
        )
    changed = [
        f"{what} {old} became {new}"
        for what, old, new in (
            ("namespace", f"net:[{before.inode}]", f"net:[{after.inode}]"),
            ("IP", _joined(before.ips), _joined(after.ips)),
            ("interface", before.host_interface, after.host_interface),
        )
        if old != new
    ]
    if changed:
        advice = "the sandbox was replaced too: see why the pause container died"
        return broken(expected, "; ".join(changed), advice=advice, **shown_by(restart))
    seen = f"pid {before.pid} became {after.pid}, all else is the same"
    return held(expected, seen, **shown_by(restart))


def _pair(interface: Interface) -> tuple[int | None, int | None]:
    return interface.peer_index, interface.peer_netnsid


def _pod_ips(pod: PodEvidence) -> tuple[IPAddress, ...]:
    if not pod.pod.ips:
        raise NotObserved(
            f"pod {pod.pod.name} has no IP in its status",
            command=f"kubectl -n {pod.pod.namespace} get pod {pod.pod.name} -o yaml",
        )
    return pod.pod.ips


def _as_network(address: IPv4Interface | IPv6Interface) -> object:
    # ip_network of a bare address is /32 or /128; with another length the two never compare equal
    return address.network if address.network.num_addresses == 1 else address


def _on_the_node(pod: PodEvidence) -> str:
    """ " ... and where the pod's IP is instead", if the node itself holds it."""
    reading = pod.node.interfaces
    holders = [
        interface.name
        for interface in (() if reading.failure else reading.value or ())
        if any(address.ip in pod.pod.ips for address in interface.addresses)
    ]
    return f"; {pod.node.name} itself holds the pod's IP on {', '.join(holders)}" if holders else ""


def _answers(request: Request, target: str, pod: Pod) -> Verdict:
    """Held when a process of ``pod`` itself answers: its body names the pod.

    kubetm/app and the reference app tell their hostname, which is the pod's name. A status alone would
    be anyone's: a DNAT rule, or a process of the node on the same port, can answer in the pod's stead.
    """
    exchange = request.answer.get()
    expected = f"{request.label}: an answer from {target} that names {pod.name}"
    if exchange.answered:
        body = exchange.body.decode("utf-8", "replace").strip()
        seen = f"{request.label}: HTTP {exchange.status}, {body[:80]!r}"
        if _names(body, pod):
            return held(expected, seen, **shown_by(request.answer))
        return broken(
            expected,
            f"{request.label}: a stranger answered: {body[:80]!r}",
            advice=f"look for a rule that redirects {exchange.url} (iptables-save -t nat), on the node and "
            "inside the pod, and for what listens there (ss -ltnp)",
            **shown_by(request.answer),
        )
    why = (
        f"HTTP {exchange.status}" if exchange.status else f"no answer ({exchange.error or 'no reason given'})"
    )
    advice = f"ss -ltn in the pod: does a container listen on the port of {exchange.url}?"
    return broken(expected, f"{request.label}: {why}", advice=advice, **shown_by(request.answer))


def _names(body: str, pod: Pod) -> bool:
    """Whether the pod's hostname stands in ``body``, and not merely as a part of a longer name."""
    # The kubelet cuts a name to the 63 characters that Linux has for a hostname.
    hostname = pod.name[:63].rstrip("-.")
    return re.search(rf"(?<![\w.-]){re.escape(hostname)}(?![\w-]|\.\w)", body) is not None


def _address(host: str | None) -> IPAddress | None:
    try:
        return ip_address(host or "")
    except ValueError:
        return None


def _joined(addresses: tuple[IPAddress, ...]) -> str:
    return ", ".join(map(str, addresses))
