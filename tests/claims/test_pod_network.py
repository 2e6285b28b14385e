from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from pytest_k8snet.claims import pod_network
from pytest_k8snet.claims.flow import same_bytes
from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.mtu import unfragmented
from pytest_k8snet.claims.verdict import Outcome, Verdict
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.objects import IPPool
from pytest_k8snet.evidence.observations import (
    ClusterCIDR,
    NodeEvidence,
    PodEvidence,
    PodNetworkLab,
    TracedRequest,
)
from pytest_k8snet.evidence.packets import IPHeader, Packet
from pytest_k8snet.intent import Intent
from tests.claims import scenes
from tests.claims.judge import assert_broken, assert_held, assert_inconclusive
from tests.claims.scenes import (
    DEST_IP,
    DEST_VETH,
    MASTER,
    NODE1,
    NODE2,
    NOISE,
    SRC_IP,
    TUNL,
    Leg,
    conversation,
    failed,
    ipip_tunnel,
    ok,
    only_syns,
    packets_at,
    route,
    segment,
    vxlan_tunnel,
    with_point,
    wrapped,
)

INTENT = Intent()
VXLAN = Intent(encapsulation="vxlan-always")
CROSS = Intent(encapsulation="ipip-cross-subnet")
NONE = Intent(encapsulation="none")
VETH = Leg((SRC_IP, 35096), (DEST_IP, 8080))
BARE = replace(VETH, ttl=63, back_ttl=63)
UPLINK = wrapped(BARE)

OTHER_END = {
    "source-veth": "target-veth",
    "target-veth": "source-veth",
    "source-uplink": "target-uplink",
    "target-uplink": "source-uplink",
}

Claim = Callable[[PodNetworkLab, Intent], Verdict]


def traced(lab: PodNetworkLab | None = None, /, **packets: Any) -> PodNetworkLab:
    """The lab with other packets at points of its request: ``source_uplink=...``."""
    lab = lab or scenes.pod_network()
    request = lab.request
    for point, seen in packets.items():
        request = with_point(request, point.replace("_", "-"), seen)
    return replace(lab, request=request)


def silent(lab: PodNetworkLab) -> PodNetworkLab:
    answer = ok(scenes.unanswered(f"http://{DEST_IP}:8080/"), "curl", "pod-src")
    return replace(lab, request=replace(lab.request, answer=answer))


def uplinks(leg: Leg, lab: PodNetworkLab | None = None) -> PodNetworkLab:
    return traced(lab, source_uplink=conversation(leg), target_uplink=conversation(leg, clock=90.0))


def with_nodes(change: Callable[[NodeEvidence], NodeEvidence]) -> PodNetworkLab:
    """The lab with both nodes changed wherever they stand."""
    lab = scenes.pod_network()

    def pod(old: PodEvidence) -> PodEvidence:
        return replace(old, node=change(old.node))

    def request(old: TracedRequest) -> TracedRequest:
        points = tuple(replace(point, node=change(point.node)) for point in old.points)
        return replace(old, target=pod(old.target), entry=change(old.entry), points=points)

    return replace(
        lab,
        source=pod(lab.source),
        target=pod(lab.target),
        request=request(lab.request),
        large=request(lab.large),
    )


def two_subnets(node: NodeEvidence) -> NodeEvidence:
    """The nodes' uplinks are /32: no two of them share a prefix."""
    changed = tuple(
        replace(i, addresses=tuple(ip_interface(f"{a.ip}/32") for a in i.addresses))
        if i.name == "eth1"
        else i
        for i in node.interfaces.get()
    )
    return replace(node, interfaces=replace(node.interfaces, value=changed))


def with_vxlan(node: NodeEvidence) -> NodeEvidence:
    device = Interface(
        6, "vxlan.calico", 1450, "vxlan", True, addresses=(ip_interface(f"{TUNL[node.name]}/32"),)
    )
    kept = tuple(i for i in node.interfaces.get() if i.name != "tunl0")
    routes = tuple(
        replace(
            r,
            device="vxlan.calico",
            gateway=ip_address(TUNL["k8s-node1" if "2" in node.name else "k8s-node2"]),
        )
        if r.device == "tunl0"
        else r
        for r in node.routes.get()
    )
    return replace(
        node,
        interfaces=replace(node.interfaces, value=(*kept, device)),
        routes=replace(node.routes, value=routes),
    )


@pytest.mark.parametrize(
    "claim",
    [
        pod_network.ippool_mode,
        pod_network.cidr_agrees,
        pod_network.route_via_tunnel,
        pod_network.plain_on_source_veth,
        pod_network.encapsulated_on_source_uplink,
        pod_network.encapsulated_on_target_uplink,
        pod_network.decapsulated_on_target_veth,
        pod_network.one_flow,
        pod_network.source_kept,
        pod_network.reply_encapsulated,
        pod_network.mtu_fits,
    ],
)
def test_the_document_holds(claim: Claim) -> None:
    assert_held(claim(scenes.pod_network(), INTENT))


@pytest.mark.parametrize(
    "claim",
    [
        pod_network.route_via_tunnel,
        pod_network.encapsulated_on_source_uplink,
        pod_network.one_flow,
        pod_network.reply_encapsulated,
        pod_network.mtu_fits,
    ],
)
def test_pods_on_one_node_show_nothing(claim: Claim) -> None:
    lab = scenes.pod_network()
    lab = replace(lab, target=replace(lab.target, node=lab.source.node))
    assert_inconclusive(claim(lab, INTENT), "both pods run on k8s-node2")


