from __future__ import annotations

import pytest

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.tcpdump import Counters, all_read, parse_counters

SAID = """tcpdump: listening on lo, link-type EN10MB (Ethernet), snapshot length 262144 bytes
2 packets captured
4 packets received by filter
0 packets dropped by kernel
"""


def test_a_real_tcpdump() -> None:
    assert parse_counters(SAID) == Counters(captured=2, received=4, dropped=0)


def test_other_forms() -> None:
    one = b"^C1 packet captured\r\n".replace(b"^C", b"") + b"1 packet received by filter\r\n"
    losses = b"1 packet dropped by kernel\r\n7 packets dropped by interface\r\n"
    assert parse_counters(one + losses) == Counters(1, 1, 1, 7)


def test_the_last_counters_count() -> None:
    assert parse_counters(SAID.replace("2 packets", "1 packets") + SAID).captured == 2


def test_what_it_said_last_is_shown() -> None:
    text = "tcpdump: verbose output suppressed\n" + SAID.replace("4 packets", "four packets")
    with pytest.raises(ParseError, match="received by filter") as caught:
        parse_counters(text)
    assert caught.value.near == (
        "2 packets captured | four packets received by filter | 0 packets dropped by kernel"
    )


@pytest.mark.parametrize(
    ("captured", "received", "read"),
    [(0, 0, True), (9, 9, True), (8, 9, False), (0, 1, False), (10, 9, True)],
)
def test_whether_all_was_read(captured: int, received: int, read: bool) -> None:
    counters = f"{captured} packets captured, {received} packets received by filter"
    assert all_read(f"tcpdump: {counters}, 0 packets dropped by kernel".encode()) is read


def test_a_report_that_says_nothing_says_not_that_all_was_read() -> None:
    for report in (b"", b"tcpdump: listening on eth1", b"4 packets received by filter", b"\xff"):
        assert not all_read(report)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "captured"),
        ("tcpdump: eth9: No such device exists", "captured"),
        (SAID[: SAID.index("0 packets")], "dropped by kernel"),
        (SAID.replace("4 packets", "four packets"), "received by filter"),
        ("tcpdump: pcap_loop: The interface disappeared\n" + SAID, "ended by itself"),
    ],
)
def test_output_without_the_counters(text: str, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_counters(text)
