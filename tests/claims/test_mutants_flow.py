"""Times on both sides of each limit that the flow's order rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_k8snet.claims.flow import Sighting, breaks, clock_jump, disorder, same_bytes, ttl_change
from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.evidence.observations import TracedRequest
from pytest_k8snet.evidence.packets import Packet
from pytest_k8snet.intent import Intent
from tests.claims.scenes import DEST_IP, NOISE, SRC_IP, packets_at, pod_request, segment, with_point

START = 1000.0


def sightings(request: TracedRequest) -> list[Sighting]:
    return [(hop, hop.packet) for hop in Ledger.of(request, Intent()).hops]


def stepping(*steps: float) -> TracedRequest:
    """The request, its packets on pod-src's interface these seconds apart, and at all times on its uplink."""
    packets = packets_at(pod_request(), "source-veth")
    assert len(steps) == len(packets) - 1
    times = [START]
    for step in steps:
        times.append(times[-1] + step)
    timed = tuple(replace(packet, time=time) for packet, time in zip(packets, times, strict=True))
    request = with_point(pod_request(), "source-veth", timed)
    return with_point(request, "source-uplink", moved(packets_at(request, "source-uplink"), times[3]))


def moved(packets: Sequence[Packet], time: float) -> tuple[Packet, ...]:
    return tuple(replace(packet, time=time) for packet in packets)


def jump(request: TracedRequest, *, disordered: bool = False) -> str:
    found = clock_jump(sightings(request), disordered=disordered)
    return found[1].removesuffix(" during the capture") if found else ""


@pytest.mark.parametrize(
    ("back", "disordered", "words"),
    [
        (0.0, True, ""),
        (-0.0005, True, ""),
        (-0.5, True, "the clock of k8s-node2 jumped back by 0.500 s"),
        (-0.5, False, ""),
        (-1.0, False, ""),
        (-1.5, False, "the clock of k8s-node2 jumped back by 1.500 s"),
        (-1.5, True, "the clock of k8s-node2 jumped back by 1.500 s"),
    ],
)
def test_a_step_back_in_one_capture(back: float, disordered: bool, words: str) -> None:
    assert jump(stepping(0.0, 0.0, 0.0, 0.0, 0.0, back), disordered=disordered) == words


def test_the_largest_step_back_counts() -> None:
    request = stepping(0.0, 0.0, 0.0, -2.0, -3.0, -2.5)
    assert jump(request) == "the clock of k8s-node2 jumped back by 3.000 s"


@pytest.mark.parametrize(
    ("silence", "words"),
    [(59.5, ""), (60.0, ""), (60.5, "the clock of k8s-node2 jumped ahead by 60.500 s")],
)
def test_a_silence_that_no_request_outlasts(silence: float, words: str) -> None:
    assert jump(stepping(0.0, 0.0, 0.0, 0.0, silence, 0.0)) == words


def test_only_the_request_s_own_packets_may_be_silent_too_long() -> None:
    packets = packets_at(pod_request(), "source-veth")
    earlier = replace(NOISE[0], time=START - 3600)
    assert jump(with_point(pod_request(), "source-veth", (earlier, *packets))) == ""


@pytest.mark.parametrize(
    ("apart", "words"),
    [
        (0.0, ""),
        (1.0, ""),
        (-1.0, ""),
        (1.5, "the clock of k8s-node2 jumped ahead by 1.500 s"),
        (-1.5, "the clock of k8s-node2 jumped back by 1.500 s"),
    ],
)
def test_no_node_holds_a_packet_for_a_second(apart: float, words: str) -> None:
    request = stepping(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    later = moved(packets_at(request, "source-uplink"), START + apart)
    assert jump(with_point(request, "source-uplink", later)) == words


@pytest.mark.parametrize(
    ("apart", "words"),
    [(0.0, ""), (0.25, ""), (-0.25, "seen 0.250000 s earlier than before it was forwarded")],
)
def test_the_order_on_one_node(apart: float, words: str) -> None:
    request = stepping(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    request = with_point(request, "source-uplink", moved(packets_at(request, "source-uplink"), START + apart))
    before, after, other_node, _ = sightings(request)
    assert disorder(before, after) == words
    assert disorder(after, (other_node[0], replace(other_node[1], time=0.0))) == "", "clocks of nodes differ"


@pytest.mark.parametrize(
    ("fall", "words"), [(1, ""), (0, "TTL 64 became 64"), (2, "TTL 64 became 62"), (-1, "TTL 64 became 65")]
)
def test_one_node_takes_one_from_the_ttl(fall: int, words: str) -> None:
    before, after, *_ = sightings(pod_request())
    new = replace(after[1], ip=replace(after[1].ip, ttl=before[1].ip.ttl - fall))
    assert ttl_change(before, (after[0], new)).startswith(words)
    assert bool(ttl_change(before, (after[0], new))) == bool(words)


@pytest.mark.parametrize("fall", [0, 1, 2, -1])
@pytest.mark.parametrize("tunnelled", [True, False])
def test_between_the_uplinks_of_one_network_the_ttl_stays(fall: int, tunnelled: bool) -> None:
    _, before, after, _ = sightings(pod_request())
    ttl = before[1].ip.ttl - fall
    new = replace(after[1], ip=replace(after[1].ip, ttl=ttl))
    if not tunnelled:
        new = replace(new, tunnels=())
    words = "" if fall == 0 else f"TTL {before[1].ip.ttl} became {ttl} between two uplinks"
    assert ttl_change(before, (after[0], new)) == words


def carrying(seq: int, payload: bytes) -> Packet:
    return segment(1, (SRC_IP, 35096), (DEST_IP, 8080), payload=payload, seq=seq)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ((1000, b"abcdef"), (1000, b"abcdef"), True),
        ((1000, b"abcdef"), (1000, b"abc"), True),
        ((1000, b"abcdef"), (1003, b"def"), True),
        ((1000, b"abcdef"), (1005, b"fgh"), True),
        ((1000, b"abcdef"), (1005, b"xgh"), False),
        ((1000, b"abcdef"), (1006, b"ghi"), False),
        ((1000, b"abcdef"), (1000, b""), False),
        ((1000, b"abcdef"), (1000, b"abcdeX"), False),
        ((2**32 - 3, b"abcdef"), (0, b"def"), True),
        ((2**32 - 3, b"abcdef"), (0, b"abc"), False),
        ((2**32 - 3, b"abcdef"), (1, b"def"), False),
    ],
)
def test_the_same_bytes_where_they_overlap(a: tuple[int, bytes], b: tuple[int, bytes], same: bool) -> None:
    """Sequence numbers count modulo 2**32 (RFC 9293, 3.4)."""
    assert same_bytes(carrying(*a), carrying(*b)) is same
    assert same_bytes(carrying(*b), carrying(*a)) is same


@pytest.mark.parametrize("port", [1024, 35095, 35097, 60000])
def test_ports_that_conntrack_does_not_record(port: int) -> None:
    before, after, *_ = sightings(pod_request())
    assert list(breaks(before, after, before[0].ledger)) == []
    assert after[1].tcp is not None
    other = replace(after[1], tcp=replace(after[1].tcp, sport=port))
    (words,) = breaks(before, (after[0], other), before[0].ledger)
    assert words == f"ports (35096, 8080) became ({port}, 8080), which conntrack does not record"