def pool(**changes: Any) -> IPPool:
    return replace(scenes.pod_network().pools.get()[0], **changes)


class TestIPPoolMode:
    def judge(self, *pools: IPPool, intent: Intent = INTENT) -> Verdict:
        lab = replace(scenes.pod_network(), pools=ok(pools, "kubectl get ippools -o json", ""))
        return pod_network.ippool_mode(lab, intent)

    @pytest.mark.parametrize(
        ("encapsulation", "ipip", "vxlan"),
        [
            ("ipip-cross-subnet", "CrossSubnet", "Never"),
            ("vxlan-always", "Never", "Always"),
            ("vxlan-cross-subnet", "Never", "CrossSubnet"),
            ("none", "Never", "Never"),
            ("none", "", ""),
        ],
    )
    def test_declared_modes(self, encapsulation: str, ipip: str, vxlan: str) -> None:
        declared = Intent(encapsulation=encapsulation)
        assert_held(self.judge(pool(ipip_mode=ipip, vxlan_mode=vxlan), intent=declared))
        assert_broken(self.judge(pool(), intent=declared), "ipipMode Always")

    @pytest.mark.parametrize(
        ("ipip", "vxlan"), [("Never", "Never"), ("CrossSubnet", "Never"), ("Never", "Always")]
    )
    def test_broken(self, ipip: str, vxlan: str) -> None:
        verdict = self.judge(pool(ipip_mode=ipip, vxlan_mode=vxlan))
        assert_broken(verdict, f"ipipMode {ipip}, vxlanMode {vxlan}")

    def test_the_narrowest_enabled_pool_counts(self) -> None:
        wide = pool(name="wide", cidr=ip_network("20.0.0.0/8"), ipip_mode="Never")
        disabled = pool(name="old", cidr=ip_network("20.96.0.0/11"), ipip_mode="Never", disabled=True)
        assert_held(self.judge(wide, pool(), disabled))

    def test_no_pool_holds_the_pods(self) -> None:
        assert_broken(self.judge(pool(cidr=ip_network("10.244.0.0/16"))), "no pool holds 20.109.131.5")
        assert_broken(self.judge(), "pools: none")

    def test_unread(self) -> None:
        lab = replace(scenes.pod_network(), pools=failed())
        assert_inconclusive(pod_network.ippool_mode(lab, INTENT))
        ipless = replace(lab.source, pod=replace(lab.source.pod, ips=(ip_address("fd00::1"),)))
        assert_inconclusive(pod_network.ippool_mode(replace(lab, source=ipless), INTENT), "no IPv4 address")


class TestCidrAgrees:
    def judge(
        self, *stated: tuple[str, str], pools: tuple[IPPool, ...] = (), intent: Intent = INTENT
    ) -> Verdict:
        cidrs = tuple(ClusterCIDR(source, ip_network(network)) for source, network in stated)
        lab = replace(scenes.pod_network(), cluster_cidrs=ok(cidrs, "kubectl cluster-info dump", ""))
        return pod_network.cidr_agrees(replace(lab, pools=ok(pools or (pool(),))), intent)

    def test_node_shares_alone(self) -> None:
        assert_held(self.judge(("node podCIDR of k8s-node1", "20.96.1.0/24")))

    def test_another_range(self) -> None:
        verdict = self.judge(("kubeadm-config podSubnet", "10.244.0.0/16"))
        assert_broken(verdict, "kubeadm-config podSubnet 10.244.0.0/16")

    def test_a_wider_range_is_not_the_same(self) -> None:
        assert_broken(self.judge(("kubeadm-config podSubnet", "20.0.0.0/8")), "20.0.0.0/8")

    def test_a_node_share_outside(self) -> None:
        assert_broken(self.judge(("node podCIDR of n", "10.244.1.0/24")), "node podCIDR of n 10.244.1.0/24")

    def test_kube_proxys_range_explains_masquerading(self) -> None:
        verdict = self.judge(("kube-proxy clusterCIDR", "10.244.0.0/16"))
        assert_broken(verdict, "kube-proxy clusterCIDR 10.244.0.0/16")
        assert verdict.diagnosis == "cluster-cidr-misses-pods"

    def test_two_pools(self) -> None:
        one, two = pool(cidr=ip_network("20.109.0.0/16")), pool(name="two", cidr=ip_network("20.111.0.0/16"))
        verdict = self.judge(("kubeadm-config podSubnet", "20.109.0.0/16"), pools=(one, two))
        assert_broken(verdict, "pool two 20.111.0.0/16")

    def test_the_declared_range(self) -> None:
        declared = Intent(pod_cidr=ip_network("10.244.0.0/16"))
        verdict = self.judge(("kubeadm-config podSubnet", "20.96.0.0/12"), intent=declared)
        assert_broken(verdict, "declared k8snet_pod_cidr 10.244.0.0/16")
        other_family = Intent(pod_cidr=ip_network("fd00::/48"))
        assert_held(self.judge(("kubeadm-config podSubnet", "20.96.0.0/12"), intent=other_family))

    def test_no_pool(self) -> None:
        verdict = self.judge(("x", "20.96.0.0/12"), pools=(pool(cidr=ip_network("10.0.0.0/8")),))
        assert_broken(verdict, "no pool holds")

    def test_unread(self) -> None:
        assert_inconclusive(self.judge(), "nothing on the cluster states")
        assert_inconclusive(self.judge(("ipv6", "fd00::/48")), "nothing on the cluster states")
        lab = replace(scenes.pod_network(), cluster_cidrs=failed())
        assert_inconclusive(pod_network.cidr_agrees(lab, INTENT))


