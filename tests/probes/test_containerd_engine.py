"""Lab 1 on a real containerd by a real crictl: pods as the kubelet asks for them, and their broken twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from pytest_k8snet.claims import pause
from pytest_k8snet.claims.verdict import Verdict
from pytest_k8snet.evidence.observations import PauseLab
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes import labs
from tests.claims.judge import assert_broken, assert_held
from tests.clusters.fake import FakeCluster
from tests.engines import node
from tests.engines.containerd import Containerd
from tests.probes.network import PAUSE, network

NODE = "k8s-node1"
INTENT = replace(Intent(), interface_prefix="veth")
Claim = Callable[[PauseLab, Intent], Verdict]
ON_CONTAINERD: tuple[Claim, ...] = (pause.one_sandbox, pause.network_mode, pause.same_netns)


@dataclass
class Node1:
    """k8s-node1 of the canned network, with a real containerd on it."""

    engine: Containerd
    cluster: FakeCluster = field(default_factory=network)
    sandboxes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster.runtimes = {NODE: "cri"}
        environment = {"CONTAINER_RUNTIME_ENDPOINT": self.engine.endpoint}
        self.cluster.say(
            NODE, "crictl|stat|nsenter|ip -j", lambda argv: node.run(self.engine.inside, argv, environment)
        )

    def pod(self, *, host: bool = False) -> str:
        sandbox = self.sandbox(host=host)
        for name, port in labs.PAUSE_PORTS.items():
            self.engine.container(PAUSE.name, name, sandbox, port, host=host)
        return sandbox

    def sandbox(self, *, host: bool = False, attempt: int = 0) -> str:
        self.sandboxes.append(self.engine.sandbox(PAUSE.name, host=host, attempt=attempt))
        return self.sandboxes[-1]

    def observe(self) -> PauseLab:
        return labs.observe_pause(self.cluster, INTENT)


@pytest.fixture
def node1(containerd: Containerd) -> Iterator[Node1]:
    made = Node1(containerd)
    yield made
    containerd.remove(*made.sandboxes)


def test_a_pod(node1: Node1) -> None:
    node1.pod()
    lab = node1.observe()
    for claim in (*ON_CONTAINERD, pause.veth_pair):
        assert_held(claim(lab, INTENT))
    assert {c.network_namespace for c in lab.pod.containers.get() if not c.sandbox} == {
        f"/proc/{next(c.pid for c in lab.pod.containers.get() if c.sandbox)}/ns/net"
    }


def test_a_second_and_an_ended_sandbox(node1: Node1) -> None:
    second = node1.sandbox(attempt=1)
    used = node1.pod()
    verdict = pause.one_sandbox(node1.observe(), INTENT)
    assert_broken(verdict, "2 pause containers")
    assert f"the containers use {used[:12]}" in verdict.cause
    node1.engine.crictl("stopp", second)
    lab = node1.observe()
    for claim in ON_CONTAINERD:
        assert_held(claim(lab, INTENT))


def test_host_network(node1: Node1) -> None:
    node1.pod(host=True)
    lab = node1.observe()
    assert_held(pause.one_sandbox(lab, INTENT))
    assert_broken(pause.network_mode(lab, INTENT), "names no network namespace")
    assert_broken(pause.same_netns(lab, INTENT), "POD is in the node's own namespace")
