"""The fixtures that serve the bundled labs and the tests that users write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_k8snet import judging
from pytest_k8snet.claims.verdict import Verdict
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.collection import NOT_DISRUPTIVE, NOT_WATCHED, lab_name, manifest_files, watches
from pytest_k8snet.manifests import Manifest, ManifestError, load_all, roles_of
from pytest_k8snet.run import RUN, Run

if TYPE_CHECKING:
    from pytest_k8snet.claims.ledger import Ledger
    from pytest_k8snet.clusters.base import Cluster
    from pytest_k8snet.clusters.here import Here
    from pytest_k8snet.evidence.observations import (
        ClusterIPLab,
        NodePortLab,
        PauseLab,
        PodNetworkLab,
        Restart,
        Spread,
        TracedRequest,
    )
    from pytest_k8snet.evidence.outage import OutageLab
    from pytest_k8snet.evidence.reading import Reading
    from pytest_k8snet.intent import Intent


_MACHINE: pytest.StashKey[Here] = pytest.StashKey()


@dataclass(frozen=True)
class Lab:
    """The lab of one test file, its objects applied."""

    name: str
    manifests: tuple[Manifest, ...]

    def manifest(self, kind: str, name: str) -> Manifest:
        """Raises :class:`~pytest_k8snet.manifests.ManifestError` for an object that the lab hasn't."""
        for manifest in self.manifests:
            if (manifest.kind, manifest.name) == (kind, name):
                return manifest
        raise ManifestError(f"lab {self.name}: none of its manifests holds {kind} {name}")


class Trace(Protocol):
    """What the ``trace`` fixture gives; the arguments of :func:`pytest_k8snet.probes.labs.trace_between`."""

    def __call__(self, source: str, target: str, **asked: Any) -> TracedRequest: ...


def _run(request: pytest.FixtureRequest) -> Run:
    return request.config.stash[RUN]


def _skip_without(cluster: Cluster, *needs: str) -> None:
    """Skip the test, naming what the cluster lacks of ``needs``: roles, or "calico"."""
    lacking = [cluster.lacks[need] for need in needs if need in cluster.lacks]
    if lacking:
        pytest.skip("; ".join(dict.fromkeys(lacking)))


def _skip_undisturbed(cluster: Cluster) -> None:
    """Skip what a recorded run was not asked to do either. On a live cluster no such test gets here."""
    if not cluster.disruptive:
        pytest.skip(NOT_DISRUPTIVE)


@pytest.fixture(scope="session")
def k8snet_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster of the run: started by the first test that needs it, gone when the session ends.

    One that does not come up ends the session: every other test would say the same. Not in a worker of
    pytest-xdist: others may have one.
    """
    run = _run(request)
    try:
        cluster = run.cluster()
    except ClusterError:
        if not hasattr(request.config, "workerinput"):
            request.session.shouldfail = "k8snet: without its cluster the run ends here"
        raise
    try:
        yield cluster
    finally:
        run.close()


@pytest.fixture(scope="session")
def intent(request: pytest.FixtureRequest) -> Intent:
    """What the cluster is declared to be: options, else ini values, else the document's."""
    return _run(request).intent()


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, k8snet_cluster: Cluster) -> Iterator[Lab]:
    """The lab of this test file: the manifests beside it and those that ``K8SNET_MANIFESTS`` names.

    Labs of one run share the cluster; their objects stay until it is gone.
    """
    name = lab_name(request.path)
    manifests = tuple(load_all(manifest_files(request.module)))
    _skip_without(k8snet_cluster, *roles_of(manifests))
    with k8snet_cluster.lab(name):
        with _run(request).step(f"{name}: applying {len(manifests)} objects"):
            k8snet_cluster.apply(manifests)
        yield Lab(name, manifests)


@pytest.fixture(scope="module")
def pause_lab(request: pytest.FixtureRequest, lab: Lab, k8snet_cluster: Cluster, intent: Intent) -> PauseLab:
    """pod-pause as its node's runtime, its namespace and its neighbours see it."""
    from pytest_k8snet.probes import labs

    run = _run(request)
    with run.step(f"{lab.name}: observing"):
        observed = labs.observe_pause(k8snet_cluster, intent)
    run.observed(lab.name, observed)
    return observed


@pytest.fixture(scope="module")
def restart(
    request: pytest.FixtureRequest, pause_lab: PauseLab, lab: Lab, k8snet_cluster: Cluster, intent: Intent
) -> Reading[Restart]:
    """A container of pod-pause killed and back. Disruptive; the lab was observed before.

    Recorded as a lab of its own: a replay of this claim alone must ask what was recorded.
    """
    from pytest_k8snet.probes.restarts import restart_container

    _skip_undisturbed(k8snet_cluster)
    name = f"{lab.name}-restart"
    run = _run(request)
    with run.step(f"{lab.name}: restarting a container"), k8snet_cluster.lab(name):
        observed = restart_container(k8snet_cluster, intent)
    run.observed(name, observed)
    return observed


@pytest.fixture(scope="module")
def pod_network_lab(
    request: pytest.FixtureRequest, lab: Lab, k8snet_cluster: Cluster, intent: Intent
) -> PodNetworkLab:
    """A small and a large request pod-src -> pod-dest, captured at every hop at once."""
    from pytest_k8snet.probes import labs

    run = _run(request)
    with run.step(f"{lab.name}: requests, captured at every hop"):
        observed = labs.observe_pod_network(k8snet_cluster, intent)
    run.note(lab.name, observed.request)
    run.note(lab.name, observed.large, aside=True)
    run.observed(lab.name, observed)
    return observed


