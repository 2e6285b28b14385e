"""Print the fault matrix as a table: ``python -m tests.matrix [--live [--whole] | --record] [FAULT ...]``.

Replayed, every claim is judged under every fault. Live, a fault is observed in the labs where the matrix
expects something of it; ``--whole`` observes all, and ``--record`` does and keeps the bundles for the replay.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from pytest_k8snet import matrix
from pytest_k8snet.claims.catalogue import CATALOGUE
from pytest_k8snet.embedded.faults.catalogue import BY_NAME
from tests.matrix import live, replayed
from tests.matrix.judge import OBSERVATIONS, observation
from tests.matrix.outcome import HEALTHY, Row, differences, expected


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.matrix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--live", action="store_true", help="make each fault in a kernel, judge what is seen")
    parser.add_argument("--whole", action="store_true", help="live, every lab under every fault")
    parser.add_argument(
        "--record", action="store_true", help="live, and keep each fault's bundle beside the tests"
    )
    parser.add_argument("--kernels", type=int, default=4, help="live: how many side by side (default 4)")
    parser.add_argument("--kernel", default="auto", help="live: as --k8snet-kernel")
    parser.add_argument("fault", nargs="*", help="only these; all by default")
    asked = parser.parse_args()
    unknown = [name for name in asked.fault if name not in BY_NAME]
    if unknown:
        parser.error(f"{unknown[0]!r} is not a fault")
    names = asked.fault or list(BY_NAME)
    wanted = matrix.load()
    in_kernels = asked.live or asked.whole or asked.record
    whole = asked.whole or asked.record or not in_kernels
    observations = {name: OBSERVATIONS if whole else _concerned(expected(name, wanted)) for name in names}
    rows = (
        live.run(
            live.Asked(
                observations | {HEALTHY: OBSERVATIONS},
                min(asked.kernels, len(names)),
                asked.kernel,
                replayed.BUNDLES if asked.record else None,
            )
        )
        if in_kernels
        else replayed.run(names)
    )
    return _tabulate(rows, names, observations, wanted)


def _tabulate(
    rows: Iterable[Row],
    names: Sequence[str],
    observations: Mapping[str, Collection[str]],
    wanted: dict[str, matrix.Row],
) -> int:
    """Compare and print the rows as they come; the exit status."""
    began = time.monotonic()
    console = Console(highlight=False)
    table = Table("fault", "expected", "got", "ms", box=None, pad_edge=False)
    table.columns[3].justify = "right"
    caught = missed = extra = 0
    spent: defaultdict[str, float] = defaultdict(float)
    problems: list[str] = []
    seen: set[str] = set()
    for row in rows:
        seen.add(row.fault)
        meant = expected(row.fault, wanted)
        due = observations.get(row.fault, OBSERVATIONS)
        found = list(
            differences(row, meant, [claim.id for claim in CATALOGUE if observation(claim.id) in due])
        )
        if row.fault != HEALTHY:
            caught += not found
            missed += any(difference.missed for difference in found)
            extra += any(not difference.missed for difference in found)
        for name, seconds in row.times.items():
            spent[name] += seconds
        problems += [f"{row.fault}: {difference}" for difference in found]
        said = "as expected" if not found else f"[red]{len(found)} otherwise[/red]"
        milliseconds = f"{sum(row.times.values()) * 1000:.0f}"
        table.add_row(row.fault, _told(len(meant.breaks), len(meant.inconclusive)), said, milliseconds)
        if console.is_terminal:
            console.print(f"{row.fault}: {said}")
    console.print(table)
    for name in names:
        if name not in seen:  # a kernel that died took it along
            missed += 1
            problems.append(f"{name}: no row")
    for problem in problems:
        console.print(problem, style="red", soft_wrap=True, markup=False)
    split = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items())
    console.print(f"{time.monotonic() - began:.1f} s in all; spent in the kernels: {split}", soft_wrap=True)
    console.print(f"{len(names)} faults, {caught} caught, {missed} missed, {extra} extra", soft_wrap=True)
    return 1 if problems else 0


def _concerned(row: matrix.Row) -> list[str]:
    """The observations where the matrix expects something of a fault, in the order of the labs.

    All of them under a fault that ends a node: whether the others still send to it depends on what they did
    before (their neighbour caches).
    """
    if row.fault in BY_NAME and BY_NAME[row.fault].last:
        return list(OBSERVATIONS)
    due = {observation(claim) for claim in (*row.breaks, *row.inconclusive)}
    return [name for name in OBSERVATIONS if name in due or not due]


def _told(broken: int, inconclusive: int) -> str:
    parts = [f"{broken} broken"] if broken else []
    parts += [f"{inconclusive} inconclusive"] if inconclusive else []
    return ", ".join(parts) or "all held"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: nothing is left of the kernels, and no table to show")
