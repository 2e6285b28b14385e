"""What is asked after a request that got no answer: positive controls, while the captures still run."""

from __future__ import annotations

import pytest

from pytest_k8snet.evidence.observations import Aftermath
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes import labs
from tests.clusters.fake import FakeCluster, FakeRun, says
from tests.probes.network import DEST, UNDERLAY, network, refused

INTENT = Intent()


@pytest.fixture
def cluster() -> FakeCluster:
    return network()


def after(cluster: FakeCluster) -> Aftermath:
    found = labs.observe_clusterip(cluster, INTENT).request.aftermath
    assert found is not None
    return found


def test_an_answered_request_has_no_aftermath(cluster: FakeCluster) -> None:
    assert labs.observe_clusterip(cluster, INTENT).request.aftermath is None
    assert cluster.ran("ip -j -4 netconf") == []
    assert len(cluster.ran("curl")) == 1


def test_controls_of_a_request_without_an_answer(cluster: FakeCluster) -> None:
    cluster.say("pod/pod-src/container", "curl", refused)
    found = after(cluster)
    assert found.to_pod.label == f"k8s-node1 -> pod-dest {DEST.ip}:8080"
    assert found.to_pod.answer.get().answered
    assert found.between_nodes is not None
    assert found.between_nodes.label == f"k8s-node2 -> k8s-node1 {UNDERLAY['k8s-node1']}:8080"
    assert list(found.netconf) == ["k8s-node2", "k8s-node1"]
    assert found.netconf["k8s-node1"].get()[1].interface == "eth0"


def test_controls_are_asked_while_the_captures_run(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[int] = []
    stop = FakeRun.stop

    def noted(self: FakeRun, timeout: float = 10.0) -> object:
        stopped.append(len(cluster.commands))
        return stop(self, timeout)

    monkeypatch.setattr(FakeRun, "stop", noted)
    cluster.say("pod/pod-src/container", "curl", refused)
    after(cluster)
    names = [command.split()[0] for _, command in cluster.commands]
    first = names.index("tcpdump")
    controls = ["curl", "curl", "ip", "ip"]
    assert names[first : first + 10] == [*["tcpdump"] * 4, "curl", "conntrack", *controls]
    assert stopped == [first + 10] * 4


def test_no_token_stands_in_another(cluster: FakeCluster) -> None:
    cluster.say("pod/pod-src/container", "curl", refused)
    request = labs.observe_pod_network(cluster, INTENT).request
    ours = [command for _, command in cluster.ran("curl") if request.token in command]
    assert len(cluster.ran("curl")) == 4
    assert len(ours) == 1


def test_one_question_without_an_answer_is_enough(cluster: FakeCluster) -> None:
    cluster.say("pod/pod-src/container", "(?s)curl .*--data-binary", refused)
    lab = labs.observe_pod_network(cluster, INTENT)
    assert lab.request.answer.get().answered
    assert lab.request.aftermath == lab.large.aftermath is not None


def test_a_client_that_said_nothing_is_no_reason_to_ask_more(cluster: FakeCluster) -> None:
    cluster.say("pod/pod-src/container", "curl", says("", "sh: curl: not found\n", 127))
    assert labs.observe_clusterip(cluster, INTENT).request.aftermath is None


def test_controls_may_fail_too(cluster: FakeCluster) -> None:
    cluster.say(".*", "curl", refused)
    cluster.say("k8s-node1", "curl", says("", "sh: curl: not found\n", 127))
    cluster.say("k8s-node2", "ip -j -4 netconf", says("[]"))
    found = after(cluster)
    assert found.to_pod.answer.failure == "curl is not installed on k8s-node1"
    assert found.between_nodes is not None
    assert not found.between_nodes.answer.get().answered
    assert "no entry for 'all'" in found.netconf["k8s-node2"].failure


def test_one_node_has_nothing_between(cluster: FakeCluster) -> None:
    pods = cluster.objects["pods"]
    assert isinstance(pods, bytes)
    cluster.objects["pods"] = pods.replace(b'"nodeName": "k8s-node1"', b'"nodeName": "k8s-node2"')
    cluster.say("pod/pod-src/container", "curl", refused)
    found = after(cluster)
    assert found.between_nodes is None
    assert list(found.netconf) == ["k8s-node2"]
