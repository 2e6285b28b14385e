"""What stands in for the request where only SYNs were sent, and what must not."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.evidence.observations import TracedRequest
from pytest_k8snet.evidence.packets import IPHeader, Packet
from pytest_k8snet.intent import Intent
from tests.claims.scenes import (
    DEST_IP,
    SRC_IP,
    Leg,
    ok,
    only_syns,
    pod_request,
    segment,
    unanswered,
    with_point,
)

VETH = Leg((SRC_IP, 35096), (DEST_IP, 8080))


def cut(*before: Packet) -> TracedRequest:
    """A request of which only the client's SYNs (sequence number 999) are on the wire, behind ``before``."""
    request = pod_request(answer=ok(unanswered(f"http://{DEST_IP}:8080/hostname"), "curl", "pod-src"))
    for point in ("source-uplink", "target-uplink", "target-veth"):
        request = with_point(request, point, ())
    return with_point(request, "source-veth", (*before, *only_syns(VETH)))


def ledger(request: TracedRequest) -> Ledger:
    return Ledger.of(request, Intent())


@pytest.mark.parametrize(
    ("src", "dst", "flags"),
    [
        pytest.param(("20.109.131.4", 40000), (DEST_IP, 8080), "S", id="a lower address"),
        pytest.param(("20.109.131.6", 40000), (DEST_IP, 8080), "S", id="a higher address"),
        pytest.param((SRC_IP, 40000), ("20.111.156.71", 8080), "S", id="to another pod"),
        pytest.param((SRC_IP, 40000), ("20.111.156.73", 8080), "S", id="to yet another pod"),
        pytest.param((SRC_IP, 40000), (DEST_IP, 8079), "S", id="to a lower port"),
        pytest.param((SRC_IP, 40000), (DEST_IP, 8081), "S", id="to a higher port"),
        pytest.param((SRC_IP, 40000), (DEST_IP, 8080), "SA", id="an answer"),
        pytest.param((SRC_IP, 40000), (DEST_IP, 8080), "A", id="an acknowledgement"),
    ],
)
def test_only_the_client_s_own_syn_to_what_it_asked_opens_the_request(
    src: tuple[str, int], dst: tuple[str, int], flags: str
) -> None:
    assert ledger(cut(segment(1, src, dst, flags, seq=7))).opening == 999


def test_the_first_syn_opens_it_with_its_ecn_flags_too() -> None:
    first = segment(1, (SRC_IP, 35096), (DEST_IP, 8080), "SEC", seq=7)
    assert ledger(cut(first)).opening == 7


def test_a_packet_that_is_no_tcp_is_never_the_request() -> None:
    ping = Packet(1, 999.0, IPHeader(ip_address(SRC_IP), ip_address(DEST_IP), 1, 64), icmp=(8, 0))
    made = ledger(cut(ping))
    assert not made.is_request(ping)
    assert [packet.tcp is not None for packet in made.hop("source-veth").sightings] == [True]


def test_another_segment_with_the_opening_s_number_is_not_the_request() -> None:
    made = ledger(cut())
    assert not made.is_request(segment(1, (SRC_IP, 35096), (DEST_IP, 8080), "A", seq=999))
    assert not made.is_request(segment(1, (DEST_IP, 8080), (SRC_IP, 35096), "SA", seq=999))
    assert not made.is_request(segment(1, (SRC_IP, 35096), (DEST_IP, 8080), "S", seq=998))
    assert made.is_request(segment(1, (SRC_IP, 35096), (DEST_IP, 8080), "S", seq=999))


def test_a_hop_is_its_point_whatever_ledger_it_is_of() -> None:
    one, other = ledger(pod_request()), ledger(pod_request(name="the same, asked again"))
    assert one.hops == other.hops
    assert one.hops[0] != one.hops[1]
