"""What pytest's terminal says of the labs: header, words for verdicts, ledgers, summary, last line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from pytest_k8snet.clusters import choose
from pytest_k8snet.report.facts import facts_of
from pytest_k8snet.run import Run
from pytest_k8snet.settings import Settings

INCONCLUSIVE = "inconclusive"
_COLUMNS = ("held", "broken", INCONCLUSIVE, "passed", "failed", "skipped")


@dataclass
class LabTally:
    """How the tests of one lab ended. ``seconds`` spent on them, setting up included."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    skip_reasons: dict[str, None] = field(default_factory=dict)
    ledgers: list[str] = field(default_factory=list)

    @property
    def all_skipped(self) -> bool:
        return bool(self.counts) and set(self.counts) == {"skipped"}

    def line(self) -> str:
        told = ", ".join(f"{self.counts[name]} {name}" for name in _COLUMNS if self.counts[name])
        return f"{told or 'nothing judged'} in {self.seconds:.1f} s"


class Terminal:
    """Runs where the terminal is: in an only process, or in xdist's controller."""

    def __init__(self, settings: Settings, config: pytest.Config, run: Run) -> None:
        self._settings = settings
        self._config = config
        self._run = run
        self._labs: dict[str, LabTally] = {}
        self._clusters: dict[str, None] = {}

    def pytest_report_header(self) -> list[str]:
        settings = self._settings
        lines = [f"k8snet: provider {settings.provider} ({settings.why})"]
        # Which kernel can carry the network is found by a trial: not for a run that starts nothing.
        if settings.provider == "embedded" and not self._config.option.collectonly:
            lines.append(f"k8snet: {choose.kernel_in_words(settings.kernel)}")
        if settings.faults:
            lines.append(f"k8snet: wrong on purpose: {choose.in_words(settings.faults)}")
        if settings.bundle is not None:
            lines.append(f"k8snet: keeping the run in {settings.bundle}")
        return lines

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        facts = facts_of(report)
        if facts is None or not facts["verdict"]:
            return None
        return {
            "held": ("passed", ".", ("HELD", {"green": True})),
            "broken": ("failed", "F", ("BROKEN", {"red": True})),
            INCONCLUSIVE: (INCONCLUSIVE, "?", ("INCONCLUSIVE", {"yellow": True})),
        }[facts["verdict"]]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        facts = facts_of(report)
        if facts is None:
            return
        lab = self._labs.setdefault(facts["lab"], LabTally())
        lab.seconds += report.duration
        lab.ledgers += facts["ledgers"]
        if facts["cluster"]:
            self._clusters[facts["cluster"]] = None
        if report.when == "call" or not report.passed:
            lab.counts[facts["verdict"] or report.outcome] += 1
        if report.skipped and isinstance(report.longrepr, tuple):
            lab.skip_reasons[report.longrepr[2].removeprefix("Skipped: ")] = None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._config.option.tbstyle != "no":
            self._tell_inconclusive(terminalreporter)
        if self._config.option.verbose >= 1:
            self._tell_ledgers(terminalreporter)
        if self._labs:
            self._tell_labs(terminalreporter)

    # pytest's own last words (the interrupt's too) come before these.
    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        # With -p no:terminal there is nobody to write, which is known only now: pytest's reporter may be
        # registered after this one. It is the reporter that calls all the other hooks that write.
        if not self._config.pluginmanager.hasplugin("terminalreporter"):
            return
        writer = self._config.get_terminal_writer()
        if self._clusters:
            settings = self._settings
            what = choose.verdict_on(
                settings.provider, settings.replay, settings.faults, settings.asked.context
            )
            writer.line(f"k8snet: this is a verdict on {what}.")
        if farewell := self._run.farewell:
            writer.line(f"k8snet: {farewell}")

    def _tell_inconclusive(self, reporter: pytest.TerminalReporter) -> None:
        """As pytest tells failures: it knows nothing of the category."""
        reports = reporter.getreports(INCONCLUSIVE)
        if not reports:
            return
        reporter.write_sep("=", "INCONCLUSIVE")
        # A lab that can't be set up leaves all its claims with one reason: it is told once.
        alike: dict[tuple[str, str], list[pytest.TestReport]] = {}
        for report in reports:
            reason = str(report.longrepr).partition("\n")[2]
            alike.setdefault((reason, str(report.sections)), []).append(report)
        for report, *others in alike.values():
            reporter.write_sep("_", report.head_line or report.nodeid, yellow=True, bold=True)
            reporter.write_line(str(report.longrepr))
            for name, content in report.sections:
                reporter.write_sep("-", name)
                reporter.write_line(content.rstrip("\n"))
            if others:
                names = ", ".join(other.head_line or other.nodeid for other in others)
                reporter.write_line(f"\nThe same of {names}")

    def _tell_ledgers(self, reporter: pytest.TerminalReporter) -> None:
        told = [(lab, ledger) for lab, tally in self._labs.items() for ledger in tally.ledgers]
        if not told:
            return
        reporter.write_sep("=", "k8snet: requests, hop by hop")
        for lab, ledger in told:
            title, _, rows = ledger.partition("\n")
            reporter.write_line(f"{lab}: {title}", bold=True)
            for row in rows.splitlines():
                reporter.write_line(row, red="<--" in row)

    def _tell_labs(self, reporter: pytest.TerminalReporter) -> None:
        reporter.write_sep("=", "k8snet")
        for cluster in self._clusters:
            reporter.write_line(f"on {cluster}")
        width = max(map(len, self._labs)) + 2
        for name, lab in self._labs.items():
            colour = "green" if not set(lab.counts) - {"held", "passed", "skipped"} else "red"
            reporter.write_line(f"{name:<{width}}{lab.line()}", **{colour: True})
        for report in reporter.getreports(INCONCLUSIVE):
            reporter.write_line(f"INCONCLUSIVE {report.nodeid}", yellow=True)
        for name, lab in self._labs.items():
            if lab.all_skipped:
                why = "; ".join(lab.skip_reasons) or "no reason was given"
                reporter.write_line(f"lab {name} was skipped as a whole: {why}", yellow=True)
