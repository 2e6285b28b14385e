from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.netconf import RP_FILTER, NetConf, forwards, parse_netconf, rp_filter

#: iproute2 6.1.0 on node2 of the reference network, after ``sysctl net.ipv4.conf.all.rp_filter=1``, "loose"
#: on tunl0 and no forwarding on the pod's interface. Without -4 the IPv6 entries follow, without rp_filter.
REAL = """\
[{"family":"inet","interface":"lo","forwarding":true,"rp_filter":"off","mc_forwarding":false,\
"proxy_neigh":false,"ignore_routes_with_linkdown":false},\
{"family":"inet","interface":"tunl0","forwarding":true,"rp_filter":"loose","mc_forwarding":false,\
"proxy_neigh":false,"ignore_routes_with_linkdown":false},\
{"family":"inet","interface":"calia5814ebbae9","forwarding":false,"rp_filter":"off","mc_forwarding":false,\
"proxy_neigh":true,"ignore_routes_with_linkdown":false},\
{"family":"inet","interface":"all","forwarding":true,"rp_filter":"strict","mc_forwarding":false,\
"proxy_neigh":false,"ignore_routes_with_linkdown":false},\
{"family":"inet","interface":"default","forwarding":true,"rp_filter":"off","mc_forwarding":false,\
"proxy_neigh":false,"ignore_routes_with_linkdown":false},\
{"family":"inet6","interface":"lo","forwarding":false,"proxy_neigh":false,\
"ignore_routes_with_linkdown":false}]
"""


def broken(**changes: Any) -> str:
    """The listing with the first entry changed; None takes a field away."""
    entries = json.loads(REAL)
    entries[0] = {key: value for key, value in (entries[0] | changes).items() if value is not None}
    return json.dumps(entries)


def test_a_real_listing() -> None:
    listed = parse_netconf(REAL)
    assert [conf.interface for conf in listed] == ["lo", "tunl0", "calia5814ebbae9", "all", "default"]
    assert listed[1] == NetConf("tunl0", True, "loose")
    assert parse_netconf(REAL.encode()) == listed


def test_the_higher_mode_counts() -> None:
    listed = parse_netconf(REAL)
    assert rp_filter(listed, "lo") == "strict", "that of all"
    assert rp_filter(listed, "tunl0") == "loose", "its own, which is the higher number"
    assert rp_filter(listed, "eth9") is None


def test_forwarding_is_the_interfaces_own() -> None:
    listed = parse_netconf(REAL)
    assert forwards(listed, "tunl0") is True
    assert forwards(listed, "calia5814ebbae9") is False, "though all says true"
    assert forwards(listed, "eth9") is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected one JSON document"),
        (REAL[:-20], "not JSON, or cut"),
        ("{}", "expected a list"),
        ("[]", "no entry for 'all'"),
        (REAL.replace('"all"', '"al"'), "no entry for 'all'"),
        (broken(rp_filter="paranoid"), "expected one of off, strict, loose"),
        (broken(rp_filter=1), "expected a string"),
        (broken(rp_filter=None), "no 'rp_filter'"),
        (broken(forwarding="on"), "expected true or false"),
        (broken(forwarding=None), "no 'forwarding'"),
        (broken(interface=None), "no 'interface'"),
        (broken(family=None), "no 'family'"),
    ],
)
def test_what_is_no_listing(text: str, complaint: str) -> None:
    with pytest.raises(ParseError, match=complaint):
        parse_netconf(text)


CONFS = st.lists(
    st.builds(
        NetConf, st.text("abcdefghij", min_size=1, max_size=9), st.booleans(), st.sampled_from(RP_FILTER)
    ),
    unique_by=lambda conf: conf.interface,
)


@given(CONFS, st.sampled_from(RP_FILTER))
def test_any_listing_is_read_back(confs: list[NetConf], everywhere: str) -> None:
    confs = [conf for conf in confs if conf.interface != "all"] + [NetConf("all", True, everywhere)]
    text = json.dumps(
        [
            {"family": "inet", "interface": c.interface, "forwarding": c.forwarding, "rp_filter": c.rp_filter}
            for c in confs
        ]
    )
    listed = parse_netconf(text)
    assert listed == tuple(confs)
    for conf in confs:
        counts = rp_filter(listed, conf.interface)
        assert counts in (conf.rp_filter, everywhere)
        assert RP_FILTER.index(counts) >= max(RP_FILTER.index(conf.rp_filter), RP_FILTER.index(everywhere))
        assert forwards(listed, conf.interface) is conf.forwarding


def test_a_listing_without_all_counts_its_own() -> None:
    assert rp_filter([NetConf("eth0", True, "off")], "eth0") == "off"
