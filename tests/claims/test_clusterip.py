from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pytest_k8snet.claims import clusterip
from pytest_k8snet.evidence.netfilter import RuleSet
from pytest_k8snet.evidence.objects import Endpoint, Pod, ServicePort
from pytest_k8snet.evidence.observations import ClusterIPLab
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.intent import Intent
from tests.claims import scenes
from tests.claims.judge import assert_broken, assert_held, assert_inconclusive
from tests.claims.scenes import (
    DEST_IP,
    NAT,
    NOISE,
    PAUSE_IP,
    SEP_CLUSTERIP,
    SRC_IP,
    SVC_CLUSTERIP,
    VIP,
    Leg,
    conversation,
    endpoint,
    failed,
    listed,
    ok,
    only_syns,
    rules_of,
    tracked,
    with_point,
    wrapped,
)

INTENT = Intent()
VETH = Leg((SRC_IP, 54176), (VIP, 8080))
UNTRANSLATED = wrapped(replace(VETH, ttl=63, back_ttl=63))
ENTRY = tracked((SRC_IP, 54176, VIP, 8080), (DEST_IP, 8080, SRC_IP, 54176))


def traced(lab: ClusterIPLab | None = None, /, **packets: Any) -> ClusterIPLab:
    lab = lab or scenes.clusterip()
    request = lab.request
    for point, seen in packets.items():
        request = with_point(request, point.replace("_", "-"), seen)
    return replace(lab, request=request)


def with_request(lab: ClusterIPLab | None = None, **changes: Any) -> ClusterIPLab:
    lab = lab or scenes.clusterip()
    return replace(lab, request=replace(lab.request, **changes))


def test_endpoints_of_the_other_family_stand_behind_another_address() -> None:
    """A dual-stack service has slices of both families, and clusterIP is of its first."""
    lab = scenes.clusterip()
    endpoints = (endpoint("svc-clusterip"), endpoint("svc-clusterip", "fd00::48"))
    assert_held(clusterip.endpoints(replace(lab, endpoints=ok(endpoints, "kubectl get", "")), INTENT))
    only = replace(lab, endpoints=ok(endpoints[1:], "kubectl get", ""))
    assert_broken(clusterip.endpoints(only, INTENT), "pod-dest is missing")


def with_rules(rules: Reading[RuleSet]) -> ClusterIPLab:
    return with_request(entry=replace(scenes.node2(), rules=rules))


def nat(old: str, new: str) -> ClusterIPLab:
    assert old in NAT
    return with_rules(ok(rules_of(NAT.replace(old, new)), "iptables-save"))


def silent(lab: ClusterIPLab) -> ClusterIPLab:
    return with_request(lab, answer=ok(scenes.unanswered(f"http://{VIP}:8080/"), "curl", "pod-src"))


def without_dnat() -> ClusterIPLab:
    """kube-proxy's rules are gone: the SYN leaves for the ClusterIP by the default route."""
    lab = silent(
        traced(source_veth=only_syns(VETH), source_uplink=NOISE, target_uplink=NOISE, target_veth=())
    )
    untranslated = tracked((SRC_IP, 54176, VIP, 8080), (VIP, 8080, "10.0.2.15", 54176))
    rules = ok(rules_of(":PREROUTING ACCEPT\n:POSTROUTING ACCEPT"), "iptables-save")
    return with_request(lab, connections=listed(untranslated), entry=replace(scenes.node2(), rules=rules))


@pytest.mark.parametrize(
    "claim",
    [
        clusterip.endpoints,
        clusterip.vip_on_source_veth,
        clusterip.dnat_before_uplink,
        clusterip.rules_lead_to_pod,
        clusterip.conntrack_agrees,
        clusterip.reply_from_vip,
    ],
)
def test_the_document_holds(claim: Any) -> None:
    assert_held(claim(scenes.clusterip(), INTENT))


