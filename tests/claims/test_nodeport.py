from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pytest_k8snet.claims import nodeport
from pytest_k8snet.claims.listeners import opens_sockets
from pytest_k8snet.claims.verdict import Verdict
from pytest_k8snet.evidence.netfilter import parse_iptables_save
from pytest_k8snet.evidence.observations import NodeEvidence, NodePortLab, TracedRequest
from pytest_k8snet.evidence.sockets import Listener
from pytest_k8snet.intent import Intent
from tests.claims import scenes
from tests.claims.judge import assert_broken, assert_held, assert_inconclusive
from tests.claims.scenes import (
    ARRIVAL,
    DEST_IP,
    MASTER,
    NAT,
    NODE2,
    NODE_PORT,
    NOISE,
    ONWARD,
    PAUSE_IP,
    SEP_NODEPORT,
    SVC_NODEPORT,
    TUNL,
    Leg,
    conversation,
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
#: The client's own address kept behind node2, as without masquerading.
KEPT = wrapped(Leg((MASTER, 43758), (DEST_IP, 8080), 63, 63))
EVERYWHERE = Listener(ip_address("0.0.0.0"), NODE_PORT, (("kube-proxy", 3426),))


def traced(lab: NodePortLab | None = None, /, **packets: Any) -> NodePortLab:
    lab = lab or scenes.nodeport()
    request = lab.request
    for point, seen in packets.items():
        request = with_point(request, point.replace("_", "-"), seen)
    return replace(lab, request=request)


def with_request(lab: NodePortLab | None = None, **changes: Any) -> NodePortLab:
    lab = lab or scenes.nodeport()
    return replace(lab, request=replace(lab.request, **changes))


def blind(point: str) -> NodePortLab:
    return with_request(points=with_point(scenes.nodeport().request, point, dropped=1).points)


def nat(old: str, new: str) -> NodePortLab:
    assert old in NAT
    return with_request(
        entry=replace(scenes.node2(), rules=ok(rules_of(NAT.replace(old, new)), "iptables-save"))
    )


def silent(request: TracedRequest) -> TracedRequest:
    return replace(request, answer=ok(scenes.unanswered(f"http://{NODE2}:31080/"), "curl", "k8s-master"))


def on_entry_node(lab: NodePortLab | None = None) -> NodePortLab:
    """pod-dest runs on node2 itself: nothing leaves by the uplink, its own address is the source."""
    lab = lab or scenes.nodeport()
    here = replace(scenes.pod_dest(), node=scenes.node2())
    veth = conversation(Leg((TUNL["k8s-node2"], 43371), (DEST_IP, 8080), 63, 64), clock=1000.001)
    lab = with_request(lab, target=here)
    return traced(lab, entry_uplink=conversation(ARRIVAL), target_uplink=(), target_veth=veth)


def local_only(lab: NodePortLab | None = None) -> NodePortLab:
    service = scenes.service("svc-nodeport", "NodePort", external_traffic_policy="Local")
    return replace(lab or scenes.nodeport(), service=ok(service, "kubectl get services -o json", ""))


def refused() -> NodePortLab:
    """externalTrafficPolicy Local, and node2 runs no endpoint: it drops the request."""
    syn = only_syns(ARRIVAL)
    lab = traced(local_only(), client_uplink=syn, entry_uplink=syn, target_uplink=(), target_veth=())
    return replace(lab, request=silent(lab.request))


@pytest.mark.parametrize(
    "claim",
    [
        nodeport.kube_proxy_listens,
        nodeport.arrives_plain,
        nodeport.dnat_and_forward,
        nodeport.masqueraded,
        nodeport.answers_from_node2,
        nodeport.every_node,
        nodeport.rules_conntrack_wire,
    ],
)
def test_the_document_holds(claim: Any) -> None:
    assert_held(claim(scenes.nodeport(), INTENT))


@pytest.mark.parametrize(
    ("version", "sockets"),
    [
        ("v1.18.20", True),
        ("v1.20.15", True),
        ("v1.21.12", True),
        ("v1.21.13", False),
        ("v1.22.9", True),
        ("v1.22.10", False),
        ("v1.23.6+k3s1", True),
        ("v1.23.7", False),
        ("v1.24.0", False),
        ("1.33.1-eks-1234", False),
        ("", None),
        ("unknown", None),
    ],
)
def test_versions_that_open_sockets(version: str, sockets: bool | None) -> None:
    assert opens_sockets(version) is sockets


class TestKubeProxyListens:
    def judge(
        self, *listeners: Listener, version: str = "v1.20.8", intent: Intent = INTENT, **node: Any
    ) -> Verdict:
        def changed(old: NodeEvidence) -> NodeEvidence:
            kube = replace(old.object, value=replace(old.object.get(), kube_proxy_version=version))
            return replace(
                old, **{"object": kube, "listeners": ok(listeners, "ss -H -ltnp", old.name), **node}
            )

        lab = scenes.nodeport()
        lab = replace(lab, nodes=(*lab.nodes[:2], changed(lab.nodes[2])))
        return nodeport.kube_proxy_listens(lab, intent)

    @pytest.mark.parametrize(
        "listener",
        [
            EVERYWHERE,
            replace(EVERYWHERE, address=None),
            replace(EVERYWHERE, address=ip_address("::")),
            replace(EVERYWHERE, address=ip_address(NODE2)),
        ],
    )
    def test_addresses(self, listener: Listener) -> None:
        assert_held(self.judge(listener))

    @pytest.mark.parametrize(
        ("process", "words"),
        [
            ("k3s", "k3s, which embeds kube-proxy"),
            ("k3s se", "k3s, which embeds kube-proxy"),
            ("kubelet", "a kubelet that embeds kube-proxy"),
        ],
    )
    def test_other_names_are_told(self, process: str, words: str) -> None:
        verdict = self.judge(replace(EVERYWHERE, processes=((process, 1),)))
        assert_held(verdict)
        assert words in verdict.seen

    @pytest.mark.parametrize(
        ("listeners", "culprit"),
        [
            ((), "nothing listens on 31080"),
            ((replace(EVERYWHERE, port=31081),), "nothing listens on 31080"),
            ((replace(EVERYWHERE, processes=(("nginx", 9),)),), "held by nginx (pid 9): another process"),
            ((EVERYWHERE, replace(EVERYWHERE, processes=(("", 9),))), "another process"),
            ((replace(EVERYWHERE, address=ip_address("127.0.0.1")),), "on loopback only"),
            ((replace(EVERYWHERE, address=ip_address("10.0.2.15")),), "10.0.2.15 port 31080"),
            ((replace(EVERYWHERE, address=None, device="lo"),), "* port 31080"),
        ],
    )
    def test_broken(self, listeners: tuple[Listener, ...], culprit: str) -> None:
        verdict = self.judge(*listeners)
        assert_broken(verdict, "k8s-node2", culprit)
        assert "v1.20.8 opens a socket" in verdict.expected

    def test_an_owner_that_ss_would_not_say(self) -> None:
        assert_inconclusive(self.judge(replace(EVERYWHERE, processes=())), "an unnamed process")

    def test_later_versions_claim_the_port_by_rules(self) -> None:
        verdict = self.judge(version="v1.30.2")
        assert_held(verdict)
        assert "v1.30.2 opens no socket" in verdict.seen
        assert "-A KUBE-NODEPORTS" in verdict.seen
        assert_held(self.judge(replace(EVERYWHERE, address=ip_address("127.0.0.1")), version="v1.37.0"))

    def test_later_versions_with_another_listener(self) -> None:
        verdict = self.judge(replace(EVERYWHERE, processes=(("nginx", 9),)), version="v1.30.2")
        assert_broken(verdict, "held by nginx")
        assert_inconclusive(self.judge(replace(EVERYWHERE, processes=()), version="v1.30.2"), "unnamed")

    def test_later_versions_without_rules(self) -> None:
        gone = ok(rules_of(NAT.replace("--dport 31080", "--dport 31081")), "iptables-save")
        assert_broken(self.judge(version="v1.30.2", rules=gone), "no rule of KUBE-NODEPORTS claims 31080")
        bypassed = ok(rules_of(NAT.replace(f"--dport 31080 -j {SVC_NODEPORT}", "--dport 31080 -j ACCEPT")))
        assert_broken(self.judge(version="v1.30.2", rules=bypassed), "rules of 31080 lead to no service")
        unknown = ok(rules_of(NAT.replace("--dst-type LOCAL", "--dst-type UNICAST")), "iptables-save")
        assert_inconclusive(self.judge(version="v1.30.2", rules=unknown), "UNICAST")
        assert_inconclusive(self.judge(version="v1.30.2", rules=failed()))

    def test_1_23_may_open_no_socket_in_dual_stack(self) -> None:
        verdict = self.judge(version="v1.23.4")
        assert_held(verdict)
        assert "v1.23.4 may open no socket in dual stack" in verdict.seen
        assert "opens a socket" in self.judge(EVERYWHERE, version="v1.23.4").seen

    def test_without_a_version_what_is_there_decides(self) -> None:
        node = replace(scenes.node2().object.get(), kube_proxy_version="", kubelet_version="")
        unknown = ok(node, "kubectl get nodes -o json", "")
        assert "a kube-proxy socket is there" in self.judge(EVERYWHERE, object=unknown).seen
        verdict = self.judge(object=unknown)
        assert_held(verdict)
        assert "version unknown, no socket" in verdict.seen

    def test_the_kubelets_version_stands_in(self) -> None:
        """Kubernetes leaves kubeProxyVersion empty since its deprecation (KEP-4004)."""
        node = replace(scenes.node2().object.get(), kube_proxy_version="", kubelet_version="v1.34.1")
        verdict = self.judge(object=ok(node, "kubectl get nodes -o json", ""))
        assert_held(verdict)
        words = "v1.34.1 (the kubelet's version: the node states none of kube-proxy) opens no socket"
        assert words in verdict.seen

    @pytest.mark.parametrize(
        ("version", "process"),
        [("v1.20.8+k3s1", "k3s-server"), ("v1.21.12", "kube-proxy"), ("v1.22.9+rke2r1", "kube-proxy")],
    )
    def test_versions_as_distributions_print_them(self, version: str, process: str) -> None:
        listening = replace(EVERYWHERE, address=None, processes=((process, 4321),))
        verdict = self.judge(listening, version=version)
        assert_held(verdict)
        assert f"{version} opens a socket" in verdict.seen
        assert_broken(self.judge(version=version), "nothing listens on 31080")

    def test_a_socket_for_each_address_family(self) -> None:
        """kube-proxy 1.21 to 1.23 in dual stack: one socket for IPv4, one for IPv6."""
        pair = (EVERYWHERE, replace(EVERYWHERE, address=ip_address("::")))
        assert_held(self.judge(*pair, version="v1.22.9"))

    def test_unread(self) -> None:
        assert_inconclusive(self.judge(listeners=failed()))
        assert_inconclusive(self.judge(object=failed()))
        lab = replace(scenes.nodeport(), nodes=())
        assert_inconclusive(nodeport.kube_proxy_listens(lab, INTENT), "no node was looked at")


class TestArrivesPlain:
    def test_encapsulated(self) -> None:
        lab = traced(entry_uplink=conversation(wrapped(ARRIVAL, there=MASTER, back=NODE2), ONWARD))
        assert_broken(nodeport.arrives_plain(lab, INTENT), f"encapsulated (IPIP {MASTER} -> {NODE2})")

    def test_to_another_node(self) -> None:
        assert_broken(nodeport.arrives_plain(traced(entry_uplink=NOISE), INTENT), "it took another way")

    def test_unread(self) -> None:
        assert_inconclusive(nodeport.arrives_plain(blind("entry-uplink"), INTENT), "dropped 1")


class TestDnatAndForward:
    def test_not_forwarded(self) -> None:
        lab = traced(entry_uplink=conversation(ARRIVAL))
        assert_broken(nodeport.dnat_and_forward(lab, INTENT), "bare, without encapsulation")

    def test_forwarded_bare(self) -> None:
        lab = traced(entry_uplink=conversation(ARRIVAL, replace(ONWARD, envelope=())))
        assert_broken(nodeport.dnat_and_forward(lab, INTENT), "bare, without encapsulation")

    def test_to_another_pod(self) -> None:
        lab = traced(entry_uplink=conversation(ARRIVAL, replace(ONWARD, dst=(PAUSE_IP, 8080))))
        assert_broken(
            nodeport.dnat_and_forward(lab, INTENT), f"inner destination {PAUSE_IP} instead of {DEST_IP}"
        )

    def test_before_it_arrives(self) -> None:
        lab = traced(entry_uplink=conversation(ONWARD, ARRIVAL))
        assert_broken(nodeport.dnat_and_forward(lab, INTENT), "goes out before")

    def test_an_endpoint_on_the_entry_node(self) -> None:
        assert_held(nodeport.dnat_and_forward(on_entry_node(), INTENT))
        leaked = traced(on_entry_node(), entry_uplink=conversation(ARRIVAL, ONWARD))
        assert_broken(nodeport.dnat_and_forward(leaked, INTENT), "such packet")
        lost = traced(on_entry_node(), target_veth=NOISE)
        assert_broken(nodeport.dnat_and_forward(lost, INTENT), "it took another way")

    def test_refused(self) -> None:
        assert_held(nodeport.dnat_and_forward(refused(), INTENT))
        assert_broken(nodeport.dnat_and_forward(local_only(), INTENT), "such packets")

    def test_unread(self) -> None:
        assert_inconclusive(nodeport.dnat_and_forward(blind("entry-uplink"), INTENT))
        lab = replace(scenes.nodeport(), service=failed("kubectl"))
        assert_inconclusive(nodeport.dnat_and_forward(lab, INTENT))


class TestMasqueraded:
    def test_not_masqueraded(self) -> None:
        lab = traced(entry_uplink=conversation(ARRIVAL, KEPT))
        assert_broken(
            nodeport.masqueraded(lab, INTENT), f"inner source {MASTER} instead of {TUNL['k8s-node2']}"
        )

    def test_with_another_address_of_the_node(self) -> None:
        lab = traced(entry_uplink=conversation(ARRIVAL, replace(ONWARD, src=(NODE2, 43371))))
        assert_broken(nodeport.masqueraded(lab, INTENT), f"inner source {NODE2}")

    def test_without_a_tunnel_the_uplinks_address(self) -> None:
        lab = traced(entry_uplink=conversation(ARRIVAL, Leg((NODE2, 43371), (DEST_IP, 8080), 63)))
        assert_held(nodeport.masqueraded(lab, Intent(encapsulation="none")))

    def test_on_the_entry_node_any_of_its_own(self) -> None:
        assert_held(nodeport.masqueraded(on_entry_node(), INTENT))
        kept = conversation(Leg((MASTER, 43758), (DEST_IP, 8080), 63))
        assert_broken(nodeport.masqueraded(traced(on_entry_node(), target_veth=kept), INTENT), MASTER)

    def test_a_local_policy_keeps_the_client(self) -> None:
        kept = conversation(Leg((MASTER, 43758), (DEST_IP, 8080), 63))
        assert_held(nodeport.masqueraded(local_only(traced(on_entry_node(), target_veth=kept)), INTENT))
        assert_broken(nodeport.masqueraded(local_only(on_entry_node()), INTENT), TUNL["k8s-node2"])

    def test_refused(self) -> None:
        assert_held(nodeport.masqueraded(refused(), INTENT))

    def test_unread(self) -> None:
        assert_inconclusive(nodeport.masqueraded(blind("entry-uplink"), INTENT))
        bare = with_request(entry=replace(scenes.node2(), interfaces=failed()))
        assert_inconclusive(nodeport.masqueraded(bare, INTENT))


class TestAnswersFromNode2:
    def test_from_the_pod_itself(self) -> None:
        lab = traced(client_uplink=conversation(replace(ARRIVAL, answer_from=(DEST_IP, 8080))))
        assert_broken(nodeport.answers_from_node2(lab, INTENT), f"source {DEST_IP} instead of {NODE2}")

    def test_no_answer(self) -> None:
        lab = traced(client_uplink=only_syns(ARRIVAL))
        for point in ("entry-uplink", "target-uplink", "target-veth"):
            lab = with_request(lab, points=with_point(lab.request, point, NOISE).points)
        lab = replace(lab, request=silent(lab.request))
        assert_broken(nodeport.answers_from_node2(lab, INTENT), "but no answer")

    def test_refused(self) -> None:
        assert_held(nodeport.answers_from_node2(refused(), INTENT))
        assert_broken(nodeport.answers_from_node2(local_only(), INTENT), "k8s-node2: HTTP 200")

    def test_unread(self) -> None:
        assert_inconclusive(nodeport.answers_from_node2(blind("client-uplink"), INTENT))


class TestEveryNode:
    def without(self, number: int, status: int = 0, lab: NodePortLab | None = None) -> NodePortLab:
        lab = lab or scenes.nodeport()
        requests = list(lab.every_node)
        node, request = requests[number]
        exchange = replace(scenes.unanswered("http://x:31080/", "curl: (7) refused"), status=status)
        requests[number] = (node, replace(request, answer=ok(exchange, "curl", "k8s-master")))
        return replace(lab, every_node=tuple(requests))

    def test_one_node_is_silent(self) -> None:
        assert_broken(
            nodeport.every_node(self.without(1), INTENT), "k8s-node1: no answer (curl: (7) refused)"
        )
        assert_broken(nodeport.every_node(self.without(0, 503), INTENT), "k8s-master: HTTP 503")

    def test_a_stranger_answers(self) -> None:
        lab = scenes.nodeport()
        node, request = lab.every_node[1]
        stranger = replace(request, answer=ok(replace(request.answer.get(), body=b"hello"), "curl"))
        others = (lab.every_node[0], (node, stranger), *lab.every_node[2:])
        verdict = nodeport.every_node(replace(lab, every_node=others), INTENT)
        assert_broken(verdict, "k8s-node1: HTTP 200, 'hello', which names no pod behind the service")

    def test_nobody_knows_who_should_answer(self) -> None:
        lab = scenes.nodeport()
        assert_inconclusive(nodeport.every_node(replace(lab, endpoints=ok(())), INTENT), "names a pod")
        assert_inconclusive(nodeport.every_node(replace(lab, endpoints=failed()), INTENT))

    def test_with_a_local_policy_only_nodes_with_an_endpoint_answer(self) -> None:
        lab = self.without(0, lab=self.without(2, lab=local_only()))
        assert_held(nodeport.every_node(lab, INTENT))
        assert_broken(nodeport.every_node(local_only(), INTENT), "k8s-master: HTTP 200")
        assert_broken(nodeport.every_node(self.without(1, lab=lab), INTENT), "k8s-node1")

    def test_unread(self) -> None:
        lab = scenes.nodeport()
        assert_inconclusive(
            nodeport.every_node(replace(lab, every_node=lab.every_node[:2]), INTENT), "k8s-node2"
        )
        assert_inconclusive(nodeport.every_node(replace(lab, every_node=(), nodes=()), INTENT), "any node")
        node, request = lab.every_node[0]
        unread = (node, replace(request, answer=failed("curl")))
        assert_inconclusive(
            nodeport.every_node(replace(lab, every_node=(unread, *lab.every_node[1:])), INTENT)
        )


class TestRulesConntrackWire:
    MARK = "-m tcp --dport 31080 -j KUBE-MARK-MASQ"

    def test_no_rules_for_the_port(self) -> None:
        verdict = nodeport.rules_conntrack_wire(nat("--dport 31080", "--dport 31081"), INTENT)
        assert_broken(verdict, "policy ACCEPT", f"{SVC_NODEPORT} was never entered")

    def test_to_another_pod(self) -> None:
        old = (
            f'-A {SEP_NODEPORT} -p tcp -m comment --comment "default/svc-nodeport" -m tcp -j DNAT '
            f"--to-destination {DEST_IP}"
        )
        lab = nat(old, f"-A {SEP_NODEPORT} -p tcp -j DNAT --to-destination {PAUSE_IP}")
        assert_broken(
            nodeport.rules_conntrack_wire(lab, INTENT), f"{PAUSE_IP}:8080, which is no ready endpoint"
        )

    def test_conntrack_names_another(self) -> None:
        entry = tracked((MASTER, 43758, NODE2, NODE_PORT), (PAUSE_IP, 8080, TUNL["k8s-node2"], 43371))
        lab = with_request(connections=listed(entry))
        assert_broken(nodeport.rules_conntrack_wire(lab, INTENT), f"conntrack {PAUSE_IP}:8080")

    def test_marked_but_not_masqueraded(self) -> None:
        entry = tracked((MASTER, 43758, NODE2, NODE_PORT), (DEST_IP, 8080, MASTER, 43758))
        lab = traced(
            nat('-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING', ""),
            entry_uplink=conversation(ARRIVAL, KEPT),
        )
        verdict = nodeport.rules_conntrack_wire(with_request(lab, connections=listed(entry)), INTENT)
        assert_broken(verdict, "rules mark it for masquerading", "no rule in POSTROUTING masquerades it")

    def test_masquerading_rules_that_did_not_act(self) -> None:
        entry = tracked((MASTER, 43758, NODE2, NODE_PORT), (DEST_IP, 8080, MASTER, 43758))
        lab = with_request(traced(entry_uplink=conversation(ARRIVAL, KEPT)), connections=listed(entry))
        verdict = nodeport.rules_conntrack_wire(lab, INTENT)
        assert_broken(verdict, "rules mark it for masquerading")
        assert "no rule in POSTROUTING" not in verdict.seen

    def test_unmarked_and_unmasqueraded_agree(self) -> None:
        entry = tracked((MASTER, 43758, NODE2, NODE_PORT), (DEST_IP, 8080, MASTER, 43758))
        lab = traced(
            nat(self.MARK, "-m tcp --dport 31080 -j RETURN"), entry_uplink=conversation(ARRIVAL, KEPT)
        )
        lab = with_request(
            lab, entry=nat(self.MARK, "-m tcp --dport 31080").request.entry, connections=listed(entry)
        )
        verdict = nodeport.rules_conntrack_wire(lab, INTENT)
        assert_held(verdict)
        assert "do not mark it" in verdict.seen

    def test_conntrack_and_wire_name_another_source(self) -> None:
        entry = tracked((MASTER, 43758, NODE2, NODE_PORT), (DEST_IP, 8080, NODE2, 43371))
        verdict = nodeport.rules_conntrack_wire(with_request(connections=listed(entry)), INTENT)
        assert_broken(verdict, f"conntrack expects the answer at {NODE2}", TUNL["k8s-node2"])

    def test_refused(self) -> None:
        dropped = (
            f'-A {SVC_NODEPORT} -j DROP\n-A {SVC_NODEPORT} -m comment --comment "default/svc-nodeport" -j'
        )
        rules = nat(f'-A {SVC_NODEPORT} -m comment --comment "default/svc-nodeport" -j', dropped)
        lab = with_request(refused(), entry=rules.request.entry)
        assert_held(nodeport.rules_conntrack_wire(lab, INTENT))
        assert_broken(nodeport.rules_conntrack_wire(refused(), INTENT), "the rules end in DNAT")

    @pytest.mark.parametrize(
        ("filtering", "outcome", "words"),
        [
            # since 1.22: table filter drops it, table nat lets it pass
            ("-A KUBE-EXTERNAL-SERVICES -p tcp -m tcp --dport 31080 -j DROP", "held", "goes no further"),
            ("-A KUBE-EXTERNAL-SERVICES -p udp -j DROP", "broken", "policy ACCEPT"),
            ("-A KUBE-EXTERNAL-SERVICES -p tcp -m recent --rcheck -j DROP", "inconclusive", "table filter"),
        ],
    )
    def test_refused_by_table_filter(self, filtering: str, outcome: str, words: str) -> None:
        chains = ":INPUT ACCEPT [0:0]\n:KUBE-EXTERNAL-SERVICES - [0:0]\n-A INPUT -j KUBE-EXTERNAL-SERVICES"
        gone = NAT.replace("--dport 31080", "--dport 31081").strip()
        nat_table = "\n".join(f"{x} [0:0]" if x.startswith(":") else x for x in gone.splitlines())
        text = f"*nat\n{nat_table}\nCOMMIT\n*filter\n{chains}\n{filtering}\nCOMMIT\n"
        rules = ok(parse_iptables_save(text), "iptables-save")
        lab = with_request(refused(), entry=replace(scenes.node2(), rules=rules))
        verdict = nodeport.rules_conntrack_wire(lab, INTENT)
        assert verdict.outcome.value == outcome
        assert words in verdict.seen

    def test_unread(self) -> None:
        for changes in (
            {"connections": failed()},
            {"entry": replace(scenes.node2(), rules=failed())},
            {"points": with_point(scenes.nodeport().request, "client-uplink", dropped=1).points[:1]},
        ):
            assert_inconclusive(nodeport.rules_conntrack_wire(with_request(**changes), INTENT))
        unknown = nat("--dst-type LOCAL", "--dst-type UNICAST")
        assert_inconclusive(nodeport.rules_conntrack_wire(unknown, INTENT), "UNICAST")
        lab = replace(scenes.nodeport(), endpoints=failed())
        assert_inconclusive(nodeport.rules_conntrack_wire(lab, INTENT))


class TestANodeThatCanNotBeSeen:
    """node1 went away: nothing is sent on to it, because nobody answers for its address."""

    def gone(self, *legs: Leg) -> NodePortLab:
        """Only the client's SYNs, in every leg's form, on node2's uplink; node1's captures failed."""
        lab = traced(client_uplink=only_syns(ARRIVAL), entry_uplink=only_syns(*legs))
        request = silent(
            with_point(with_point(lab.request, "target-uplink", run=failed()), "target-veth", run=failed())
        )
        return replace(lab, request=request)

    @pytest.mark.parametrize("claim", [nodeport.masqueraded, nodeport.dnat_and_forward])
    def test_what_was_not_sent_on_tells_nothing(self, claim: Any) -> None:
        assert_inconclusive(claim(self.gone(ARRIVAL), INTENT), "could not be observed")

    @pytest.mark.parametrize("claim", [nodeport.masqueraded, nodeport.dnat_and_forward])
    def test_a_wrong_form_is_wrong_all_the_same(self, claim: Any) -> None:
        bare = Leg((MASTER, 43758), (DEST_IP, 8080), 63, 63)
        assert_broken(claim(self.gone(ARRIVAL, bare), INTENT), DEST_IP)

    @pytest.mark.parametrize("claim", [nodeport.masqueraded, nodeport.dnat_and_forward])
    def test_where_node1_is_seen_it_is_broken(self, claim: Any) -> None:
        lab = traced(
            client_uplink=only_syns(ARRIVAL),
            entry_uplink=only_syns(ARRIVAL),
            target_uplink=(),
            target_veth=(),
        )
        assert_broken(claim(replace(lab, request=silent(lab.request)), INTENT))

    def test_an_answer_that_it_could_not_give_is_missing_for_that(self) -> None:
        assert_inconclusive(nodeport.answers_from_node2(self.gone(ARRIVAL), INTENT), "was not captured")


class TestALocalPolicyAndANodeThatCanNotBeSeen:
    """Silence is what the policy wants of a node without an endpoint, if the node is there at all."""

    def test_a_node_that_is_down(self) -> None:
        lab = local_only()
        silent_node2 = ok(scenes.unanswered("http://192.168.219.23:31080/hostname"), "curl", "k8s-master")
        down = replace(scenes.master(), interfaces=failed(node="k8s-master"))
        answer = ok(scenes.unanswered("http://192.168.219.21:31080/hostname"), "curl", "k8s-master")
        asked = tuple(
            (down, replace(request, answer=answer))
            if node.name == down.name
            else (node, replace(request, answer=silent_node2) if node.role == "node2" else request)
            for node, request in lab.every_node
        )
        assert_inconclusive(nodeport.every_node(replace(lab, every_node=asked), INTENT), "can't be observed")

    def test_a_request_that_never_came(self) -> None:
        lab = refused()
        lost = replace(lab, request=with_point(lab.request, "entry-uplink", NOISE))
        verdict = nodeport.answers_from_node2(lost, INTENT)
        assert not verdict.held
        assert_held(nodeport.answers_from_node2(lab, INTENT))
