"""All labs observed and judged on one cluster, live or replayed, as the bundled scenarios do it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
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


def observation(claim: str) -> str:
    """The name under which the evidence of a claim is recorded: its lab's, or its own where it disrupts."""
    return {RESTART: "pause-restart", SPREAD: "clusterip-spread"}.get(claim, BY_ID[claim].lab)


OBSERVATIONS = tuple(dict.fromkeys(observation(claim.id) for claim in CATALOGUE))


def verdicts(
    cluster: Cluster, intent: Intent, observations: Collection[str] = OBSERVATIONS
) -> dict[str, Verdict]:
    """Every claim's verdict by its id, kept on the cluster's tape too.

    With fewer ``observations``, those are made and their claims judged only (and what they rest on).
    """
    found = {
        claim: verdict
        for claim, verdict in _verdicts(cluster, intent, observations)
        if observation(claim) in observations
    }
    for claim, verdict in found.items():
        cluster.tape.verdict("", claim, vars(verdict) | {"outcome": verdict.outcome.value})
    return found


def _verdicts(
    cluster: Cluster, intent: Intent, observations: Collection[str]
) -> Iterator[tuple[str, Verdict]]:
    pod_dest = next(manifest for manifest in manifests() if manifest.name == labs.TARGET)
    pause = None
    if "pause" in observations:
        pause = yield from _lab(cluster, intent, "pause", labs.observe_pause, but=RESTART)
    if "pause-restart" in observations:
        yield RESTART, _aside(cluster, pause, RESTART, lambda: (restart_container(cluster, intent),))
    if "pod-network" in observations:
        yield from _lab(cluster, intent, "pod-network", labs.observe_pod_network)
    if {"clusterip", "clusterip-spread"} & set(observations):
        clusterip = yield from _lab(cluster, intent, "clusterip", labs.observe_clusterip, but=SPREAD)
    if "clusterip-spread" in observations:
        yield (
            SPREAD,
            _aside(
                cluster,
                clusterip,
                SPREAD,
                lambda: (clusterip, labs.observe_spread(cluster, intent, pod_dest)),
            ),
        )
    if "nodeport" in observations:
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


def _aside(cluster: Cluster, lab: Any, claim: str, observe: Callable[[], tuple[Any, ...]]) -> Verdict:
    """The verdict on a disruptive observation, recorded as a lab of its own; none without its ``lab``."""
    if isinstance(lab, Exception):
        return inconclusive(BY_ID[claim].sentence, str(lab))
    try:
        with cluster.lab(observation(claim)):
            observed = observe()
    except (ClusterError, NotObserved) as error:
        return inconclusive(BY_ID[claim].sentence, str(error))
    return BY_ID[claim].function(*observed)
