"""A cluster, probes and claims that stand in for the real ones, so that the plugin is tested alone.

What happens to the cluster is written to ``events.txt`` in the working directory, one event a line: it is
read the same way whether pytest ran in this process, in another, or in several.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import pytest_k8snet.claims
import pytest_k8snet.probes
import pytest_k8snet.report
from pytest_k8snet.claims.verdict import Verdict, held
from pytest_k8snet.clusters import choose
from pytest_k8snet.clusters.base import Cluster, ClusterError, ClusterInfo, CommandResult
from pytest_k8snet.clusters.bundle import BundleTape
from pytest_k8snet.clusters.tape import MemoryTape, Tape
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import Manifest
from pytest_k8snet.report.drawing import Drawing
from tests.report.drawings import POD_NETWORK

#: Environment variables, which reach other processes too: what the stand-in lacks (JSON), says when it is
#: closed, and why it does not come up.
LACKS, FAREWELL, FAILS = "STAND_IN_LACKS", "STAND_IN_FAREWELL", "STAND_IN_FAILS"

REPOSITORY = Path(__file__).resolve().parents[2]

#: A conftest.py that puts the stand-ins into another process.
CONFTEST = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
import pytest
from tests.plugin import stand_in
stand_in.install(pytest.MonkeyPatch())
"""


class StandIn(Cluster):
    def __init__(self, tape: Tape, events: Path, provider: str, shared: Path | None) -> None:
        self.info = ClusterInfo(provider, f"{provider}: a stand-in", reference=provider == "embedded")
        self.tape = tape
        self.lacks = json.loads(os.environ.get(LACKS, "{}"))
        self.kubeconfig = shared or Path("kind-kubeconfig").resolve()
        self._shared = f" {shared.name}" if shared else ""
        self.roles = {"master": "k8s-master", "node1": "k8s-node1", "node2": "k8s-node2"}
        self.nodes = {}
        self._events = events
        self.tell(f"start{self._shared}")

    def tell(self, event: str) -> None:
        with self._events.open("a") as file:
            file.write(event + "\n")

    def apply(self, manifests: Sequence[Manifest], timeout: float = 60.0) -> None:
        self.tell(" ".join(["apply", self.tape.lab_name, *(manifest.name for manifest in manifests)]))

    def delete(self, manifests: Sequence[Manifest], timeout: float = 30.0) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.farewell = os.environ.get(FAREWELL, "")
        self.tell(f"close{self._shared}")

    def _get(self, resource: str) -> bytes:
        raise ClusterError(f"the stand-in has no {resource}")

    def _exec(self, pod: str, container: str, argv: Sequence[str], *, timeout: float) -> CommandResult:
        raise NotImplementedError


class Ledger:
    def __init__(self, request: Any) -> None:
        self.request = request
        self.text = f"{request.name}\nk8s-node2 eth1  20.109.131.5 > 20.111.156.72"

    @classmethod
    def of(cls, request: Any, intent: Intent, *, client_kept: object = False) -> Ledger:
        return cls(request)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what the plugin imports: the way to a cluster, the probes, the claims and the ledger."""
    events = Path("events.txt").resolve()

    def open_cluster(
        provider: str,
        *,
        intent: Intent,
        bundle: Path | None = None,
        join: bool = False,
        shared: Path | None = None,
        progress: Any,
        **others: Any,
    ) -> Cluster:
        progress("building nodes")
        if problem := os.environ.get(FAILS):
            raise ClusterError(problem)
        tape = MemoryTape() if bundle is None else BundleTape(bundle, join=join)
        return StandIn(tape, events, provider, shared)

    monkeypatch.setattr(choose, "open_cluster", open_cluster)
    monkeypatch.setattr(choose, "problems", lambda *asked: [])
    monkeypatch.setattr(choose, "kernel_in_words", lambda kernel: f"stand-in ({kernel})")

    def observe(kind: str) -> Any:
        def observed(cluster: StandIn, intent: Intent, *others: Any) -> SimpleNamespace:
            cluster.tell(f"{kind} {cluster.tape.lab_name}")
            request = SimpleNamespace(name="pod-src -> pod-dest:8080/hostname")
            return SimpleNamespace(
                request=request, large=SimpleNamespace(name="pod-src -> pod-dest:8080/large")
            )

        return observed

    def trace(cluster: StandIn, intent: Intent, source: str, target: str, **asked: Any) -> SimpleNamespace:
        cluster.tell(f"trace {source} {target} {asked}")
        return SimpleNamespace(name=f"{source} -> {target}")

    kinds = (
        "observe_pause",
        "observe_pod_network",
        "observe_clusterip",
        "observe_nodeport",
        "observe_spread",
    )
    probes = {kind: observe(kind) for kind in kinds}
    _module(monkeypatch, pytest_k8snet.probes, "labs", trace_between=trace, TARGET="pod-dest", **probes)
    _module(monkeypatch, pytest_k8snet.probes, "restarts", restart_container=observe("restart"))
    _module(monkeypatch, pytest_k8snet.claims, "ledger", Ledger=Ledger)
    _module(monkeypatch, pytest_k8snet.report, "draw", draw=_draw)
    for lab in ("pause", "pod_network", "clusterip", "nodeport"):
        _module(monkeypatch, pytest_k8snet.claims, lab, __getattr__=lambda name: _claim(name))


def _draw(lab: str, ledger: Ledger, *, bundle: bool) -> Drawing:
    return replace(POD_NETWORK, lab=lab, name=ledger.request.name)


def _claim(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    def claim(*evidence: Any) -> Verdict:
        return held(f"{name} as the lab says", "the stand-in says so")

    return claim


def _module(monkeypatch: pytest.MonkeyPatch, package: ModuleType, name: str, **contents: Any) -> None:
    module = ModuleType(f"{package.__name__}.{name}")
    module.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(package, name, module, raising=False)