class TestRouteViaTunnel:
    def judge(self, to_target: Any, intent: Intent = INTENT, lab: PodNetworkLab | None = None) -> Verdict:
        reading = ok(to_target, f"ip -j -d route get {DEST_IP}") if to_target else failed()
        return pod_network.route_via_tunnel(replace(lab or scenes.pod_network(), to_target=reading), intent)

    @pytest.mark.parametrize(
        ("chosen", "culprit"),
        [
            (route(DEST_IP, "eth1", NODE1), f"via {NODE1} dev eth1"),
            (route(DEST_IP, "tunl0", MASTER), f"via {MASTER} dev tunl0"),
            (route(DEST_IP, "tunl0"), "directly connected dev tunl0"),
            (route(DEST_IP, None, type="blackhole"), "forwards such a packet nowhere"),
            (route(DEST_IP, "eth0", "10.0.2.2"), "via 10.0.2.2 dev eth0"),
            (route(DEST_IP, "calia5814ebbae9", NODE1), "kind veth"),
        ],
    )
    def test_broken(self, chosen: Any, culprit: str) -> None:
        assert_broken(self.judge(chosen), culprit)

    def test_the_way_back_counts_too(self) -> None:
        lab = scenes.pod_network()
        back = ok(route(SRC_IP, "eth1", NODE2), "ip route get", "k8s-node1")
        assert_broken(pod_network.route_via_tunnel(replace(lab, to_source=back), INTENT), "k8s-node1: via")

    def test_onlink(self) -> None:
        def forget(node: NodeEvidence) -> NodeEvidence:
            routes = tuple(replace(r, onlink=False) for r in node.routes.get())
            return replace(node, routes=replace(node.routes, value=routes))

        assert_broken(pod_network.route_via_tunnel(with_nodes(forget), INTENT), "not onlink")

    def test_vxlan(self) -> None:
        lab = with_nodes(with_vxlan)
        lab = replace(lab, to_source=ok(route(SRC_IP, "vxlan.calico", TUNL["k8s-node2"])))
        assert_held(self.judge(route(DEST_IP, "vxlan.calico", TUNL["k8s-node1"]), VXLAN, lab))
        assert_broken(self.judge(route(DEST_IP, "vxlan.calico", NODE1), VXLAN, lab), f"via {NODE1}")

    def test_vxlan_without_its_interface(self) -> None:
        assert_inconclusive(self.judge(route(DEST_IP, "x", NODE1), VXLAN), "no vxlan interface")
        v6 = replace(
            with_vxlan(scenes.node1()).interfaces.get()[-1], addresses=(ip_interface("fd00::1/128"),)
        )
        lab = with_nodes(lambda node: replace(node, interfaces=ok((v6, *node.interfaces.get()))))
        assert_inconclusive(self.judge(route(DEST_IP, "x", NODE1), VXLAN, lab), "no vxlan interface")

    @pytest.mark.parametrize("intent", [NONE, CROSS])
    def test_no_tunnel(self, intent: Intent) -> None:
        lab = replace(scenes.pod_network(), to_source=ok(route(SRC_IP, "eth1", NODE2)))
        assert_held(self.judge(route(DEST_IP, "eth1", NODE1), intent, lab))
        assert_broken(self.judge(route(DEST_IP, "tunl0", NODE1), intent, lab), "kind ipip")

    def test_no_tunnel_between_two_networks(self) -> None:
        """What stands between them knows the way to the pods, by BGP: a router, not the other node."""

        def apart(node: NodeEvidence) -> NodeEvidence:
            eth1 = {"k8s-node1": ip_interface(f"{NODE1}/29"), "k8s-node2": ip_interface(f"{NODE2}/32")}
            changed = tuple(
                replace(i, addresses=(eth1[node.name],)) if i.name == "eth1" else i
                for i in node.interfaces.get()
            )
            return replace(node, interfaces=replace(node.interfaces, value=changed))

        router = "192.168.219.17"
        lab = replace(with_nodes(apart), to_source=ok(route(SRC_IP, "eth1", router)))
        verdict = self.judge(route(DEST_IP, "eth1", router), NONE, lab)
        assert_held(verdict)
        assert "via a router on its uplink eth1" in verdict.expected
        assert_broken(self.judge(route(DEST_IP, "eth1"), NONE, lab), "directly connected dev eth1")
        assert_broken(self.judge(route(DEST_IP, "eth0", router), NONE, lab), "dev eth0")
        near = replace(scenes.pod_network(), to_source=lab.to_source)
        assert_broken(self.judge(route(DEST_IP, "eth1", router), NONE, near), f"via {router}")

    def test_unread(self) -> None:
        assert_inconclusive(self.judge(None))
        lab = with_nodes(lambda node: replace(node, uplink=failed()))
        assert_inconclusive(self.judge(route(DEST_IP, "tunl0", NODE1), lab=lab))


