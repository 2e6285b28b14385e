"""Interfaces and their addresses, from ``ip -j -d addr show`` (iproute2)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface


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
