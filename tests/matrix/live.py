"""The matrix live: kernels side by side, each taking one fault after another."""

from __future__ import annotations

import multiprocessing
import os
import queue
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_k8snet.clusters.base import Patience
from pytest_k8snet.clusters.bundle import BundleTape
from pytest_k8snet.clusters.embedded import EmbeddedCluster
from pytest_k8snet.clusters.tape import MemoryTape
from pytest_k8snet.embedded.faults.catalogue import BY_NAME
from pytest_k8snet.intent import Intent
from tests.matrix.judge import manifests, verdicts
from tests.matrix.outcome import HEALTHY, Row

SILENCE = 180.0  #: seconds without a row from any kernel: far more than the slowest fault takes
#: Nobody else is on this machine's reference network: what does not come at once never comes.
PATIENCE = Patience(request=2, listening=5.0, command=3.0)


@dataclass(frozen=True)
class Asked:
    """What to run: for each fault, and for "healthy", the observations to make."""

    observations: Mapping[str, Collection[str]]
    kernels: int = 4  #: side by side
    kernel: str = "auto"  #: as --k8snet-kernel
    kept: Path | None = None  #: where each fault's bundle goes


class Worker:
    """One kernel at a time, healthy between two faults."""

    def __init__(self, asked: Asked, folder: str) -> None:
        self._asked = asked
        self._folder = folder
        self._cluster: EmbeddedCluster | None = None

    def row(self, name: str) -> Row:
        row = Row(name)
        began = time.monotonic()
        try:
            cluster = self._up()
            row.times["boot"] = time.monotonic() - began
            self._take(cluster, row)
        except Exception as error:
            row.error = f"{type(error).__name__}: {error}"
            self.close()  # nobody knows what state it is in
        return row

    def _take(self, cluster: EmbeddedCluster, row: Row) -> None:
        fault = BY_NAME.get(row.fault)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        cluster.tape = tape = BundleTape(folder / row.fault)
        try:
            began = time.monotonic()
            if fault is not None:
                cluster.inject(fault)
            injected = time.monotonic()
            tape.describe_cluster(cluster, Intent())
            row.verdicts = verdicts(cluster, Intent(), self._asked.observations[row.fault])
            judged = time.monotonic()
            tape.close()
            if fault is not None and not fault.last:
                cluster.repair(fault)
            row.times["fault"] = injected - began + time.monotonic() - judged
            row.times["labs"] = judged - injected
            if self._asked.kept is not None and fault is not None:
                shutil.make_archive(str(self._asked.kept / row.fault), "xztar", folder, row.fault)
        finally:
            shutil.rmtree(folder)
            cluster.tape = MemoryTape()
        if fault is not None and fault.last:
            self.close()

    def _up(self) -> EmbeddedCluster:
        if self._cluster is None:
            self._cluster = EmbeddedCluster.start(
                tape=MemoryTape(), intent=Intent(), kernel_kind=self._asked.kernel
            )
            self._cluster.patience = PATIENCE
            self._cluster.apply(manifests())
        return self._cluster

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None


def run(asked: Asked) -> Iterator[Row]:
    """A row per fault as they come, and one "healthy" row per kernel after its last fault."""
    # The folder is this process's: a worker may be interrupted while it cleans up.
    with tempfile.TemporaryDirectory(prefix="k8snet-matrix-", ignore_cleanup_errors=True) as folder:
        yield from _rows(asked, folder)


def _rows(asked: Asked, folder: str) -> Iterator[Row]:
    context = multiprocessing.get_context("fork")
    turns, rows = context.Queue(), context.Queue()
    names = [name for name in asked.observations if name != HEALTHY]
    # What ends a kernel comes first: mostly it waits, which costs the others nothing.
    for name in sorted(names, key=lambda name: not BY_NAME[name].last):
        turns.put(name)
    for _ in range(asked.kernels):
        turns.put(None)
    workers = [
        context.Process(target=_work, args=(number, turns, rows, asked, folder), daemon=True)
        for number in range(asked.kernels)
    ]
    for worker in workers:
        worker.start()
    working, heard = len(workers), time.monotonic()
    try:
        while working:
            try:
                row = rows.get(timeout=1)
            except queue.Empty:
                dead = [worker for worker in workers if worker.exitcode]
                if dead or time.monotonic() > heard + SILENCE:
                    status = f"a worker ended with status {dead[0].exitcode}" if dead else "it hangs"
                    raise RuntimeError(f"no row for {time.monotonic() - heard:.0f} s: {status}") from None
                continue
            heard = time.monotonic()
            if row is None:
                working -= 1
            else:
                yield row
    finally:
        # Ctrl-C reaches the workers too: each takes its kernel and its folder away before it ends.
        for worker in workers:
            worker.join(timeout=30)
            worker.kill()


def _work(number: int, turns: Any, rows: Any, asked: Asked, folder: str) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[number % len(cpus)]})
    worker = Worker(asked, folder)
    try:
        while (name := turns.get()) is not None:
            rows.put(worker.row(name))
        rows.put(worker.row(HEALTHY))
    except KeyboardInterrupt:
        pass  # the parent has it as well, and says so
    finally:
        worker.close()
        rows.put(None)
