"""Which step of setting up is under way: one line that comes and goes on a terminal, lines in a CI log."""

from __future__ import annotations

import time
from contextlib import nullcontext

import pytest


class Progress:
    """Shows a step below pytest's own line and erases it again, leaving that line as it was.

    ``keep``: where there is no terminal, each step is a line of its own that stays. A cluster takes minutes
    to come up, and a CI log that says nothing for minutes looks like one that hangs.
    """

    def __init__(self, config: pytest.Config, *, keep: bool = False) -> None:
        self._config = config
        self._keep = keep
        self._began = 0.0
        self._shown = False
        self._told = ""

    def __call__(self, step: str) -> None:
        """``step`` is under way; "" when none is."""
        plugins = self._config.pluginmanager
        # Not the file's isatty(): while pytest captures, that speaks of the captured file.
        reporter = plugins.getplugin("terminalreporter")
        if reporter is None or self._config.option.verbose < 0 or not (step or self._shown):
            return
        if not getattr(reporter, "isatty", False):
            if self._keep:
                self._tell(step)
            return
        writer = self._config.get_terminal_writer()
        if not self._shown:
            self._began = time.monotonic()
        capture = plugins.getplugin("capturemanager")
        with nullcontext() if capture is None else capture.global_and_fixture_disabled():
            # Straight to the file: the writer keeps count of the width of the line it believes to be on,
            # and pytest fills that line up later.
            file = writer._file
            if not self._shown:
                file.write("\n")
            file.write("\r\x1b[2K")
            if step:
                text = f"  k8snet: {step} ({time.monotonic() - self._began:.1f} s)"
                file.write(text[: writer.fullwidth - 1])
            else:
                column = writer.width_of_current_line
                file.write("\x1b[A" + (f"\x1b[{column}C" if column else ""))
            file.flush()
        self._shown = bool(step)

    def _tell(self, step: str) -> None:
        if not self._shown:
            self._began = time.monotonic()
        self._shown = bool(step)
        again, self._told = step == self._told, step
        if step and not again:
            capture = self._config.pluginmanager.getplugin("capturemanager")
            writer = self._config.get_terminal_writer()
            with nullcontext() if capture is None else capture.global_and_fixture_disabled():
                elapsed = time.monotonic() - self._began
                if writer.width_of_current_line:
                    writer.line()
                writer.line(f"k8snet: {step} ({elapsed:.1f} s)")
                writer.flush()
