"""Pages of recorded runs, and of runs made up, with what finds its way in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from pytest_k8snet.meaning.comparison import Allowed, Change, Comparison
from pytest_k8snet.report.account import ToldClaim, ToldLab
from pytest_k8snet.report.drawing import Drawing
from pytest_k8snet.report.page import render
from pytest_k8snet.report.page.contents import contents
from pytest_k8snet.report.page.requests import ShownLeg, ShownRequest
from pytest_k8snet.report.told import ToldRun
from tests.report.reading import Element, read
from tests.report.told_runs import faulty, healthy, many

FAULTS = ("direct-routes", "dnat-missing", "tcpdump-missing", "encapsulated-twice", "direct-reply")
RUNS = ("healthy", *FAULTS)

#: What evidence may hold that was printed by somebody who wishes harm.
HOSTILE = (
    "</script></style><script>alert('\"1\"')</script><img src=x onerror=alert(2)>"
    "\x00\x1b[31m\u202e\udcff&amp;"
)


def run_of(name: str) -> ToldRun:
    if name == "poisoned":
        return poisoned()
    if name == "many":
        return many(200)
    return healthy() if name == "healthy" else faulty(name)


@cache
def html(name: str) -> str:
    """The page of a recorded run, made once."""
    return render(run_of(name))


@cache
def tree(name: str) -> Element:
    return read(html(name))


def bare(**fields: Any) -> ToldRun:
    told = ToldRun(
        subject="the cluster of context prod",
        reference=False,
        provider="kubeconfig",
        clusters=(),
        started="2026-11-20T10:12:00+00:00",
        finished="2026-11-20T11:12:40+01:00",
        version="1.0",
    )
    return replace(told, **fields)


def claim(outcome: str, name: str = "lab/one", **fields: Any) -> ToldClaim:
    return ToldClaim(f"t.py::{name}", name, "A sentence.", outcome, **fields)


def with_claims(*claims: ToldClaim, **fields: Any) -> ToldRun:
    return bare(labs=(ToldLab("lab", list(claims)),), **fields)


def head(run: ToldRun) -> Element:
    (found,) = read(render(run)).each("header")
    return found


def drawings(run: ToldRun) -> Iterator[Drawing]:
    for lab in run.labs:
        yield from lab.drawings


def requests(run: ToldRun) -> Iterator[ShownRequest]:
    for lab in contents(run).labs:
        yield from lab.requests


def legs(run: ToldRun) -> Iterator[tuple[ShownRequest, ShownLeg]]:
    for request in requests(run):
        yield from ((request, leg) for leg in (request.there, request.back) if leg is not None)


def ledger_of(page: Element, request: ShownRequest, leg: ShownLeg) -> Element:
    there, *back = [table for table in page.by_id(request.anchor).each("table") if "ledger" in table.looks]
    assert len(back) == (request.back is not None)
    return there if leg is request.there else back[0]


def picture_of(page: Element, leg: ShownLeg) -> Element:
    return page.by_id(f"{leg.anchor}~title").within("svg")


def plain(text: str) -> str:
    """Without what the page may break lines at, and with arrows as the evidence has them."""
    return re.sub(r"\s", "", text.replace("\u2192", "->"))


def hostile(value: Any) -> Any:
    """``value`` with every text in it replaced by :data:`HOSTILE`, so that only what must be known stays."""
    if isinstance(value, str):
        return f"{value} {HOSTILE}"
    if isinstance(value, tuple):
        return tuple(map(hostile, value))
    return value


def poisoned() -> ToldRun:
    labs = []
    for lab in faulty("direct-routes").labs:
        poisoned = []
        for drawing in lab.drawings:
            fields = {name: hostile(value) for name, value in vars(drawing).items()}
            for part in ("sightings", "captures", "listings", "replies"):
                fields[part] = tuple(
                    type(one)(**{name: hostile(value) for name, value in vars(one).items()})
                    for one in getattr(drawing, part)
                )
            poisoned.append(Drawing(**fields))
        claims = [
            ToldClaim(
                test=told.test + HOSTILE,
                claim=told.claim + HOSTILE,
                sentence=told.sentence + HOSTILE,
                outcome=told.outcome,
                judged={key: f"{value}{HOSTILE}" for key, value in told.judged.items()},
                nodes=(HOSTILE,),
                text=HOSTILE,
            )
            for told in lab.claims
        ]
        claims += [claim(outcome + HOSTILE, HOSTILE, text=HOSTILE) for outcome in ("failed", "skipped")]
        labs.append(ToldLab(f"{lab.name}{HOSTILE}", claims, 1.0, [HOSTILE], poisoned))
    change = Change(HOSTILE, HOSTILE, HOSTILE)
    comparison = Comparison(
        HOSTILE,
        1,
        (change, replace(change, allowed=HOSTILE), replace(change, unknown=HOSTILE)),
        {HOSTILE: HOSTILE},
        (Allowed(HOSTILE, HOSTILE),),
    )
    return ToldRun(
        subject=HOSTILE,
        reference=True,
        provider=HOSTILE,
        clusters=(HOSTILE,),
        started=HOSTILE,
        finished=HOSTILE,
        version=HOSTILE,
        intent={HOSTILE: HOSTILE},
        faults=(HOSTILE,),
        labs=tuple(labs),
        bundle=HOSTILE,
        replay=HOSTILE,
        interrupted=HOSTILE,
        comparison=comparison,
    )
