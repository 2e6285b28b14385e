from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8snet.claims.matchers import Matcher, anywhere, describe, ip, ipip, plain, tcp, vxlan
from pytest_k8snet.evidence.packets import IPHeader, Packet
from tests.claims.scenes import (
    DEST_IP,
    NODE1,
    NODE2,
    SRC_IP,
    get,
    ipip_tunnel,
    segment,
    vxlan_tunnel,
)

BARE = segment(1, (SRC_IP, 35096), (DEST_IP, 8080), payload=get(), ttl=63)
IPIP = replace(BARE, tunnels=(ipip_tunnel(NODE2, NODE1),))
TWICE = replace(BARE, tunnels=(ipip_tunnel(NODE2, NODE1), ipip_tunnel(NODE2, NODE1)))
VXLAN = replace(BARE, tunnels=(vxlan_tunnel(NODE2, NODE1),))
PING = Packet(1, 0.0, IPHeader(ip_address(SRC_IP), ip_address(DEST_IP), 1, 64), icmp=(8, 0))
TO_POD = tcp(dst=(DEST_IP, 8080))


@pytest.mark.parametrize(
    ("matcher", "packet"),
    [
        (TO_POD, BARE),
        (plain, PING),
        (plain / TO_POD, BARE),
        (ip(src=SRC_IP, ttl=63), BARE),
        (ip(ttl=63) / TO_POD, BARE),
        (tcp(src=(SRC_IP, 35096), dport=8080, payload=b"GET /hostname"), BARE),
        (tcp(src=frozenset({ip_address(NODE1), ip_address(SRC_IP)})), BARE),
        (ipip(src=NODE2, dst=NODE1) / TO_POD, IPIP),
        (ipip(), IPIP),
        (ipip() / ipip() / TO_POD, TWICE),
        (vxlan(NODE2, NODE1, vni=4096) / TO_POD, VXLAN),
        (anywhere(TO_POD), BARE),
        (anywhere(TO_POD), TWICE),
        (ipip() / anywhere(TO_POD), VXLAN),
        ((ipip(NODE2, NODE1) / TO_POD).in_another_envelope(), BARE),
        ((ipip(NODE2, NODE1) / TO_POD).in_another_envelope(), TWICE),
        ((ipip(NODE2, NODE1) / TO_POD).in_another_envelope(), VXLAN),
        (TO_POD.in_another_envelope(), IPIP),
    ],
)
def test_accepts(matcher: Matcher, packet: Packet) -> None:
    assert matcher.matches(packet)
    assert matcher.differences(packet) == []


@pytest.mark.parametrize(
    ("matcher", "packet", "difference"),
    [
        (TO_POD, IPIP, f"encapsulated (IPIP {NODE2} -> {NODE1})"),
        (plain, VXLAN, "encapsulated (VXLAN VNI 4096"),
        (TO_POD, PING, "IP protocol 1 instead of TCP"),
        (tcp(dst=(DEST_IP, 80)), BARE, "destination port 8080 instead of 80"),
        (tcp(dst="10.107.94.97"), BARE, f"destination {DEST_IP} instead of 10.107.94.97"),
        (tcp(src=NODE1), BARE, f"source {SRC_IP} instead of {NODE1}"),
        (tcp(sport=1), BARE, "source port 35096 instead of 1"),
        (ip(ttl=64), BARE, "TTL 63 instead of 64"),
        (tcp(payload=b"GET /other"), BARE, 'payload without "GET /other"'),
        (ipip() / TO_POD, BARE, "bare, without encapsulation"),
        (ipip() / TO_POD, TWICE, "encapsulated 2 times instead of 1"),
        (ipip() / ipip() / TO_POD, IPIP, "one encapsulation is missing"),
        (ipip() / TO_POD, VXLAN, "encapsulated as VXLAN instead of IPIP"),
        (ipip(dst=NODE2) / TO_POD, IPIP, f"outer destination {NODE1} instead of {NODE2}"),
        (ipip(src=NODE1) / TO_POD, IPIP, f"outer source {NODE2} instead of {NODE1}"),
        (ipip() / tcp(dst=SRC_IP), IPIP, f"inner destination {DEST_IP} instead of {SRC_IP}"),
        (vxlan(vni=1) / TO_POD, VXLAN, "VNI 4096 instead of 1"),
        (vxlan(udp_port=8472) / TO_POD, VXLAN, "UDP port 4789 instead of 8472"),
        (anywhere(tcp(dport=1)), IPIP, "destination port 8080 instead of 1"),
        ((ipip() / TO_POD).in_another_envelope(), IPIP, "in the envelope that is excepted"),
        ((ipip() / tcp(dport=1)).in_another_envelope(), BARE, "destination port 8080 instead of 1"),
    ],
)
def test_rejects_and_says_why(matcher: Matcher, packet: Packet, difference: str) -> None:
    assert not matcher.matches(packet)
    assert difference in "; ".join(matcher.differences(packet))


