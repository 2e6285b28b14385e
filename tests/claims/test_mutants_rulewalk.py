"""What a walk must add up: shares, marks and ends of every branch, and how deep it may go."""

from __future__ import annotations

import base64
import hashlib
from ipaddress import ip_address

import pytest

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.rulewalk import service_chain_name, walk
from pytest_k8snet.claims.walks import MASQUERADE_MARK, Walk
from tests.claims.scenes import rules_of

PACKET = NewConnection(ip_address("20.109.131.5"), ip_address("10.107.94.97"), 54176, 8080)
HALF = "-m statistic --mode random --probability 0.5"
MASQ = "-j MARK --set-xmark 0x4000/0x4000"


def walked(*rules: str, chains: str = "", policy: str = "ACCEPT", mark: int = 0) -> Walk:
    head = [f":PREROUTING {policy}", *(f":{name} -" for name in chains.split())]
    return walk(rules_of("\n".join([*head, *(f"-A {rule}" for rule in rules)])), PACKET, mark=mark)


def to(last: int, port: int = 8080) -> str:
    return f"-j DNAT --to-destination 10.0.0.{last}:{port}"


def ends_of(result: Walk) -> dict[str, float]:
    return {f"{ip}:{port}": round(share, 9) for ip, port, share in result.endpoints}


def test_kube_proxy_marks_with_bit_14() -> None:
    assert MASQUERADE_MARK == 1 << 14


def test_branches_to_one_endpoint_add_up() -> None:
    result = walked(
        f"PREROUTING {HALF} -j A", f"PREROUTING {to(1)}", f"A {HALF} {to(1)}", f"A {to(2)}", chains="A"
    )
    assert ends_of(result) == {"10.0.0.1:8080": 0.75, "10.0.0.2:8080": 0.25}
    assert result.ends == ()


def test_branches_that_a_chain_leaves_both_ways_add_up() -> None:
    """A: a quarter returns, a quarter falls off its end, half is DNATed; behind the jump all meet again."""
    result = walked(
        "PREROUTING -j A", f"PREROUTING {to(2)}", f"A {HALF} {to(1)}", f"A {HALF} -j RETURN", chains="A"
    )
    assert ends_of(result) == {"10.0.0.1:8080": 0.5, "10.0.0.2:8080": 0.5}


def test_a_chain_that_is_entered_twice_is_walked_for_each_mark() -> None:
    result = walked(
        f"PREROUTING {HALF} {MASQ}",
        "PREROUTING -j A",
        f"A -m mark --mark 0x4000/0x4000 {to(1)}",
        f"A {to(2)}",
        chains="A",
    )
    assert ends_of(result) == {"10.0.0.1:8080": 0.5, "10.0.0.2:8080": 0.5}


@pytest.mark.parametrize(
    ("rules", "masquerade", "mark"),
    [
        ([f"PREROUTING {MASQ}", f"PREROUTING {to(1)}"], True, 0x4000),
        ([f"PREROUTING {to(1)}"], False, 0),
        ([f"PREROUTING {HALF} {to(1)}", f"PREROUTING {MASQ}", f"PREROUTING {to(2)}"], False, 0),
        (["PREROUTING -j MARK --set-xmark 0x8000/0x8000", f"PREROUTING {to(1)}"], False, 0x8000),
        (["PREROUTING -j MARK --set-xmark 0x2000/0x2000", f"PREROUTING {to(1)}"], False, 0x2000),
        ([f"PREROUTING {MASQ}", "PREROUTING -j ACCEPT"], False, 0x4000),
    ],
)
def test_masqueraded_is_what_every_dnated_branch_is_marked_for(
    rules: list[str], masquerade: bool, mark: int
) -> None:
    result = walked(*rules)
    assert (result.masquerade, result.mark) == (masquerade, mark)


def test_the_mark_is_that_of_a_dnated_branch_before_an_end_s() -> None:
    result = walked(f"PREROUTING {HALF} -j ACCEPT", f"PREROUTING {MASQ}", f"PREROUTING {to(1)}")
    assert (result.mark, result.ends) == (0x4000, ("ACCEPT",))


@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
def test_what_falls_off_or_returns_meets_the_policy_once(policy: str) -> None:
    result = walked(f"PREROUTING {HALF} -j RETURN", f"PREROUTING {HALF} -j DROP", policy=policy)
    assert result.ends == (f"policy {policy}", "DROP")


def test_a_rule_that_never_matches_leads_nowhere() -> None:
    never = "-m statistic --mode random --probability 0.0"
    result = walked(f"PREROUTING {never} {to(1)}")
    assert (result.endpoints, result.path, result.ends) == ((), (), ("policy ACCEPT",))


def test_a_rule_that_always_matches_lets_nothing_past() -> None:
    always = "-m statistic --mode random --probability 1.0"
    result = walked(f"PREROUTING {always} {to(1)}", f"PREROUTING {to(2)}")
    assert ends_of(result) == {"10.0.0.1:8080": 1.0}


def test_a_rule_stands_once_in_the_path() -> None:
    result = walked(f"PREROUTING {HALF} {MASQ}", "PREROUTING -j A", f"A {to(1)}", chains="A")
    assert [rule.split()[1] for rule in result.path] == ["PREROUTING", "PREROUTING", "A"]
    assert len(set(result.path)) == len(result.path)


