"""A packet's way through kube-proxy's nftables table, and through twins of it that are broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.nftwalk import chain_base, walk
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.nftables import NftTable, parse_table
from tests.claims.scenes import DEST_IP, MASTER, NODE2, SRC_IP
from tests.evidence.samples import sample

VIP = "10.107.94.97"
POD = (ip_address(DEST_IP), 8080)
TO_VIP = NewConnection(ip_address(SRC_IP), ip_address(VIP), 54176, 8080, in_interface="calia5814ebbae9")
TO_NODE = NewConnection(
    ip_address(MASTER), ip_address(NODE2), 43758, 31080, in_interface="eth1", dst_local=True
)
VERSIONS = ["1.29", "1.33"]
CLUSTERIP, NODEPORT = chain_base("default", "svc-clusterip"), chain_base("default", "svc-nodeport")
MARK = {"meta": {"key": "mark"}}
Entries = list[dict[str, Any]]


@cache
def recorded(version: str = "1.33") -> NftTable:
    return parse_table(sample(f"nft-kube-proxy-{version}.json"))


def edited(change: Callable[[Entries], Any], version: str = "1.33") -> NftTable:
    document = json.loads(sample(f"nft-kube-proxy-{version}.json"))
    change(document["nftables"])
    return parse_table(json.dumps(document))


def rules_of(entries: Entries, chain: str) -> list[list[Any]]:
    """The statements of each rule of a chain (all that begin so), to be changed in place."""
    found = [e["rule"]["expr"] for e in entries if "rule" in e and e["rule"]["chain"].startswith(chain)]
    assert found, chain
    return found


def map_of(entries: Entries, name: str) -> Any:
    return next(e["map"]["elem"] for e in entries if e.get("map", {}).get("name") == name)


def first(chain: str, *statements: Any) -> Callable[[Entries], None]:
    """A rule before all others of a chain."""

    def change(entries: Entries) -> None:
        at = next(i for i, e in enumerate(entries) if e.get("rule", {}).get("chain", "") == chain)
        entries.insert(at, {"rule": {**entries[at]["rule"], "expr": list(statements)}})

    return change


@pytest.mark.parametrize("version", VERSIONS)
class TestKubeProxy:
    def test_a_clusterip_leads_to_its_pod(self, version: str) -> None:
        result = walk(recorded(version), TO_VIP)
        assert (result.endpoints, result.masquerade, result.unknown) == (((*POD, 1.0),), False, None)
        assert any(rule.startswith(f"service-{CLUSTERIP}: ") for rule in result.path)

    def test_a_nodeport_leads_to_its_pod_and_is_marked(self, version: str) -> None:
        result = walk(recorded(version), TO_NODE)
        assert (result.endpoints, result.masquerade, result.mark) == (((*POD, 1.0),), True, 0x4000)
        assert any(f"@service-nodeports -> goto external-{NODEPORT}" in rule for rule in result.path)

    def test_a_pod_that_asks_itself_is_masqueraded(self, version: str) -> None:
        assert walk(recorded(version), replace(TO_VIP, src=POD[0])).masquerade is True

    def test_a_client_outside_the_pods_range_is_masqueraded(self, version: str) -> None:
        assert walk(recorded(version), replace(TO_VIP, src=ip_address("192.0.2.1"))).masquerade is True

    def test_endpoints_share_the_connections(self, version: str) -> None:
        result = walk(recorded(version), replace(TO_VIP, dst=ip_address("10.107.94.99")))
        assert [str(ip) for ip, _, _ in result.endpoints] == [f"20.111.156.{n}" for n in (72, 73, 74)]
        assert [share for _, _, share in result.endpoints] == pytest.approx([1 / 3] * 3)

    def test_a_service_without_endpoints_is_rejected(self, version: str) -> None:
        for source in (TO_VIP, replace(TO_VIP, src=ip_address(MASTER))):
            result = walk(recorded(version), replace(source, dst=ip_address("10.107.94.101")))
            assert (result.endpoints, result.ends) == ((), ("REJECT",))

    def test_a_local_policy_without_local_endpoint_drops(self, version: str) -> None:
        assert walk(recorded(version), replace(TO_NODE, dport=31081)).ends == ("DROP",)

    def test_a_local_policy_keeps_to_local_endpoints(self, version: str) -> None:
        result = walk(recorded(version), replace(TO_NODE, dport=31082))
        assert (result.endpoints, result.masquerade) == (((ip_address("20.111.156.75"), 8080, 1.0),), False)
        by_pod = walk(recorded(version), replace(TO_NODE, dport=31082, src=ip_address(SRC_IP)))
        assert len(by_pod.endpoints) == 2, "a pod's own request is not subject to the policy"
        by_node = walk(recorded(version), replace(TO_NODE, dport=31082, src_local=True))
        assert (len(by_node.endpoints), by_node.masquerade) == (2, True)

    def test_other_ports_and_addresses_are_nobodys(self, version: str) -> None:
        assert walk(recorded(version), replace(TO_NODE, dport=9)).ends == ("policy ACCEPT",)
        elsewhere = replace(TO_NODE, dst=ip_address("192.168.219.99"), dst_local=False)
        assert walk(recorded(version), elsewhere).ends == ("policy ACCEPT",)
        assert walk(recorded(version), replace(TO_NODE, protocol="udp")).ends == ("policy ACCEPT",)

    def test_what_is_marked_is_masqueraded_on_its_way_out(self, version: str) -> None:
        assert walk(recorded(version), TO_NODE, "POSTROUTING", mark=0x4001).ends == ("MASQUERADE",)
        assert walk(recorded(version), TO_NODE, "POSTROUTING", mark=0x4001).mark == 1
        assert walk(recorded(version), TO_NODE, "POSTROUTING", mark=1).ends == ("policy ACCEPT",)

    def test_the_nodes_own_requests(self, version: str) -> None:
        assert walk(recorded(version), TO_VIP, "OUTPUT").endpoints == ((*POD, 1.0),)


def test_an_unallocated_service_address() -> None:
    """Since 1.30: dropped, or rejected where another port of it is a service's."""
    assert walk(recorded(), replace(TO_VIP, dst=ip_address("10.99.0.1"))).ends == ("DROP",)
    assert walk(recorded(), replace(TO_VIP, dport=81)).ends == ("REJECT",)


