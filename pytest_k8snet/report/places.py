"""Files and directories of a run, as its reports name them."""

from __future__ import annotations

from pathlib import Path


def named(path: Path, here: Path) -> str:
    """As a person who stands ``here`` (where pytest was called) names the path."""
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