class TestPlainOnSourceVeth:
    def test_encapsulated_already(self) -> None:
        lab = traced(source_veth=conversation(UPLINK))
        assert_broken(pod_network.plain_on_source_veth(lab, INTENT), "encapsulated")

    def test_another_path(self) -> None:
        other = conversation(VETH, payload=scenes.get("/other"))
        lab = traced(source_veth=other)
        assert_broken(pod_network.plain_on_source_veth(lab, INTENT), 'payload without "GET /hostname"')

    def test_only_syns(self) -> None:
        lab = silent(
            traced(source_veth=only_syns(VETH), source_uplink=NOISE, target_uplink=NOISE, target_veth=NOISE)
        )
        verdict = pod_network.plain_on_source_veth(lab, INTENT)
        assert_inconclusive(verdict, "only SYNs were sent: the request itself was never on the wire")
        wrong = traced(lab, source_veth=only_syns(UPLINK))
        assert_broken(pod_network.plain_on_source_veth(wrong, INTENT), "encapsulated", "only SYNs were sent")

    def test_unread(self) -> None:
        lab = scenes.pod_network()
        lab = replace(lab, request=with_point(lab.request, "source-veth", dropped=1))
        assert_inconclusive(pod_network.plain_on_source_veth(lab, INTENT), "dropped 1")


@pytest.mark.parametrize(
    ("claim", "point"),
    [
        (pod_network.encapsulated_on_source_uplink, "source_uplink"),
        (pod_network.encapsulated_on_target_uplink, "target_uplink"),
    ],
)
class TestEncapsulated:
    def test_bare(self, claim: Claim, point: str) -> None:
        assert_broken(claim(traced(**{point: conversation(BARE)}), INTENT), "bare, without encapsulation")

    def test_bare_beside_encapsulated(self, claim: Claim, point: str) -> None:
        lab = traced(**{point: (*conversation(UPLINK), replace(conversation(BARE)[3], number=8))})
        assert_broken(claim(lab, INTENT), "1 such packet", "packet 8")

    def test_twice(self, claim: Claim, point: str) -> None:
        twice = replace(UPLINK, envelope=UPLINK.envelope * 2)
        assert_broken(claim(traced(**{point: conversation(twice)}), INTENT), "encapsulated 2 times")

    def test_to_the_wrong_node(self, claim: Claim, point: str) -> None:
        lab = traced(**{point: conversation(wrapped(BARE, back=MASTER))})
        assert_broken(claim(lab, INTENT), f"outer destination {MASTER} instead of {NODE1}")

    def test_in_another_tunnel(self, claim: Claim, point: str) -> None:
        lab = traced(**{point: conversation(wrapped(BARE, vxlan_tunnel))})
        assert_broken(claim(lab, INTENT), "encapsulated as VXLAN instead of IPIP")
        assert_held(claim(lab, VXLAN))
        assert_broken(claim(scenes.pod_network(), VXLAN), "encapsulated as IPIP instead of VXLAN")

    def test_another_vni(self, claim: Claim, point: str) -> None:
        other = wrapped(BARE, lambda src, dst: vxlan_tunnel(src, dst, 1))
        assert_broken(claim(traced(**{point: conversation(other)}), VXLAN), "VNI 1 instead of 4096")

    @pytest.mark.parametrize("intent", [NONE, CROSS])
    def test_declared_plain(self, claim: Claim, point: str, intent: Intent) -> None:
        assert_held(claim(uplinks(BARE), intent))
        assert_broken(claim(scenes.pod_network(), intent), "encapsulated (IPIP")

    def test_across_subnets(self, claim: Claim, point: str) -> None:
        lab = with_nodes(two_subnets)
        assert_held(claim(lab, CROSS))
        assert_broken(claim(uplinks(BARE, lab), CROSS), "bare, without encapsulation")

    def test_unread(self, claim: Claim, point: str) -> None:
        lab = scenes.pod_network()
        lost = with_point(lab.request, point.replace("_", "-"), dropped=None)
        assert_inconclusive(claim(replace(lab, request=lost), INTENT), "no counter")
        blind = with_nodes(lambda node: replace(node, interfaces=failed()))
        assert_inconclusive(claim(blind, CROSS))
        homeless = with_nodes(lambda node: replace(node, interfaces=ok(())))
        assert_inconclusive(claim(homeless, CROSS), "holds its uplink address")


class TestDecapsulated:
    def test_still_encapsulated(self) -> None:
        lab = traced(target_veth=conversation(UPLINK))
        assert_broken(pod_network.decapsulated_on_target_veth(lab, INTENT), "encapsulated (IPIP")

    def test_lost_in_the_tunnel(self) -> None:
        lab = silent(traced(target_veth=NOISE))
        assert_broken(pod_network.decapsulated_on_target_veth(lab, INTENT), "lost before this point")

    def test_unread(self) -> None:
        lab = silent(traced(target_veth=()))
        assert_inconclusive(pod_network.decapsulated_on_target_veth(lab, INTENT))


