"""Lab manifests as read from YAML files. STUB: interface only (owner: plugin helper)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ManifestError(ValueError):
    """A manifest that can't be used: one line naming the file, the object and the field."""


@dataclass(frozen=True)
class Manifest:
    kind: str
    name: str
    body: Mapping[str, Any]
    source: str  #: file, as the user would name it
