"""What stands on the page and in which order: what does not hold before what does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from pytest_k8snet.report.account import ToldClaim, ToldLab
from pytest_k8snet.report.page.changes import ShownComparison, shown
from pytest_k8snet.report.page.lettering import visible
from pytest_k8snet.report.page.requests import ShownRequest
from pytest_k8snet.report.summary import BASELINE
from pytest_k8snet.report.told import ToldRun

#: How an outcome looks, the worst first. A word that is not here is shown as it is, as one that can't tell.
LOOKS = {
    "broken": "bad",
    "failed": "bad",
    "inconclusive": "unsure",
    "skipped": "left",
    "held": "good",
    "passed": "good",
}
UNKNOWN = "unsure"
#: With more requests than this, those with nothing to see are closed at first.
MANY_REQUESTS = 12
#: So many wrong requests are open at first, each of another lab.
OPEN_WRONG = 4
#: What it measured is of interest also where it holds.
MEASURES = "outage/measured"


class Anchors:
    """Ids of elements, each given out once. "pod-network/one-flow" stays what it is: links are made of it."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wish: str) -> str:
        wish = re.sub(r"\s", "-", visible(wish)) or "unnamed"
        name, number = wish, 1
        while name in self._taken:
            number += 1
            name = f"{wish}~{number}"
        self._taken.add(name)
        return name


@dataclass(frozen=True)
class ShownClaim:
    told: ToldClaim
    anchor: str
    requests: tuple[ShownRequest, ...]  #: that whose ledger its verdict shows, else its lab's
    drawn: bool = False  #: its verdict's details are the ledger of a request that is drawn

    @property
    def name(self) -> str:
        return name_of(self.told)

    @property
    def look(self) -> str:
        return LOOKS.get(self.told.outcome, UNKNOWN)

    @property
    def holds(self) -> bool:
        """There is nothing to do about it."""
        return self.look in ("good", "left")

    @property
    def measures(self) -> bool:
        """It is open at first, though it holds."""
        return self.told.claim == MEASURES


@dataclass(frozen=True)
class ShownLab:
    told: ToldLab
    anchor: str
    claims: tuple[ShownClaim, ...]
    requests: tuple[ShownRequest, ...]

    @property
    def look(self) -> str:
        return worst(self.told.counts)

    @property
    def counts(self) -> list[tuple[str, str, int]]:
        return counted(self.told.counts)


@dataclass(frozen=True)
class Contents:
    run: ToldRun
    labs: tuple[ShownLab, ...]
    comparison: ShownComparison | None = None
    compared: tuple[ShownClaim, ...] = ()  #: claims on the comparison as a whole

    @cached_property
    def claims(self) -> tuple[ShownClaim, ...]:
        """All but that nothing changed: the comparison tells those."""
        return (*(claim for lab in self.labs for claim in lab.claims), *self.compared)

    @cached_property
    def not_held(self) -> tuple[ShownClaim, ...]:
        """Broken ones first; those of one outcome in the order of the run."""
        order = {outcome: place for place, outcome in enumerate(LOOKS)}
        found = [claim for claim in self.claims if not claim.holds]
        return tuple(sorted(found, key=lambda claim: order.get(claim.told.outcome, len(order))))

    @cached_property
    def not_held_title(self) -> str:
        looks = {claim.look for claim in self.not_held}
        if not looks:
            return "Hops that differ, though all claims hold"
        words = [
            word for look, word in (("bad", "does not hold"), ("unsure", "can't be told")) if look in looks
        ]
        return f"What {' or '.join(words)}"

    @cached_property
    def wrong_requests(self) -> tuple[ShownRequest, ...]:
        return tuple(r for lab in self.labs for r in lab.requests if r.first_wrong is not None)

    @cached_property
    def open_requests(self) -> frozenset[str]:
        """Anchors of the requests that are open at first."""
        first = {request.told.lab: request.anchor for request in reversed(self.wrong_requests)}
        wrong = [request.anchor for request in self.wrong_requests if request.anchor in first.values()]
        others = [r for lab in self.labs for r in lab.requests if r.first_wrong is None]
        many = len(others) + len(self.wrong_requests) > MANY_REQUESTS
        shown = [request.anchor for request in others if not many or request.look != "good"]
        return frozenset([*wrong[:OPEN_WRONG], *shown])

    @cached_property
    def counts(self) -> list[tuple[str, str, int]]:
        return counted(Counter(claim.told.outcome for claim in self.claims))

    @cached_property
    def look(self) -> str:
        """Of the whole run: nothing judged, or a run cut short, is never good."""
        looks = {claim.look for claim in self.claims}
        changed = self.run.comparison.unexpected if self.run.comparison is not None else ()
        unknown = self.run.comparison is not None and bool(self.run.comparison.unknown)
        if "bad" in looks or changed:
            return "bad"
        if "unsure" in looks or self.run.interrupted or unknown or "good" not in looks:
            return "unsure"
        return "good"

    @cached_property
    def headline(self) -> str:
        """ "7 broken, 1 inconclusive, 26 held", and what else makes the run one that is not good."""
        total = len(self.claims)
        if not total:
            told = "Nothing was judged"
        elif {outcome for outcome, _, _ in self.counts} == {"skipped"}:
            told = f"Nothing was judged: {_all_of(total)} skipped"
        elif len(self.counts) == 1:
            told = f"{_all_of(total).capitalize()} {self.counts[0][0]}"
        else:
            told = ", ".join(f"{number} {outcome}" for outcome, _, number in self.counts)
        comparison = self.run.comparison
        if comparison is not None and comparison.unexpected:
            number = len(comparison.unexpected)
            told += f"; {number} unexpected change{'' if number == 1 else 's'} since the baseline"
        return told + ("; the run was cut short" if self.run.interrupted else "")


