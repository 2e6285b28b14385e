"""The comparison with a baseline as it stands on the page: what differs alike is told once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

from pytest_k8snet.meaning.comparison import Change, Comparison

VERDICT = "verdict"


@dataclass(frozen=True)
class Named:
    """``name``: the change's id without its kind. ``claim``: the anchor of the claim whose verdict it is."""

    name: str
    anchor: str
    claim: str = ""


@dataclass(frozen=True)
class Line:
    """Of a value of several lines. ``side``: "both", "before", "now"."""

    side: str
    text: str


@dataclass(frozen=True)
class Row:
    """Changes of one kind from the same to the same. ``why``: allowed, or not to be told."""

    names: tuple[Named, ...]
    before: str
    now: str
    why: str

    @property
    def lines(self) -> list[Line]:
        """Where both sides have a value and one has several lines; else none."""
        before, now = self.before.splitlines(), self.now.splitlines()
        return _lines(before, now) if before and now and len(before) + len(now) > 2 else []


@dataclass(frozen=True)
class Kind:
    name: str  #: "encapsulation"
    rows: tuple[Row, ...]

    @property
    def number(self) -> int:
        return sum(len(row.names) for row in self.rows)


@dataclass(frozen=True)
class Part:
    """``verdicts``: those of claims, which follow from the other changes and come last."""

    title: str  #: "Unexpected changes"
    look: str
    number: int
    kinds: tuple[Kind, ...]
    verdicts: tuple[Row, ...]


@dataclass(frozen=True)
class ShownComparison:
    told: Comparison
    parts: tuple[Part, ...]

    @property
    def counts(self) -> list[tuple[str, str, int]]:
        """(what, look, how many)."""
        counts = [(part.title.lower(), part.look, part.number) for part in self.parts]
        same = self.told.same
        return [*counts, ("fact the same" if same == 1 else "facts the same", "good", same)]

    @property
    def left_out(self) -> dict[str, list[str]]:
        """What was not compared, by the reason."""
        found: dict[str, list[str]] = defaultdict(list)
        for id, why in self.told.left_out.items():
            found[why].append(id)
        return dict(found)


def shown(told: Comparison, anchor: Callable[[str], str], claims: dict[str, str]) -> ShownComparison:
    """``anchor`` makes one of a change's id; ``claims`` has the anchors of claims by their ids."""
    parts = (
        _part("Unexpected change{}", "bad", told.unexpected, anchor, claims),
        _part("Change{} that can't be told", "unsure", told.unknown, anchor, claims),
        _part("Allowed change{}", "left", told.expected, anchor, claims),
    )
    return ShownComparison(told, tuple(part for part in parts if part.number))


def _part(
    title: str,
    look: str,
    changes: Iterable[Change],
    anchor: Callable[[str], str],
    claims: dict[str, str],
) -> Part:
    kinds: dict[str, dict[tuple[str, str, str], list[Named]]] = defaultdict(lambda: defaultdict(list))
    for change in changes:
        kind, _, name = change.id.partition("/")
        alike = change.before, change.now, change.unknown or change.allowed
        claim = claims.get(name, "") if kind == VERDICT else ""
        kinds[kind][alike].append(Named(name or kind, anchor(change.id), claim))
    rows = {
        kind: tuple(Row(tuple(names), *alike) for alike, names in found.items())
        for kind, found in kinds.items()
    }
    verdicts = rows.pop(VERDICT, ())
    number = sum(len(names) for found in kinds.values() for names in found.values())
    kept = tuple(Kind(kind, each) for kind, each in rows.items())
    return Part(title.format("" if number == 1 else "s"), look, number, kept, verdicts)


def _lines(before: list[str], now: list[str]) -> list[Line]:
    found = []
    for _, start, end, start_now, end_now in SequenceMatcher(None, before, now, autojunk=False).get_opcodes():
        if before[start:end] == now[start_now:end_now]:
            found += [Line("both", line) for line in now[start_now:end_now]]
        else:
            found += [Line("before", line) for line in before[start:end]]
            found += [Line("now", line) for line in now[start_now:end_now]]
    return found
