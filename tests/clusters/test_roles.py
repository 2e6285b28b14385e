"""Which real node plays master, node1 and node2."""

from __future__ import annotations

import pytest

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kube.roles import choose
from tests.clusters.kubernetes_objects import node

MASTER_TAINT = ("node-role.kubernetes.io/master:NoSchedule",)
CONTROL_TAINT = ("node-role.kubernetes.io/control-plane:NoSchedule",)


@pytest.mark.parametrize(("era", "taint"), [("master", MASTER_TAINT), ("control-plane", CONTROL_TAINT)])
def test_a_control_plane_of_either_era_is_the_master_and_workers_by_name(
    era: str, taint: tuple[str, ...]
) -> None:
    roles = choose([node("w2"), node("cp", control_plane=era, taints=taint), node("w1"), node("w3")], {})
    assert roles.nodes == {"master": "cp", "node1": "w1", "node2": "w2"}
    assert roles.lacks == {}
    assert roles.text == "master cp, node1 w1, node2 w2"


def test_the_hostname_label_may_differ_from_the_nodes_name() -> None:
    roles = choose([node("ip-10-0-0-1.ec2.internal", hostname="ip-10-0-0-1"), node("x")], {})
    assert roles.hostnames["node1"] == "ip-10-0-0-1"


def test_named_nodes_come_first() -> None:
    nodes = [node("cp", control_plane="master"), node("w1"), node("w2"), node("w3")]
    roles = choose(nodes, {"node1": "w3", "master": "w1"})
    assert roles.nodes == {"master": "w1", "node1": "w3", "node2": "w2"}


def test_without_a_control_plane_another_node_is_the_master() -> None:
    roles = choose([node("a"), node("b"), node("c", cordoned=True)], {})
    assert roles.nodes == {"master": "c", "node1": "a", "node2": "b"}


@pytest.mark.parametrize(
    "labels",
    [{"type": "virtual-kubelet"}, {"type": "kwok"}, {"eks.amazonaws.com/compute-type": "fargate"}],
)
def test_a_virtual_node_plays_nothing(labels: dict[str, str]) -> None:
    virtual = node("a-fargate", taints=("eks.amazonaws.com/compute-type:NoSchedule",), labels=labels)
    roles = choose([virtual, node("b"), node("c")], {})
    assert roles.nodes == {"node1": "b", "node2": "c"}
    ((key, value),) = labels.items()
    assert roles.lacks["master"] == (
        f"no third node for the role master: a-fargate (it is a virtual node ({key}={value}))"
    )
    bare_metal = node("a", labels={"type": "metal", "eks.amazonaws.com/compute-type": "ec2"})
    assert choose([bare_metal], {}).nodes == {"node1": "a"}


def test_a_node_that_is_kept_for_others_is_the_last_to_be_the_master() -> None:
    nodes = [node("a-gpu", taints=("gpu:NoSchedule",)), node("b"), node("c"), node("d")]
    assert choose(nodes, {}).nodes == {"master": "d", "node1": "b", "node2": "c"}
    assert choose(nodes[:3], {}).nodes["master"] == "a-gpu"


def test_a_control_plane_that_runs_pods_stands_in_where_workers_are_short() -> None:
    roles = choose([node("cp1", control_plane="master"), node("cp2", control_plane="master"), node("w")], {})
    assert roles.nodes == {"master": "cp1", "node1": "w", "node2": "cp2"}
    roles = choose([node("cp", control_plane="control-plane"), node("w")], {})
    assert roles.nodes == {"node1": "w", "node2": "cp"}
    assert roles.lacks == {"master": "no third node for the role master: 2 nodes in all"}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (node("w2", ready="Unknown"), "w2 (it is not Ready)"),
        (node("w2", cordoned=True), "w2 (it is cordoned (kubectl uncordon))"),
        (
            node("w2", taints=("dedicated:NoSchedule", "x:NoExecute")),
            "w2 (taint dedicated:NoSchedule, x:NoExecute)",
        ),
        (node("w2", os="windows"), "w2 (it runs windows)"),
    ],
)
def test_what_a_role_lacks_is_said(other: dict[str, object], why: str) -> None:
    roles = choose([node("cp", control_plane="master", taints=MASTER_TAINT), node("w1"), other], {})
    assert roles.nodes == {"master": "cp", "node1": "w1"}
    line = roles.lacks["node2"]
    assert line.startswith("no node for the role node2: w1 can run the labs' pods, not cp (taint ")
    assert why in line


def test_a_preference_keeps_nothing_away() -> None:
    roles = choose([node("a", taints=("soft:PreferNoSchedule",)), node("b")], {})
    assert roles.nodes == {"node1": "a", "node2": "b"}


def test_no_node_at_all() -> None:
    roles = choose([node("a", ready="False")], {})
    assert roles.nodes == {}
    assert (
        roles.lacks["node1"]
        == "no node for the role node1: none can run the labs' pods, not a (it is not Ready)"
    )
    assert roles.lacks["master"] == "no third node for the role master: a (it is not Ready)"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"node1": "w9"}, "--k8snet-role node1=w9: the cluster has no node 'w9', it has cp, w1"),
        (
            {"node2": "cp"},
            "--k8snet-role node2=cp: cp can't play node2: taint node-role.kubernetes.io/master:NoSchedule",
        ),
    ],
)
def test_a_named_node_that_can_not_play(named: dict[str, str], said: str) -> None:
    nodes = [node("w1"), node("cp", control_plane="master", taints=MASTER_TAINT)]
    with pytest.raises(ClusterError) as raised:
        choose(nodes, named)
    assert str(raised.value) == said


def test_a_named_master_may_be_tainted_but_must_be_there() -> None:
    tainted = node("m", taints=MASTER_TAINT)
    assert choose([tainted, node("a"), node("b")], {"master": "m"}).nodes["master"] == "m"
    with pytest.raises(ClusterError, match="m can't play master: it is not Ready"):
        choose([node("m", ready="False"), node("a")], {"master": "m"})


def test_a_large_cluster_is_named_in_part() -> None:
    with pytest.raises(ClusterError, match=r"n11 and 88 more$"):
        choose([node(f"n{number:02}") for number in range(100)], {"node1": "x"})