class TestEndpoints:
    def judge(self, *endpoints: Endpoint, pods: tuple[Pod, ...] | None = None) -> Any:
        lab = replace(scenes.clusterip(), endpoints=ok(endpoints, "kubectl get endpointslices -o json", ""))
        return clusterip.endpoints(replace(lab, pods=ok(pods)) if pods is not None else lab, INTENT)

    def test_selecting_nothing(self) -> None:
        assert_broken(self.judge(), "pod-dest is missing")

    def test_selecting_the_wrong_pods(self) -> None:
        verdict = self.judge(endpoint("svc-clusterip", SRC_IP))
        assert_broken(verdict, "pod-dest is missing", f"{SRC_IP}:8080 (pod pod-src, type: src) is too many")

    def test_selecting_one_too_many(self) -> None:
        verdict = self.judge(endpoint("svc-clusterip"), endpoint("svc-clusterip", PAUSE_IP))
        assert_broken(verdict, "pod pod-pause, type: pause")
        stranger = self.judge(endpoint("svc-clusterip"), endpoint("svc-clusterip", "20.111.156.99"))
        assert_broken(stranger, "no pod of this namespace")

    def test_pods_that_are_not_ready_or_have_no_label(self) -> None:
        dest = scenes.pod_dest().pod
        both = endpoint("svc-clusterip"), endpoint("svc-clusterip", "20.111.156.73")
        late = replace(dest, name="late", ips=(ip_address("20.111.156.73"),), ready=False)
        assert_broken(self.judge(*both, pods=(dest, late)), "pod late, not ready")
        assert_broken(self.judge(*both, pods=(dest, replace(late, labels={}))), "pod late, no label")

    def test_another_port(self) -> None:
        verdict = self.judge(endpoint("svc-clusterip", port=80))
        assert_broken(verdict, "pod-dest is missing", f"{DEST_IP}:80 (pod pod-dest, another port)")

    def test_endpoints_of_others_and_unready_ones_do_not_count(self) -> None:
        assert_held(self.judge(endpoint("svc-clusterip"), endpoint("other", SRC_IP)))
        assert_held(self.judge(endpoint("svc-clusterip"), endpoint("svc-clusterip", SRC_IP, ready=False)))

    def test_the_selector_is_named(self) -> None:
        lab = replace(
            scenes.clusterip(),
            endpoints=ok(()),
            service=ok(scenes.service("svc-clusterip", "ClusterIP", selector={})),
        )
        assert "selects nothing" in clusterip.endpoints(lab, INTENT).seen

    def test_unread(self) -> None:
        assert_inconclusive(self.judge(pods=()), "no ready type: dest pod")
        for name in ("service", "endpoints", "pods"):
            unread: dict[str, Any] = {name: failed("kubectl")}
            lab = replace(scenes.clusterip(), **unread)
            assert_inconclusive(clusterip.endpoints(lab, INTENT), "command not found")


class TestVipOnSourceVeth:
    def test_translated_too_early(self) -> None:
        lab = traced(source_veth=conversation(Leg((SRC_IP, 54176), (DEST_IP, 8080))))
        assert_broken(clusterip.vip_on_source_veth(lab, INTENT), f"destination {DEST_IP} instead of {VIP}")

    def test_a_cut_path_does_not_matter_here(self) -> None:
        assert_held(clusterip.vip_on_source_veth(without_dnat(), INTENT))

    def test_unread(self) -> None:
        lab = with_request(points=with_point(scenes.clusterip().request, "source-veth", dropped=1).points)
        assert_inconclusive(clusterip.vip_on_source_veth(lab, INTENT), "dropped 1 packets")
        other = replace(scenes.clusterip(), service=ok(scenes.service("x", "ClusterIP", cluster_ip=None)))
        assert_inconclusive(clusterip.vip_on_source_veth(other, INTENT), "service x is at None")
        port = replace(
            scenes.clusterip(), service=ok(scenes.service("x", "ClusterIP", ports=(ServicePort(80, 80),)))
        )
        assert_inconclusive(clusterip.vip_on_source_veth(port, INTENT), "ports 80")


