"""Every claim with each of its readings failed in turn, and with all of them: none breaks, none raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any

import pytest

from pytest_k8snet.claims.catalogue import CATALOGUE, Claim
from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.diagnosis import Cause
from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.matchers import Inner, Matcher, Outer
from pytest_k8snet.claims.rows import LedgerRow
from pytest_k8snet.claims.verdict import Outcome, Verdict
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.intent import Intent
from tests.claims import scenes

LABS: dict[str, Callable[[], Any]] = {
    "pause": scenes.pause,
    "pod-network": scenes.pod_network,
    "clusterip": scenes.clusterip,
    "nodeport": scenes.nodeport,
}
#: Claims on a reading of its own beside (or instead of) the lab.
OWN: dict[str, Callable[[], Any]] = {
    "pause/survives-restart": scenes.restart,
    "clusterip/spreads": lambda: scenes.spread(14, 13, 13),
}


def unread(value: Any) -> Iterator[Any]:
    """``value`` once for each reading in it, with that reading failed."""
    if isinstance(value, Reading):
        yield replace(value, value=None, failure="exit status 127", advice="")
    elif isinstance(value, tuple):
        for position, each in enumerate(value):
            for changed in unread(each):
                yield (*value[:position], changed, *value[position + 1 :])
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            for changed in unread(getattr(value, field.name)):
                yield replace(value, **{field.name: changed})


def judged(claim: Claim, evidence: Any) -> Verdict:
    if claim.id == "pause/survives-restart":
        return claim.function(evidence)
    if claim.id == "clusterip/spreads":
        return claim.function(scenes.clusterip(), evidence)
    return claim.function(evidence, Intent())


def evidence_of(claim: Claim) -> Any:
    return OWN.get(claim.id, LABS[claim.lab])()


@pytest.mark.parametrize("claim", CATALOGUE, ids=lambda claim: claim.id)
def test_one_reading_that_failed_never_breaks_a_claim(claim: Claim) -> None:
    outcomes = {judged(claim, evidence).outcome for evidence in unread(evidence_of(claim))}
    assert Outcome.INCONCLUSIVE in outcomes, "it rests on some reading"
    assert Outcome.BROKEN not in outcomes


def all_unread(value: Any) -> Any:
    if isinstance(value, Reading):
        return replace(value, value=None, failure="exit status 127", advice="")
    if isinstance(value, tuple):
        return tuple(map(all_unread, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{field.name: all_unread(getattr(value, field.name)) for field in fields(value)}
        )
    return value


@pytest.mark.parametrize("claim", CATALOGUE, ids=lambda claim: claim.id)
def test_a_claim_on_nothing_is_inconclusive_and_says_so(claim: Claim) -> None:
    verdict = judged(claim, all_unread(evidence_of(claim)))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "exit status 127" in verdict.seen
    assert verdict.expected
    assert verdict.advice
    assert verdict.diagnosis == ""


@pytest.mark.parametrize(
    "kind",
    [Cause, Claim, Hop, Inner, Ledger, LedgerRow, Matcher, NewConnection, Outer, Verdict, Walk],
    ids=lambda kind: kind.__name__,
)
def test_what_was_judged_is_never_changed(kind: Any) -> None:
    name = fields(kind)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(object.__new__(kind), name, None)
