"""What the cluster is meant to be; the document's values are the defaults (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

ENCAPSULATIONS = ("ipip-always", "ipip-cross-subnet", "vxlan-always", "vxlan-cross-subnet", "none")
PROXY_MODES = ("iptables", "nftables", "ipvs")
ROLES = ("master", "node1", "node2")
DOCUMENT_POD_CIDR = IPv4Network("20.96.0.0/12")
DOCUMENT_SERVICE_CIDR = IPv4Network("10.96.0.0/12")


@dataclass(frozen=True)
class Intent:
    """Declared intent. Traffic that works another way than declared is broken."""

    encapsulation: str = "ipip-always"
    pod_cidr: IPv4Network | IPv6Network | None = DOCUMENT_POD_CIDR  #: None: as the cluster itself states it
    service_cidr: IPv4Network | IPv6Network = DOCUMENT_SERVICE_CIDR
    uplink: str | None = None  #: found on each node unless named
    interface_prefix: str = "cali"
    proxy_mode: str = "iptables"
    masquerade_all: bool = False
    node_port: int = 31080
    roles: Mapping[str, str] = field(default_factory=dict)  #: role -> real node name; else chosen

    @property
    def tunnel(self) -> str | None:
        """ "ipip", "vxlan" or None: what the wire between nodes must show."""
        return None if self.encapsulation == "none" else self.encapsulation.split("-", 1)[0]
