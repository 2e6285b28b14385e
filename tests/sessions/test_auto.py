"""Which provider serves a run that names none: a context first, then Docker, then the reference network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clusters.kind.machine import Machine
from tests.fakeapi import FakeCluster
from tests.sessions.user import User

EMBEDDED = "k8snet: provider embedded (auto: no --k8snet-context, and {})"


@pytest.fixture
def machine(tmp_path: Path, user: User, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def provider(user: User, *arguments: str) -> str:
    (line,) = [line for line in user.run("--co", *arguments).lines if line.startswith("k8snet: provider ")]
    return line


def test_a_context_that_is_named(user: User, machine: Machine, fake: FakeCluster) -> None:
    assert user.judge(fake, "--co").lines[2:3] == ["k8snet: provider kubeconfig (context fake)"]


def test_docker_that_answers(user: User, machine: Machine) -> None:
    assert provider(user) == "k8snet: provider kind (auto: no --k8snet-context, and a Docker daemon answers)"


def test_the_current_context_is_never_taken(
    user: User, machine: Machine, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(fake.kubeconfig(user.folder / "kubeconfig")))
    assert provider(user).startswith("k8snet: provider kind (")
    assert fake.faults.log == []


def test_no_docker_that_answers(user: User, machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["silent"] = "Cannot connect to the Docker daemon"
    assert provider(user).startswith(EMBEDDED.format("no Docker daemon answers")[:-1])


def test_no_docker(user: User, machine: Machine) -> None:
    (machine.programs / "docker").unlink()
    assert provider(user) == EMBEDDED.format("there is no docker on PATH")


def test_one_that_is_named_never_falls_back(user: User, machine: Machine) -> None:
    (machine.programs / "docker").unlink()
    assert user.run("--k8snet-provider=kind").refused.startswith("Docker: there is no docker on PATH")
