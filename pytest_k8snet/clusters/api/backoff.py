"""Waiting between tries: longer each time, by chance, within a deadline."""

from __future__ import annotations

import random
import threading

from pytest_k8snet.clusters.base import Deadline

FIRST = 0.2  #: seconds at most before the second try
LONGEST = 5.0  #: seconds at most before any further one


def pause(seconds: float) -> None:
    """The one place that waits between tries."""
    threading.Event().wait(seconds)


class Backoff:
    """Waits between the tries of one thing. Chance keeps parallel runs from asking in step."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self._next = FIRST

    def reset(self) -> None:
        """It works again: the next failure is a first one."""
        self._next = FIRST

    def wait(self, asked: float | None = None) -> bool:
        """Wait before another try; False where none is left to make: the deadline is past.

        ``asked``: seconds that the server wants to be left alone (Retry-After). Where that is longer than
        what is left, another try would be refused as well: False at once.
        """
        left = self.deadline.left
        if left <= 0 or (asked is not None and asked > left):
            return False
        own = self._next * random.uniform(0.5, 1.0)
        self._next = min(2 * self._next, LONGEST)
        pause(min(max(own, asked or 0.0), left))
        return True
