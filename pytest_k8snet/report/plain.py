"""The summary as plain lines, for a pipe: one line a thing, whole, its first word saying which."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from pytest_k8snet.meaning.comparison import Comparison
from pytest_k8snet.report.account import ToldLab
from pytest_k8snet.report.summary import (
    BASELINE,
    Summary,
    WrongHop,
    measures,
    one_line,
    row,
    told_changes,
    verdict_on_baseline,
    wrong_hops,
)


class Plain:
    """``whole``: name also what only counts else (facts that were not compared, idle allowances)."""

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole

    def told(self, summary: Summary) -> Iterator[str]:
        """The lines; none for a run in which no lab had a say and nothing was written."""
        labs, comparison = summary.labs, summary.comparison
        for cluster in summary.clusters:
            yield self.note(f"on {one_line(cluster)}")
        yield from self.labs(labs)
        for lab in labs:
            for claim, measured in measures(lab):
                yield self.line("measured", claim, measured)
        # What changed since a baseline has its own lines, below.
        judged = [lab for lab in labs if comparison is None or lab.name != BASELINE]
        yield from self.hops(wrong_hops(judged))
        changes = comparison.changes if comparison is not None else ()
        unknown = {f"{BASELINE}/{change.id}" for change in changes if change.unknown}  # told with the changes
        lines = (
            self.note(f"INCONCLUSIVE {test}", "inconclusive")
            for test in summary.inconclusive
            if test not in unknown
        )
        yield from self.enough("INCONCLUSIVE", list(lines))
        for lab in labs:
            if lab.all_skipped:
                why = one_line("; ".join(lab.skip_reasons)) or "no reason was given"
                yield self.note(f"lab {lab.name} was skipped as a whole: {why}", "skipped")
        if comparison is not None:
            yield from self.changes(comparison)
        for what, where in summary.places:
            yield self.note(f"{what}: {where}")

    def labs(self, labs: Sequence[ToldLab]) -> Iterator[str]:
        width = max((len(lab.name) for lab in labs), default=0) + 2
        for lab in labs:
            yield f"{lab.name:<{width}}{row(lab)}"

    def hops(self, hops: Sequence[WrongHop]) -> Iterator[str]:
        for hop in hops:
            causes = "; ".join(f"{words} ({diagnosis})" for diagnosis, words in hop.causes)
            text = "; cause: ".join(filter(None, (hop.text, causes)))
            yield self.line("broken", ", ".join(hop.claims), text)

    def changes(self, comparison: Comparison) -> Iterator[str]:
        good = not comparison.unexpected and not comparison.unknown
        yield self.note(f"since {verdict_on_baseline(comparison)}", "held" if good else "broken")
        for word, changes in itertools.groupby(told_changes(comparison), lambda change: change.word):
            yield from self.enough(word, [self.line(word, change.id, change.text) for change in changes])
        if self.whole:
            for fact, why in comparison.left_out.items():
                yield self.line("not compared", fact, one_line(why))
        for idle in comparison.idle:
            yield self.line("idle", idle.glob, f"no change needed this allowance ({one_line(idle.reason)})")

    def enough(self, word: str, lines: Sequence[str]) -> Iterator[str]:
        """Those of ``lines``, which begin with ``word``, that a person takes in."""
        yield from lines

    def line(self, word: str, about: str, text: str = "") -> str:
        return "  ".join(filter(None, (word, about, text)))

    def note(self, text: str, outcome: str = "") -> str:
        """A sentence, in the colour of an outcome where there are colours."""
        return text