def test_addresses_that_take_nodeports() -> None:
    """1.29 with every address allowed; 1.33 with the node's primary one, which is the default."""
    nat = replace(TO_NODE, dst=ip_address("10.0.2.15"))
    assert walk(recorded("1.29"), nat).endpoints
    assert walk(recorded("1.33"), nat).ends == ("policy ACCEPT",)


def test_session_affinity() -> None:
    sticky = replace(TO_VIP, dst=ip_address("10.107.94.100"))
    assert len(walk(recorded(), sticky).endpoints) == 2

    def known(entries: Entries) -> None:
        found = [e["set"] for e in entries if e.get("set", {}).get("name", "").endswith("20.111.156.73/8080")]
        found[0]["elem"] = [{"elem": {"val": SRC_IP, "timeout": 10800, "expires": 10000}}]

    assert walk(edited(known), sticky).endpoints == ((ip_address("20.111.156.73"), 8080, 1.0),)


def test_ipv6() -> None:
    table = recorded("1.33-ip6")
    asks = replace(TO_VIP, src=ip_address("fd00:10:244::5"), dst=ip_address("fd00:10:96::97"))
    assert walk(table, asks).endpoints == ((ip_address("fd00:10:244::72"), 8080, 1.0),)
    node = replace(TO_NODE, src=ip_address("fd00:219::21"), dst=ip_address("fd00:219::23"))
    assert walk(table, node).masquerade is True


