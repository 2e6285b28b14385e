"""Links, addresses and routes over netlink (pyroute2), from the description's plain dictionaries."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from typing import Any

from pyroute2.iproute.linux import IPRoute

from pytest_k8snet.embedded.agent.syscalls import network_namespace

SIOCETHTOOL = 0x8946
#: ETHTOOL_STXCSUM is left alone; these turn off what makes one captured frame stand for many on the wire.
ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO = 0x1F, 0x24, 0x2C

BIRD = 12  #: RTPROT_BIRD, the protocol of Calico's routes when BIRD makes them
CALICO_MAC = "ee:ee:ee:ee:ee:ee"  #: Felix gives it to the host's end of every pod
LINK_LOCAL_GATEWAY = "169.254.1.1"  #: every pod's default gateway under Calico


class _EthtoolValue(ctypes.Structure):
    _fields_ = (("command", ctypes.c_uint32), ("value", ctypes.c_uint32))


def plain_wire(name: str) -> None:
    """Turn segmentation offloads off, so that a capture shows packets as a wire carries them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        for command in (ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO):
            wish = _EthtoolValue(command, 0)
            fcntl.ioctl(handle, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(wish)))


def sysctl(key: str, value: str | int) -> None:
    """``net.ipv4.ip_forward`` and the like, in the caller's network namespace (slashes, not dots)."""
    with open(f"/proc/sys/{key}", "w") as handle:
        handle.write(str(value))


class Links:
    """One network namespace's links, by name. Opened inside the namespace it speaks for."""

    def __init__(self) -> None:
        self._netlink = IPRoute()

    def close(self) -> None:
        self._netlink.close()

    def index(self, name: str) -> int:
        found = self._netlink.link_lookup(ifname=name)
        if not found:
            raise OSError(f"no interface {name}")
        return int(found[0])

    def exists(self, name: str) -> bool:
        return bool(self._netlink.link_lookup(ifname=name))

    def bridge(self, name: str) -> None:
        self._netlink.link("add", ifname=name, kind="bridge")
        self.up(name)

    def enslave(self, name: str, bridge: str) -> None:
        self._netlink.link("set", index=self.index(name), master=self.index(bridge))

    def veth(self, name: str, peer: str, peer_pid: int, mtu: int) -> None:
        """A pair: ``name`` here, ``peer`` in the network namespace of process ``peer_pid``."""
        self._netlink.link(
            "add",
            ifname=name,
            kind="veth",
            mtu=mtu,
            peer={"ifname": peer, "net_ns_pid": peer_pid, "mtu": mtu},
        )

    def tunnel(self, name: str) -> None:
        """An IPIP device of any ends, where the ipip module made none by itself."""
        self._netlink.link("add", ifname=name, kind="ipip")

    def delete(self, name: str) -> None:
        self._netlink.link("del", index=self.index(name))

    def up(self, name: str, *, mtu: int | None = None, mac: str | None = None) -> None:
        wish: dict[str, Any] = {"state": "up"}
        if mtu is not None:
            wish["mtu"] = mtu
        if mac is not None:
            wish["address"] = mac
        self._netlink.link("set", index=self.index(name), **wish)

    def address(self, name: str, address: str) -> None:
        """``address`` as "ADDRESS/LENGTH"."""
        ip, _, length = address.partition("/")
        self._netlink.addr("add", index=self.index(name), address=ip, prefixlen=int(length))

    def route(self, route: dict[str, Any]) -> None:
        """``{"dst": CIDR, "dev"?, "via"?, "scope"?, "proto"?, "onlink"?, "type"?}``."""
        wish: dict[str, Any] = {"dst": route["dst"]}
        if "dev" in route:
            wish["oif"] = self.index(route["dev"])
        if "via" in route:
            wish["gateway"] = route["via"]
        if route.get("scope") == "link":
            wish["scope"] = 253
        if route.get("onlink"):
            wish["flags"] = ["onlink"]
        if route.get("type"):
            wish["type"] = route["type"]
        if "proto" in route:
            wish["proto"] = route["proto"]
        self._netlink.route("add", **wish)


def sandbox_links(pid: int, addresses: list[str], mtu: int) -> None:
    """Inside a pod: lo and eth0 up, the pod's addresses, Calico's link-local default gateway."""
    with network_namespace(f"/proc/{pid}/ns/net"):
        links = Links()
        try:
            links.up("lo")
            plain_wire("eth0")
            for address in addresses:
                links.address("eth0", address)
            links.up("eth0", mtu=mtu)
            links.route({"dst": f"{LINK_LOCAL_GATEWAY}/32", "dev": "eth0", "scope": "link"})
            links.route({"dst": "0.0.0.0/0", "dev": "eth0", "via": LINK_LOCAL_GATEWAY})
        finally:
            links.close()


def inode(pid: int) -> int:
    """Inode of a process's network namespace."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino
