"""The tape: every command and API read of a run passes it, in order, lab by lab.

:class:`MemoryTape` keeps nothing; :class:`~pytest_k8snet.clusters.bundle.BundleTape` writes a bundle as
the run goes; :class:`~pytest_k8snet.clusters.replay.ReplayTape` answers from a bundle and runs nothing.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from pytest_k8snet.clusters.base import CommandResult, RunningCommand

#: The name under which everything outside a lab is kept: setting up, a user's own commands.
NO_LAB = "session"


class Tape(Protocol):
    @property
    def run_id(self) -> str:
        """Unique per run; a replay gives the recorded one back, so that it asks the same questions."""

    @property
    def lab_name(self) -> str:
        """The lab that is being recorded, :data:`NO_LAB` outside any."""

    def lab(self, name: str) -> AbstractContextManager[None]:
        """What follows belongs to lab ``name``: the unit that is recorded, and replayed, on its own."""

    def command(self, where: str, argv: Sequence[str], do: Callable[[], CommandResult]) -> CommandResult:
        """Run ``do`` and keep its result, or its ClusterError, under (lab, where, argv)."""

    def running(
        self, where: str, argv: Sequence[str], start: Callable[[], RunningCommand], *, pcap: str = ""
    ) -> RunningCommand:
        """Start a command whose ``stop()`` is kept; its standard output as file ``pcap`` if that is named."""

    def read(self, resource: str, do: Callable[[], bytes]) -> bytes:
        """One API read, kept like a command."""

    def token(self, label: str) -> str:
        """A request's token: unique in the run, the same again when the run is replayed."""

    def wait(self, seconds: float) -> None:
        """Let time pass for the cluster's sake; a replay has nothing to wait for."""

    def verdict(self, test_id: str, claim_id: str, verdict: Mapping[str, Any]) -> None:
        """Keep one verdict (JSON values) beside the lab that it judges."""

    def close(self) -> None:
        """The run is over. Idempotent."""


class LabTape:
    """What all tapes share: the lab at hand and the tokens of its requests."""

    def __init__(self, run_id: str = "") -> None:
        self._run_id = run_id or secrets.token_hex(4)
        self._lab = NO_LAB
        self._tokens: Counter[str] = Counter()

    @property
    def run_id(self) -> str:
        return self._run_id

    @property
    def lab_name(self) -> str:
        return self._lab

    @contextmanager
    def lab(self, name: str) -> Iterator[None]:
        outer, self._lab = self._lab, name
        try:
            yield
        finally:
            self._lab = outer

    def token(self, label: str) -> str:
        # Named by lab and label, not by a counter over the run: with -k or in another order of tests a
        # replay must still ask for what was recorded.
        # It stands in an HTTP header and in file names.
        token = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{self.run_id}-{self._lab}-{label}")
        self._tokens[token] += 1
        count = self._tokens[token]
        return token if count == 1 else f"{token}-{count}"


class MemoryTape(LabTape):
    """A run that nobody keeps."""

    def command(self, where: str, argv: Sequence[str], do: Callable[[], CommandResult]) -> CommandResult:
        return do()

    def running(
        self, where: str, argv: Sequence[str], start: Callable[[], RunningCommand], *, pcap: str = ""
    ) -> RunningCommand:
        return start()

    def read(self, resource: str, do: Callable[[], bytes]) -> bytes:
        return do()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def verdict(self, test_id: str, claim_id: str, verdict: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass
