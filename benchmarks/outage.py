"""How well the outage watch measures: one path broken for 300 ms, five times each, the others left alone.

``python -m benchmarks.outage [RUNS]``. Ends with status 1 where a run was off by more than 60 ms, or lost
anything on another path. It takes about ten seconds a run.
"""

from __future__ import annotations

import sys

from pytest_k8snet.clusters.tape import MemoryTape
from pytest_k8snet.evidence.outage import PATHS
from tests.outage.breaking import measure, network

BROKEN = 0.3  #: seconds
WITHIN = 0.06


def main(runs: int) -> int:
    print("path       run  really broken  measured  off by  lost elsewhere  longest stall", flush=True)
    wrong = 0
    with network(MemoryTape()) as cluster:
        for path in PATHS:
            for run in range(1, runs + 1):
                found = measure(cluster, path, BROKEN)
                off = found.gap - found.really
                wrong += abs(off) > WITHIN or found.lost_elsewhere > 0
                print(
                    f"{path:<11}{run:>3}{found.really * 1000:>12.0f} ms{found.gap * 1000:>7.0f} ms"
                    f"{off * 1000:>+5.0f} ms{found.lost_elsewhere:>16}{found.stalled * 1000:>12.0f} ms",
                    flush=True,
                )
    print(f"{wrong} of {runs * len(PATHS)} runs off by more than {WITHIN * 1000:.0f} ms or with other losses")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
