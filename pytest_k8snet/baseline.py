"""This run beside a kept one: what changed, each change as a test of its own (``baseline/<id>``).

Facts of this run come with the reports of its tests; those of the kept run (:mod:`pytest_k8snet.kept`) are
made at the end. Under pytest-xdist the controller alone does it, once.
"""

from __future__ import annotations

import dataclasses
import glob
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_k8snet.claims.verdict import Outcome, Verdict, broken, held, inconclusive
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.kept import OBSERVERS, read
from pytest_k8snet.meaning.comparison import Change, Comparison, Fact, Meaning, compare, meaning_of
from pytest_k8snet.meaning.observed import unobserved, verdict_fact
from pytest_k8snet.report import verdicts
from pytest_k8snet.report.account import Account
from pytest_k8snet.report.facts import Facts
from pytest_k8snet.report.places import named
from pytest_k8snet.report.summary import BASELINE as LAB

if TYPE_CHECKING:
    from pytest_k8snet.settings import Settings

COMPARED = f"{LAB}/compared"


class Baseline:
    """Runs where all reports arrive. ``comparison`` is there once the tests are over, if it could be made."""

    def __init__(self, settings: Settings, config: pytest.Config, account: Account) -> None:
        assert settings.baseline is not None, "registered for a run that has a baseline alone"
        self._directory = settings.baseline
        self._allowed = settings.allowed
        self._config = config
        self._account = account
        self.comparison: Comparison | None = None

    # Around xdist's loop, and inside the terminal's wrapper: that writes the 100 % when these are told too.
    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            result = yield
        except (session.Failed, KeyboardInterrupt, pytest.exit.Exception) as end:
            self._tell_cut_short(session, end)
            raise
        began = time.time()
        told = list(self._verdicts())
        session.testscollected += len(told)
        for claim, sentence, verdict in told:
            self._report(claim, sentence, verdict, began)
            began = time.time()
            if session.shouldfail:  # -x counts these tests too
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
        return result

    def _tell_cut_short(self, session: pytest.Session, end: BaseException) -> None:
        """What there is, is compared, and told as one test.

        -x, --stepwise or a cluster that did not come up ended the tests. Ctrl-C and pytest.exit() end
        everything: nothing is begun then.
        """
        began = time.time()
        why = " ".join(str(end).split()) or "interrupted"
        if isinstance(end, pytest.exit.Exception) or type(end) is KeyboardInterrupt:
            seen = f"nothing was compared: the run was cut short ({why})"
        else:
            verdict = self._compared()
            seen = f"{verdict.seen}; the run was cut short ({why})"
        verdict = inconclusive(self._expected, seen, advice="run it to its end")
        session.testscollected += 1
        reason = session.shouldfail
        self._report(COMPARED, _COMPARED, verdict, began)
        if reason:  # not the number of failures with this one
            session.shouldfail = reason

    def _verdicts(self) -> Iterator[tuple[str, str, Verdict]]:
        """Claim, sentence and verdict: that there was something to compare, and each change that is none of
        the expected."""
        yield COMPARED, _COMPARED, self._compared()
        if self.comparison is not None:
            for change in self.comparison.changes:
                if not change.allowed:
                    yield f"{LAB}/{change.id}", _SENTENCE, self._changed(change)

    def _compared(self) -> Verdict:
        try:
            kept = read(self._directory)
        except ClusterError as error:
            return inconclusive(self._expected, str(error), advice="name another kept run")
        compared = compare(
            kept.meaning,
            self._meaning(),
            baseline=kept.name,
            allowed=self._allowed,
            left_out=self._skipped(),
        )
        if not compared.same and not compared.changes:
            why = "; ".join(dict.fromkeys(compared.left_out.values()))
            return inconclusive(
                self._expected, f"nothing could be compared: {why or 'nothing was observed'}", where=kept.name
            )
        self.comparison = compared
        return held(self._expected, _counted(compared), where=kept.name, details=_details(compared))

    def _meaning(self) -> Meaning:
        """This run's facts: what its labs observed, those that could not be, and the verdicts."""
        facts = [Fact(**fact) for fact in self._account.meaning]
        told = {lab for fact in facts for lab in fact.labs}
        outcomes: dict[str, str] = {}  # of a test that ran again the last counts, as in a bundle
        for lab in self._account.labs.values():
            judged = [claim for claim in lab.claims if claim.judged]
            unknown = [claim for claim in judged if claim.outcome == Outcome.INCONCLUSIVE.value]
            if unknown and lab.name in OBSERVERS.keys() - told:
                facts.append(unobserved(lab.name, unknown[0].judged["seen"]))
            outcomes |= {claim.claim: claim.outcome for claim in judged}
        return meaning_of((*facts, *(verdict_fact(*verdict) for verdict in outcomes.items())))

    def _skipped(self) -> dict[str, str]:
        """Why this run has no verdict of a claim, and nothing of a lab."""
        found: dict[str, str] = {}
        for lab in self._account.labs.values():
            if lab.all_skipped:
                found[lab.name] = f"skipped: {'; '.join(lab.skip_reasons)}"
            found |= {
                f"verdict/{claim.claim}": f"skipped: {claim.text}"
                for claim in lab.claims
                if claim.outcome == "skipped"
            }
        return found

    @property
    def _expected(self) -> str:
        kept = named(self._directory, self._config.invocation_params.dir)
        return f"facts that this run shares with the one kept in {kept}"

    def _changed(self, change: Change) -> Verdict:
        assert self.comparison is not None
        before, now = change.before or _NOTHING, change.now or _NOTHING
        if change.unknown:
            return inconclusive(
                before,
                change.unknown,
                where=self.comparison.baseline,
                advice="make it observable and run again",
            )
        ini = self._config.inipath.name if self._config.inipath is not None else "pytest.ini"
        advice = f"find out what changed it; if it was meant, add to k8snet_baseline_allow in {ini}:"
        advice += f"\n{allowing(change.id)}"
        return broken(before, now, where=f"since {self.comparison.baseline}", advice=advice)

    def _report(self, claim: str, sentence: str, verdict: Verdict, began: float) -> None:
        """A test that has no item, told as pytest tells tests."""
        hook, location = self._config.hook, (claim, None, claim)
        outcome = verdict.outcome.value
        properties = [("k8snet_claim", claim), ("k8snet_verdict", outcome)]
        ended = time.time()
        call = pytest.TestReport(
            claim,
            location,
            {},
            "passed" if verdict.held else "failed",
            None if verdict.held else verdicts.in_words(claim, verdict),
            "call",
            duration=ended - began,
            start=began,
            stop=ended,
            user_properties=properties,
        )
        facts: Facts = {
            "lab": LAB,
            "claim": claim,
            "sentence": sentence,
            "verdict": outcome,
            "judged": dataclasses.asdict(verdict) | {"outcome": outcome},
            "nodes": [],
            "cluster": "",
            "ledgers": [],
            "drawings": [],
            "meaning": [],
        }
        call.k8snet = facts  # type: ignore[attr-defined]
        # JUnit writes a test's properties when it was torn down.
        over = pytest.TestReport(
            claim,
            location,
            {},
            "passed",
            None,
            "teardown",
            start=ended,
            stop=ended,
            user_properties=properties,
        )
        hook.pytest_runtest_logstart(nodeid=claim, location=location)
        # --lf and --sw would remember a test that no later run can collect, and forget where --sw stopped.
        find = self._config.pluginmanager.get_plugin
        again = [plugin for name in ("lfplugin", "stepwiseplugin") if (plugin := find(name)) is not None]
        log = self._config.pluginmanager.subset_hook_caller("pytest_runtest_logreport", again)
        log(report=call)
        log(report=over)
        hook.pytest_runtest_logfinish(nodeid=claim, location=location)


