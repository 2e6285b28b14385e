"""Sessions that would make a kind cluster and can't: one line, and the machine as it was."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_k8snet import cluster_settings
from pytest_k8snet.clusters.kind import preflight
from tests.clusters.kind import bench, tools
from tests.clusters.kind.bench import MANIFEST, NODES
from tests.clusters.kind.machine import NO_NETWORK, NODE_IMAGE, Machine
from tests.engines import rootfs
from tests.engines.dockerd import Dockerd
from tests.fakeapi import FakeCluster, creating
from tests.sessions.user import Ended, Session, User

NAMED = ("--k8snet-provider=kind", "--cluster-name=demo")
KIND = (*NAMED, f"--k8snet-calico-manifest={MANIFEST}")
SILENT = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with bench.cluster() as fake:
        yield fake


@pytest.fixture
def machine(tmp_path: Path, user: User, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Its Docker is another machine's, whose kernel is nothing that a test could depend on."""
    machine = Machine(tmp_path, monkeypatch)
    with machine.changed() as daemon:
        daemon["info"]["KernelVersion"] = "6.6.87-elsewhere"
    return machine


@pytest.fixture
def at_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.answer_at_once(monkeypatch)


def session_error(ended: Ended) -> str:
    """The one thing that is said where no cluster came up."""
    assert (ended.status, ended.counts) == (1, {"inconclusive": 1})
    assert sum("k8snet: without its cluster the run ends here" in line for line in ended.lines) == 1
    (told,) = ended.told
    return told.removeprefix("INCONCLUSIVE: pause/one-sandbox: ")


def test_no_docker_answers(user: User, machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["silent"] = SILENT
    said = user.run(*KIND).refused
    assert said.startswith("Docker: no Docker daemon answers")
    assert "see `docker version`" in said
    assert machine.left() == []


def test_no_docker(user: User, machine: Machine) -> None:
    (machine.programs / "docker").unlink()
    assert user.run(*KIND).refused.startswith("Docker: there is no docker on PATH; ")


@pytest.mark.usefixtures("at_once")
def test_a_name_that_is_taken(user: User, machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["containers"].append(tools.made_node("demo", "control-plane"))
    assert user.run(*KIND).refused == (
        "--cluster-name: there is a kind cluster demo already, and it is not ours (demo-control-plane):"
        " choose another name, or remove it with `kind delete cluster --name demo`"
    )
    assert machine.left() == ["demo-control-plane"]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("arguments", "image"),
    [((), NODE_IMAGE), (("--kind-image=nonsense",), "nonsense")],
    ids=["none", "wrong"],
)
def test_a_node_image_that_can_not_be_had(
    user: User, machine: Machine, arguments: tuple[str, ...], image: str
) -> None:
    with machine.changed() as daemon:
        daemon["images"] = []
    assert session_error(user.run(*KIND, *arguments)) == (
        f"image {image} is not on this machine and can't be pulled: {NO_NETWORK}; `docker pull {image}` or"
        " `docker load` it, or name another with --kind-image"
    )
    assert machine.left() == []


@pytest.mark.usefixtures("at_once")
def test_workers_of_a_cluster_that_does_not_come_up(user: User, machine: Machine) -> None:
    """pytest-xdist's controller makes it, and starts no worker without."""
    with machine.changed() as daemon:
        daemon["images"] = []
    ended = user.run(*KIND, "-n2")
    assert ended.status == 4
    said = [line for line in (ended.out + ended.err).splitlines() if "can't be pulled" in line]
    assert len(said) == 1
    assert machine.left() == []


@pytest.mark.usefixtures("at_once")
def test_calico_that_does_not_become_ready(
    user: User, machine: Machine, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.furnish(machine, fake)
    fake.kubelet.let("calico-node-*", creating())
    monkeypatch.setattr(cluster_settings, "SHORTEST_TIMEOUT", 1.0)
    said = session_error(user.run(*KIND, "--k8snet-timeout=3"))
    assert said.startswith("Calico did not become ready in time (--k8snet-timeout): calico-node-")
    assert "ContainerCreating" in said
    assert machine.left() == []


def test_interrupted_while_kind_makes_the_nodes(user: User, machine: Machine, fake: FakeCluster) -> None:
    """kind gets the terminal's signal too, and leaves its containers as they are."""
    bench.furnish(machine, fake)
    real = machine.folder / "real"
    real.mkdir()
    shutil.move(machine.programs / "kind", real / "kind")
    interrupt = '[ "$1" != create ] || { kill -INT 0; exec /bin/sleep 60; }'
    machine.program("kind", f'#!/bin/sh\n{real}/kind "$@" || exit\n{interrupt}\n')
    ended = Session(machine.folder / "work", *KIND).end()
    assert ended.status == 2
    assert len(machine.calls("kind", "create")) == 1
    assert machine.left() == []


def test_killed_while_calico_comes(
    user: User, machine: Machine, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run removes what is left, after saying so."""
    bench.furnish(machine, fake)

    def kill(request: object) -> None:
        os.killpg(running[0].process.pid, signal.SIGKILL)

    fake.fail("POST", "*/daemonsets", hook=kill)
    running: list[Session] = []
    running.append(Session(machine.folder / "work", *KIND))
    running[0].end()
    assert set(NODES) <= set(machine.left())
    with machine.changed() as daemon:
        daemon["images"].remove(NODE_IMAGE)
    machine.answer_at_once(monkeypatch)
    ended = user.run(*KIND)
    (said,) = [line for line in ended.lines if "k8snet: removing kind cluster demo, left by" in line]
    assert "a run that was killed (process " in said
    assert machine.left() == []


@pytest.fixture
def docker(dockerd: Dockerd, user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dockerd]:
    """A real one. The kernel of the machine that runs this need not have what a cluster needs."""
    for name, value in dockerd.environment.items():
        monkeypatch.setenv(name, value)
    for what in ("kernel", "room", "cgroups", "ranges"):
        monkeypatch.setattr(preflight, f"_of_{what}", lambda *asked: [])
    before = left(dockerd)
    yield dockerd
    assert left(dockerd) == before
    assert [path.name for path in user.folder.iterdir()] == []


def left(docker: Dockerd) -> list[str]:
    containers = docker.run("ps", "-a", "--format", "{{.Names}}").splitlines()
    networks = docker.run("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}").splitlines()
    return [*containers, *networks]


@pytest.mark.skipif(shutil.which("kind") is None, reason="kind is not installed")
def test_a_real_docker_without_image_and_network(user: User, docker: Dockerd) -> None:
    said = session_error(user.run(*KIND, "--kind-image=no.invalid/node:v1.30.0"))
    assert said.startswith("image no.invalid/node:v1.30.0 is not on this machine and can't be pulled: ")


@pytest.mark.skipif(shutil.which("kind") is None, reason="kind is not installed")
def test_a_real_kind_with_an_image_that_is_no_node(user: User, docker: Dockerd) -> None:
    wrong = "wrong/node:v1.30.0"
    docker.run("import", "--change", 'CMD ["true"]', "-", wrong, stdin=rootfs.archive())
    others = [*bench.LABS, *bench.CALICO, bench.given().images.probe_image]
    try:
        for image in others:
            docker.run("tag", wrong, image)
        said = session_error(user.run(*KIND, f"--kind-image={wrong}"))
    finally:
        docker.run("rmi", "--force", wrong, *others)
    # Why depends on the machine: no systemd in it, or no rights to run one.
    assert said.startswith("kind create: failed to create cluster: ")
    assert "--help" not in said
