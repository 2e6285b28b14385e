"""The fault matrix: what each named fault of the reference network must do to the claims.

The data lies in ``matrix.toml``: under a fault's name, ``breaks`` maps each claim that must be broken to the
id of the cause that its text must name (docs/diagnosis.md; "" where the evidence shows none), and
``inconclusive`` lists the claims that can't tell. Every other claim must be held.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Row:
    """What one fault must do. Claims by id, in the order of the catalogue."""

    fault: str
    breaks: Mapping[str, str]  #: claim -> id of the cause that its verdict names, "" for none
    inconclusive: tuple[str, ...]


def load() -> dict[str, Row]:
    """The matrix by fault."""
    tables = tomllib.loads(resources.files("pytest_k8snet").joinpath("matrix.toml").read_text("utf-8"))
    return {
        name: Row(name, dict(table.get("breaks", {})), tuple(table.get("inconclusive", ())))
        for name, table in tables.items()
    }