class TestBroken:
    def test_the_service_is_missing(self) -> None:
        result = walk(edited(lambda entries: map_of(entries, "service-nodeports").clear()), TO_NODE)
        assert (result.endpoints, result.ends) == ((), ("policy ACCEPT",))

    def test_the_wrong_endpoint(self) -> None:
        def stale(entries: Entries) -> None:
            (rule,) = rules_of(entries, "endpoint-346MD5LA-")[1:]
            rule[-1]["dnat"]["addr"] = "20.111.156.99"

        assert walk(edited(stale), TO_NODE).endpoints == ((ip_address("20.111.156.99"), 8080, 1.0),)

    def test_the_endpoints_are_fewer_than_the_numbers(self) -> None:
        def shrunk(entries: Entries) -> None:
            rules_of(entries, f"service-{NODEPORT}")[-1][0]["vmap"]["key"]["numgen"]["mod"] = 2

        result = walk(edited(shrunk), TO_NODE)
        assert (result.endpoints, result.ends) == (((*POD, 0.5),), ("policy ACCEPT",))

    def test_nothing_marks(self) -> None:
        def unmarked(entries: Entries) -> None:
            rules_of(entries, f"external-{NODEPORT}")[0].clear()

        assert walk(edited(unmarked), TO_NODE).masquerade is False

    def test_nothing_masquerades(self) -> None:
        def gone(entries: Entries) -> None:
            rules_of(entries, "masquerading")[-1].clear()

        assert walk(edited(gone), TO_NODE, "POSTROUTING", mark=0x4000).ends == ("policy ACCEPT",)

    def test_a_rule_before_it(self) -> None:
        shadow = {"dnat": {"addr": "10.9.9.9", "port": 80}}
        for chain in ("services", "nat-prerouting"):
            result = walk(edited(first(chain, {"counter": None}, shadow)), TO_VIP)
            assert result.endpoints == ((ip_address("10.9.9.9"), 80, 1.0),)
            assert not any(CLUSTERIP in rule for rule in result.path)

    def test_dropped_before_it_is_translated(self) -> None:
        result = walk(edited(first("firewall-check", {"drop": None})), TO_VIP)
        assert (result.endpoints, result.ends) == ((), ("DROP",))

    def test_a_base_chain_that_drops_what_it_does_not_know(self) -> None:
        def strict(entries: Entries) -> None:
            for entry in entries:
                if entry.get("chain", {}).get("name") == "filter-input":
                    entry["chain"]["policy"] = "drop"

        table = edited(strict)
        assert walk(table, TO_NODE).endpoints
        assert walk(table, replace(TO_NODE, dport=9)).ends == ("DROP",)


IS_TCP = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}
IS_UDP = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "udp"}}
UNKNOWN_MATCH = {"match": {"op": "==", "left": {"osf": {"key": "name"}}, "right": "Linux"}}
UNKNOWN_VMAP = {"vmap": {"key": {"osf": {"key": "name"}}, "data": {"set": [[1, {"drop": None}]]}}}


@pytest.mark.parametrize(
    "statements",
    [
        [{"tproxy": {"port": 50}}],
        [{"limit": {"rate": 1, "per": "second"}}, {"drop": None}],
        [UNKNOWN_MATCH, {"drop": None}],
        [UNKNOWN_MATCH, IS_TCP, {"drop": None}],
        [UNKNOWN_VMAP],
        [{"vmap": {"key": MARK, "data": "@gone"}}],
        [{"vmap": {"key": MARK, "data": {"set": [[0, {"queue": 1}]]}}}],
        [{"mangle": {"key": MARK, "value": {"|": [{"osf": {}}, 1]}}}],
        [{"mangle": {"key": MARK, "value": {"<<": [MARK, 1]}}}],
        [{"jump": {"target": "gone"}}],
        [{"dnat": {"addr": {"range": ["10.0.0.1", "10.0.0.9"]}}}],
        [{"dnat": {"addr": "10.0.0.1", "port": {"range": [1, 2]}}}],
        [{"jump": {"target": "services"}}],
    ],
)
def test_what_is_not_known_ends_the_walk(statements: list[Any]) -> None:
    result = walk(edited(first("services", *statements)), TO_VIP)
    assert result.unknown is not None
    assert "services" in result.unknown
    assert result.endpoints == ()


@pytest.mark.parametrize(
    "statements",
    [
        [UNKNOWN_MATCH, {"counter": None}, {"log": {"prefix": "x"}}],
        [UNKNOWN_MATCH, IS_UDP, {"drop": None}],
        [IS_UDP, {"tproxy": {"port": 50}}],
        [{"continue": None}],
        [{"vmap": {"key": MARK, "data": {"set": [[9, {"queue": 1}]]}}}],
        [{"set": {"op": "update", "elem": MARK, "set": "@s"}}],
    ],
)
def test_what_can_change_nothing_does_not_matter(statements: list[Any]) -> None:
    assert walk(edited(first("services", *statements)), TO_VIP).endpoints == ((*POD, 1.0),)


def payload(field: str, protocol: str = "ip") -> Any:
    return {"payload": {"protocol": protocol, "field": field}}


