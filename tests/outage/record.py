"""Keep a watch for the tests to replay: ``python -m tests.outage.record`` (no test itself).

The ClusterIP path of a running reference network is broken for 300 ms. To be recorded anew when a probe of
the watch asks something else than before.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from pytest_k8snet.clusters.bundle import BundleTape
from pytest_k8snet.clusters.tape import MemoryTape
from pytest_k8snet.intent import Intent
from tests.outage.breaking import Measured, measure, network

RECORDED = Path(__file__).with_name("clusterip-300ms.tar.xz")
NAME = "kept"  #: the bundle's directory in it
QUIET = 0.05  #: seconds by which a machine may have stalled meanwhile


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, network(MemoryTape()) as cluster:
        for _ in range(10):
            tape = BundleTape(Path(folder) / NAME)
            cluster.tape = tape
            tape.describe_cluster(cluster, Intent())
            with cluster.lab("outage"):
                found: Measured = measure(cluster, "clusterip", 0.3)
            tape.close()
            cluster.tape = MemoryTape()
            print(f"{found.gap * 1000:.0f} ms, longest stall {found.stalled * 1000:.0f} ms", flush=True)
            if found.stalled < QUIET:
                shutil.make_archive(str(RECORDED).removesuffix(".tar.xz"), "xztar", folder, NAME)
                return 0
            shutil.rmtree(tape.directory)
    print("the machine was never quiet enough", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
