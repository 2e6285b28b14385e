"""A daemon in mount, PID, network and IPC namespaces of its own: when it goes, all it made goes with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

PATIENCE = 30.0  #: seconds for a daemon to answer; it takes about two
PROGRAMS = ("busybox", "nsenter", "setpriv", "unshare")

#: As process 1 of the namespaces: a private place for what daemons write outside their data roots, then the
#: daemon itself. ``busybox ip`` is there also where iproute2 is not.
_INIT = 'for d in $HIDDEN; do mount -t tmpfs tmpfs "$d"; done; busybox ip link set lo up; exec "$@"'


def missing(*programs: str) -> str:
    """Why such a daemon can't run here, or ""."""
    if os.geteuid():
        return "a container engine needs root"
    absent = [name for name in (*PROGRAMS, *programs) if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


class Contained:
    """``argv`` running in its own namespaces. ``hidden``: directories of the host that it must not write to.

    SIGKILL to the process, or to pytest, ends every process inside (``setpriv --pdeathsig``,
    ``unshare --kill-child``), and with the last of them the mounts and links.
    """

    def __init__(self, folder: Path, argv: Sequence[str], *, hidden: Sequence[str] = ()) -> None:
        self.folder = folder
        self._made = [path for path in map(Path, hidden) if not path.exists()]
        for path in self._made:
            path.mkdir(parents=True)
        namespaces = ("--mount", "--pid", "--net", "--ipc", "--mount-proc", "--propagation", "private")
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                (
                    *("setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "--fork", "--kill-child"),
                    *("sh", "-c", _INIT, "sh", *argv),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HIDDEN": " ".join(hidden)},
                start_new_session=True,
            )

    @property
    def inside(self) -> tuple[str, ...]:
        """What to put before a command for it to run beside the daemon: on its "node"."""
        return ("nsenter", "-t", self._children()[0], "-m", "-p", "-n", "-i", "--")

    def wait(self, ready: Callable[[], bool]) -> None:
        """Return once ``ready``. Raises RuntimeError with the daemon's last words when it ends before."""
        end = time.monotonic() + PATIENCE
        while not ready():
            if self._process.poll() is not None or time.monotonic() > end:
                said = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self._process.args!r} did not come up: {said}")
            time.sleep(0.05)

    def end(self) -> None:
        for child in self._children():  # process 1 inside; unshare then reaps it, and ends
            os.kill(int(child), signal.SIGKILL)
        self._process.wait(timeout=PATIENCE)
        for path in self._made:
            with suppress(OSError):  # somebody else's by now
                path.rmdir()

    def _children(self) -> list[str]:
        pid = self._process.pid
        if self._process.poll() is not None:
            return []
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def folder() -> Path:
    """Short: a socket's path has 107 characters at most (unix(7))."""
    return Path(tempfile.mkdtemp(prefix="k8snet-"))


def remove(folder: Path) -> None:
    """The daemon's files, and the cgroups below one of the folder's name that it had no time to remove."""
    groups = [Path(root) for root, _, _ in os.walk("/sys/fs/cgroup") if folder.name in Path(root).parts]
    for group in sorted(groups, reverse=True):  # the innermost first
        _retried(group.rmdir)
    _retried(lambda: shutil.rmtree(folder))


def _retried(step: Callable[[], object]) -> None:
    """The kernel takes a moment to let go of what killed processes held."""
    for _ in range(100):
        try:
            step()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
    step()