@pytest.fixture(scope="module")
def clusterip_lab(
    request: pytest.FixtureRequest, lab: Lab, k8snet_cluster: Cluster, intent: Intent
) -> ClusterIPLab:
    """A request pod-src -> svc-clusterip, captured at every hop, with the node's rules and conntrack."""
    from pytest_k8snet.probes import labs

    run = _run(request)
    with run.step(f"{lab.name}: request, captured at every hop"):
        observed = labs.observe_clusterip(k8snet_cluster, intent)
    run.note(lab.name, observed.request)
    run.observed(lab.name, observed)
    return observed


@pytest.fixture(scope="module")
def spread(
    request: pytest.FixtureRequest,
    clusterip_lab: ClusterIPLab,
    lab: Lab,
    k8snet_cluster: Cluster,
    intent: Intent,
) -> Reading[Spread]:
    """Many connections to svc-clusterip with several pods behind it. Disruptive: it adds those pods.

    Recorded as a lab of its own, as ``restart`` is.
    """
    from pytest_k8snet.probes import labs

    _skip_undisturbed(k8snet_cluster)
    name = f"{lab.name}-spread"
    run = _run(request)
    with run.step(f"{lab.name}: connections to several pods"), k8snet_cluster.lab(name):
        observed = labs.observe_spread(k8snet_cluster, intent, lab.manifest("Pod", labs.TARGET))
    run.observed(name, observed)
    return observed


@pytest.fixture(scope="module")
def nodeport_lab(
    request: pytest.FixtureRequest, lab: Lab, k8snet_cluster: Cluster, intent: Intent
) -> NodePortLab:
    """A request master -> node2:NodePort, captured at every hop, and one to each node's own address."""
    from pytest_k8snet.claims.nodeport import client_kept
    from pytest_k8snet.probes import labs

    _skip_without(k8snet_cluster, "master", "node2")
    run = _run(request)
    with run.step(f"{lab.name}: request, captured at every hop"):
        observed = labs.observe_nodeport(k8snet_cluster, intent)
    run.note(lab.name, observed.request, client_kept=client_kept(observed))
    run.observed(lab.name, observed)
    return observed


@pytest.fixture(scope="module")
def outage_lab(
    request: pytest.FixtureRequest, lab: Lab, k8snet_cluster: Cluster, intent: Intent
) -> OutageLab:
    """What every path lost while the command of ``--k8snet-watch`` ran; that is when it runs.

    For the bundled lab: another one that asked for it would have to run the command again.
    """
    from pytest_k8snet.clusters.here import Here
    from pytest_k8snet.probes.outage import observe_outage

    run = _run(request)
    command = run.settings.watch
    if not watches(run.settings):
        pytest.skip(NOT_WATCHED)
    machine = None  # a replay has none
    if command:
        machine = request.config.stash.setdefault(_MACHINE, Here(command))  # one, which runs it once
    with run.step(f"{lab.name}: {command or 'what was watched'}") as tell:
        return observe_outage(k8snet_cluster, intent, machine, tell)


@pytest.fixture
def outage_budget(request: pytest.FixtureRequest, outage_lab: OutageLab) -> Callable[[str], int]:
    """The longest gap that a path may have, in milliseconds. Without one the test is skipped, saying what was
    measured."""
    from pytest_k8snet.claims import outage

    budget = _run(request).settings.outage_budget

    def budget_of(path: str) -> int:
        if budget is None:
            pytest.skip(f"no budget (k8snet_outage_budget_ms); measured: {outage.told(outage_lab, path)}")
        return budget

    return budget_of


@pytest.fixture
def trace(request: pytest.FixtureRequest, lab: Lab, k8snet_cluster: Cluster, intent: Intent) -> Trace:
    """Make one request in the lab of this test and capture it at every hop.

    ``trace("pod-src", "pod-dest", port=8080, path="/hostname")``, or ``asked=`` the address of a service
    that leads to the target: see :func:`pytest_k8snet.probes.labs.trace_between`.
    """
    from pytest_k8snet.probes import labs

    run = _run(request)

    def traced(source: str, target: str, **asked: Any) -> TracedRequest:
        with run.step(f"{lab.name}: request, captured at every hop"):
            request = labs.trace_between(k8snet_cluster, intent, source, target, **asked)
        run.note(lab.name, request)
        return request

    return traced


@pytest.fixture
def ledger(intent: Intent) -> Callable[[TracedRequest], Ledger]:
    """The hop ledger of a request: where it was seen, and what changed since the hop before."""
    from pytest_k8snet.claims.ledger import Ledger

    return lambda request: Ledger.of(request, intent)


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Callable[[Verdict], None]:
    """Hand every verdict to it: a test that asks for ``judge`` and judges nothing is inconclusive.

    Skips a test marked ``needs("calico")`` where the cluster has no Calico, and one marked ``disruptive`` in
    the replay of a run that left those out.
    """
    if request.node.get_closest_marker("disruptive"):
        _skip_undisturbed(request.getfixturevalue("k8snet_cluster"))
    if marker := request.node.get_closest_marker("needs"):
        _skip_without(request.getfixturevalue("k8snet_cluster"), *marker.args)

    def judge(verdict: Verdict) -> None:
        __tracebackhide__ = True
        judging.judge(request.node, verdict)

    return judge
