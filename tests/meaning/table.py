"""Each fault of the matrix beside the healthy run, as Markdown: ``python -m tests.meaning.table``."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_k8snet import matrix
from pytest_k8snet.meaning.comparison import Change, Comparison, compare
from tests.meaning.runs import faulty, healthy

EXPECTED = tomllib.loads(Path(__file__).with_name("shows.toml").read_text())
SHOWS: Mapping[str, Sequence[str]] = EXPECTED["shows"]
VERDICTS_ONLY: Mapping[str, str] = EXPECTED["verdicts-only"]
UNTOUCHED: Mapping[str, Sequence[str]] = EXPECTED["untouched"]


def beside_healthy(fault: str) -> Comparison:
    return compare(healthy(), faulty(fault), baseline="healthy")


def told(found: Comparison) -> list[Change]:
    """Differences of the network itself: no verdicts, nothing unknown."""
    return [change for change in found.changes if not change.unknown and not _verdict(change)]


def unknown(found: Comparison) -> list[Change]:
    return [change for change in found.changes if change.unknown and not _verdict(change)]


def verdicts(found: Comparison) -> list[Change]:
    return [change for change in found.changes if _verdict(change)]


def _verdict(change: Change) -> bool:
    return change.id.startswith("verdict/")


def main() -> int:
    print("| fault | claims it breaks | differences besides verdicts | verdict differences |")
    print("|---|---|---|---|")
    for name, row in matrix.load().items():
        found = beside_healthy(name)
        ids = [f"`{change.id}`" for change in told(found)]
        hidden = len(unknown(found))
        differences = ", ".join(ids) or "none"
        differences += f"; {hidden} unknown" if hidden else ""
        moved = [change.now for change in verdicts(found)]
        counts = ", ".join(f"{moved.count(word)} {word}" for word in ("broken", "inconclusive"))
        print(f"| {name} | {', '.join(row.breaks) or 'none'} | {differences} | {counts} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
