"""Routes, from ``ip -j -d route show table all`` and ``ip -j -d route get ADDRESS`` (iproute2)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from pytest_k8snet.evidence.packets import IPAddress


@dataclass(frozen=True, slots=True)
class Route:
    destination: IPv4Network | IPv6Network  #: "default" is 0.0.0.0/0 or ::/0; a host /32 or /128
    device: str | None  #: None for blackhole/unreachable
    gateway: IPAddress | None = None
    type: str = "unicast"
    table: str = "main"
    protocol: str = ""  #: "bird", "80", "kernel", "boot", ...
    scope: str = "global"
    metric: int | None = None
    onlink: bool = False
    prefsrc: IPAddress | None = None
