"""The promise of a bundle: what a run observed, its replay observes again, field by field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.base import Cluster, CommandTimeout, NodeUnreachable
from pytest_k8snet.clusters.bundle import BundleTape, load_bundle
from pytest_k8snet.clusters.replay import ReplayCluster
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import Manifest
from pytest_k8snet.probes import labs
from pytest_k8snet.probes.restarts import restart_container
from tests.clusters.fake import FakeCluster, says
from tests.probes.network import PAUSE, network, refused, states

INTENT = Intent()
POD_DEST = Manifest("Pod", "pod-dest", {"kind": "Pod", "metadata": {"name": "pod-dest"}}, "pods.yaml")


def restart_after(cluster: FakeCluster) -> None:
    old, new = says(states_of(702)), says(states_of(902))
    cluster.say("k8s-node1", "crun --root /run/crun list", old, old, new)
    cluster.say("k8s-node1", "nsenter -t 902", says("[]"))


def states_of(pid: int) -> str:
    import json

    return json.dumps(states([PAUSE], container2=pid))


LABS: dict[str, Callable[[Cluster], Any]] = {
    "pause": lambda cluster: labs.observe_pause(cluster, INTENT),
    "pause-restart": lambda cluster: restart_container(cluster, INTENT),
    "pod-network": lambda cluster: labs.observe_pod_network(cluster, INTENT),
    "clusterip": lambda cluster: labs.observe_clusterip(cluster, INTENT),
    "clusterip-spread": lambda cluster: labs.observe_spread(cluster, INTENT, POD_DEST),
    "nodeport": lambda cluster: labs.observe_nodeport(cluster, INTENT),
    "mine": lambda cluster: [
        labs.trace_between(cluster, INTENT, "pod-src", "pod-dest"),
        labs.trace_between(cluster, INTENT, "pod-src", "pod-dest"),
    ],
}


def observe(cluster: Cluster, names: list[str]) -> dict[str, Any]:
    observed = {}
    for name in names:
        if name == "pause-restart" and isinstance(cluster, FakeCluster):
            restart_after(cluster)
        with cluster.lab(name):
            observed[name] = LABS[name](cluster)
    return observed


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[Callable[[FakeCluster], None]], tuple[dict[str, Any], Path]]:
    def record(breaks: Callable[[FakeCluster], None]) -> tuple[dict[str, Any], Path]:
        directory = tmp_path / "bundle"
        tape = BundleTape(directory)
        monkey = network(tape)
        breaks(monkey)
        tape.describe_cluster(monkey, INTENT)
        tape.wait = lambda seconds: None  # type: ignore[method-assign]
        observed = observe(monkey, list(LABS))
        tape.close()
        return observed, directory

    return record


def healthy(cluster: FakeCluster) -> None:
    """Nothing is broken."""


def no_tcpdump(cluster: FakeCluster) -> None:
    cluster.say(".*", "tcpdump", says(b"", "sh: 1: tcpdump: not found\n", 127))


def silent_node(cluster: FakeCluster) -> None:
    cluster.say("k8s-node1", ".*", NodeUnreachable("k8s-node1 does not answer"))


def slow_node(cluster: FakeCluster) -> None:
    cluster.say("k8s-node2", ".*", CommandTimeout("no end within 15 s"))


def garbage(cluster: FakeCluster) -> None:
    cluster.say("k8s-node1", ".*", says(b"\xff\xfe{", "what?\n"))


def no_answers(cluster: FakeCluster) -> None:
    """So that controls are asked, too."""
    cluster.say("pod/.*|k8s-master", "curl", refused)


@pytest.mark.parametrize("breaks", [healthy, no_answers, no_tcpdump, silent_node, slow_node, garbage])
def test_a_replay_observes_what_the_run_observed(
    recorded: Callable[..., tuple[dict[str, Any], Path]], breaks: Callable[[FakeCluster], None]
) -> None:
    observed, directory = recorded(breaks)
    load_bundle(directory)
    assert observe(ReplayCluster(directory), list(LABS)) == observed


def test_labs_replay_alone_and_in_any_order(
    recorded: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    observed, directory = recorded(healthy)
    assert observe(ReplayCluster(directory), list(LABS)[::-1]) == observed
    for name in LABS:
        assert observe(ReplayCluster(directory), [name]) == {name: observed[name]}


def test_a_replay_sees_the_difference(recorded: Callable[..., tuple[dict[str, Any], Path]]) -> None:
    """The twin of the above: equality there is not for want of anything to compare."""
    observed, directory = recorded(healthy)
    commands = directory / "labs" / "pause" / "commands.jsonl"
    commands.write_text(commands.read_text().replace("20.111.156.71", "20.111.156.99"))
    assert observe(ReplayCluster(directory), ["pause"])["pause"] != observed["pause"]


def test_captures_are_named_by_lab_request_and_point(
    recorded: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    observed, directory = recorded(healthy)
    points = observed["pod-network"].request.points
    assert [point.pcap for point in points] == [
        "pod-network-request-source-veth.pcap",
        "pod-network-request-source-uplink.pcap",
        "pod-network-request-target-uplink.pcap",
        "pod-network-request-target-veth.pcap",
    ]
    kept = {path.name for path in (directory / "labs" / "pod-network").glob("*.pcap")}
    assert kept == {p.pcap for p in (*points, *observed["pod-network"].large.points)}
