"""Whether this machine can hold a cluster of ours: all that is in the way at once; nothing is changed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from pytest_k8snet.clusters.asked import Asked
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kind import calico, downloads, network
from pytest_k8snet.clusters.kind.config import marked
from pytest_k8snet.clusters.kind.daemon import docker, inspected, node_containers, there, why_silent
from pytest_k8snet.clusters.kind.host import Host, Route, routes
from pytest_k8snet.clusters.kind.versions import Versions, number, pins, versions
from pytest_k8snet.intent import Intent

GIB = 1 << 30
#: A control plane and two workers with Calico take about 2.5 GiB while they come up.
MEMORY = 3 * GIB
#: A node image is 1.0 to 1.5 GiB unpacked; Calico's and the labs' images are in the daemon once and in each
#: of the three nodes.
NODE_IMAGE, OTHER_IMAGES = 2 * GIB, 4 * GIB
#: https://kind.sigs.k8s.io/docs/user/known-issues/#pod-errors-due-to-too-many-open-files names 512 and
#: 524288. Instances run out with three nodes; of watches three nodes take some thousands.
INSTANCES, WATCHES = 512, 32768
UPLINKS = ("eth0", network.UPLINK)

#: kind: pkg/internal/apis/config/validate.go; with "-control-plane" it is a host name of 63 letters at most.
_NAME = re.compile(r"[a-z0-9.-]{1,49}")
#: Proxy mode -> module of the kernel, oldest Kubernetes, oldest kind. nftables: on by default from 1.31
#: (kubernetes/enhancements 3866); kubeProxyMode takes it from kind 0.23 on.
_PROXY_NEEDS: Mapping[str, tuple[str, tuple[int, int], str]] = {
    "iptables": ("", (1, 19), "0.20.0"),
    "ipvs": ("ip_vs", (1, 19), "0.20.0"),
    "nftables": ("nf_tables", (1, 31), "0.23.0"),
}
CALICO_WITH_NFTABLES = (3, 29)
#: From a Kubernetes on: the oldest kind that can copy images into its nodes. They have containerd 2 then, and
#: the fourth version of its configuration (kind: pkg/cluster/nodeutils/util.go, parseSnapshotter).
_OLDEST_KIND = (((1, 33), "0.27.0"), ((1, 36), "0.32.0"))
ROOTLESS_KUBERNETES = (1, 22)  #: kind: pkg/cluster/internal/kubeadm/config.go, Config
#: Of the machine that runs pytest: a daemon there may listen on TCP as well.
_LOOPBACK = re.compile(r"tcp://(?:localhost|127\.[\d.]+|\[::1\])(?::\d+)?/?")


@dataclass(frozen=True)
class Daemon:
    """The Docker daemon as it describes itself."""

    info: Mapping[str, Any]

    @property
    def here(self) -> bool:
        """Its containers run on the kernel that we see: not in a virtual machine, as Docker Desktop's do."""
        return self.info.get("KernelVersion") == os.uname().release

    @property
    def rootless(self) -> bool:
        return "name=rootless" in (self.info.get("SecurityOptions") or ())


def findings(
    asked: Asked,
    intent: Intent,
    *,
    host: Host | None = None,
    routes: Callable[[], Sequence[Route]] = routes,
) -> list[str]:
    """Why no cluster can be made here, one line each, each with its remedy; [] when it can."""
    host = host or Host()
    found = list(_of_options(asked, intent))
    wanted, kind = None, ""
    try:
        kind, finding = _kind(asked)
        found += finding
        wanted = versions(asked, kind)
    except ValueError as error:
        found.append(str(error))
    if wanted is not None:
        found += _of_versions(wanted, kind, intent)
    if silent := why_silent():
        found.append(f"Docker: {silent}; start it, or see `docker version`")
        return [*found, *_of_kernel(host, intent)]
    try:
        daemon = Daemon(json.loads(docker("info", "--format", "{{json .}}")))
        elsewhere = _another_machine()
        if elsewhere:
            found.append(
                f"Docker: {elsewhere} is another machine, and kind's API server answers on that machine's own"
                " loopback only: run pytest there, or use this machine's Docker (DOCKER_HOST, docker context)"
            )
        here = daemon.here and not elsewhere
        if here:
            found += _of_kernel(host, intent)
            found += _of_room(daemon, host, wanted)
        else:
            found += _of_memory(daemon, None)
        if daemon.info.get("OSType", "linux") != "linux":
            found.append("Docker: it runs Windows containers; kind's nodes are Linux")
        if wanted is not None:
            found += _of_cgroups(daemon, wanted)
            found += _of_rootless(daemon, wanted)
        found += _of_name(asked.kind.name)
        found += _of_ranges(intent, list(routes()) if here else [])
    except (ClusterError, ValueError) as error:
        found.append(f"Docker: {error}")
    return found


