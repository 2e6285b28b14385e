from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.ipsets import IPSet, parse_ipset_save
from pytest_k8snet.evidence.ipvs import RealServer, VirtualServer, parse_ipvsadm, parse_proc
from tests.evidence.samples import sample

POD = RealServer(ip_address("20.111.156.72"), 8080, 1, "Masq")
HEADER = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n"


def by_name(servers: tuple[VirtualServer, ...]) -> dict[str, VirtualServer]:
    """Real servers in one order: ipvsadm sorts them, the kernel lists the last one first."""
    return {
        str(server): replace(server, servers=tuple(sorted(server.servers, key=str))) for server in servers
    }


class TestVirtualServers:
    def test_services(self) -> None:
        found = by_name(parse_ipvsadm(sample("ipvsadm.txt")))
        vip = found["TCP 10.107.94.97:8080"]
        assert vip == VirtualServer("TCP", ip_address("10.107.94.97"), 8080, "rr", servers=(POD,))
        assert found["TCP 192.168.219.23:31080"].servers == (POD,)
        assert found["UDP 10.96.0.10:53"].servers == ()
        assert found["TCP [fd00:10:96::97]:8080"].servers[0].ip == ip_address("fd00:10:244::72")

    def test_weights_and_persistence(self) -> None:
        sticky = by_name(parse_ipvsadm(sample("ipvsadm.txt")))["TCP 10.107.94.99:8080"]
        assert sticky.persistent
        assert (sticky.scheduler, [real.weight for real in sticky.servers]) == ("wrr", [1, 3, 0])

    def test_a_mark(self) -> None:
        marked = by_name(parse_ipvsadm(sample("ipvsadm.txt")))["FWM 7"]
        assert (marked.ip, marked.port, marked.servers[0].forward) == (None, 7, "Route")

    def test_the_kernels_own_listing_says_the_same(self) -> None:
        assert by_name(parse_proc(sample("proc-ip_vs.txt"))) == by_name(parse_ipvsadm(sample("ipvsadm.txt")))

    def test_none(self) -> None:
        assert parse_ipvsadm(HEADER) == ()
        assert parse_proc(HEADER) == ()

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("TCP  10.107.94.97:http rr", "no numeric address and port"),
            ("TCP  example.org:80 rr", "no numeric address and port"),
            ("TCP  10.107.94.97:70000 rr", "no numeric address and port"),
            ("TCP  10.107.94.97:8080", "unknown line"),
            ("  -> 20.111.156.72:8080           Masq    1      0          0", "unknown line"),
            ("TCP  10.107.94.97:8080 rr\n  -> 20.111.156.72:8080           Masq    1", "unknown line"),
            ("FWM  x rr", "no numeric address and port"),
        ],
    )
    def test_refused(self, line: str, problem: str) -> None:
        with pytest.raises(ParseError, match=problem):
            parse_ipvsadm(HEADER + line)

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("TCP  0A6B5E61:10000 rr", "no numeric address and port"),
            ("TCP  0A6B5E611F:1F90 rr", "no numeric address and port"),
            ("TCP  [fd00::g]:1F90 rr", "no numeric address and port"),
        ],
    )
    def test_refused_from_proc(self, line: str, problem: str) -> None:
        with pytest.raises(ParseError, match=problem):
            parse_proc(HEADER + line)

    def test_without_header(self) -> None:
        with pytest.raises(ParseError, match="no header line"):
            parse_ipvsadm("")
        with pytest.raises(ParseError, match=r"^/proc/net/ip_vs: no header line"):
            parse_proc(HEADER.splitlines()[1])


class TestSets:
    def test_recorded(self) -> None:
        found = parse_ipset_save(sample("ipset-save.txt"))
        assert found["KUBE-NODE-PORT-TCP"] == IPSet(
            "KUBE-NODE-PORT-TCP", "bitmap:port", ("31080",), ("range", "0-65535")
        )
        # the comment of one member holds spaces
        assert "10.96.0.10,udp:53" in found["KUBE-CLUSTER-IP"].members
        assert found["KUBE-LOOP-BACK"].dimensions == ("ip", "port", "ip")
        assert found["KUBE-LOAD-BALANCER"].members == ()

    def test_exceptions(self) -> None:
        found = parse_ipset_save(
            "create s hash:net family inet\nadd s 10.0.0.0/8\nadd s 10.1.0.0/16 nomatch\n"
        )
        assert (found["s"].members, found["s"].exceptions) == (("10.0.0.0/8",), ("10.1.0.0/16",))

    def test_none(self) -> None:
        assert parse_ipset_save("") == {}

    @pytest.mark.parametrize(
        "text",
        [
            "add s 10.0.0.1",
            "create s",
            "create s hash:ip\ncreate s hash:ip",
            "create s nothing",
            "create s hash:ip\nadd s",
            "swap s t",
        ],
    )
    def test_refused(self, text: str) -> None:
        with pytest.raises(ParseError, match="unknown line"):
            parse_ipset_save(text)

    def test_quotes(self) -> None:
        with pytest.raises(ParseError, match="quotes"):
            parse_ipset_save('create s hash:ip\nadd s 10.0.0.1 comment "cut')
