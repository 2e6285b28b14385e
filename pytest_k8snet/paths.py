"""The directories and files that a run was given: whether they can be read, or written to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


class Unusable(ValueError):
    """One line that says why a path can't be used; ``setting`` named it."""

    def __init__(self, setting: str, problem: object) -> None:
        super().__init__(str(problem))
        self.setting = setting


@dataclass(frozen=True)
class Paths:
    """See the module. None where nothing was given."""

    bundle: Path | None
    replay: Path | None
    report: Path | None
    baseline: Path | None

    @classmethod
    def given(cls, values: Mapping[str, Any], base: Path) -> Paths:
        """Those among the settings' ``values``, from where pytest was called. Raises :class:`Unusable`."""
        for name in ("bundle", "replay", "report", "baseline"):
            if values[name] is not None and not values[name].strip():
                raise Unusable(name, "needs a file" if name == "report" else "needs a directory")
        bundle, replay, report, baseline = (
            # No shell expands the ~ of --option=~/name: it would be made as a directory of that name.
            base / os.path.expanduser(values[name]) if values[name] is not None else None
            for name in ("bundle", "replay", "report", "baseline")
        )
        if bundle is not None and replay is not None:
            raise Unusable("bundle", "a replayed run is not recorded again; leave it or --k8snet-replay out")
        if bundle is not None and baseline is not None and bundle.resolve() == baseline.resolve():
            raise Unusable(
                "baseline", f"{baseline} is where this run is to be kept; name the earlier run's directory"
            )
        return cls(bundle, replay, report, baseline)

    def check(self, config: pytest.Config, roles: Mapping[str, str]) -> None:
        """Read what is to be read, try to write what is to be written; leave nothing behind.

        ``roles`` are those that were declared: a recorded run has its own. Raises :class:`Unusable`.
        """
        if self.bundle is not None:
            try:
                _check_is_free(self.bundle)
                if not config.option.collectonly:
                    _try_to_write(self.bundle)
            except OSError as error:
                raise Unusable("bundle", f"{self.bundle} can't be written to: {error.strerror}") from None
        if self.report is not None:
            try:
                if problem := self._no_place_for_a_page(self.report):
                    raise Unusable("report", problem)
                if not config.option.collectonly:
                    _try_to_write(self.report.parent)
            except OSError as error:
                raise Unusable("report", f"{self.report} can't be written: {error.strerror}") from None
        if self.baseline is not None:
            _check_baseline(self.baseline)
        if self.replay is not None:
            recorded = _recorded_roles(self.replay)
            for role, node in roles.items():
                if recorded.get(role) != node:
                    was = f"the {role} of the run in {self.replay} was {recorded.get(role)!r}"
                    raise Unusable("role", f"'{role}={node}': {was}")

    def _no_place_for_a_page(self, report: Path) -> str:
        """Why the page can't lie there; else "". Raises OSError for an impossible name."""
        if self.bundle is not None and self.bundle.resolve().is_relative_to(report.resolve()):
            return f"{report} is to be a directory (--k8snet-bundle); name a file"
        if report.is_dir():
            return f"{report} is a directory; name a file"
        if report.exists() and not report.is_file():  # a page put in the place of /dev/null replaces it
            return f"{report} is no ordinary file; name one"
        if report.suffix not in (
            ".html",
            ".htm",
        ):  # nor in a bundle header's place, or JUnit's
            return f"{report} is not called as pages are; name it {report.stem or 'run'}.html"
        return ""


def _recorded_roles(replay: Path) -> Mapping[str, str]:
    """The roles of the run kept in ``replay``, all of which is read: a replay begins with a whole bundle."""
    from pytest_k8snet.clusters.bundle import BundleError
    from pytest_k8snet.clusters.replay import ReplayCluster

    try:
        return ReplayCluster(replay).roles
    except BundleError as error:
        raise Unusable("replay", error) from None


def _check_baseline(baseline: Path) -> None:
    from pytest_k8snet import kept
    from pytest_k8snet.clusters.bundle import BundleError

    try:
        kept.check(baseline)
    except BundleError as error:
        raise Unusable("baseline", error) from None


def _check_is_free(bundle: Path) -> None:
    if bundle.exists():
        if not bundle.is_dir():
            raise Unusable("bundle", f"{bundle} is not a directory")
        if any(bundle.iterdir()):
            what = "a bundle" if (bundle / "bundle.json").exists() else "something that is not a bundle"
            raise Unusable("bundle", f"{bundle} holds {what}; name an empty directory")


def _try_to_write(bundle: Path) -> None:
    """Make the directory and a file in it, and remove them again: a refused run leaves nothing behind.

    Modes don't tell: root has every right, and yet none on /proc or a file system mounted read-only.
    Raises OSError.
    """
    made: list[Path] = []
    try:
        for path in (*reversed(bundle.parents), bundle):
            if not path.exists():
                path.mkdir()
                made.append(path)
        with tempfile.NamedTemporaryFile(dir=bundle) as trial:
            trial.write(b"{}")
            trial.flush()
    finally:
        for path in reversed(made):
            with suppress(OSError):  # another run keeps its bundle below the same new directory
                path.rmdir()