class TestDnatBeforeUplink:
    def test_done_on_the_target_node_instead(self) -> None:
        lab = traced(source_uplink=conversation(UNTRANSLATED))
        assert_broken(
            clusterip.dnat_before_uplink(lab, INTENT), f"inner destination {VIP} instead of {DEST_IP}"
        )

    def test_masqueraded_on_the_way_out(self) -> None:
        lab = traced(source_uplink=conversation(wrapped(Leg(("20.109.131.0", 54176), (DEST_IP, 8080), 63))))
        assert_broken(clusterip.dnat_before_uplink(lab, INTENT), f"20.109.131.0 instead of {SRC_IP}")
        assert_held(clusterip.dnat_before_uplink(lab, Intent(masquerade_all=True)))

    def test_the_vip_beside_the_pod(self) -> None:
        packets = scenes.packets_at(scenes.clusterip().request, "source-uplink")
        for leg in (UNTRANSLATED, replace(VETH, ttl=63)):
            lab = traced(source_uplink=(*packets, replace(conversation(leg)[0], number=8)))
            assert_broken(clusterip.dnat_before_uplink(lab, INTENT), "1 such packet", VIP)

    def test_missing(self) -> None:
        assert_broken(clusterip.dnat_before_uplink(without_dnat(), INTENT), "lost before this point")

    def test_unread(self) -> None:
        lab = scenes.clusterip()
        blind = with_request(points=with_point(lab.request, "source-uplink", dropped=None).points)
        assert_inconclusive(clusterip.dnat_before_uplink(blind, INTENT), "no counter")
        together = with_request(target=replace(scenes.pod_dest(), node=scenes.node2()))
        assert_inconclusive(clusterip.dnat_before_uplink(together, INTENT), "both run on k8s-node2")


class TestRulesLeadToPod:
    def test_to_another_pod(self) -> None:
        lab = nat(
            f'-A {SEP_CLUSTERIP} -p tcp -m comment --comment "default/svc-clusterip" -m tcp -j DNAT '
            f"--to-destination {DEST_IP}",
            f"-A {SEP_CLUSTERIP} -p tcp -j DNAT --to-destination {PAUSE_IP}",
        )
        verdict = clusterip.rules_lead_to_pod(lab, INTENT)
        assert_broken(verdict, f"{PAUSE_IP}:8080, which is no ready endpoint of default/svc-clusterip")
        assert SEP_CLUSTERIP in verdict.details

    def test_no_rules(self) -> None:
        verdict = clusterip.rules_lead_to_pod(without_dnat(), INTENT)
        assert_broken(verdict, "policy ACCEPT", f"{SVC_CLUSTERIP} was never entered")

    def test_another_rule_translates_first(self) -> None:
        lab = nat(
            '-A PREROUTING -m comment --comment "kubernetes',
            f"-A PREROUTING -d {VIP}/32 -p tcp -j DNAT --to-destination {DEST_IP}:8080\n"
            '-A PREROUTING -m comment --comment "kubernetes',
        )
        verdict = clusterip.rules_lead_to_pod(lab, INTENT)
        assert_broken(verdict, f"another rule translates it first: {SVC_CLUSTERIP} was never entered")

    def test_an_empty_service_chain(self) -> None:
        lab = nat(f'-A {SVC_CLUSTERIP} -m comment --comment "default/svc-clusterip" -j {SEP_CLUSTERIP}', "")
        assert_broken(clusterip.rules_lead_to_pod(lab, INTENT), f"{SVC_CLUSTERIP} was entered")

    def test_only_some_connections(self) -> None:
        old = f'-A {SVC_CLUSTERIP} -m comment --comment "default/svc-clusterip"'
        lab = nat(old, f"-A {SVC_CLUSTERIP} -m statistic --mode random --probability 0.5")
        assert_broken(clusterip.rules_lead_to_pod(lab, INTENT), "policy ACCEPT for some")

    def test_an_unknown_rule(self) -> None:
        lab = nat(
            '-A PREROUTING -m comment --comment "kubernetes',
            '-A PREROUTING -j TPROXY\n-A PREROUTING -m comment --comment "kubernetes',
        )
        verdict = clusterip.rules_lead_to_pod(lab, INTENT)
        assert_inconclusive(verdict, "TPROXY")
        assert "cali-PREROUTING" in verdict.details

    def test_wire_and_conntrack_disagree_with_the_rules(self) -> None:
        lab = with_request(
            connections=listed(replace(ENTRY, reply=replace(ENTRY.reply, src=ip_address(PAUSE_IP))))
        )
        assert_broken(clusterip.rules_lead_to_pod(lab, INTENT), f"conntrack {PAUSE_IP}:8080", DEST_IP)
        elsewhere = wrapped(Leg((SRC_IP, 54176), (PAUSE_IP, 8080), 63))
        lab = traced(
            with_request(
                connections=listed(tracked((SRC_IP, 54176, VIP, 8080), (PAUSE_IP, 8080, SRC_IP, 54176)))
            ),
            source_uplink=conversation(elsewhere),
        )
        assert_broken(clusterip.rules_lead_to_pod(lab, INTENT), "which is no ready endpoint")

    def test_where_the_rules_were_read_is_said(self) -> None:
        rules = ok(rules_of(NAT, backend="nf_tables", legacy_present=True), "iptables-save")
        verdict = clusterip.rules_lead_to_pod(with_rules(rules), INTENT)
        assert_held(verdict)
        assert "read from nf_tables; legacy tables hold rules too" in verdict.seen

    @pytest.mark.parametrize("mode", ["nftables", "ipvs"])
    def test_another_mode_was_read(self, mode: str) -> None:
        verdict = clusterip.rules_lead_to_pod(scenes.clusterip(), Intent(proxy_mode=mode))
        assert_inconclusive(verdict, "another proxy mode is declared")

    def test_unread(self) -> None:
        assert_inconclusive(clusterip.rules_lead_to_pod(with_rules(failed()), INTENT))
        assert_inconclusive(clusterip.rules_lead_to_pod(with_request(connections=failed()), INTENT))
        lab = replace(scenes.clusterip(), endpoints=failed())
        assert_inconclusive(clusterip.rules_lead_to_pod(lab, INTENT))

    def test_rules_can_be_walked_without_a_capture(self) -> None:
        lab = with_rules(ok(rules_of(":PREROUTING ACCEPT"), "iptables-save"))
        for point in lab.request.points:
            lab = with_request(lab, points=with_point(lab.request, point.id, dropped=1).points)
        assert_broken(clusterip.rules_lead_to_pod(lab, INTENT), "never entered")


