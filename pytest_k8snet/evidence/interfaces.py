"""Interfaces and their addresses, from ``ip -j -d addr show`` (iproute2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from pytest_k8snet.evidence import jsontree
from pytest_k8snet.evidence.jsontree import Tree

WHAT = "ip -j addr"


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface as its namespace sees it. ``mtu`` in bytes."""

    index: int
    name: str
    mtu: int
    kind: str | None = None  #: "veth", "ipip", "vxlan", "netkit", "bridge"; None for hardware and lo
    up: bool = False  #: the UP flag (administrative)
    peer_index: int | None = None  #: iflink: ifindex of the other end, in its own namespace
    peer_netnsid: int | None = None  #: link_netnsid: which namespace that is, as this one numbers it
    mac: str = ""
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()  #: with prefix length, in kernel order


def parse_addresses(text: str | bytes) -> tuple[Interface, ...]:
    """Every interface that ``ip -j -d addr show`` (or ``ip -j -d link show``) lists, in its order.

    ``kind`` needs ``-d``. Raises ParseError.
    """
    # Some iproute2 versions print {} for an entry that a filter left out.
    listed = [entry for entry in jsontree.parse(WHAT, text).items() if entry.value != {}]
    indices = {entry["ifname"].text(): entry["ifindex"].integer() for entry in listed}
    return tuple(_interface(entry, indices) for entry in listed)


def _interface(entry: Tree, indices: dict[str, int]) -> Interface:
    peer = entry.get("link_index")
    netnsid = entry.get("link_netnsid")
    beside = entry.get("link")  # a name instead of an index: the other end is in this same namespace
    if beside and beside.text() not in indices:
        raise beside.wrong("the name of an interface of this listing")
    kind = entry.dig("linkinfo", "info_kind")
    return Interface(
        index=entry["ifindex"].integer(),
        name=entry["ifname"].text(),
        mtu=entry["mtu"].integer(),
        kind=kind.text() if kind else None,
        up=any(flag.text() == "UP" for flag in entry["flags"].items()),
        peer_index=peer.integer() if peer else indices[beside.text()] if beside else None,
        peer_netnsid=netnsid.integer() if netnsid else None,
        mac=entry.text_or("address", ""),
        addresses=tuple(_address(address) for address in entry.items_of("addr_info") if address.value != {}),
    )


def _address(entry: Tree) -> IPv4Interface | IPv6Interface:
    local, length = entry["local"].address(), entry["prefixlen"].integer()
    try:
        return ip_interface(f"{local}/{length}")
    except ValueError:
        raise entry.wrong("an address with its prefix length") from None


def named(interfaces: Iterable[Interface], name: str) -> Interface | None:
    """The interface called ``name``; None when there is none."""
    return next((interface for interface in interfaces if interface.name == name), None)


def host_ends(inside: Interface, node: Sequence[Interface]) -> tuple[Interface, ...]:
    """The node's interfaces that can be the other end of ``inside``, a pod's ``eth0``.

    Both must name each other: index and iflink crosswise. Indices repeat between namespaces, so
    more than one interface, or one of another pod, can fit by chance; the caller tells them apart
    by ``peer_netnsid``.
    """
    return tuple(
        candidate
        for candidate in node
        if candidate.index == inside.peer_index and candidate.peer_index == inside.index
    )