def matches(left: Any, right: Any, op: str = "==") -> Walk:
    """A walk that is dropped where the match holds."""
    rule = {"match": {"op": op, "left": left, "right": right}}
    return walk(edited(first("services", rule, {"drop": None})), replace(TO_VIP, out_interface="tunl0"))


@pytest.mark.parametrize(
    ("left", "right", "holds"),
    [
        (payload("daddr"), VIP, True),
        (payload("daddr"), "10.107.94.98", False),
        (payload("saddr"), {"prefix": {"addr": "20.96.0.0", "len": 12}}, True),
        (payload("saddr"), {"range": ["20.109.131.0", "20.109.131.9"]}, True),
        (payload("saddr"), {"range": ["20.109.131.6", "20.109.131.9"]}, False),
        (payload("saddr"), {"range": ["fd00::1", "fd00::2"]}, None),
        (payload("saddr"), {"set": [MASTER, SRC_IP]}, True),
        (payload("saddr"), {"set": [MASTER]}, False),
        (payload("daddr"), "@cluster-ips", True),
        (payload("saddr"), "@cluster-ips", False),
        (payload("saddr"), "@gone", None),
        (payload("saddr"), "example.org", None),
        (payload("saddr"), {"set": ["example.org", SRC_IP]}, True),
        (payload("protocol"), "tcp", True),
        (payload("ttl"), 64, None),
        (payload("dport", "tcp"), 8080, True),
        (payload("dport", "tcp"), {"range": [8000, 9000]}, True),
        (payload("sport", "th"), 54176, True),
        (payload("flags", "tcp"), "syn", None),
        (payload("type", "icmp"), "echo-request", False),
        ({"meta": {"key": "l4proto"}}, 6, True),
        ({"meta": {"key": "l4proto"}}, {"set": ["udp", "sctp"]}, False),
        ({"meta": {"key": "nfproto"}}, "ipv4", True),
        ({"meta": {"key": "nfproto"}}, 2, None),
        ({"meta": {"key": "iifname"}}, "cali*", True),
        ({"meta": {"key": "iifname"}}, "eth1", False),
        ({"meta": {"key": "oifname"}}, "tunl0", True),
        ({"meta": {"key": "skuid"}}, 0, None),
        ({"meta": {"key": "mark"}}, 0, True),
        ({"&": [MARK, 0x4000]}, 0, True),
        ({"^": [MARK, 1]}, 1, True),
        ({"|": [MARK, {"osf": {}}]}, 1, None),
        ({"ct": {"key": "state"}}, "new", True),
        ({"ct": {"key": "state"}}, ["established", "related"], False),
        ({"ct": {"key": "status"}}, "dnat", None),
        ({"fib": {"result": "type", "flags": ["daddr"]}}, "local", False),
        ({"fib": {"result": "type", "flags": ["daddr"]}}, "unicast", None),
        ({"fib": {"result": "oif", "flags": ["daddr"]}}, "eth1", None),
        ({"fib": {"result": "type", "flags": ["daddr", "iif"]}}, "local", None),
        ({"concat": [payload("daddr"), payload("dport", "th")]}, {"set": [{"concat": [VIP, 8080]}]}, True),
        ({"concat": [payload("daddr"), payload("dport", "th")]}, {"set": [{"concat": [VIP, 1]}]}, False),
        ({"concat": [payload("daddr"), payload("dport", "th")]}, {"set": [{"concat": [VIP]}]}, None),
        ({"concat": [payload("daddr"), payload("ttl")]}, {"set": [{"concat": [VIP, 64]}]}, None),
        ({"concat": [payload("daddr"), payload("dport", "udp")]}, {"set": [{"concat": [VIP, 8080]}]}, False),
        ({"concat": [payload("daddr"), MARK]}, {"concat": [VIP, "x"]}, None),
    ],
)
def test_matches(left: Any, right: Any, holds: bool | None) -> None:
    result = matches(left, right)
    assert (result.unknown is None, result.ends == ("DROP",)) == (holds is not None, holds is True)


