"""What this machine's kernel offers to kind's nodes: they share it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from pathlib import Path

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.ways.local import call

PATIENCE = 10.0  #: seconds
_MEMORY = re.compile(r"^MemAvailable:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Host:
    """This machine, read below ``root`` (tests give a folder of their own)."""

    root: Path = Path("/")
    release: str = os.uname().release

    def module(self, name: str) -> str:
        """ "loaded", "builtin", "file" (the kernel loads it when it is first used), or "" for none of them.

        Nothing is loaded to find out. A module that a kernel was built with, and that takes no parameters,
        may stand in modules.builtin alone.
        """
        if re.search(rf"^{name} ", self._text("proc/modules"), re.MULTILINE) or self._is(
            f"sys/module/{name}"
        ):
            return "loaded"
        where = f"lib/modules/{self.release}"
        pattern = re.compile(rf"(?:^|/){name.replace('_', '[_-]')}\.ko(?:\.\w+)?:?(?:\s|$)", re.MULTILINE)
        if pattern.search(self._text(f"{where}/modules.builtin")):
            return "builtin"
        if self._text("proc/sys/kernel/modules_disabled").strip() == "1":
            return ""
        return "file" if pattern.search(self._text(f"{where}/modules.dep")) else ""

    def lacks(self, name: str) -> bool:
        """It is known that there is no such module: this kernel's list of modules is here, and has it not."""
        return self._is(f"lib/modules/{self.release}/modules.dep") and not self.module(name)

    def has_device(self, name: str) -> bool:
        """Whether there is such an interface. ipip's tunl0 comes with the driver."""
        return self._is(f"sys/class/net/{name}")

    def setting(self, name: str) -> int | None:
        """A sysctl that is one number: "fs/inotify/max_user_instances"."""
        text = self._text(f"proc/sys/{name}").strip()
        return int(text) if text.isdecimal() else None

    def memory(self) -> int | None:
        """Bytes that programs can still take."""
        found = _MEMORY.search(self._text("proc/meminfo"))
        return int(found[1]) * 1024 if found else None

    def disk(self, folder: str) -> int | None:
        """Bytes free where ``folder`` is; None where that can't be seen."""
        try:
            return shutil.disk_usage(self.root / folder.lstrip("/")).free
        except OSError:
            return None

    def _text(self, path: str) -> str:
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return ""

    def _is(self, path: str) -> bool:
        return (self.root / path).exists()


@dataclass(frozen=True)
class Route:
    network: IPv4Network
    device: str

    def __str__(self) -> str:
        return f"{self.network} on {self.device}" if self.device else str(self.network)


def routes() -> list[Route]:
    """The IPv4 routes of this machine's main table but the default one. None where there is no ``ip``."""
    try:
        result = call(["ip", "-j", "-4", "route", "show"], timeout=PATIENCE)
    except ClusterError:
        return []
    return list(_routes(result.stdout)) if result.exit_status == 0 else []


def _routes(printed: bytes) -> Iterable[Route]:
    try:
        listed = json.loads(printed or b"[]")
    except ValueError:
        return
    for route in listed:
        destination = route.get("dst", "default")
        if destination != "default":
            network = ip_network(destination, strict=False)
            if isinstance(network, IPv4Network):
                yield Route(network, route.get("dev", ""))
