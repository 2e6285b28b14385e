"""A node's uplink is found, kube-proxy's rules are chosen, and what fails says so."""

from __future__ import annotations

import json
from ipaddress import IPv6Network, ip_address
from typing import Any

import pytest

from pytest_k8snet.clusters.base import (
    ClusterError,
    CommandResult,
    CommandTimeout,
    NodeUnreachable,
    NotRecorded,
)
from pytest_k8snet.evidence.observations import Uplink
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.evidence.routes import Route
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes.nodes import CALICO_ADDRESS, host_interface, observe_node, read_route_to
from pytest_k8snet.probes.rules import read_ipvs, read_ipvs_conntrack, read_nftables, read_rules
from pytest_k8snet.probes.traces import read_connections
from tests.clusters.fake import FakeCluster, says
from tests.evidence.samples import sample
from tests.probes.network import (
    DEST,
    NETSTAT,
    NF_CONNTRACK,
    NO_RULES,
    RULES,
    VIP,
    link,
    network,
    node_object,
    route,
)

NODE = "k8s-node1"


@pytest.fixture
def cluster() -> FakeCluster:
    return network()


def uplink(cluster: FakeCluster, **intent: Any) -> Any:
    return observe_node(cluster, cluster.nodes[NODE], Intent(**intent), rules=False, listeners=False).uplink


def annotate(cluster: FakeCluster, **annotations: str) -> None:
    items = {"items": [node_object(NODE, **annotations)]}
    cluster.objects["nodes"] = json.dumps(items).encode()


def test_the_uplink_holds_the_internal_ip(cluster: FakeCluster) -> None:
    assert uplink(cluster).get() == Uplink("eth1", ip_address("192.168.219.22"), 1500)


def test_calicos_address_goes_before_the_internal_ip(cluster: FakeCluster) -> None:
    annotate(cluster, **{CALICO_ADDRESS: "10.0.2.15/24"})
    assert uplink(cluster).get() == Uplink("eth0", ip_address("10.0.2.15"), 1500)


@pytest.mark.parametrize("noted", ["10.9.9.9/24", "nonsense", ""])
def test_where_nothing_holds_calicos_address_the_internal_ip_counts(cluster: FakeCluster, noted: str) -> None:
    annotate(cluster, **{CALICO_ADDRESS: noted})
    assert uplink(cluster).get().interface == "eth1"


def test_a_node_of_two_families_counts_by_that_of_the_services(cluster: FakeCluster) -> None:
    annotate(
        cluster, **{CALICO_ADDRESS: "192.168.219.22/24", "projectcalico.org/IPv6Address": "fd00:219::22/64"}
    )
    two = link(3, "eth1", "192.168.219.22", 24)
    two["addr_info"] = [*two["addr_info"], *link(3, "eth1", "fd00:219::22", 64)["addr_info"]]
    cluster.say(NODE, "ip -j -d addr", says(json.dumps([two])))
    assert uplink(cluster).get().ip == ip_address("192.168.219.22")
    services = IPv6Network("fd00:10:96::/112")
    assert uplink(cluster, service_cidr=services).get() == Uplink("eth1", ip_address("fd00:219::22"), 1500)


def test_an_uplink_that_is_named_counts_alone(cluster: FakeCluster) -> None:
    annotate(cluster, **{CALICO_ADDRESS: "10.0.2.15/24"})
    assert uplink(cluster, uplink="eth1").get() == Uplink("eth1", ip_address("192.168.219.22"), 1500)


def test_an_uplink_that_is_named_needs_no_api(cluster: FakeCluster) -> None:
    cluster.objects["nodes"] = ClusterError("forbidden")
    assert uplink(cluster, uplink="eth0").get() == Uplink("eth0", ip_address("10.0.2.15"), 1500)
    unnamed = uplink(cluster)
    assert (unnamed.failure, unnamed.advice) == ("forbidden", "see whether the API answers")


@pytest.mark.parametrize(
    ("named", "addresses", "complaint"),
    [
        ("eth1", [link(3, "eth1", "", 0)], "named, eth1, has no address on k8s-node1"),
        ("eth1", [link(3, "eth1", "169.254.7.7", 16)], "named, eth1, has no address on k8s-node1"),
        ("eth9", [link(3, "eth1", "", 0)], "named, eth9, is not there on k8s-node1"),
        (None, [link(3, "eth1", "", 0)], "k8s-node1 has no interface with 192.168.219.22"),
    ],
)
def test_an_uplink_that_cant_be_found(
    cluster: FakeCluster, named: str | None, addresses: list[Any], complaint: str
) -> None:
    cluster.say(NODE, "ip -j -d addr", says(json.dumps(addresses)))
    found = uplink(cluster, uplink=named)
    assert complaint in found.failure
    assert "k8snet_uplink" in found.advice
    assert found.command == "ip -j -d addr show"


