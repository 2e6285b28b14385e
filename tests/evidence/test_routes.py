from __future__ import annotations

import json
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

import pytest

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.routes import Route, lookup, parse_route_get, parse_routes
from tests.evidence.samples import sample

NODE = parse_routes(sample("ip-route-node.json"))
CALICO = [
    {
        "dst": "20.111.156.64/26",
        "gateway": "192.168.219.22",
        "dev": "tunl0",
        "protocol": "bird",
        "flags": ["onlink"],
    },
    {"type": "blackhole", "dst": "20.109.131.0/26", "protocol": "bird", "flags": []},
    {"dst": "20.109.131.5", "dev": "calia5814ebbae9", "scope": "link", "metric": 1024, "flags": []},
]


def test_the_node_s_tables() -> None:
    assert len(NODE) == 25
    assert NODE[0] == Route(
        ip_network("0.0.0.0/0"), "eth0", ip_address("192.0.2.1"), protocol="boot", scope="global"
    )
    assert NODE[1].destination == ip_network("20.111.156.66/32")
    assert {route.table for route in NODE} == {"main", "local"}
    assert {route.type for route in NODE} == {"unicast", "local", "broadcast", "anycast", "multicast"}
    default6 = [route for route in NODE if route.destination == ip_network("::/0")]
    assert [(route.gateway, route.metric) for route in default6] == [(ip_address("fd00::1"), 1024)]


def test_a_pod_s_routes_without_details() -> None:
    default, block, gateway = parse_routes(sample("ip-route-pod.json"))
    assert (default.destination, default.gateway) == (ip_network("0.0.0.0/0"), ip_address("20.111.156.65"))
    assert block.prefsrc == ip_address("20.111.156.66")
    assert (gateway.scope, gateway.type, gateway.table) == ("link", "unicast", "main")


def test_calico_s_routes() -> None:
    block, own, pod = parse_routes(json.dumps(CALICO))
    assert (block.device, block.onlink, block.protocol) == ("tunl0", True, "bird")
    assert (own.type, own.device) == ("blackhole", None)
    assert (pod.metric, pod.onlink, pod.scope) == (1024, False, "link")


def test_a_multipath_route_is_one_route_per_next_hop() -> None:
    hops = [{"gateway": "10.0.0.1", "dev": "eth0", "flags": []}, {"dev": "eth1", "flags": ["onlink"]}]
    first, second = parse_routes(json.dumps([{}, {"dst": "10.1.0.0/16", "flags": [], "nexthops": hops}]))
    assert (first.device, first.gateway, first.onlink) == ("eth0", ip_address("10.0.0.1"), False)
    assert (second.device, second.gateway, second.onlink) == ("eth1", None, True)


@pytest.mark.parametrize(
    ("entry", "destination"),
    [
        ({"gateway": "fe80::1"}, "::/0"),
        ({"pref": "medium"}, "::/0"),
        ({"via": {"family": "inet6", "host": "fe80::1"}}, "0.0.0.0/0"),
        ({"prefsrc": "fd00::1"}, "::/0"),
        ({}, "0.0.0.0/0"),
        ({"nexthops": [{"gateway": "fe80::1", "dev": "eth0"}]}, "::/0"),
    ],
)
def test_the_family_of_a_default_route(entry: dict[str, Any], destination: str) -> None:
    (route,) = parse_routes(json.dumps([{"dst": "default", "dev": "eth0", **entry}]))
    assert route.destination == ip_network(destination)


def test_route_get() -> None:
    text = (
        '[{"type":"unicast","dst":"20.111.156.72","gateway":"192.168.219.22","dev":"tunl0","table":"main",'
        '"prefsrc":"20.109.131.0","flags":["onlink"],"uid":0,"cache":[]}]'
    )
    route = parse_route_get(text)
    assert (route.destination, route.device, route.onlink) == (IPv4Network("20.111.156.72"), "tunl0", True)
    assert route.prefsrc == ip_address("20.109.131.0")


@pytest.mark.parametrize(
    "text", ["", "[]", "[{}]", json.dumps(CALICO), "RTNETLINK answers: No route", '[{"dev":"x"}]']
)
def test_route_get_without_one_route(text: str) -> None:
    with pytest.raises(ParseError):
        parse_route_get(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (sample("ip-route-node.json")[:-30], "cut"),
        ('[{"dst":"20.111.156.64/33"}]', "expected a network"),
        ('[{"dst":"20.111.156.71/26"}]', "expected a network"),
        ('[{"dst":"default","gateway":"nowhere"}]', "expected an IP address"),
        ('[{"dst":"default","metric":"low"}]', "expected a number"),
    ],
)
def test_output_that_is_not_ip_s(text: str, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_routes(text)


@pytest.mark.parametrize(
    ("address", "device", "kind"),
    [
        ("20.111.156.66", "veth557e700c", "unicast"),
        ("192.0.2.2", "eth0", "local"),
        ("192.0.2.9", "eth0", "unicast"),
        ("192.0.2.255", "eth0", "broadcast"),
        ("8.8.8.8", "eth0", "unicast"),
        ("fd00::2", "eth0", "local"),
        ("2001:db8::1", "eth0", "unicast"),
    ],
)
def test_lookup_on_the_node(address: str, device: str, kind: str) -> None:
    route = lookup(NODE, ip_address(address))
    assert route is not None
    assert (route.device, route.type) == (device, kind)


def route(destination: str, device: str | None, **fields: Any) -> Route:
    return Route(ip_network(destination), device, **fields)


def test_lookup_prefers_length_then_metric_then_order() -> None:
    wide, narrow = route("20.96.0.0/12", "eth1"), route("20.111.156.64/26", "tunl0", metric=1024)
    worse, better = route("10.0.0.0/8", "eth0", metric=200), route("10.0.0.0/8", "eth1", metric=100)
    unset, again = route("10.1.0.0/16", "eth2"), route("10.1.0.0/16", "eth3")
    routes = [wide, narrow, worse, better, unset, again]
    assert lookup(routes, ip_address("20.111.156.72")) == narrow
    assert lookup(routes, ip_address("20.97.0.1")) == wide
    assert lookup(routes, ip_address("10.2.0.1")) == better
    assert lookup(routes, ip_address("10.1.0.1")) == unset
    first, later = route("10.0.0.0/8", "eth4", metric=1), route("10.0.0.0/8", "eth5")
    assert lookup([first, later], ip_address("10.0.0.1")) == later, "no metric is 0"
    said = route("10.0.0.0/8", "eth4", metric=0)
    assert lookup([said, later], ip_address("10.0.0.1")) == said
    assert lookup(routes, ip_address("172.16.0.1")) is None
    assert lookup(routes, ip_address("fd00::1")) is None


def test_lookup_keeps_to_the_kernel_s_tables() -> None:
    local = route("10.0.0.0/8", "lo", table="local", type="local")
    assert lookup([route("10.1.0.0/16", "eth0"), local], ip_address("10.1.0.1")) == local
    assert lookup([route("10.1.0.0/16", "eth0", table="100")], ip_address("10.1.0.1")) is None
    thrown = route("10.1.0.0/16", None, table="local", type="throw")
    main = route("10.0.0.0/8", "eth0")
    assert lookup([thrown, main], ip_address("10.1.0.1")) == main
    black = route("10.1.0.0/16", None, type="blackhole")
    assert lookup([black, main], ip_address("10.1.0.1")) == black
