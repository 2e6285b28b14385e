"""What recorded runs mean: bundles observed again, as the session does it."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pytest_k8snet import kept, matrix
from pytest_k8snet.claims.catalogue import CATALOGUE
from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.clusters.replay import ReplayCluster
from pytest_k8snet.intent import Intent
from pytest_k8snet.meaning import observed
from pytest_k8snet.meaning.comparison import Fact, Meaning, meaning_of
from tests.matrix import replayed

ROWS = matrix.load()
HEALTHY = Path(__file__).parent.parent / "bundles" / "healthy"


def observations(bundle: Path) -> tuple[Intent, dict[str, Any]]:
    """By lab; an error in the place of one that could not be observed."""
    cluster = ReplayCluster(bundle)
    return cluster.intent, dict(kept.observations(cluster, kept.OBSERVERS))


def facts(found: Mapping[str, Any], intent: Intent) -> Iterator[Fact]:
    """All facts of a run; its verdicts are left to who knows them."""
    for lab, observation in found.items():
        yield from kept.facts_of(lab, observation, intent)


def meaning(bundle: Path, row: matrix.Row) -> Meaning:
    """``row``: the verdicts, which tests/test_matrix.py and tests/test_healthy_bundle.py show to be these."""
    intent, found = observations(bundle)
    outcomes = dict.fromkeys(row.inconclusive, Outcome.INCONCLUSIVE)
    outcomes |= dict.fromkeys(row.breaks, Outcome.BROKEN)
    verdicts = (observed.verdict_fact(claim.id, outcomes.get(claim.id, Outcome.HELD)) for claim in CATALOGUE)
    return meaning_of((*facts(found, intent), *verdicts))


@cache
def healthy() -> Meaning:
    return meaning(HEALTHY, matrix.Row("healthy", {}, ()))


@cache
def faulty(fault: str) -> Meaning:
    """Of the matrix' bundle of a fault."""
    with tempfile.TemporaryDirectory(prefix="k8snet-meaning-") as folder:
        with tarfile.open(replayed.recorded(fault)) as archive:
            archive.extractall(folder, filter="data")
        return meaning(Path(folder) / fault, ROWS[fault])