def test_a_node_that_the_api_does_not_list(cluster: FakeCluster) -> None:
    cluster.objects["nodes"] = b'{"items": []}'
    assert uplink(cluster).failure == "the API lists no node k8s-node1"


@pytest.mark.parametrize(("name", "kind"), [("lo", None), ("dummy0", "dummy")])
def test_an_address_that_no_packet_leaves_by_is_no_uplink(
    cluster: FakeCluster, name: str, kind: str | None
) -> None:
    """A node that is reached by several uplinks (BGP down to the host) has its address on none of them."""
    held = link(9, name, "192.168.219.22", 32) | ({"linkinfo": {"info_kind": kind}} if kind else {})
    cluster.say(NODE, "ip -j -d addr", says(json.dumps([held, link(3, "eth1", "10.1.1.2", 31)])))
    found = uplink(cluster)
    assert found.failure == f"k8s-node1 has its address 192.168.219.22 on {name}, which no packet leaves by"
    assert "k8snet_uplink" in found.advice
    assert uplink(cluster, uplink=name).get().interface == name
    assert uplink(cluster, uplink="eth1").get().interface == "eth1"


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ('Option "-j" is unknown, try "ip -help".\n', 'Option "-j" is unknown, try "ip -help".'),
        ("ip: invalid option -- 'j'\nBusyBox v1.36.1 () multi-call binary.\n", "BusyBox v1.36.1 ()"),
    ],
)
def test_an_ip_without_json_is_named(cluster: FakeCluster, stderr: str, said: str) -> None:
    """CentOS 7 has iproute 4.11, Alpine has BusyBox's."""
    cluster.say(NODE, "ip -j -d addr", says("", stderr, 255))
    found = uplink(cluster)
    assert found.failure.startswith(f"the ip of k8s-node1 prints no JSON (-j): {said}")
    assert "iproute2 5.0" in found.advice
    assert "--k8snet-node-access probe" in found.advice


def test_rules_of_an_ipv6_cluster(cluster: FakeCluster) -> None:
    cluster.say(NODE, "ip6tables-save", says(sample("ip6tables-save.txt")))
    cluster.say(NODE, "ip6tables-(legacy|nft)-save", says("", "not found\n", 127))
    intent = Intent(service_cidr=IPv6Network("fd00:10:96::/112"))
    rules = observe_node(cluster, cluster.nodes[NODE], intent).rules
    assert rules.command == "ip6tables-save"
    assert rules.get().version == 6
    assert cluster.ran("iptables") == []


def test_rules_of_the_plain_command(cluster: FakeCluster) -> None:
    assert "KUBE-SERVICES" in read_rules(cluster.nodes[NODE]).get().tables["nat"]
    assert len(cluster.ran("iptables")) == 1


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_where_both_back_ends_hold_rules_the_one_with_more_of_kube_proxys_counts(
    cluster: FakeCluster, stream: str
) -> None:
    warning = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n"
    cluster.say(
        NODE, "iptables-save", says(NO_RULES + warning) if stream == "stdout" else says(NO_RULES, warning)
    )
    cluster.say(NODE, "iptables-legacy-save", says(RULES))
    cluster.say(NODE, "iptables-nft-save", says(NO_RULES))
    rules = read_rules(cluster.nodes[NODE])
    assert rules.command == "iptables-legacy-save"
    assert "KUBE-SERVICES" in rules.get().tables["nat"]


def test_rules_that_only_one_back_end_shows(cluster: FakeCluster) -> None:
    cluster.say(NODE, "iptables-save", says("", "not this time\n", 1))
    cluster.say(NODE, "iptables-nft-save", says(RULES))
    assert read_rules(cluster.nodes[NODE]).command == "iptables-nft-save"


def test_no_rules_of_kube_proxy_anywhere(cluster: FakeCluster) -> None:
    """An answer, not a failure: that kube-proxy has no rules is for claims to judge."""
    cluster.say(NODE, "iptables-save", says(NO_RULES))
    rules = read_rules(cluster.nodes[NODE])
    assert rules.command == "iptables-save"
    assert "KUBE-SERVICES" not in rules.get().tables["nat"]


