"""Calico on a new cluster: created, and waited for until packets have a way between the nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, ip_network
from typing import Any

from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.api.watching import wait_for
from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from pytest_k8snet.clusters.kind import calico
from pytest_k8snet.clusters.kind.daemon import docker
from pytest_k8snet.clusters.kube.discovery import Kinds
from pytest_k8snet.clusters.kube.pod_troubles import is_ready, newest_warning, state_in_words, trouble
from pytest_k8snet.clusters.kube.waiting import Pods, events, pods_path
from pytest_k8snet.clusters.ways.docker import access
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.interfaces import named, parse_addresses
from pytest_k8snet.evidence.routes import parse_routes
from pytest_k8snet.intent import Intent

AFFINITIES = "/apis/crd.projectcalico.org/v1/blockaffinities"
_PODS = f"k8s-app in ({calico.NODE},{calico.CONTROLLERS})"
#: The device that a tunnel of Calico's has; it is there wherever the pool asks for one.
TUNNELS = {"ipip": "tunl0", "vxlan": "vxlan.calico"}
#: Seconds that `ip monitor` listens on a node, and so until a node is read again where nothing changed.
LISTENING = 5
#: On a node that had no network until now. They go up to five seconds after it is Ready, the period of
#: kube-controller-manager (--node-monitor-period), and no pod of the labs comes to it until then.
NEWCOMERS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/network-unavailable")


def create(api: Api, bodies: Sequence[calico.Object], progress: Callable[[str], None]) -> None:
    """Create ``bodies`` in order. What is there already stays: the cluster is ours, so it is this manifest's.

    Raises ClusterError, one line, for a kind that this Kubernetes does not serve and for a refusal.
    """
    progress(f"creating Calico's {len(bodies)} objects")
    kinds = Kinds(api)
    for body in bodies:
        label = f"Calico's {body['kind']} {body['metadata']['name']}"
        try:
            api.create(_collection(kinds, body, label), body)
        except ApiRefused as refused:
            if refused.reason != "AlreadyExists":
                raise ClusterError(f"{label}: the API refuses it: {refused}") from None


def wait(
    api: Api, nodes: Sequence[str], intent: Intent, deadline: Deadline, progress: Callable[[str], None]
) -> None:
    """Until Calico's pods are Ready, the nodes too, and each has its tunnel and routes to the others.

    Raises ClusterError: at once for an image that can't be had, else CommandTimeout with what is not ready,
    why, and its last words.
    """
    progress("waiting for Calico's pods")
    _pods(api, len(nodes), deadline)
    progress("waiting for the nodes to be Ready")
    wait_for(
        api,
        "/api/v1/nodes",
        lambda found: _all_ready(found, nodes),
        deadline=deadline,
        what=f"nodes {', '.join(nodes)} Ready and without the taints of new ones",
    )
    progress("waiting for routes between the nodes")
    blocks = (
        wait_for(
            api,
            AFFINITIES,
            lambda found: _blocks(found.values(), nodes),
            deadline=deadline,
            what=f"an address block of Calico's for each of {', '.join(nodes)}",
        )
        if intent.tunnel
        else {}
    )
    for node in nodes:
        _settled(node, {other: blocks[other] for other in blocks if other != node}, intent, deadline)


def _collection(kinds: Kinds, body: Mapping[str, Any], label: str) -> str:
    version = str(body["apiVersion"])
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    for resource in kinds.served(base):
        if resource.get("kind") == body["kind"] and "/" not in resource["name"]:
            namespace = body["metadata"].get("namespace", "default")
            inside = f"/namespaces/{namespace}" if resource.get("namespaced") else ""
            return f"{base}{inside}/{resource['name']}"
    raise ClusterError(
        f"{label}: this Kubernetes serves no {version}; choose another Calico with --k8snet-calico-version,"
        " or another Kubernetes with --k8snet-profile or --kind-image"
    )


def _pods(api: Api, nodes: int, deadline: Deadline) -> None:
    seen: dict[str, Pods] = {"": {}}

    def ready(pods: Pods) -> bool | None:
        seen[""] = pods
        for pod in pods.values():
            found = trouble(pod, api.context)
            # Containers may end and begin again while kube-proxy makes its first rules; images don't come.
            if found and found.image and not found.turns:
                raise ClusterError(
                    f"Calico: {found.text}; `docker pull {found.image}` or `docker load` it first, or name a"
                    " manifest with other images with --k8snet-calico-manifest"
                )
        up = [pod for pod in pods.values() if is_ready(pod)]
        agents = sum((pod["metadata"].get("labels") or {}).get("k8s-app") == calico.NODE for pod in up)
        return (agents >= nodes and len(up) > agents) or None

    try:
        wait_for(
            api,
            pods_path(calico.NAMESPACE),
            ready,
            deadline=deadline,
            what="Calico's pods",
            labelSelector=_PODS,
        )
    except CommandTimeout as timeout:
        raise CommandTimeout(_unready(api, seen[""])) from timeout


def _unready(api: Api, pods: Pods) -> str:
    """Pod, reason, message and last words of what is not ready."""
    api.deadline = Deadline(10.0)
    unready = [pod for pod in pods.values() if not is_ready(pod)]
    words = [state_in_words(pod) for pod in unready] or ["not all of its pods are there"]
    for pod in unready[:1]:
        name = pod["metadata"]["name"]
        if found := trouble(pod, api.context):
            words.append(found.text)
        if said := newest_warning(events(api, calico.NAMESPACE, involvedObject_name=name)):
            words.append(said)
        if last := _last_words(api, pod):
            words.append(f"it said last: {last}")
    return f"Calico did not become ready in time (--k8snet-timeout): {'; '.join(words)}"


def _last_words(api: Api, pod: Mapping[str, Any]) -> str:
    """The last line that a container of ``pod`` wrote which is not ready."""
    status = pod.get("status") or {}
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or ():
            ended = (container.get("state") or {}).get("terminated") or {}
            if container.get("ready") or ended.get("exitCode") == 0:
                continue
            path = f"{pods_path(calico.NAMESPACE)}/{pod['metadata']['name']}/log"
            with suppress(ClusterError):
                said = (
                    api.text(path, container=container["name"], tailLines=1).decode(errors="replace").strip()
                )
                if said:
                    return said
    return ""


def _all_ready(found: Mapping[str, Mapping[str, Any]], nodes: Iterable[str]) -> bool | None:
    return all(name in found and is_ready(found[name]) and not _new(found[name]) for name in nodes) or None


def _new(node: Mapping[str, Any]) -> bool:
    return any(taint["key"] in NEWCOMERS for taint in node.get("spec", {}).get("taints") or ())


def _blocks(
    affinities: Iterable[Mapping[str, Any]], nodes: Sequence[str]
) -> dict[str, list[IPv4Network]] | None:
    """Node -> its blocks, once each has one: Calico takes a tunnel's address from the first."""
    found: dict[str, list[IPv4Network]] = {}
    for affinity in affinities:
        spec = affinity["spec"]
        network = ip_network(spec["cidr"])
        if isinstance(network, IPv4Network) and str(spec.get("deleted", "false")) != "true":
            found.setdefault(spec["node"], []).append(network)
    return found if all(node in found for node in nodes) else None