@pytest.mark.parametrize(
    ("op", "right", "holds"),
    [
        ("!=", 8081, True),
        ("!=", 8080, False),
        ("<", 8081, True),
        ("<", 8080, False),
        ("<=", 8080, True),
        (">", 8080, False),
        (">=", 8080, True),
        (">", "x", None),
        ("~", 1, None),
    ],
)
def test_operators(op: str, right: Any, holds: bool | None) -> None:
    result = matches(payload("dport", "tcp"), right, op)
    assert (result.unknown is None, result.ends == ("DROP",)) == (holds is not None, holds is True)


def test_a_field_that_the_packet_lacks_matches_nothing() -> None:
    for op in ("==", "!="):
        assert matches(payload("daddr", "ip6"), "fd00::1", op).endpoints
        assert matches(payload("dport", "udp"), 53, op).endpoints


def test_verdicts() -> None:
    accepted = walk(edited(first("services", {"accept": None})), TO_VIP)
    assert accepted.ends == ("REJECT",), "accepted by nat, untranslated: cluster-ips-check rejects it"
    returned = walk(edited(first("services", {"return": None})), TO_VIP)
    assert returned.ends == ("REJECT",)
    away = walk(edited(first("nat-prerouting", {"goto": {"target": "mark-for-masquerade"}})), TO_VIP)
    assert (away.endpoints, away.mark) == ((), 0x4000)
    redirected = walk(edited(first("services", {"redirect": {"port": 1}})), TO_VIP)
    assert redirected.ends == ("REDIRECT",)
    same_port = walk(edited(first("services", {"dnat": {"addr": "10.9.9.9"}})), TO_VIP)
    assert same_port.endpoints == ((ip_address("10.9.9.9"), 8080, 1.0),)


def test_a_table_without_a_nat_chain() -> None:
    result = walk(NftTable("ip", "kube-proxy"), TO_VIP)
    assert result.unknown == "table ip kube-proxy has no nat chain at prerouting"


@pytest.mark.parametrize(
    ("names", "base"),
    [
        (("ns1", "svc1", "p80"), "ULMVA6XW-ns1/svc1/tcp/p80"),  # stands in kube-proxy's own tests
        (("ns4", "svc4", "p80"), "LAUZTJTB-ns4/svc4/tcp/p80"),
        (("default", "svc-nodeport"), "SE5QIALI-default/svc-nodeport/tcp/"),
    ],
)
def test_names_of_chains(names: tuple[str, ...], base: str) -> None:
    assert chain_base(*names) == base


def test_long_names_are_cut() -> None:
    base = chain_base("n" * 63, "s" * 63, "p", "TCP")
    assert len(base) == 112
    assert base.endswith("s...")


NUMBERS = {"numgen": {"mode": "random", "mod": 2}}
STATEMENTS: list[Any] = [
    IS_TCP,
    IS_UDP,
    UNKNOWN_MATCH,
    {"counter": None},
    {"accept": None},
    {"drop": None},
    {"return": None},
    {"jump": {"target": "a"}},
    {"goto": {"target": "b"}},
    {"mangle": {"key": MARK, "value": {"|": [MARK, 0x4000]}}},
    {"match": {"op": "!=", "left": MARK, "right": 0}},
    {"dnat": {"addr": DEST_IP, "port": 8080}},
    {"vmap": {"key": NUMBERS, "data": {"set": [[0, {"goto": {"target": "b"}}]]}}},
]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["nat-prerouting", "a", "b"]), st.lists(st.sampled_from(STATEMENTS), max_size=3)
        ),
        max_size=12,
    )
)
def test_every_walk_ends_and_accounts_for_all_branches(rules: list[tuple[str, list[Any]]]) -> None:
    own = {"family": "ip", "table": "t"}
    hooked = {**own, "name": "nat-prerouting", "type": "nat", "hook": "prerouting", "prio": -100}
    chains = [hooked, {**own, "name": "a"}, {**own, "name": "b"}]
    entries = [
        {"table": {"family": "ip", "name": "t"}},
        *({"chain": chain} for chain in chains),
        *({"rule": {**own, "chain": chain, "expr": statements}} for chain, statements in rules),
    ]
    result = walk(parse_table(json.dumps({"nftables": entries})), TO_VIP)
    if result.unknown is not None:
        assert not result.endpoints
        return
    share = sum(share for _, _, share in result.endpoints)
    assert share <= 1 + 1e-9
    if not result.ends:
        assert share == pytest.approx(1)
    assert result.endpoints or result.ends
