"""Images on their way into the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import pytest

from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from pytest_k8snet.clusters.images import Images
from pytest_k8snet.clusters.kind import node_images
from pytest_k8snet.clusters.kind.kind_tool import Kind
from tests.clusters.kind import tools
from tests.clusters.kind.machine import NO_NETWORK, Machine

REFUSED = "ERROR: failed to load image: ctr: content digest sha256:0: not found"


@pytest.fixture(autouse=True)
def quick(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.answer_at_once(monkeypatch)


@pytest.fixture
def kind(machine: Machine) -> Kind:
    (machine.folder / "run").mkdir()
    return Kind("demo", machine.programs / "kind", machine.folder / "run", machine.folder / "kubeconfig")


def load(kind: Kind, *images: str) -> list[str]:
    steps: list[str] = []
    node_images.load(kind, images, Deadline(20.0), steps.append)
    return steps


def test_images_are_pulled_once(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["images"], daemon["registry"] = ["a:1"], ["b:1"]
    steps: list[str] = []
    node_images.pull(["a:1", "b:1", "b:1"], Deadline(20.0), steps.append, "")
    node_images.pull(["a:1", "b:1"], Deadline(20.0), steps.append, "")
    assert steps == ["pulling b:1"]
    assert machine.calls("docker", "pull") == [["docker", "pull", "--quiet", "b:1"]]


def test_an_image_that_can_not_be_had() -> None:
    with pytest.raises(ClusterError) as error:
        node_images.pull(["c:1"], Deadline(20.0), lambda step: None, "name another")
    assert str(error.value) == (
        f"image c:1 is not on this machine and can't be pulled: {NO_NETWORK}; `docker pull c:1` or"
        " `docker load` it, or name another"
    )


def test_the_labs_images() -> None:
    assert node_images.of_labs(Images()) == ["kubetm/app", "kubetm/init", "kubetm/p8000", "kubetm/p8080"]
    assert len(node_images.of_labs(Images(agnhost=True))) == 1


def test_a_pull_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(argv: Sequence[str], *, timeout: float) -> NoReturn:
        raise CommandTimeout("docker pull c:1 did not end within 600 s")

    monkeypatch.setattr(node_images, "call", late)
    with pytest.raises(
        ClusterError,
        match=r"^image c:1 is not .* docker pull c:1 did not end within 600 s \(--k8snet-timeout\); `",
    ):
        node_images.pull(["c:1"], Deadline(20.0), lambda step: None, "")


def test_copied_into_the_nodes(machine: Machine, kind: Kind) -> None:
    digest = f"mirror/app@sha256:{'0' * 64}"
    assert load(kind, "a:1", "b:1", "a:1", digest) == ["copying 2 images into the nodes"]
    assert sorted(machine.state["loaded"]) == [["docker-image", "a:1"], ["docker-image", "b:1"]]
    assert load(kind, digest) == []


def test_images_of_several_platforms(machine: Machine, kind: Kind) -> None:
    """As Docker's containerd image store saves them, containerd in the nodes refuses them (kind#3795)."""
    with machine.changed() as state:
        state["kind"]["load"] = REFUSED
    load(kind, "a:1")
    assert machine.state["loaded"] == [["image-archive", "a:1"]]
    assert machine.calls("docker", "save", "--platform")
    assert not list(kind.folder.iterdir())


def test_images_that_can_not_be_copied(machine: Machine, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    def old(argv: list[str]) -> str:
        raise tools.Refusal("unknown flag: --platform")

    monkeypatch.setattr(tools, "save", old)
    with machine.changed() as state:
        state["kind"]["load"] = REFUSED
    with pytest.raises(ClusterError) as error:
        load(kind, "a:1", "b:1", "c:1", "d:1")
    said = str(error.value)
    assert said.startswith(
        "image a:1 can't be copied into the nodes: kind load: failed to load image: ctr: content"
    )
    assert "; nor its linux/" in said
    assert said.endswith("unknown flag: --platform")
