"""Sources on either side of the client's own address."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_k8snet.claims import pod_network
from pytest_k8snet.intent import Intent
from tests.claims import scenes
from tests.claims.judge import assert_broken, assert_held
from tests.claims.scenes import DEST_IP, NODE2, SRC_IP, TUNL, Leg, conversation, with_point


@pytest.mark.parametrize("source", [TUNL["k8s-node2"], NODE2, "20.109.131.4", "20.109.131.6"])
def test_no_other_source_is_the_client_s(source: str) -> None:
    lab = scenes.pod_network()
    assert_held(pod_network.source_kept(lab, Intent()))
    seen = conversation(Leg((source, 35096), (DEST_IP, 8080), 62, 64), clock=90.0002)
    request = with_point(lab.request, "target-veth", seen)
    assert source != SRC_IP
    assert_broken(pod_network.source_kept(replace(lab, request=request), Intent()), source)
