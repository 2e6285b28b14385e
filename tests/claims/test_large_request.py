"""mtu-fits where the large transfer is the request: applications that have no large answer to give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest

from pytest_k8snet.claims import pod_network
from pytest_k8snet.claims.mtu import LARGE
from pytest_k8snet.claims.verdict import Verdict
from pytest_k8snet.evidence.observations import PodNetworkLab
from pytest_k8snet.evidence.packets import IPHeader, Packet
from pytest_k8snet.intent import Intent
from tests.claims import scenes
from tests.claims.judge import assert_broken, assert_held, assert_inconclusive
from tests.claims.scenes import (
    ANSWER,
    DEST_IP,
    MASTER,
    NODE1,
    NODE2,
    OPENING,
    PORT,
    SRC_IP,
    Leg,
    answered,
    failed,
    get,
    ok,
    packets_at,
    sent,
    with_point,
    wrapped,
)

INTENT = Intent()
VETH = Leg((SRC_IP, 35096), (DEST_IP, PORT), 64, 62)
UPLINK = wrapped(replace(VETH, ttl=63, back_ttl=63))
POINTS = {"source-veth": VETH, "source-uplink": UPLINK, "target-uplink": UPLINK, "target-veth": VETH}
URL = f"http://{DEST_IP}:8080/hostname"
CHUNK = 8192
Make = Callable[[Leg], tuple[Packet, ...]]  #: what is seen of one form of the conversation
FIRST = 2**32 - 5000  #: the request's first byte: sequence numbers wrap on the way


def uploaded(
    leg: Leg, size: int, *, acked: int | None = None, server: Sequence[tuple[str, bytes]] = (("PA", ANSWER),)
) -> tuple[Packet, ...]:
    """A request of ``size`` bytes, acknowledged as far as ``acked``; then what the server sends."""
    body = get() + b"x" * (size - len(get()))
    chunks = [(start, body[start : start + CHUNK]) for start in range(0, size, CHUNK)]
    acked = size if acked is None else acked
    acks = [min(start + len(chunk), acked) for start, chunk in chunks]
    events = [(True, "PA", chunk, (FIRST + start) % 2**32) for start, chunk in chunks]
    answers = [*(("A", b"") for _ in acks), *server]
    packets = sent([leg], (*OPENING, *events, *((False, *answer, 5000) for answer in answers)), 1000.0)
    told = iter([0, *acks, *(acked for _ in server)])
    return tuple(
        replace(p, tcp=replace(p.tcp, ack=(FIRST + next(told)) % 2**32))
        if p.tcp is not None and p.tcp.seq in (4999, 5000)
        else p
        for p in packets
    )


def lab(
    size: int = 96 * 1024, *, status: int = 200, error: str = "", make: Make | None = None
) -> PodNetworkLab:
    whole = scenes.pod_network()
    exchange = replace(answered(URL), status=status, error=error)
    large = replace(whole.request, upload=True, answer=ok(exchange, "curl --data-binary", "pod-src"))
    for point, leg in POINTS.items():
        large = with_point(large, point, make(leg) if make else uploaded(leg, size))
    return replace(whole, large=large)


def judge(made: PodNetworkLab) -> Verdict:
    return pod_network.mtu_fits(made, INTENT)


def test_held() -> None:
    verdict = judge(lab())
    assert_held(verdict)
    assert "98304 bytes, HTTP 200" in verdict.seen


def test_any_answer_will_do() -> None:
    """What is asked is whether the packets arrived, not whether the application likes them."""
    assert_held(judge(lab(status=404)))


def test_64_kib_to_the_byte() -> None:
    assert_held(judge(lab(LARGE)))
    assert_inconclusive(judge(lab(LARGE - 1)), "65535 bytes, HTTP 200: too small to show anything")


def test_sent_is_not_arrived() -> None:
    """The server answered, and acknowledged a part."""
    made = lab(make=lambda leg: uploaded(leg, 96 * 1024, acked=30000))
    assert_inconclusive(judge(made), "30000 bytes, HTTP 200")


@pytest.mark.parametrize("flags", ["R", "RA", "FA"])
def test_a_server_that_ends_the_connection(flags: str) -> None:
    made = lab(
        status=0,
        error="(56) Recv failure: Connection reset by peer",
        make=lambda leg: uploaded(leg, 96 * 1024, acked=14000, server=((flags, b""),)),
    )
    verdict = judge(made)
    assert_inconclusive(verdict, "14000 bytes, no answer", "the server ended the connection")
    assert "--k8snet-images agnhost" in verdict.advice


def test_a_server_that_never_answers() -> None:
    made = lab(status=0, error="(28) timed out", make=lambda leg: uploaded(leg, 96 * 1024, server=()))
    verdict = judge(made)
    assert_inconclusive(verdict, "98304 bytes, no answer ((28) timed out)")
    assert "full-sized packets pass" in verdict.advice


@pytest.mark.parametrize("acked", [0, 1000])
def test_a_black_hole(acked: int) -> None:
    """Full-sized packets are sent again and again, and the target sees none of them."""

    def make(leg: Leg) -> tuple[Packet, ...]:
        if leg is VETH and acked == 0:
            return sent([leg], OPENING, 1000.0)
        return uploaded(leg, 96 * 1024, acked=acked, server=())

    made = lab(status=0, error="(28) timed out", make=make)
    verdict = judge(made)
    assert_broken(verdict, f"{acked} bytes, no answer ((28) timed out)", "full-sized packets vanish")
    assert verdict.cause == "the large request was not answered ((28) timed out); the small one was"
    unanswered = replace(made.request, answer=failed("curl", "pod-src"))
    verdict = judge(replace(made, request=unanswered))
    assert_inconclusive(verdict, f"{acked} bytes")
    assert "not even the small request was answered" in verdict.advice


def test_a_capture_that_can_t_tell() -> None:
    made = lab()
    blind = with_point(made.large, "target-veth", run=failed("tcpdump", "k8s-node1"))
    assert_inconclusive(judge(replace(made, large=blind)), "command not found")
    empty = replace(made, large=with_point(made.large, "target-veth", ()))
    assert_inconclusive(judge(empty), "the capture holds no IP packet")
    dropped = with_point(made.large, "target-veth", packets_at(made.large, "target-veth"), dropped=3)
    assert_inconclusive(judge(replace(made, large=dropped)), "the kernel dropped 3 packets")


@pytest.mark.parametrize("point", ["source-uplink", "target-uplink"])
def test_fragments(point: str) -> None:
    made = lab()
    outer = IPHeader(ip_address(NODE2), ip_address(NODE1), 4, 64, more_fragments=True)
    packets = (*packets_at(made.large, point), Packet(99, 0.0, outer))
    verdict = judge(replace(made, large=with_point(made.large, point, packets)))
    assert_broken(verdict, "packet 99 is an IP fragment")
    assert "a large request without fragments" in verdict.expected


@pytest.mark.parametrize("point", list(POINTS))
def test_the_sender_is_asked_for_smaller_packets(point: str) -> None:
    made = lab()
    header = IPHeader(ip_address(NODE2), ip_address(SRC_IP), 1, 64)
    packets = (*packets_at(made.large, point), Packet(99, 0.0, header, icmp=(3, 4)))
    assert_broken(
        judge(replace(made, large=with_point(made.large, point, packets))), "ICMP fragmentation needed"
    )


@pytest.mark.parametrize("point", ["source-uplink", "target-uplink"])
def test_the_large_request_went_beside_the_tunnel(point: str) -> None:
    made = lab()
    bare, astray = uploaded(VETH, 96 * 1024), uploaded(wrapped(VETH, there=MASTER), 96 * 1024)
    for packets in (bare, astray, (*packets_at(made.large, point), replace(bare[4], number=99))):
        beside = replace(made, large=with_point(made.large, point, packets))
        assert_inconclusive(judge(beside), "the large request did not use the tunnel")
    nothing = replace(made, large=with_point(made.large, point, scenes.NOISE))
    assert_broken(judge(nothing), "nothing of the request")
