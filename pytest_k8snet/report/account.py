"""The account of a run: what each lab's tests came to, for all that tells it (terminal, HTML page)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_k8snet.report.drawing import Drawing
from pytest_k8snet.report.facts import facts_of

INCONCLUSIVE = "inconclusive"


@dataclass
class ToldClaim:
    """One test of a lab."""

    test: str  #: its node id
    claim: str  #: "pod-network/one-flow"
    sentence: str
    #: "held", "broken", "inconclusive", "skipped", or pytest's "passed", "failed" without verdict
    outcome: str
    judged: dict[str, str] = field(default_factory=dict)  #: the verdict's fields
    nodes: tuple[str, ...] = ()
    text: str = ""  #: why it was skipped, or pytest's own report of a failure without verdict


@dataclass
class ToldLab:
    """``seconds`` were spent on its tests, setting up included."""

    name: str
    claims: list[ToldClaim] = field(default_factory=list)
    seconds: float = 0.0
    ledgers: list[str] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        return Counter(claim.outcome for claim in self.claims)

    @property
    def all_skipped(self) -> bool:
        return bool(self.claims) and set(self.counts) == {"skipped"}

    @property
    def skip_reasons(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.text for c in self.claims if c.outcome == "skipped" and c.text))


class Account:
    """Runs where all reports arrive: in an only process, or in xdist's controller."""

    def __init__(self) -> None:
        self.labs: dict[str, ToldLab] = {}
        self.clusters: dict[str, None] = {}  #: the clusters of the run, in one line each
        self.meaning: list[dict[str, Any]] = []  #: this run's facts, as reports brought them

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        facts = facts_of(report)
        if facts is None:
            return
        lab = self.labs.setdefault(facts["lab"], ToldLab(facts["lab"]))
        lab.seconds += report.duration
        lab.ledgers += facts["ledgers"]
        lab.drawings += map(Drawing.of_plain, facts["drawings"])
        self.meaning += facts["meaning"]
        if facts["cluster"]:
            self.clusters[facts["cluster"]] = None
        if report.when == "call" or not report.passed:
            lab.claims.append(
                ToldClaim(
                    test=report.nodeid,
                    claim=facts["claim"],
                    sentence=facts["sentence"],
                    outcome=facts["verdict"] or report.outcome,
                    judged=facts["judged"],
                    nodes=tuple(facts["nodes"]),
                    text=_text(report),
                )
            )


def _text(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail)
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return "" if report.passed else report.longreprtext
