"""Waiting for what follows a change of pods and services: EndpointSlices, then kube-proxy's rules.

Nothing in the API says how far kube-proxy is. It gathers changes for a second by default (minSyncPeriod) and
may be configured to take longer. So its rules are read on the nodes until they show what the API says, within
:data:`SYNC` seconds: the first request of a lab must not meet the rules of before.

What does not come true in time is no error here: that a service leads to its pods is what labs judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pytest_k8snet.clusters.api.client import Api
from pytest_k8snet.clusters.api.watching import wait_for
from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline, Node
from pytest_k8snet.clusters.kube.pod_troubles import is_ready

ENDPOINTS = 30.0  #: seconds for the EndpointSlice controller
SYNC = 15.0  #: seconds for kube-proxy
LOOK = 0.5  #: between two looks at a node's rules

#: Proxy mode -> what prints the rules that hold service and endpoint addresses. One node may have both back
#: ends of iptables, and kube-proxy brings its own.
DUMPS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "iptables": (
        ("iptables-save", "-t", "nat"),
        ("iptables-legacy-save", "-t", "nat"),
        ("iptables-nft-save", "-t", "nat"),
        ("ip6tables-save", "-t", "nat"),
    ),
    "nftables": (("nft", "list", "table", "ip", "kube-proxy"), ("nft", "list", "table", "ip6", "kube-proxy")),
    "ipvs": (("ipvsadm", "-L", "-n"),),
}

Object = Mapping[str, Any]


def behind(services: Iterable[Object], pods: Iterable[Object]) -> dict[str, set[str]]:
    """Service (with a selector) -> names of the ready pods that it selects."""
    ready = [pod for pod in pods if is_ready(pod)]
    found = {}
    for service in services:
        selector = (service.get("spec") or {}).get("selector") or {}
        if selector:
            found[service["metadata"]["name"]] = {
                pod["metadata"]["name"]
                for pod in ready
                if selector.items() <= (pod["metadata"].get("labels") or {}).items()
            }
    return found


def endpoints_agree(api: Api, path: str, wanted: Mapping[str, set[str]], deadline: Deadline) -> list[Object]:
    """The EndpointSlices once they name the pods of ``wanted`` and no others; as they are after
    :data:`ENDPOINTS` seconds. ``path`` is their list's."""
    seen: list[Object] = []

    def agree(slices: Mapping[str, Object]) -> bool | None:
        seen[:] = slices.values()
        return True if all(_named(seen, service) == pods for service, pods in wanted.items()) else None

    with suppress(CommandTimeout):
        limit = Deadline(min(ENDPOINTS, deadline.left))
        wait_for(api, path, agree, deadline=limit, what="endpoints of the services")
    return seen


def addresses(services: Iterable[Object], slices: Sequence[Object]) -> set[str]:
    """What the rules must hold: cluster IPs of services that have ready endpoints, and those endpoints."""
    found: set[str] = set()
    for service in services:
        spec = service.get("spec") or {}
        ips = {
            ip for ip in (spec.get("clusterIPs") or [spec.get("clusterIP")]) if ip not in (None, "", "None")
        }
        for one in _of(slices, service["metadata"]["name"]):
            ends = {ip for endpoint in _ready(one) for ip in endpoint["addresses"]}
            family = 6 if one["addressType"] == "IPv6" else 4
            own = {ip for ip in ips if (6 if ":" in ip else 4) == family}
            if ends and own:
                found |= ends | own
    return found


def rules_agree(
    nodes: Iterable[Node],
    mode: str,
    *,
    present: set[str],
    absent: set[str],
    wait: Callable[[float], None],
    deadline: Deadline,
) -> list[str]:
    """Return once the rules of every node hold all of ``present`` and none of ``absent``: the names of the
    nodes where they did not within :data:`SYNC` seconds. Rules that can't be read are not waited for."""
    limit = Deadline(min(SYNC, deadline.left))
    waiting = list(nodes)
    while waiting and limit.left:
        for node in list(waiting):
            rules = _rules(node, mode)
            if rules is None or (
                all(_holds(rules, ip) for ip in present) and not any(_holds(rules, ip) for ip in absent)
            ):
                waiting.remove(node)
        if waiting:
            wait(LOOK)
    return [node.name for node in waiting]


def _of(slices: Iterable[Object], service: str) -> Iterator[Object]:
    for one in slices:
        if (one["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service:
            yield one


def _ready(one: Object) -> Iterator[Object]:
    for endpoint in one.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready") is not False:  # the API: absent is true
            yield endpoint


def _named(slices: Iterable[Object], service: str) -> set[str]:
    return {
        (endpoint.get("targetRef") or {}).get("name", "")
        for one in _of(slices, service)
        for endpoint in _ready(one)
    }


def _rules(node: Node, mode: str) -> str | None:
    """None where no command says anything: there is nothing to wait for."""
    said = []
    for argv in DUMPS[mode]:
        # Not recorded: how often it is asked is chance, and nothing is judged by it.
        with suppress(ClusterError):
            result = node._run(argv, timeout=10.0, stdin=b"")
            if result.exit_status == 0:
                said.append(result.stdout.decode(errors="replace"))
    return "\n".join(said) if said else None


def _holds(rules: str, ip: str) -> bool:
    # Ports follow IPv4 after a colon, IPv6 after a bracket.
    letters = "0-9a-f:" if ":" in ip else "0-9."
    return re.search(rf"(?<![{letters}]){re.escape(ip)}(?![{letters}])", rules) is not None
