"""A reading: what a probe brought back, or why it brought nothing.

Claims never see exceptions of I/O. They ask a reading for its value; a reading that failed raises
:class:`NotObserved`, which :func:`pytest_k8snet.claims.verdict.claim` turns into *inconclusive*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class NotObserved(Exception):
    """The evidence a claim needs was not there: nothing was read, or it could not be read."""

    def __init__(self, cause: str, *, node: str = "", command: str = "", advice: str = "") -> None:
        self.cause = cause
        self.node = node
        self.command = command
        self.advice = advice
        super().__init__(cause)


@dataclass(frozen=True)
class Reading(Generic[T]):
    """One probe's result. Exactly one of ``value`` and ``failure`` counts: a failure wins."""

    node: str  #: the node's real name ("" where the cluster's API was read)
    command: str  #: as a person would type it on that node
    value: T | None = None
    failure: str = ""  #: why there is no value: exit status, time-out, parse error
    advice: str = ""  #: what to do about the failure

    def get(self) -> T:
        """The value. Raises :class:`NotObserved` when the probe failed."""
        if self.failure or self.value is None:
            raise NotObserved(
                self.failure or "the probe brought back nothing",
                node=self.node,
                command=self.command,
                advice=self.advice,
            )
        return self.value

    def map(self, parse: Callable[[T], U]) -> Reading[U]:
        """The same reading, its value parsed; a ``ParseError`` (any ValueError) becomes the failure."""
        if self.failure or self.value is None:
            return Reading(self.node, self.command, None, self.failure or "nothing was read", self.advice)
        try:
            return Reading(self.node, self.command, parse(self.value))
        except ValueError as error:
            return Reading(self.node, self.command, None, f"unreadable output: {error}")