def nested(chains: int) -> Walk:
    """``chains`` chains one in the other, PREROUTING among them, DNAT in the last."""
    names = [f"C{number}" for number in range(chains - 1)]
    ways = [f"{here} -j {there}" for here, there in zip(["PREROUTING", *names], names, strict=False)]
    return walked(*ways, f"{names[-1]} {to(1)}", chains=" ".join(names))


def test_a_hundred_nested_chains_are_followed_and_no_more() -> None:
    assert ends_of(nested(100)) == {"10.0.0.1:8080": 1.0}
    assert nested(101).unknown == "more than 100 nested chains at C99"


def test_a_chain_may_be_entered_again_when_it_was_left() -> None:
    result = walked(
        "PREROUTING -j A", "PREROUTING -j B", "PREROUTING -j A", f"PREROUTING {to(1)}", "B -j A", chains="A B"
    )
    assert (result.unknown, ends_of(result)) == (None, {"10.0.0.1:8080": 1.0})


def test_what_a_scout_finds_is_found_again() -> None:
    """Behind an unknown match a chain is looked into first; a real jump there must still be in the path."""
    result = walked(
        "PREROUTING -m recent --rcheck -j A",
        "PREROUTING -j A",
        f"PREROUTING {to(1)}",
        "A -p tcp -j B",
        chains="A B",
    )
    assert (result.unknown, ends_of(result)) == (None, {"10.0.0.1:8080": 1.0})
    assert "-A A -p tcp -j B" in result.path


@pytest.mark.parametrize("target", ["-j RETURN", "-j ACCEPT", to(1), "-j MARK --save", "-j NOBODY"])
def test_an_unknown_match_before_a_target_that_counts_is_not_known(target: str) -> None:
    result = walked(f"PREROUTING -m recent --rcheck {target}", f"PREROUTING {to(2)}")
    assert "a match of this rule is not known" in str(result.unknown)


@pytest.mark.parametrize("target", ["-j RETURN", "-j ACCEPT", "-j A"])
def test_an_unknown_match_is_harmless_where_the_packet_ends_the_same(target: str) -> None:
    result = walked(f"PREROUTING -m recent --rcheck {target}", "A -j ACCEPT", chains="A")
    assert (result.unknown, result.ends, result.mark) == (None, ("policy ACCEPT",), 0)


def test_a_mark_behind_an_unknown_match_is_not_known() -> None:
    result = walked(f"PREROUTING -m recent --rcheck {MASQ}", f"PREROUTING {to(1)}")
    assert (result.unknown, result.masquerade, result.mark) == (None, None, None)
    assert ends_of(result) == {"10.0.0.1:8080": 1.0}
    assert result.path == (f"-A PREROUTING {to(1)}",)


def test_not_more_than_four_unknown_matches_are_tried() -> None:
    accepting = [f"PREROUTING -m recent --rcheck --name {n} -j ACCEPT" for n in range(5)]
    assert walked(*accepting[:4]).unknown is None
    assert "--name 4" in str(walked(*accepting).unknown) or "--name 0" in str(walked(*accepting).unknown)


def test_an_unknown_match_before_a_mark_that_is_there_already_is_harmless() -> None:
    assert walked(f"PREROUTING -m recent --rcheck {MASQ}", mark=0x4000).unknown is None


@pytest.mark.parametrize(
    ("destination", "ip", "port"),
    [
        ("10.0.0.1:80", "10.0.0.1", 80),
        ("10.0.0.1", "10.0.0.1", 8080),
        ("[fd00::1]:80", "fd00::1", 80),
        ("[fd00::1]", "fd00::1", 8080),
        ("fd00::1", "fd00::1", 8080),
        ("::1", "::1", 8080),
    ],
)
def test_destinations_with_and_without_a_port(destination: str, ip: str, port: int) -> None:
    (found,) = walked(f"PREROUTING -j DNAT --to-destination {destination}").endpoints
    assert found == (ip_address(ip), port, 1.0)


@pytest.mark.parametrize(
    "options",
    [
        "--to-destination 10.0.0.1 10.0.0.2",
        "--to-destination 10.0.0.1 --to-destination 10.0.0.2",
        "--to-destination",
        "--persistent",
    ],
)
def test_a_dnat_without_one_destination_is_not_known(options: str) -> None:
    assert "names no single destination" in str(walked(f"PREROUTING -j DNAT {options}").unknown)


def test_reaching_means_address_and_port() -> None:
    result = walked(f"PREROUTING {HALF} {to(1, 80)}", f"PREROUTING {to(2, 81)}")
    reached = [result.reaches(ip_address(f"10.0.0.{last}"), port) for last in (1, 2) for port in (80, 81)]
    assert reached == [True, False, False, True]


def test_the_text_says_every_end() -> None:
    result = walked(f"PREROUTING {HALF} {to(1)}", f"PREROUTING {HALF} -j DROP")
    assert result.text.splitlines() == [
        f"-A PREROUTING {HALF} {to(1)}",
        f"-A PREROUTING {HALF} -j DROP",
        "-> DNAT 10.0.0.1:8080 with probability 0.5",
        "-> DROP",
        "-> policy ACCEPT",
    ]
    assert walked("PREROUTING -j NOBODY").text.splitlines()[-1].startswith("-> unknown: target NOBODY")


def test_a_service_port_without_a_name_is_hashed_without_a_colon() -> None:
    def hashed(name: str) -> str:
        return "KUBE-SVC-" + base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:16]

    assert service_chain_name("default", "dns") == hashed("default/dnstcp")
    assert service_chain_name("default", "dns", "dns", "UDP") == hashed("default/dns:dnsudp")
