from __future__ import annotations

import json
from ipaddress import ip_interface
from typing import Any

import pytest

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.interfaces import Interface, host_ends, named, parse_addresses
from tests.evidence.samples import sample


def listing(**changes: Any) -> str:
    entry: dict[str, Any] = {"ifindex": 4, "ifname": "eth0", "flags": ["UP"], "mtu": 1480, "addr_info": []}
    entry.update(changes)
    return json.dumps([{key: value for key, value in entry.items() if value is not ...}])


def test_a_pod_and_its_host_end_on_docker() -> None:
    inside = named(parse_addresses(sample("ip-addr-pod.json")), "eth0")
    assert inside == Interface(
        index=2,
        name="eth0",
        mtu=1500,
        kind="veth",
        up=True,
        peer_index=6,
        peer_netnsid=0,
        mac="8e:fa:8a:7c:e7:fd",
        addresses=(ip_interface("20.111.156.66/26"),),
    )
    (outside,) = host_ends(inside, parse_addresses(sample("ip-link.json")))
    assert (outside.name, outside.index, outside.peer_index, outside.peer_netnsid) == (
        "veth557e700c",
        6,
        2,
        0,
    )


def test_a_pod_and_its_host_end_on_containerd() -> None:
    inside = named(parse_addresses(sample("containerd-ip-addr-pod.json")), "eth0")
    assert inside is not None
    (outside,) = host_ends(inside, parse_addresses(sample("containerd-ip-link.json")))
    assert outside.kind == "veth"


def test_the_node_without_details() -> None:
    interfaces = parse_addresses(sample("ip-addr-node.json"))
    assert [interface.name for interface in interfaces][:2] == ["lo", "ifb0"]
    eth0 = named(interfaces, "eth0")
    assert eth0 is not None
    assert eth0.kind is None
    assert eth0.addresses[:2] == (ip_interface("192.0.2.2/24"), ip_interface("fd00::2/64"))
    ifb0 = named(interfaces, "ifb0")
    assert ifb0 is not None
    assert not ifb0.up
    assert named(interfaces, "eth1") is None


def test_an_interface_is_up_by_its_flag() -> None:
    for flags, up in (
        ([], False),
        (["NO-CARRIER", "BROADCAST", "LOWER_UP"], False),
        (["BROADCAST", "UP"], True),
    ):
        (interface,) = parse_addresses(listing(flags=flags))
        assert interface.up is up
    assert not Interface(4, "eth0", 1480).up, "unless it is known to be"


def test_both_ends_must_name_each_other() -> None:
    inside = Interface(4, "eth0", 1480, peer_index=16)
    other = Interface(17, "cali1", 1480, peer_index=4)
    stranger = Interface(16, "cali2", 1480, peer_index=3)
    unpaired = Interface(16, "cali3", 1480)
    end = Interface(16, "cali4", 1480, peer_index=4)
    assert host_ends(inside, [other, stranger, unpaired, end]) == (end,)
    assert host_ends(Interface(4, "eth0", 1480), [other, stranger, unpaired]) == ()


def test_a_peer_in_the_same_namespace_is_named() -> None:
    both = (
        json.loads(listing(link="veth1"))[0],
        json.loads(listing(ifindex=5, ifname="veth1", link="eth0"))[0],
    )
    here, there = parse_addresses(json.dumps(both))
    assert host_ends(here, [here, there]) == (there,)


def test_what_some_versions_of_iproute2_print() -> None:
    text = json.dumps([{}, *json.loads(listing(link=None, addr_info=[{}])), {}])
    (tunl0,) = parse_addresses(text.encode())
    assert (tunl0.peer_index, tunl0.addresses) == (None, ())
    assert parse_addresses("[]") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected one JSON document, found 0"),
        ("[] []", "found 2"),
        (sample("ip-addr-pod.json")[:-200], "not JSON, or cut"),
        ("{}", r"expected a list at \$"),
        ("[1]", r"expected an object at \$\[0\]"),
        (listing(ifindex=...), "no 'ifindex'"),
        (listing(ifindex="4"), "expected a number"),
        (listing(ifindex=True), "expected a number"),
        (listing(flags=...), "no 'flags'"),
        (listing(flags=[1]), "expected a string"),
        (listing(link="eth9"), "the name of an interface"),
        (listing(addr_info=[{"local": "20.111.156"}]), "an IP address"),
        (listing(addr_info=[{"local": "20.111.156.71", "prefixlen": 33}]), "an address with its prefix"),
        (b"\xff", "not UTF-8 at byte 0"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_output_that_is_not_ip_s(text: str | bytes, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_addresses(text)
