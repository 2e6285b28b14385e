"""Whether Docker answers: what the docker command line prints in each case."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_k8snet.clusters import choose, engine
from pytest_k8snet.clusters.asked import Asked

NONE = "no --k8snet-context, and"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only program on PATH; a test writes what it does."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "docker"


def says(docker: Path, script: str) -> None:
    docker.write_text(f"#!/bin/sh\n{script}\n")
    docker.chmod(0o755)


def test_a_daemon_that_answers(docker: Path) -> None:
    says(docker, "echo '28.2.2 Engine; containerd; runc; docker-init; '")
    assert engine.why_silent() == ""


@pytest.mark.parametrize(
    "script",
    [
        "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 1",
        "echo",  # docker 20.10 prints an empty version and the error, and some wrappers succeed
    ],
)
def test_a_daemon_that_does_not(docker: Path, script: str) -> None:
    says(docker, script)
    assert engine.why_silent() == "no Docker daemon answers"


@pytest.mark.parametrize(
    "script",
    [
        "echo '5.4.2 Podman Engine; Conmon; OCI Runtime (crun); '",  # its socket, by DOCKER_HOST
        # podman-docker's template has no such field
        "echo 'Error: template: version:1:37: can not evaluate field Components in type *define.Version' >&2;"
        " exit 125",
        "echo 'Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg.' >&2; exit 125",
    ],
)
def test_podman_in_dockers_place(docker: Path, script: str) -> None:
    says(docker, script)
    assert engine.why_silent() == "what answers as docker is Podman, which kind can't use as Docker"


def test_no_docker(docker: Path) -> None:
    assert engine.why_silent() == "there is no docker on PATH"


def test_a_docker_that_can_not_be_run(docker: Path) -> None:
    docker.write_text("#!/nowhere/sh\n")
    docker.chmod(0o755)
    assert engine.why_silent() == "docker can't be run (No such file or directory)"


def test_a_daemon_that_hangs(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.05)
    says(docker, "exec /bin/sleep 5")
    assert engine.why_silent() == "docker did not answer within 0.05 seconds"


@pytest.mark.parametrize(
    ("asked", "real", "script", "chosen"),
    [
        (
            "auto",
            Asked(),
            "echo 20.10.24",
            ("kind", f"auto: {NONE} a Docker daemon answers"),
        ),
        ("auto", Asked(), "exit 1", ("embedded", f"auto: {NONE} no Docker daemon answers")),
        ("auto", Asked(context="lab"), "echo 20.10.24", ("kubeconfig", "context lab")),
        ("embedded", Asked(), "echo 20.10.24", ("embedded", "as asked")),
        # Named by the user: no falling back, what is missing is told by its preflight.
        ("kind", Asked(), "exit 1", ("kind", "as asked")),
        ("kubeconfig", Asked(context="lab"), "exit 1", ("kubeconfig", "context lab")),
    ],
)
def test_the_provider_that_is_chosen(
    docker: Path, asked: str, real: Asked, script: str, chosen: tuple[str, str]
) -> None:
    says(docker, script)
    assert choose.provider(asked, None, real) == chosen


@pytest.mark.parametrize(
    ("asked", "real", "setting"),
    [
        ("kubeconfig", Asked(), "provider"),
        ("kubeconfig", Asked(kubeconfig=Path("x")), "kubeconfig"),
        ("auto", Asked(kubeconfig=Path("x")), "kubeconfig"),
    ],
)
def test_the_current_context_is_never_taken(asked: str, real: Asked, setting: str) -> None:
    with pytest.raises(choose.NotOffered, match="the current context is never taken") as caught:
        choose.provider(asked, None, real)
    assert caught.value.setting == setting
