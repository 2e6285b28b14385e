"""A node is a testinfra host."""

from __future__ import annotations

from pathlib import Path

from pytest_k8snet.clusters.base import Cluster
from pytest_k8snet.clusters.bundle import BundleTape
from pytest_k8snet.clusters.replay import ReplayCluster
from pytest_k8snet.clusters.testinfra_backend import testinfra_host
from pytest_k8snet.intent import Intent
from tests.clusters.fake import FakeCluster, says


def answers(cluster: FakeCluster) -> FakeCluster:
    cluster.say("k8s-node1", "sh -c", says("", "", 1))
    cluster.say("k8s-node1", "sh -c 'command -v command'", says("command\n"))
    cluster.say("k8s-node1", "sh -c 'command -v ip'", says("/sbin/ip\n"))
    cluster.say("k8s-node1", "sh -c 'uname -s'", says("Linux\n"))
    cluster.say("k8s-node1", "sh -c 'uname -m'", says("x86_64\n"))
    cluster.say("k8s-node1", "sh -c '/sbin/ip link show tunl0'", says("2: tunl0@NONE"))
    cluster.say("k8s-node1", "sh -c 'test -e /sys/class/net/tunl0'", says())
    cluster.say("k8s-node1", "sh -c 'printf", says(b"it's"))
    return cluster


def ask(cluster: Cluster) -> tuple[bool, bool, str, int]:
    host = testinfra_host(cluster.nodes["k8s-node1"])
    quoted = host.run("printf %s", "it's")
    return (
        host.interface("tunl0").exists,
        host.interface("vxlan.calico").exists,
        quoted.stdout,
        host.run("false").rc,
    )


def test_interfaces_of_a_node() -> None:
    assert ask(answers(FakeCluster())) == (True, False, "it's", 1)


def test_one_host_a_node() -> None:
    cluster = FakeCluster()
    one, other = (testinfra_host(cluster.nodes[name]) for name in ("k8s-node1", "k8s-node2"))
    assert one is testinfra_host(cluster.nodes["k8s-node1"])
    assert one is not other
    assert one.backend.get_pytest_id() == "k8snet://k8s-node1"


def test_its_commands_are_recorded_and_replayed(tmp_path: Path) -> None:
    tape = BundleTape(tmp_path)
    cluster = answers(FakeCluster(tape))
    tape.describe_cluster(cluster, Intent())
    said = ask(cluster)
    tape.close()
    assert ask(ReplayCluster(tmp_path)) == said
