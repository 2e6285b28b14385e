"""What pytest's terminal says of the labs: header, words for verdicts, ledgers, summary, last line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_k8snet.clusters import choose
from pytest_k8snet.report.account import INCONCLUSIVE, Account
from pytest_k8snet.report.facts import facts_of
from pytest_k8snet.report.places import named
from pytest_k8snet.report.plain import Plain
from pytest_k8snet.report.summary import Summary
from pytest_k8snet.run import Run
from pytest_k8snet.settings import Settings

if TYPE_CHECKING:
    from pytest_k8snet.baseline import Baseline
    from pytest_k8snet.report.writing import PageFile


class Terminal:
    """Runs where the terminal is: in an only process, or in xdist's controller."""

    def __init__(
        self,
        settings: Settings,
        config: pytest.Config,
        run: Run,
        account: Account,
        baseline: Baseline | None,
        page: PageFile | None,
    ) -> None:
        self._settings = settings
        self._config = config
        self._run = run
        self._account = account
        self._baseline = baseline
        self._page = page
        self._summed_up = False

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

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        self._summed_up = True
        if self._config.option.tbstyle != "no" and not self._config.option.no_summary:
            self._tell_inconclusive(terminalreporter)
        if self._config.option.verbose >= 1:
            self._tell_ledgers(terminalreporter)
        summary = Summary(
            clusters=tuple(self._account.clusters),
            labs=tuple(self._account.labs.values()),
            inconclusive=tuple(report.nodeid for report in terminalreporter.getreports(INCONCLUSIVE)),
            comparison=self._baseline.comparison if self._baseline is not None else None,
            places=tuple(self._places()),
        )
        lines = list(self._writer(terminalreporter).told(summary))
        if lines:
            terminalreporter.write_sep("=", "k8snet")
        for line in lines:
            terminalreporter.write_line(line)

    # pytest's own last words (the interrupt's too) come before these.
    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        # With -p no:terminal there is nobody to write, which is known only now: pytest's reporter may be
        # registered after this one. It is the reporter that calls all the other hooks that write.
        if not self._config.pluginmanager.hasplugin("terminalreporter"):
            return
        writer = self._config.get_terminal_writer()
        if self._account.clusters:
            settings = self._settings
            what = settings.subject
            writer.line(f"k8snet: this is a verdict on {what}.")
        # An older pytest calls for no summary at all with --no-summary: the exit status still has a reason.
        if self._page is not None and self._page.problem and not self._summed_up:
            writer.line(f"k8snet: no report: {self._page.problem}")
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
        told = [(name, ledger) for name, lab in self._account.labs.items() for ledger in lab.ledgers]
        if not told:
            return
        reporter.write_sep("=", "k8snet: requests, hop by hop")
        for name, ledger in told:
            title, _, rows = ledger.partition("\n")
            reporter.write_line(f"{name}: {title}", bold=True)
            for row in rows.splitlines():
                reporter.write_line(row, red="<--" in row)

    def _writer(self, reporter: pytest.TerminalReporter) -> Plain:
        """rich on a terminal, and where colours were asked for; plain lines else."""
        writer = self._config.get_terminal_writer()
        whole = self._config.option.verbose >= 1
        shown = bool(reporter.isatty) and os.environ.get("TERM") != "dumb"
        if not (shown or writer.hasmarkup):
            return Plain(whole=whole)
        from pytest_k8snet.report.screen import Screen

        # A CI's log has no width, though its runner may offer a terminal: pytest cuts nothing there either.
        cuts = shown and not (os.environ.get("CI") or os.environ.get("BUILD_NUMBER"))
        return Screen(
            writer.fullwidth if cuts else None,
            colour=writer.hasmarkup,
            encoding=getattr(writer._file, "encoding", None) or "utf-8",
            whole=whole,
        )

    def _places(self) -> Iterator[tuple[str, str]]:
        """Where things lie, and how to look again."""
        settings = self._settings
        bundle = settings.bundle
        # A run in which nothing needed a cluster keeps nothing.
        if bundle is not None and (bundle / "bundle.json").exists():
            kept = self._named(bundle)
            yield "bundle", kept
            paths = self._config.option.file_or_dir or []
            yield "judge again", shlex.join(["pytest", "--k8snet", f"--k8snet-replay={kept}", *paths])
        if self._page is not None and self._page.problem:
            yield "report", f"none: {self._page.problem}"
        elif self._page is not None and self._page.written and settings.report is not None:
            yield "report", self._named(settings.report)

    def _named(self, path: Path) -> str:
        return named(path, self._config.invocation_params.dir)
