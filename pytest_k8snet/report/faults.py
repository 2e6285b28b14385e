"""The faults of the reference network, as ``--k8snet-fault=list`` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_k8snet import matrix
from pytest_k8snet.embedded.faults.catalogue import FAULTS


def listing() -> Iterator[str]:
    """Each fault: its name, its sentence, and what it does to the claims."""
    rows = matrix.load()
    for fault in FAULTS:
        row = rows[fault.name]
        yield fault.name
        yield f"    {fault.sentence}"
        yield from _claims("breaks", row.breaks)
        yield from _claims("inconclusive", row.inconclusive)


def _claims(word: str, claims: Iterable[str]) -> Iterator[str]:
    listed = ", ".join(claims)
    if listed:
        yield f"    {word}: {listed}"
