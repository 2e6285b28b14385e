"""The HTML page, written when the tests are over and before the terminal's summary says where it lies."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_k8snet import __version__
from pytest_k8snet.clusters import choose
from pytest_k8snet.report.account import Account
from pytest_k8snet.report.places import named
from pytest_k8snet.report.told import ToldRun
from pytest_k8snet.run import Run
from pytest_k8snet.settings import Settings

if TYPE_CHECKING:
    from pytest_k8snet.baseline import Baseline


class PageFile:
    """Runs where all reports arrive. ``problem`` says why the page could not be written; else ""."""

    def __init__(
        self, file: Path, settings: Settings, run: Run, account: Account, baseline: Baseline | None
    ) -> None:
        self._file = file
        self._settings = settings
        self._run = run
        self._account = account
        self._baseline = baseline
        self._started = _now()
        self.written = False
        self.problem = ""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.USAGE_ERROR:
            return  # no test was to be run: a page of an earlier run stays

        from pytest_k8snet.report.page import render

        page = render(self._told(session, _why_cut_short(session, exitstatus)))
        # Never half a page in place of an earlier whole one.
        fresh = self._file.with_name(f".{self._file.name}.new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(page, encoding="utf-8")
            fresh.replace(self._file)
            self.written = True
        except OSError as error:
            self.problem = f"{self._file} could not be written: {error.strerror}"
            # Whoever asked for the page must not take a run without one for a good one.
            session.exitstatus = session.exitstatus or pytest.ExitCode.INTERNAL_ERROR
        finally:
            with suppress(OSError):  # a name that can't be made can't be removed
                fresh.unlink()

    def _told(self, session: pytest.Session, interrupted: str) -> ToldRun:
        settings = self._settings
        here = session.config.invocation_params.dir
        recorded = choose.recorded(settings.replay) if settings.replay is not None else {}
        faults = str(recorded.get("details", {}).get("faults", ""))
        intent = vars(self._run.intent())
        return ToldRun(
            subject=settings.subject,
            reference=bool(recorded.get("reference", settings.provider == "embedded")),
            provider=settings.provider,
            clusters=tuple(self._account.clusters),
            started=self._started,
            finished=_now(),
            version=__version__,
            intent={name.replace("_", "-"): _in_words(value) for name, value in intent.items()},
            faults=settings.faults or tuple(filter(None, faults.split(", "))),
            labs=tuple(self._account.labs.values()),
            bundle=named(settings.bundle, here) if settings.bundle else "",
            replay=named(settings.replay, here) if settings.replay else "",
            interrupted=interrupted,
            comparison=self._baseline.comparison if self._baseline is not None else None,
        )


def _why_cut_short(session: pytest.Session, exitstatus: int) -> str:
    if session.shouldfail or session.shouldstop:
        return str(session.shouldfail or session.shouldstop)
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        return "interrupted before its end"
    return ""


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {part}" for name, part in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "as found" if value is None else str(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