def _of_options(asked: Asked, intent: Intent) -> Iterator[str]:
    if not _NAME.fullmatch(asked.kind.name):
        yield (
            f"--cluster-name: {asked.kind.name!r} can't be a cluster's name: at most 49 small letters,"
            " digits, dots and dashes"
        )
    for option, path in (("--kind-bin", asked.kind.kind), ("--kind-kubectl-bin", asked.kind.kubectl)):
        if path is not None and not path.is_file():
            yield f"{option}: there is no file {path}"
        elif path is not None and not os.access(path, os.X_OK):
            yield f"{option}: {path} may not be executed (chmod +x)"
    manifest = asked.calico_manifest
    if manifest is not None:
        try:
            bodies = calico.parse(manifest.read_bytes(), str(manifest))
            calico.edited(bodies, str(manifest), intent, network.UPLINK)
        except OSError as error:
            yield f"--k8snet-calico-manifest: {manifest} can't be read: {error.strerror}"
        except ClusterError as error:
            yield f"--k8snet-calico-manifest: {error}"
    if asked.access == "ssh":
        yield "--k8snet-node-access ssh: kind's nodes are reached by docker exec; leave it out"
    for what, value in (("pod-cidr", intent.pod_cidr), ("service-cidr", intent.service_cidr)):
        if isinstance(value, IPv6Network):
            yield f"--k8snet-{what}: {value} is not IPv4, which the kind provider makes"
    if intent.uplink not in (None, *UPLINKS):
        yield f"--k8snet-uplink: kind's nodes have {' and '.join(UPLINKS)}, and no {intent.uplink!r}"
    if intent.interface_prefix != "cali":
        yield (
            "--k8snet-interface-prefix: Calico's CNI plugin names interfaces of Kubernetes pods cali..., not"
            f" {intent.interface_prefix}..."
        )
    if intent.masquerade_all:
        yield "--k8snet-masquerade-all: the cluster that is made here keeps the pods' addresses; leave it out"


def _kind(asked: Asked) -> tuple[str, list[str]]:
    """The version of the kind that will be used, "" where it can't be known, and what is wrong with it."""
    found = downloads.kind_at_hand(asked.kind)
    try:
        if found is None:
            downloads.pinned_for()
            return pins().kind, []
        return (downloads.version_of(found), []) if os.access(found, os.X_OK) else ("", [])
    except ClusterError as error:
        return "", [str(error)]


def _of_versions(wanted: Versions, kind: str, intent: Intent) -> Iterator[str]:
    module, kubernetes, oldest = _PROXY_NEEDS[intent.proxy_mode]
    has, what = wanted.kubernetes, f" with --k8snet-proxy-mode {intent.proxy_mode}" if module else ""
    for first, needed in _OLDEST_KIND:
        if has and has >= first and number(needed) > number(oldest):
            oldest, what = needed, f" for Kubernetes {_dotted(has)} of {_short(wanted.node_image)}"
    if kind and number(kind) < number(oldest):
        yield (
            f"kind {kind} is too old{what}: {oldest} is the oldest; take it off PATH and {pins().kind} is"
            " downloaded, or name another with --kind-bin"
        )
    if has and has < kubernetes:
        yield (
            f"--k8snet-proxy-mode {intent.proxy_mode} needs Kubernetes {_dotted(kubernetes)}, and"
            f" {_short(wanted.node_image)} has {_dotted(has)}: choose with --kind-image or --k8snet-profile"
        )
    pin = wanted.calico
    if pin and has and not pin.fits(has):
        fits = [other.version for other in pins().calico.values() if other.fits(has)]
        yield (
            f"Calico {pin.version} needs Kubernetes {pin.range}, and {_short(wanted.node_image)} has"
            f" {_dotted(has)}: "
            + (f"--k8snet-calico-version {fits[0]} fits" if fits else "none that is pinned fits")
        )
    if pin and intent.proxy_mode == "nftables" and number(pin.version) < CALICO_WITH_NFTABLES:
        yield (
            f"Calico {pin.version} knows no --k8snet-proxy-mode nftables: {_dotted(CALICO_WITH_NFTABLES)} is"
            " the oldest that does"
        )


def _of_kernel(host: Host, intent: Intent) -> Iterator[str]:
    if intent.tunnel == "ipip" and not (host.has_device("tunl0") or host.module("ipip")):
        yield (
            f"this machine's kernel {host.release} has no ipip, which the nodes share: `modprobe ipip`; where"
            " there is no such module, install the distribution's extra modules for this kernel, or declare"
            " --k8snet-encapsulation vxlan-always"
        )
    if intent.tunnel == "vxlan" and host.lacks("vxlan"):
        yield f"this machine's kernel {host.release} has no vxlan, which the nodes share: `modprobe vxlan`"
    module = _PROXY_NEEDS[intent.proxy_mode][0]
    if module and host.lacks(module):
        yield (
            f"this machine's kernel {host.release} has no {module}, which --k8snet-proxy-mode"
            f" {intent.proxy_mode} needs: `modprobe {module}`"
        )
    for name, least in (("max_user_instances", INSTANCES), ("max_user_watches", WATCHES)):
        limit = host.setting(f"fs/inotify/{name}")
        if limit is not None and limit < least:
            yield (
                f"fs.inotify.{name} is {limit}, which three nodes use up: `sysctl fs.inotify.{name}={least}`"
                " (kind's known issues, too many open files)"
            )


