from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.nftables import NftTable, parse_table
from pytest_k8snet.evidence.nftexpr import (
    Bitwise,
    Concat,
    Conntrack,
    Fib,
    Match,
    Meta,
    Named,
    OneOf,
    Passive,
    Payload,
    Random,
    Range,
    Reject,
    SetMark,
    Translation,
    Unread,
    Verdict,
    VerdictMap,
)
from tests.evidence.samples import sample

EXTERNAL, SERVICE = (f"{kind}-SE5QIALI-default/svc-nodeport/tcp/" for kind in ("external", "service"))


def table(*rules: Any, chain: str = "c", **more: Any) -> NftTable:
    """A table with one chain of these rules (each a list of statements); ``more``: sets and maps."""
    own = {"family": "ip", "table": "kube-proxy"}
    entries = [
        {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
        {"table": {"family": "ip", "name": "kube-proxy", "handle": 1}},
        *({kind: {**own, **body}} for kind, body in more.items()),
        {"chain": {**own, "name": chain, "handle": 1}},
        *({"rule": {**own, "chain": chain, "handle": 2, "expr": rule}} for rule in rules),
    ]
    return parse_table(json.dumps({"nftables": entries}))


def only(statement: Any) -> Any:
    (rule,) = table([statement]).chains["c"].rules
    (found,) = rule.statements
    return found


def edited(change: Callable[[list[dict[str, Any]]], None]) -> str:
    document = json.loads(sample("nft-kube-proxy-1.33.json"))
    change(document["nftables"])
    return json.dumps(document)


class TestRecorded:
    def test_the_table(self) -> None:
        found = parse_table(sample("nft-kube-proxy-1.33.json"))
        assert (found.family, found.name, found.version) == ("ip", "kube-proxy", "1.0.6")
        assert found.sets["nodeport-ips"] == ("192.168.219.23",)
        assert len(found.sets["cluster-ips"]) == 8
        chain = found.chains["nat-prerouting"]
        assert (chain.type, chain.hook, chain.priority, chain.policy) == ("nat", "prerouting", -100, "accept")
        assert found.chains["services"].hook == ""
        assert found.chains["services"].priority is None

    def test_maps(self) -> None:
        maps = parse_table(sample("nft-kube-proxy-1.33.json")).maps
        assert (Concat(("tcp", 31080)), Verdict("goto", EXTERNAL)) in maps["service-nodeports"]
        # with a comment, an element is an object around its key
        assert maps["no-endpoint-nodeports"] == ((Concat(("tcp", 31081)), Verdict("drop")),)
        assert maps["firewall-ips"] == ()

    def test_rules(self) -> None:
        chains = parse_table(sample("nft-kube-proxy-1.33.json")).chains
        assert list(map(str, chains[EXTERNAL].rules)) == [
            f"{EXTERNAL}: jump mark-for-masquerade",
            f"{EXTERNAL}: goto {SERVICE}",
        ]
        assert list(map(str, chains["masquerading"].rules)) == [
            "masquerading: meta mark & 0x4000 == 0 return",
            "masquerading: meta mark set meta mark ^ 0x4000",
            "masquerading: masquerade",
        ]
        assert str(chains["services"].rules[1]) == (
            "services: ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports"
        )
        assert chains["cluster-ips-check"].rules[1].comment == "Drop traffic to unallocated ClusterIPs"

    def test_kube_proxy_1_29_takes_every_local_address(self) -> None:
        rule = parse_table(sample("nft-kube-proxy-1.29.json")).chains["services"].rules[1]
        assert rule.statements[:2] == (
            Match(Fib("type", ("daddr",)), "==", "local"),
            Match(Payload("ip", "daddr"), "!=", ip_network("127.0.0.0/8")),
        )

    def test_ipv6(self) -> None:
        found = parse_table(sample("nft-kube-proxy-1.33-ip6.json"))
        assert found.family == "ip6"
        name = next(name for name in found.chains if name.endswith("svc-nodeport/tcp/__fd00.10.244..72/8080"))
        assert str(found.chains[name].rules[-1]).endswith("dnat to [fd00:10:244::72]:8080")


@pytest.mark.parametrize("name", ["1.29", "1.33", "1.33-ip6"])
def test_nothing_of_kube_proxys_is_unread(name: str) -> None:
    assert "Unread(" not in repr(parse_table(sample(f"nft-kube-proxy-{name}.json")))


MARK = {"meta": {"key": "mark"}}


@pytest.mark.parametrize(
    ("statement", "expected", "text"),
    [
        ({"accept": None}, Verdict("accept"), "accept"),
        ({"jump": {"target": "x"}}, Verdict("jump", "x"), "jump x"),
        ({"counter": {"packets": 1, "bytes": 40}}, Passive("counter"), "counter"),
        ({"counter": None}, Passive("counter"), "counter"),
        ({"reject": {"type": "tcp reset"}}, Reject(), "reject"),
        ({"reject": None}, Reject(), "reject"),
        ({"masquerade": None}, Translation("masquerade"), "masquerade"),
        ({"redirect": {"port": 80}}, Translation("redirect", None, 80), "redirect to :80"),
        (
            {"dnat": {"family": "ip", "addr": "10.0.0.1"}},
            Translation("dnat", "10.0.0.1"),
            "dnat to 10.0.0.1",
        ),
        (
            {"mangle": {"key": MARK, "value": {"&": [MARK, 0xFFFFBFFF]}}},
            SetMark(Bitwise("&", Meta("mark"), 0xFFFFBFFF)),
            "meta mark set meta mark & 0xffffbfff",
        ),
        ({"mangle": {"key": MARK, "value": 5}}, SetMark(5), "meta mark set 0x5"),
        (
            {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["new", "related"]}},
            Match(Conntrack("state"), "in", OneOf(("new", "related"))),
            "ct state { new, related }",
        ),
        (
            {
                "match": {
                    "op": "==",
                    "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                    "right": {"range": [1, 5]},
                }
            },
            Match(Payload("tcp", "dport"), "==", Range(1, 5)),
            "tcp dport 1-5",
        ),
        (
            {
                "match": {
                    "op": "!=",
                    "left": {"payload": {"protocol": "ip", "field": "saddr"}},
                    "right": {"set": ["1.2.3.4", {"prefix": {"addr": "10.0.0.0", "len": 8}}]},
                }
            },
            Match(Payload("ip", "saddr"), "!=", OneOf(("1.2.3.4", ip_network("10.0.0.0/8")))),
            "ip saddr != { 1.2.3.4, 10.0.0.0/8 }",
        ),
        (
            {"vmap": {"key": {"numgen": {"mode": "random", "mod": 2, "offset": 5}}, "data": "@m"}},
            VerdictMap(Random(2, 5), Named("m")),
            "numgen random mod 2 offset 5 vmap @m",
        ),
        (
            {"vmap": {"key": {"fib": {"result": "type", "flags": "daddr"}}, "data": {"set": []}}},
            VerdictMap(Fib("type", ("daddr",)), ()),
            "fib daddr type vmap {  }",
        ),
    ],
)
def test_statements(statement: Any, expected: Any, text: str) -> None:
    assert only(statement) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "statement",
    [
        {"tproxy": {"port": 50}},
        {"limit": {"rate": 1, "burst": 5, "per": "second"}},
        {"xt": None},
        {"mangle": {"key": {"ct": {"key": "mark"}}, "value": 1}},
        "notrack",
        {"accept": None, "drop": None},
    ],
)
def test_an_unknown_statement_is_kept(statement: Any) -> None:
    assert only(statement) == Unread(json.dumps(statement))


