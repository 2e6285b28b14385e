"""The runs that tests of the page are made from say what the recorded runs said."""

from __future__ import annotations

import pytest

from pytest_k8snet import matrix
from pytest_k8snet.claims.catalogue import CATALOGUE
from pytest_k8snet.report.told import ToldRun
from tests.report.told_runs import FAULTS, faulty, healthy, many


def outcomes(run: ToldRun) -> dict[str, str]:
    return {claim.claim: claim.outcome for lab in run.labs for claim in lab.claims}


def test_the_healthy_run() -> None:
    run = healthy()
    assert outcomes(run) == {claim.id: "held" for claim in CATALOGUE}
    assert {lab.name: len(lab.drawings) for lab in run.labs} == {
        "pause": 0,
        "pod-network": 2,
        "clusterip": 1,
        "nodeport": 1,
    }
    assert all(lab.seconds > 0 and len(lab.ledgers) == len(lab.drawings) for lab in run.labs)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_run(fault: str) -> None:
    run, row = faulty(fault), matrix.load()[fault]
    found = outcomes(run)
    assert {claim for claim, outcome in found.items() if outcome == "broken"} == set(row.breaks)
    assert {claim for claim, outcome in found.items() if outcome == "inconclusive"} == set(row.inconclusive)
    assert run.faults == (fault,)
    for claim in (claim for lab in run.labs for claim in lab.claims):
        headline = "" if claim.outcome == "held" else f"{claim.outcome.upper()}: {claim.claim}: "
        assert claim.text.startswith(headline)
        assert bool(claim.text) is bool(headline)


@pytest.mark.parametrize("claims", [0, 1, 9, 34, 35, 200])
def test_a_run_of_any_length(claims: int) -> None:
    run = many(claims)
    told = [claim for lab in run.labs for claim in lab.claims]
    assert len(told) == len({claim.test for claim in told}) == len(outcomes(run)) == claims
    assert all(drawing.lab == lab.name for lab in run.labs for drawing in lab.drawings)
    assert {"broken", "inconclusive"} <= set(outcomes(run).values()) or claims < 200
