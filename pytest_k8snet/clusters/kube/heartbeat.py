"""Whose a namespace is, and whether that run is alive: an owner and a heartbeat, as annotations."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_k8snet.clusters.api.client import Api
from pytest_k8snet.clusters.base import ClusterError, Deadline

OWNER = "k8snet.dev/owner"  #: JSON: see :func:`owner`
BEAT = "k8snet.dev/heartbeat"  #: seconds since the epoch, by the owner's clock

INTERVAL = 10.0  #: seconds between two heartbeats
DEAD = 45.0  #: seconds without one after which a run on another machine is taken to be gone


def noted() -> dict[str, str]:
    """Those of a new namespace of this process."""
    return {OWNER: json.dumps(owner(), sort_keys=True), BEAT: _now()}


def owner() -> dict[str, Any]:
    """This process: ``host``, for a reader; ``kernel``, the same for processes that see each other's ids;
    ``pid``; ``start``, which tells it from a later process of that id ("" where there is no /proc);
    ``since``."""
    return {
        "host": socket.gethostname(),
        "kernel": _kernel(),
        "pid": os.getpid(),
        "start": _start(os.getpid()),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def in_words(notes: Mapping[str, str]) -> str:
    """ "process 4711 on laptop, since 2026-11-22T20:38:03+00:00", of a namespace's annotations."""
    who = _owner(notes)
    return f"process {who.get('pid', '?')} on {who.get('host', '?')}, since {who.get('since', '?')}"


def is_gone(notes: Mapping[str, str]) -> bool | None:
    """Is the run that made these annotations over? None where only its next heartbeat can tell.

    A process of this machine is looked up. One of another is alive while its heart beats; its clock may be
    wrong, so a heartbeat that looks old proves nothing yet.
    """
    who = _owner(notes)
    if who.get("kernel") and who["kernel"] == _kernel():
        runs = _runs(who.get("pid"), str(who.get("start", "")))
        if runs is not None:
            return not runs
    try:
        age = time.time() - float(notes.get(BEAT, ""))
    except ValueError:
        return None
    return False if abs(age) < DEAD else None


class Heartbeat:
    """Renews the annotation of the object at ``path`` every :data:`INTERVAL` seconds, by its own Api."""

    def __init__(self, connect: Callable[[], Api], path: str) -> None:
        self._connect = connect
        self._path = path
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="k8snet-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Idempotent."""
        self._over.set()
        self._thread.join(timeout=2.0)

    def _beat(self) -> None:
        api: Api | None = None
        while not self._over.wait(INTERVAL):
            # A beat that is missed does no harm; the next one tries again.
            with suppress(ClusterError):
                api = api or self._connect()
                api.deadline = Deadline(INTERVAL / 2)
                api.patch(self._path, {"metadata": {"annotations": {BEAT: _now()}}})
        if api is not None:
            api.close()


def _now() -> str:
    return f"{time.time():.0f}"


def _owner(notes: Mapping[str, str]) -> dict[str, Any]:
    try:
        who = json.loads(notes.get(OWNER, ""))
    except ValueError:
        return {}
    return who if isinstance(who, dict) else {}


def _kernel() -> str:
    """Boot and PID namespace: containers of one name, and one container started twice, are not one place."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start(pid: int) -> str:
    """Field 22 of /proc/PID/stat: clock ticks from boot to the process's start."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _runs(pid: object, start: str) -> bool | None:
    """Does the process of this id run that started then? None where it can't be told."""
    if not isinstance(pid, int) or pid <= 0:
        return None
    if seen := _start(pid):
        return seen == start
    # Other users' processes are not in a /proc that is mounted with hidepid, yet their ids are taken.
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return None
