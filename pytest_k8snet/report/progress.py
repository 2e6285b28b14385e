"""One line, on a terminal only, that says which step of setting up is under way."""

from __future__ import annotations

import time
from contextlib import nullcontext

import pytest


class Progress:
    """Shows a step below pytest's own line and erases it again, leaving that line as it was."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._began = 0.0
        self._shown = False

    def __call__(self, step: str) -> None:
        """``step`` is under way; "" when none is."""
        plugins = self._config.pluginmanager
        # Not the file's isatty(): while pytest captures, that speaks of the captured file.
        on_terminal = bool(getattr(plugins.getplugin("terminalreporter"), "isatty", False))
        if not on_terminal or self._config.option.verbose < 0 or not (step or self._shown):
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
