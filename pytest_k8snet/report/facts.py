"""What a test report carries of its lab: plain values, which survive the way from an xdist worker."""

from __future__ import annotations

from typing import TypedDict

import pytest


class Facts(TypedDict):
    lab: str
    verdict: str  #: "held", "broken", "inconclusive"; "" where nothing was judged (yet)
    cluster: str  #: the cluster in one line; "" before it was up
    ledgers: list[str]  #: of requests that no earlier report carried


def facts_of(report: pytest.CollectReport | pytest.TestReport) -> Facts | None:
    """None for a test that has nothing to do with a cluster."""
    return getattr(report, "k8snet", None)
