from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.rulewalk import service_chain_name, walk
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.ipsets import IPSet
from pytest_k8snet.evidence.netfilter import RuleSet, parse_iptables_save
from tests.claims.scenes import (
    DEST_IP,
    MASTER,
    NAT,
    NODE2,
    SRC_IP,
    SVC_CLUSTERIP,
    SVC_NODEPORT,
    VIP,
    rules_of,
)

RECORDED = Path(__file__).parent.parent / "samples" / "iptables-save.txt"  # Kubernetes 1.20.8
TO_VIP = NewConnection(ip_address(SRC_IP), ip_address(VIP), 54176, 8080, in_interface="calia5814ebbae9")
TO_NODE = NewConnection(
    ip_address(MASTER), ip_address(NODE2), 43758, 31080, in_interface="eth1", dst_local=True
)
POD = (ip_address(DEST_IP), 8080)


def walked(*rules: str, packet: NewConnection = TO_VIP, chains: str = "", mark: int = 0) -> Walk:
    """A walk through PREROUTING with these rules; ``chains`` are empty ones to jump to."""
    head = [":PREROUTING ACCEPT", *(f":{name} -" for name in chains.split())]
    return walk(rules_of("\n".join([*head, *rules])), packet, mark=mark)


def dnat(chain: str = "PREROUTING", conditions: str = "", port: int = 8080) -> str:
    return f"-A {chain} {conditions} -j DNAT --to-destination {DEST_IP}:{port}"


class TestKubernetes:
    def test_clusterip_leads_to_the_pod(self) -> None:
        result = walk(rules_of(NAT), TO_VIP)
        assert result.endpoints == ((*POD, 1.0),)
        assert result.unknown is None
        assert not result.masquerade
        assert any(SVC_CLUSTERIP in rule for rule in result.path)
        assert not any("KUBE-MARK-MASQ" in rule for rule in result.path)

    def test_nodeport_leads_to_the_pod_and_is_marked(self) -> None:
        result = walk(rules_of(NAT), TO_NODE)
        assert result.endpoints == ((*POD, 1.0),)
        assert result.masquerade
        assert result.mark == 0x4000
        assert any(SVC_NODEPORT in rule for rule in result.path)

    def test_rules_of_the_other_family_are_not_walked(self) -> None:
        """On an IPv6 cluster iptables' nat table is empty, and rightly so."""
        rules = parse_iptables_save(RECORDED.read_bytes(), 6)
        assert walk(rules, TO_VIP).unknown == f"the rules are IPv6's, {TO_VIP.dst} does not pass them"

    def test_an_address_of_another_host_is_no_nodeport(self) -> None:
        result = walk(rules_of(NAT), replace(TO_NODE, dst_local=False))
        assert result.endpoints == ()
        assert result.ends == ("policy ACCEPT",)

    def test_marked_packets_are_masqueraded_others_not(self) -> None:
        rules = rules_of(NAT)
        assert walk(rules, TO_VIP, "POSTROUTING", mark=0x4000).ends == ("MASQUERADE",)
        assert walk(rules, TO_VIP, "POSTROUTING").ends == ("policy ACCEPT",)

    def test_the_recorded_cluster(self) -> None:
        rules = parse_iptables_save(RECORDED.read_bytes())
        vip = replace(TO_VIP, dst=ip_address("10.109.75.208"))
        nodeport = replace(TO_NODE, dst=ip_address("192.0.2.2"))
        assert walk(rules, vip).endpoints == ((ip_address("20.111.156.66"), 8080, 1.0),)
        assert walk(rules, nodeport).endpoints == ((ip_address("20.111.156.66"), 8080, 1.0),)
        assert walk(rules, nodeport).masquerade
        assert walk(rules, replace(vip, dport=9)).endpoints == ()

    def test_several_endpoints_share_the_connections(self) -> None:
        result = walked(
            "-A PREROUTING -j SVC",
            "-A SVC -m statistic --mode random --probability 0.33333333349 -j A",
            "-A SVC -m statistic --mode random --probability 0.50000000000 -j B",
            "-A SVC -j C",
            *(dnat(chain, port=port) for chain, port in (("A", 1), ("B", 2), ("C", 3))),
            chains="SVC A B C",
        )
        assert [port for _, port, _ in result.endpoints] == [1, 2, 3]
        assert [share for _, _, share in result.endpoints] == pytest.approx([1 / 3] * 3)
        assert result.ends == ()
        assert "probability 0.333" in result.text

    def test_names_of_service_chains(self) -> None:
        # both stand in the recorded iptables-save
        assert service_chain_name("default", "svc-nodeport") == "KUBE-SVC-E2FQLLMSLXOEFNG6"
        assert service_chain_name("default", "kubernetes", "https", "TCP") == "KUBE-SVC-NPX46M4PTMTKRN6Y"


