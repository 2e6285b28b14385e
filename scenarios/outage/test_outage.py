"""The outage watch: clients send over every path of the labs while the command of --k8snet-watch runs.

A request every 50 ms on a new connection, and one on a connection that is held: from pod-src to pod-dest and
to the ClusterIP, from the master to node2's NodePort.
"""

import pytest

from pytest_k8snet.claims import outage

K8SNET_MANIFESTS = [
    "../pod_network/pod-src.yaml",
    "../pod_network/pod-dest.yaml",
    "../clusterip/svc-clusterip.yaml",
    "../nodeport/svc-nodeport.yaml",
]

pytestmark = pytest.mark.outage


def test_measured(outage_lab, judge):
    """The command ended well, and every path was asked at a steady pace before, while and after it ran."""
    judge(outage.measured(outage_lab))


def test_pod(outage_lab, outage_budget, judge):
    """pod-src reached pod-dest all the time, but for gaps within the budget."""
    judge(outage.gap(outage_lab, "pod", outage_budget("pod")))


def test_clusterip(outage_lab, outage_budget, judge):
    """pod-src reached the service's ClusterIP all the time, but for gaps within the budget."""
    judge(outage.gap(outage_lab, "clusterip", outage_budget("clusterip")))


@pytest.mark.needs("master", "node2")
def test_nodeport(outage_lab, outage_budget, judge):
    """The master reached node2's NodePort all the time, but for gaps within the budget."""
    judge(outage.gap(outage_lab, "nodeport", outage_budget("nodeport")))
