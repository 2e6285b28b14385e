"""Lab 1 on a real dockerd: pods as the kubelet has Docker make them, and their broken twins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from pytest_k8snet.claims import pause
from pytest_k8snet.claims.verdict import Verdict
from pytest_k8snet.clusters.base import CommandResult
from pytest_k8snet.evidence.observations import PauseLab
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes import labs
from pytest_k8snet.probes.restarts import restart_container
from tests.claims.judge import assert_broken, assert_held, assert_inconclusive
from tests.clusters.fake import FakeCluster
from tests.engines import node
from tests.engines.dockerd import Dockerd
from tests.probes.network import PAUSE, network

NODE = "k8s-node1"
INTENT = Intent()
Claim = Callable[[PauseLab, Intent], Verdict]
ON_DOCKER = (pause.one_sandbox, pause.network_mode, pause.same_netns, pause.shared_localhost)


@dataclass
class Node1:
    """k8s-node1 of the canned network, with a real Docker on it: its commands run beside the daemon."""

    engine: Dockerd
    cluster: FakeCluster = field(default_factory=network)
    made: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster.runtimes = {NODE: "docker"}
        self.cluster.say(NODE, "docker|stat|nsenter|kill|ip -j", self.run)
        for container in ("container1", "container2"):
            self.cluster.say(f"pod/{PAUSE.name}/{container}", "curl", self.exec(container))

    def run(self, argv: Sequence[str]) -> CommandResult:
        return node.run(self.engine.inside, argv, self.engine.environment)

    def exec(self, container: str) -> Callable[[Sequence[str]], CommandResult]:
        """As dockershim does it; it has no curl to start."""
        name = f"k8s_{container}_{PAUSE.name}_default_uid-{PAUSE.name}_0"
        return lambda argv: self.run(("docker", "exec", name, *argv))

    def sandbox(self, **options: int | str) -> str:
        self.made.append(self.engine.sandbox(PAUSE.name, **options))  # type: ignore[arg-type]
        return self.made[-1]

    def container(self, name: str, sandbox: str, *, network: str = "", restart: bool = False) -> str:
        port = labs.PAUSE_PORTS[name]
        self.made.append(self.engine.container(PAUSE.name, name, sandbox, port, network=network))
        if restart:
            self.engine.run("update", "--restart", "always", self.made[-1])
        return self.made[-1]

    def pid(self, container: str) -> int:
        return int(self.engine.run("inspect", "--format", "{{.State.Pid}}", container))

    def observe(self) -> PauseLab:
        return labs.observe_pause(self.cluster, INTENT)


@pytest.fixture
def node1(dockerd: Dockerd) -> Iterator[Node1]:
    made = Node1(dockerd)
    yield made
    if made.made:
        dockerd.run("rm", "--force", *made.made)


def test_a_pod(node1: Node1) -> None:
    sandbox = node1.sandbox()
    for name in labs.PAUSE_PORTS:
        node1.container(name, sandbox)
    node.connect(node1.engine.inside, node1.pid(sandbox), PAUSE.veth, PAUSE.ip)
    lab = node1.observe()
    for claim in (*ON_DOCKER, pause.pod_ip, pause.veth_pair, pause.host_route):
        assert_held(claim(lab, INTENT))
    for request in lab.siblings:
        assert "nsenter -t " in request.answer.command, "busybox has no curl: the node's asks in its place"
        assert "curl -s -S" in request.answer.command


def test_containers_outside_the_sandbox(node1: Node1) -> None:
    sandbox = node1.sandbox()
    node1.container("container1", sandbox, network="none")
    node1.container("container2", sandbox, network="host")
    lab = node1.observe()
    assert_held(pause.one_sandbox(lab, INTENT))
    assert_broken(pause.network_mode(lab, INTENT), "container2: host")
    verdict = pause.same_netns(lab, INTENT)
    assert_broken(verdict, "container1 is not in POD's", "container2 is in the node's own namespace")


def test_host_network(node1: Node1) -> None:
    sandbox = node1.sandbox(network="host")
    for name in labs.PAUSE_PORTS:
        node1.container(name, sandbox)
    lab = node1.observe()
    assert_broken(pause.network_mode(lab, INTENT), '"host"')
    assert_broken(pause.same_netns(lab, INTENT), "POD is in the node's own namespace")


def test_two_sandboxes(node1: Node1) -> None:
    node1.sandbox(attempt=1)
    sandbox = node1.sandbox()
    for name in labs.PAUSE_PORTS:
        node1.container(name, sandbox)
    verdict = pause.one_sandbox(node1.observe(), INTENT)
    assert_broken(verdict, "2 pause containers")
    assert f"the containers use {sandbox[:12]}" in verdict.cause


def test_an_ended_sandbox_is_no_second_one(node1: Node1) -> None:
    node1.engine.run("kill", node1.sandbox(attempt=1))
    sandbox = node1.sandbox()
    for name in labs.PAUSE_PORTS:
        node1.container(name, sandbox)
    lab = node1.observe()
    for claim in ON_DOCKER:
        assert_held(claim(lab, INTENT))


def test_another_pod_s_containers_are_not_this_one_s(node1: Node1) -> None:
    other = node1.engine.sandbox("pod-pause-2")
    node1.made.append(other)
    assert_inconclusive(pause.one_sandbox(node1.observe(), INTENT), "lists no container of the pod")


def test_a_restart(node1: Node1) -> None:
    """Docker itself stands in for the kubelet: --restart always."""
    sandbox = node1.sandbox()
    for name in labs.PAUSE_PORTS:
        node1.container(name, sandbox, restart=True)
    node.connect(node1.engine.inside, node1.pid(sandbox), PAUSE.veth, PAUSE.ip)
    restart = restart_container(node1.cluster, INTENT)
    assert_held(pause.survives_restart(restart))
    assert restart.get().before.pid != restart.get().after.pid
    assert restart.get().after.host_interface == PAUSE.veth


def test_docker_s_own_words_where_nothing_listens() -> None:
    """A docker CLI without its daemon: one clear failure."""
    cluster = network()
    cluster.runtime = "docker"
    nowhere = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    cluster.say(NODE, "docker", lambda argv: node.run((), argv, nowhere))
    containers = labs.observe_pause(cluster, INTENT).pod.containers
    assert "docker" in json.dumps([containers.failure, containers.command]).lower()
    assert containers.advice
