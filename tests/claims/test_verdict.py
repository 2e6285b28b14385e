from __future__ import annotations

import pytest

from pytest_k8snet.claims.verdict import (
    Outcome,
    Verdict,
    all_of,
    broken,
    claim,
    held,
    inconclusive,
    sentence,
    shown_by,
    typed_on,
)
from pytest_k8snet.evidence.reading import NotObserved
from tests.claims.judge import assert_inconclusive
from tests.claims.scenes import failed, ok


def test_a_verdict_is_no_bool() -> None:
    with pytest.raises(TypeError, match="three values"):
        bool(held("a", "b"))


def test_the_worst_of_several_counts() -> None:
    good, bad, unclear = held("a", "1"), broken("b", "2"), inconclusive("c", "3")
    assert all_of((good, unclear, bad)) == bad
    assert all_of((good, unclear)) == unclear
    assert all_of((good, held("d", "4"), good)).seen == "1; 4"


def test_nothing_judged_is_never_held() -> None:
    assert all_of(()).outcome is Outcome.INCONCLUSIVE


def test_missing_evidence_makes_a_claim_inconclusive() -> None:
    @claim
    def listed() -> Verdict:
        """Something is
        listed.

        More about it.
        """
        return held("x", failed("ls", "n1").get())

    verdict = listed()
    assert_inconclusive(verdict, "command not found")
    assert (verdict.expected, verdict.where, verdict.command) == ("Something is listed.", "n1", "ls  (on n1)")
    assert verdict.advice == "install it"


def test_a_cause_without_advice_gets_some() -> None:
    @claim
    def undocumented() -> Verdict:
        raise NotObserved("gone")

    assert_inconclusive(undocumented(), "gone")
    assert sentence(undocumented) == "undocumented"


def test_commands_name_their_node() -> None:
    assert typed_on("", "kubectl get pods") == "kubectl get pods"
    assert shown_by(ok(1, "ip a", "n1"), "eth1") == {"where": "n1 eth1", "command": "ip a  (on n1)"}


def test_details_can_be_added() -> None:
    assert held("a", "b").with_details("c").details == "c"
