"""A packet's way through iptables' marks to a real server of ip_vs, and through broken twins."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import ip_address

import pytest

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.ipvswalk import walk
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.ipsets import IPSet, parse_ipset_save
from pytest_k8snet.evidence.ipvs import RealServer, VirtualServer, parse_ipvsadm
from pytest_k8snet.evidence.netfilter import RuleSet, parse_iptables_save
from tests.claims.scenes import DEST_IP, MASTER, NODE2, SRC_IP
from tests.evidence.samples import sample

VIP = ip_address("10.107.94.97")
POD = (ip_address(DEST_IP), 8080)
#: kube-ipvs0 holds every service's address, so they are the node's own.
TO_VIP = NewConnection(ip_address(SRC_IP), VIP, 54176, 8080, in_interface="calia5814ebbae9", dst_local=True)
TO_NODE = replace(
    TO_VIP, src=ip_address(MASTER), dst=ip_address(NODE2), sport=43758, dport=31080, in_interface="eth1"
)
SHADOW = '-A PREROUTING -m comment --comment "kubernetes service portals"'
MARKING = "-m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ"


@cache
def servers() -> tuple[VirtualServer, ...]:
    return parse_ipvsadm(sample("ipvsadm.txt"))


@cache
def sets() -> dict[str, IPSet]:
    return dict(parse_ipset_save(sample("ipset-save.txt")))


def rules(old: str = "", new: str = "") -> RuleSet:
    text = sample("iptables-save-ipvs.txt")
    assert old in text
    return parse_iptables_save(text.replace(old, new, 1) if old else text)


def walked(packet: NewConnection, **changed: VirtualServer | None) -> Walk:
    """With other virtual servers: by address and port, None takes one away."""
    listed = [each for each in servers() if str(each.port) not in {key[1:] for key in changed}]
    return walk([*listed, *filter(None, changed.values())], rules(), sets(), packet)


def server(port: int, *real: RealServer, scheduler: str = "rr", ip: str = NODE2) -> VirtualServer:
    return VirtualServer("TCP", ip_address(ip), port, scheduler, servers=real)


def test_a_clusterip_leads_to_its_pod() -> None:
    result = walk(servers(), rules(), sets(), TO_VIP)
    assert (result.endpoints, result.masquerade, result.unknown) == (((*POD, 1.0),), False, None)
    assert result.path[-1] == "ip_vs TCP 10.107.94.97:8080 rr"
    assert any("cali-PREROUTING" in rule for rule in result.path)


def test_a_nodeport_leads_to_its_pod_and_is_marked() -> None:
    result = walk(servers(), rules(), sets(), TO_NODE)
    assert (result.endpoints, result.masquerade, result.mark) == (((*POD, 1.0),), True, 0x4000)
    assert result.path[-1] == f"ip_vs TCP {NODE2}:31080 rr"


def test_a_client_outside_the_pods_range_is_masqueraded() -> None:
    assert walk(servers(), rules(), sets(), replace(TO_VIP, src=ip_address(MASTER))).masquerade is True


def test_weights() -> None:
    """wrr with weights 1, 3 and 0: no new connection goes to the last."""
    result = walk(servers(), rules(), sets(), replace(TO_VIP, dst=ip_address("10.107.94.99")))
    assert {str(ip): share for ip, _, share in result.endpoints} == {
        "20.111.156.72": 0.25,
        "20.111.156.73": 0.75,
    }
    heavy = server(31080, RealServer(*POD, 7, "Masq"), RealServer(VIP, 1, 1, "Masq"))
    assert [share for _, _, share in walked(TO_NODE, _31080=heavy).endpoints] == [0.5, 0.5], "rr: in turn"


def test_without_its_sets_the_mark_is_not_known_and_the_endpoint_is() -> None:
    plain = tuple(each for each in servers() if each.ip is not None)
    for packet in (TO_VIP, TO_NODE):
        result = walk(plain, rules(), {}, packet)
        assert (result.endpoints, result.unknown) == (((*POD, 1.0),), None)
        assert (result.masquerade, result.mark) == (None, None)
    by_mark = walk(servers(), rules(), {}, TO_NODE)
    assert "for this mark" in str(by_mark.unknown), "the virtual server of mark 7 might take it"


class TestBroken:
    def test_the_virtual_server_is_missing(self) -> None:
        result = walked(TO_NODE, _31080=None)
        assert result.endpoints == ()
        assert result.ends == (f"INPUT: ip_vs has no virtual server TCP {NODE2}:31080",)

    def test_no_interface_holds_the_address(self) -> None:
        result = walk(servers(), rules(), sets(), replace(TO_VIP, dst_local=False))
        assert result.ends == (f"FORWARD: no interface of the node holds {VIP}",)

    def test_the_wrong_endpoint(self) -> None:
        stale = RealServer(ip_address("20.111.156.99"), 8080, 1, "Masq")
        assert not walked(TO_NODE, _31080=server(31080, stale)).reaches(*POD)

    @pytest.mark.parametrize("real", [(), (RealServer(*POD, 0, "Masq"),)])
    def test_no_endpoint(self, real: tuple[RealServer, ...]) -> None:
        result = walked(TO_NODE, _31080=server(31080, *real))
        assert result.ends == (f"ip_vs TCP {NODE2}:31080 has no real server with a weight",)

    def test_nothing_marks(self) -> None:
        assert walk(servers(), rules(MARKING, "-j RETURN"), sets(), TO_NODE).masquerade is False
        empty = {**sets(), "KUBE-NODE-PORT-TCP": IPSet("KUBE-NODE-PORT-TCP", "bitmap:port")}
        assert walk(servers(), rules(), empty, TO_NODE).masquerade is False

    def test_a_rule_before_it(self) -> None:
        shadowed = rules(SHADOW, f"-A PREROUTING -p tcp -j DNAT --to-destination 10.9.9.9:80\n{SHADOW}")
        result = walk(servers(), shadowed, sets(), TO_VIP)
        assert result.endpoints == ((ip_address("10.9.9.9"), 80, 1.0),)
        assert not any(rule.startswith("ip_vs") for rule in result.path)

    @pytest.mark.parametrize("target", ["DROP", "REDIRECT --to-ports 1"])
    def test_a_rule_that_ends_it(self, target: str) -> None:
        result = walk(servers(), rules(SHADOW, f"-A PREROUTING -j {target}\n{SHADOW}"), sets(), TO_VIP)
        assert (result.endpoints, result.ends) == ((), (target.split()[0],))


class TestNotKnown:
    def test_a_rule(self) -> None:
        result = walk(servers(), rules(SHADOW, f"-A PREROUTING -j TPROXY\n{SHADOW}"), sets(), TO_VIP)
        assert "TPROXY" in str(result.unknown)

    def test_a_mark_of_its_own(self) -> None:
        marking = f"-A PREROUTING -j MARK --set-xmark 0x7/0xffffffff\n{SHADOW}"
        result = walk(servers(), rules(SHADOW, marking), sets(), TO_VIP)
        assert "for this mark" in str(result.unknown)

    def test_a_virtual_server_of_every_port(self) -> None:
        wide = server(0, RealServer(ip_address(DEST_IP), 0, 1, "Masq"))
        assert "takes every port" in str(walked(TO_NODE, _31080=None, _0=wide).unknown)
        assert walked(TO_NODE, _0=wide).endpoints == ((*POD, 1.0),), "the port's own server comes first"

    def test_another_way_to_forward(self) -> None:
        routed = server(31080, RealServer(*POD, 1, "Route"))
        assert "other means than NAT" in str(walked(TO_NODE, _31080=routed).unknown)
