"""The tables of docs/diagnosis.md are the causes, as the code has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_k8snet.claims.causes import BY_PLACE, DIAGNOSES

DOCUMENT = (Path(__file__).resolve().parent.parent / "docs" / "diagnosis.md").read_text()


@pytest.mark.parametrize("place", BY_PLACE)
def test_the_table_of_causes_is_the_codes(place: str) -> None:
    lines = ["| diagnosis | symptom | evidence | cause | what to do |", "|---|---|---|---|---|"]
    for cause in BY_PLACE[place]:
        lines.append(
            f"| `{cause.id}` | {cause.symptom} | {cause.evidence} | {cause.cause} | {cause.remedy} |"
        )
    key = place.lower().replace(",", "").replace(" ", "-")
    found = re.search(rf"## {place}\n\n<!-- {key} -->\n(.*?)\n<!-- /{key} -->", DOCUMENT, re.DOTALL)
    assert found is not None, f"docs/diagnosis.md has no table of {place}; it must hold:\n" + "\n".join(lines)
    assert found[1] == "\n".join(lines)


def test_the_document_lists_nothing_else() -> None:
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", DOCUMENT, re.MULTILINE) == list(DIAGNOSES)