EXT = Path(__file__).parent.parent / "samples" / "iptables-save-calico-ext.txt"


class TestCalicoAndNewerKubeProxy:
    """A node with Calico's chains and those of kube-proxy since 1.24 (KUBE-EXT-)."""

    rules = parse_iptables_save(EXT.read_bytes())
    leaving = replace(
        TO_NODE, dst=POD[0], dport=8080, dst_local=False, in_interface="", out_interface="tunl0"
    )

    def test_the_walks_end_at_the_pod(self) -> None:
        nodeport = walk(self.rules, TO_NODE)
        assert (nodeport.endpoints, nodeport.unknown, nodeport.masquerade) == (((*POD, 1.0),), None, True)
        assert any("KUBE-EXT-" in rule for rule in nodeport.path)
        clusterip = walk(self.rules, TO_VIP)
        assert (clusterip.endpoints, clusterip.unknown, clusterip.masquerade) == (
            ((*POD, 1.0),),
            None,
            False,
        )

    def test_calicos_sets_do_not_matter_to_what_is_masqueraded_anyway(self) -> None:
        marked = walk(self.rules, self.leaving, "POSTROUTING", mark=0x4000)
        assert (marked.ends, marked.unknown) == (("MASQUERADE",), None)
        unmarked = walk(self.rules, self.leaving, "POSTROUTING")
        assert "cali40masq-ipam-pools" in str(unmarked.unknown)

    def test_with_its_sets_all_is_known(self) -> None:
        pools = {
            name: IPSet(name, "hash:net", ("20.96.0.0/12",))
            for name in ("cali40masq-ipam-pools", "cali40all-ipam-pools")
        }
        assert walk(self.rules, self.leaving, "POSTROUTING", sets=pools).ends == ("policy ACCEPT",)
        from_pod = replace(self.leaving, src=ip_address(SRC_IP), dst=ip_address("192.0.2.9"))
        assert walk(self.rules, from_pod, "POSTROUTING", sets=pools).ends == ("MASQUERADE",)

    def test_the_rule_for_localhost_nodeports_does_not_matter(self) -> None:
        """kube-proxy 1.30 and newer counts NodePorts asked on 127.0.0.1, by a match that is not known."""
        text = EXT.read_text()
        first = next(line for line in text.splitlines() if line.startswith("-A KUBE-NODEPORTS -p"))
        counted = first.replace("-A KUBE-NODEPORTS -p", "-A KUBE-NODEPORTS -d 127.0.0.0/8 -p").replace(
            " -j ", " -m nfacct --nfacct-name localhost_nps_accepted_pkts -j "
        )
        rules = parse_iptables_save(text.replace(first, f"{counted}\n{first}"))
        assert walk(rules, TO_NODE).endpoints == ((*POD, 1.0),)

    def test_a_stranger_s_chain_stays_unknown(self) -> None:
        text = EXT.read_text().replace(
            '-A PREROUTING -m comment --comment "kubernetes',
            '-A PREROUTING -p tcp -j ISTIO_PRERT\n-A PREROUTING -m comment --comment "kubernetes',
        )
        assert "ISTIO_PRERT" in str(walk(parse_iptables_save(text), TO_VIP).unknown)

    def test_the_filter_table(self) -> None:
        ends = walk(self.rules, TO_NODE, "INPUT", table="filter").ends
        assert ends == ("policy ACCEPT",)