class TestConntrackAgrees:
    def test_another_endpoint(self) -> None:
        entry = replace(ENTRY, reply=replace(ENTRY.reply, src=ip_address(PAUSE_IP)))
        lab = with_request(connections=listed(entry))
        assert_broken(
            clusterip.conntrack_agrees(lab, INTENT), f"conntrack {PAUSE_IP}:8080", f"{DEST_IP}:8080"
        )

    def test_flushed(self) -> None:
        verdict = clusterip.conntrack_agrees(with_request(connections=listed()), INTENT)
        assert_broken(verdict, "no such entry; yet k8s-node2 eth1 shows")

    def test_another_connection_of_the_same_pod(self) -> None:
        other = replace(ENTRY, original=replace(ENTRY.original, sport=1))
        udp = replace(ENTRY, protocol="udp")
        lab = with_request(connections=listed(other, udp))
        assert_broken(clusterip.conntrack_agrees(lab, INTENT), "no such entry")

    def test_the_vip_still_on_the_uplink(self) -> None:
        early = traced(source_uplink=conversation(replace(VETH, ttl=63)))
        assert_held(clusterip.conntrack_agrees(early, INTENT))  # translated later: dnat-before-uplink breaks
        inside = traced(source_uplink=conversation(UNTRANSLATED))
        assert_broken(clusterip.conntrack_agrees(inside, INTENT), f"k8s-node2 eth1 {VIP}:8080")

    def test_translated_before_the_veth(self) -> None:
        lab = traced(source_veth=conversation(Leg((SRC_IP, 54176), (DEST_IP, 8080))))
        assert_inconclusive(clusterip.conntrack_agrees(lab, INTENT), "which port")

    def test_not_translated_here(self) -> None:
        assert_broken(clusterip.conntrack_agrees(without_dnat(), INTENT), "it was not translated")

    def test_unread(self) -> None:
        assert_inconclusive(clusterip.conntrack_agrees(with_request(connections=failed()), INTENT))
        assert_inconclusive(
            clusterip.conntrack_agrees(with_request(connections=ok(())), INTENT),
            f"no connection to {VIP}:8080",
        )
        blind = with_request(points=with_point(scenes.clusterip().request, "source-veth", dropped=1).points)
        assert_inconclusive(
            clusterip.conntrack_agrees(blind, INTENT),
            f"which port {SRC_IP} sent the request from",
            "the kernel dropped 1 packets of the capture",
        )
        points = scenes.clusterip().request.points
        assert_inconclusive(
            clusterip.conntrack_agrees(with_request(points=points[:1]), INTENT), "no capture behind"
        )
        assert_inconclusive(clusterip.conntrack_agrees(with_request(points=()), INTENT), "which port")
        unseen = silent(traced(source_uplink=(), target_uplink=(), target_veth=()))
        assert_inconclusive(clusterip.conntrack_agrees(unseen, INTENT), "no capture behind k8s-node2's rules")


