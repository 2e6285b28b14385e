"""Labs 3 and 4 where kube-proxy runs in mode nftables or ipvs: what holds, what breaks, and its cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pytest_k8snet.claims import clusterip, nodeport
from pytest_k8snet.claims.causes import nodeports
from pytest_k8snet.evidence.conntrack import Connection
from pytest_k8snet.evidence.ipsets import IPSet
from pytest_k8snet.evidence.ipvs import RealServer, VirtualServer
from pytest_k8snet.evidence.nftables import NftTable, parse_table
from pytest_k8snet.evidence.nftexpr import Concat, Translation, Verdict
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.sockets import Listener
from pytest_k8snet.intent import Intent
from tests.claims import modes, scenes
from tests.claims.judge import assert_broken, assert_held, assert_inconclusive
from tests.claims.modes import Change
from tests.claims.scenes import (
    ARRIVAL,
    DEST_IP,
    MASTER,
    NODE2,
    NODE_PORT,
    NOISE,
    PAUSE_IP,
    SRC_IP,
    VIP,
    Leg,
    conversation,
    failed,
    listed,
    ok,
    only_syns,
    tracked,
    with_point,
    wrapped,
)
from tests.evidence.samples import sample

INTENTS: Mapping[str, Intent] = {mode: Intent(proxy_mode=mode) for mode in modes.MODES}
BOTH = pytest.mark.parametrize("mode", list(modes.MODES))
NFT, IPVS = INTENTS["nftables"], INTENTS["ipvs"]
KEPT = wrapped(Leg((MASTER, 43758), (DEST_IP, 8080), 63, 63))


def with_table(change: Callable[[NftTable], NftTable]) -> Change:
    return lambda node: replace(node, nftables=replace(node.nftables, value=change(node.nftables.get())))


def edited(old: str, new: str) -> Change:
    """The node's table with one text for another in its JSON."""
    text = sample("nft-kube-proxy-1.33.json")
    assert old in text
    return with_table(lambda _: parse_table(text.replace(old, new)))


def without(map_name: str) -> Change:
    return with_table(lambda table: replace(table, maps={**table.maps, map_name: ()}))


def with_servers(change: Callable[[VirtualServer], VirtualServer | None]) -> Change:
    def changed(node: NodeEvidence) -> NodeEvidence:
        servers = tuple(filter(None, map(change, node.ipvs.get())))
        return replace(node, ipvs=replace(node.ipvs, value=servers))

    return changed


def to(*real: tuple[str, int]) -> Change:
    """Every virtual server of the node leads there."""
    servers = tuple(RealServer(ip_address(ip), port, 1, "Masq") for ip, port in real)
    return with_servers(lambda server: replace(server, servers=servers))


def unmarked(node: NodeEvidence) -> NodeEvidence:
    empty = {**modes.sets(), "KUBE-NODE-PORT-TCP": IPSet("KUBE-NODE-PORT-TCP", "bitmap:port")}
    return replace(node, ipsets=ok(empty, "ipset save", node.name))


def no_ipset(node: NodeEvidence) -> NodeEvidence:
    servers = tuple(server for server in node.ipvs.get() if server.ip is not None)
    unread = failed("ipset save", node.name)
    return replace(node, ipsets=unread, ipvs=replace(node.ipvs, value=servers))