SETS = {
    "ports": IPSet("ports", "bitmap:port", ("31080",)),
    "services": IPSet("services", "hash:ip,port", (f"{VIP},tcp:8080", "10.96.0.10,udp:53")),
    "hairpin": IPSet("hairpin", "hash:ip,port,ip", (f"{VIP},tcp:8080,{SRC_IP}",)),
    "pools": IPSet("pools", "hash:net", ("20.96.0.0/12",)),
    "holey": IPSet("holey", "hash:net", ("20.96.0.0/12",), exceptions=(f"{SRC_IP}/32",)),
    "wide": IPSet("wide", "hash:ip", (VIP,), ("netmask", "24")),
    "of sets": IPSet("of sets", "list:set", ("pools",)),
    "range": IPSet("range", "hash:ip,port", (f"{VIP},tcp:80-90",)),
    "odd": IPSet("odd", "hash:ip,port", (VIP,)),
}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("services dst,dst", True),
        ("services src,dst", False),
        ("pools src", True),
        ("pools dst", False),
        ("hairpin dst,dst,src", True),
        ("hairpin dst,dst,dst", False),
        ("ports dst", False),
        ("ports src", False),
        ("nobody src", None),
        ("services dst", None),
        ("services dst,any", None),
        ("pools", None),
        ("holey src", None),
        ("wide dst", None),
        ('"of sets" src', None),
        ("range dst,dst", None),
        ("range src,dst", False),
        ("odd dst,dst", None),
    ],
)
def test_sets(condition: str, holds: bool | None) -> None:
    rules = rules_of(
        f":PREROUTING ACCEPT\n-A PREROUTING -m set --match-set {condition} -j DNAT "
        f"--to-destination {DEST_IP}:8080"
    )
    result = walk(rules, TO_VIP, sets=SETS)
    assert (result.unknown is None, bool(result.endpoints)) == (holds is not None, bool(holds))
    negated = rules_of(
        f":PREROUTING ACCEPT\n-A PREROUTING -m set ! --match-set {condition} -j DNAT "
        f"--to-destination {DEST_IP}:8080"
    )
    turned = walk(negated, TO_VIP, sets=SETS)
    assert (turned.unknown is None, bool(turned.endpoints)) == (holds is not None, holds is False)


def test_a_set_of_ports_holds_them_for_every_protocol() -> None:
    rules = rules_of(":PREROUTING ACCEPT\n-A PREROUTING -m set --match-set ports dst -j DROP")
    assert walk(rules, TO_NODE, sets=SETS).ends == ("DROP",)
    assert walk(rules, replace(TO_NODE, protocol="udp"), sets=SETS).ends == ("DROP",)


MATCHES = [
    (f"-s {SRC_IP}/32", f"-s {MASTER}/32"),
    ("-d 10.96.0.0/12", "! -d 10.96.0.0/12"),
    ("-d 10.96.0.0/12", "-d fd00::/8"),
    ("-p tcp", "-p udp"),
    ("-p 6", "! -p tcp"),
    ("-i cali+", "-i eth+"),
    ("-i calia5814ebbae9", "-i eth0"),
    ("-p tcp -m tcp --dport 8080", "-p tcp -m tcp --dport 8081"),
    ("-p tcp -m tcp --dport 8000:", "-p tcp -m tcp --dport :8000"),
    ("-p tcp -m tcp --sport 50000:60000", "-p tcp -m tcp ! --sport 54176"),
    ("-p tcp -m multiport --dports 80,8080", "-p tcp -m multiport --dports 80,443,9000:9999"),
    ("-m addrtype ! --dst-type LOCAL", "-m addrtype --dst-type LOCAL"),
    ("-m addrtype ! --src-type LOCAL --limit-iface-in", "-m addrtype --src-type LOCAL --limit-iface-in"),
    ("-m conntrack --ctstate NEW,RELATED", "-m conntrack --ctstate ESTABLISHED"),
    ("-m state --state NEW", "-m state ! --state NEW"),
    ("-m mark --mark 0x1/0x1", "-m mark --mark 0x2/0x2"),
    ("-m mark --mark 0x1", "-m mark ! --mark 0x1"),
    ('-m comment --comment "a b"', "-m statistic --mode random --probability 0.0"),
    ("-m tcp", "-m recent --rcheck -p udp"),
]