@pytest.mark.parametrize(
    "left",
    [
        {"numgen": {"mode": "inc", "mod": 2, "offset": 0}},
        {"ct": {"key": "mark", "dir": "reply"}},
        {"payload": {"base": "th", "offset": 16, "len": 16}},
        {"jhash": {}},
        True,
    ],
)
def test_an_unknown_expression_is_kept(left: Any) -> None:
    found = only({"match": {"op": "==", "left": left, "right": 1}})
    assert found == Match(Unread(json.dumps(left)), "==", 1)


def test_a_map_that_is_no_name_and_no_set_is_kept() -> None:
    found = only({"vmap": {"key": MARK, "data": 7}})
    assert found == VerdictMap(Meta("mark"), Unread("7"))


def test_sets_and_maps_of_values() -> None:
    timed = {"elem": {"val": "10.0.0.1", "timeout": 10800, "expires": 5}}
    found = table(
        set={"name": "s", "type": "ipv4_addr", "elem": [timed, "10.0.0.2"]},
        map={"name": "m", "type": "ipv4_addr", "map": "mark", "elem": [["10.0.0.1", 1]]},
    )
    assert found.sets == {"s": ("10.0.0.1", "10.0.0.2")}
    assert found.maps == {}, "no verdict map"


def test_an_unknown_verdict_is_kept() -> None:
    found = table(
        map={
            "name": "m",
            "type": "mark",
            "map": "verdict",
            "elem": [[1, {"queue": 1}], [2, {"accept": None}]],
        }
    )
    assert found.maps["m"] == ((1, Unread('{"queue": 1}')), (2, Verdict("accept")))


OTHER = {"family": "ip", "table": "other", "name": "c", "chain": "c", "expr": []}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (sample("nft-kube-proxy-1.33.json")[:4000], "not JSON, or cut"),
        (b"", "expected one JSON document, found 0"),
        ('{"nftables": []}', "no table in the listing"),
        ("[]", "expected an object"),
        (edited(lambda entries: entries.__delitem__(1)), "of table ip kube-proxy, which the listing lacks"),
        (edited(lambda entries: entries.append(entries[1])), "more than one table"),
        (edited(lambda entries: entries.append({"rule": OTHER})), "something of table ip other"),
        (edited(lambda entries: entries.append({"map": OTHER})), "something of table ip other"),
        (
            edited(lambda entries: entries.append({"rule": {**OTHER, "table": "kube-proxy", "chain": "x"}})),
            "a rule of chain x, which the listing lacks",
        ),
        (edited(lambda entries: entries[0]["metainfo"].update(json_schema_version=2)), "schema version 2"),
    ],
)
def test_refused(text: str | bytes, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_table(text)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ({"jump": {}}, "no 'target'"),
        ({"match": {"op": "==", "left": 1}}, "no 'right'"),
        ({"vmap": {"key": 1, "data": {"set": [[1]]}}}, "expected a key and its verdict"),
        ({"match": {"op": "==", "left": {"&": [1]}, "right": 1}}, "expected two operands"),
        (
            {"match": {"op": "==", "left": 1, "right": {"prefix": {"addr": "10.0.0.1", "len": 8}}}},
            "expected a network",
        ),
    ],
)
def test_known_statements_must_be_whole(statement: Any, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        only(statement)