@BOTH
class TestHealthy:
    def test_clusterip(self, mode: str) -> None:
        lab = modes.clusterip(mode)
        for claim in (
            clusterip.vip_on_source_veth,
            clusterip.dnat_before_uplink,
            clusterip.rules_lead_to_pod,
            clusterip.conntrack_agrees,
            clusterip.reply_from_vip,
        ):
            assert_held(claim(lab, INTENTS[mode]))

    def test_nodeport(self, mode: str) -> None:
        lab = modes.nodeport(mode)
        for claim in (
            nodeport.kube_proxy_listens,
            nodeport.arrives_plain,
            nodeport.dnat_and_forward,
            nodeport.masqueraded,
            nodeport.answers_from_node2,
            nodeport.every_node,
            nodeport.rules_conntrack_wire,
        ):
            assert_held(claim(lab, INTENTS[mode]))

    def test_a_stranger_holds_the_port(self, mode: str) -> None:
        nginx = Listener(ip_address("0.0.0.0"), NODE_PORT, (("nginx", 9),))
        lab = modes.nodeport(mode, lambda node: replace(node, listeners=ok((nginx,), "ss", node.name)))
        verdict = nodeport.kube_proxy_listens(lab, INTENTS[mode])
        assert_broken(verdict, "held by nginx")
        assert verdict.diagnosis == "port-held-by-other"

    def test_unread(self, mode: str) -> None:
        unread = failed("nft" if mode == "nftables" else "ipvsadm -Ln")
        lab = modes.nodeport(mode, lambda node: replace(node, nftables=unread, ipvs=unread))
        assert_inconclusive(nodeport.kube_proxy_listens(lab, INTENTS[mode]), "command not found")
        assert_inconclusive(nodeport.rules_conntrack_wire(lab, INTENTS[mode]), "command not found")

    def test_a_wrong_listing_of_conntrack(self, mode: str) -> None:
        elsewhere = tracked((SRC_IP, 54176, VIP, 8080), (PAUSE_IP, 8080, SRC_IP, 54176))
        lab = modes.clusterip(mode)
        lab = replace(lab, request=replace(lab.request, connections=listed(elsewhere)))
        assert_broken(clusterip.rules_lead_to_pod(lab, INTENTS[mode]), f"conntrack {PAUSE_IP}:8080")


def test_which_rules_were_walked_is_said() -> None:
    by_chain = clusterip.rules_lead_to_pod(modes.clusterip("nftables"), NFT)
    assert "service-AN67UBCH-default/svc-clusterip/tcp/ -> " in by_chain.seen
    assert "read from table ip kube-proxy" in by_chain.seen
    assert "nft -j list table ip kube-proxy" in by_chain.command
    by_server = clusterip.rules_lead_to_pod(modes.clusterip("ipvs"), IPVS)
    assert f"TCP {VIP}:8080 -> {DEST_IP}:8080 (100.0%); read from ip_vs" in by_server.seen
    assert "map service-nodeports" not in by_server.seen
    claimed = nodeport.kube_proxy_listens(modes.nodeport("nftables"), NFT)
    assert "vmap @service-nodeports -> goto external-SE5QIALI-default/svc-nodeport/tcp/" in claimed.seen
    server = nodeport.kube_proxy_listens(modes.nodeport("ipvs"), IPVS)
    assert f"ip_vs TCP {NODE2}:31080 rr; KUBE-NODE-PORT-TCP holds it" in server.seen


def lost(mode: str, change: Change) -> Any:
    """A request to the ClusterIP that node2 does not translate: nothing answers."""
    lab = modes.clusterip(mode, change)
    request = lab.request
    veth = Leg((SRC_IP, 54176), (VIP, 8080))
    for point, packets in (
        ("source-veth", only_syns(veth)),
        ("source-uplink", NOISE),
        ("target-uplink", NOISE),
        ("target-veth", ()),
    ):
        request = with_point(request, point, packets)
    silent = ok(scenes.unanswered(f"http://{VIP}:8080/"), "curl", "pod-src")
    plain = listed(tracked((SRC_IP, 54176, VIP, 8080), (VIP, 8080, SRC_IP, 54176)))
    return replace(lab, request=replace(request, answer=silent, connections=plain))


CHAIN = "service-AN67UBCH-default/svc-clusterip/tcp/"