def test_in_mode_iptables_nothing_else_is_asked(cluster: FakeCluster) -> None:
    node = observe_node(cluster, cluster.nodes[NODE], Intent())
    assert node.rules.get()
    assert cluster.ran("nft|ipvsadm|ipset|cat") == []
    for other in (node.nftables, node.ipvs, node.ipsets, node.ipvs_conntrack):
        assert other.failure == (
            "not read: another proxy mode is declared, or none of this lab's claims needs it"
        )


def test_mode_nftables(cluster: FakeCluster) -> None:
    cluster.say(NODE, "nft", says(sample("nft-kube-proxy-1.33.json")))
    node = observe_node(cluster, cluster.nodes[NODE], Intent(proxy_mode="nftables"))
    assert node.nftables.get().name == "kube-proxy"
    assert [command for _, command in cluster.ran("nft")] == ["nft -j list table ip kube-proxy"]
    assert cluster.ran("iptables") == []
    assert node.rules.failure.startswith("not read")
    left_out = observe_node(cluster, cluster.nodes[NODE], Intent(proxy_mode="nftables"), rules=False)
    assert left_out.nftables.failure.startswith("not read")


def test_the_table_of_services_over_ipv6(cluster: FakeCluster) -> None:
    cluster.say(NODE, "nft", says(sample("nft-kube-proxy-1.33-ip6.json")))
    intent = Intent(proxy_mode="nftables", service_cidr=IPv6Network("fd00:10:96::/112"))
    assert read_nftables(cluster.nodes[NODE], intent).get().family == "ip6"
    assert cluster.ran("nft")[0][1].endswith("table ip6 kube-proxy")


@pytest.mark.parametrize(
    ("answer", "failure", "advice"),
    [
        (
            says(
                "",
                "Error: No such file or directory\nlist table ip kube-proxy\n              ^^^^^^^^^^\n",
                1,
            ),
            "k8s-node1 has no table ip kube-proxy",
            "kube-proxy's mode is declared as nftables",
        ),
        (
            says("", "Error: Could not process rule: Operation not permitted\nlist table\n^^^^\n", 1),
            "`nft` exited with status 1: Error: Could not process rule: Operation not permitted",
            "run it on k8s-node1",
        ),
        (says("", "something else\n", 1), "`nft` exited with status 1: something else", "run it on"),
        (says("", "sh: 1: nft: not found\n", 127), "nft is not installed on k8s-node1", "install nft"),
        (says('{"nftables": [{'), "unreadable output: nft -j list table: not JSON, or cut", "compare"),
        (CommandTimeout("no end within 15 s"), "no end within 15 s", "see why it takes so long"),
    ],
)
def test_no_table_of_kube_proxys(cluster: FakeCluster, answer: Any, failure: str, advice: str) -> None:
    cluster.say(NODE, "nft", answer)
    found = read_nftables(cluster.nodes[NODE], Intent(proxy_mode="nftables"))
    assert found.failure.startswith(failure)
    assert found.advice.startswith(advice)
    assert found.command == "nft -j list table ip kube-proxy"


def test_mode_ipvs(cluster: FakeCluster) -> None:
    cluster.say(NODE, "ipvsadm -Ln", says(sample("ipvsadm.txt")))
    cluster.say(NODE, "ipset save", says(sample("ipset-save.txt")))
    cluster.say(NODE, "cat /proc/sys/net/ipv4/vs/conntrack", says("1\n"))
    node = observe_node(cluster, cluster.nodes[NODE], Intent(proxy_mode="ipvs"))
    assert "TCP 10.107.94.97:8080" in map(str, node.ipvs.get())
    assert "KUBE-NODE-PORT-TCP" in node.ipsets.get()
    assert node.ipvs_conntrack.get() is True
    assert node.rules.get(), "which masquerades in this mode too"
    assert cluster.ran("nft|cat /proc/net") == []


def test_the_kernels_listing_stands_in_for_ipvsadm(cluster: FakeCluster) -> None:
    cluster.say(NODE, "ipvsadm", says("", "sh: 1: ipvsadm: not found\n", 127))
    cluster.say(NODE, "cat /proc/net/ip_vs", says(sample("proc-ip_vs.txt")))
    found = read_ipvs(cluster.nodes[NODE])
    assert "TCP 10.107.94.97:8080" in map(str, found.get())
    assert found.command == "cat /proc/net/ip_vs"


