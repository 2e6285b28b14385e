"""A machine for tests of the kind provider: its programs, its Docker daemon, its kernel's files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters import engine
from pytest_k8snet.clusters.asked import Asked, KindOptions
from pytest_k8snet.clusters.base import ClusterError, CommandResult
from pytest_k8snet.clusters.kind import daemon, downloads, host, node_images
from pytest_k8snet.clusters.kind.versions import pins
from tests.clusters.kind import tools

SAMPLES = Path(__file__).parent / "samples"  #: as docker 28 and kind 0.27 print them, shortened
NODE_IMAGE = pins().node_images[pins().kind]
NO_NETWORK = (
    'Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup'
    " registry-1.docker.io: network is unreachable"
)
FILES = {
    "proc/modules": "ipip 16384 0 - Live 0x0\nnf_tables 315392 1 - Live 0x0\n",
    "proc/meminfo": "MemTotal:       16384000 kB\nMemFree:  1000 kB\nMemAvailable:   12000000 kB\n",
    "proc/sys/fs/inotify/max_user_instances": "512\n",
    "proc/sys/fs/inotify/max_user_watches": "124983\n",
}


#: Whose ``call`` runs programs of the machine.
CALLERS = (daemon, downloads, host, node_images)


class Machine:
    """``PATH`` holds its docker, kind and ip alone. All is well until a test says otherwise."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        source = Path(tools.__file__).read_text()
        for name in ("docker", "kind", "ip"):
            self.program(name, f"#!{sys.executable} -IS\n{source}")
        self._file = folder / "daemon.json"
        self._file.write_text(json.dumps(self._at_first()))
        self.root = folder / "root"
        for path, text in FILES.items():
            self.file(path, text)
        (folder / "work").mkdir()
        monkeypatch.chdir(folder / "work")
        monkeypatch.setenv("PATH", f"{self.programs}:{folder / 'sh'}")
        (folder / "sh").mkdir()
        (folder / "sh" / "sh").symlink_to("/bin/sh")
        monkeypatch.setenv(tools.STATE, str(self._file))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for variable in ("DOCKER_HOST", "KIND_EXPERIMENTAL_DOCKER_NETWORK"):
            monkeypatch.delenv(variable, raising=False)

    def answer_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Programs that only say something are called as functions: a hundred times as fast as processes."""

        def call(argv: Sequence[str], *, timeout: float) -> CommandResult:
            program = self.programs / Path(argv[0]).name
            if not program.exists():
                raise ClusterError(f"{argv[0]} is not on PATH of this machine: install it")
            status, said, complained = tools.run(program.name, list(argv[1:]))
            return CommandResult(tuple(argv), status, said.encode(), complained.encode())

        def why_silent() -> str:
            return "no Docker daemon answers" if self.state["silent"] else ""

        for module in CALLERS:
            monkeypatch.setattr(module, "call", call)
        monkeypatch.setattr(engine, "why_silent", why_silent)

    @property
    def kernel(self) -> host.Host:
        return host.Host(self.root, "6.1.0-37-amd64")

    @property
    def state(self) -> Any:
        return json.loads(self._file.read_text())

    @contextmanager
    def changed(self) -> Iterator[Any]:
        """The daemon's state, to be changed."""
        with tools.state() as state:
            yield state

    def program(self, name: str, text: str) -> Path:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def file(self, path: str, text: str) -> None:
        """One of the kernel's files; the text of one that should not be there is empty."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def calls(self, *beginning: str) -> list[list[str]]:
        return [call for call in self.state["calls"] if call[: len(beginning)] == list(beginning)]

    def left(self) -> list[str]:
        """What stands on the machine that a run should have removed."""
        state = self.state
        names = [each["Name"] for each in (*state["containers"], *state["networks"])]
        work = self.folder / "work"
        return names + [str(path.relative_to(work)) for path in sorted(work.rglob("*"))]

    def _at_first(self) -> dict[str, Any]:
        info = json.loads((SAMPLES / "docker-info.json").read_text())
        return {
            "silent": "",
            "info": info | {"KernelVersion": os.uname().release, "DockerRootDir": "/"},
            "images": [NODE_IMAGE],
            "registry": [],
            "pull_error": NO_NETWORK,
            "networks": [],
            "containers": [],
            "uplink": "eth1",
            "default_route": "eth0",
            "routes": [{"dst": "default", "gateway": "10.0.2.2", "dev": "eth0"}],
            "becomes": {},
            "loaded": [],
            "config": "",
            "kind": {
                "version": f"kind version {pins().kind}",
                "create": "",
                "load": "",
                "delete": "",
                "kubeconfig": "{}",
            },
            "calls": [],
        }


def asked(**what: Any) -> Asked:
    """For a cluster called demo. ``what``: fields of Asked; of its ``kind`` with "kind_" before."""
    options = {name.removeprefix("kind_"): what.pop(name) for name in list(what) if name.startswith("kind_")}
    return replace(Asked(timeout=20.0, kind=replace(KindOptions(name="demo"), **options)), **what)
