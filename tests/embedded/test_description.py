"""The description of the reference network has the document's own names and numbers."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network

import pytest

from pytest_k8snet.embedded.description import NAT, NODES, Network, PodPlan, ServicePlan, nodes_within
from pytest_k8snet.embedded.objects import listed


def network() -> Network:
    return Network(IPv4Network("20.96.0.0/12"), IPv4Network("10.96.0.0/12"))


def pod(name: str, node: str, ip: str, **labels: str) -> PodPlan:
    return PodPlan(name, "default", node, IPv4Address(ip), labels, (("container", "kubetm/app"),))


def service(**selector: str) -> ServicePlan:
    return ServicePlan(
        "svc", "default", "ClusterIP", IPv4Address("10.96.0.9"), selector, (("", 8080, 8080, None),)
    )


@pytest.mark.parametrize(
    ("name", "veth"),
    [("pod-pause", "calid73126c1689"), ("pod-src", "calia5814ebbae9"), ("pod-dest", "calib8c6d5407e3")],
)
def test_host_interfaces_have_the_names_that_the_document_prints(name: str, veth: str) -> None:
    assert pod(name, "k8s-node1", "20.111.156.71").veth == veth


def test_the_documents_pods_get_the_documents_addresses() -> None:
    net = network()
    node1, node2 = net.node("k8s-node1"), net.node("k8s-node2")
    assert str(net.free_pod_ip("pod-pause", node1)) == "20.111.156.71"
    assert str(net.free_pod_ip("pod-dest", node1)) == "20.111.156.72"
    assert str(net.free_pod_ip("pod-src", node2)) == "20.109.131.5"
    assert str(net.free_cluster_ip("svc-clusterip")) == "10.107.94.97"


def test_a_documents_pod_on_another_node_gets_an_address_of_that_node() -> None:
    net = network()
    node2 = net.node("k8s-node2")
    assert net.free_pod_ip("pod-dest", node2) in node2.block


def test_addresses_are_given_once_and_never_the_tunnels() -> None:
    net = network()
    node = net.node("k8s-node1")
    for number in range(20):
        ip = net.free_pod_ip(f"pod-{number}", node)
        assert ip not in {other.ip for other in net.pods.values()}
        assert ip != node.tunnel_ip
        assert str(ip) not in ("20.111.156.71", "20.111.156.72")
        net.pods[f"pod-{number}"] = pod(f"pod-{number}", node.name, str(ip))


def test_a_selector_selects_all_its_labels_and_an_empty_one_nothing() -> None:
    net = network()
    net.pods = {
        "a": pod("a", "k8s-node1", "20.111.156.70", type="dest", tier="web"),
        "b": pod("b", "k8s-node1", "20.111.156.73", type="src"),
    }
    assert [p.name for p in net.endpoints(service(type="dest", tier="web"))] == ["a"]
    assert net.endpoints(service(type="dest", tier="db")) == []
    assert net.endpoints(service()) == []


def test_every_node_reaches_the_others_blocks_through_the_tunnel() -> None:
    net = network()
    routes = net.node_request(NODES[2])["routes"]
    through = {route["dst"]: route["via"] for route in routes if route.get("dev") == "tunl0"}
    assert through == {"20.108.82.192/26": "192.168.219.21", "20.111.156.64/26": "192.168.219.22"}
    assert {"dst": "20.109.131.0/26", "type": "blackhole", "proto": 12} in routes


def test_the_documents_ranges_have_the_documents_nodes() -> None:
    assert network().nodes == nodes_within(IPv4Network("20.0.0.0/8")) == NODES


@pytest.mark.parametrize("pod_cidr", ["10.244.0.0/16", "192.168.0.0/16", "10.0.0.0/16", "10.1.1.0/24"])
def test_blocks_of_another_range_lie_apart_and_on_no_wire(pod_cidr: str) -> None:
    blocks = [node.block for node in nodes_within(IPv4Network(pod_cidr))]
    wires = [NAT, IPv4Network("192.168.219.0/24")]
    assert all(block.subnet_of(IPv4Network(pod_cidr)) and block.prefixlen == 26 for block in blocks)
    apart = [*blocks, *wires]
    assert not [(a, b) for a in apart for b in apart if a is not b and a.overlaps(b)]


def test_a_node_keeps_the_documents_block_where_it_lies_in_the_range() -> None:
    found = {node.role: str(node.block) for node in nodes_within(IPv4Network("20.109.0.0/16"))}
    assert found == {"master": "20.109.0.0/26", "node1": "20.109.0.64/26", "node2": "20.109.131.0/26"}
    # It is the first free block too, and is not given twice.
    found = {node.role: str(node.block) for node in nodes_within(IPv4Network("20.109.131.0/24"))}
    assert found == {"master": "20.109.131.64/26", "node1": "20.109.131.128/26", "node2": "20.109.131.0/26"}


@pytest.mark.parametrize("pod_cidr", ["10.1.1.0/25", "10.1.1.0/32", "10.0.2.0/24", "192.168.219.0/24"])
def test_a_range_without_room_is_refused(pod_cidr: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(pod_cidr)} has no room for 3 /26 blocks$"):
        nodes_within(IPv4Network(pod_cidr))


def test_an_underlay_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^172\.29\.7\.0/28 has no room for the nodes: they need /24$"):
        nodes_within(IPv4Network("10.244.0.0/16"), IPv4Network("172.29.7.0/28"))


def test_another_underlay_is_on_every_nodes_uplink_and_next_hop() -> None:
    net = Network(
        IPv4Network("10.244.0.0/16"), IPv4Network("10.32.0.0/16"), underlay=IPv4Network("172.16.0.0/20")
    )
    request = net.node_request(net.nodes[2])
    assert request["eth1"]["address"] == "172.16.0.23/20"
    through = {route["dst"]: route["via"] for route in request["routes"] if route.get("dev") == "tunl0"}
    assert through == {"10.244.0.0/26": "172.16.0.21", "10.244.0.64/26": "172.16.0.22"}
    told = [node["metadata"]["annotations"]["projectcalico.org/IPv4Address"] for node in listed(net, "nodes")]
    assert told == ["172.16.0.21/20", "172.16.0.22/20", "172.16.0.23/20"]


def test_a_selector_with_a_name_of_the_document_means_the_role() -> None:
    ranges = IPv4Network("20.96.0.0/12"), IPv4Network("10.96.0.0/12")
    net = Network(*ranges, names={"node1": "k8s-node2", "node2": "gamma"})
    assert [node.name for node in net.nodes] == ["k8s-master", "k8s-node2", "gamma"]
    assert [net.node(name).role for name in ("k8s-node1", "k8s-node2", "gamma")] == [
        "node1",
        "node2",
        "node2",
    ]
