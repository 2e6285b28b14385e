"""Calico on its way to being ready: what is waited for, and what is said when it does not come."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

import pytest

from pytest_k8snet.clusters.api.client import Api
from pytest_k8snet.clusters.base import ClusterError, Deadline
from pytest_k8snet.clusters.kind import calico, rollout
from pytest_k8snet.intent import Intent
from tests.clusters.kind import bench
from tests.clusters.kind.bench import CONTROLLERS, MANIFEST, NODES, settled
from tests.clusters.kind.machine import Machine
from tests.clusters.kind.tools import made_node
from tests.fakeapi import FakeCluster, crash_loop


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with bench.cluster() as fake:
        yield fake


@pytest.fixture
def api(machine: Machine, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Of a cluster whose nodes are there and as Calico should leave them."""
    bench.furnish(machine, fake)
    machine.answer_at_once(monkeypatch)
    monkeypatch.setattr(rollout, "LISTENING", 1)
    with machine.changed() as state:
        for name in NODES:
            state["containers"].append(made_node("demo", name.removeprefix("demo-")) | settled(name))
    with Api.connect(fake.kubeconfig(machine.folder / "config"), "fake") as api:
        yield api


def bodies(text: str = "") -> list[calico.Object]:
    return calico.edited(
        calico.parse(text or MANIFEST.read_text(), "calico.yaml"), "calico.yaml", Intent(), "eth1"
    )


def rolled_out(api: Api, intent: Intent | None = None, seconds: float = 10.0) -> list[str]:
    steps: list[str] = []
    rollout.create(api, bodies(), steps.append)
    rollout.wait(api, list(NODES), intent or Intent(), Deadline(seconds), steps.append)
    return steps


def refused(api: Api, intent: Intent | None = None, seconds: float = 0.5) -> str:
    with pytest.raises(ClusterError) as error:
        rolled_out(api, intent, seconds)
    assert "\n" not in str(error.value)
    return str(error.value)


def change(machine: Machine, node: str, **what: Any) -> None:
    with machine.changed() as state:
        (found,) = [each for each in state["containers"] if each["Name"] == node]
        found |= what


def unsettled(machine: Machine, node: str) -> str:
    """What ends the wait for ``node``, where nothing changes any more."""
    with machine.changed() as state:
        state["becomes"] = {}
    others = {name: [IPv4Network(block)] for name, (_, block) in NODES.items() if name != node}
    with pytest.raises(ClusterError) as error:
        rollout._settled(node, others, Intent(), Deadline(0.05))
    return str(error.value)


def test_ready(api: Api, fake: FakeCluster) -> None:
    steps = rolled_out(api)
    assert steps == [
        "creating Calico's 7 objects",
        "waiting for Calico's pods",
        "waiting for the nodes to be Ready",
        "waiting for routes between the nodes",
    ]
    assert fake.store.get("daemonsets.apps", "calico-node", "kube-system")
    assert rolled_out(api) == steps  # what is there is not made again


@pytest.mark.parametrize("key", ["not-ready", "network-unavailable"])
def test_a_new_nodes_taints_go_after_it_is_ready(api: Api, fake: FakeCluster, key: str) -> None:
    """With them a worker would be one that can't run the labs' pods, and whole labs would be skipped."""

    def tainted(key: str) -> None:
        taints = [{"key": key, "effect": "NoExecute"}]
        fake.store.patch("nodes", "demo-worker", "", {"spec": {"taints": taints}})

    tainted(f"node.kubernetes.io/{key}")
    assert "nodes demo-control-plane, demo-worker, demo-worker2 Ready and without" in refused(api)
    tainted("example.com/mine")
    rolled_out(api)


def test_a_tunnel_comes_while_it_is_listened_for(api: Api, machine: Machine) -> None:
    change(machine, "demo-worker", routes=[])
    rolled_out(api)


# Calico's way to being ready


def test_an_image_of_calicos_that_the_nodes_can_not_have(api: Api, fake: FakeCluster) -> None:
    fake.kubelet.without_image("quay.io/calico/node*")
    said = refused(api, seconds=10.0)
    assert said.startswith("Calico: pod calico-node-")
    # kubelet goes from the one to the other and back.
    states = ("ErrImagePull", "ImagePullBackOff")
    assert any(f"image quay.io/calico/node:v3.32.1 can't be had ({state})" in said for state in states)
    assert "; `docker pull quay.io/calico/node:v3.32.1` or `docker load` it first, or name a manifest" in said


