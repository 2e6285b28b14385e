"""What a fault gave, against what the matrix says that it must give."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from pytest_k8snet import matrix
from pytest_k8snet.claims.verdict import Outcome, Verdict

HEALTHY = "healthy"  #: the row without a fault: nothing is left of those before


@dataclass
class Row:
    """What one fault gave. Times in seconds."""

    fault: str
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    error: str = ""  #: why there are no verdicts
    times: dict[str, float] = field(default_factory=dict)  #: "boot", "fault", "labs"

    def claims(self, outcome: Outcome) -> list[str]:
        return [claim for claim, verdict in self.verdicts.items() if verdict.outcome is outcome]


@dataclass(frozen=True)
class Difference:
    """One claim that is not as the matrix says. ``missed``: it should have been worse."""

    claim: str
    expected: str
    got: str
    missed: bool
    why: str = ""

    def __str__(self) -> str:
        return f"{self.claim}: expected {self.expected}, got {self.got}" + (
            f" ({self.why})" if self.why else ""
        )


_WORSE = {Outcome.HELD: 0, Outcome.INCONCLUSIVE: 1, Outcome.BROKEN: 2}


def expected(fault: str, rows: dict[str, matrix.Row]) -> matrix.Row:
    """The fault's row; without one, and for "healthy", everything must hold."""
    return rows.get(fault, matrix.Row(fault, {}, ()))


def differences(row: Row, wanted: matrix.Row, claims: Collection[str]) -> Iterator[Difference]:
    """Where ``row`` is not exactly what ``wanted`` says, over all of ``claims``."""
    if row.error and row.verdicts:
        yield Difference("afterwards", "the fault taken back", row.error, missed=True)
    for claim in claims:
        due = (
            Outcome.BROKEN
            if claim in wanted.breaks
            else Outcome.INCONCLUSIVE
            if claim in wanted.inconclusive
            else Outcome.HELD
        )
        verdict = row.verdicts.get(claim)
        if verdict is None:
            yield Difference(claim, due.value, "no verdict", missed=True, why=row.error)
        elif verdict.outcome is not due:
            missed = _WORSE[verdict.outcome] < _WORSE[due]
            yield Difference(claim, due.value, verdict.outcome.value, missed, verdict.seen)
        elif due is Outcome.BROKEN and verdict.diagnosis != wanted.breaks[claim]:
            said, meant = verdict.diagnosis or "none", wanted.breaks[claim] or "none"
            yield Difference(
                claim, f"cause {meant}", f"cause {said}", missed=said == "none", why=verdict.cause
            )
