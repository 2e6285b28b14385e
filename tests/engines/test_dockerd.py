"""The fixture itself: what tests may build on, and that nothing of it is left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.engines.dockerd import Dockerd, why_not


def test_pods_as_the_kubelet_makes_them(dockerd: Dockerd) -> None:
    sandbox = dockerd.sandbox("pod-fixture")
    one = dockerd.container("pod-fixture", "container1", sandbox, 8000)
    mode = dockerd.run("inspect", "--format", "{{.HostConfig.NetworkMode}}", one)
    assert mode == f"container:{sandbox}"
    answer = dockerd.run("exec", one, "wget", "-q", "-O", "-", "http://127.0.0.1:8000/hostname")
    assert answer == "Hostname : pod-fixture"
    dockerd.run("rm", "--force", one, sandbox)


def test_an_image_with_tools(dockerd: Dockerd) -> None:
    said = dockerd.run("run", "--rm", "--network", "host", dockerd.tools, "tcpdump", "--version")
    assert "libpcap" in said


def test_nothing_is_left() -> None:
    if reason := why_not():
        pytest.skip(reason)
    engine = Dockerd()
    folder = engine.folder
    sandbox = engine.sandbox("pod-left")
    pid = engine.run("inspect", "--format", "{{.State.Pid}}", sandbox)
    assert subprocess.run((*engine.inside, "kill", "-0", pid), check=False).returncode == 0
    engine.close()
    assert not folder.exists()
    assert str(folder) not in Path("/proc/self/mounts").read_text()
    assert not list(Path("/sys/fs/cgroup").rglob(folder.name))
