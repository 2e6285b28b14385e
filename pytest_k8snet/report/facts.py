"""What a test report carries of its lab: plain values, which survive the way from an xdist worker."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest


class Facts(TypedDict):
    lab: str
    claim: str  #: "pod-network/one-flow"
    sentence: str  #: the claim in the lab's words: the first paragraph of the test's docstring
    verdict: str  #: "held", "broken", "inconclusive"; "" where nothing was judged (yet)
    judged: dict[str, str]  #: the verdict's fields (claims.verdict.Verdict); {} where nothing was judged
    nodes: list[str]  #: those that the verdict speaks of
    cluster: str  #: the cluster in one line; "" before it was up
    ledgers: list[str]  #: of requests that no earlier report carried
    drawings: list[dict[str, Any]]  #: likewise, as :class:`~pytest_k8snet.report.drawing.Drawing` plain
    meaning: list[dict[str, Any]]  #: facts that no earlier report carried, for a baseline


def facts_of(report: pytest.CollectReport | pytest.TestReport) -> Facts | None:
    """None for a test that has nothing to do with a cluster."""
    return getattr(report, "k8snet", None)
