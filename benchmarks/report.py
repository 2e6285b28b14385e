"""How long the HTML report takes to make, and how large it is.

``python -m benchmarks.report [--runs N]``. The runs are those of the recorded bundles: the four labs healthy
and with each of three faults, and 200 claims made of them. The first page is timed with all that it imports
and compiles, as a run pays for it; the others as medians. Exit status 1 where a target of the project's
issue 5 is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.clusters.replay import ReplayCluster
from pytest_k8snet.report.draw import draw
from pytest_k8snet.report.told import ToldRun
from tests.report.told_runs import FAULTS, HEALTHY, faulty, healthy, many, requests

CLAIMS = 200
SECONDS = 1.0  #: for a report of :data:`CLAIMS` claims
BYTES = 1_000_000  #: of the report of the four labs


def made(run: ToldRun) -> tuple[float, int]:
    """Seconds and bytes of a run's report. Ends the benchmark where the page leaves a claim out."""
    began = time.perf_counter()
    from pytest_k8snet.report import page

    text = page.render(run)
    seconds = time.perf_counter() - began
    for claim in (claim for lab in run.labs for claim in lab.claims):
        if claim.claim not in text:
            raise SystemExit(f"the report says nothing of {claim.claim}: its time and size mean nothing")
    return seconds, len(text.encode())


def drawing_ms(runs: int) -> tuple[float, float]:
    """Median and longest time of drawing one traced request of a healthy run, in milliseconds."""
    found = []
    for _ in range(runs):
        cluster = ReplayCluster(HEALTHY)
        for lab, request in requests(cluster):
            began = time.perf_counter()
            draw(lab, Ledger.of(request, cluster.intent), bundle=True)
            found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found), max(found)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    median, longest = drawing_ms(asked.runs)
    print(f"drawing one request: {median:.1f} ms (median; the longest {longest:.1f} ms)")
    large = many(CLAIMS)
    told = {"four labs": healthy()} | {f"four labs, {fault}": faulty(fault) for fault in FAULTS}
    print(f"{'report of':<28}{'claims':>7}{'seconds':>9}{'bytes':>11}")
    first, _ = made(large)
    print(f"{f'{CLAIMS} claims, the first':<28}{CLAIMS:>7}{first:>9.3f}")
    missed = first > SECONDS
    for name, run in {f"{CLAIMS} claims": large, **told}.items():
        found = [made(run) for _ in range(asked.runs)]
        seconds, size = statistics.median(seconds for seconds, _ in found), found[0][1]
        print(f"{name:<28}{sum(len(lab.claims) for lab in run.labs):>7}{seconds:>9.3f}{size:>11,}")
        missed |= name in told and size > BYTES
    print(f"targets: {CLAIMS} claims under {SECONDS:g} s, the four labs under {BYTES:,} bytes: ", end="")
    print("missed" if missed else "met")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
