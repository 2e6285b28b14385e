"""All labs observed and judged on one cluster, live or replayed, as the bundled scenarios do it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from pytest_k8snet.claims.catalogue import BY_ID, CATALOGUE
from pytest_k8snet.claims.verdict import Verdict, inconclusive
from pytest_k8snet.clusters.base import Cluster, ClusterError
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import Manifest, load
from pytest_k8snet.probes import labs
from pytest_k8snet.probes.restarts import restart_container

SCENARIOS = Path(__file__).parent.parent.parent / "scenarios"
RESTART, SPREAD = "pause/survives-restart", "clusterip/spreads"


def manifests() -> list[Manifest]:
    """All the labs' objects."""
    return [manifest for path in sorted(SCENARIOS.glob("*/*.yaml")) for manifest in load(path)]


def verdicts(cluster: Cluster, intent: Intent) -> dict[str, Verdict]:
    """Every claim's verdict by its id, kept on the cluster's tape too."""
    found = dict(_verdicts(cluster, intent))
    for claim, verdict in found.items():
        cluster.tape.verdict("", claim, vars(verdict) | {"outcome": verdict.outcome.value})
    return found


def _verdicts(cluster: Cluster, intent: Intent) -> Iterator[tuple[str, Verdict]]:
    pod_dest = next(manifest for manifest in manifests() if manifest.name == labs.TARGET)
    pause = yield from _lab(cluster, intent, "pause", labs.observe_pause, but=RESTART)
    yield (
        RESTART,
        _aside(cluster, pause, "pause-restart", RESTART, lambda: (restart_container(cluster, intent),)),
    )
    yield from _lab(cluster, intent, "pod-network", labs.observe_pod_network)
    clusterip = yield from _lab(cluster, intent, "clusterip", labs.observe_clusterip, but=SPREAD)
    yield (
        SPREAD,
        _aside(
            cluster,
            clusterip,
            "clusterip-spread",
            SPREAD,
            lambda: (clusterip, labs.observe_spread(cluster, intent, pod_dest)),
        ),
    )
    yield from _lab(cluster, intent, "nodeport", labs.observe_nodeport)


def _lab(
    cluster: Cluster, intent: Intent, lab: str, observe: Callable[[Cluster, Intent], Any], but: str = ""
) -> Generator[tuple[str, Verdict], None, Any]:
    """The verdicts of one lab; its observation, or the error that there is in its place, as the result."""
    claims = [claim for claim in CATALOGUE if claim.lab == lab and claim.id != but]
    try:
        with cluster.lab(lab):
            observed = observe(cluster, intent)
    except (ClusterError, NotObserved) as error:
        for claim in claims:
            yield claim.id, inconclusive(claim.sentence, str(error))
        return error
    for claim in claims:
        yield claim.id, claim.function(observed, intent)
    return observed


def _aside(
    cluster: Cluster, lab: Any, name: str, claim: str, observe: Callable[[], tuple[Any, ...]]
) -> Verdict:
    """The verdict on a disruptive observation, recorded as a lab of its own; none without its ``lab``."""
    if isinstance(lab, Exception):
        return inconclusive(BY_ID[claim].sentence, str(lab))
    try:
        with cluster.lab(name):
            observed = observe()
    except (ClusterError, NotObserved) as error:
        return inconclusive(BY_ID[claim].sentence, str(error))
    return BY_ID[claim].function(*observed)
