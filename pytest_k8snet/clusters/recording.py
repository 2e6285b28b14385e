"""One lab's part of a bundle while it is written: records, captures, verdicts."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_k8snet.clusters.base import ClusterError, CommandResult, RunningCommand
from pytest_k8snet.clusters.records import Failure, Record, without_secrets

COMMANDS = "commands.jsonl"
VERDICTS = "verdicts.jsonl"


class LabFiles:
    """One lab's part of the bundle, open for writing."""

    def __init__(self, labs: Path, name: str, run_id: str, namespace: str) -> None:
        self.directory = _new_directory(labs, name)
        self.written = 0
        self._started = 0
        self._pcaps: set[str] = set()
        # These two stand here too, not only in bundle.json: each xdist worker has its own.
        whose = {"lab": name, "run_id": run_id, "namespace": namespace}
        self.append(COMMANDS, json.dumps(whose).encode() + b"\n")

    def entry(self, kind: str, where: str, argv: Sequence[str], pcap: str = "") -> Entry:
        if pcap and (pcap in self._pcaps or "/" in pcap):
            raise ValueError(f"not a new file name in {self.directory}: {pcap!r}")
        self._pcaps.add(pcap)
        self._started += 1
        return Entry(self, self._started, kind, where, tuple(argv), pcap)

    @contextmanager
    def recording(self, kind: str, where: str, argv: Sequence[str]) -> Iterator[Entry]:
        """Written when the block ends: with a result, or with the ClusterError that ended it."""
        entry = self.entry(kind, where, argv)
        try:
            yield entry
        except ClusterError as error:
            entry.failed("run", error)
            entry.write()
            raise
        entry.write()

    def append(self, name: str, line: bytes) -> None:
        # Opened for each line: nothing is left to flush or to close when the run is killed.
        with (self.directory / name).open("ab") as file:
            file.write(line)


class Entry:
    """A record that is being made."""

    def __init__(
        self, files: LabFiles, number: int, kind: str, where: str, argv: tuple[str, ...], pcap: str
    ) -> None:
        self._files = files
        self._began = time.monotonic()
        self._pcap = pcap
        self._failures: list[Failure] = []
        self.fields: dict[str, Any] = {
            "number": number,
            "kind": kind,
            "where": where,
            "argv": argv,
            "started": time.time(),
        }

    def result(self, result: CommandResult) -> None:
        self.fields.update(exit_status=result.exit_status, stdout=result.stdout, stderr=result.stderr)

    def failed(self, stage: str, error: ClusterError) -> None:
        self._failures.append(Failure.of(stage, error))

    def write(self) -> None:
        fields = dict(self.fields, ms=(time.monotonic() - self._began) * 1000)
        stdout = fields.pop("stdout", b"")
        if self._pcap:
            # The file first: a line that names a capture never stands without it.
            (self._files.directory / self._pcap).write_bytes(stdout)
            fields.update(pcap=self._pcap, size=len(stdout), sha256=hashlib.sha256(stdout).hexdigest())
        else:
            fields["stdout"] = without_secrets(stdout)
        fields["stderr"] = without_secrets(fields.get("stderr", b""))
        record = Record(failures=tuple(self._failures), **fields)
        self._files.append(COMMANDS, record.line())
        self._files.written += 1


class RecordedRun(RunningCommand):
    def __init__(self, run: RunningCommand, entry: Entry) -> None:
        self._run = run
        self._entry = entry

    def wait_for(self, text: bytes, timeout: float) -> None:
        try:
            self._run.wait_for(text, timeout)
        except ClusterError as error:
            self._entry.failed("wait", error)
            raise

    def catch_up(self, done: Callable[[bytes], bool], timeout: float) -> None:
        self._run.catch_up(done, timeout)

    def drain(self) -> None:
        self._run.drain()

    def stop(self, timeout: float = 10.0) -> CommandResult:
        try:
            result = self._run.stop(timeout)
        except ClusterError as error:
            self._entry.failed("stop", error)
            self._entry.write()
            raise
        self._entry.result(result)
        self._entry.write()
        return result


def _new_directory(labs: Path, name: str) -> Path:
    """A directory of this process's own: another worker may have run the same lab."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:80] or "-"
    number = 1
    while True:
        directory = labs / (safe if number == 1 else f"{safe}.{number}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return directory
