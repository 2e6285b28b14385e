"""A real dockerd and, where it is installed, the real kind: as far as they go without a node image."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pytest_k8snet.clusters.asked import Asked, KindOptions
from pytest_k8snet.clusters.base import ClusterError, Deadline
from pytest_k8snet.clusters.kind import network, node_images, preflight, provider
from pytest_k8snet.clusters.kind.daemon import docker, inspected, node_containers
from pytest_k8snet.clusters.kind.host import routes
from pytest_k8snet.clusters.kind.kind_tool import KindFailed
from pytest_k8snet.intent import Intent
from tests.engines.dockerd import Dockerd

NODES = ("demo-control-plane", "demo-worker")


@pytest.fixture(autouse=True)
def docker_host(dockerd: Dockerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dockerd.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def asked(kind: str = "") -> Asked:
    options = KindOptions(name="demo", image="kindest/node:v1.32.2", kind=Path(kind) if kind else None)
    return Asked(kind=options, timeout=60.0)


def left() -> tuple[list[str], list[network.Underlay], list[Path]]:
    return node_containers("demo"), network.ours(), list(Path.cwd().iterdir())


def test_the_second_network_is_the_nodes_eth1(dockerd: Dockerd) -> None:
    try:
        image = dockerd.tools
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    docker("network", "create", "kind")
    subnet = network.free_range(network.taken(routes(), []))
    underlay = network.create("demo", "1234abcd", subnet, kubeconfig=Path("kubeconfig"), keep=False)
    try:
        for node in NODES:
            labels = ("--label", "io.x-k8s.kind.cluster=demo")
            mark = ("--volume", "/dev/null:/k8snet/1234abcd:ro")
            docker("run", "-d", "--name", node, "--net", "kind", *labels, *mark, image, "sleep", "1000")
        assert network.ours() == [underlay]
        assert not underlay.abandoned
        assert network.nodes_of(underlay) == list(NODES)
        found = network.connect(underlay, NODES)
        assert found == {node: subnet[21 + number] for number, node in enumerate(NODES)}
        assert all(isinstance(address, IPv4Address) for address in found.values())
    finally:
        for node in node_containers("demo"):
            docker("rm", "-f", "-v", node)
        network.remove(underlay)
        docker("network", "rm", "kind")
    assert left() == ([], [], [])


def test_preflight_speaks_with_it() -> None:
    findings = preflight.findings(asked(), Intent())
    assert not [finding for finding in findings if finding.startswith("Docker")]
    assert left() == ([], [], [])


def test_an_image_that_nobody_has() -> None:
    with pytest.raises(
        ClusterError, match=r"^image no\.invalid/image:1 is not on this machine and can't be pulled: "
    ):
        node_images.pull(["no.invalid/image:1"], Deadline(60.0), lambda step: None, "")
    assert inspected("image", "no.invalid/image:1") == []


def test_kind_without_its_node_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is pulled before, so that kind finds out itself."""
    kind = shutil.which("kind")
    if kind is None:
        pytest.skip("kind is not installed")

    def nothing(*args: object) -> tuple[Sequence[object], Sequence[str]]:
        return [], []

    monkeypatch.setattr(provider, "_prepared", nothing)
    steps: list[str] = []
    with pytest.raises(KindFailed) as error:
        provider.create(intent=Intent(), asked=asked(kind), progress=steps.append)
    said = str(error.value)
    assert said.startswith(
        'kind create: failed to create cluster: failed to pull image "kindest/node:v1.32.2": '
    )
    assert said.endswith("; `docker pull` or `docker load` it, or name another with --kind-image")
    assert "\n" not in said
    assert "kind: Ensuring node image (kindest/node:v1.32.2)" in steps
    assert "✗ Ensuring node image" in error.value.details
    assert left() == ([], [], [])