def _settled(
    node: str, others: Mapping[str, Sequence[IPv4Network]], intent: Intent, deadline: Deadline
) -> None:
    """Read ``node`` until it is as it should be. Between two readings it is listened to, not slept."""
    way = access(node)
    while lacking := _lacking(node, others, intent):
        if not deadline.left:
            raise CommandTimeout(f"{node}: {lacking} (--k8snet-timeout)")
        monitor = way.start(("timeout", str(LISTENING), "ip", "-4", "monitor", "address", "route"))
        try:
            monitor.pump(min(float(LISTENING), deadline.left))
        finally:
            monitor.close()


def _lacking(node: str, others: Mapping[str, Sequence[IPv4Network]], intent: Intent) -> str:
    """What ``node`` has not got yet, with the command that shows it; "" when it has all."""
    if intent.tunnel is None:
        return ""
    device = TUNNELS[intent.tunnel]
    try:
        tunnel = named(parse_addresses(docker("exec", node, "ip", "-j", "-d", "addr", "show")), device)
        routes = parse_routes(docker("exec", node, "ip", "-j", "route", "show") or "[]")
    except ParseError as error:
        return str(error)
    if tunnel is None or not tunnel.up or not tunnel.addresses:
        state = "is not there" if tunnel is None else "is down" if not tunnel.up else "has no address"
        needs = f": has the kernel that Docker runs on no {intent.tunnel}?" if tunnel is None else ""
        return f"{device} {state}{needs} (docker exec {node} ip addr show {device})"
    # Within one subnet CrossSubnet needs no tunnel: the routes are then on the uplink.
    wanted = [device] if intent.encapsulation.endswith("always") else None
    for other, blocks in others.items():
        for block in blocks:
            devices = [route.device for route in routes if route.destination == block]
            if not devices or (wanted and devices != wanted):
                on = f", but on {', '.join(map(str, devices))}" if devices else ""
                return f"no route to {other}'s block {block} on {device}{on} (docker exec {node} ip route)"
    return ""