@pytest.mark.parametrize(
    ("mode", "change", "seen", "diagnosis", "cause"),
    [
        (
            "nftables",
            edited(f'"goto": {{"target": "{CHAIN}"}}', '"return": null'),
            f"the rules end in REJECT; {CHAIN} was never entered",
            "no-service-rules",
            f"no element of map service-ips of k8s-node2's table ip kube-proxy leads to {CHAIN}",
        ),
        (
            "nftables",
            edited(f'"addr": "{DEST_IP}"', '"addr": "20.111.156.99"'),
            "the rules lead to 20.111.156.99:8080, which is no ready endpoint of default/svc-clusterip",
            "rules-lead-elsewhere",
            "k8s-node2's rules of svc-clusterip lead to 20.111.156.99:8080",
        ),
        (
            "nftables",
            with_table(
                lambda table: replace(
                    table,
                    chains={
                        **table.chains,
                        "nat-prerouting": replace(
                            table.chains["nat-prerouting"],
                            rules=(
                                replace(
                                    table.chains["nat-prerouting"].rules[0],
                                    statements=(Translation("dnat", DEST_IP, 8080),),
                                ),
                            ),
                        ),
                    },
                )
            ),
            f"another rule translates it first: {CHAIN} was never entered",
            "rules-shadowed",
            f"k8s-node2 translates it by `nat-prerouting: dnat to {DEST_IP}:8080`, before {CHAIN}",
        ),
        (
            "nftables",
            with_table(
                lambda table: replace(
                    table, chains={**table.chains, CHAIN: replace(table.chains[CHAIN], rules=())}
                )
            ),
            f"the rules end in REJECT; {CHAIN} was entered",
            "rules-translate-nothing",
            "k8s-node2's rules of svc-clusterip end in REJECT, and translate nothing",
        ),
        (
            "ipvs",
            with_servers(lambda server: None if str(server.ip) == VIP else server),
            f"ip_vs has no virtual server TCP {VIP}:8080; TCP {VIP}:8080 was never entered",
            "no-service-rules",
            f"k8s-node2's ip_vs has no virtual server TCP {VIP}:8080 of default/svc-clusterip",
        ),
        (
            "ipvs",
            lambda node: replace(node, interfaces=scenes.node2().interfaces),
            f"FORWARD: no interface of the node holds {VIP}",
            "no-service-rules",
            f"holds the address of TCP {VIP}:8080 of default/svc-clusterip (kube-ipvs0 must)",
        ),
        (
            "ipvs",
            to((PAUSE_IP, 8080)),
            f"the rules lead to {PAUSE_IP}:8080, which is no ready endpoint",
            "rules-lead-elsewhere",
            f"k8s-node2's rules of svc-clusterip lead to {PAUSE_IP}:8080",
        ),
        (
            "ipvs",
            to(),
            f"has no real server with a weight; TCP {VIP}:8080 was entered",
            "rules-translate-nothing",
            "has no real server with a weight, and translate nothing",
        ),
    ],
)
def test_clusterip_rules_that_are_wrong(
    mode: str, change: Change, seen: str, diagnosis: str, cause: str
) -> None:
    verdict = clusterip.rules_lead_to_pod(lost(mode, change), INTENTS[mode])
    assert_broken(verdict, seen)
    assert verdict.diagnosis == diagnosis
    assert cause in verdict.cause


def test_a_chain_that_is_gone_leaves_the_walk_unknown_where_a_map_leads_to_it() -> None:
    """nft lets no chain go that a map leads to; a listing that says so is not to be trusted."""
    chains = with_table(
        lambda table: replace(table, chains={n: c for n, c in table.chains.items() if n != CHAIN})
    )
    verdict = clusterip.rules_lead_to_pod(lost("nftables", chains), NFT)
    assert_inconclusive(verdict, f"chain {CHAIN} is not in the listing")

    def gone(table: NftTable) -> NftTable:
        elements = tuple(each for each in table.maps["service-ips"] if each[1] != Verdict("goto", CHAIN))
        kept = {n: c for n, c in table.chains.items() if n != CHAIN}
        return replace(table, chains=kept, maps={**table.maps, "service-ips": elements})

    verdict = clusterip.rules_lead_to_pod(lost("nftables", with_table(gone)), NFT)
    assert verdict.cause == f"k8s-node2's table ip kube-proxy has no chain {CHAIN} of default/svc-clusterip"


