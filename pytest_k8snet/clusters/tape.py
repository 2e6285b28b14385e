"""The tape: every command and API read of a run, raw, in order. STUB: interface only (owner: bundle helper).

    tape.run_id                      unique per run; requests' tokens derive from it (a replay reads it back)
    tape.lab(name)                   context manager; what follows belongs to that lab
    tape.command(where, argv, do)    -> CommandResult; do() runs it; an exception of do() (ClusterError) is
                                        recorded too and raised again, on replay likewise
    tape.running(where, argv, start, pcap=) -> RunningCommand whose stop() is recorded
    tape.read(resource, do)          -> bytes

Kinds: ``MemoryTape`` (records nothing but a run_id), ``BundleTape(DIR)`` (writes as the run goes),
``ReplayTape(DIR)`` (never calls ``do``: answers the n-th equal question of a lab with the n-th
recorded answer, raises NotRecorded naming the command otherwise).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from pytest_k8snet.clusters.base import CommandResult, RunningCommand


class Tape(Protocol):
    run_id: str

    def lab(self, name: str) -> AbstractContextManager[None]: ...
    def command(self, where: str, argv: Sequence[str], do: Callable[[], CommandResult]) -> CommandResult: ...
    def running(
        self, where: str, argv: Sequence[str], start: Callable[[], RunningCommand], *, pcap: str = ""
    ) -> RunningCommand: ...
    def read(self, resource: str, do: Callable[[], bytes]) -> bytes: ...
