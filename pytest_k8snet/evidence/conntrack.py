"""Connections, from ``conntrack -L`` or ``/proc/net/nf_conntrack``."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8snet.evidence.packets import IPAddress


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
