"""One path of a running reference network broken for 300 ms: measured, judged, kept, judged again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_k8snet.claims import outage
from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.clusters.bundle import BundleTape
from pytest_k8snet.clusters.embedded import EmbeddedCluster
from pytest_k8snet.clusters.replay import ReplayCluster
from pytest_k8snet.clusters.tape import MemoryTape
from pytest_k8snet.embedded import kernel
from pytest_k8snet.evidence.outage import PATHS
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes.outage import observe_outage
from tests.outage.breaking import Measured, measure, network

BROKEN = 0.3  #: seconds
TRIES = 3
QUIET = 0.1  #: seconds by which a machine may have stalled in a run that counts

pytestmark = pytest.mark.skipif(
    bool(kernel.missing(kernel.choose("auto")[0])), reason="the reference network's programs are missing"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    with network(MemoryTape()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "kept"


@pytest.fixture(scope="module")
def measured(cluster: EmbeddedCluster, kept: Path) -> Measured:
    """The ClusterIP path broken, on a machine that had time for it."""
    for number in range(TRIES):
        folder = kept.with_name(f"try-{number}")
        cluster.tape = tape = BundleTape(folder)
        tape.describe_cluster(cluster, Intent())
        with cluster.lab("outage"):
            found = measure(cluster, "clusterip", BROKEN)
        tape.close()
        cluster.tape = MemoryTape()
        if found.stalled < QUIET:
            folder.rename(kept)
            return found
    pytest.fail(f"this machine stalled by {found.stalled * 1000:.0f} ms in the last of {TRIES} runs")


def test_the_gap_is_as_long_as_the_path_was_broken(measured: Measured) -> None:
    assert measured.really == pytest.approx(BROKEN, abs=0.05)
    assert measured.gap == pytest.approx(measured.really, abs=0.06)


def test_no_other_path_lost_anything(measured: Measured) -> None:
    assert measured.lost_elsewhere == 0
    assert outage.gap(measured.lab, "pod", 0).outcome is Outcome.HELD
    assert outage.gap(measured.lab, "nodeport", 0).outcome is Outcome.HELD


def test_a_budget_makes_it_a_claim_and_the_ledger_shows_where_packets_ended(measured: Measured) -> None:
    assert outage.measured(measured.lab).outcome is Outcome.HELD
    assert outage.gap(measured.lab, "clusterip", 400).outcome is Outcome.HELD
    verdict = outage.gap(measured.lab, "clusterip", 200)
    assert verdict.outcome is Outcome.BROKEN
    assert "lost inside k8s-node2" in verdict.details


def test_its_bundle_is_judged_alike(measured: Measured, kept: Path) -> None:
    again = ReplayCluster(kept)
    with again.lab("outage"):
        replayed = observe_outage(again, Intent(), None, lambda how: None)
    for path in PATHS:
        for budget in (0, 200, 400):
            assert outage.gap(replayed, path, budget) == outage.gap(measured.lab, path, budget)
    assert outage.measured(replayed) == outage.measured(measured.lab)
