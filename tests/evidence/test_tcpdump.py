from __future__ import annotations

import pytest

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.tcpdump import Counters, parse_counters

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