def test_two_endpoints_share_the_connections() -> None:
    many = to((DEST_IP, 8080), (PAUSE_IP, 8080))
    lab = modes.clusterip("ipvs", many)
    two = (scenes.endpoint("svc-clusterip"), scenes.endpoint("svc-clusterip", PAUSE_IP))
    lab = replace(lab, endpoints=ok(two, "kubectl get endpointslices -o json", ""))
    verdict = clusterip.rules_lead_to_pod(lab, IPVS)
    assert_held(verdict)
    assert "(50.0%)" in verdict.seen


def test_an_unknown_statement_is_inconclusive() -> None:
    old = '{"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"|"'
    lab = modes.nodeport("nftables", edited(old, '{"tproxy": {"port": 1}}, ' + old))
    assert_inconclusive(nodeport.rules_conntrack_wire(lab, NFT), "mark-for-masquerade", "tproxy")
    lab = modes.nodeport("nftables", edited('"vmap": {"key"', '"tproxy": {"key"'))
    assert_inconclusive(nodeport.kube_proxy_listens(lab, NFT), "firewall-check", "tproxy")


@pytest.mark.parametrize(
    ("mode", "change", "why"),
    [
        ("nftables", without("service-nodeports"), "map service-nodeports has no element tcp . 31080"),
        (
            "nftables",
            edited(f'"elem": ["{NODE2}"]', '"elem": ["10.0.2.15"]'),
            f"NodePorts are taken on 10.0.2.15 (kube-proxy's nodePortAddresses), not on {NODE2}",
        ),
        (
            "nftables",
            with_table(lambda table: replace(table, sets={**table.sets, "nodeport-ips": ()})),
            f"NodePorts are taken on no address (kube-proxy's nodePortAddresses), not on {NODE2}",
        ),
        (
            "ipvs",
            with_servers(lambda server: None if server.port == NODE_PORT else server),
            f"ip_vs has no virtual server TCP {NODE2}:31080",
        ),
        ("ipvs", unmarked, "the set KUBE-NODE-PORT-TCP lacks 31080"),
    ],
)
def test_a_nodeport_that_no_rule_claims(mode: str, change: Change, why: str) -> None:
    verdict = nodeport.kube_proxy_listens(modes.nodeport(mode, change), INTENTS[mode])
    assert_broken(verdict, f"k8s-node2: no socket, and {why}")
    assert (verdict.diagnosis, verdict.cause) == ("nodeport-rules-missing", f"{why} on k8s-node2")


def test_two_nodes_that_lack_different_things() -> None:
    lab = modes.nodeport("nftables", without("service-nodeports"))
    first = edited(f'"elem": ["{NODE2}"]', '"elem": ["10.0.2.15"]')(lab.nodes[0])
    lab = replace(lab, nodes=(first, *lab.nodes[1:]))
    cause = nodeport.kube_proxy_listens(lab, NFT).cause
    assert f"not on {MASTER} on k8s-master; map service-nodeports has no element" in cause
    assert "k8s-node1" not in cause


def test_a_node_that_was_not_read_lacks_nothing() -> None:
    node = modes.nftables(scenes.node1())
    lab = modes.nodeport("nftables", without("service-nodeports"))
    lab = replace(lab, nodes=(lab.nodes[0], replace(node, nftables=failed("nft")), lab.nodes[2]))
    cause = nodeports.nodeport_rules_missing.found(lab, NFT)
    assert cause == "map service-nodeports has no element tcp . 31080 on k8s-node2"


@pytest.mark.parametrize(
    ("mode", "change", "cause"),
    [
        ("nftables", without("service-nodeports"), "has no element tcp . 31080 for service-SE5QIALI"),
        (
            "ipvs",
            with_servers(lambda server: None if server.port == NODE_PORT else server),
            "no virtual server on port 31080",
        ),
    ],
)
def test_a_nodeport_that_is_not_translated(mode: str, change: Change, cause: str) -> None:
    lab = modes.nodeport(mode, change)
    request = with_point(lab.request, "entry-uplink", only_syns(ARRIVAL))
    for point in ("target-uplink", "target-veth"):
        request = with_point(request, point, NOISE)
    verdict = nodeport.rules_conntrack_wire(replace(lab, request=request), INTENTS[mode])
    assert_broken(verdict, "was never entered")
    assert verdict.diagnosis == "no-service-rules"
    assert cause in verdict.cause


