"""What of the host a run must leave as it was."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Counters and clocks that change by themselves.
RESTLESS = {"stats", "stats64", "expires", "valid_life_time", "preferred_life_time"}


@dataclass(frozen=True)
class Snapshot:
    """Links, routes, rules, mounts; in ``temporary``, folders; processes that know that folder.

    ``temporary`` is the TMPDIR that the run under test was given, and no other run: it stands in the
    environment or in the command line of every process that the run starts on the host.
    """

    temporary: str

    network: str
    rules: str
    mounts: str
    processes: frozenset[int]
    folders: frozenset[str]

    @classmethod
    def take(cls, temporary: str) -> Snapshot:
        network = [
            _json("ip", "-j", *what)
            for what in (("link",), ("addr",), ("route", "show", "table", "all"), ("rule",), ("netns",))
        ]
        return cls(
            temporary,
            json.dumps(network, sort_keys=True),
            "".join(_text(f"iptables-{kind}-save") for kind in ("legacy", "nft")),
            Path("/proc/self/mounts").read_text(),
            frozenset(_processes(temporary)),
            frozenset(name for name in os.listdir(temporary) if name.startswith("k8snet-")),
        )

    def left_behind(self) -> str:
        """What differs now from this snapshot, in words; "" when nothing does."""
        now = Snapshot.take(self.temporary)
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


def _processes(temporary: str) -> list[int]:
    """Processes started by a run in ``temporary``, except zombies (their parent has not looked yet)."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        known = b""
        for file in ("cmdline", "environ"):
            try:
                known += Path(f"/proc/{entry}/{file}").read_bytes()
            except OSError:
                continue  # gone meanwhile, or another user's
        if temporary.encode() in known:
            found.append(int(entry))
    return found
