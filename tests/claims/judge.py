"""Short ways to say what a verdict must be."""

from __future__ import annotations

from pytest_k8snet.claims.verdict import Outcome, Verdict


def assert_held(verdict: Verdict) -> None:
    assert verdict.outcome is Outcome.HELD, f"{verdict.outcome}: {verdict.seen}"
    assert verdict.expected
    assert verdict.seen


def assert_broken(verdict: Verdict, *culprits: str) -> None:
    """Broken, with every culprit named, and all that a reader needs to act."""
    assert verdict.outcome is Outcome.BROKEN, f"{verdict.outcome}: {verdict.seen}"
    for culprit in culprits:
        assert culprit in verdict.seen, verdict.seen
    assert verdict.expected
    assert verdict.command
    assert verdict.advice


def assert_inconclusive(verdict: Verdict, *reasons: str) -> None:
    assert verdict.outcome is Outcome.INCONCLUSIVE, f"{verdict.outcome}: {verdict.seen}"
    for reason in reasons:
        assert reason in verdict.seen, verdict.seen
    assert verdict.expected
    assert verdict.advice