def test_an_api_that_does_not_serve_what_the_manifest_has(api: Api) -> None:
    newer = MANIFEST.read_text().replace("apiextensions.k8s.io/v1", "apiextensions.k8s.io/v7")
    with pytest.raises(ClusterError) as error:
        rollout.create(api, bodies(newer), lambda step: None)
    assert str(error.value) == (
        "Calico's CustomResourceDefinition ippools.crd.projectcalico.org: this Kubernetes serves no"
        " apiextensions.k8s.io/v7; choose another Calico with --k8snet-calico-version, or another Kubernetes"
        " with --k8snet-profile or --kind-image"
    )


def test_an_object_that_the_api_refuses(api: Api, fake: FakeCluster) -> None:
    fake.fail("POST", "/apis/apps/v1/namespaces/kube-system/daemonsets", status=422)
    assert refused(api).startswith("Calico's DaemonSet calico-node: the API refuses it: ")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            {"interfaces": {}},
            "tunl0 is not there: has the kernel that Docker runs on no ipip?"
            " (docker exec demo-worker ip addr show tunl0) (--k8snet-timeout)",
        ),
        ({"interfaces": {"tunl0": ""}}, "tunl0 has no address (docker exec demo-worker ip addr show tunl0)"),
        (
            {"interfaces": {"tunl0 down": "20.0.0.1"}},
            "tunl0 is down (docker exec demo-worker ip addr show tunl0)",
        ),
        ({"routes": []}, "no route to demo-control-plane's block 20.108.82.192/26 on tunl0 (docker exec"),
        (
            settled("demo-worker", **{"demo-worker2": "eth1"}),
            "20.109.131.0/26 on tunl0, but on eth1 (docker exec",
        ),
    ],
)
def test_a_node_without_its_tunnel(api: Api, machine: Machine, state: dict[str, Any], words: str) -> None:
    change(machine, "demo-worker", **state)
    said = unsettled(machine, "demo-worker")
    assert said.startswith("demo-worker: ")
    assert words in said


def test_what_a_node_prints_is_not_understood(api: Api, machine: Machine) -> None:
    change(machine, "demo-worker", routes={"not": "a list"})
    assert unsettled(machine, "demo-worker").startswith("demo-worker: ip -j route")


def test_within_one_subnet_cross_subnet_takes_the_uplink(api: Api, machine: Machine) -> None:
    change(machine, "demo-worker", **settled("demo-worker", **{"demo-worker2": "eth1"}))
    rolled_out(api, Intent(encapsulation="ipip-cross-subnet"))


def test_without_encapsulation_there_is_no_tunnel_to_wait_for(api: Api, machine: Machine) -> None:
    change(machine, "demo-worker", interfaces={}, routes=[])
    rolled_out(api, Intent(encapsulation="none"))


def test_calico_does_not_become_ready(api: Api, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pod, node, reason, and the last words of its log."""
    fake.kubelet.let("calico-node-*", crash_loop(calico.NODE))
    monkeypatch.setattr(rollout, "_last_words", lambda api, pod: "Failed to reach API server")
    said = refused(api)
    assert said.startswith("Calico did not become ready in time (--k8snet-timeout): calico-node-")
    assert "CrashLoopBackOff" in said
    assert said.endswith("it said last: Failed to reach API server")


def test_last_words(api: Api, fake: FakeCluster) -> None:
    """Of the container that is not ready; an init container that ended well has nothing to say."""
    fake.log("kube-system", CONTROLLERS, "calico-kube-controllers", b"line\n")
    done = {"name": "install-cni", "ready": False, "state": {"terminated": {"exitCode": 0}}}
    runs = {"name": "calico-kube-controllers", "ready": False, "state": {"running": {}}}
    status = {"initContainerStatuses": [done], "containerStatuses": [runs]}
    assert rollout._last_words(api, {"metadata": {"name": CONTROLLERS}, "status": status}) == "line"
    assert rollout._last_words(api, {"metadata": {"name": CONTROLLERS}}) == ""


def test_pods_that_never_come(api: Api, fake: FakeCluster) -> None:
    fake.store.remove("pods", CONTROLLERS, "kube-system")
    assert refused(api).endswith("(--k8snet-timeout): not all of its pods are there")


def test_a_node_without_a_block(api: Api, fake: FakeCluster) -> None:
    fake.store.remove("blockaffinities", "demo-worker2")
    assert refused(api).startswith(
        "an address block of Calico's for each of demo-control-plane, demo-worker, "
    )