def name_of(claim: ToldClaim) -> str:
    """A test that makes no claim goes by its own name."""
    return claim.claim or claim.test


def worst(outcomes: Iterable[str]) -> str:
    """The look of several outcomes; "left" for none."""
    looks = {LOOKS.get(outcome, UNKNOWN) for outcome in outcomes}
    return next((look for look in ("bad", "unsure", "good") if look in looks), "left")


def counted(counts: Counter[str]) -> list[tuple[str, str, int]]:
    """(outcome, look, how many), the worst first; words that are not known before what holds."""
    known = [outcome for outcome in LOOKS if counts[outcome]]
    unknown = [outcome for outcome in counts if outcome not in LOOKS]
    first = [outcome for outcome in known if LOOKS[outcome] in ("bad", "unsure")]
    last = [outcome for outcome in ("held", "passed", "skipped") if outcome in known]
    return [(word, LOOKS.get(word, UNKNOWN), counts[word]) for word in (*first, *unknown, *last)]


def contents(run: ToldRun) -> Contents:
    anchors = Anchors()
    for name in ("top", "main", "not-held", BASELINE, "labs", "run", "legend"):
        anchors.take(name)
    changes = run.comparison.changes if run.comparison is not None else ()
    told_as_changes = {f"{BASELINE}/{change.id}" for change in changes}
    # Claims come first: their anchors are their ids, which others link to.
    named = [
        [(told, anchors.take(name_of(told))) for told in lab.claims if told.claim not in told_as_changes]
        for lab in run.labs
    ]
    labs: list[ShownLab] = []
    compared: tuple[ShownClaim, ...] = ()
    for lab, claims in zip(run.labs, named, strict=True):
        requests = tuple(
            ShownRequest(drawing, anchors.take(f"{lab.name}-request-{number}"))
            for number, drawing in enumerate(lab.drawings, 1)
        )
        shown_claims = tuple(_claim(lab, told, anchor, requests) for told, anchor in claims)
        if lab.name == BASELINE and run.comparison is not None:
            compared = shown_claims
        else:
            labs.append(ShownLab(lab, anchors.take(f"lab-{lab.name}"), shown_claims, requests))
    if run.comparison is None:
        return Contents(run, tuple(labs))
    links = {told.claim: anchor for claims in named for told, anchor in claims}
    comparison = shown(run.comparison, lambda id: anchors.take(f"{BASELINE}/{id}"), links)
    return Contents(run, tuple(labs), comparison, compared)


def _claim(lab: ToldLab, told: ToldClaim, anchor: str, requests: tuple[ShownRequest, ...]) -> ShownClaim:
    """Ledgers and drawings of a lab come in pairs, where there are drawings."""
    if len(lab.ledgers) == len(requests):
        details = told.judged.get("details", "")
        drawn = tuple(r for ledger, r in zip(lab.ledgers, requests, strict=True) if ledger == details)
        if drawn:
            return ShownClaim(told, anchor, drawn[:1], drawn=True)
    return ShownClaim(told, anchor, requests)


def _all_of(number: int) -> str:
    return "the one claim" if number == 1 else f"all {number} claims"