class TestReplyFromVip:
    def test_from_the_pod_itself(self) -> None:
        lab = traced(source_veth=conversation(replace(VETH, answer_from=(DEST_IP, 8080))))
        assert_broken(clusterip.reply_from_vip(lab, INTENT), f"source {DEST_IP} instead of {VIP}")

    def test_no_answer(self) -> None:
        assert_broken(clusterip.reply_from_vip(without_dnat(), INTENT), "but no answer")

    def test_unread(self) -> None:
        lab = with_request(points=with_point(scenes.clusterip().request, "source-veth", run=failed()).points)
        assert_inconclusive(clusterip.reply_from_vip(lab, INTENT))


class TestSpreads:
    def judge(self, *hits: int) -> Any:
        return clusterip.spreads(scenes.clusterip(), scenes.spread(*hits))

    def test_every_endpoint_is_reached(self) -> None:
        verdict = self.judge(13, 14, 10)
        assert_held(verdict)
        assert "pod-dest 13, pod-dest-2 14, pod-dest-3 10" in verdict.seen
        assert "9.2e-07" in verdict.seen
        assert_held(self.judge(1, 1, 1))

    def test_one_is_starved(self) -> None:
        assert_broken(self.judge(20, 17, 0), "pod-dest-3 never answered")

    def test_too_few_connections_to_tell(self) -> None:
        verdict = self.judge(20, 16, 0)
        assert_inconclusive(verdict, "chance of a false alarm 1.4e-06")
        assert "37 for 3 endpoints" in verdict.advice

    def test_one_endpoint_spreads_nothing(self) -> None:
        reading = scenes.spread(40, 0, 0)
        single = replace(reading, value=replace(reading.get(), endpoints=("pod-dest",)))
        assert_inconclusive(clusterip.spreads(scenes.clusterip(), single), "1 endpoints")
        assert_inconclusive(self.judge(0, 0, 0), "0 of 0 connections answered")

    def test_a_stranger_answers(self) -> None:
        reading = scenes.spread(13, 14, 10)
        answers = (*reading.get().answers, scenes.answered("http://x/", b"nginx"))
        strange = replace(reading, value=replace(reading.get(), answers=answers))
        assert_broken(clusterip.spreads(scenes.clusterip(), strange), "'nginx'")

    def test_connections_without_answer_are_told(self) -> None:
        reading = scenes.spread(13, 14, 10)
        answers = (*reading.get().answers, scenes.unanswered("http://x/"))
        partly = replace(reading, value=replace(reading.get(), answers=answers))
        verdict = clusterip.spreads(scenes.clusterip(), partly)
        assert_held(verdict)
        assert "1 more got no answer" in verdict.seen

    def test_unread(self) -> None:
        assert_inconclusive(clusterip.spreads(scenes.clusterip(), failed("curl")))