@pytest.mark.parametrize(
    ("matcher", "words"),
    [
        (ipip(NODE2, NODE1) / TO_POD, f"IPIP {NODE2} -> {NODE1} around TCP -> {DEST_IP}:8080"),
        (vxlan(vni=4096), "VXLAN VNI 4096 around IP"),
        (TO_POD, f"plain TCP -> {DEST_IP}:8080"),
        (tcp(src=SRC_IP, payload=b"GET"), f'plain TCP {SRC_IP} -> carrying "GET"'),
        (ip(SRC_IP, DEST_IP, 63), f"plain IP {SRC_IP} -> {DEST_IP} with TTL 63"),
        (tcp(dport=80), "plain TCP -> port 80"),
        (
            tcp(src=frozenset({ip_address("10.0.0.2"), ip_address("10.0.0.1")})),
            "plain TCP 10.0.0.1 or 10.0.0.2 ->",
        ),
        (tcp(dst=("fd00::1", 80)), "plain TCP -> [fd00::1]:80"),
        (anywhere(TO_POD), f"TCP -> {DEST_IP}:8080, bare or inside any envelope"),
        ((ipip() / TO_POD).in_another_envelope(), f"TCP -> {DEST_IP}:8080 in another envelope than IPIP"),
        (TO_POD.in_another_envelope(), f"TCP -> {DEST_IP}:8080 in another envelope than none"),
    ],
)
def test_says_what_it_looks_for(matcher: Matcher, words: str) -> None:
    assert str(matcher) == words


def test_packets_are_described_in_the_same_words() -> None:
    assert describe(IPIP) == f"IPIP {NODE2} -> {NODE1} around TCP {SRC_IP}:35096 -> {DEST_IP}:8080"
    assert describe(PING) == f"ICMP {SRC_IP} -> {DEST_IP}"
    assert describe(replace(PING, icmp=None)) == f"IP protocol 1 {SRC_IP} -> {DEST_IP}"


ENVELOPES = st.lists(st.sampled_from([ipip_tunnel(NODE2, NODE1), vxlan_tunnel(NODE1, NODE2)]), max_size=3)


@given(
    ENVELOPES,
    st.sampled_from([TO_POD, tcp(dport=1), plain]),
    st.sampled_from([plain, ipip(NODE2, NODE1), vxlan()]),
)
def test_an_inner_packet_is_in_the_envelope_or_in_another(
    tunnels: list[object], inner: Matcher, outer: Matcher
) -> None:
    packet = replace(BARE, tunnels=tuple(tunnels))  # type: ignore[arg-type]
    matcher = outer / inner
    both = matcher.matches(packet) + matcher.in_another_envelope().matches(packet)
    assert both == anywhere(inner).matches(packet)
    assert matcher.matches(packet) == (matcher.differences(packet) == [])