@pytest.mark.parametrize("condition", [good for good, _ in MATCHES])
def test_a_condition_that_holds(condition: str) -> None:
    assert walked(dnat(conditions=condition), mark=1).endpoints == ((*POD, 1.0),)


@pytest.mark.parametrize("condition", [bad for _, bad in MATCHES])
def test_a_condition_that_fails(condition: str) -> None:
    result = walked(dnat(conditions=condition), mark=1)
    assert (result.endpoints, result.unknown) == ((), None)


@pytest.mark.parametrize(
    "condition",
    [
        "-m recent --name KUBE-SEP-X --rcheck --seconds 10800",
        "-m set --match-set cali40all src",
        "-m physdev --physdev-is-bridged",
        "-m socket",
        "-o eth1",
        "-s nonsense",
        "-p tcp -m tcp --dport http",
        "-m addrtype --dst-type UNICAST",
        "-m mark --mark nonsense",
        "-m recent --rcheck --name a b",
        "-m statistic --mode nth --every x --packet 0",
        "-m statistic --mode random --probability 7",
        "-m statistic --mode nth --every 0",
        "-m statistic --mode random",
    ],
)
def test_a_condition_that_is_not_known_ends_the_walk(condition: str) -> None:
    result = walked(dnat(conditions=condition))
    assert result.endpoints == ()
    assert result.unknown is not None
    assert condition.split()[-1] in result.unknown
    assert "-> unknown:" in result.text


def test_local_sources_are_not_known_per_interface() -> None:
    local = replace(TO_VIP, src_local=True)
    condition = "-m addrtype ! --src-type LOCAL --limit-iface-out"
    assert walked(dnat(conditions=condition), packet=local).unknown is not None


def test_an_unknown_condition_that_changes_nothing_is_harmless() -> None:
    result = walked(
        "-A PREROUTING -m recent --rcheck -j cali-fip-dnat",
        '-A PREROUTING -m set --match-set x src -j LOG --log-prefix "x "',
        "-A PREROUTING -m set --match-set x src",
        dnat(),
        chains="cali-fip-dnat",
    )
    assert result.endpoints == ((*POD, 1.0),)
    assert [rule.split()[-1] for rule in result.path] == [f"{DEST_IP}:8080"]


def test_what_lies_behind_an_unknown_condition_is_no_part_of_the_path() -> None:
    result = walked("-A PREROUTING -m recent --rcheck -j A", dnat("A"), chains="A")
    assert result.unknown is not None
    assert result.path == ()
    harmful = walked("-A PREROUTING -m recent --rcheck -j A", "-A A -j NOBODY", chains="A")
    assert "--rcheck -j A" in str(harmful.unknown)


@pytest.mark.parametrize(
    "target",
    [
        "-j TPROXY --on-port 15001",
        "-j KUBE-SVC-GONE",
        "-j MARK --set-xmark nonsense",
        "-j MARK --set-xmark",
        "-j MARK --set-tos 1",
        "-j DNAT --to-destination 10.0.0.1-10.0.0.9:8080",
        "-j DNAT --to-destination 10.0.0.1:8080-8090",
        "-j DNAT --random",
    ],
)
def test_a_target_that_is_not_known_ends_the_walk(target: str) -> None:
    result = walked(f"-A PREROUTING {target}", dnat())
    assert result.unknown is not None
    assert target.split()[1] in result.unknown


def test_an_unreached_unknown_target_does_not_matter() -> None:
    assert walked(dnat(), "-A PREROUTING -j TPROXY").unknown is None
    assert walked("-A PREROUTING -p udp -j TPROXY", dnat()).unknown is None


@pytest.mark.parametrize(
    ("destination", "endpoint"),
    [
        ("10.0.0.1", (ip_address("10.0.0.1"), 8080)),
        ("[fd00::1]:80", (ip_address("fd00::1"), 80)),
        ("fd00::1", (ip_address("fd00::1"), 8080)),
    ],
)
def test_destinations(destination: str, endpoint: object) -> None:
    ((ip, port, _),) = walked(f"-A PREROUTING -j DNAT --to-destination {destination}").endpoints
    assert (ip, port) == endpoint


