"""Everything behind ``--k8snet``: checks what was asked for and registers the rest of the plugin."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from pytest_k8snet import fixtures, workers
from pytest_k8snet.clusters import choose
from pytest_k8snet.collection import Collection
from pytest_k8snet.judging import Judging
from pytest_k8snet.report.account import Account
from pytest_k8snet.report.junit import JUnit
from pytest_k8snet.report.progress import Progress
from pytest_k8snet.report.terminal import Terminal
from pytest_k8snet.report.writing import PageFile
from pytest_k8snet.run import RUN, Run
from pytest_k8snet.settings import Settings
from pytest_k8snet.settings import read as read_settings

if TYPE_CHECKING:
    from pytest_k8snet.baseline import Baseline


def enable(config: pytest.Config) -> None:
    """Switch the plugin on for this process: the only one, xdist's controller, or one of its workers.

    Raises :class:`pytest.UsageError` for a value that can't be used and for tools that are missing.
    """
    settings = read_settings(config)
    worker = hasattr(config, "workerinput")
    starts = not worker and not config.option.collectonly
    if starts and (missing := _missing(settings)):
        raise pytest.UsageError(f"--k8snet: {'; '.join([*missing, *_another_way(settings)])}")
    distributes = _keep_labs_whole(config)
    if distributes and settings.asked.images.namespace:
        raise pytest.UsageError(
            "--k8snet-image-pull-secret: one run at a time uses that namespace; leave -n out"
        )
    if distributes and settings.watch:
        raise pytest.UsageError("--k8snet-watch: other workers would judge mid-upgrade; leave -n out")
    run = Run(
        settings,
        joins=worker,
        shared=workers.shared_kind(config),
        say=_say_nothing if worker else Progress(config, keep=settings.provider in choose.REAL),
    )
    config.stash[RUN] = run
    if starts or worker:
        config.pluginmanager.register(Termination(), "k8snet-termination")
    register = config.pluginmanager.register
    register(run, "k8snet-run")
    register(fixtures, "k8snet-fixtures")
    register(Collection(config, settings), "k8snet-collection")
    register(Judging(run), "k8snet-judging")
    if not worker:
        account = Account()
        register(account, "k8snet-account")
        register(JUnit(settings, config, account), "k8snet-junit")
        baseline = _baseline(settings, config, account)
        if baseline is not None and starts:
            register(baseline, "k8snet-baseline")
        page = PageFile(settings.report, settings, run, account, baseline) if settings.report else None
        if page is not None and starts:
            register(page, "k8snet-page")
        register(Terminal(settings, config, run, account, baseline, page), "k8snet-terminal")
        if distributes:
            register(workers.Inputs(settings), "k8snet-inputs")
        if settings.bundle is not None and distributes and starts:
            register(workers.SharedBundle(settings.bundle), "k8snet-bundle")
        if settings.provider == "kind" and distributes and starts:
            register(workers.SharedKind(run), "k8snet-kind")


def _baseline(settings: Settings, config: pytest.Config, account: Account) -> Baseline | None:
    if settings.baseline is None:
        return None
    from pytest_k8snet.baseline import Baseline

    return Baseline(settings, config, account)


class Termination:
    """SIGTERM is what a CI system or ``timeout`` ends a run with: it is taken as Ctrl-C, which cleans up."""

    def __init__(self) -> None:
        # A handler of the user's own stays; handlers are of the main thread alone.
        self._ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        )
        if self._ours:
            signal.signal(signal.SIGTERM, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt("SIGTERM")

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        if self._ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _another_way(settings: Settings) -> list[str]:
    """Nobody asked for the kind cluster that can't be made: Docker answers, so "auto" took it."""
    if settings.provider != "kind" or not settings.why.startswith("auto"):
        return []
    return ["or leave Docker alone: --k8snet-provider=embedded judges the reference network"]


def _missing(settings: Settings) -> list[str]:
    return choose.problems(settings.provider, settings.kernel, settings.asked, settings.intent())


def _say_nothing(step: str) -> None:
    """A worker has no terminal."""


def _keep_labs_whole(config: pytest.Config) -> bool:
    """One worker a lab: pytest-xdist's default hands out single tests, and each worker would run every lab.

    Returns whether this process distributes tests to workers.
    """
    mode = config.getoption("dist", "no")
    if mode == "no" or not config.getoption("tx", None):
        return False
    if mode in ("load", "worksteal"):
        config.option.dist = "loadfile"
    return True