class TestOneFlow:
    def changed(self, point: str, tcp: dict[str, Any] | None = None, **ip: Any) -> PodNetworkLab:
        packets = packets_at(scenes.pod_request(), point.replace("_", "-"))
        made = tuple(
            replace(p, ip=replace(p.ip, **ip), tcp=replace(p.tcp, **(tcp or {}) if p.tcp.payload else {}))
            for p in packets
            if p.tcp is not None
        )
        return traced(**{point: made})

    @pytest.mark.parametrize(
        ("point", "ttl", "where"),
        [
            ("source_uplink", 64, "between k8s-node2 calia5814ebbae9 and k8s-node2 eth1"),
            ("target_uplink", 60, "between two uplinks"),
            ("target_veth", 1, "TTL 63 became 1"),
        ],
    )
    def test_ttl(self, point: str, ttl: int, where: str) -> None:
        assert_broken(pod_network.one_flow(self.changed(point, ttl=ttl), INTENT), where)

    def test_ttl_between_subnets(self) -> None:
        def routed(lab: PodNetworkLab, far: int) -> PodNetworkLab:
            return traced(
                lab,
                source_uplink=conversation(BARE),
                target_uplink=conversation(replace(BARE, ttl=far), clock=90.0),
                target_veth=conversation(replace(BARE, ttl=far - 1), clock=91.0),
            )

        apart = with_nodes(two_subnets)
        assert_held(pod_network.one_flow(routed(apart, 61), NONE))
        assert_broken(pod_network.one_flow(routed(apart, 64), NONE), "TTL 63 became 64")
        assert_broken(pod_network.one_flow(routed(scenes.pod_network(), 61), NONE), "TTL 63 became 61")

    def test_sequence_and_payload(self) -> None:
        lab = self.changed("target_veth", {"seq": 77_000})
        assert_broken(pod_network.one_flow(lab, INTENT), "TCP sequence 1000 became 77000")
        forged = self.changed("target_veth", {"payload": b"X-K8snet: " + scenes.TOKEN.encode()})
        assert_broken(pod_network.one_flow(forged, INTENT), "the payload changed")

    def test_ports(self) -> None:
        lab = self.changed("target_veth", {"sport": 1024})
        assert_broken(pod_network.one_flow(lab, INTENT), "which conntrack does not record")
        entry = scenes.tracked((SRC_IP, 35096, DEST_IP, 8080), (DEST_IP, 8080, SRC_IP, 1024))
        recorded = replace(lab, request=replace(lab.request, connections=scenes.listed(entry)))
        assert_held(pod_network.one_flow(recorded, INTENT))
        unlisted = replace(lab, request=replace(lab.request, connections=scenes.listed()))
        assert_broken(pod_network.one_flow(unlisted, INTENT), "which conntrack does not record")
        unread = replace(lab, request=replace(lab.request, connections=failed()))
        assert_inconclusive(pod_network.one_flow(unread, INTENT))
        nowhere = replace(lab, request=replace(lab.request, connections=ok(())))
        assert_inconclusive(pod_network.one_flow(nowhere, INTENT), "lists no connection to 20.111.156.72")

    def test_twice(self) -> None:
        lab = uplinks(replace(UPLINK, envelope=UPLINK.envelope * 2))
        assert_broken(pod_network.one_flow(lab, INTENT), "encapsulated 2 times")

    def test_time_runs_forward_on_one_node(self) -> None:
        lab = traced(target_veth=conversation(replace(VETH, ttl=62), clock=89.99))
        assert_broken(pod_network.one_flow(lab, INTENT), "0.010000 s earlier than before it was forwarded")

    @pytest.mark.parametrize(
        ("clock", "words"),
        [(80.0, "jumped back by 10.000 s"), (89.99, ""), (90.9, ""), (91.1, "jumped ahead by 1.100 s")],
    )
    def test_no_forwarding_takes_a_second(self, clock: float, words: str) -> None:
        lab = traced(target_veth=conversation(replace(VETH, ttl=62), clock=clock))
        verdict = pod_network.one_flow(lab, INTENT)
        if words:
            assert_inconclusive(verdict, f"the clock of k8s-node1 {words} during the capture")
            assert "time daemon" in verdict.advice
            assert verdict.where == f"k8s-node1 {DEST_VETH}"
        else:
            assert (verdict.outcome is Outcome.BROKEN) is (clock < 90.0)

    def test_a_step_back_explains_a_wrong_order(self) -> None:
        """The clock is set by -10 ms after SYN and SYN/ACK, between the uplink's sighting and the veth's."""
        late = conversation(replace(VETH, ttl=62), clock=90.0002)
        for first_of_the_new_time, jumps in ((3, True), (0, False)):
            packets = tuple(
                replace(packet, time=packet.time - 0.010) if packet.number > first_of_the_new_time else packet
                for packet in late
            )
            verdict = pod_network.one_flow(traced(target_veth=packets), INTENT)
            if jumps:
                assert_inconclusive(verdict, "the clock of k8s-node1 jumped back by 0.009 s")
            else:
                assert_broken(verdict, "s earlier than before")

    @pytest.mark.parametrize(
        ("step", "words"),
        [(-0.5, ""), (-1.5, "back by 1.499 s"), (59.0, ""), (3600.0, "ahead by 3600.001 s")],
    )
    def test_a_step_that_no_order_shows(self, step: float, words: str) -> None:
        """The clock is set after the request came by: its order is right, and proves nothing."""
        late = conversation(replace(VETH, ttl=62, back_ttl=64), clock=90.0002)
        packets = tuple(replace(p, time=p.time + step) if p.number > 5 else p for p in late)
        verdict = pod_network.one_flow(traced(target_veth=packets), INTENT)
        if words:
            assert_inconclusive(verdict, f"the clock of k8s-node1 jumped {words} during the capture")
        else:
            assert_held(verdict)

    def test_a_rewritten_packet_is_broken_whatever_the_clock_says(self) -> None:
        lab = traced(target_veth=conversation(replace(VETH, ttl=60), clock=80.0))
        assert_broken(pod_network.one_flow(lab, INTENT), "TTL 63 became 60")

    def test_clocks_of_nodes_may_differ(self) -> None:
        lab = traced(
            target_uplink=conversation(UPLINK, clock=5e9),
            target_veth=conversation(replace(VETH, ttl=62), clock=5e9 + 1),
        )
        assert_held(pod_network.one_flow(lab, INTENT))

    def test_a_missing_sighting(self) -> None:
        assert_broken(pod_network.one_flow(traced(target_uplink=NOISE), INTENT), "it took another way")
        assert_inconclusive(pod_network.one_flow(silent(traced(target_veth=())), INTENT))

    def test_never_opened(self) -> None:
        lab = silent(
            traced(
                source_veth=only_syns(VETH),
                source_uplink=only_syns(UPLINK),
                target_uplink=only_syns(UPLINK, clock=90.0),
                target_veth=only_syns(replace(VETH, ttl=62), clock=91.0),
            )
        )
        assert_inconclusive(pod_network.one_flow(lab, INTENT), "the connection was never opened")

    def test_overlapping_segments(self) -> None:
        whole = segment(1, (SRC_IP, 1), (DEST_IP, 2), payload=b"abcdef", seq=2**32 - 2)
        assert whole.tcp is not None
        tail = replace(whole, tcp=replace(whole.tcp, seq=1, payload=b"defghi"))
        assert same_bytes(whole, tail)
        assert same_bytes(tail, whole)
        assert not same_bytes(whole, replace(tail, tcp=replace(whole.tcp, seq=1, payload=b"xyz")))
        assert not same_bytes(whole, replace(tail, tcp=replace(whole.tcp, seq=9, payload=b"x")))
        opposite = replace(tail, tcp=replace(whole.tcp, seq=2**31 - 2))
        assert not same_bytes(whole, opposite)


