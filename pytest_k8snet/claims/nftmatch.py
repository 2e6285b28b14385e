"""What an nftables expression is for one new connection, and whether a match or a map's key holds."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from operator import ge, gt, le, lt

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.walks import address
from pytest_k8snet.evidence.nftables import NftTable
from pytest_k8snet.evidence.nftexpr import (
    Bitwise,
    Concat,
    Conntrack,
    Expression,
    Fib,
    Match,
    Meta,
    Named,
    Network,
    OneOf,
    Payload,
    Range,
)
from pytest_k8snet.evidence.packets import IPAddress

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1}
_COMPARED: dict[str, Callable[[int, int], bool]] = {"<": lt, ">": gt, "<=": le, ">=": ge}


class _Absent:
    """The packet has no such field: no match with it holds, whatever the operator."""


#: An address that the routing table does not call local; what it is called instead is not known.
_NOT_LOCAL = "not local"
_ABSENT = _Absent()
Value = IPAddress | int | str | tuple[object, ...] | _Absent


def holds(match: Match, packet: NewConnection, mark: int, table: NftTable) -> bool | None:
    """Whether a match holds; None: not known."""
    value = value_of(match.left, packet, mark)
    if isinstance(value, _Absent):
        return False
    if value is None:
        return None
    if match.operation in _COMPARED:
        ordered = isinstance(value, int) and isinstance(match.right, int)
        return _COMPARED[match.operation](value, match.right) if ordered else None  # type: ignore[arg-type]
    answer = same(value, match.right, table)
    if match.operation in ("==", "in"):
        return answer
    return None if answer is None or match.operation != "!=" else not answer


def value_of(wanted: Expression, packet: NewConnection, mark: int) -> Value | None:
    """What the packet has there; None: not known."""
    if isinstance(wanted, Payload):
        return _payload(wanted, packet)
    if isinstance(wanted, Meta):
        known: dict[str, str | int] = {
            "l4proto": packet.protocol,
            "mark": mark,
            "nfproto": f"ipv{packet.dst.version}",
            "iifname": packet.in_interface,
            "oifname": packet.out_interface,
        }
        return known.get(wanted.key, "") if known.get(wanted.key, "") != "" else None
    if isinstance(wanted, Conntrack):
        return "new" if wanted.key == "state" else None
    if isinstance(wanted, Fib):
        if wanted.result != "type" or wanted.flags not in (("daddr",), ("saddr",)):
            return None
        local = packet.dst_local if wanted.flags == ("daddr",) else packet.src_local
        return "local" if local else _NOT_LOCAL
    if isinstance(wanted, Bitwise):
        return _bits(wanted, packet, mark)
    if isinstance(wanted, Concat):
        parts = tuple(value_of(part, packet, mark) for part in wanted.parts)
        if any(isinstance(part, _Absent) for part in parts):
            return _ABSENT
        return None if None in parts else parts
    return wanted if isinstance(wanted, int) else None


def same(value: object, wanted: Expression, table: NftTable) -> bool | None:
    """Whether ``value`` is what stands at the right of a match, or in a set, or as a map's key."""
    if isinstance(wanted, Named):
        members = table.sets.get(wanted.name)
        return None if members is None else _any(value, members, table)
    if isinstance(wanted, OneOf):
        return _any(value, wanted.members, table)
    if isinstance(wanted, Concat):
        if not isinstance(value, tuple) or len(value) != len(wanted.parts):
            return None
        answers = [same(part, other, table) for part, other in zip(value, wanted.parts, strict=True)]
        return False if False in answers else None if None in answers else True
    if isinstance(wanted, Range):
        return _between(value, wanted)
    if isinstance(wanted, Network):
        return value in wanted if isinstance(value, IPv4Address | IPv6Address) else None
    if isinstance(value, IPv4Address | IPv6Address):
        literal = address(wanted) if isinstance(wanted, str) else None
        return None if literal is None else value == literal
    return _equal(value, wanted)


def _payload(wanted: Payload, packet: NewConnection) -> Value | None:
    if wanted.protocol in ("ip", "ip6"):
        if wanted.protocol != ("ip" if packet.dst.version == 4 else "ip6"):
            return _ABSENT
        fields: dict[str, Value] = {
            "saddr": packet.src,
            "daddr": packet.dst,
            "protocol": packet.protocol,
            "nexthdr": packet.protocol,
        }
        return fields.get(wanted.field)
    if wanted.protocol in _PROTOCOLS and wanted.protocol != packet.protocol:
        return _ABSENT
    if wanted.protocol in ("th", packet.protocol):
        return {"sport": packet.sport, "dport": packet.dport}.get(wanted.field)
    return None


def _bits(wanted: Bitwise, packet: NewConnection, mark: int) -> int | None:
    left, right = (value_of(side, packet, mark) for side in (wanted.left, wanted.right))
    if not isinstance(left, int) or not isinstance(right, int):
        return None
    if wanted.operation == "&":
        return left & right
    return left | right if wanted.operation == "|" else left ^ right


def _any(value: object, members: tuple[Expression, ...], table: NftTable) -> bool | None:
    answers = {same(value, member, table) for member in members}
    if True in answers:
        return True
    return None if None in answers else False


def _between(value: object, wanted: Range) -> bool | None:
    low, high = wanted.low, wanted.high
    if isinstance(value, int) and isinstance(low, int) and isinstance(high, int):
        return low <= value <= high
    if isinstance(value, IPv4Address | IPv6Address) and isinstance(low, str) and isinstance(high, str):
        ends = address(low), address(high)
        if ends[0] is not None and ends[1] is not None and {e.version for e in ends if e} == {value.version}:
            return int(ends[0]) <= int(value) <= int(ends[1])
    return None


def _equal(value: object, wanted: Expression) -> bool | None:
    if value == _NOT_LOCAL:
        return False if wanted == "local" else None
    if isinstance(value, str) and isinstance(wanted, str):
        return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted
    if isinstance(value, str) and isinstance(wanted, int):
        return _PROTOCOLS[value] == wanted if value in _PROTOCOLS else None
    return value == wanted if isinstance(value, int) and isinstance(wanted, int) else None
