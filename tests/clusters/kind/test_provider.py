"""The kind provider from nothing to nothing: docker and kind as programs, the API as a fake server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kind import network, provider, rollout, versions
from pytest_k8snet.clusters.kind.kind_tool import Kind
from pytest_k8snet.clusters.kind.provider import KindKubernetes
from pytest_k8snet.clusters.kube import heartbeat
from pytest_k8snet.clusters.tape import MemoryTape
from pytest_k8snet.clusters.ways.toolbox import ToolNode
from pytest_k8snet.intent import Intent
from tests.clusters.kind import bench, tools
from tests.clusters.kind.bench import CALICO, LABS, MANIFEST, NODES, given
from tests.clusters.kind.machine import NO_NETWORK, Machine
from tests.fakeapi import FakeCluster

REAL_LOAD = Kind.load


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with bench.cluster() as fake:
        yield fake


@pytest.fixture(autouse=True)
def ready(machine: Machine, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.furnish(machine, fake)
    machine.answer_at_once(monkeypatch)
    monkeypatch.setattr(Kind, "load", lambda kind, image, deadline: None)


def opened(intent: Intent | None = None, /, *, steps: list[str] | None = None, **what: Any) -> KindKubernetes:
    return provider.open_cluster(
        tape=MemoryTape(),
        intent=intent or Intent(),
        asked=given(**what),
        progress=(lambda step: None) if steps is None else steps.append,
    )


def created(**what: Any) -> provider.Machines:
    return provider.create(intent=Intent(), asked=given(**what), progress=lambda step: None)


def refused(machine: Machine, intent: Intent | None = None, **what: Any) -> str:
    """The one line that ends it. Nothing is left then."""
    with pytest.raises(ClusterError) as error:
        opened(intent, **what)
    assert machine.left() == []
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_whole_run(machine: Machine, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kind, "load", REAL_LOAD)
    steps: list[str] = []
    with opened(steps=steps) as cluster:
        assert cluster.roles == dict(zip(("master", "node1", "node2"), NODES, strict=True))
        assert cluster.runtimes == dict.fromkeys(NODES, "cri")
        assert cluster.info.provider == "kind"
        assert cluster.info.details["calico"] == "v3.32.1"
        assert cluster.node("node1").run("sh", "-c", "echo here").stdout == b"here\n"
        state = machine.state
        assert sorted(state["loaded"]) == sorted(["docker-image", image] for image in [*CALICO, *LABS])
        (ours,) = [each for each in state["networks"] if each["Labels"]]
        assert ours["IPAM"]["Config"] == [{"Subnet": "192.168.219.0/24"}]
        assert set(ours["Containers"]) == set(NODES)
        assert fake.store.get("daemonsets.apps", "calico-node", "kube-system")
    assert machine.left() == []
    assert cluster.farewell == ""
    assert [step for step in dict.fromkeys(steps) if step] == [
        "making the nodes' second network",
        "kind: Preparing nodes",
        "connecting the nodes to 192.168.219.0/24",
        "copying 7 images into the nodes",
        "creating Calico's 7 objects",
        "waiting for Calico's pods",
        "waiting for the nodes to be Ready",
        "waiting for routes between the nodes",
        "looking at the cluster of context kind-demo",
        f"making namespace {cluster.namespace}",
        "reaching demo-control-plane, demo-worker, demo-worker2",
        "removing kind cluster demo",
    ]
    assert steps[-1] == ""
    cluster.close()
    assert not machine.calls("docker", "pull")


def test_what_was_started_on_the_nodes_ends_with_the_cluster(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The containers of tools hold the nodes' namespaces, also where the nodes stay."""
    closed: list[str] = []
    monkeypatch.setattr(ToolNode, "close", lambda node: closed.append(node.name))
    cluster = opened(kind_keep=True)
    assert closed == []
    cluster.close()
    assert sorted(closed) == sorted(NODES)


def test_kept(machine: Machine) -> None:
    cluster = opened(kind_keep=True)
    kubeconfig = machine.folder / "work" / ".pytest-kind" / "demo" / "kubeconfig"
    cluster.close()
    assert cluster.farewell == (
        f"kept as asked: kind cluster demo (kubeconfig {kubeconfig}); remove it with"
        " `kind delete cluster --name demo && docker network rm kind-k8snet-demo`"
    )
    assert kubeconfig.exists()
    assert set(NODES) <= set(machine.left())
    (underlay,) = network.ours()
    assert underlay.kept