def every_node(mode: str, change: Change) -> Any:
    lab = modes.nodeport(mode, change)
    node, request = lab.every_node[2]
    silent = ok(scenes.unanswered(f"http://{NODE2}:31080/", "curl: (7) refused"), "curl", "k8s-master")
    every = (*lab.every_node[:2], (node, replace(request, answer=silent)))
    return nodeport.every_node(replace(lab, every_node=every), INTENTS[mode])


def test_nftables_answers_on_the_nodes_primary_address() -> None:
    verdict = every_node("nftables", edited(f'"elem": ["{NODE2}"]', '"elem": ["10.0.2.15"]'))
    assert_broken(verdict, "k8s-node2: no answer")
    assert verdict.diagnosis == "nodeport-rules-missing"
    assert "NodePorts are taken on 10.0.2.15 (kube-proxy's nodePortAddresses)" in verdict.cause


def test_without_the_set_every_address_takes_nodeports() -> None:
    """kube-proxy's nodePortAddresses 0.0.0.0/0: rules ask "fib daddr type local", the set is deleted."""
    every = with_table(
        lambda _: parse_table(sample("nft-kube-proxy-1.29.json").replace('"nodeport-ips"', '"unused"'))
    )
    verdict = every_node("nftables", every)
    assert_broken(verdict, "k8s-node2: no answer")
    assert verdict.diagnosis != "nodeport-rules-missing"
    assert_held(nodeport.kube_proxy_listens(modes.nodeport("nftables", every), NFT))


class TestMasquerading:
    def kept(self, mode: str, change: Change) -> Any:
        """The client's own address goes on behind node2."""
        entry = tracked((MASTER, 43758, NODE2, NODE_PORT), (DEST_IP, 8080, MASTER, 43758))
        lab = modes.nodeport(mode, change, connections=listed(entry))
        return replace(lab, request=with_point(lab.request, "entry-uplink", conversation(ARRIVAL, KEPT)))

    @pytest.mark.parametrize(
        ("mode", "change"),
        [
            ("nftables", edited('{"jump": {"target": "mark-for-masquerade"}}', '{"counter": null}')),
            ("ipvs", unmarked),
        ],
    )
    def test_nothing_marks(self, mode: str, change: Change) -> None:
        lab = self.kept(mode, change)
        verdict = nodeport.masqueraded(lab, INTENTS[mode])
        assert_broken(verdict, MASTER)
        assert verdict.diagnosis == "masquerade-missing"
        assert "no rule marks it for masquerading" in verdict.cause
        agree = nodeport.rules_conntrack_wire(lab, INTENTS[mode])
        assert_held(agree)
        assert "do not mark it" in agree.seen

    @pytest.mark.parametrize(
        ("mode", "change"),
        [
            ("nftables", edited('{"masquerade": {"flags": "fully-random"}}', '{"counter": null}')),
            (
                "ipvs",
                lambda node: replace(
                    node,
                    rules=node.rules.map(
                        lambda rules: replace(
                            rules,
                            tables={
                                "nat": {
                                    **rules.tables["nat"],
                                    "KUBE-POSTROUTING": replace(
                                        rules.tables["nat"]["KUBE-POSTROUTING"], rules=()
                                    ),
                                }
                            },
                        )
                    ),
                ),
            ),
        ],
    )
    def test_what_is_marked_is_not_masqueraded(self, mode: str, change: Change) -> None:
        verdict = nodeport.rules_conntrack_wire(self.kept(mode, change), INTENTS[mode])
        assert_broken(verdict, "rules mark it for masquerading", "no rule in POSTROUTING masquerades it")
        assert verdict.diagnosis == "masquerade-missing"

    def test_without_ipset_the_endpoint_is_judged_and_the_mark_is_not(self) -> None:
        lab = modes.nodeport("ipvs", no_ipset)
        verdict = nodeport.rules_conntrack_wire(lab, IPVS)
        assert_inconclusive(verdict, "mark it or not: not known", "command not found")
        assert verdict.advice == "install it"
        assert_inconclusive(nodeport.kube_proxy_listens(lab, IPVS), "command not found")
        assert_held(clusterip.rules_lead_to_pod(modes.clusterip("ipvs", no_ipset), IPVS))
        assert_held(nodeport.masqueraded(lab, IPVS))
        broken = nodeport.masqueraded(self.kept("ipvs", no_ipset), IPVS)
        assert_broken(broken, MASTER)
        assert broken.diagnosis != "masquerade-missing"
        disagree = nodeport.rules_conntrack_wire(self.kept("ipvs", no_ipset), IPVS)
        assert_inconclusive(disagree, "not known")


