"""How matchers combine, and the words for every shape of an end."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from pytest_k8snet.claims.matchers import (
    CALICO_VNI,
    CALICO_VXLAN_PORT,
    Inner,
    Matcher,
    describe,
    describe_end,
    describe_envelope,
    ip,
    ipip,
    tcp,
    vxlan,
)
from tests.claims.scenes import DEST_IP, NODE1, NODE2, SRC_IP, get, ipip_tunnel, segment, vxlan_tunnel

BARE = segment(1, (SRC_IP, 35096), (DEST_IP, 8080), payload=get(), ttl=63)
BOTH = frozenset({ip_address(NODE1), ip_address(NODE2)})


def test_felix_s_defaults() -> None:
    assert (CALICO_VXLAN_PORT, CALICO_VNI) == (4789, 4096)


def test_what_stands_further_right_wins() -> None:
    left = Inner(
        frozenset({ip_address("10.0.0.1")}), frozenset({ip_address("10.0.0.2")}), 1, 2, 3, False, b"left"
    )
    right = Inner(
        frozenset({ip_address("10.0.0.3")}), frozenset({ip_address("10.0.0.4")}), 5, 6, 7, True, b"right"
    )
    assert left.over(right) == right
    assert right.over(left) == replace(left, segment=True), "TCP stays asked for"
    assert left.over(Inner()) == left
    assert Inner().over(left) == left
    assert Inner().over(Inner()) == Inner()


def test_a_value_of_nothing_is_a_value() -> None:
    """Port 0 and TTL 0 are asked for when they are said; only None means any."""
    zero = Inner(sport=0, dport=0, ttl=0, segment=True)
    assert Inner(sport=1, dport=1, ttl=1).over(zero) == zero
    assert len(Matcher(inner=zero).differences(BARE)) == 3
    assert str(Matcher(inner=zero)) == "plain TCP port 0 -> port 0 with TTL 0"
    tunnelled = replace(BARE, tunnels=(vxlan_tunnel(NODE2, NODE1),))
    assert vxlan(vni=0, udp_port=0).differences(tunnelled) == [
        "VNI 4096 instead of 0",
        "UDP port 4789 instead of 0",
    ]
    assert str(vxlan(vni=0)) == "VXLAN VNI 0 around IP"


def test_every_difference_is_said() -> None:
    wanted = tcp(src=(NODE1, 1), dst=(NODE2, 2), payload=b"x-y-z") / ip(ttl=9)
    assert wanted.differences(BARE) == [
        f"source {SRC_IP} instead of {NODE1}",
        f"destination {DEST_IP} instead of {NODE2}",
        "TTL 63 instead of 9",
        "source port 35096 instead of 1",
        "destination port 8080 instead of 2",
        'payload without "x-y-z"',
    ]
    assert (ipip(NODE1, NODE2) / wanted).differences(replace(BARE, tunnels=(ipip_tunnel(NODE2, NODE1),)))[
        :3
    ] == [
        f"outer source {NODE2} instead of {NODE1}",
        f"outer destination {NODE1} instead of {NODE2}",
        f"inner source {SRC_IP} instead of {NODE1}",
    ]


def test_ip_matchers_ask_nothing_of_tcp() -> None:
    """A port, or a payload, counts only where a TCP segment is asked for."""
    assert Matcher(inner=Inner(sport=1, dport=2, payload=b"x")).matches(BARE)


@pytest.mark.parametrize(
    ("matcher", "words"),
    [
        (tcp(src=(SRC_IP, 1), dst=(DEST_IP, 2)), f"plain TCP {SRC_IP}:1 -> {DEST_IP}:2"),
        (tcp(src=SRC_IP), f"plain TCP {SRC_IP} ->"),
        (tcp(dst=DEST_IP), f"plain TCP -> {DEST_IP}"),
        (tcp(), "plain TCP"),
        (ip(), "plain IP"),
        (tcp(src=BOTH, sport=7), f"plain TCP {NODE1} or {NODE2} port 7 ->"),
        (tcp(src=("fd00::1", 1), dst="fd00::2"), "plain TCP [fd00::1]:1 -> fd00::2"),
        (tcp(sport=7), "plain TCP port 7 ->"),
        (ipip(NODE2), f"IPIP {NODE2} -> around IP"),
        (ipip() / vxlan() / tcp(), "IPIP around VXLAN around TCP"),
        ((ipip() / vxlan() / tcp()).in_another_envelope(), "TCP in another envelope than IPIP around VXLAN"),
        (tcp(payload=b'say "\xff"'), 'plain TCP carrying "say "\\xff""'),
    ],
)
def test_words_for_what_is_looked_for(matcher: Matcher, words: str) -> None:
    assert str(matcher) == words


def test_words_for_what_was_seen() -> None:
    twice = replace(BARE, tunnels=(vxlan_tunnel(NODE2, NODE1, 7), ipip_tunnel(NODE1, NODE2)))
    assert describe_envelope(twice) == f"VXLAN VNI 7 {NODE2} -> {NODE1} around IPIP {NODE1} -> {NODE2}"
    assert describe_envelope(BARE) == ""
    assert describe(BARE) == f"TCP {SRC_IP}:35096 -> {DEST_IP}:8080"
    assert (describe_end(BARE, "src"), describe_end(BARE, "dst")) == (f"{SRC_IP}:35096", f"{DEST_IP}:8080")
    v6 = segment(1, ("fd00::1", 1), ("fd00::2", 2))
    assert describe(v6) == "TCP [fd00::1]:1 -> [fd00::2]:2"
    assert describe(replace(v6, tcp=None)) == "IP protocol 6 fd00::1 -> fd00::2"


def test_a_missing_envelope_is_not_the_same_as_none() -> None:
    two = ipip() / ipip() / tcp()
    assert two.differences(BARE) == ["bare, without encapsulation"]
    assert two.differences(replace(BARE, tunnels=(ipip_tunnel(NODE2, NODE1),))) == [
        "one encapsulation is missing"
    ]
    three = replace(BARE, tunnels=(ipip_tunnel(NODE2, NODE1),) * 3)
    assert two.differences(three) == ["encapsulated 3 times instead of 2"]
