"""The document's eth1: a second Docker network that our nodes are connected to, and that says whose they are.

It is made before the cluster, so that its labels name the owner whatever happens then.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kind.config import marked
from pytest_k8snet.clusters.kind.daemon import CLUSTER_LABEL as KINDS_LABEL
from pytest_k8snet.clusters.kind.daemon import docker, inspected, node_containers
from pytest_k8snet.clusters.kind.host import Route
from pytest_k8snet.clusters.kube import heartbeat
from pytest_k8snet.clusters.ways.docker import RUN_LABEL
from pytest_k8snet.evidence.interfaces import parse_addresses

UPLINK = "eth1"
DOCUMENT_RANGE = IPv4Network("192.168.219.0/24")
FIRST_NODE = 21  #: the document's addresses are .21, .22 and .23
#: Where to go when the document's range is taken, in this order.
RANGES = (
    DOCUMENT_RANGE,
    *(IPv4Network(f"192.168.{third}.0/24") for third in (*range(220, 255), *range(200, 219))),
    *(IPv4Network(f"172.{second}.219.0/24") for second in range(31, 15, -1)),
    *(IPv4Network(f"10.219.{third}.0/24") for third in range(256)),
)

CLUSTER_LABEL = "io.pytest-k8snet.cluster"
OWNER_LABEL = "io.pytest-k8snet.owner"  #: JSON, see heartbeat.owner
KEPT_LABEL = "io.pytest-k8snet.kept"
#: kind makes a network of its own where there is none, and leaves it; here it came with our cluster.
WITH_KINDS_LABEL = "io.pytest-k8snet.with-kinds-network"
KUBECONFIG_LABEL = "io.pytest-k8snet.kubeconfig"  #: where kind was told to write it


@dataclass(frozen=True)
class Underlay:
    """A network of ours, as its labels tell."""

    name: str
    cluster: str
    run: str
    kept: bool = False
    subnet: IPv4Network | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return heartbeat.in_words({heartbeat.OWNER: self.labels.get(OWNER_LABEL, "")})

    @property
    def abandoned(self) -> bool:
        """Its run is over and did not mean to leave it. One that can't be looked up is taken to be alive."""
        noted = {heartbeat.OWNER: self.labels.get(OWNER_LABEL, "")}
        return not self.kept and (heartbeat.is_gone(noted) is True or _before_this_boot(noted))

    @property
    def kubeconfig(self) -> Path:
        return Path(
            self.labels.get(KUBECONFIG_LABEL) or Path.cwd() / ".pytest-kind" / self.cluster / "kubeconfig"
        )

    @property
    def removal(self) -> str:
        """The commands that remove a kept cluster. A kind that was downloaded is not on PATH."""
        nodes = f"kind delete cluster --name {self.cluster}"
        if shutil.which("kind") is None:
            nodes = f"docker rm -f -v $(docker ps -aq --filter label={KINDS_LABEL}={self.cluster})"
        return f"{nodes} && docker network rm {self.name}"


def taken(routes: Iterable[Route], ranges: Iterable[IPv4Network]) -> list[IPv4Network]:
    """What a new network must keep clear of: this machine's routes, Docker's networks, and ``ranges``."""
    return [*ranges, *(route.network for route in routes), *(subnet for _, subnet in docker_networks())]


def docker_networks() -> Iterator[tuple[str, IPv4Network]]:
    """Each Docker network and its IPv4 ranges."""
    for network in inspected("network", *docker("network", "ls", "-q").split()):
        for config in (network.get("IPAM") or {}).get("Config") or ():
            with suppress(ValueError, KeyError):
                subnet = ip_network(config["Subnet"], strict=False)
                if isinstance(subnet, IPv4Network):
                    yield network["Name"], subnet


def free_range(occupied: Sequence[IPv4Network]) -> IPv4Network:
    """The document's range, or the first of :data:`RANGES` that nothing overlaps. Raises ClusterError."""
    for candidate in RANGES:
        if not any(candidate.overlaps(other) for other in occupied):
            return candidate
    raise ClusterError(
        f"no range is free for the nodes' second network: {len(RANGES)} were tried, from {RANGES[0]} to"
        f" {RANGES[-1]}; `docker network prune` removes networks that nothing uses"
    )