def test_joined_by_another_process_of_the_run(machine: Machine) -> None:
    """pytest-xdist's workers share the one that their controller made."""
    machines = created()
    before = machine.left()
    cluster = provider.open_cluster(
        tape=MemoryTape(),
        intent=Intent(),
        asked=given(),
        progress=lambda step: None,
        join=machines.kubeconfig,
    )
    assert set(cluster.nodes) == set(NODES)
    assert cluster.kubeconfig == machines.kubeconfig
    cluster.close()
    assert machine.left() == before
    assert cluster.farewell == ""
    assert machines.close() == ""
    assert machine.left() == []
    assert machines.close() == ""


def test_a_kubeconfig_of_the_users(machine: Machine) -> None:
    mine = machine.folder / "config"
    machines = created(kind_kubeconfig=mine)
    assert machines.kubeconfig == mine
    machines.close()
    assert not mine.exists()
    assert machine.left() == []


def test_no_node_image_and_no_network(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["images"] = []
    image = versions.pins().node_images[versions.pins().kind]
    assert refused(machine) == (
        f"image {image} is not on this machine and can't be pulled: {NO_NETWORK}; `docker pull"
        f" {image}` or `docker load` it, or name another with --kind-image"
    )
    assert not machine.calls("kind", "create")


@pytest.mark.parametrize(
    ("missing", "option"),
    [
        (CALICO[0], "name a manifest with others with --k8snet-calico-manifest"),
        (LABS[0], "replace it with --k8snet-images agnhost or IMAGE=OTHER"),
        (given().images.probe_image, "name another with --k8snet-probe-image"),
    ],
)
def test_another_image_that_can_not_be_had(machine: Machine, missing: str, option: str) -> None:
    with machine.changed() as daemon:
        daemon["images"].remove(missing)
    assert refused(machine) == (
        f"image {missing} is not on this machine and can't be pulled: {NO_NETWORK}; `docker pull"
        f" {missing}` or `docker load` it, or {option}"
    )


def test_another_run_takes_the_range_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refusals = tools.network, [2]

    def overlapping(daemon: Any, argv: list[str]) -> str:
        if argv[0] == "create" and refusals[0]:
            refusals[0] -= 1
            raise tools.Refusal(
                "Error response from daemon: Pool overlaps with other one on this address space"
            )
        return real(daemon, argv)

    monkeypatch.setattr(tools, "network", overlapping)
    created().close()
    refusals[0] = 3
    assert refused(machine).endswith("Pool overlaps with other one on this address space")


def test_another_run_takes_the_name_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tools.network

    def faster(daemon: Any, argv: list[str]) -> str:
        if argv[0] == "create":
            raise tools.Refusal(
                "Error response from daemon: network with name kind-k8snet-demo already exists"
            )
        return real(daemon, argv)

    monkeypatch.setattr(tools, "network", faster)
    assert refused(machine) == "--cluster-name: another run takes demo at this moment: choose another name"


def test_kind_fails(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["kind"]["create"] = (
            "ERROR: failed to create cluster: failed to init node with kubeadm: exit status 1"
        )
    assert refused(machine) == (
        "kind create: failed to create cluster: failed to init node with kubeadm: exit status 1; too little"
        " memory is the usual cause"
    )


def test_the_name_was_taken_meanwhile(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["containers"].append(tools.made_node("demo", "control-plane"))
    with pytest.raises(
        ClusterError, match=r"^--cluster-name: there is a kind cluster demo already \(demo-control"
    ):
        opened()
    assert machine.left() == ["demo-control-plane"]


def test_what_comes_up_wrong_is_removed(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["uplink"] = "eth2"
    assert "should be on eth1, and is on eth2" in refused(machine, kind_keep=True)


def test_what_can_not_be_removed_is_named(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["uplink"], daemon["kind"]["delete"] = "eth2", "ERROR: failed to delete cluster: no daemon"
    with pytest.raises(ClusterError) as error:
        opened()
    assert str(error.value).endswith(
        "; could not be removed: kind cluster demo: kind delete: failed to delete cluster: no daemon;"
        " remove it with `kind delete cluster --name demo && docker network rm kind-k8snet-demo`"
    )


def test_interrupted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rollout, "create", interrupt)
    with pytest.raises(KeyboardInterrupt):
        opened()
    assert machine.left() == []


def test_a_cluster_that_came_up_and_can_not_be_used(machine: Machine, fake: FakeCluster) -> None:
    fake.fail("POST", "/api/v1/namespaces", status=403)
    assert "namespace k8snet-" in refused(machine)


def test_a_node_that_came_after_the_end(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """kind was killed, and a docker that it had started made one more."""
    real = network.nodes_of
    answers: list[Callable[[network.Underlay], list[str]]] = [real, lambda underlay: ["demo-late"]]
    monkeypatch.setattr(network, "nodes_of", lambda underlay: (answers.pop(0) if answers else real)(underlay))
    created().close()
    assert machine.calls("docker", "rm") == [["docker", "rm", "-f", "-v", "demo-late"]]


def test_calicos_pinned_manifest(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept from an earlier run: nothing is downloaded."""
    content = MANIFEST.read_bytes()
    pin = versions.CalicoPin(
        "3.32.1", "http://127.0.0.1:1/calico.yaml", hashlib.sha256(content).hexdigest(), (1, 25)
    )
    pinned = replace(versions.pins(), calico={"3.32.1": pin})
    monkeypatch.setattr(versions, "pins", lambda: pinned)
    kept = machine.folder / "cache" / "pytest-k8snet" / "calico-3.32.1.yaml"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    created(calico_manifest=None).close()
    kept.unlink()
    assert refused(machine, calico_manifest=None).startswith(
        "Calico 3.32.1's manifest can't be downloaded from http://127.0.0.1:1/calico.yaml: Connection refused"
    )
    assert "'1.1' is not pinned" in refused(machine, calico_manifest=None, calico_version="1.1")


def test_a_manifest_that_went_away(machine: Machine) -> None:
    assert refused(machine, calico_manifest=Path("/no/calico.yaml")) == (
        "--k8snet-calico-manifest: /no/calico.yaml can't be read: No such file or directory"
    )


def test_leftovers_are_removed_first_and_said(machine: Machine) -> None:
    dead = heartbeat.owner() | {"pid": 1, "start": "0"}
    kubeconfig = machine.folder / "work" / ".pytest-kind" / "old" / "kubeconfig"
    kubeconfig.parent.mkdir(parents=True)
    kubeconfig.write_text("{}")
    labels = {
        "io.pytest-k8snet.cluster": "old",
        "io.pytest-k8snet.run": "1234",
        "io.pytest-k8snet.owner": json.dumps(dead),
        "io.pytest-k8snet.kubeconfig": str(kubeconfig),
    }
    with machine.changed() as daemon:
        daemon["networks"].append(tools.made_network("kind-k8snet-old", "192.168.219.0/24", labels))
        daemon["networks"].append(
            tools.made_network(
                "kind-k8snet-alive", "192.168.220.0/24", labels | {"io.pytest-k8snet.owner": "{}"}
            )
        )
        daemon["containers"].append(tools.made_node("old", "control-plane", "/k8snet/1234"))
    steps: list[str] = []
    provider._sweep(machine.programs / "kind", steps.append)
    assert steps[
        0
    ] == f"removing kind cluster old, left by a run that was killed (process 1 on {dead['host']}," + (
        f" since {dead['since']})"
    )
    assert machine.left() == ["kind-k8snet-alive"]


def test_a_leftover_whose_folder_is_gone(machine: Machine) -> None:
    """kind makes the folder of a kubeconfig to lock it, and nobody would remove that."""
    gone = machine.folder / "gone" / ".pytest-kind" / "old" / "kubeconfig"
    labels = {
        "io.pytest-k8snet.cluster": "old",
        "io.pytest-k8snet.run": "1234",
        "io.pytest-k8snet.owner": json.dumps(heartbeat.owner() | {"pid": 1, "start": "0"}),
        "io.pytest-k8snet.kubeconfig": str(gone),
    }
    with machine.changed() as daemon:
        daemon["networks"].append(tools.made_network("kind-k8snet-old", "192.168.219.0/24", labels))
        daemon["containers"].append(tools.made_node("old", "control-plane", "/k8snet/1234"))
    provider._sweep(machine.programs / "kind", lambda step: None)
    assert machine.left() == []
    assert not (machine.folder / "gone").exists()


def test_another_cluster_under_a_leftovers_name_is_not_touched(machine: Machine) -> None:
    labels = {
        "io.pytest-k8snet.cluster": "old",
        "io.pytest-k8snet.run": "1234",
        "io.pytest-k8snet.owner": json.dumps(heartbeat.owner() | {"pid": 1, "start": "0"}),
    }
    with machine.changed() as daemon:
        daemon["networks"].append(tools.made_network("kind-k8snet-old", "192.168.219.0/24", labels))
        daemon["containers"].append(tools.made_node("old", "control-plane"))
    provider._sweep(machine.programs / "kind", lambda step: None)
    assert machine.left() == ["old-control-plane"]
