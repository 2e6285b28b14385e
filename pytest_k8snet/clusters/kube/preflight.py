"""What a cluster is, before anything is made on it, and whether a run may start."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.asked import Asked
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kube import permissions, reads
from pytest_k8snet.clusters.kube.discovery import Kinds
from pytest_k8snet.clusters.kube.namespaces import NAMESPACES, PRIVILEGED, new_name
from pytest_k8snet.clusters.kube.permissions import Permission
from pytest_k8snet.clusters.kube.roles import Roles, choose
from pytest_k8snet.clusters.kube.waiting import refusal
from pytest_k8snet.clusters.kube.workloads import MANAGED_BY
from pytest_k8snet.intent import Intent

OLDEST = (1, 19)  #: EndpointSlices are complete there, and the exec protocol gives the exit status
#: Where calico-node runs: by manifest, by operator.
CALICO_NAMESPACES = ("kube-system", "calico-system")

#: Beginning of containerRuntimeVersion -> runtime probe. cri-dockerd says "docker" as dockershim did.
RUNTIMES = {"docker": "docker", "containerd": "cri", "cri-o": "cri"}


@dataclass(frozen=True)
class Survey:
    """What the API says of a cluster. Words stand where something is not stated."""

    version: str  #: "v1.20.8"
    roles: Roles
    runtimes: Mapping[str, str]  #: node with a role -> "docker" or "cri"
    proxy_mode: str  #: "" where no ConfigMap states it
    calico: str  #: "v3.30.3", "found"; "" where there is none
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def lacks(self) -> dict[str, str]:
        """What the cluster has not: role or "calico" -> why."""
        lacks = dict(self.roles.lacks)
        if not self.calico:
            lacks["calico"] = "no Calico: the cluster serves no ippools of projectcalico.org"
        return lacks


def survey(api: Api, kinds: Kinds, intent: Intent) -> Survey:
    """Raises ClusterError, one line: too old, no node for the labs' pods, a named node that is not there."""
    try:
        version = api.version()
    except ApiRefused as error:
        if error.status != 403:
            raise
        version = "of unknown version"
    numbers = re.match(r"v(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise ClusterError(
            f"context {api.context}: Kubernetes {version} is older than {'.'.join(map(str, OLDEST))},"
            " the oldest that the labs can be run on"
        )
    nodes = api.listed("/api/v1/nodes")["items"]
    roles = choose(nodes, intent.roles)
    if "node1" in roles.lacks:
        raise ClusterError(f"context {api.context}: {roles.lacks['node1']}")
    ours = [node for node in nodes if node["metadata"]["name"] in roles.nodes.values()]
    runtimes = {
        node["metadata"]["name"]: node["status"]["nodeInfo"]["containerRuntimeVersion"] for node in ours
    }
    mode = proxy_mode(api)
    calico = _calico(api, kinds)
    return Survey(
        version,
        roles,
        {name: _runtime(api, name, runtime) for name, runtime in runtimes.items()},
        mode,
        calico,
        {
            "context": api.context,
            "kubernetes": version,
            "roles": roles.text,
            "runtimes": ", ".join(f"{name} {runtime}" for name, runtime in runtimes.items()),
            "proxy mode": mode or "not stated",
            "calico": calico or "none",
        },
    )


def findings(api: Api, asked: Asked, intent: Intent) -> list[str]:
    """Why a run may not start on this cluster, one line each, all that were found at once.

    Changes nothing: a namespace is created as a dry run at most.
    """
    kinds = Kinds(api)
    found: list[str] = []
    lacking = list(permissions.missing(api, _asked_of(kinds, asked), asked.images.namespace))
    if lacking:
        found.append(
            f"context {api.context} may not {permissions.in_words(lacking)};"
            " docs/rbac.yaml of pytest-k8snet grants what a run needs"
        )
    found += _tried(lambda: _agrees(survey(api, kinds, intent), intent))
    if not lacking:
        found += _tried(lambda: _try_namespace(api, asked.images.namespace))
    return found


def proxy_mode(api: Api) -> str:
    """kube-proxy's mode as its ConfigMap states it; "" where there is none (k3s, managed clusters)."""
    config = reads.proxy_config(api)
    # Empty stands for the platform's default: iptables on Linux.
    return str(config.get("mode") or "iptables") if config else ""


def check_proxy_mode(seen: str, source: str, intent: Intent) -> None:
    """Raises ClusterError where kube-proxy works otherwise than declared."""
    if seen and seen != intent.proxy_mode:
        raise ClusterError(
            f"kube-proxy's mode is {seen!r} ({source}), declared is {intent.proxy_mode!r}:"
            f" declare it with --k8snet-proxy-mode {seen}"
        )


def _agrees(seen: Survey, intent: Intent) -> None:
    check_proxy_mode(seen.proxy_mode, "ConfigMap kube-proxy in kube-system", intent)


def _asked_of(kinds: Kinds, asked: Asked) -> list[Permission]:
    needed = [*permissions.CLUSTER, *permissions.IN_NAMESPACE]
    needed += permissions.GIVEN_NAMESPACE if asked.images.namespace else permissions.OWN_NAMESPACE
    if asked.access == "probe":
        needed += permissions.PROBE
    if kinds.has(reads.IPPOOLS[0], "ippools"):
        needed += permissions.CALICO_CRD
    elif kinds.has(reads.IPPOOLS[1], "ippools"):
        needed += permissions.CALICO_API
    return needed


def _tried(check: Callable[[], None]) -> Sequence[str]:
    try:
        check()
    except ClusterError as error:
        return [str(error)]
    return []


def _try_namespace(api: Api, given: str) -> None:
    """Would admission let us? A webhook that can't be run dry is not asked."""
    if given:
        try:
            api.listed(f"{NAMESPACES}/{given}/serviceaccounts")
        except ApiRefused as error:
            raise refusal(f"namespace {given} of the pull secret", error) from None
        return
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": new_name(), "labels": {**MANAGED_BY, **PRIVILEGED}},
    }
    try:
        api.create(NAMESPACES, body, dryRun="All")
    except ApiRefused as error:
        if "dry run" not in str(error) and "dryRun" not in str(error):
            raise refusal("a namespace for the labs", error) from None


def _runtime(api: Api, node: str, version: str) -> str:
    name = version.partition("://")[0]
    if name not in RUNTIMES:
        raise ClusterError(
            f"context {api.context}: node {node} runs containers with {version!r}, and the probes know"
            f" {', '.join(RUNTIMES)} only; name another node with --k8snet-role"
        )
    return RUNTIMES[name]


def _calico(api: Api, kinds: Kinds) -> str:
    try:
        reads.ippools_path(kinds)
    except ClusterError:
        return ""
    for namespace in CALICO_NAMESPACES:
        with suppress(ApiRefused):
            daemons = api.get(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/calico-node")
            for container in daemons["spec"]["template"]["spec"]["containers"]:
                if container["name"] == "calico-node":
                    return str(container["image"].partition("@")[0].rpartition(":")[2])
    return "found"