def _of_room(daemon: Daemon, host: Host, wanted: Versions | None) -> Iterator[str]:
    yield from _of_memory(daemon, host.memory())
    root = str(daemon.info.get("DockerRootDir") or "")
    free = host.disk(root) if root else None
    needed = OTHER_IMAGES
    if wanted is None or not wanted.node_image or not there(wanted.node_image):
        needed += NODE_IMAGE
    if free is not None and free < needed:
        yield (
            f"{free / GIB:.1f} GiB are free in {root}, and images and nodes take {needed / GIB:.0f}:"
            " `docker system df` shows what takes the place"
        )


def _of_memory(daemon: Daemon, available: int | None) -> Iterator[str]:
    total = int(daemon.info.get("MemTotal") or 0)
    needed = f"three nodes with Calico take {MEMORY / GIB:.0f}"
    if available is not None and available < MEMORY:
        yield f"{available / GIB:.1f} GiB of memory are available, and {needed}"
    elif 0 < total < MEMORY:
        yield f"Docker has {total / GIB:.1f} GiB of memory, and {needed}"


def _of_cgroups(daemon: Daemon, wanted: Versions) -> Iterator[str]:
    """Kubelet refuses cgroup v1 by default from 1.35 on (FailCgroupV1); before 1.19 it knows no v2."""
    version = str(daemon.info.get("CgroupVersion") or "1")  # Docker before 20.10 has v1 and does not say so
    if version == "1" and wanted.kubernetes and wanted.kubernetes >= (1, 35):
        yield (
            f"this machine has cgroup v1, and Kubernetes {_dotted(wanted.kubernetes)} of"
            f" {_short(wanted.node_image)} needs v2: boot with systemd.unified_cgroup_hierarchy=1, or name an"
            " older node image with --kind-image or --k8snet-profile document"
        )
    if version == "2" and wanted.kubernetes and wanted.kubernetes < (1, 19):
        yield (
            f"this machine has cgroup v2, and Kubernetes {_dotted(wanted.kubernetes)} of"
            f" {_short(wanted.node_image)} knows v1 only: name an image of 1.19 or newer with --kind-image"
        )


def _of_rootless(daemon: Daemon, wanted: Versions) -> Iterator[str]:
    if daemon.rootless and wanted.kubernetes and wanted.kubernetes < ROOTLESS_KUBERNETES:
        yield (
            f"Docker runs rootless, and kind brings up no Kubernetes {_dotted(wanted.kubernetes)} there:"
            f" {_dotted(ROOTLESS_KUBERNETES)} is the oldest; name an image with --kind-image, or use a Docker"
            " that runs as root"
        )


def _of_name(cluster: str) -> Iterator[str]:
    nodes = inspected("container", *node_containers(cluster))
    networks = [each for each in network.ours() if each.cluster == cluster]
    for underlay in networks:
        if underlay.kept:
            yield (
                f"--cluster-name: {cluster} was kept by an earlier run: remove it with `{underlay.removal}`,"
                f" use it with --k8snet-kubeconfig {underlay.kubeconfig} --k8snet-context kind-{cluster}, or"
                " choose another name"
            )
            return
        if not underlay.abandoned:
            yield (
                f"--cluster-name: {cluster} is that of a run under way ({underlay.owner}): choose another, or"
                f" remove it with `{underlay.removal}` where you know that the run is over"
            )
            return
    runs = {underlay.run for underlay in networks}
    strangers = [each["Name"].lstrip("/") for each in nodes if marked(each) not in runs]
    if strangers:
        yield (
            f"--cluster-name: there is a kind cluster {cluster} already, and it is not ours"
            f" ({', '.join(strangers)}): choose another name, or remove it with `kind delete cluster --name"
            f" {cluster}`"
        )


def _of_ranges(intent: Intent, routes: Sequence[Route]) -> Iterator[str]:
    """Ranges of pods and services that lead elsewhere here: the nodes reach the world by this machine."""
    # Those of a leftover go before the cluster comes.
    leaving = {each.name for each in network.ours() if each.abandoned}
    bridges = {
        subnet: f"Docker network {name}" for name, subnet in network.docker_networks() if name not in leaving
    }
    ways = {route.network: f"the route {route}" for route in routes}
    for what, wanted in (("pod-cidr", intent.pod_cidr), ("service-cidr", intent.service_cidr)):
        for other, by in {**ways, **bridges}.items():
            if isinstance(wanted, IPv4Network) and other.overlaps(wanted):
                yield f"--k8snet-{what}: {wanted} overlaps {by} ({other}): choose another range"


def _another_machine() -> str:
    """What DOCKER_HOST or the context names, where that daemon is reached over a network; else ""."""
    host = os.environ.get("DOCKER_HOST") or ""
    if not host:
        try:
            host = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
        except ClusterError:
            return ""  # no contexts before Docker 19.03
    local = host.startswith(("unix://", "fd://", "npipe://", "/")) or _LOOPBACK.fullmatch(host)
    return "" if local else host


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _short(image: str) -> str:
    return image.partition("@")[0]
