"""The description of the reference network has the document's own names and numbers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from pytest_k8snet.embedded.description import NODES, Network, PodPlan, ServicePlan


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
