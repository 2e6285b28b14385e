"""Faults in the embedded cluster: when they come into force, what they touch, and that they go again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.base import ClusterError, ClusterInfo, CommandResult
from pytest_k8snet.clusters.bundle import BundleTape
from pytest_k8snet.clusters.embedded import EmbeddedCluster
from pytest_k8snet.clusters.tape import MemoryTape
from pytest_k8snet.embedded.description import Network
from pytest_k8snet.embedded.faults.catalogue import BY_NAME
from pytest_k8snet.embedded.faults.places import PAUSE_IP, PAUSE_VETH
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import Manifest
from tests.matrix.judge import manifests


class Agent:
    """Plays the client: keeps what it was asked for, gives every process another pid."""

    console = ""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.ran: list[str] = []
        self.exit_status = 0

    def ask(self, operation: str, *, node: str = "", timeout: float = 30.0, **fields: Any) -> Any:
        self.asked.append((operation, node, fields))
        pid = len(self.asked)
        return {"pod": {"pid": pid}, "hold": pid}.get(operation)

    def run(self, node: str, argv: Sequence[str], *, timeout: float, stdin: bytes = b"") -> CommandResult:
        self.ran.append(f"{node}: {' '.join(argv)}")
        return CommandResult(tuple(argv), self.exit_status, stderr=b"RTNETLINK answers: File exists")

    def told(self) -> list[str]:
        """Operations and their nodes since it was last asked, pods by name."""
        said = [
            " ".join(filter(None, (operation, node, _name(fields)))) for operation, node, fields in self.asked
        ]
        self.asked.clear()
        return said

    def close(self) -> None: ...


def _name(fields: dict[str, Any]) -> str:
    pod = fields.get("pod", "")
    return str(pod["name"] if isinstance(pod, dict) else pod)


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def cluster(agent: Agent) -> EmbeddedCluster:
    network = Network(IPv4Network("20.96.0.0/12"), IPv4Network("10.96.0.0/12"))
    info = ClusterInfo("embedded", "reference network", reference=True, details={"kernel": "6.1"})
    return EmbeddedCluster(agent, MemoryTape(), network, info, Intent())  # type: ignore[arg-type]


def of(*names: str) -> list[Manifest]:
    return [manifest for manifest in manifests() if manifest.name in names]


ROUTE = f"{PAUSE_IP}/32 dev {PAUSE_VETH} scope link proto boot"
DELETED, ADDED = f"k8s-node1: ip route del {ROUTE}", f"k8s-node1: ip route add {ROUTE}"


def test_a_fault_waits_for_its_pod_and_says_so(cluster: EmbeddedCluster, agent: Agent) -> None:
    cluster.inject(BY_NAME["host-route-missing"])
    assert agent.ran == []
    assert cluster.info.summary == (
        "reference network, wrong on purpose: host-route-missing (host-route-missing waits for pod-pause)"
    )
    cluster.apply(of("pod-pause"))
    assert agent.ran == [DELETED]
    assert cluster.info.summary == "reference network, wrong on purpose: host-route-missing"
    cluster.repair(BY_NAME["host-route-missing"])
    assert agent.ran == [DELETED, ADDED]
    assert cluster.info.summary == "reference network"
    assert cluster.info.details == {"kernel": "6.1"}


def test_a_fault_is_made_again_with_its_pod(cluster: EmbeddedCluster, agent: Agent) -> None:
    cluster.apply(of("pod-pause"))
    cluster.inject(BY_NAME["host-route-missing"])
    cluster.delete(of("pod-pause"))
    assert cluster.info.details["not in force"] == "host-route-missing waits for pod-pause"
    cluster.apply(of("pod-pause"))
    assert agent.ran == [DELETED, DELETED]
    cluster.delete(of("pod-pause"))
    cluster.repair(BY_NAME["host-route-missing"])  # the route went with the pod: nothing to put back
    assert agent.ran == [DELETED, DELETED]


def test_a_pod_is_made_anew_for_a_fault_and_after_it(cluster: EmbeddedCluster, agent: Agent) -> None:
    cluster.apply(of("pod-pause", "pod-dest"))
    agent.told()
    cluster.inject(BY_NAME["second-sandbox"])
    assert agent.told() == ["delete k8s-node1 pod-pause", "pod k8s-node1 pod-pause"]
    cluster.repair(BY_NAME["second-sandbox"])
    assert agent.told() == ["delete k8s-node1 pod-pause", "pod k8s-node1 pod-pause"]


def test_wrong_rules_stay_wrong_for_pods_that_come_later(cluster: EmbeddedCluster, agent: Agent) -> None:
    cluster.inject(BY_NAME["service-rules-missing"])
    cluster.apply(of("pod-dest", "svc-clusterip"))
    written = {
        node: fields["body"].decode() for operation, node, fields in agent.asked if operation == "rules"
    }
    jump = (
        '-A KUBE-SERVICES -d 10.107.94.97/32 -p tcp -m comment --comment "default/svc-clusterip cluster IP"'
    )
    assert [node for node, rules in written.items() if jump not in rules] == ["k8s-node2"]
    agent.told()
    cluster.repair(BY_NAME["service-rules-missing"])
    assert agent.told() == ["rules k8s-node2"]


def test_kube_proxy_gives_the_port_up_on_the_node_of_the_fault(
    cluster: EmbeddedCluster, agent: Agent
) -> None:
    cluster.apply(of("pod-dest", "svc-nodeport"))
    agent.told()
    cluster.inject(BY_NAME["nodeport-not-held"])
    assert agent.told() == ["release k8s-node1"]
    cluster.repair(BY_NAME["nodeport-not-held"])
    assert agent.told() == ["hold k8s-node1"]


def test_a_node_ends_before_the_program_of_its_fault(cluster: EmbeddedCluster, agent: Agent) -> None:
    cluster.inject(BY_NAME["node-gone"])
    agent.told()
    cluster.nodes["k8s-node1"].run("ip", "addr")
    assert agent.told() == []
    cluster.nodes["k8s-node1"].run("ss", "-ltn")
    assert agent.told() == ["end k8s-node1"]


def test_a_fault_that_can_not_be_made_ends_the_run_with_its_command(
    cluster: EmbeddedCluster, agent: Agent
) -> None:
    agent.exit_status = 2
    with pytest.raises(ClusterError, match=r"`ip route replace 20.111.156.64/26 .*` on k8s-node2: RTNETLINK"):
        cluster.inject(BY_NAME["direct-request"])


def test_the_bundle_says_what_came_into_force(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    cluster.tape = BundleTape(tmp_path / "kept")
    cluster.inject(BY_NAME["host-route-missing"])
    assert not (tmp_path / "kept").exists()
    cluster.apply(of("pod-dest"))
    assert "waits for pod-pause" in json.loads((tmp_path / "kept/bundle.json").read_text())["summary"]
    cluster.apply(of("pod-pause"))
    assert "waits" not in (tmp_path / "kept/bundle.json").read_text()
