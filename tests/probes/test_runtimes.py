"""A pod's containers by docker and by crictl: what is asked, in which form, and what comes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_k8snet.clusters.base import NodeUnreachable
from pytest_k8snet.evidence.observations import PodEvidence
from pytest_k8snet.evidence.sandboxes import PINNED
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes import labs
from pytest_k8snet.probes.restarts import restart_container
from tests.clusters.fake import FakeCluster, says
from tests.evidence.samples import sample
from tests.probes.network import PAUSE, network, pod_addresses

NODE = "k8s-node1"
INTENT = Intent()
POD, ONE, TWO = "a" * 64, "b" * 64, "c" * 64
LABELS = "io.kubernetes.pod.name=pod-pause {} io.kubernetes.pod.namespace=default"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def observed(cluster: FakeCluster) -> PodEvidence:
    return labs.observe_pause(cluster, INTENT).pod


def node_commands(cluster: FakeCluster, pattern: str) -> list[str]:
    return [command for where, command in cluster.ran(pattern) if where == NODE]


# --- docker ------------------------------------------------------------------------------------


def docker_entry(own_id: str, name: str, pid: int, mode: str, **state: Any) -> dict[str, Any]:
    labels = {
        "io.kubernetes.container.name": name,
        "io.kubernetes.pod.name": "pod-pause",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.sandbox.id": POD,
    }
    return {
        "Id": own_id,
        "Name": f"/k8s_{name}_pod-pause_default_uid_0",
        "State": {"Running": True, "Pid": pid, **state},
        "Config": {"Labels": labels, "Image": "kubetm/app"},
        "HostConfig": {"NetworkMode": mode},
    }


DOCKER = [
    docker_entry(TWO, "container2", 702, f"container:{POD}"),
    docker_entry(ONE, "container1", 701, f"container:{POD}"),
    docker_entry(POD, "POD", 700, "none"),
]


def with_docker(*entries: dict[str, Any]) -> FakeCluster:
    cluster = network()
    cluster.runtimes = {NODE: "docker"}
    cluster.say(NODE, "docker ps", says("".join(f"{entry['Id']}\n" for entry in entries)))
    cluster.say(NODE, "docker inspect", says(json.dumps(entries)))
    return cluster


def test_docker_is_asked_for_the_pod_alone_by_its_labels() -> None:
    cluster = with_docker(*DOCKER)
    pod = observed(cluster)
    labels = "--filter label=" + LABELS.format("--filter").replace("--filter ", "--filter label=")
    assert node_commands(cluster, "docker") == [
        f"docker ps -q --no-trunc {labels}",
        f"docker inspect {TWO} {ONE} {POD}",
    ]
    assert [(c.name, c.pid, c.network_mode) for c in pod.containers.get()] == [
        ("container2", 702, f"container:{POD}"),
        ("container1", 701, f"container:{POD}"),
        ("POD", 700, "none"),
    ]
    assert pod.inodes.get()[702] == PAUSE.inode
    assert pod.inside.command == "nsenter -t 700 -n ip -j -d addr show"
    assert pod.containers.command.startswith("docker inspect ")


def test_the_recorded_docker_node() -> None:
    cluster = network()
    cluster.runtime = "docker"
    recorded = json.loads(sample("docker-inspect.json"))
    cluster.say(NODE, "docker ps", says("".join(f"{entry['Id']}\n" for entry in recorded)))
    cluster.say(NODE, "docker inspect", says(sample("docker-inspect.json")))
    assert {container.name for container in observed(cluster).containers.get()} == {
        "POD",
        "container1",
        "container2",
    }


def test_docker_lists_nothing() -> None:
    cluster = with_docker()
    pod = observed(cluster)
    assert pod.containers.get() == ()
    assert not cluster.ran("docker inspect")
    assert "no running sandbox (pause container) of pod pod-pause" in pod.inside.failure


@pytest.mark.parametrize(
    ("command", "answer", "failure"),
    [
        ("docker ps", says("", "docker: not found\n", 127), "docker is not installed on k8s-node1"),
        ("docker ps", says("", "Cannot connect to the Docker daemon\n", 1), "Cannot connect to the Docker"),
        ("docker ps", says("CONTAINER ID\n"), "expected 64 hexadecimal digits"),
        ("docker inspect", says("[]", f"Error: No such object: {ONE}\n", 1), "No such object: bbbb"),
        ("docker inspect", says("{}"), "unreadable output: docker inspect"),
    ],
)
def test_a_docker_that_fails(command: str, answer: Any, failure: str) -> None:
    cluster = with_docker(*DOCKER)
    cluster.say(NODE, command, answer)
    pod = observed(cluster)
    for reading in (pod.containers, pod.inside, pod.inodes):
        assert failure in reading.failure
        assert reading.advice


def test_a_restart_on_docker() -> None:
    cluster = with_docker(*DOCKER)
    fresh = docker_entry("d" * 64, "container2", 902, f"container:{POD}")
    cluster.say(NODE, "docker inspect", says(json.dumps(DOCKER)), says("[]"), says(json.dumps([fresh])))
    cluster.say(NODE, "nsenter -t 902", says(json.dumps(pod_addresses(PAUSE))))
    cluster.say(NODE, "stat .*/proc/902/", says(f"/proc/902/ns/net {PAUSE.inode}\n"))
    restart = restart_container(cluster, INTENT).get()
    assert (restart.before.pid, restart.after.pid) == (702, 902)
    assert node_commands(cluster, "kill") == ["kill -KILL 702"]


# --- crictl ------------------------------------------------------------------------------------


def inspectp(own_id: str = POD, pid: int | None = 700, path: str = "/var/run/netns/cni-1") -> dict[str, Any]:
    metadata = {"name": "pod-pause", "namespace": "default", "uid": "uid-pod-pause"}
    info: dict[str, Any] = {"runtimeSpec": {"linux": {"namespaces": [{"type": "network", "path": path}]}}}
    if pid is not None:
        info |= {"pid": pid, "image": "pause:3.9"}
    return {"status": {"id": own_id, "state": "SANDBOX_READY", "metadata": metadata}, "info": info}


def inspect(own_id: str, name: str, pid: int, path: str = "/proc/700/ns/net") -> dict[str, Any]:
    labels = {"io.kubernetes.pod.name": "pod-pause", "io.kubernetes.pod.namespace": "default"}
    spec = {"linux": {"namespaces": [{"type": "network", "path": path}]}}
    return {
        "status": {
            "id": own_id,
            "state": "CONTAINER_RUNNING",
            "metadata": {"name": name},
            "labels": labels,
            "image": {"image": "kubetm/app"},
        },
        "info": {"pid": pid, "sandboxID": POD, "runtimeSpec": spec},
    }


def with_crictl(*sandboxes: dict[str, Any], containers: Any = None) -> FakeCluster:
    cluster = network()
    cluster.runtime = "cri"
    listed = [inspect(TWO, "container2", 702), inspect(ONE, "container1", 701)]
    listed = listed if containers is None else containers
    ids = {"pods": [s["status"]["id"] for s in sandboxes], "ps": [c["status"]["id"] for c in listed]}
    for subcommand, found in ids.items():
        cluster.say(NODE, f"crictl {subcommand} ", says("".join(f"{one}\n" for one in found)))
    # One id prints an object; several print objects in a row.
    cluster.say(NODE, "crictl inspectp", says("\n".join(map(json.dumps, sandboxes))))
    cluster.say(NODE, "crictl inspect ", says("\n".join(map(json.dumps, listed))))
    return cluster


def test_crictl_is_asked_for_the_pod_alone_by_its_labels() -> None:
    cluster = with_crictl(inspectp())
    pod = observed(cluster)
    labels = "--label " + LABELS.format("--label")
    assert node_commands(cluster, "crictl") == [
        f"crictl pods -q --state ready {labels}",
        f"crictl ps -q {labels}",
        f"crictl inspectp {POD}",
        f"crictl inspect {TWO} {ONE}",
    ]
    assert [(c.name, c.pid, c.network_namespace) for c in pod.containers.get()] == [
        ("POD", 700, "/var/run/netns/cni-1"),
        ("container2", 702, "/proc/700/ns/net"),
        ("container1", 701, "/proc/700/ns/net"),
    ]
    assert pod.containers.command == f"crictl ps -q {labels}"
    assert pod.inside.command == "nsenter -t 700 -n ip -j -d addr show"
    assert not {PINNED} & pod.inodes.get().keys()


def test_crictl_1_31_prints_a_list_for_several() -> None:
    cluster = with_crictl(inspectp())
    listed = [inspect(TWO, "container2", 702), inspect(ONE, "container1", 701)]
    cluster.say(NODE, "crictl inspect ", says(json.dumps(listed)))
    assert len(observed(cluster).containers.get()) == 3


def test_a_pause_process_that_cri_o_dropped() -> None:
    path = "/var/run/netns/f3cf"
    containers = [inspect(ONE, "container1", 701, path), inspect(TWO, "container2", 702, path)]
    cluster = with_crictl(inspectp(pid=None, path=path), containers=containers)
    argv = f"stat -Lc '%n %i' /proc/1/ns/net /proc/701/ns/net /proc/702/ns/net {path}"
    cluster.say(NODE, "stat", says(f"/proc/1/ns/net 5\n/proc/701/ns/net 6\n/proc/702/ns/net 6\n{path} 6\n"))
    inside = "nsenter --net=/proc/1/root/run/netns/f3cf ip -j -d addr show"
    cluster.say(NODE, inside, says(json.dumps(pod_addresses(PAUSE))))
    pod = observed(cluster)
    assert node_commands(cluster, "stat") == [argv]
    assert pod.inodes.get() == {1: 5, PINNED: 6, 701: 6, 702: 6}
    assert pod.inside.command == inside
    assert pod.inside.get()[1].name == "eth0"


def test_a_dropped_pause_process_whose_namespace_is_nowhere() -> None:
    cluster = with_crictl(inspectp(pid=None, path="/proc/9/ns/net"))
    pod = observed(cluster)
    assert "the sandbox aaaaaaaaaaaa of pod pod-pause has no process" in pod.inside.failure
    assert "crictl inspectp aaaaaaaaaaaa" in pod.inside.advice
    assert pod.inodes.get().keys() == {1, 701, 702}


def test_crictl_lists_nothing() -> None:
    cluster = with_crictl(containers=[])
    assert observed(cluster).containers.get() == ()
    assert not cluster.ran("crictl inspect")


def test_containers_without_a_sandbox() -> None:
    cluster = with_crictl()
    assert [c.name for c in observed(cluster).containers.get()] == ["container2", "container1"]
    assert not cluster.ran("crictl inspectp")


@pytest.mark.parametrize(
    ("command", "answer", "failure"),
    [
        ("crictl pods", says("", "crictl: not found\n", 127), "crictl is not installed on k8s-node1"),
        ("crictl pods", NodeUnreachable("k8s-node1 is gone"), "k8s-node1 is gone"),
        ("crictl ps", says("", "rpc error\n", 1), "rpc error"),
        ("crictl inspectp", says("", "not found\n", 1), "`crictl` exited with status 1: not found"),
        ("crictl inspectp", says(""), "unreadable output: crictl inspectp: nothing was printed"),
        ("crictl inspect ", says(json.dumps([{}])), "unreadable output: crictl inspect"),
    ],
)
def test_a_crictl_that_fails(command: str, answer: Any, failure: str) -> None:
    cluster = with_crictl(inspectp())
    cluster.say(NODE, command, answer)
    pod = observed(cluster)
    for reading in (pod.containers, pod.inside, pod.inodes):
        assert failure in reading.failure
        assert reading.advice


def test_each_node_has_its_own_runtime() -> None:
    cluster = with_crictl(inspectp())
    cluster.runtimes = {NODE: "oci"}
    assert observed(cluster).containers.command.startswith("crun ")
