"""A replay gives the recorded answers, in their order, and says what it lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_k8snet.clusters.base import (
    ClusterError,
    CommandTimeout,
    NodeUnreachable,
    NotRecorded,
    Patience,
)
from pytest_k8snet.clusters.bundle import BundleError, BundleTape
from pytest_k8snet.clusters.replay import ReplayCluster
from pytest_k8snet.intent import Intent
from tests.clusters.fake import FakeCluster, says

INTENT = Intent(uplink="eth1", node_port=31081, roles={"node1": "k8s-node1"})


def recording(directory: Path, act: Callable[[FakeCluster], None]) -> ReplayCluster:
    """What ``act`` did, ready to be asked again."""
    tape = BundleTape(directory)
    cluster = FakeCluster(tape)
    tape.describe_cluster(cluster, INTENT)
    act(cluster)
    tape.close()
    return ReplayCluster(directory)


def test_a_replay_knows_the_cluster(tmp_path: Path) -> None:
    replay = recording(tmp_path, lambda cluster: None)
    assert dict(replay.roles) == {"master": "k8s-master", "node1": "k8s-node1", "node2": "k8s-node2"}
    assert replay.node("node2").name == "k8s-node2"
    assert replay.node("node2").role == "node2"
    assert (replay.namespace, replay.runtime) == ("default", "oci")
    assert replay.intent == INTENT
    assert replay.info.provider == "replay"
    assert replay.info.summary.startswith("replay of fake: three nodes of canned answers, recorded 20")
    assert replay.info.details == {"kernel": "none", "recorded provider": "fake"}
    with replay:
        replay.apply([])
        replay.delete([])
        replay.tape.wait(3600)
        replay.tape.verdict("test", "pause/x", {})
        replay.tape.close()


def test_a_replay_has_the_patience_of_the_run(tmp_path: Path) -> None:
    hasty = Patience(request=1, listening=2.5, command=3.0)

    def act(cluster: FakeCluster) -> None:
        cluster.patience = hasty
        tape = cluster.tape
        assert isinstance(tape, BundleTape)
        tape.describe_cluster(cluster, INTENT)

    assert recording(tmp_path, act).patience == hasty
    header = tmp_path / "bundle.json"
    fields = json.loads(header.read_text())
    del fields["patience"]  # as bundles were before it was kept
    header.write_text(json.dumps(fields))
    assert ReplayCluster(tmp_path).patience == Patience()
    header.write_text(json.dumps(fields | {"patience": {"virtue": 1}}))
    with pytest.raises(BundleError, match="damaged"):
        ReplayCluster(tmp_path)


def test_the_nth_question_gets_the_nth_answer_of_its_lab(tmp_path: Path) -> None:
    def act(cluster: FakeCluster) -> None:
        cluster.say("k8s-node1", "date", says("1"), says("2"), says("3"))
        node = cluster.nodes["k8s-node1"]
        with cluster.lab("one"):
            node.run("date")
            node.run("date")
        with cluster.lab("two"):
            node.run("date")

    replay = recording(tmp_path, act)
    node = replay.nodes["k8s-node1"]
    with replay.lab("two"):
        assert node.run("date").stdout == b"3"
    with replay.lab("one"):
        assert [node.run("date").stdout for _ in range(2)] == [b"1", b"2"]
        with pytest.raises(NotRecorded, match=r"only 2 of `date` on k8s-node1 in lab one"):
            node.run("date")


def test_labs_of_several_workers_come_back_in_their_namespaces(tmp_path: Path) -> None:
    for lab in ("pause", "nodeport"):
        tape = BundleTape(tmp_path, join=True)
        cluster = FakeCluster(tape)
        cluster.namespace = f"k8snet-{lab}"
        cluster.objects["pods"] = b"{}"
        tape.describe_cluster(cluster, INTENT)
        with cluster.lab(lab):
            cluster.get("pods")
        tape.close()
    replay = ReplayCluster(tmp_path)
    seen = {}
    for lab in ("pause", "nodeport", "clusterip"):
        with replay.lab(lab):
            seen[lab] = replay.namespace
    assert seen == {"pause": "k8snet-pause", "nodeport": "k8snet-nodeport", "clusterip": replay.namespace}


def test_what_was_not_recorded_is_named(tmp_path: Path) -> None:
    replay = recording(tmp_path, lambda cluster: None)
    with replay.lab("pause"):
        with pytest.raises(NotRecorded, match=r"holds nothing of `ip 'a b'` on k8s-node1 in lab pause"):
            replay.nodes["k8s-node1"].run("ip", "a b")
        with pytest.raises(NotRecorded, match=r"nothing of `curl` on pod/pod-src/container in lab pause"):
            replay.exec("pod-src", "container", "curl")
        with pytest.raises(NotRecorded, match=r"nothing of `tcpdump` on k8s-node2"):
            replay.nodes["k8s-node2"].spawn("tcpdump")
        with pytest.raises(NotRecorded, match=r"nothing of the API read of pods in lab pause"):
            replay.get("pods")


def test_all_of_a_result_comes_back(tmp_path: Path) -> None:
    def act(cluster: FakeCluster) -> None:
        cluster.say("k8s-node1", "x", says(b"\xff\x00", "sorry\n", 137))
        cluster.objects["pods"] = b"{}"
        cluster.nodes["k8s-node1"].run("x", "y z")
        cluster.get("pods")

    replay = recording(tmp_path, act)
    result = replay.nodes["k8s-node1"].run("x", "y z")
    assert (result.argv, result.exit_status) == (("x", "y z"), 137)
    assert (result.stdout, result.stderr) == (b"\xff\x00", b"sorry\n")
    assert replay.get("pods") == b"{}"


@pytest.mark.parametrize("kind", [ClusterError, CommandTimeout, NodeUnreachable])
def test_an_error_comes_back_as_itself(tmp_path: Path, kind: type[ClusterError]) -> None:
    def act(cluster: FakeCluster) -> None:
        cluster.say("k8s-node1", "x", kind("k8s-node1 is silent"))
        cluster.objects["nodes"] = kind("no API")
        with pytest.raises(kind):
            cluster.nodes["k8s-node1"].run("x")
        with pytest.raises(kind):
            cluster.nodes["k8s-node1"].spawn("x")
        with pytest.raises(kind):
            cluster.get("nodes")

    replay = recording(tmp_path, act)
    with pytest.raises(kind, match="k8s-node1 is silent"):
        replay.nodes["k8s-node1"].run("x")
    with pytest.raises(kind, match="k8s-node1 is silent"):
        replay.nodes["k8s-node1"].spawn("x")
    with pytest.raises(kind, match="no API"):
        replay.get("nodes")


def test_captures_come_back_in_the_order_of_their_start(tmp_path: Path) -> None:
    def act(cluster: FakeCluster) -> None:
        cluster.say("k8s-node1", "tcpdump", says("first", "listening on x"), says("second", "listening on x"))
        node = cluster.nodes["k8s-node1"]
        first, second = node.spawn("tcpdump", pcap="1.pcap"), node.spawn("tcpdump")
        for capture in (second, first):
            capture.wait_for(b"listening on", 1)
            capture.stop()

    replay = recording(tmp_path, act)
    node = replay.nodes["k8s-node1"]
    captures = [node.spawn("tcpdump", pcap="1.pcap"), node.spawn("tcpdump")]
    captures[0].wait_for(b"listening on", 1)
    assert [capture.stop().stdout for capture in captures] == [b"first", b"second"]
    with pytest.raises(ClusterError, match="never said 'something else'"):
        captures[0].wait_for(b"something else", 1)


def test_a_capture_that_never_listened_does_not_listen_again(tmp_path: Path) -> None:
    def act(cluster: FakeCluster) -> None:
        cluster.say("k8s-node1", "tcpdump", says("", "listening on x, too late"))
        cluster.not_listening["k8s-node1"] = CommandTimeout("not listening within 1 s")
        capture = cluster.nodes["k8s-node1"].spawn("tcpdump")
        with pytest.raises(CommandTimeout):
            capture.wait_for(b"listening on", 1)
        capture.stop()

    capture = recording(tmp_path, act).nodes["k8s-node1"].spawn("tcpdump")
    with pytest.raises(CommandTimeout, match="not listening within 1 s"):
        capture.wait_for(b"listening on", 1)
    assert capture.stop().stderr == b"listening on x, too late"


def test_a_capture_that_could_not_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(cluster: FakeCluster) -> None:
        def gone(timeout: float = 10.0) -> None:
            raise NodeUnreachable("k8s-node1 went away")

        cluster.say("k8s-node1", "tcpdump", says())
        capture = cluster.nodes["k8s-node1"].spawn("tcpdump")
        monkeypatch.setattr(cluster.spawned[0], "stop", gone)
        with pytest.raises(NodeUnreachable):
            capture.stop()

    capture = recording(tmp_path, act).nodes["k8s-node1"].spawn("tcpdump")
    with pytest.raises(NodeUnreachable, match="k8s-node1 went away"):
        capture.stop()


def test_tokens_are_those_of_the_recorded_run(tmp_path: Path) -> None:
    tokens: list[str] = []

    def act(cluster: FakeCluster) -> None:
        cluster.say("k8s-node1", "date", says())
        with cluster.lab("pause"):
            cluster.nodes["k8s-node1"].run("date")
            tokens.extend(cluster.tape.token("request") for _ in range(2))

    replay = recording(tmp_path, act)
    with replay.lab("pause"):
        assert [replay.tape.token("request") for _ in range(2)] == tokens


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    recording(tmp_path, lambda cluster: None)
    header = json.loads((tmp_path / "bundle.json").read_text())
    for name, damaged in (
        ("roles", 3),
        ("nodes", None),
        ("nodes", "k8s-node1"),
        ("intent", {"pod_cidr": "x", "service_cidr": ""}),
        ("intent", {**header["intent"], "encapsulation": "gre"}),
        ("intent", {**header["intent"], "proxy_mode": "ebpf"}),
    ):
        (tmp_path / "bundle.json").write_text(json.dumps({**header, name: damaged}))
        with pytest.raises(BundleError, match=r"bundle\.json is damaged"):
            ReplayCluster(tmp_path)


def test_nothing_stands_behind_the_tape(tmp_path: Path) -> None:
    replay = recording(tmp_path, lambda cluster: None)
    node = replay.nodes["k8s-node1"]
    for reach in (
        lambda: node._run(("x",), timeout=1, stdin=b""),
        lambda: node._spawn(("x",)),
        lambda: replay._get("pods"),
        lambda: replay._exec("pod", "container", ("x",), timeout=1),
    ):
        with pytest.raises(AssertionError, match="past its tape"):
            reach()