@pytest.mark.parametrize(
    ("option", "mark"),
    [
        ("--set-xmark 0x4000/0x4000", 0x4003),
        ("--set-xmark 0x3/0x0", 0x0),
        ("--set-mark 0x10/0xff", 0x10),
        ("--set-mark 0x10", 0x10),
        ("--or-mark 0x8", 0xB),
        ("--and-mark 0x1", 0x1),
        ("--xor-mark 0x1", 0x2),
    ],
)
def test_marks(option: str, mark: int) -> None:
    assert walked(f"-A PREROUTING -j MARK {option}", mark=3).mark == mark


def test_return_comes_back_behind_the_jump() -> None:
    result = walked("-A PREROUTING -j A", dnat(), "-A A -j RETURN", dnat("A", port=1), chains="A")
    assert result.endpoints == ((*POD, 1.0),)


def test_goto_does_not_come_back() -> None:
    result = walked(
        "-A PREROUTING -j A", dnat(), "-A A -g B", dnat("A", port=1), "-A B -p udp -j DROP", chains="A B"
    )
    assert result.endpoints == ((*POD, 1.0),)
    assert walked("-A PREROUTING -g A", dnat(), chains="A").ends == ("policy ACCEPT",)


@pytest.mark.parametrize("target", ["ACCEPT", "DROP", "REDIRECT --to-ports 1"])
def test_final_targets(target: str) -> None:
    result = walked(f"-A PREROUTING -j {target}", dnat())
    assert result.ends == (target.split()[0],)
    assert f"-> {target.split()[0]}" in result.text


def test_nth_takes_its_share() -> None:
    result = walked(dnat(conditions="-m statistic --mode nth --every 4 --packet 0"))
    assert result.endpoints == ((*POD, 0.25),)
    assert result.ends == ("policy ACCEPT",)
    assert walked(dnat(conditions="-m statistic --mode random ! --probability 0.25")).endpoints == (
        (*POD, 0.75),
    )


def test_loops_and_depth_end_the_walk() -> None:
    loop = walked("-A PREROUTING -j A", "-A A -j B", "-A B -j A", chains="A B")
    assert "jumps back into itself: PREROUTING -> A -> B -> A" in str(loop.unknown)
    deep = [f"-A C{n} -j C{n + 1}" for n in range(150)]
    names = " ".join(f"C{n}" for n in range(151))
    assert "nested chains" in str(walked("-A PREROUTING -j C0", *deep, chains=names).unknown)


def test_a_dump_without_nat_is_not_known() -> None:
    assert walk(RuleSet({}), TO_VIP).unknown == "the dump has no chain PREROUTING in table nat"
    assert not walk(RuleSet({}), TO_VIP).reaches(*POD)
    assert walked(dnat()).reaches(*POD)


CHAINS = ["PREROUTING", "A", "B", "C", "D", "E"]
TARGETS = [f"-j {name}" for name in CHAINS[1:]] + [
    "-j RETURN",
    "-j ACCEPT",
    "-j DROP",
    "-j MARK --set-xmark 0x4000/0x4000",
    "-j MARK --set-xmark 0x1/0x0",
    f"-j DNAT --to-destination {DEST_IP}:8080",
    "-g E",
    "-j NOBODY-KNOWS",
    "",
]
CONDITIONS = [
    "",
    "-p udp",
    "-m mark --mark 0x4000/0x4000",
    "-m statistic --mode random --probability 0.5",
    "-m recent --rcheck",
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(CHAINS), st.sampled_from(CONDITIONS), st.sampled_from(TARGETS)), max_size=40
    )
)
def test_every_walk_ends_and_accounts_for_all_branches(rules: list[tuple[str, str, str]]) -> None:
    result = walked(*(f"-A {' '.join(filter(None, rule))}" for rule in rules), chains=" ".join(CHAINS[1:]))
    if result.unknown is not None:
        assert not result.endpoints
        return
    share = sum(share for _, _, share in result.endpoints)
    assert share <= 1 + 1e-9
    if not result.ends:
        assert share == pytest.approx(1)
    assert result.endpoints or result.ends
