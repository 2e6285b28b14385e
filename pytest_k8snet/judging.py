"""From what a test judged to what its report says."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Generator

import pytest

from pytest_k8snet.claims.verdict import Verdict, all_of
from pytest_k8snet.collection import claim_id, lab_name, uses
from pytest_k8snet.report import verdicts
from pytest_k8snet.report.facts import Facts
from pytest_k8snet.run import Run

_JUDGED = pytest.StashKey[list[Verdict]]()


def judge(item: pytest.Item, verdict: Verdict) -> None:
    """Record ``verdict`` on the test. Raises ClaimBroken or ClaimInconclusive unless it is held."""
    __tracebackhide__ = True
    if not isinstance(verdict, Verdict):
        raise TypeError(f"judge() takes a Verdict, not {verdict!r}; call a claim to get one")
    item.stash.setdefault(_JUDGED, []).append(verdict)
    if not verdict.held:
        raise verdicts.not_held(claim_id(item), verdict)


class Judging:
    """Puts the verdict on each report, where it also survives the way from an xdist worker."""

    def __init__(self, run: Run) -> None:
        self._run = run

    # Registered after pytest's own plugins and so around them: xfail has had its say.
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if uses(item, "judge") or uses(item, "k8snet_cluster"):
            self._put(item, report, _verdict(item, call, report))
        return report

    def _put(self, item: pytest.Item, report: pytest.TestReport, verdict: Verdict | None) -> None:
        lab, claim = lab_name(item.path), claim_id(item)
        judged: dict[str, str] = {}
        if verdict is not None:
            judged = dataclasses.asdict(verdict) | {"outcome": verdict.outcome.value}
            self._run.keep(item.nodeid, claim, judged)
            for properties in (item.user_properties, report.user_properties):
                properties.append(("k8snet_verdict", verdict.outcome.value))
        if verdict is not None and not verdict.held:
            report.outcome = "failed"
            report.longrepr = verdicts.in_words(claim, verdict, self._run.ledgers(lab))
            # A claim that its set-up left without evidence is inconclusive, a failure like any other;
            # pytest and JUnit would call it an error of the test.
            report.when = "call"
        facts: Facts = {
            "lab": lab,
            "claim": claim,
            "sentence": _sentence(item),
            "verdict": judged.get("outcome", ""),
            "judged": judged,
            "nodes": self._run.nodes_in(" ".join(judged.values())),
            "cluster": self._run.summary,
            "ledgers": self._run.untold_ledgers(lab),
            "drawings": self._run.untold_drawings(lab),
            "meaning": self._run.untold_meaning(),
        }
        report.k8snet = facts  # type: ignore[attr-defined]


def _sentence(item: pytest.Item) -> str:
    """The claim in the lab's words: the first paragraph of the test's docstring, as one line."""
    said = inspect.getdoc(getattr(item, "obj", None)) or ""
    return " ".join(said.partition("\n\n")[0].split())


def _verdict(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Verdict | None:
    """The verdict that this phase of a test comes to; None where there is none to tell."""
    if report.skipped or report.when == "teardown" or hasattr(report, "wasxfail"):
        return None
    error = call.excinfo.value if call.excinfo is not None else None
    if isinstance(error, verdicts.ClaimNotHeld):
        return error.verdict
    if isinstance(error, verdicts.CAN_NOT_TELL):
        return verdicts.could_not_tell(error, "setup" if call.when == "setup" else "call")
    if error is not None or call.when == "setup" or not uses(item, "judge"):
        return None
    if report.failed:  # a strict xfail whose claim was held after all: pytest's word for it is the better one
        return None
    judged = item.stash.get(_JUDGED, [])
    return all_of(judged) if judged else verdicts.judged_nothing()
