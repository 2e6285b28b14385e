"""The programs of a machine as processes: found, asked, heard."""

from __future__ import annotations

import pytest

from pytest_k8snet.clusters.kind import preflight, provider
from pytest_k8snet.intent import Intent
from tests.clusters.kind.machine import Machine, asked


def found(machine: Machine) -> list[str]:
    return preflight.findings(asked(), Intent(), host=machine.kernel)


def only(findings: list[str]) -> str:
    (finding,) = findings
    return finding


def test_nothing_is_in_the_way(machine: Machine) -> None:
    assert found(machine) == []


def test_the_providers_entry_point_reads_this_machine(machine: Machine) -> None:
    assert all("\n" not in finding for finding in provider.preflight(asked(), Intent()))


@pytest.mark.parametrize(
    ("silence", "words"),
    [
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
            "Is the docker daemon running?",
        ),
        ("permission denied while trying to connect to the Docker daemon socket", "permission denied"),
    ],
)
def test_no_daemon_answers(machine: Machine, silence: str, words: str) -> None:
    with machine.changed() as daemon:
        daemon["silent"] = f"{silence} Is the docker daemon running?"
    assert only(found(machine)).startswith(f"Docker: no Docker daemon answers: {silence}")
    assert words in only(found(machine))


def test_no_docker_at_all(machine: Machine) -> None:
    (machine.programs / "docker").unlink()
    machine.file("proc/modules", "")
    docker, ipip = found(machine)
    assert docker == "Docker: there is no docker on PATH; start it, or see `docker version`"
    assert "`modprobe ipip`" in ipip


def test_a_kind_that_is_none(machine: Machine) -> None:
    machine.program("kind", "#!/bin/sh\necho hello\n")
    finding = only(found(machine))
    assert finding == f"`{machine.programs}/kind --version` says no version of kind but 'hello'"
