"""Near misses of causes: evidence that looks like theirs, and is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pytest_k8snet.claims.causes import nodeports, overlay, traffic
from pytest_k8snet.claims.causes.ways import ways
from pytest_k8snet.evidence.netfilter import RuleSet
from pytest_k8snet.evidence.observations import NodePortLab
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.intent import Intent
from tests.claims import scenes
from tests.claims.scenes import DEST_IP, MASTER, NODE1, TUNL, conversation, ok, route, rules_of
from tests.claims.test_causes import (
    UPLINK,
    at,
    chosen,
    cidrs,
    no_block,
    on,
    strange_body,
    tunnel,
    unanswered,
    vip_on_wire,
)

INTENT = Intent()


class TestOverlay:
    def test_a_range_of_the_other_ip_version_says_nothing_of_this_one(self) -> None:
        for source in ("kube-proxy clusterCIDR", "kubeadm-config podSubnet"):
            lab = cidrs(source, "fd00:20::/48")
            assert overlay.cluster_cidr_misses_pods.found(lab, INTENT) == ""
            assert overlay.pool_cidr.found(lab, INTENT) == ""

    def test_another_range_on_either_side_of_the_pool_s(self) -> None:
        for other in ("10.244.0.0/16", "172.30.0.0/16"):
            assert f"is {other}" in overlay.pool_cidr.found(cidrs("kubeadm-config podSubnet", other), INTENT)

    def test_a_tunnel_that_is_up_or_missing_is_not_said_to_be_down(self) -> None:
        plain = (
            "k8s-node2 sends packets for 20.111.156.72 via 10.0.2.2 dev eth0: it has no route to the block"
        )
        assert overlay.no_route_to_block.found(no_block(), INTENT) == f"{plain} of k8s-node1"
        without = tunnel(no_block(), "k8s-node2", mtu=0)
        assert overlay.no_route_to_block.found(without, INTENT) == f"{plain} of k8s-node1"

    def test_without_a_tunnel_no_gateway_is_a_tunnel_s_wrong_end(self) -> None:
        lab = chosen(to_target=route(DEST_IP, "eth1", MASTER), to_source=route(scenes.SRC_IP, "eth1", MASTER))
        bare = replace(UPLINK, envelope=(), back_envelope=())
        lab = at(lab, source_uplink=conversation(bare), target_uplink=conversation(bare, clock=90.0))
        assert overlay.tunnel_to_other_node.found(lab, Intent(encapsulation="none")) == ""

    def test_only_the_endpoint_s_own_answer_goes_past_the_tunnel(self) -> None:
        for stranger in ("10.0.0.1", "30.0.0.1"):
            leg = replace(UPLINK, back_envelope=(), answer_from=(stranger, 8080))
            lab = at(scenes.pod_network(), target_uplink=conversation(leg, clock=90.0))
            assert overlay.reply_bypasses_tunnel.found(lab, INTENT) == ""


class TestTraffic:
    def test_a_request_that_leaves_untranslated_is_not_lost_on_its_node(self) -> None:
        lab = unanswered(vip_on_wire())
        assert "k8s-node2 takes it in" not in traffic.lost_on_node.found(lab, INTENT)


class TestWays:
    def test_there_and_back_for_services_too(self) -> None:
        clusterip = [(way.node.name, str(way.address)) for way in ways(scenes.clusterip(), INTENT)]
        assert clusterip == [("k8s-node2", DEST_IP), ("k8s-node1", scenes.SRC_IP)]
        nodeport = [(way.node.name, str(way.address)) for way in ways(scenes.nodeport(), INTENT)]
        assert nodeport == [("k8s-node2", DEST_IP), ("k8s-node1", TUNL["k8s-node2"])]
        bare = [way.node.name for way in ways(scenes.nodeport(), Intent(encapsulation="none"))]
        assert bare == ["k8s-node2"], "the entry node's own address is no pod's"


class TestNodePorts:
    def answers(self, reading: Reading[Any]) -> NodePortLab:
        lab: NodePortLab = strange_body()
        node, request = lab.every_node[1]
        asked = (lab.every_node[0], (node, replace(request, answer=reading)), lab.every_node[2])
        return replace(lab, every_node=asked)

    def test_no_answer_is_no_stranger_s(self) -> None:
        silent = ok(scenes.unanswered(f"http://{NODE1}:31080/"), "curl", "k8s-master")
        for reading in (silent, scenes.failed("curl"), Reading[Any]("k8s-master", "curl")):
            assert nodeports.stranger_answers.found(self.answers(reading), INTENT) == ""

    def test_without_endpoints_nobody_is_a_stranger(self) -> None:
        lab = strange_body()
        assert nodeports.stranger_answers.found(replace(lab, endpoints=ok((), "kubectl")), INTENT) == ""

    def nodeport_chain(self, match: str) -> RuleSet:
        return rules_of(f":KUBE-NODEPORTS -\n-A KUBE-NODEPORTS -p tcp -m tcp {match} -j ACCEPT")

    def test_only_the_port_itself_is_claimed(self) -> None:
        for match in ("--sport 31080", "--dport 31079", "--dport 31081", "! --dport 31080", "--dport 3108"):
            lab = on(scenes.nodeport(), "k8s-node1", rules=self.nodeport_chain(match))
            assert "on k8s-node1" in nodeports.nodeport_rules_missing.found(lab, INTENT), match
        lab = on(scenes.nodeport(), "k8s-node1", rules=self.nodeport_chain("--dport 31080"))
        assert nodeports.nodeport_rules_missing.found(lab, INTENT) == ""
