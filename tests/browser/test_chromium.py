"""Finding the browser, and finding what is left of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.browser.chromium import chromium, residue


def test_without_a_browser_the_tests_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="missing: chromium"), chromium(tmp_path):
        pass


def test_without_a_browser_ci_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="missing: chromium"), chromium(tmp_path):
        pass


def test_a_profile_that_stays_is_found(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    assert residue(tmp_path) == []
    (profile := tmp_path / "playwright_chromiumdev_profile-a").mkdir()
    assert residue(tmp_path) == [str(profile)]


@pytest.mark.parametrize("option", [True, False])
def test_a_process_that_stays_is_found(tmp_path: Path, option: bool) -> None:
    command = ["sh", "-c", "read line", f"--user-data-dir={tmp_path}" if option else "sh"]
    variables = {} if option else {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=os.environ | variables, stdin=subprocess.PIPE) as process:
        found = residue(tmp_path)
    assert found == [f"process {process.pid}"]
    assert residue(tmp_path) == []
