"""Verdicts in words: the text of a claim that does not hold, and the exceptions that carry it."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_k8snet.claims.verdict import Outcome, Verdict, inconclusive
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.manifests import ManifestError

#: What may end a test without a verdict though nothing is wrong with the test: it can't tell.
CAN_NOT_TELL = (ClusterError, ManifestError, NotObserved)


class ClaimNotHeld(AssertionError):
    """Raised by ``judge``; ``verdict`` says what was expected and what the evidence shows."""

    def __init__(self, claim: str, verdict: Verdict) -> None:
        self.claim = claim
        self.verdict = verdict
        super().__init__(in_words(claim, verdict))


class ClaimBroken(ClaimNotHeld):
    """The evidence shows otherwise."""


class ClaimInconclusive(ClaimNotHeld):
    """The evidence can't tell."""


def not_held(claim: str, verdict: Verdict) -> ClaimNotHeld:
    kind = ClaimBroken if verdict.outcome is Outcome.BROKEN else ClaimInconclusive
    return kind(claim, verdict)


def judged_nothing() -> Verdict:
    return inconclusive(
        "a verdict: the test asks for the judge fixture",
        "judged nothing: the test ended without a call of judge()",
        advice="hand every verdict to judge(), or drop the fixture from the test",
    )


def could_not_tell(error: BaseException, when: str) -> Verdict:
    """What to conclude when the cluster, or evidence asked for outside a claim, failed the test."""
    phase = {"setup": "the lab set up and observed", "call": "the test's own reads answered"}
    if isinstance(error, NotObserved):
        return inconclusive(
            phase[when], error.cause, where=error.node, command=error.command, advice=error.advice
        )
    return inconclusive(phase[when], " ".join(str(error).split()) or type(error).__name__)


def in_words(claim: str, verdict: Verdict, ledgers: Sequence[str] = ()) -> str:
    """The whole text of one verdict: a headline, the facts, the details.

    ``ledgers`` of its lab follow, unless the details show one of them already.
    """
    headline = f"{verdict.outcome.name}: {claim}: {_first_line(verdict.seen)}"
    facts = (
        ("expected", verdict.expected),
        ("seen", verdict.seen),
        ("cause", f"{verdict.cause} ({verdict.diagnosis})" if verdict.cause else ""),
        ("where", verdict.where),
        ("command", verdict.command),
        ("next", verdict.advice),
    )
    lines = [headline, ""]
    for name, value in facts:
        for number, line in enumerate(value.strip().splitlines()):
            lines.append(f"  {name if number == 0 else '':<10}{line}")
    blocks = [verdict.details.rstrip("\n")] if verdict.details.strip() else []
    rows = [ledger.partition("\n")[2] for ledger in ledgers]
    if not any(row and row in verdict.details for row in rows):
        blocks += ledgers
    for block in blocks:
        lines += ["", block]
    return legible("\n".join(lines))


def legible(text: str, *, keep: str = "\n\t") -> str:
    """With nothing in it that would move a terminal's cursor or colour what follows: evidence may hold it."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
