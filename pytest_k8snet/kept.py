"""A kept run, for comparing: its labs observed again from its bundle, and the verdicts of then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_k8snet.clusters.base import Cluster, ClusterError
from pytest_k8snet.clusters.bundle import recorded_verdicts
from pytest_k8snet.clusters.replay import ReplayCluster
from pytest_k8snet.collection import bundled_labs
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import load
from pytest_k8snet.meaning import observed
from pytest_k8snet.meaning.comparison import Fact, Meaning, meaning_of
from pytest_k8snet.probes import labs
from pytest_k8snet.probes.restarts import restart_container


@dataclass(frozen=True)
class KeptRun:
    """A bundle's run as facts. ``name`` says which: "before (embedded, recorded 2026-11-20 10:12 UTC)"."""

    name: str
    meaning: Meaning


def check(directory: Path) -> None:
    """Raises :class:`~pytest_k8snet.clusters.bundle.BundleError`, one line, for what is no whole bundle."""
    recorded_verdicts(ReplayCluster(directory).bundle)


def read(directory: Path) -> KeptRun:
    """Observe again, with the run's own intent, all that it recorded.

    Raises :class:`~pytest_k8snet.clusters.bundle.BundleError` for what is no whole bundle.
    """
    cluster = ReplayCluster(directory)
    bundle = cluster.bundle
    facts: list[Fact] = []
    for lab, seen in observations(cluster, bundle.recordings):
        facts += facts_of(lab, seen, cluster.intent)
    facts += (observed.verdict_fact(*verdict) for verdict in recorded_verdicts(bundle).items())
    started = str(bundle.header.get("started", "")).replace("T", " ")[:16]
    provider = bundle.header.get("provider", "unknown provider")
    return KeptRun(f"{directory.name} ({provider}, recorded {started} UTC)", meaning_of(facts))


def observations(cluster: ReplayCluster, recorded: Collection[str]) -> Iterator[tuple[str, object]]:
    """Name and observation of each lab among ``recorded``; the error where it could not be observed."""
    for lab, observe in OBSERVERS.items():
        if lab in recorded:
            seen: object
            try:
                with cluster.lab(lab):
                    seen = observe(cluster, cluster.intent)
            except (ClusterError, NotObserved) as error:
                seen = error
            yield lab, seen


def facts_of(lab: str, seen: object, intent: Intent) -> tuple[Fact, ...]:
    """What an observation means, or the error in its place."""
    if isinstance(seen, Exception):
        return (observed.unobserved(lab, str(seen)),)
    return observed.facts_of(seen, intent, lab)


def _observe_spread(cluster: Cluster, intent: Intent) -> object:
    (pod_dest,) = load(bundled_labs() / "pod_network" / "pod-dest.yaml")
    return labs.observe_spread(cluster, intent, pod_dest)


#: What each lab of a bundle was observed by (:mod:`pytest_k8snet.fixtures`).
OBSERVERS: Mapping[str, Callable[[Cluster, Intent], object]] = {
    observed.PAUSE: labs.observe_pause,
    observed.RESTART: restart_container,
    observed.POD_NETWORK: labs.observe_pod_network,
    observed.CLUSTERIP: labs.observe_clusterip,
    observed.SPREAD: _observe_spread,
    observed.NODEPORT: labs.observe_nodeport,
}