def create(cluster: str, run: str, subnet: IPv4Network, *, kubeconfig: Path, keep: bool) -> Underlay:
    """Make the network, labelled with its owner. Raises ClusterError: also where another run was faster."""
    labels = {
        RUN_LABEL: run,
        CLUSTER_LABEL: cluster,
        OWNER_LABEL: json.dumps(heartbeat.owner(), sort_keys=True),
        KUBECONFIG_LABEL: str(kubeconfig),
    }
    if keep:
        labels[KEPT_LABEL] = "true"
    if not inspected("network", kind_network()):
        labels[WITH_KINDS_LABEL] = kind_network()
    name = name_for(cluster)
    flags = [flag for key, value in labels.items() for flag in ("--label", f"{key}={value}")]
    docker("network", "create", "--driver", "bridge", "--subnet", str(subnet), *flags, name)
    return Underlay(name, cluster, run, keep, subnet, labels)


def name_for(cluster: str) -> str:
    """Docker takes the default route from the network that comes first by name: kind's own has to stay first.

    Docker's libnetwork, sandbox.go (Less). Two networks of one name are refused, so it is a lock as well.
    """
    return f"{kind_network()}-k8snet-{cluster}"


def kind_network() -> str:
    return os.environ.get("KIND_EXPERIMENTAL_DOCKER_NETWORK") or "kind"


def connect(underlay: Underlay, nodes: Sequence[str]) -> dict[str, IPv4Address]:
    """Give each node its eth1: the address of each. Raises ClusterError where that is not what came out."""
    assert underlay.subnet is not None
    addresses = {
        node: underlay.subnet.network_address + FIRST_NODE + number for number, node in enumerate(nodes)
    }
    for node, address in addresses.items():
        docker("network", "connect", "--ip", str(address), underlay.name, node)
        _check(node, address)
    return addresses


def remove(underlay: Underlay) -> None:
    """Idempotent. Raises ClusterError, one line, where Docker refuses."""
    for network in inspected("network", underlay.name):
        for endpoint in (network.get("Containers") or {}).values():
            with suppress(ClusterError):
                docker("network", "disconnect", "-f", underlay.name, endpoint["Name"])
        docker("network", "rm", underlay.name)
    if kinds := underlay.labels.get(WITH_KINDS_LABEL):
        with suppress(ClusterError):  # another cluster uses it by now, or it never came
            docker("network", "rm", kinds)


def ours() -> list[Underlay]:
    """The networks that carry our labels."""
    names = docker("network", "ls", "--filter", f"label={CLUSTER_LABEL}", "--format", "{{.Name}}").split()
    found = []
    for network in inspected("network", *names):
        labels = network.get("Labels") or {}
        subnets = [config.get("Subnet") for config in (network.get("IPAM") or {}).get("Config") or ()]
        found.append(
            Underlay(
                network["Name"],
                labels.get(CLUSTER_LABEL, ""),
                labels.get(RUN_LABEL, ""),
                KEPT_LABEL in labels,
                IPv4Network(subnets[0]) if subnets else None,
                labels,
            )
        )
    return found


def nodes_of(underlay: Underlay) -> list[str]:
    """The nodes of the run that made ``underlay``. Another cluster of the same name has none of its marks."""
    containers = inspected("container", *node_containers(underlay.cluster))
    return [each["Name"].lstrip("/") for each in containers if marked(each) == underlay.run != ""]


def _check(node: str, address: IPv4Address) -> None:
    shown = docker("exec", node, "ip", "-j", "addr", "show")
    holders = [
        link.name for link in parse_addresses(shown) if any(each.ip == address for each in link.addresses)
    ]
    if holders != [UPLINK]:
        raise ClusterError(
            f"{node}: {address} should be on {UPLINK}, and is on {', '.join(holders) or 'no interface'}"
            f" (docker exec {node} ip addr)"
        )
    default = json.loads(docker("exec", node, "ip", "-j", "-4", "route", "show", "default") or "[]")
    devices = [route.get("dev") for route in default]
    if devices != ["eth0"]:
        raise ClusterError(
            f"{node}: the default route should stay on eth0 when {UPLINK} comes, and is on"
            f" {', '.join(map(str, devices)) or 'no interface'} (docker exec {node} ip route)"
        )


def _before_this_boot(noted: Mapping[str, str]) -> bool:
    """Made on this machine before it was started anew: kind's nodes come back then, their run does not."""
    try:
        who = json.loads(noted[heartbeat.OWNER])
        boot, _, namespace = str(who["kernel"]).partition(" ")
        here, _, ours = str(heartbeat.owner()["kernel"]).partition(" ")
    except (ValueError, KeyError, TypeError):
        return False
    return who.get("host") == socket.gethostname() and namespace == ours and boot != here != ""
