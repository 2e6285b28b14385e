"""Runs as the page is told of them, made from the recorded bundles: healthy, faulty, and of any length.

They say that they were live runs of the reference network that kept a bundle.
"""

from __future__ import annotations

import dataclasses
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import count, cycle
from pathlib import Path
from typing import Any

from pytest_k8snet import __version__
from pytest_k8snet.claims.catalogue import CATALOGUE, Claim
from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.verdict import Verdict
from pytest_k8snet.clusters.base import Cluster, ClusterError
from pytest_k8snet.clusters.bundle import Bundle, Recording, load_bundle
from pytest_k8snet.clusters.choose import verdict_on
from pytest_k8snet.clusters.replay import ReplayCluster
from pytest_k8snet.evidence.observations import TracedRequest
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes import labs
from pytest_k8snet.report.account import ToldClaim, ToldLab
from pytest_k8snet.report.draw import draw
from pytest_k8snet.report.told import ToldRun
from pytest_k8snet.report.verdicts import in_words
from tests.matrix.judge import verdicts
from tests.matrix.replayed import recorded

HEALTHY = Path(__file__).parent.parent / "bundles" / "healthy"

#: What :func:`many` repeats after the healthy labs: a path that is cut, another one, and a blind observer.
FAULTS = ("dnat-missing", "direct-routes", "tcpdump-missing")

_TRACED: Mapping[str, Callable[[Cluster, Intent], Any]] = {
    "pod-network": labs.observe_pod_network,
    "clusterip": labs.observe_clusterip,
    "nodeport": labs.observe_nodeport,
}


@contextmanager
def unpacked(name: str) -> Iterator[Path]:
    """The bundle that a fault left, or that of "healthy"."""
    if name == "healthy":
        yield HEALTHY
        return
    with tempfile.TemporaryDirectory(prefix="k8snet-told-") as folder:
        with tarfile.open(recorded(name)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder) / name


def requests(cluster: ReplayCluster) -> Iterator[tuple[str, TracedRequest]]:
    """Every request of a recorded run that was captured, with its lab."""
    for lab, observe in _TRACED.items():
        try:
            with cluster.lab(lab):
                observed = observe(cluster, cluster.intent)
        except ClusterError:  # the run itself saw nothing of that lab
            continue
        yield lab, observed.request
        if lab == "pod-network":
            yield lab, observed.large


@cache
def healthy() -> ToldRun:
    """Everything held."""
    return told(HEALTHY)


@cache
def faulty(name: str) -> ToldRun:
    """The run that one fault of the matrix left."""
    with unpacked(name) as directory:
        return told(directory, name)


def many(claims: int) -> ToldRun:
    """A run of ``claims`` claims: the four labs again and again, healthy first, then with one fault each."""
    runs = cycle([healthy(), *map(faulty, FAULTS)])
    found: list[ToldLab] = []
    left = claims
    for number, run in zip(count(1), runs, strict=False):
        for lab in run.labs:
            if left <= 0:
                return replace(healthy(), labs=tuple(found))
            found.append(_part(lab, lab.name if number == 1 else f"{lab.name}-{number}", left))
            left -= len(found[-1].claims)
    raise AssertionError("a cycle has no end")


def told(directory: Path, *faults: str) -> ToldRun:
    """A bundle, judged again and drawn."""
    bundle, cluster = load_bundle(directory), ReplayCluster(directory)
    header = bundle.header
    traced = list(requests(cluster))
    judged = verdicts(ReplayCluster(directory), cluster.intent)  # asks the same questions: a tape of its own
    return ToldRun(
        subject=verdict_on("embedded", None, faults),
        reference=True,
        provider="embedded",
        clusters=(str(header["summary"]),),
        started=str(header["started"]),
        finished=str(header["finished"]),
        version=__version__,
        intent={name: str(value) for name, value in header["intent"].items() if value and name != "roles"},
        faults=faults,
        labs=tuple(
            _lab(lab, judged, [request for name, request in traced if name == lab], cluster, bundle)
            for lab in dict.fromkeys(claim.lab for claim in CATALOGUE)
        ),
        bundle="kept",
    )


def _lab(
    name: str,
    judged: Mapping[str, Verdict],
    traced: list[TracedRequest],
    cluster: ReplayCluster,
    bundle: Bundle,
) -> ToldLab:
    ledgers = [Ledger.of(request, cluster.intent).text for request in traced]
    return ToldLab(
        name=name,
        claims=[
            _claim(claim, judged[claim.id], ledgers[:1], list(cluster.nodes))
            for claim in CATALOGUE
            if claim.lab == name
        ],
        seconds=_seconds(bundle.recordings.get(name)),
        ledgers=ledgers,
        drawings=[draw(name, Ledger.of(request, cluster.intent), bundle=True) for request in traced],
    )


def _claim(claim: Claim, verdict: Verdict, ledgers: list[str], nodes: list[str]) -> ToldClaim:
    fields = dataclasses.asdict(verdict) | {"outcome": verdict.outcome.value}
    lab, name = claim.lab.replace("-", "_"), claim.function.__name__
    words = " ".join(fields.values())
    return ToldClaim(
        test=f"scenarios/{lab}/test_{lab}.py::test_{name}",
        claim=claim.id,
        sentence=claim.sentence,
        outcome=verdict.outcome.value,
        judged=fields,
        nodes=tuple(sorted((node for node in nodes if node in words), key=words.index)),
        text="" if verdict.held else in_words(claim.id, verdict, ledgers),
    )


def _seconds(recording: Recording | None) -> float:
    """From the lab's first command to the end of its last."""
    if recording is None or not recording.records:
        return 0.0
    began = min(record.started for record in recording.records)
    return max(record.started + record.ms / 1000 for record in recording.records) - began


def _part(lab: ToldLab, name: str, claims: int) -> ToldLab:
    """The first ``claims`` claims of a lab, under another name."""
    return replace(
        lab,
        name=name,
        claims=[
            replace(claim, claim=f"{name}/{claim.claim.partition('/')[2]}", test=f"{name}/{claim.test}")
            for claim in lab.claims[:claims]
        ],
        drawings=[replace(drawing, lab=name) for drawing in lab.drawings],
    )
