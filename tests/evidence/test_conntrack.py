from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8snet.evidence.conntrack import Connection, Tuple, parse_conntrack
from pytest_k8snet.evidence.errors import ParseError
from tests.evidence.samples import sample

LINE = sample("conntrack.txt").strip()
BEHIND_NODE_PORT = Connection(
    protocol="tcp",
    original=Tuple(ip_address("127.0.0.1"), ip_address("127.0.0.1"), 50354, 31080),
    reply=Tuple(ip_address("20.111.156.66"), ip_address("20.111.156.65"), 8080, 1881),
    state="TIME_WAIT",
    flags=frozenset({"ASSURED"}),
)


def test_the_tool_and_the_kernel_s_file_agree() -> None:
    assert parse_conntrack(sample("conntrack.txt")) == (BEHIND_NODE_PORT,)
    listed = parse_conntrack(sample("nf_conntrack.txt").encode())
    assert len(listed) == 30
    assert BEHIND_NODE_PORT in listed
    assert {connection.protocol for connection in listed} == {"tcp", "udp"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5 dport=53 packets=1 bytes=60 [UNREPLIED] "
            "src=10.0.0.2 dst=10.0.0.1 sport=53 dport=5 packets=0 bytes=0 mark=16384 use=1",
            ("udp", None, {"UNREPLIED"}, 16384),
        ),
        (
            "ipv6     10 tcp      6 src=fd00::1 dst=fd00::2 sport=5 dport=80 src=fd00::2 dst=fd00::1 "
            "sport=80 dport=5 [OFFLOAD] mark=0 secctx=system_u:object_r:x:s0 zone=1 use=2",
            ("tcp", None, {"OFFLOAD"}, 0),
        ),
    ],
)
def test_other_forms(line: str, expected: tuple[object, ...]) -> None:
    (connection,) = parse_conntrack(line)
    assert (connection.protocol, connection.state, connection.flags, connection.mark) == expected


def test_other_protocols_and_the_tool_s_own_line_are_left_out() -> None:
    text = (
        "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=3 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 "
        "id=3 mark=0 use=1\n\n"
        "unknown  2 599 src=10.0.0.1 dst=224.0.0.1 [UNREPLIED] src=224.0.0.1 dst=10.0.0.1 mark=0 use=1\n"
        "conntrack v1.4.7 (conntrack-tools): 2 flow entries have been shown.\n"
    )
    assert parse_conntrack(text) == ()
    assert parse_conntrack("") == ()
    # The tool says its line on standard error: joined, it may come first.
    assert parse_conntrack("\n".join(reversed(f"{LINE}\n{text}".splitlines()))) == (BEHIND_NODE_PORT,)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (LINE[: LINE.index(" [ASSURED]")], "the line is cut"),
        (LINE[: LINE.index("dport=1881")], "twice"),
        (LINE[:30], "twice"),
        (LINE[:24], "unknown line"),
        (LINE.replace("sport=8080", "sport=http"), "twice"),
        (LINE.replace("sport=8080", "sport=80800"), "twice"),
        (LINE.replace("src=20.111.156.66", "src=node1"), "twice"),
        (LINE.replace("mark=0", "mark=x"), "twice"),
        (LINE.replace("[ASSURED]", "[assured]"), "unknown word"),
        (LINE.replace("TIME_WAIT", "TIME_WAIT CLOSE"), "unknown word"),
        (LINE + " src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 use=1", "twice"),
        (LINE + " src=10.0.0.1", "twice"),
        ("conntrack v1.4.7 (conntrack-tools): Operation failed: no permission", "unknown line"),
        ("-bash: conntrack: command not found", "unknown line"),
    ],
)
def test_lines_that_are_not_conntrack_s(line: str, problem: str) -> None:
    with pytest.raises(ParseError, match=problem) as caught:
        parse_conntrack(f"{LINE}\n{line}\n")
    assert caught.value.near == line[:120]


@given(st.integers(1, len(LINE) - 1))
def test_a_cut_line_never_gives_another_connection(cut: int) -> None:
    try:
        (connection,) = parse_conntrack(LINE[:cut])
    except ParseError:
        return
    assert (connection.original, connection.reply) == (BEHIND_NODE_PORT.original, BEHIND_NODE_PORT.reply)


@given(st.text() | st.lists(st.sampled_from([*LINE.split(), "src=", "=", "[", "udp", "17"])).map(" ".join))
def test_arbitrary_text_gives_connections_or_a_parse_error(text: str) -> None:
    try:
        parse_conntrack(text)
    except ParseError:
        return
