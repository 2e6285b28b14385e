"""What of the host a run must leave as it was."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Counters and clocks that change by themselves.
RESTLESS = {"stats", "stats64", "expires", "valid_life_time", "preferred_life_time"}
#: Words in a command line that mark a process as ours.
OURS = ("linux.uml", "pytest_k8snet/embedded", "tcpdump -i")


@dataclass(frozen=True)
class Snapshot:
    """Links, routes, rules, mounts, our processes, our temporary folders."""

    network: str
    rules: str
    mounts: str
    processes: frozenset[int]
    folders: frozenset[str]

    @classmethod
    def take(cls) -> Snapshot:
        network = [
            _json("ip", "-j", *what)
            for what in (("link",), ("addr",), ("route", "show", "table", "all"), ("rule",), ("netns",))
        ]
        return cls(
            json.dumps(network, sort_keys=True),
            "".join(_text(f"iptables-{kind}-save") for kind in ("legacy", "nft")),
            Path("/proc/self/mounts").read_text(),
            frozenset(_our_processes()),
            frozenset(name for name in os.listdir(tempfile.gettempdir()) if name.startswith("k8snet-")),
        )

    def left_behind(self) -> str:
        """What differs now from this snapshot, in words; "" when nothing does."""
        now = Snapshot.take()
        found = [
            f"{name} differ"
            for name in ("network", "rules", "mounts")
            if getattr(now, name) != getattr(self, name)
        ]
        found += [f"process {pid}" for pid in sorted(now.processes - self.processes)]
        found += [f"folder {name}" for name in sorted(now.folders - self.folders)]
        return "; ".join(found)


def _text(*argv: str) -> str:
    try:
        out = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""
    return "\n".join(line.split(" [")[0] for line in out.splitlines() if not line.startswith("#"))


def _json(*argv: str) -> Any:
    return _still(json.loads(_text(*argv) or "[]"))


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _still(item) for key, item in value.items() if key not in RESTLESS}
    if isinstance(value, list):
        return [_still(item) for item in value]
    return value


def _our_processes() -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                words = (
                    Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
            except OSError:
                continue
            if any(mark in words for mark in OURS) and "pytest --k8snet" not in words:
                found.append(int(entry))
    return found
