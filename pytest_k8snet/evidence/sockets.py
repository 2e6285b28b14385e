"""Listening sockets, from ``ss -H -ltnp`` (``netstat -ltnp`` as the fall-back)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.lines import lines, port
from pytest_k8snet.evidence.packets import IPAddress

WHAT_SS = "ss -ltnp"
WHAT_NETSTAT = "netstat -ltnp"
_SS_ROW = re.compile(r"LISTEN\s+\d+\s+\d+\s+(?P<local>\S+)\s+(?P<peer>\S+)(?:\s+users:\((?P<users>.*)\))?")
_SS_USER = re.compile(r'\("(?P<name>.*?)",pid=(?P<pid>[0-9]{1,10}),fd=[0-9]+\)(?:,|$)')
_NETSTAT_ROW = re.compile(
    r"tcp6?\s+\d+\s+\d+\s+(?P<local>\S+)\s+(?P<peer>\S+)\s+(?P<state>[A-Z][A-Z0-9_]*)"
    r"(?:\s+(?P<program>-|[0-9]{1,10}/.*))?"
)
_NETSTAT_OTHER = re.compile(
    r"(?:Active |Proto |\(|udp|raw|unix|sctp|dccp|bluetooth|l2cap|rfcomm|x25|ax25|will not be shown)"
)


@dataclass(frozen=True, slots=True)
class Listener:
    address: IPAddress | None  #: None: every address ("*", "0.0.0.0" and "[::]" keep their value)
    port: int
    processes: tuple[tuple[str, int], ...] = ()  #: (name, pid); empty when the kernel or ss would not say
    device: str | None = None  #: "127.0.0.53%lo" -> "lo"

    @property
    def everywhere(self) -> bool:
        return self.address is None or self.address.is_unspecified

    @property
    def loopback_only(self) -> bool:
        return self.address is not None and self.address.is_loopback


def parse_ss(text: str | bytes) -> tuple[Listener, ...]:
    """Listening TCP sockets from ``ss -H -ltnp`` (the header line of older versions is skipped).

    No line at all means that nothing listens. Raises ParseError with the line that can't be read.
    """
    listeners = []
    for line in lines(text):
        if line.startswith("State "):
            continue
        match = _SS_ROW.fullmatch(line)
        if match is None:
            raise ParseError(WHAT_SS, "unknown line", line)
        processes = _users(match["users"], line) if match["users"] is not None else ()
        listeners.append(_listener(WHAT_SS, match["local"], processes, line))
    return tuple(listeners)


def parse_netstat(text: str | bytes) -> tuple[Listener, ...]:
    """The same from net-tools' ``netstat -ltnp`` or ``netstat -anp``; other rows are left out.

    netstat cuts "PID/Program name" to 19 characters: a long name may have lost its end.

    Raises ParseError with the line that can't be read, and for output without netstat's header.
    """
    listeners = []
    headed = False
    for line in lines(text):
        headed = headed or line.startswith("Proto ")
        if line.startswith("tcp"):
            match = _NETSTAT_ROW.fullmatch(line)
            if match is None:
                raise ParseError(WHAT_NETSTAT, "unknown line", line)
            if match["state"] == "LISTEN":
                pid, slash, name = (match["program"] or "-").partition("/")
                processes = ((name.strip(), int(pid)),) if slash else ()
                listeners.append(_listener(WHAT_NETSTAT, match["local"], processes, line))
        elif not _NETSTAT_OTHER.match(line):
            raise ParseError(WHAT_NETSTAT, "unknown line", line)
    if not headed:
        raise ParseError(WHAT_NETSTAT, "no header line: not netstat's output, or cut", text)
    return tuple(listeners)


def _users(users: str, line: str) -> tuple[tuple[str, int], ...]:
    processes = []
    position = 0
    while position < len(users):
        user = _SS_USER.match(users, position)
        if user is None:
            raise ParseError(WHAT_SS, "unknown process list", line)
        processes.append((user["name"], int(user["pid"])))
        position = user.end()
    return tuple(dict.fromkeys(processes))  # a process holds a socket once per descriptor


def _listener(what: str, local: str, processes: tuple[tuple[str, int], ...], line: str) -> Listener:
    host, _, number = local.rpartition(":")
    # "[::1]%lo" by today's ss, "[fe80::1%eth0]" by older ones, "127.0.0.53%lo" by all
    bare, _, device = host.replace("[", "").replace("]", "").partition("%")
    try:
        address = None if bare == "*" else ip_address(bare)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped  # an IPv6 socket bound to an IPv4 address serves IPv4 alone
        return Listener(address, port(number), processes, device or None)
    except ValueError:
        raise ParseError(what, f"no numeric address and port in {local!r}", line) from None
