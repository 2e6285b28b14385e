"""An observation as another machine would have made it: the same network with other addresses, names, ids."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    ip_interface,
    ip_network,
)
from typing import Any, TypeVar

from pytest_k8snet.claims.nftwalk import chain_base
from pytest_k8snet.claims.rulewalk import service_chain_name

T = TypeVar("T")

_RANGES = ("20.96.0.0/12", "10.96.0.0/12", "192.168.219.0/24")  #: the document's: pods, services, nodes
_QUAD = re.compile(r"(?<![\w.])(__)?((?:[0-9]{1,3}\.){3}[0-9]{1,3})(?![0-9.])")
_SEP = re.compile(r"KUBE-SEP-([A-Z2-7]{16})")
_ENDPOINT = re.compile(r"endpoint-([A-Z2-7]{8})-")
_ID = re.compile(r"\b[0-9a-f]{64}\b")
_VETH = re.compile(r"\bcali([0-9a-f]{11})\b")
_PID = re.compile(r"/proc/([0-9]+)/")
_NAMES = ("svc-clusterip", "svc-nodeport")


@dataclass(frozen=True)
class Twin:
    """How the other machine differs. Masks are XORed into the hosts' bits: prefixes stay prefixes."""

    pods: str = "10.240.0.0/12"
    services: str = "172.16.0.0/12"
    nodes: str = "10.77.3.0/24"
    mask: int = 0x5A5C0
    nodes_mask: int = 0x20
    names: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"k8s-master": "cp-0", "k8s-node1": "worker-b", "k8s-node2": "worker-a"}
    )
    namespace: str = "k8snet-7f3a"
    node_port: int = 30777
    shift: int = 1009  #: of clients' ports, pids and inodes

    def of(self, value: T) -> T:
        """``value`` with everything in it, as it would be there."""
        return _Copy(self).of(value, "")  # type: ignore[no-any-return]

    def number(self, value: int, field: str) -> int:
        if value == 31080 and field not in ("seq", "ack", "ident", "length"):
            return self.node_port
        if field in ("port", "dport", "sport") and value > 32767:
            return 32768 + (value - 32768 + self.shift) % 28000
        if field in ("pid", "inode") and value > 1:
            return value + self.shift
        return value

    def address(self, address: IPv4Address) -> IPv4Address:
        for old, new, mask in self._ranges():
            if address in old:
                bits = (int(address) ^ int(old.network_address)) ^ (mask & int(old.hostmask))
                return IPv4Address(int(new.network_address) | bits)
        return address

    def network(self, network: IPv4Network) -> IPv4Network:
        whole = {old: new for old, new, _ in self._ranges()}
        if network in whole:
            return whole[network]
        return ip_network(f"{self.address(network.network_address)}/{network.prefixlen}", strict=False)  # type: ignore[return-value]

    def _ranges(self) -> list[tuple[IPv4Network, IPv4Network, int]]:
        masks = (self.mask, self.mask, self.nodes_mask)
        new = (self.pods, self.services, self.nodes)
        return [
            (IPv4Network(a), IPv4Network(b), mask) for a, b, mask in zip(_RANGES, new, masks, strict=True)
        ]

    def text(self, text: str) -> str:
        for old, new in self._chains().items():
            text = text.replace(old, new)
        text = _SEP.sub(lambda found: f"KUBE-SEP-{_other(found[1], 16)}", text)
        text = _ENDPOINT.sub(lambda found: f"endpoint-{_other(found[1], 8)}-", text)
        text = _ID.sub(lambda found: hashlib.sha256(found[0].encode()).hexdigest(), text)
        text = _VETH.sub(lambda found: f"cali{hashlib.sha1(found[0].encode()).hexdigest()[:11]}", text)
        text = _PID.sub(lambda found: f"/proc/{self.number(int(found[1]), 'pid')}/", text)
        text = self._networks(text)
        text = re.sub(r"\b31080\b", str(self.node_port), text)
        for old, new in self.names.items():
            text = text.replace(old, new)
        return self.namespace if text == "default" else text.replace("default/svc-", f"{self.namespace}/svc-")

    def _networks(self, text: str) -> str:
        def found(match: re.Match[str]) -> str:
            try:
                return f"{match[1] or ''}{self.address(IPv4Address(match[2]))}"
            except ValueError:
                return match[0]

        for old, new, _ in self._ranges():
            text = text.replace(str(old), f"<{new.prefixlen}>{str(new)[::-1]}<")
        text = _QUAD.sub(found, text)
        return re.sub(r"<[0-9]+>([0-9./]+)<", lambda kept: kept[1][::-1], text)

    def _chains(self) -> dict[str, str]:
        """Hashes of names that stand for a namespace's services."""
        found = {}
        for name in _NAMES:
            old, new = (service_chain_name(space, name)[9:] for space in ("default", self.namespace))
            found[old] = new
            found[chain_base("default", name)] = chain_base(self.namespace, name)
        return found


class _Copy:
    """One copy; what is one thing in the observation stays one."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._made: dict[int, tuple[object, object]] = {}
        self._texts = cache(twin.text)

    def of(self, value: Any, field: str) -> Any:
        if not dataclasses.is_dataclass(value) or isinstance(value, type):
            return self._simple(value, field)
        if id(value) not in self._made:
            changed = {
                each.name: self.of(getattr(value, each.name), each.name)
                for each in dataclasses.fields(value)
                if each.init
            }
            self._made[id(value)] = value, dataclasses.replace(value, **changed)
        return self._made[id(value)][1]

    def _simple(self, value: Any, field: str) -> Any:
        if isinstance(value, str):
            return self._texts(value)
        if isinstance(value, IPv4Interface):
            return ip_interface(f"{self._twin.address(value.ip)}/{value.network.prefixlen}")
        if isinstance(value, IPv4Network):
            return self._twin.network(value)
        if isinstance(value, IPv4Address):
            return self._twin.address(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return self._twin.number(value, field)
        if isinstance(value, tuple | frozenset):
            return type(value)(self.of(each, field) for each in value)
        if isinstance(value, Mapping):  # pid -> inode, or by name
            return {self.of(key, "pid"): self.of(each, "inode") for key, each in value.items()}
        return value


def _other(hashed: str, length: int) -> str:
    return base64.b32encode(hashlib.sha256(hashed.encode()).digest()).decode()[:length]
