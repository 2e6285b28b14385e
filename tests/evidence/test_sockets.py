from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.sockets import Listener, parse_netstat, parse_ss
from tests.evidence.samples import sample

NETSTAT_HEADER = (
    "Active Internet connections (only servers)\n"
    "Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name\n"
)


def test_ss_on_a_real_node() -> None:
    listeners = parse_ss(sample("ss.txt"))
    assert listeners == parse_ss(sample("ss-header.txt").encode())
    assert len(listeners) == 10
    node_port = next(listener for listener in listeners if listener.port == 31080)
    assert node_port == Listener(ip_address("0.0.0.0"), 31080, (("k3s", 18592),))
    assert node_port.everywhere
    assert listeners[0].loopback_only
    assert listeners[-1].address is None
    assert listeners[-1].everywhere
    assert not listeners[-1].loopback_only


def test_netstat_on_the_same_node() -> None:
    listeners = parse_netstat(sample("netstat.txt"))
    assert [listener.port for listener in listeners] == [
        listener.port for listener in parse_ss(sample("ss.txt"))
    ]
    # netstat cuts "k3s server" to the width of its column
    assert Listener(ip_address("0.0.0.0"), 31080, (("k3s se", 18592),)) in listeners


def test_the_document_s_line() -> None:
    line = "tcp    0  0 0.0.0.0:31080       0.0.0.0:*    LISTEN     3426/kube-proxy"
    assert parse_netstat(NETSTAT_HEADER + line) == (
        Listener(ip_address("0.0.0.0"), 31080, (("kube-proxy", 3426),)),
    )
    nobody = "tcp6   0  0 :::31080            :::*         LISTEN     -"
    assert parse_netstat(NETSTAT_HEADER + nobody) == (Listener(ip_address("::"), 31080),)
    unprivileged = "tcp    0  0 0.0.0.0:31080       0.0.0.0:*    LISTEN"
    assert parse_netstat(NETSTAT_HEADER + unprivileged) == (Listener(ip_address("0.0.0.0"), 31080),)


@pytest.mark.parametrize(
    ("local", "listener"),
    [
        ("127.0.0.53%lo:53", Listener(ip_address("127.0.0.53"), 53, device="lo")),
        ("[::]:80", Listener(ip_address("::"), 80)),
        ("[::1]%lo:80", Listener(ip_address("::1"), 80, device="lo")),
        ("[fe80::1%eth0]:80", Listener(ip_address("fe80::1"), 80, device="eth0")),
        (":::80", Listener(ip_address("::"), 80)),
        ("*%docker0:80", Listener(None, 80, device="docker0")),
        ("[::ffff:127.0.0.1]:80", Listener(ip_address("127.0.0.1"), 80)),
    ],
)
def test_addresses(local: str, listener: Listener) -> None:
    assert parse_ss(f"LISTEN 0 128 {local} *:*") == (listener,)


def test_process_names_may_hold_anything() -> None:
    users = '(("a \\"b",pid=1,fd=3),("a \\"b",pid=1,fd=4),("c",pid=2,fd=5))'
    (listener,) = parse_ss(f"LISTEN 0 128 *:80 *:* users:{users}")
    assert listener.processes == (('a \\"b', 1), ("c", 2))
    (listener,) = parse_ss(b'LISTEN 0 128 *:80 *:* users:(("\xff",pid=1,fd=3))')
    assert listener.processes == (("\\xff", 1),)


@pytest.mark.parametrize(
    ("local", "everywhere", "loopback_only"),
    [
        ("*:80", True, False),
        ("0.0.0.0:80", True, False),
        ("[::]:80", True, False),
        ("192.168.219.23:80", False, False),
        ("127.0.0.53%lo:80", False, True),
        ("[::1]:80", False, True),
    ],
)
def test_how_far_a_listener_is_reached(local: str, everywhere: bool, loopback_only: bool) -> None:
    (listener,) = parse_ss(f"LISTEN 0 128 {local} *:*")
    assert listener.everywhere is everywhere
    assert listener.loopback_only is loopback_only


def test_nothing_listens() -> None:
    assert parse_ss("") == ()
    assert parse_netstat(NETSTAT_HEADER) == ()


ROW = "LISTEN 0 4096 0.0.0.0:31080 0.0.0.0:*"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ss: command not found", "unknown line"),
        (ROW.replace("LISTEN", "ESTAB"), "unknown line"),
        (ROW.replace(":31080", ":http"), "no numeric address and port"),
        (ROW.replace(":31080", ":99999"), "no numeric address and port"),
        (ROW.replace("0.0.0.0:3", "node2:3"), "no numeric address and port"),
        (ROW.replace("0.0.0.0:3", ":3"), "no numeric address and port"),
        (ROW[:-9], "unknown line"),
        (ROW + ' users:(("kube-proxy",pid=1,fd=2)', "unknown process list"),
        (ROW + ' users:(("kube-proxy",pid=1', "unknown line"),
        (ROW + " users:(x)", "unknown process list"),
        (ROW + " 0:1 what", "unknown line"),
    ],
)
def test_lines_that_are_not_ss_s(text: str, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_ss(f"{ROW}\n{text}\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no header line"),
        ("tcp 0 0 0.0.0.0:31080 0.0.0.0:* LISTEN 1/x", "no header line"),
        (NETSTAT_HEADER + "tcp 0 0 0.0.0.0:310", "unknown line"),
        (NETSTAT_HEADER + "tcp 0 0 0.0.0.0:ntp 0.0.0.0:* LISTEN 1/x", "no numeric address"),
        (NETSTAT_HEADER + "tcp 0 0 0.0.0.0:80 0.0.0.0:* LISTEN x/1", "unknown line"),
        ("netstat: command not found", "unknown line"),
    ],
)
def test_lines_that_are_not_netstat_s(text: str, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_netstat(text)


@given(st.text(), st.sampled_from(["", "LISTEN 0 1 ", ROW + " users:(", ROW + ' users:(("']))
def test_arbitrary_text_gives_listeners_or_a_parse_error(text: str, before: str) -> None:
    for parse in (parse_ss, parse_netstat):
        try:
            parse(before + text)
        except ParseError:
            continue
