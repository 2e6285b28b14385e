"""Nodes that are Docker containers: a fake docker for what Docker refuses, a real one for the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_k8snet.clusters.base import ClusterError, NodeUnreachable
from pytest_k8snet.clusters.ways import docker
from pytest_k8snet.clusters.ways.docker import CaptureContainer, have_image, remove_leftovers
from pytest_k8snet.clusters.ways.remote import NoShell, run, spawn
from tests.clusters.test_remote import fails
from tests.engines.dockerd import Dockerd

IMAGE = "nicolaka/netshoot:v0.15"


class FakeDocker:
    """The only docker on PATH; ``says`` what it does for the words it is given, ``asked`` those."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "docker"
        self.log = folder / "asked"
        self.cases = ""
        self.says("*", "exit 0")

    def says(self, words: str, script: str) -> None:
        self.cases = f"{words}) {script};;\n{self.cases}"
        self.program.write_text(f'#!/bin/sh\necho "$*" >> {self.log}\ncase "$*" in\n{self.cases}esac\n')
        self.program.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return FakeDocker(tmp_path)


def test_an_image_that_is_there_is_not_pulled(fake: FakeDocker) -> None:
    have_image(IMAGE)
    assert fake.asked == [f"image inspect --format={{{{.Id}}}} {IMAGE}"]


def test_an_image_is_pulled_and_said_so(fake: FakeDocker) -> None:
    fake.says("'image inspect'*", f"echo 'Error: No such image: {IMAGE}' >&2; exit 1")
    steps: list[str] = []
    have_image(IMAGE, steps.append)
    assert steps == [f"pull {IMAGE}", ""]
    assert fake.asked[1:] == [f"pull --quiet {IMAGE}"]


def test_an_image_that_can_not_be_had(fake: FakeDocker) -> None:
    fake.says("'image inspect'*", f"echo 'Error response from daemon: No such image: {IMAGE}' >&2; exit 1")
    fake.says("pull*", "echo 'Error response from daemon: dial tcp: no such host' >&2; exit 1")
    steps: list[str] = []
    with fails(
        ClusterError,
        f"image {IMAGE} (captures on the nodes) is not on this machine and can't be pulled: Error response "
        f"from daemon: dial tcp: no such host; `docker pull {IMAGE}` or `docker load` it, or name another "
        "with --k8snet-probe-image",
    ):
        have_image(IMAGE, steps.append)
    assert steps[-1] == ""


def test_a_pull_that_hangs(fake: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "PULLING", 0.2)
    fake.says("'image inspect'*", "echo 'Error: No such image: x' >&2; exit 1")
    fake.says("pull*", "exec sleep 60")
    with pytest.raises(
        ClusterError, match=r"can't be pulled: docker pull .* did not end within 0.2 s; it said"
    ):
        have_image(IMAGE)


def test_a_daemon_that_does_not_answer(fake: FakeDocker) -> None:
    fake.says("*", "echo 'Cannot connect to the Docker daemon. Is it running?' >&2; exit 1")
    said = "Cannot connect to the Docker daemon. Is it running?"
    with fails(ClusterError, f"Docker can't be asked for image {IMAGE}: {said}"):
        have_image(IMAGE)
    with fails(ClusterError, f"Docker's containers can't be listed: {said}"):
        remove_leftovers()
    with fails(
        NodeUnreachable,
        "ip on k8s-node1 could not be started: the way there ended with exit status 1; its last words: "
        + said,
    ):
        run(docker.access("k8s-node1"), ["ip"], timeout=10)


def test_a_container_that_is_not_let_in(fake: FakeDocker) -> None:
    fake.says(
        "run*",
        "echo 'WARNING: swap is not limited' >&2; "
        "echo 'docker: Error response from daemon: No such container: k8s-node1' >&2; "
        "echo \"Run 'docker run --help' for more information\" >&2; exit 125",
    )
    with fails(
        ClusterError,
        f"no container of image {IMAGE} could be started beside k8s-node1: Error response from daemon: No "
        "such container: k8s-node1; see `docker ps`, or name another image with --k8snet-probe-image",
    ):
        CaptureContainer("k8s-node1", IMAGE, run_id="1a2b")


def test_a_container_that_does_not_come_up(fake: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "STARTING", 0.2)
    fake.says("run*", "exec cat")
    with pytest.raises(
        ClusterError, match=r"beside k8s-node1: it was not up within 0.2 s; it said nothing; see"
    ):
        CaptureContainer("k8s-node1", IMAGE, run_id="1a2b")


def test_leftovers(fake: FakeDocker) -> None:
    assert remove_leftovers() == []
    fake.says("'container ls'*", "echo k8snet-a-1; echo k8snet-b-1")
    assert remove_leftovers() == ["k8snet-a-1", "k8snet-b-1"]
    assert fake.asked == [
        "container ls --all --filter=label=io.pytest-k8snet.run --filter=status=exited --filter=status=dead "
        "--format={{.Names}}"
    ] * 2 + ["container rm --force k8snet-a-1 k8snet-b-1"]
    fake.says("'container rm'*", "echo 'Error response from daemon: device busy' >&2; exit 1")
    with fails(
        ClusterError,
        "containers of an earlier run can't be removed: Error response from daemon: device busy; "
        "`docker rm --force k8snet-a-1 k8snet-b-1`",
    ):
        remove_leftovers()