def test_no_ip_vs(cluster: FakeCluster) -> None:
    cluster.say(NODE, "ipvsadm", says("", "sh: 1: ipvsadm: not found\n", 127))
    cluster.say(NODE, "cat", says("", "cat: /proc/net/ip_vs: No such file or directory\n", 1))
    found = read_ipvs(cluster.nodes[NODE])
    assert found.failure.startswith("ipvsadm is not installed on k8s-node1; `cat` exited with status 1: ")
    assert found.advice.startswith("kube-proxy's mode is declared as ipvs")


@pytest.mark.parametrize(("text", "value"), [("0\n", False), ("1", True), ("2\n", None), ("", None)])
def test_whether_ip_vs_tells_conntrack(cluster: FakeCluster, text: str, value: bool | None) -> None:
    cluster.say(NODE, "cat", says(text))
    found = read_ipvs_conntrack(cluster.nodes[NODE])
    assert found.value is value
    assert (value is None) is ("expected 0 or 1" in found.failure)


def test_no_iptables_at_all(cluster: FakeCluster) -> None:
    cluster.say(NODE, "iptables", says("", "sh: not found\n", 127))
    rules = read_rules(cluster.nodes[NODE])
    assert rules.failure == "; ".join(
        f"{name} is not installed on k8s-node1"
        for name in ("iptables-save", "iptables-legacy-save", "iptables-nft-save")
    )
    assert rules.advice == "install iptables on k8s-node1"


def test_netstat_stands_in_for_ss(cluster: FakeCluster) -> None:
    cluster.say(NODE, "ss", says("", "ss: not found\n", 127))
    node = observe_node(cluster, cluster.nodes[NODE], Intent())
    assert node.listeners.failure == "ss is not installed on k8s-node1"
    cluster.say(NODE, "netstat -ltnp", says(NETSTAT))
    node = observe_node(cluster, cluster.nodes[NODE], Intent())
    assert node.listeners.get()[0].port == 31080
    assert node.listeners.command == "netstat -ltnp"


def test_the_host_interface_is_the_device_of_the_pods_route(cluster: FakeCluster) -> None:
    node = observe_node(cluster, cluster.nodes[NODE], Intent())
    assert host_interface(node, ip_address(DEST.ip)).get() == DEST.veth


@pytest.mark.parametrize(
    "routes",
    [
        [],
        [route("20.111.156.64/26", "tunl0")],
        [route(DEST.ip, "eth1", type="local", table="local")],
        [{"type": "blackhole", "dst": DEST.ip, "flags": []}],
    ],
)
def test_no_route_to_the_pod_alone(cluster: FakeCluster, routes: list[Any]) -> None:
    cluster.say(NODE, "ip -j -d route show", says(json.dumps(routes)))
    found = host_interface(observe_node(cluster, cluster.nodes[NODE], Intent()), ip_address(DEST.ip))
    assert "k8s-node1 has no route to 20.111.156.72 alone" in found.failure


def test_conntrack_is_asked_for_the_request(cluster: FakeCluster) -> None:
    found = read_connections(cluster.nodes[NODE], ip_address(VIP), 8080)
    assert len(found.get()) == 1
    assert found.command == f"conntrack -L -p tcp --orig-dst {VIP} --orig-port-dst 8080"
    assert read_connections(cluster.nodes[NODE], ip_address("fd00::1"), 80).get() == ()
    assert "-f ipv6" in cluster.ran("conntrack")[-1][1]


def test_proc_stands_in_for_conntrack(cluster: FakeCluster) -> None:
    cluster.say(NODE, "conntrack", says("", "conntrack: not found\n", 127))
    cluster.say(NODE, "cat /proc/net/nf_conntrack", says(NF_CONNTRACK))
    found = read_connections(cluster.nodes[NODE], ip_address(VIP), 8080)
    assert [connection.original.dport for connection in found.get()] == [8080]
    assert found.command == "cat /proc/net/nf_conntrack"


def test_neither_conntrack_nor_proc(cluster: FakeCluster) -> None:
    cluster.say(NODE, "conntrack", says("", "conntrack: not found\n", 127))
    cluster.say(NODE, "cat /proc/net", says("", "No such file\n", 1))
    found = read_connections(cluster.nodes[NODE], ip_address(VIP), 8080)
    assert found.failure == "conntrack is not installed on k8s-node1"
    assert found.advice == "install conntrack on k8s-node1"


