"""Whose address is whose, among others that are near."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from pytest_k8snet.claims.nat import holds
from pytest_k8snet.claims.netns import eth0_of, host_end
from pytest_k8snet.evidence.interfaces import Interface
from tests.claims import scenes
from tests.claims.scenes import DEST_VETH, NODE1, NODE2, PAUSE_VETH, VIP


@pytest.mark.parametrize(
    ("address", "held"), [(NODE2, True), ("127.0.0.1", True), (NODE1, False), (VIP, False)]
)
def test_a_node_holds_its_own_addresses_only(address: str, held: bool) -> None:
    node = scenes.node2()
    assert holds(node, ip_address(address)) is held
    none = replace(node, interfaces=replace(node.interfaces, value=(Interface(1, "lo", 65536),)))
    assert not holds(none, ip_address(address))


def test_the_host_end_is_the_interface_of_eth0_s_own_number() -> None:
    for pod, name in ((scenes.pod_pause(), PAUSE_VETH), (scenes.pod_dest(), DEST_VETH)):
        found = host_end(pod, eth0_of(pod))
        assert found is not None
        assert found.name == name
        for number in (15, 18):  # just below and above the two
            assert host_end(pod, replace(eth0_of(pod), peer_index=number)) is None


def test_a_namespace_without_eth0_has_a_stand_in_that_pairs_with_nothing() -> None:
    pod = scenes.pod_pause()
    lo = tuple(i for i in pod.inside.get() if i.name == "lo")
    eth0 = eth0_of(replace(pod, inside=replace(pod.inside, value=lo)))
    assert (eth0.index, eth0.name, eth0.addresses) == (0, "eth0", ())
    assert host_end(pod, eth0) is None