class TestSourceKept:
    def masqueraded(self, source: str = TUNL["k8s-node2"]) -> PodNetworkLab:
        return traced(target_veth=conversation(Leg((source, 35096), (DEST_IP, 8080), 62), clock=91.0))

    def test_masqueraded(self) -> None:
        verdict = pod_network.source_kept(self.masqueraded(), INTENT)
        assert_broken(verdict, "the address of tunl0 on k8s-node2", "masqueraded")

    def test_declared(self) -> None:
        declared = Intent(masquerade_all=True)
        assert_held(pod_network.source_kept(self.masqueraded(), declared))
        assert_held(pod_network.source_kept(scenes.pod_network(), declared))
        assert_broken(pod_network.source_kept(self.masqueraded("9.9.9.9"), declared), "source 9.9.9.9:")
        plain = Intent(masquerade_all=True, encapsulation="none")
        assert_held(pod_network.source_kept(self.masqueraded(NODE2), plain))

    def test_declared_but_unreadable(self) -> None:
        lab = self.masqueraded()
        bare = tuple(replace(i, addresses=()) for i in lab.source.node.interfaces.get() if i.kind == "ipip")
        source = replace(lab.source, node=replace(lab.source.node, interfaces=ok(bare)))
        verdict = pod_network.source_kept(replace(lab, source=source), Intent(masquerade_all=True))
        assert_inconclusive(verdict, "no ipip interface with an IPv4 address")

    def test_the_ledger_allows_it_too(self) -> None:
        declared = Intent(masquerade_all=True)
        book = Ledger.of(self.masqueraded().request, declared)
        assert not any(row.differs for row in book.rows)

    def test_not_seen(self) -> None:
        assert_broken(pod_network.source_kept(traced(target_veth=NOISE), INTENT), "it took another way")
        assert_inconclusive(pod_network.source_kept(silent(traced(target_veth=())), INTENT))


class TestReplyEncapsulated:
    @pytest.mark.parametrize("point", ["source_uplink", "target_uplink"])
    def test_bypassed(self, point: str) -> None:
        lab = traced(**{point: conversation(replace(UPLINK, back_envelope=()))})
        assert_broken(pod_network.reply_encapsulated(lab, INTENT), "bare, without encapsulation")

    def test_a_bare_acknowledgement(self) -> None:
        packets = packets_at(scenes.pod_request(), "source-uplink")
        lab = traced(source_uplink=(*packets, replace(packets[1], number=8, tunnels=())))
        assert_broken(pod_network.reply_encapsulated(lab, INTENT), "packet 8")

    def test_declared_plain(self) -> None:
        assert_held(pod_network.reply_encapsulated(uplinks(BARE), NONE))
        assert_broken(pod_network.reply_encapsulated(scenes.pod_network(), NONE), "encapsulated (IPIP")

    def test_unread(self) -> None:
        lab = scenes.pod_network()
        lab = replace(lab, request=with_point(lab.request, "target-uplink", run=failed("tcpdump")))
        assert_inconclusive(pod_network.reply_encapsulated(lab, INTENT))

    def test_only_the_handshake_was_answered(self) -> None:
        opened = {"source_uplink": conversation(UPLINK)[:4], "target_uplink": conversation(UPLINK)[:4]}
        verdict = pod_network.reply_encapsulated(silent(traced(**opened)), INTENT)
        assert_inconclusive(verdict, "the handshake's answer has that form, no payload came back")
        opened["source_uplink"] = conversation(replace(UPLINK, back_envelope=()))[:4]
        verdict = pod_network.reply_encapsulated(silent(traced(**opened)), INTENT)
        assert_broken(verdict, "no payload came back, only packet 2", "bare, without encapsulation")

    def test_the_request_was_lost_on_its_way(self) -> None:
        sent = {"source_veth": only_syns(VETH), "source_uplink": only_syns(UPLINK)}
        for target_uplink in (only_syns(UPLINK), NOISE):
            lab = silent(traced(**sent, target_uplink=target_uplink, target_veth=NOISE))
            verdict = pod_network.reply_encapsulated(lab, INTENT)
            assert_inconclusive(verdict, "the request never reached the target: no answer was due")
        reached = silent(traced(**sent, target_uplink=only_syns(UPLINK), target_veth=only_syns(VETH)))
        assert_broken(pod_network.reply_encapsulated(reached, INTENT), "but no answer")