def test_no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with fails(ClusterError, "docker is not on PATH of this machine: install it"):
        remove_leftovers()


#: This machine may lack a capability itself (a container of CI does), and Docker can't give what it has not.
UNPRIVILEGED = """#!/bin/sh
for word; do
  shift
  if [ "$word" = --privileged ]; then set -- "$@" --cap-add=NET_ADMIN; word=--cap-add=NET_RAW; fi
  set -- "$@" "$word"
done
PATH=${PATH#*:}; exec docker "$@"
"""


@pytest.fixture
def engine(dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dockerd:
    """docker on PATH leads to the engine of the tests."""
    (tmp_path / "docker").write_text(UNPRIVILEGED)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in dockerd.environment.items():
        monkeypatch.setenv(name, value)
    return dockerd


@pytest.fixture
def node(engine: Dockerd) -> Iterator[str]:
    """A container with a network namespace and an address of its own, as a kind node is one."""
    name = engine.sandbox("pod-node")
    yield name
    engine.run("rm", "--force", name)


def test_a_command_in_a_node(node: str) -> None:
    argv = ("sh", "-c", "cat; hostname; exit 3")
    result = run(docker.access(node, place="k8s-node1"), argv, timeout=20, stdin=b"\0")
    assert (result.exit_status, result.stdout) == (3, b"\0pod-node\n")
    assert run(docker.access(node), ["no-such-tool"], timeout=20).exit_status == 127


def test_a_command_that_is_killed(node: str, engine: Dockerd) -> None:
    running = spawn(docker.access(node), ["sh", "-c", "echo up >&2; sleep 71; true"])
    running.wait_for(b"up", 20)
    assert running.kill()
    running.release()
    assert "sleep 71" not in engine.run("top", node)


def test_a_node_that_is_not_there(engine: Dockerd) -> None:
    with fails(
        NodeUnreachable,
        "ip on k8s-node9 could not be started: the way there ended with exit status 1; its last words: "
        "Error response from daemon: No such container: k8s-node9",
    ):
        run(docker.access("k8s-node9"), ["ip"], timeout=20)


def test_a_node_without_a_shell(engine: Dockerd) -> None:
    name = engine.sandbox("pod-bare")
    run(docker.access(name), ["rm", "/bin/sh"], timeout=20)
    with pytest.raises(
        NoShell, match="has no shell `sh`, by which commands are started: its last words: OCI"
    ):
        run(docker.access(name), ["ls"], timeout=20)
    engine.run("rm", "--force", name)


def test_a_capture_beside_a_node(node: str, engine: Dockerd) -> None:
    tools = CaptureContainer(node, engine.tools, run_id="1a2b")
    try:
        # What tcpdump asks of the image: a root to stay.
        run(tools, ["sh", "-c", "echo root:x:0:0::/:/bin/sh > /etc/passwd"], timeout=20)
        label = engine.run(
            "inspect", "--format", '{{index .Config.Labels "io.pytest-k8snet.run"}}', tools.name
        )
        assert label == "1a2b"
        assert run(tools, ["ip", "link", "set", "lo", "up"], timeout=20).exit_status == 0
        capture = spawn(
            tools, ["tcpdump", "-i", "lo", "-nn", "-U", "--immediate-mode", "-Z", "root", "-w", "-"]
        )
        capture.wait_for(b"listening on", 20)
        ping = run(docker.access(node), ["ping", "-c", "1", "127.0.0.1"], timeout=20)  # by the node
        assert ping.exit_status == 0, ping
        capture.catch_up(lambda report: not report.startswith(b"tcpdump: 0 packets"), 20)
        result = capture.stop()
    finally:
        tools.close()
        tools.close()
    assert b"0 packets dropped by kernel" in result.stderr
    assert result.stdout.startswith(b"\xd4\xc3\xb2\xa1")
    assert len(result.stdout) > 100
    assert tools.name not in engine.run("ps", "--all")
    assert remove_leftovers() == []


def test_it_ends_with_a_run_that_is_killed(node: str, engine: Dockerd) -> None:
    script = (
        "import os, sys; from pytest_k8snet.clusters.ways.docker import CaptureContainer;"
        "held = CaptureContainer(sys.argv[1], sys.argv[2], run_id='3c4d'); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", script, node, engine.tools], check=False)
    assert died.returncode == -9
    name = f"k8snet-{node}-3c4d"
    # Returns at its end; that it is gone already is an error, which is as good.
    subprocess.run(["docker", "wait", name], capture_output=True, timeout=20, check=False)
    assert engine.run("ps", "--quiet", "--filter", f"name={name}") == ""
