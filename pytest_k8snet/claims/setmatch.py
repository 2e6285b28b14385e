"""Whether a set of ``ipset`` holds one new connection (``-m set --match-set NAME dst,dst``)."""

from __future__ import annotations

from ipaddress import ip_network

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.evidence.ipsets import IPSet

#: Options of a set that change what a member stands for.
_CHANGING = frozenset({"netmask", "bitmask", "markmask"})


def holds_set(wanted: IPSet, directions: str, packet: NewConnection) -> bool | None:
    """``directions``: "src" or "dst" for each dimension of the set's type. None: not known.

    Known are sets of addresses, networks and ports: those of kube-proxy and of Calico's pools.
    """
    sides = directions.split(",")
    known = len(sides) >= len(wanted.dimensions) and {"src", "dst"} >= set(sides)
    if not known or wanted.exceptions or _CHANGING & set(wanted.options):
        return None
    answers = {_member(member, wanted, sides, packet) for member in wanted.members}
    if True in answers:
        return True
    return None if None in answers else False


def _member(member: str, wanted: IPSet, sides: list[str], packet: NewConnection) -> bool | None:
    parts = member.split(",")
    if len(parts) != len(wanted.dimensions):
        return None
    answers = {
        _part(part, dimension, side, packet)
        for part, dimension, side in zip(parts, wanted.dimensions, sides, strict=False)
    }
    if False in answers:
        return False
    return None if None in answers else True


def _part(part: str, dimension: str, side: str, packet: NewConnection) -> bool | None:
    try:
        if dimension in ("ip", "net"):
            return (packet.src if side == "src" else packet.dst) in ip_network(part, strict=False)
        if dimension == "port":
            # "tcp:8080"; a bitmap of ports holds them for every protocol.
            protocol, _, number = part.rpartition(":")
            port = packet.sport if side == "src" else packet.dport
            return protocol in ("", packet.protocol) and int(number) == port
    except ValueError:
        pass  # a range, or a name
    return None
