"""A capture counts only when it listened before the traffic and arrived whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, NodeUnreachable, Patience
from pytest_k8snet.evidence.observations import CapturePoint, CaptureRun
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes import labs
from pytest_k8snet.probes.captures import SETTLE, Point, capturing, flow_filter
from pytest_k8snet.probes.nodes import observe_node
from tests.clusters.fake import FakeCluster, says
from tests.probes.network import FLOW, counters, network
from tests.wire import pcap

NODE = "k8s-node2"


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


@pytest.fixture
def cluster(waited: list[float]) -> FakeCluster:
    return network()


def capture(cluster: FakeCluster) -> tuple[CapturePoint, CapturePoint]:
    """The uplinks of node2, which a test may break, and of node1."""
    one, other = labs.observe_pod_network(cluster, Intent()).request.points[1:3]
    return one, other


def test_a_whole_capture(cluster: FakeCluster, waited: list[float]) -> None:
    point, _ = capture(cluster)
    run = point.run.get()
    assert isinstance(run, CaptureRun)
    assert len(run.capture.packets) == run.received == len(FLOW)
    assert run.dropped == 0
    assert waited == [SETTLE]


def test_what_tcpdump_is_asked(cluster: FakeCluster) -> None:
    point, _ = capture(cluster)
    assert point.run.command == (
        "tcpdump -i eth1 -p -B 16384 -nn -U --immediate-mode -s 0 -Z root -w - "
        "'ip proto 4 or udp port 4789 or icmp or (ip[6:2] & 0x1fff != 0) or (tcp and (port 8080))'"
    )
    assert "(port 8080 or port 31080)" in flow_filter((31080, 8080, 31080))
    assert flow_filter((8080,), 6) == f"(icmp6 and ip6[40] < 128) or ip6 proto 44 or {flow_filter((8080,))}"


def test_the_reference_network_is_asked_without_what_real_clusters_need(cluster: FakeCluster) -> None:
    """Its machines are small, and nobody else sends anything there."""
    cluster.info = replace(cluster.info, reference=True)
    assert capture(cluster)[0].run.command.startswith("tcpdump -i eth1 -nn -U")


def test_drops_are_for_claims_to_judge(cluster: FakeCluster) -> None:
    cluster.say(NODE, "tcpdump", says(pcap(FLOW), counters(len(FLOW), dropped=3)))
    assert capture(cluster)[0].run.get().dropped == 3


def test_nothing_captured_is_an_answer(cluster: FakeCluster) -> None:
    cluster.say(NODE, "tcpdump", says(pcap([]), counters(0)))
    assert capture(cluster)[0].run.get().capture.packets == ()


WHOLE = pcap(FLOW)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        pytest.param(says(WHOLE[:-5], counters(len(FLOW))), "unreadable output: ", id="cut-in-a-packet"),
        pytest.param(
            says(pcap(FLOW[:-2]), counters(len(FLOW))),
            f"the capture is cut: tcpdump captured {len(FLOW)} packets and {len(FLOW) - 2} arrived",
            id="cut-between-packets",
        ),
        pytest.param(says(b"", counters(0)), "unreadable output: ", id="no-file-header"),
        pytest.param(says(b"hello", counters(0)), "unreadable output: ", id="no-pcap"),
        pytest.param(
            says(WHOLE, "tcpdump: listening on eth1\n"), "unreadable output: tcpdump", id="no-counters"
        ),
        pytest.param(says(WHOLE, counters(len(FLOW)), 137), "`tcpdump` exited with status 137", id="killed"),
        pytest.param(
            says(b"", "sh: 1: tcpdump: not found\n", 127),
            "tcpdump is not installed on k8s-node2",
            id="missing",
        ),
        pytest.param(
            says(b"", "tcpdump: eth1: No such device exists\n", 1),
            "tcpdump was not listening before the request: 'listening on' was not said within 10 s",
            id="no-such-device",
        ),
        pytest.param(NodeUnreachable("k8s-node2 is gone"), "k8s-node2 is gone", id="node-gone"),
    ],
)
def test_a_capture_that_cant_be_judged(cluster: FakeCluster, answer: Any, failure: str) -> None:
    cluster.say(NODE, "tcpdump", answer)
    broken, whole = capture(cluster)
    assert broken.run.value is None
    assert broken.run.failure.startswith(failure)
    assert broken.run.advice
    assert broken.run.node == NODE
    assert whole.run.get().capture.packets, "the other points go on"


def test_a_missing_tool_is_named_with_its_package(cluster: FakeCluster) -> None:
    cluster.say(NODE, "tcpdump", says(b"", "sh: 1: tcpdump: not found\n", 127))
    assert capture(cluster)[0].run.advice == "install tcpdump on k8s-node2"


def test_not_listening_in_time(cluster: FakeCluster) -> None:
    """Though it captured all of it: what came before it listened is not known."""
    cluster.not_listening[NODE] = CommandTimeout("tcpdump said nothing for 10 s")
    point = capture(cluster)[0]
    assert point.run.failure == "tcpdump was not listening before the request: tcpdump said nothing for 10 s"
    assert all(run.stopped == 1 for run in cluster.spawned)


def test_captures_share_one_deadline(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, given = [100.0], []

    def wait_for(self: object, text: bytes, timeout: float) -> None:
        given.append(timeout)
        clock[0] += 1.5

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("tests.clusters.fake.FakeRun.wait_for", wait_for)
    cluster.patience = Patience(listening=4.0)
    capture(cluster)
    assert given == [4.0, 2.5, 1.0, 0.0]


def test_a_capture_that_cant_be_stopped(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: object, timeout: float = 10.0) -> None:
        raise NodeUnreachable("went away")

    monkeypatch.setattr("tests.clusters.fake.FakeRun.stop", stop)
    assert [point.run.failure for point in capture(cluster)] == ["went away", "went away"]


def test_no_wait_where_nothing_captures(cluster: FakeCluster, waited: list[float]) -> None:
    cluster.say(".*", "tcpdump", NodeUnreachable("gone"))
    capture(cluster)
    assert waited == []


def test_captures_end_when_the_request_raises(cluster: FakeCluster) -> None:
    node = observe_node(cluster, cluster.nodes[NODE], Intent())
    point = Point("source-uplink", node, Reading(NODE, "", "eth1"))
    with pytest.raises(KeyboardInterrupt), capturing(cluster, [point], pcap="x", filter="tcp"):
        raise KeyboardInterrupt
    assert [run.stopped for run in cluster.spawned] == [1]


def test_a_request_that_fails_still_ends_them(cluster: FakeCluster) -> None:
    cluster.say("pod/pod-src/container", "curl", ClusterError("exec failed"))
    request = labs.observe_pod_network(cluster, Intent()).request
    assert request.answer.failure == "exec failed"
    assert all(point.run.get() for point in request.points)
