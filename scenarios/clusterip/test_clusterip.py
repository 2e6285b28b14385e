"""Lab 3: pod-src asks a ClusterIP, and its node turns that address into pod-dest's.

The document says that the service is attached to the source pod; its selector is ``type: dest``.
"""

import pytest

from pytest_k8snet.claims import clusterip

K8SNET_MANIFESTS = ["../pod_network/pod-src.yaml", "../pod_network/pod-dest.yaml"]

pytestmark = pytest.mark.clusterip


def test_endpoints(clusterip_lab, intent, judge):
    """The service selects exactly the ready pods of type dest."""
    judge(clusterip.endpoints(clusterip_lab, intent))


def test_vip_on_source_veth(clusterip_lab, intent, judge):
    """On pod-src's virtual interface the destination is the service's IP."""
    judge(clusterip.vip_on_source_veth(clusterip_lab, intent))


def test_dnat_before_uplink(clusterip_lab, intent, judge):
    """On node2's uplink the destination is pod-dest; the service's IP never appears there."""
    judge(clusterip.dnat_before_uplink(clusterip_lab, intent))


def test_rules_lead_to_pod(clusterip_lab, intent, judge):
    """node2's live rules, walked for this packet, end in DNAT to an endpoint of the service."""
    judge(clusterip.rules_lead_to_pod(clusterip_lab, intent))


def test_conntrack_agrees(clusterip_lab, intent, judge):
    """node2's connection tracking knows the translation that the wire shows."""
    judge(clusterip.conntrack_agrees(clusterip_lab, intent))


def test_reply_from_vip(clusterip_lab, intent, judge):
    """pod-src sees the answer come from the service's IP."""
    judge(clusterip.reply_from_vip(clusterip_lab, intent))


@pytest.mark.disruptive
def test_spreads(clusterip_lab, spread, judge):
    """With several pods behind the service, every one of them is reached."""
    judge(clusterip.spreads(clusterip_lab, spread))
