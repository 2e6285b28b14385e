"""Every condition of a rule at its edges: the last value that fits and the first that doesn't."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.rulematch import matches, xmark
from pytest_k8snet.evidence.netfilter import Rule, Target, parse_iptables_save

PACKET = NewConnection(
    ip_address("20.109.131.5"),
    ip_address("10.107.94.97"),
    54176,
    8080,
    in_interface="cali1",
    out_interface="eth1",
)
YES, NO = 1.0, 0.0


def rule(conditions: str) -> Rule:
    rules = parse_iptables_save(f"*nat\n:X - [0:0]\n-A X {conditions}\nCOMMIT\n")
    return rules.tables["nat"]["X"].rules[0]


def judged(conditions: str, mark: int = 0, **packet: Any) -> float | None:
    return matches(rule(conditions), replace(PACKET, **packet), mark)


@pytest.mark.parametrize(
    ("wanted", "inside", "outside"),
    [
        ("8080", [8080], [8079, 8081]),
        ("8000:8090", [8000, 8045, 8090], [7999, 8091]),
        (":8090", [0, 1, 8090], [8091, 65535]),
        ("8000:", [8000, 65535], [0, 7999]),
        (":", [0, 65535], []),
    ],
)
def test_a_range_of_ports_has_both_its_ends(wanted: str, inside: list[int], outside: list[int]) -> None:
    for port in inside:
        assert judged(f"-p tcp -m tcp --dport {wanted}", dport=port) == YES
        assert judged(f"-p tcp -m tcp --sport {wanted}", sport=port, dport=9) == YES
        assert judged(f"-p tcp -m tcp ! --dport {wanted}", dport=port) == NO
    for port in outside:
        assert judged(f"-p tcp -m tcp --dport {wanted}", dport=port) == NO
        assert judged(f"-p tcp -m tcp --sport {wanted}", sport=port, dport=8080) == NO


def test_any_port_of_a_list_fits() -> None:
    for port, answer in ((80, YES), (443, YES), (9500, YES), (81, NO), (9000, YES), (9999, YES), (10000, NO)):
        assert judged("-m multiport --dports 80,443,9000:9999", dport=port) == answer


def test_ports_of_a_module_that_is_not_known_are_not_known() -> None:
    assert judged("-m dccp --dport 8080") is None
    assert judged("-p tcp --dport 8080") == YES


@pytest.mark.parametrize("protocol", ["tcp", "6", "all", "0"])
def test_tcp_by_its_names(protocol: str) -> None:
    assert judged(f"-p {protocol}") == YES
    assert judged(f"! -p {protocol}") == NO


@pytest.mark.parametrize(("name", "number"), [("tcp", "6"), ("udp", "17"), ("sctp", "132"), ("icmp", "1")])
def test_protocols_by_number(name: str, number: str) -> None:
    """IANA's protocol numbers; a rule may hold either."""
    assert judged(f"-p {number}", protocol=name) == YES
    for other in ("6", "17", "132", "1", "4", "47"):
        if other != number:
            assert judged(f"-p {other}", protocol=name) == NO


@pytest.mark.parametrize(
    ("option", "actual", "wanted", "answer"),
    [
        ("-i", "cali1", "cali1", YES),
        ("-i", "cali1", "cali+", YES),
        ("-i", "cali1", "+", YES),
        ("-i", "cali", "cali+", YES),
        ("-i", "cal", "cali+", NO),
        ("-i", "cali12", "cali1", NO),
        ("-i", "cali1", "cali12", NO),
        ("-i", "", "cali1", None),
        ("-o", "eth1", "eth1", YES),
        ("-o", "eth1", "cali1", NO),
        ("-o", "", "eth1", None),
    ],
)
def test_interfaces(option: str, actual: str, wanted: str, answer: float | None) -> None:
    at: dict[str, Any] = {"out_interface": actual}
    if option == "-i":
        at = {"in_interface": actual, "out_interface": "lo"}
    assert judged(f"{option} {wanted}", **at) == answer


@pytest.mark.parametrize(
    ("condition", "mark", "answer"),
    [
        ("--mark 0x1/0x3", 0b101, YES),
        ("--mark 0x1/0x3", 0b111, NO),
        ("--mark 0x1/0x3", 0b100, NO),
        ("--mark 0x3/0x1", 0b011, NO),
        ("--mark 0x1", 1, YES),
        ("--mark 0x1", 0x1_0001, NO),
        ("--mark 0x1", 0x8000_0001, NO),
        ("--mark 0x80000000", 0x8000_0000, YES),
        ("--mark 0xffffffff", 0xFFFF_FFFF, YES),
        ("--mark 16384/16384", 0x4000, YES),
        ("--mark 0x0/0x4000", 0x4000, NO),
    ],
)
def test_marks_are_compared_under_their_mask(condition: str, mark: int, answer: float) -> None:
    assert judged(f"-m mark {condition}", mark) == answer
    assert judged(f"-m mark ! {condition}", mark) == 1 - answer


