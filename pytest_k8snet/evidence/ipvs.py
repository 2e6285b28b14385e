"""Virtual servers of the ip_vs module, from ``ipvsadm -Ln``; where that is missing, ``/proc/net/ip_vs``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.lines import lines
from pytest_k8snet.evidence.lines import port as port_of
from pytest_k8snet.evidence.packets import IPAddress

WHAT_IPVSADM = "ipvsadm -Ln"
WHAT_PROC = "/proc/net/ip_vs"
_HEADER = re.compile(r"IP Virtual Server version \S+ \(size=\d+\)")
_TITLES = re.compile(r"Prot LocalAddress:Port Scheduler Flags|-> RemoteAddress:Port +Forward Weight .*")
_VIRTUAL = re.compile(
    r"(?P<protocol>TCP|UDP|SCTP|FWM) +(?P<address>\S+) (?P<scheduler>[a-z0-9_-]+)(?P<flags>(?: +\S+)*)"
)
_REAL = re.compile(
    r"-> (?P<address>\S+) +(?P<forward>Masq|Local|Tunnel|Route|Bypass) +(?P<weight>\d{1,10}) +\d+ +\d+"
)


@dataclass(frozen=True, slots=True)
class RealServer:
    ip: IPAddress
    port: int
    weight: int  #: 0: no new connection goes there
    forward: str  #: "Masq" (NAT: its address and port become the destination), "Route", "Tunnel", "Local"


@dataclass(frozen=True, slots=True)
class VirtualServer:
    protocol: str  #: "TCP", "UDP", "SCTP"; "FWM" is found by the packet's mark
    ip: IPAddress | None  #: None for FWM
    port: int  #: 0: every port; for FWM the mark
    scheduler: str  #: "rr", "wrr", "lc", "sh", ...
    persistent: bool = False  #: a client keeps its real server (kube-proxy: session affinity)
    servers: tuple[RealServer, ...] = ()

    def __str__(self) -> str:
        """As ``ipvsadm -Ln`` names it: "TCP 10.107.94.97:8080"."""
        if self.ip is None:
            return f"{self.protocol} {self.port}"
        host = f"[{self.ip}]" if self.ip.version == 6 else str(self.ip)
        return f"{self.protocol} {host}:{self.port}"


def parse_ipvsadm(text: str | bytes) -> tuple[VirtualServer, ...]:
    """All virtual servers with their real servers from ``ipvsadm -Ln``; none where only the header stands.

    Raises ParseError for output without that header and for a line that can't be read.
    """
    return _parse(WHAT_IPVSADM, text, _printed, lambda mark: int(mark))


def parse_proc(text: str | bytes) -> tuple[VirtualServer, ...]:
    """The same from ``/proc/net/ip_vs``, where IPv4 addresses, ports and marks are hexadecimal."""
    return _parse(WHAT_PROC, text, _hexadecimal, lambda mark: int(mark, 16))


def _parse(
    what: str,
    text: str | bytes,
    address: Callable[[str], tuple[IPAddress, int]],
    mark: Callable[[str], int],
) -> tuple[VirtualServer, ...]:
    servers: list[VirtualServer] = []
    headed = False
    for line in lines(text):
        if _HEADER.fullmatch(line):
            headed = True
            continue
        if _TITLES.fullmatch(line):
            continue
        try:
            if virtual := _VIRTUAL.fullmatch(line):
                by_mark = virtual["protocol"] == "FWM"
                ip, port = (None, mark(virtual["address"])) if by_mark else address(virtual["address"])
                flags = virtual["flags"].split()
                servers.append(
                    VirtualServer(virtual["protocol"], ip, port, virtual["scheduler"], "persistent" in flags)
                )
            elif servers and (real := _REAL.fullmatch(line)):
                found = RealServer(*address(real["address"]), int(real["weight"]), real["forward"])
                servers[-1] = replace(servers[-1], servers=(*servers[-1].servers, found))
            else:
                raise ParseError(what, "unknown line", line)
        except ParseError:
            raise
        except ValueError:
            raise ParseError(what, "no numeric address and port", line) from None
    if not headed:
        raise ParseError(what, "no header line: not a listing of ip_vs, or cut", text)
    return tuple(servers)


def _printed(text: str) -> tuple[IPAddress, int]:
    host, _, port = text.rpartition(":")
    return ip_address(host.removeprefix("[").removesuffix("]")), port_of(port)


def _hexadecimal(text: str) -> tuple[IPAddress, int]:
    """``0A6B5E61:1F90``, or ``[fd00:...]:1F90`` (ip_vs_info_seq_show of the kernel)."""
    host, _, port = text.rpartition(":")
    number = port_of(str(int(port, 16)))
    if host.startswith("["):
        return ip_address(host[1:].removesuffix("]")), number
    return IPv4Address(int(host, 16)), number
