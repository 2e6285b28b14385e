"""Connections, from ``conntrack -L`` or ``/proc/net/nf_conntrack``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.lines import lines, port
from pytest_k8snet.evidence.packets import IPAddress

WHAT = "conntrack"
PROTOCOLS = frozenset({"tcp", "udp"})
_ENTRY = re.compile(r"(?:ipv[46]\s+\d+\s+)?(?P<protocol>[a-z0-9-]+)\s+\d+\s+(?P<rest>.*src=.*)")
_TOOL = re.compile(r"conntrack v\S+ \(conntrack-tools\): \d+ flow entries have been shown\.")
_STATE = re.compile(r"[A-Z][A-Z0-9_]*")
_FLAG = re.compile(r"\[([A-Z_]+)\]")
_TUPLE = ("src", "dst", "sport", "dport")


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction of a connection as netfilter keeps it."""

    src: IPAddress
    dst: IPAddress
    sport: int
    dport: int


@dataclass(frozen=True, slots=True)
class Connection:
    protocol: str  #: "tcp", "udp"
    original: Tuple  #: as the first packet came in
    reply: Tuple  #: as an answer must look; reply.src is where DNAT sent it
    state: str | None = None  #: "ESTABLISHED", "TIME_WAIT"
    flags: frozenset[str] = frozenset()  #: "ASSURED", "UNREPLIED"
    mark: int = 0


def parse_conntrack(text: str | bytes) -> tuple[Connection, ...]:
    """TCP and UDP connections from ``conntrack -L`` (also ``-o extended``) or ``/proc/net/nf_conntrack``.

    Other protocols (ICMP, SCTP, unknown ones) are left out: no lab asks for them. Raises ParseError
    with the line that can't be read, cut ones included.
    """
    connections = []
    for line in lines(text):
        if _TOOL.fullmatch(line):
            continue
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            raise ParseError(WHAT, "unknown line", line)
        if entry["protocol"] in PROTOCOLS:
            connections.append(_connection(entry["protocol"], entry["rest"].split(), line))
    return tuple(connections)


def _connection(protocol: str, words: list[str], line: str) -> Connection:
    state = None
    flags = set()
    values: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            values.setdefault(key, []).append(value)
        elif flag := _FLAG.fullmatch(word):
            flags.add(flag[1])
        elif _STATE.fullmatch(word) and state is None:
            state = word
        elif not word.isdecimal():  # the number is the entry's time-out in seconds
            raise ParseError(WHAT, f"unknown word {word!r}", line)
    if words[-1].startswith("dport="):  # the kernel always prints marks or use counts after it
        raise ParseError(WHAT, "the line is cut", line)
    try:
        original, reply = (
            Tuple(ip_address(src), ip_address(dst), port(sport), port(dport))
            for src, dst, sport, dport in zip(*(values.get(key, []) for key in _TUPLE), strict=True)
        )
        mark = int(values.get("mark", ["0"])[0])
    except ValueError:
        raise ParseError(
            WHAT, "expected src=, dst=, sport= and dport= twice, original and reply", line
        ) from None
    return Connection(protocol, original, reply, state, frozenset(flags), mark)
