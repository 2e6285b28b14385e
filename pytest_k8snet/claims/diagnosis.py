"""Causes: why a claim may be broken, each decided from the evidence that its lab gathered anyway."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ParamSpec

from pytest_k8snet.claims.verdict import Outcome, Verdict
from pytest_k8snet.evidence.reading import NotObserved

P = ParamSpec("P")


@dataclass(frozen=True)
class Cause:
    """One likely cause. The texts are those of the table in docs/diagnosis.md."""

    id: str  #: "host-route-missing"
    symptom: str  #: what a user sees of it
    evidence: str  #: what must be there for it to be named
    cause: str
    remedy: str  #: what to do
    #: The arguments of a claim -> what shows the cause, with this run's values; None where nothing does.
    #: May raise NotObserved, which says the same.
    shown: Callable[..., str | None]

    def found(self, *args: object, **kwargs: object) -> str:
        """What shows this cause in the evidence; empty where it is not there, or could not be read."""
        try:
            return self.shown(*args, **kwargs) or ""
        except NotObserved:
            return ""


def cause(*, symptom: str, evidence: str, remedy: str) -> Callable[[Callable[P, str | None]], Cause]:
    """A function that looks for a cause as that :class:`Cause`: id is its name, text its docstring."""

    def make(function: Callable[P, str | None]) -> Cause:
        name = function.__name__.replace("_", "-")
        said = " ".join((function.__doc__ or "").split())
        return Cause(name, symptom, evidence, said, remedy, function)

    return make


def explained_by(*causes: Cause) -> Callable[[Callable[P, Verdict]], Callable[P, Verdict]]:
    """Above ``@claim``: a broken verdict names the first of ``causes`` that the claim's evidence shows.

    Verdicts that are held or inconclusive stay as they are: nothing was found to be wrong.
    """

    def decorate(function: Callable[P, Verdict]) -> Callable[P, Verdict]:
        @functools.wraps(function)
        def explained(*args: P.args, **kwargs: P.kwargs) -> Verdict:
            verdict = function(*args, **kwargs)
            if verdict.outcome is not Outcome.BROKEN:
                return verdict
            for candidate in causes:
                if detail := candidate.found(*args, **kwargs):
                    return replace(verdict, cause=detail, diagnosis=candidate.id, advice=candidate.remedy)
            return verdict

        return explained

    return decorate
