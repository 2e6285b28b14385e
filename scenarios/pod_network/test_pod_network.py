"""Lab 2: pod-src on node2 asks pod-dest on node1, and the packet crosses the overlay between them."""

import pytest

from pytest_k8snet.claims import pod_network

pytestmark = pytest.mark.pod_network


@pytest.mark.needs("calico")
def test_ippool_mode(pod_network_lab, intent, judge):
    """The pool that holds both pods has the declared mode: Ipipmode Always, Vxlanmode Never."""
    judge(pod_network.ippool_mode(pod_network_lab, intent))


@pytest.mark.needs("calico")
def test_cidr_agrees(pod_network_lab, intent, judge):
    """The overlay's CIDR is the cluster's pod CIDR, and both pods' IPs are in it."""
    judge(pod_network.cidr_agrees(pod_network_lab, intent))


def test_route_via_tunnel(pod_network_lab, intent, judge):
    """Each node routes the other's pod through the other's address on tunl0."""
    judge(pod_network.route_via_tunnel(pod_network_lab, intent))


def test_plain_on_source_veth(pod_network_lab, intent, judge):
    """On pod-src's virtual interface the request is plain: pod-src -> pod-dest, GET /hostname."""
    judge(pod_network.plain_on_source_veth(pod_network_lab, intent))


def test_encapsulated_on_source_uplink(pod_network_lab, intent, judge):
    """node2's uplink carries it inside IPIP, addressed node2 -> node1, and never bare."""
    judge(pod_network.encapsulated_on_source_uplink(pod_network_lab, intent))


def test_encapsulated_on_target_uplink(pod_network_lab, intent, judge):
    """On node1's uplink the same packet arrives, still encapsulated."""
    judge(pod_network.encapsulated_on_target_uplink(pod_network_lab, intent))


def test_decapsulated_on_target_veth(pod_network_lab, intent, judge):
    """On pod-dest's virtual interface it is plain again."""
    judge(pod_network.decapsulated_on_target_veth(pod_network_lab, intent))


def test_one_flow(pod_network_lab, intent, judge):
    """What was seen at the four points is one flow, in the order of the path."""
    judge(pod_network.one_flow(pod_network_lab, intent))


def test_source_kept(pod_network_lab, intent, judge):
    """pod-dest sees pod-src's own IP."""
    judge(pod_network.source_kept(pod_network_lab, intent))


def test_reply_encapsulated(pod_network_lab, intent, judge):
    """The answer goes back the same way, encapsulated between the nodes."""
    judge(pod_network.reply_encapsulated(pod_network_lab, intent))


def test_mtu_fits(pod_network_lab, intent, judge):
    """The pods' MTU leaves room for the encapsulation: a large answer crosses without fragments."""
    judge(pod_network.mtu_fits(pod_network_lab, intent))
