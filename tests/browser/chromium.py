"""Debian's Chromium, headless, driven by playwright. Found by PATH; nothing of it stays behind."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BINARY = "chromium"
GONE_SECONDS = 10.0  #: within which the last of a closed browser's processes is gone


def missing(what: str) -> NoReturn:
    """Skips, but on CI, which installs all of it and must not pass for the want of it."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"missing: {what}")


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser whose home, profile and sockets lie in ``folder``, and of which nothing stays.

    Skips, naming what is missing, where there is no Chromium or no playwright; fails there on CI.

    :raises AssertionError: a process or a file of the browser's is still there after it was closed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright, of the extra [dev]")
    binary = shutil.which(BINARY)
    if binary is None:
        missing(f"{BINARY} (apt-get install {BINARY})")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TMPDIR", str(folder))
        # What else a desktop program writes goes there too: ~/.pki, ~/.cache, ~/.config.
        environment.setenv("HOME", str(folder))
        for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
            environment.delenv(variable, raising=False)
        playwright = sync_playwright().start()
    try:
        # There is none, and making up for it takes a tenth of the time.
        browser = playwright.chromium.launch(executable_path=binary, args=["--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()
    finally:
        playwright.stop()
    deadline = time.monotonic() + GONE_SECONDS
    while (left := residue(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"the browser left: {', '.join(left)}"


def residue(folder: Path) -> list[str]:
    """What is left of a browser that was started in ``folder``: its files there, and its processes."""
    # Fonts and certificates that any program caches in its home.
    files = [
        str(path) for path in folder.iterdir() if path.name not in (".cache", ".config", ".local", ".pki")
    ]
    return files + [f"process {number}" for number in _processes_of(folder)]


def _processes_of(folder: Path) -> Iterator[str]:
    """Those that were told of the folder by a variable, as the driver is, or an option, as a renderer is."""
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            if bytes(folder) in (process / "environ").read_bytes() + (process / "cmdline").read_bytes():
                yield process.name
        except OSError:  # gone meanwhile, or somebody else's
            continue
