"""Which addresses a node's rules must hold before a lab may ask a service."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_k8snet.clusters.base import ClusterError, Deadline
from pytest_k8snet.clusters.kube.service_rules import addresses, behind, rules_agree
from tests.clusters.fake import FakeCluster, says
from tests.clusters.kubernetes_objects import pod

READY = [{"type": "Ready", "status": "True"}]
SERVICE: dict[str, Any] = {
    "metadata": {"name": "svc"},
    "spec": {"selector": {"type": "dest"}, "clusterIP": "10.96.0.9"},
}


def endpoint_slice(
    *ips: str, service: str = "svc", family: str = "IPv4", **conditions: bool
) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"kubernetes.io/service-name": service}},
        "addressType": family,
        "endpoints": [{"addresses": list(ips), "conditions": conditions}] if ips else None,
    }


def test_ready_pods_that_a_service_selects() -> None:
    dest = {"type": "dest"}
    pods = [
        pod("a", labels={**dest, "more": "x"}, conditions=READY),
        pod("b", labels=dest),
        pod("c", labels={"type": "src"}, conditions=READY),
    ]
    without = {"metadata": {"name": "by-hand"}, "spec": {}}
    assert behind([SERVICE, without], pods) == {"svc": {"a"}}


@pytest.mark.parametrize(
    ("spec", "slices", "held"),
    [
        ({}, [endpoint_slice("20.0.0.1")], {"10.96.0.9", "20.0.0.1"}),
        ({}, [endpoint_slice("20.0.0.1", ready=True)], {"10.96.0.9", "20.0.0.1"}),
        ({}, [endpoint_slice("20.0.0.1", ready=False)], set()),
        ({}, [endpoint_slice()], set()),  # without endpoints there is no rule but REJECT
        ({}, [endpoint_slice("20.0.0.1", service="other")], set()),
        ({"clusterIP": "None"}, [endpoint_slice("20.0.0.1")], set()),
        (
            {"clusterIPs": ["10.96.0.9", "fd00::9"]},
            [endpoint_slice("20.0.0.1"), endpoint_slice("fd01::1", family="IPv6")],
            {"10.96.0.9", "20.0.0.1", "fd00::9", "fd01::1"},
        ),
        ({}, [endpoint_slice("fd01::1", family="IPv6")], set()),
    ],
)
def test_the_addresses_that_rules_hold(
    spec: dict[str, Any], slices: list[dict[str, Any]], held: set[str]
) -> None:
    service = {"metadata": {"name": "svc"}, "spec": {**SERVICE["spec"], **spec}}
    assert addresses([service], slices) == held


@pytest.mark.parametrize(
    ("mode", "command", "rules"),
    [
        ("iptables", "iptables-legacy-save", "-A KUBE-SEP -j DNAT --to-destination 20.0.0.1:8080"),
        ("nftables", "nft list table ip kube-proxy", "meta l4proto tcp dnat to 20.0.0.1:8080"),
        ("nftables", "nft list table ip kube-proxy", "elements = { 20.0.0.1 . tcp . 8080 : goto x }"),
        ("ipvs", "ipvsadm -L -n", "  -> 20.0.0.1:8080             Masq    1      0          0"),
        ("iptables", "ip6tables-save", "x --to-destination 20.0.0.1:80"),
    ],
)
def test_rules_of_each_mode(mode: str, command: str, rules: str) -> None:
    cluster = FakeCluster()
    cluster.say(".*", command, says(rules))
    assert look(cluster, mode, present={"20.0.0.1"}) == []
    assert look(cluster, mode, present={"20.0.0.2"}) == ["k8s-master", "k8s-node1", "k8s-node2"]
    assert look(cluster, mode, absent={"20.0.0.1"}) == ["k8s-master", "k8s-node1", "k8s-node2"]


@pytest.mark.parametrize("other", ["20.0.0.11:8080", "120.0.0.1:8080", "20.0.0.1.2", "fd00::20.0.0.12"])
def test_another_address_is_not_taken_for_it(other: str) -> None:
    cluster = FakeCluster()
    cluster.say(".*", "iptables-save", says(other))
    assert look(cluster, present={"20.0.0.1"})


def test_addresses_of_ipv6() -> None:
    cluster = FakeCluster()
    cluster.say(".*", "ip6tables-save", says("-d fd00::9/128\n--to-destination [fd01::1]:8080"))
    assert look(cluster, present={"fd00::9", "fd01::1"}) == []
    assert look(cluster, present={"fd00::"})


def test_a_node_whose_rules_can_not_be_read_is_not_waited_for() -> None:
    cluster = FakeCluster()
    cluster.say("k8s-node1", "ip", ClusterError("gone"))
    assert look(cluster, present={"20.0.0.1"}) == []


def test_each_node_is_asked_until_it_agrees() -> None:
    cluster = FakeCluster()
    good = says("20.0.0.1")
    cluster.say("k8s-node1", "iptables-save", says("#"), says("#"), good)
    cluster.say("k8s-node2", "iptables-save", good)
    waited: list[float] = []
    nodes = [cluster.nodes["k8s-node1"], cluster.nodes["k8s-node2"]]
    late = rules_agree(
        nodes, "iptables", present={"20.0.0.1"}, absent=set(), wait=waited.append, deadline=Deadline(5)
    )
    assert (late, len(waited)) == ([], 2)
    assert len(cluster.ran("iptables-save")) == 4


def look(
    cluster: FakeCluster,
    mode: str = "iptables",
    *,
    present: frozenset[str] | set[str] = frozenset(),
    absent: frozenset[str] | set[str] = frozenset(),
) -> list[str]:
    """A few looks: there is no time for more."""
    return rules_agree(
        cluster.nodes.values(),
        mode,
        present=set(present),
        absent=set(absent),
        wait=lambda seconds: None,
        deadline=Deadline(0.02),
    )
