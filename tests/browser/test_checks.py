"""The checks themselves: each passes the sound page and finds what its broken twin breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.broken import SOUND, TWINS, Twin
from tests.browser.checks import CHECKS
from tests.browser.visit import DESKTOP, NARROWEST, Scheme, Windows


def test_every_check_has_a_twin() -> None:
    assert {twin.check for twin in TWINS} == set(CHECKS)


@pytest.mark.parametrize(("width", "scheme"), [(NARROWEST, "light"), (DESKTOP, "dark")])
def test_the_sound_page_passes(windows: Windows, tmp_path: Path, width: int, scheme: Scheme) -> None:
    (page := tmp_path / "sound.html").write_text(SOUND)
    opened = windows.look(page, width=width, scheme=scheme)
    opened.find("opening")
    findings = {name: check(opened) for name, check in CHECKS.items()}
    assert not any(findings.values()), findings


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_a_broken_twin_is_found(windows: Windows, tmp_path: Path, twin: Twin) -> None:
    (page := tmp_path / "broken.html").write_text(twin.page())
    opened = windows.look(page, **twin.look)
    if twin.check not in ("opening", "led", "unprinted"):
        opened.find("opening")
    findings = CHECKS[twin.check](opened)
    assert any(twin.says in finding for finding in findings), findings
