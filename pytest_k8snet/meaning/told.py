"""How facts are made of readings: what was not observed is a fact too, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.meaning.comparison import Fact

#: Of a fact that is there and empty: no route, no listener, no endpoint.
NONE = "none"


def told(
    id: str,
    value: Callable[[], str],
    *,
    rests_on: tuple[str, ...] = (),
    bound: tuple[float, float] | None = None,
) -> Fact:
    """The fact that ``value`` gives; one with a reason where it raises NotObserved."""
    try:
        return Fact(id, value() or NONE, bound=bound, rests_on=rests_on)
    except NotObserved as missing:
        return Fact(id, "", missing.cause, bound, rests_on)


def lines(values: Iterable[str]) -> str:
    """One a line, each once, in their order."""
    return "\n".join(dict.fromkeys(values))


def listed(values: Iterable[str]) -> str:
    """One a line, sorted: what was listed in no order that means anything."""
    return "\n".join(sorted(values))