class TestConntrackOfIpvs:
    HINT = "ip_vs tells conntrack only with net.ipv4.vs.conntrack = 1, which kube-proxy sets"

    def judge(self, *entries: Any, setting: Any = None) -> Any:
        lab = modes.clusterip("ipvs", lambda node: replace(node, ipvs_conntrack=setting) if setting else node)
        nothing: Reading[tuple[Connection, ...]] = ok((), "conntrack -L")
        connections = listed(*entries) if entries else nothing
        lab = replace(lab, request=replace(lab.request, connections=connections))
        return clusterip.conntrack_agrees(lab, IPVS)

    def test_an_entry_without_the_translation(self) -> None:
        plain = tracked((SRC_IP, 54176, VIP, 8080), (VIP, 8080, SRC_IP, 54176))
        verdict = self.judge(plain, setting=ok(False, "cat"))
        assert_broken(verdict, "it was not translated")
        assert f"{self.HINT}, and is 0 here" in verdict.advice

    def test_no_entry(self) -> None:
        verdict = self.judge(scenes.OTHER_CONNECTION)
        assert_broken(verdict, "no such entry")
        assert f"{self.HINT}, and is 1 here" in verdict.advice

    def test_nothing_listed(self) -> None:
        verdict = self.judge(setting=failed("cat"))
        assert_inconclusive(verdict, "conntrack lists no connection")
        assert verdict.advice.endswith(self.HINT)

    def test_other_modes_have_no_such_setting(self) -> None:
        lab = modes.clusterip("nftables")
        lab = replace(lab, request=replace(lab.request, connections=ok((), "conntrack -L")))
        assert "ip_vs" not in clusterip.conntrack_agrees(lab, NFT).advice


class TestRefused:
    """externalTrafficPolicy Local, and node2 runs no endpoint: its rules must drop the request."""

    def judge(self, mode: str, change: Change) -> Any:
        lab = modes.nodeport(mode, change)
        local = scenes.service("svc-nodeport", "NodePort", external_traffic_policy="Local")
        lab = replace(lab, service=ok(local, "kubectl get services -o json", ""))
        return nodeport.rules_conntrack_wire(lab, INTENTS[mode])

    def test_nftables(self) -> None:
        def local(table: NftTable) -> NftTable:
            chain = "external-SE5QIALI-default/svc-nodeport/tcp/"
            drop = (Concat(("tcp", 31080)), Verdict("drop"))
            return replace(
                table,
                chains={**table.chains, chain: replace(table.chains[chain], rules=())},
                maps={**table.maps, "no-endpoint-nodeports": (drop,)},
            )

        verdict = self.judge("nftables", with_table(local))
        assert_held(verdict)
        assert "the rules end in DROP" in verdict.seen

    def test_ipvs(self) -> None:
        assert_held(self.judge("ipvs", to()))

    @BOTH
    def test_forwarded_all_the_same(self, mode: str) -> None:
        assert_broken(self.judge(mode, lambda node: node), "the rules end in DNAT")

    def test_nothing_drops_it(self) -> None:
        assert_broken(self.judge("nftables", without("service-nodeports")), "the rules end in policy ACCEPT")


def test_a_table_of_the_other_family() -> None:
    other = with_table(lambda _: parse_table(sample("nft-kube-proxy-1.33-ip6.json")))
    verdict = clusterip.rules_lead_to_pod(modes.clusterip("nftables", other), NFT)
    assert_inconclusive(verdict, f"table ip6 kube-proxy is not asked about {VIP}")
