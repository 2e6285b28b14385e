"""Record ``other-addresses.tar.xz``: ``python -m tests.bundles.other_addresses``, in the checkout.

A healthy run on the reference network with everything that has a name or an address of its own changed. So
what it means, beside ``healthy``, must be the same.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from ipaddress import IPv4Network
from pathlib import Path

from pytest_k8snet.clusters.bundle import BundleTape
from pytest_k8snet.clusters.embedded import EmbeddedCluster
from pytest_k8snet.intent import Intent
from tests.matrix import judge

HERE = Path(__file__).parent
NAME = "other-addresses"
UNDERLAY = IPv4Network("172.29.7.0/24")
INTENT = Intent(
    pod_cidr=IPv4Network("10.244.0.0/16"),
    service_cidr=IPv4Network("10.32.0.0/16"),
    roles={"master": "alpha", "node1": "beta", "node2": "gamma"},
)


def record(directory: Path) -> list[str]:
    """Keep the run in ``directory``; the claims that were not held."""
    tape = BundleTape(directory)
    try:
        cluster = EmbeddedCluster.start(tape=tape, intent=INTENT, underlay=UNDERLAY)
        try:
            tape.describe_cluster(cluster, INTENT)
            cluster.apply(judge.manifests())
            verdicts = judge.verdicts(cluster, INTENT)
        finally:
            cluster.close()
    finally:
        tape.close()
    return [claim for claim, verdict in verdicts.items() if not verdict.held]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="k8snet-record-") as folder:
        if failed := record(Path(folder) / NAME):
            sys.exit(f"not recorded, these claims were not held: {', '.join(failed)}")
        shutil.make_archive(str(HERE / NAME), "xztar", folder, NAME)


if __name__ == "__main__":
    main()