def allowing(change_id: str) -> str:
    """The line of ``k8snet_baseline_allow`` that expects one change. A colon ends a glob."""
    return f"{glob.escape(change_id).replace(':', '?')}: WHY IT IS EXPECTED"


_COMPARED = "This run and the kept one have facts to compare."
_SENTENCE = "The network is, in this, what it was in the kept run."
_NOTHING = "nothing of the kind"


def _counted(compared: Comparison) -> str:
    allowed, unexpected, unknown = map(len, (compared.expected, compared.unexpected, compared.unknown))
    counts = {
        "mean the same": compared.same,
        "changed as expected": allowed,
        "changed otherwise": unexpected,
        "were not observed": unknown,
        "were left out": len(compared.left_out),
    }
    first, *others = counts.items()
    return ", ".join(
        [f"{first[1]} facts {first[0]}", *(f"{number} {what}" for what, number in others if number)]
    )


def _details(compared: Comparison) -> str:
    expected = [f"{c.id}: {c.before} -> {c.now} (expected: {c.allowed})" for c in compared.expected]
    left_out = [f"{what}: not compared: {why}" for what, why in compared.left_out.items()]
    idle = [f"{line.glob}: allowed, and nothing changed ({line.reason})" for line in compared.idle]
    return "\n".join([*expected, *left_out, *idle])