def test_the_mark_of_a_connection_is_not_known() -> None:
    assert judged("-m connmark --mark 0x1") is None


@pytest.mark.parametrize(
    ("conditions", "local", "answer"),
    [
        ("--dst-type LOCAL", True, YES),
        ("--dst-type LOCAL", False, NO),
        ("! --dst-type LOCAL", True, NO),
        ("! --dst-type LOCAL", False, YES),
        ("--dst-type LOCAL --limit-iface-in", True, None),
        ("--dst-type LOCAL --limit-iface-in", False, NO),
        ("! --dst-type LOCAL --limit-iface-out", False, YES),
        ("--dst-type UNICAST", True, None),
        ("--dst-type BROADCAST", True, None),
        ("--dst-type UNICAST", False, None),
    ],
)
def test_address_types(conditions: str, local: bool, answer: float | None) -> None:
    assert judged(f"-m addrtype {conditions}", dst_local=local, src_local=not local) == answer
    for_source = conditions.replace("dst", "src")
    assert judged(f"-m addrtype {for_source}", src_local=local, dst_local=not local) == answer


def test_a_limit_of_another_module_is_not_known() -> None:
    assert judged("-m policy --limit-iface-in") is None


@pytest.mark.parametrize(
    ("states", "answer"), [("NEW", YES), ("RELATED,NEW", YES), ("RELATED,ESTABLISHED", NO)]
)
def test_a_new_connection_s_state(states: str, answer: float) -> None:
    assert judged(f"-m conntrack --ctstate {states}") == answer
    assert judged(f"-m state --state {states}") == answer


@pytest.mark.parametrize(
    "module", ["tcp", "udp", "sctp", "comment", "multiport", "mark", "addrtype", "conntrack"]
)
def test_modules_that_say_nothing_by_themselves(module: str) -> None:
    assert judged(f"-m {module}") == YES


@pytest.mark.parametrize(
    ("statistic", "answer"),
    [
        ("--mode random --probability 0.25", 0.25),
        ("--mode random ! --probability 0.25", 0.75),
        ("--mode random --probability 0.0", 0.0),
        ("--mode random --probability 1.0", 1.0),
        ("--mode random --probability 1.1", None),
        ("--mode random --probability -0.1", None),
        ("--mode nth --every 1 --packet 0", 1.0),
        ("--mode nth --every 3 --packet 0", 1 / 3),
        ("--mode nth ! --every 4 --packet 0", 0.75),
        ("--mode nth --every 0.5", None),
        ("--mode nth --every 0", None),
        ("--mode nth --probability 0.5", None),
        ("--mode random --every 2", None),
        ("--probability 0.5", None),
        ("--mode random --probability x", None),
    ],
)
def test_chances(statistic: str, answer: float | None) -> None:
    assert judged(f"-m statistic {statistic}") == answer


def test_one_condition_that_fails_makes_the_rule_fail_whatever_else_is_not_known() -> None:
    assert judged("-m recent --rcheck") is None
    assert judged("-p udp -m recent --rcheck") == NO
    assert judged("-m recent --rcheck -p udp") == NO
    assert judged("-m statistic --mode random --probability x -p udp") == NO
    assert judged("-m statistic --mode random --probability 0.5 -m recent --rcheck") is None
    assert judged("-m statistic --mode random --probability 0.5 -p tcp") == 0.5
    assert judged("") == YES


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ("--set-xmark 0x4000/0x4000", 0x3, 0x4003),
        ("--set-xmark 0x4000/0x4000", 0x4003, 0x4003),
        ("--set-xmark 0x4000/0x0", 0x4003, 0x3),
        ("--set-xmark 0x1", 0xFFFF_FFFF, 0x1),
        ("--set-mark 0x10/0xff00", 0xAB01, 0x11),
        ("--set-mark 0x1/0x0", 0x8000_0001, 0x8000_0001),
        ("--set-mark 0x0", 0xFFFF_FFFF, 0x0),
        ("--or-mark 0x6", 0x3, 0x7),
        ("--and-mark 0x6", 0x3, 0x2),
        ("--xor-mark 0x6", 0x3, 0x5),
        ("--or-mark 0x8 --and-mark 0xc", 0x7, 0xC),
    ],
)
def test_marks_after_a_target(options: str, before: int, after: int) -> None:
    target = rule(f"-j MARK {options}").target
    assert target is not None
    assert xmark(target, before) == after


@pytest.mark.parametrize("options", ["--set-mark x", "--set-xmark 0x1/y", "--set-mark", "--save-mark 0x1"])
def test_marks_that_are_not_known(options: str) -> None:
    target = rule(f"-j MARK {options}").target
    assert target is not None
    assert xmark(target, 1) is None


def test_a_target_without_options_keeps_the_mark() -> None:
    assert xmark(Target("MARK"), 5) == 5
