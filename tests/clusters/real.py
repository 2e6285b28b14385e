"""What the tests of real clusters share: a cluster on a fake API server, programs that exec runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_k8snet.clusters.api.client import Api
from pytest_k8snet.clusters.asked import Asked
from pytest_k8snet.clusters.base import Deadline
from pytest_k8snet.clusters.kube import kubeconfig
from pytest_k8snet.clusters.kube.kubernetes_cluster import KubernetesCluster
from pytest_k8snet.clusters.tape import MemoryTape
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import Manifest, load_all
from tests.fakeapi import Exec, FakeCluster, Output

SCENARIOS = Path(__file__).parents[2] / "scenarios"

Program = Callable[[Exec], Output]


def lab(*names: str) -> list[Manifest]:
    """The bundled manifests of these names ("pod-src"), or all of them."""
    found = load_all(sorted(SCENARIOS.rglob("*.yaml")))
    return [manifest for manifest in found if not names or manifest.name in names]


def programs(known: Mapping[str, Program | bytes]) -> Callable[[Exec], Output]:
    """What exec starts: a program by its name, or what it says; 127 for any other."""

    def start(call: Exec) -> Output:
        call.stderr(b"k8snet-pid %d\n" % call.pid)
        argv = command(call)
        program = known.get(argv[0])
        if program is None:
            return Output(stderr=f"sh: {argv[0]}: not found\n".encode(), exit_status=127)
        return Output(program) if isinstance(program, bytes) else program(call)

    return start


def command(call: Exec) -> tuple[str, ...]:
    """What is run behind nsenter and the shell that announces it."""
    begin = call.argv.index("-c") + 3 if "-c" in call.argv else 0
    return call.argv[begin:]


def asked(fake: FakeCluster, folder: Path, **what: Any) -> Asked:
    return replace(
        Asked(context="fake", kubeconfig=fake.kubeconfig(folder / "kubeconfig"), timeout=30.0), **what
    )


@contextmanager
def api_of(fake: FakeCluster, folder: Path, seconds: float = 10.0) -> Iterator[Api]:
    with Api.connect(fake.kubeconfig(folder / "kubeconfig"), "fake") as api:
        api.deadline = Deadline(seconds)
        yield api


def opened(
    fake: FakeCluster,
    folder: Path,
    *,
    steps: list[str] | None = None,
    intent: Intent | None = None,
    **what: Any,
) -> KubernetesCluster:
    said = [] if steps is None else steps
    return kubeconfig.open_cluster(
        tape=MemoryTape(), intent=intent or Intent(), asked=asked(fake, folder, **what), progress=said.append
    )
