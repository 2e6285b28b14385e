"""Lab 4: the master asks node2's port 31080, and node2 sends it on to pod-dest on node1.

The document's comment has the master ask ``20.111.156.72:8080``; its capture shows ``k8s-node2.31080``.
"""

import pytest

from pytest_k8snet.claims import nodeport

K8SNET_MANIFESTS = ["../pod_network/pod-dest.yaml"]

pytestmark = pytest.mark.nodeport


def test_kube_proxy_listens(nodeport_lab, intent, judge):
    """kube-proxy holds port 31080 on every node."""
    judge(nodeport.kube_proxy_listens(nodeport_lab, intent))


def test_arrives_plain(nodeport_lab, intent, judge):
    """On node2's uplink the request master -> node2:31080 arrives plain."""
    judge(nodeport.arrives_plain(nodeport_lab, intent))


def test_dnat_and_forward(nodeport_lab, intent, judge):
    """Right after it, node2 sends it on to node1, encapsulated, addressed to pod-dest:8080."""
    judge(nodeport.dnat_and_forward(nodeport_lab, intent))


def test_masqueraded(nodeport_lab, intent, judge):
    """The inner source is node2, so that the answer returns through node2."""
    judge(nodeport.masqueraded(nodeport_lab, intent))


def test_answers_from_node2(nodeport_lab, intent, judge):
    """The master sees the answer come from node2:31080."""
    judge(nodeport.answers_from_node2(nodeport_lab, intent))


def test_every_node(nodeport_lab, intent, judge):
    """The port answers on each node's address."""
    judge(nodeport.every_node(nodeport_lab, intent))


def test_rules_conntrack_wire(nodeport_lab, intent, judge):
    """Rules, connection tracking and the wire agree on where the request goes."""
    judge(nodeport.rules_conntrack_wire(nodeport_lab, intent))
