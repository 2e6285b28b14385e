"""Lab 1: a pod's containers share one network namespace, and the pause container holds it."""

import pytest

from pytest_k8snet.claims import pause

pytestmark = pytest.mark.pause


def test_one_sandbox(pause_lab, intent, judge):
    """Exactly one pause container runs beside the pod's two containers."""
    judge(pause.one_sandbox(pause_lab, intent))


def test_network_mode(pause_lab, intent, judge):
    """Each container's network mode names the pause container."""
    judge(pause.network_mode(pause_lab, intent))


def test_same_netns(pause_lab, intent, judge):
    """Pause and both containers are in one network namespace, which is not the node's."""
    judge(pause.same_netns(pause_lab, intent))


def test_pod_ip(pause_lab, intent, judge):
    """The pod's IP sits on that namespace's eth0, alone, as /32."""
    judge(pause.pod_ip(pause_lab, intent))


def test_veth_pair(pause_lab, intent, judge):
    """One virtual interface of the host pairs with that eth0, 1:1."""
    judge(pause.veth_pair(pause_lab, intent))


def test_host_route(pause_lab, intent, judge):
    """The node routes the pod's IP to that interface, and to no other."""
    judge(pause.host_route(pause_lab, intent))


def test_shared_localhost(pause_lab, intent, judge):
    """Each container reaches its sibling on 127.0.0.1."""
    judge(pause.shared_localhost(pause_lab, intent))


def test_both_reachable(pause_lab, intent, judge):
    """Both containers' ports answer on the pod's one IP, asked from another node."""
    judge(pause.both_reachable(pause_lab, intent))


@pytest.mark.disruptive
def test_survives_restart(restart, judge):
    """A container that dies comes back into the same namespace, behind the same IP."""
    judge(pause.survives_restart(restart))