@pytest.mark.parametrize(
    ("answer", "failure", "advice"),
    [
        (
            says("", "sh: 1: ip: not found\n", 127),
            "ip is not installed on k8s-node1",
            "install iproute2 on k8s-node1",
        ),
        (
            says("", "first\nCannot open netlink socket: denied\n", 1),
            "`ip` exited with status 1: Cannot open netlink socket: denied",
            "run it on k8s-node1 to see what it says",
        ),
        (says("", "", 137), "`ip` exited with status 137", "run it on k8s-node1 to see what it says"),
        (
            CommandTimeout("no end within 15 s"),
            "no end within 15 s",
            "see why it takes so long on k8s-node1",
        ),
        (NodeUnreachable("k8s-node1 is gone"), "k8s-node1 is gone", "see whether k8s-node1 is up"),
        (ClusterError("the agent failed"), "the agent failed", "see whether k8s-node1 answers"),
        (
            NotRecorded("the bundle holds nothing of it"),
            "the bundle holds nothing of it",
            "record the run again with --k8snet-bundle",
        ),
        (
            says("[{"),
            "unreadable output: ",
            "compare `ip -j -d addr show` with what this version of pytest-k8snet reads",
        ),
        (says(b"\xff"), "unreadable output: ", "compare `ip -j -d addr show` with"),
    ],
)
def test_a_failed_probe_says_why_and_what_to_do(
    cluster: FakeCluster, answer: Any, failure: str, advice: str
) -> None:
    cluster.say(NODE, "ip -j -d addr", answer)
    node = observe_node(cluster, cluster.nodes[NODE], Intent())
    assert node.interfaces.value is None
    assert node.interfaces.failure.startswith(failure)
    assert node.interfaces.advice.startswith(advice)
    assert (node.interfaces.node, node.interfaces.command) == (NODE, "ip -j -d addr show")
    assert node.uplink.failure == node.interfaces.failure, "what needed it fails with it"
    with pytest.raises(NotObserved):
        node.interfaces.get()
    assert node.routes.get(), "the others go on"


def route_of_a_packet(answer: CommandResult, interface: Reading[str] | None = None) -> Reading[Route]:
    cluster = network()
    cluster.say("k8s-node2", "ip -j -d route get", answer)
    found = read_route_to(
        cluster.nodes["k8s-node2"],
        ip_address("20.111.156.72"),
        ip_address("20.109.131.5"),
        interface or Reading("k8s-node2", "ip route", "calia5814ebbae9"),
    )
    assert bool(cluster.ran("ip -j -d route get")) is (interface is None)
    return found


def test_the_route_of_a_pods_packet() -> None:
    """As iproute2 6.1.0 prints it for a packet that comes in."""
    found = route_of_a_packet(
        says(
            '[{"type":"unicast","dst":"20.111.156.72","from":"20.109.131.5","gateway":"192.168.219.22",'
            '"dev":"tunl0","table":"main","flags":[],"cache":[],"iif":"calia5814ebbae9"}]\n'
        )
    )
    assert found.command == ("ip -j -d route get 20.111.156.72 from 20.109.131.5 iif calia5814ebbae9")
    assert (found.get().device, str(found.get().gateway)) == ("tunl0", "192.168.219.22")


@pytest.mark.parametrize("words", ["Network is unreachable", "No route to host"])
def test_no_route_is_an_answer(words: str) -> None:
    found = route_of_a_packet(says("", f"RTNETLINK answers: {words}\n", 2)).get()
    assert (found.type, found.device, found.gateway) == ("unreachable", None, None)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (
            says("", "RTNETLINK answers: Invalid argument\n", 2),
            "`ip` exited with status 2: RTNETLINK answers: ",
        ),
        (says("", "sh: ip: not found\n", 127), "ip is not installed"),
        (says("[]"), "unreadable output"),
    ],
)
def test_other_words_are_none(answer: CommandResult, failure: str) -> None:
    assert route_of_a_packet(answer).failure.startswith(failure)


def test_no_interface_no_route() -> None:
    unknown: Reading[str] = Reading("k8s-node2", "ip route", failure="no route to 20.109.131.5 alone")
    assert route_of_a_packet(says("[]"), unknown).failure == "no route to 20.109.131.5 alone"
