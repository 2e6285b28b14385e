"""Lines of ``k8snet_baseline_allow``: which changes between two runs are expected, and why (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_k8snet.meaning.comparison import Allowed


def allowed(values: Sequence[str]) -> tuple[Allowed, ...]:
    """Lines ``GLOB: REASON``, a glob on ids of changes; an id holds no colon.

    >>> allowed(["mtu/*: jumbo frames came with the new switches"])
    (Allowed(glob='mtu/*', reason='jumbo frames came with the new switches'),)

    ValueError, one line, for a line without glob or reason and for a glob given twice.
    """
    given: dict[str, Allowed] = {}
    for value in values:
        glob, colon, reason = (part.strip() for part in value.strip().partition(":"))
        if not (glob and colon and reason):
            lacks = "reason" if glob else "glob"
            raise ValueError(f"{value.strip()!r} has no {lacks}; write GLOB: REASON, as in 'mtu/*: new VPC'")
        if glob in given:
            raise ValueError(f"{glob!r} is given twice: {given[glob].reason!r} and {reason!r}")
        given[glob] = Allowed(glob, reason)
    return tuple(given.values())