class TestMtuFits:
    def large(self, lab: PodNetworkLab | None = None, **exchange: Any) -> PodNetworkLab:
        lab = lab or scenes.pod_network()
        answer = replace(lab.large.answer, value=replace(lab.large.answer.get(), **exchange))
        return replace(lab, large=replace(lab.large, answer=answer))

    def extra(self, packet: Packet, point: str = "source-uplink") -> PodNetworkLab:
        lab = scenes.pod_network()
        packets = (*packets_at(lab.large, point), packet)
        return replace(lab, large=with_point(lab.large, point, packets))

    def mtu(self, mtu: int) -> PodNetworkLab:
        lab = scenes.pod_network()
        changed = tuple(replace(i, mtu=mtu) if i.name == "eth0" else i for i in lab.target.inside.get())
        return replace(lab, target=replace(lab.target, inside=replace(lab.target.inside, value=changed)))

    def test_the_document(self) -> None:
        assert_held(pod_network.mtu_fits(self.mtu(1440), INTENT))

    def test_too_large(self) -> None:
        verdict = pod_network.mtu_fits(self.mtu(1500), INTENT)
        assert_broken(verdict, "pod-dest: 1500 + 20 = 1520, uplink 1500")
        assert "1480" in verdict.cause
        assert_broken(pod_network.mtu_fits(scenes.pod_network(), VXLAN), "1480 + 50 = 1530")

    def test_no_envelope_no_overhead(self) -> None:
        lab = self.mtu(1500)
        lab = replace(
            lab, request=uplinks(BARE).request, large=replace(uplinks(BARE).request, answer=lab.large.answer)
        )
        assert_held(pod_network.mtu_fits(lab, NONE))

    @pytest.mark.parametrize("point", ["source-uplink", "target-uplink"])
    def test_fragments(self, point: str) -> None:
        outer = IPHeader(ip_address(NODE1), ip_address(NODE2), 4, 64, more_fragments=True)
        assert_broken(
            pod_network.mtu_fits(self.extra(Packet(8, 0.0, outer), point), INTENT), "an IP fragment"
        )
        tunnel = replace(ipip_tunnel(NODE1, NODE2), outer=outer)
        inner = replace(segment(9, (DEST_IP, 8080), (SRC_IP, 35096)), tunnels=(tunnel,))
        assert_broken(pod_network.mtu_fits(self.extra(inner, point), INTENT), "packet 9 is an IP fragment")

    def test_fragments_of_others(self) -> None:
        foreign = IPHeader(ip_address(MASTER), ip_address(NODE2), 17, 64, fragment_offset=1480)
        assert_held(pod_network.mtu_fits(self.extra(Packet(8, 0.0, foreign)), INTENT))

    def test_fragmentation_needed(self) -> None:
        header = IPHeader(ip_address("192.168.219.1"), ip_address(NODE1), 1, 64)
        verdict = pod_network.mtu_fits(self.extra(Packet(8, 0.0, header, icmp=(3, 4))), INTENT)
        assert_broken(verdict, "ICMP fragmentation needed")
        assert_held(pod_network.mtu_fits(self.extra(Packet(8, 0.0, header, icmp=(3, 1))), INTENT))

    @pytest.mark.parametrize(("intent", "counts"), [(INTENT, 4), (NONE, None)])
    def test_fragments_that_the_nodes_send_each_other(self, intent: Intent, counts: int | None) -> None:
        """A node's own UDP may be cut (corosync, NFS): only its envelope tells of the pods."""
        for protocol in (4, 6, 17):
            header = IPHeader(ip_address(NODE1), ip_address(NODE2), protocol, 64, fragment_offset=1480)
            lab = self.extra(Packet(8, 0.0, header))
            kind = "ipip" if intent is INTENT else None
            verdict = unfragmented(Ledger.of(lab.large, intent).hop("source-uplink"), lab, kind)
            assert verdict.outcome is (Outcome.BROKEN if protocol == counts else Outcome.HELD), protocol

    def test_a_node_is_asked_for_smaller_packets_to_somebody_else(self) -> None:
        """The ICMP quotes what was too large."""
        header = IPHeader(ip_address("192.168.219.1"), ip_address(NODE2), 1, 64)
        abroad = IPHeader(ip_address(NODE2), ip_address("203.0.113.7"), 6, 64)
        asked = Packet(8, 0.0, header, icmp=(3, 4), quoted=abroad)
        assert_held(pod_network.mtu_fits(self.extra(asked), INTENT))
        envelope = IPHeader(ip_address(NODE2), ip_address(NODE1), 4, 64)
        asked = replace(asked, quoted=envelope)
        assert_broken(pod_network.mtu_fits(self.extra(asked), INTENT), "ICMP fragmentation needed")

    @pytest.mark.parametrize("point", ["source-veth", "source-uplink", "target-uplink", "target-veth"])
    def test_the_pod_is_asked_for_smaller_packets(self, point: str) -> None:
        """The node itself answers what does not fit its tunnel device: only the veth shows it."""
        header = IPHeader(ip_address(NODE1), ip_address(DEST_IP), 1, 64)
        lab = self.extra(Packet(8, 0.0, header, icmp=(3, 4)), point)
        assert_broken(pod_network.mtu_fits(lab, INTENT), "packet 8 is ICMP fragmentation needed")
        blind = replace(lab, large=with_point(lab.large, OTHER_END[point], run=failed("tcpdump")))
        assert_broken(pod_network.mtu_fits(blind, INTENT), "packet 8 is ICMP fragmentation needed")
        foreign = replace(header, dst=ip_address(MASTER))
        lab = self.extra(Packet(8, 0.0, foreign, icmp=(3, 4)), point)
        assert_held(pod_network.mtu_fits(lab, INTENT))

    @pytest.mark.parametrize("name", ["k8s-node1", "k8s-node2"])
    def test_the_tunnel_is_narrower_than_the_pods(self, name: str) -> None:
        def tunl0(mtu: int) -> PodNetworkLab:
            def change(node: NodeEvidence) -> NodeEvidence:
                changed = tuple(replace(i, mtu=mtu) if i.kind == "ipip" else i for i in node.interfaces.get())
                return replace(node, interfaces=replace(node.interfaces, value=changed))

            return with_nodes(lambda node: change(node) if node.name == name else node)

        verdict = pod_network.mtu_fits(tunl0(1479), INTENT)
        assert_broken(verdict, "1480, tunl0 1479")
        assert verdict.where == f"{name} tunl0"
        assert_held(pod_network.mtu_fits(tunl0(1480), INTENT))

    def test_no_tunnel_device(self) -> None:
        def without(node: NodeEvidence) -> NodeEvidence:
            kept = tuple(i for i in node.interfaces.get() if i.kind != "ipip")
            return replace(node, interfaces=replace(node.interfaces, value=kept))

        lab = with_nodes(without)
        assert_inconclusive(pod_network.mtu_fits(lab, INTENT), "has no ipip interface")
        bare = replace(uplinks(BARE, lab).request, answer=lab.large.answer)
        assert_held(pod_network.mtu_fits(replace(lab, large=bare), NONE))
        header = IPHeader(ip_address(NODE1), ip_address(DEST_IP), 1, 64)
        asked = self.extra(Packet(8, 0.0, header, icmp=(3, 4)), "target-veth")
        assert_broken(pod_network.mtu_fits(replace(lab, large=asked.large), INTENT), "packet 8 is ICMP")

    @pytest.mark.parametrize("point", ["source-uplink", "target-uplink"])
    def test_the_large_answer_went_beside_the_tunnel(self, point: str) -> None:
        lab = scenes.pod_network()
        for packets in (
            conversation(BARE),
            conversation(replace(UPLINK, back_envelope=())),
            conversation(wrapped(BARE, back=MASTER)),
            (*conversation(UPLINK), replace(conversation(BARE)[4], number=8)),
        ):
            beside = replace(lab, large=with_point(lab.large, point, packets))
            verdict = pod_network.mtu_fits(beside, INTENT)
            assert_inconclusive(verdict, "the large answer did not use the tunnel")

    def test_black_hole(self) -> None:
        lab = self.large(status=0, size=0, error="curl: (28) timed out")
        assert_broken(pod_network.mtu_fits(lab, INTENT), "full-sized packets vanish", "timed out")
        cut = self.large(size=1400, error="curl: (28) timed out after 1400 bytes")
        assert_broken(pod_network.mtu_fits(cut, INTENT), "1400 bytes")

    def test_nothing_was_answered(self) -> None:
        lab = self.large(silent(scenes.pod_network()), status=0, size=0)
        assert_inconclusive(pod_network.mtu_fits(lab, INTENT), "0 bytes, HTTP 0")

    def test_too_small_to_show_anything(self) -> None:
        assert_inconclusive(pod_network.mtu_fits(self.large(size=8), INTENT), "too small to show")

    def test_the_transfer_took_another_way(self) -> None:
        lab = scenes.pod_network()
        lab = replace(lab, large=with_point(lab.large, "source-uplink", NOISE))
        assert_broken(pod_network.mtu_fits(lab, INTENT), "it took another way")

    def test_unread(self) -> None:
        lab = scenes.pod_network()
        for unread in (
            replace(lab, large=replace(lab.large, answer=failed("curl"))),
            replace(lab, large=with_point(lab.large, "source-uplink", dropped=9)),
            replace(lab, source=replace(lab.source, inside=failed())),
            replace(lab, source=replace(lab.source, inside=ok(lab.source.inside.get()[:1]))),
        ):
            assert_inconclusive(pod_network.mtu_fits(unread, INTENT))
        assert isinstance(lab.large.answer.get(), Exchange)
