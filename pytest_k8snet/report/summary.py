"""What a run came to, in the few lines that end it: broken claims by their first wrong hop, and changes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pytest_k8snet.meaning.comparison import Change, Comparison
from pytest_k8snet.report.account import ToldClaim, ToldLab
from pytest_k8snet.report.drawing import Drawing, Sighting
from pytest_k8snet.report.verdicts import legible

#: In the order of a lab's row. "passed" and "failed" are of tests that judge nothing.
OUTCOMES = ("held", "broken", "inconclusive", "passed", "failed", "skipped")
GOOD = frozenset({"held", "passed", "skipped"})
BASELINE = "baseline"  #: the lab of the tests that compare with a kept run
OUTAGE = "outage"  #: the lab whose verdicts measure the paths of an upgrade: told also when held

#: The note of claims/rows.py where the request passed a point, but in no form that was expected there.
NOT_HERE = "not seen here"

#: A client's port differs from request to request and tells a reader nothing.
_CLIENT_PORT = re.compile(r":\d+ ->")


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    clusters: tuple[str, ...] = ()  #: in one line each
    labs: tuple[ToldLab, ...] = ()
    inconclusive: tuple[str, ...] = ()  #: node ids
    comparison: Comparison | None = None
    places: tuple[tuple[str, str], ...] = ()  #: ("bundle", "kept"): where things lie


@dataclass(frozen=True)
class WrongHop:
    """Where the packet, or what was read in its place, first differs; and all broken claims that say so."""

    claims: tuple[str, ...]
    where: str  #: "k8s-node2 eth1"; "" where a verdict names no place
    expected: str
    seen: str
    causes: tuple[tuple[str, str], ...] = ()  #: (id in docs/diagnosis.md, in words)

    @property
    def text(self) -> str:
        """ "k8s-node2 eth1: expected IPIP, seen plain TCP"; without a part that is not known."""
        parts = (("expected", self.expected), ("seen", self.seen))
        told = ", ".join(f"{word} {part}" for word, part in parts if part)
        return f"{self.where}: {told}" if self.where and told else self.where or told


def wrong_hops(labs: Iterable[ToldLab]) -> list[WrongHop]:
    """One for each first wrong hop, in the order of the first claim that shows it."""
    found: dict[tuple[str, str, str], list[ToldClaim]] = {}
    for lab in labs:
        for claim in lab.claims:
            if claim.outcome == "broken":
                found.setdefault(_first_wrong(claim, lab.drawings), []).append(claim)
    hops = []
    for (where, expected, seen), claims in found.items():
        causes = {
            claim.judged["diagnosis"]: one_line(claim.judged["cause"])
            for claim in claims
            if claim.judged.get("cause")
        }
        names = tuple(dict.fromkeys(claim.claim for claim in claims))
        hops.append(WrongHop(names, where, expected, seen, tuple(causes.items())))
    return hops


def _first_wrong(claim: ToldClaim, drawings: Iterable[Drawing]) -> tuple[str, str, str]:
    """(where, expected, seen): of the request that the verdict rests on, else of the verdict itself."""
    judged = claim.judged
    details = judged.get("details", "")
    for drawing in drawings:
        for sighting in drawing.sightings:
            if sighting.first_difference and _rests_on(details, drawing, sighting):
                where = f"{sighting.node} {sighting.interface}"
                return where, one_line(sighting.expected), one_line(_seen(sighting))
    where = one_line(judged.get("where", ""))
    return where, _at(where, judged.get("expected", "")), _at(where, judged.get("seen", ""))


def _rests_on(details: str, drawing: Drawing, sighting: Sighting) -> bool:
    """The details hold the ledger of that very request: its name, and the row (its ports are its own)."""
    return drawing.name in details.splitlines() and (sighting.inner or sighting.note) in details


def _seen(sighting: Sighting) -> str:
    if sighting.number is None:
        # The rest of a note tells what else was captured there: that stands in the test's own text.
        return "nothing in that form" if sighting.note == NOT_HERE else sighting.note.partition(";")[0]
    inner = _CLIENT_PORT.sub(" ->", sighting.inner, count=1)
    return f"{sighting.outer} around TCP {inner}" if sighting.outer else f"plain TCP {inner}"


def _at(where: str, text: str) -> str:
    """A verdict's first line, without the place that is told already."""
    line = one_line(text.strip().partition("\n")[0])
    for place in (where, where.partition(" ")[0]):
        if place and line.startswith(f"{place}: "):
            return line.removeprefix(f"{place}: ")
    return line


def measures(lab: ToldLab) -> list[tuple[str, str]]:
    """(claim, what was measured) of each path that was watched."""
    if lab.name != OUTAGE:
        return []
    judged = [claim for claim in lab.claims if claim.judged]
    # A lab that could not be set up says of every path why nothing was measured.
    unmeasured = {claim.judged["seen"] if claim.outcome == "inconclusive" else "" for claim in judged}
    if len(judged) > 1 and len(unmeasured) == 1 and "" not in unmeasured:
        return []
    return [(claim.claim, one_line(claim.judged["seen"])) for claim in judged]


def row(lab: ToldLab) -> str:
    """ "9 held, 1 broken in 15.6 s"."""
    counts = lab.counts
    told = ", ".join(f"{counts[name]} {name}" for name in OUTCOMES if counts[name])
    return f"{told or 'nothing judged'} in {lab.seconds:.1f} s"


def all_good(lab: ToldLab) -> bool:
    return set(lab.counts) <= GOOD


@dataclass(frozen=True)
class ToldChange:
    word: str  #: "changed", "unknown" or "allowed"
    id: str
    text: str  #: "1480 -> 1450"


def told_changes(comparison: Comparison) -> Iterator[ToldChange]:
    """The unexpected changes, then what could not be told, then those that were allowed."""
    for change in comparison.unexpected:
        yield ToldChange("changed", change.id, _before_and_now(change))
    for change in comparison.unknown:
        yield ToldChange("unknown", change.id, f"was {_value(change.before)}; {one_line(change.unknown)}")
    for change in comparison.expected:
        reason = one_line(change.allowed)
        yield ToldChange("allowed", change.id, f"{_before_and_now(change)}  ({reason})")


def verdict_on_baseline(comparison: Comparison) -> str:
    """ "before (embedded, ...): 2 unexpected changes, 1 allowed, 120 facts the same"."""
    unexpected, unknown = len(comparison.unexpected), len(comparison.unknown)
    allowed = len(comparison.expected)
    parts = [_counted(unexpected, "unexpected change") if comparison.changes else "no difference"]
    parts += [f"{unknown} unknown"] * bool(unknown) + [f"{allowed} allowed"] * bool(allowed)
    parts.append(f"{_counted(comparison.same, 'fact')} the same")
    if comparison.left_out:
        parts.append(f"{len(comparison.left_out)} not compared")
    return f"{one_line(comparison.baseline)}: {', '.join(parts)}"


def _before_and_now(change: Change) -> str:
    return f"{_value(change.before)} -> {_value(change.now)}"


def _value(text: str) -> str:
    return one_line("; ".join(filter(None, map(str.strip, text.splitlines())))) or "nothing"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """On one line, with nothing in it that would move a terminal's cursor or colour what follows."""
    return legible(" ".join(text.split()), keep="")
