"""The three-valued verdict and the decorator that keeps a claim honest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ParamSpec

from pytest_k8snet.evidence.reading import NotObserved, Reading

P = ParamSpec("P")


class Outcome(Enum):
    HELD = "held"
    BROKEN = "broken"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Verdict:
    """What the evidence says of one claim, with all that a reader needs to act on it."""

    outcome: Outcome
    expected: str  #: the claim with this run's values in it
    seen: str  #: what the evidence shows (or why it shows nothing)
    where: str = ""  #: node and interface: "k8s-node2 eth1"
    command: str = ""  #: the command that shows it, with the node it runs on
    advice: str = ""  #: what to do next; empty when held
    details: str = ""  #: ledger, rule walk or listing, many lines
    cause: str = ""  #: of a broken claim, where the evidence shows its likely cause, in words
    diagnosis: str = ""  #: that cause's id in docs/diagnosis.md

    @property
    def held(self) -> bool:
        return self.outcome is Outcome.HELD

    def __bool__(self) -> bool:
        raise TypeError("a verdict has three values: ask .held or .outcome, or hand it to judge()")

    def with_details(self, details: str) -> Verdict:
        return replace(self, details=details)


def held(expected: str, seen: str, *, where: str = "", command: str = "", details: str = "") -> Verdict:
    return Verdict(Outcome.HELD, expected, seen, where, command, "", details)


def broken(
    expected: str, seen: str, *, where: str = "", command: str = "", advice: str = "", details: str = ""
) -> Verdict:
    return Verdict(Outcome.BROKEN, expected, seen, where, command, advice, details)


def inconclusive(
    expected: str, seen: str, *, where: str = "", command: str = "", advice: str = "", details: str = ""
) -> Verdict:
    return Verdict(Outcome.INCONCLUSIVE, expected, seen, where, command, advice, details)


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for several: the first broken one, else the first inconclusive one, else held.

    No verdict at all is inconclusive: a claim that looked at nothing has shown nothing.
    """
    found = list(verdicts)
    for outcome in (Outcome.BROKEN, Outcome.INCONCLUSIVE):
        for verdict in found:
            if verdict.outcome is outcome:
                return verdict
    if not found:
        return inconclusive("at least one thing to judge", "nothing was judged")
    return replace(found[0], seen="; ".join(dict.fromkeys(v.seen for v in found)))


def typed_on(node: str, command: str) -> str:
    """A command with the place where a person types it: ``"tcpdump -nn -i eth1  (on k8s-node2)"``."""
    return f"{command}  (on {node})" if node and command else command


def shown_by(reading: Reading[Any], interface: str = "") -> dict[str, str]:
    """``where`` and ``command`` of a verdict that rests on ``reading``."""
    return {
        "where": f"{reading.node} {interface}".strip(),
        "command": typed_on(reading.node, reading.command),
    }


def sentence(function: Callable[..., Verdict]) -> str:
    """The claim in the lab's words: the first paragraph of its docstring, as one line."""
    paragraph = (function.__doc__ or function.__name__).strip().split("\n\n")[0]
    return " ".join(paragraph.split())


def claim(function: Callable[P, Verdict]) -> Callable[P, Verdict]:
    """Mark ``function`` as a claim: evidence that was not observed makes it inconclusive."""

    @functools.wraps(function)
    def judged(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        try:
            return function(*args, **kwargs)
        except NotObserved as missing:
            return inconclusive(
                sentence(function),
                missing.cause,
                where=missing.node,
                command=typed_on(missing.node, missing.command),
                advice=missing.advice or "run the command by hand on that node; the claim needs its output",
            )

    return judged
