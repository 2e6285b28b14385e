"""The matrix replayed: every fault's bundle, kept beside this file, judged again. No kernel is needed."""

from __future__ import annotations

import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.replay import ReplayCluster
from tests.matrix.judge import verdicts
from tests.matrix.outcome import Row

BUNDLES = Path(__file__).parent / "bundles"


def recorded(name: str) -> Path:
    """Where a fault's bundle lies."""
    return BUNDLES / f"{name}.tar.xz"


def row(name: str) -> Row:
    """What a fault's bundle gives today."""
    found = Row(name)
    began = time.monotonic()
    if not recorded(name).exists():
        found.error = f"no bundle {recorded(name).name}: record it with `make faults-record`"
        return found
    with tempfile.TemporaryDirectory(prefix="k8snet-matrix-") as folder:
        with tarfile.open(recorded(name)) as archive:
            archive.extractall(folder, filter="data")
        try:
            cluster = ReplayCluster(Path(folder) / name)
            found.verdicts = verdicts(cluster, cluster.intent)
        except ClusterError as error:
            found.error = str(error)
    found.times["labs"] = time.monotonic() - began
    return found


def run(names: Sequence[str]) -> Iterator[Row]:
    return map(row, names)
