"""Processes of one node: started without forking Python, reaped in one place.

A node's agent is process 1 of its PID namespace, so orphans (containers) become its children too:
only one waiter may exist, and this is it.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence

TOOLS = "/run/k8snet/tools"  #: programs that stand in for the node's own: a fault put them there
PATH = f"{TOOLS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "HOME": "/"}


_hidden: set[str] = set()


def set_tool(name: str, tool: str, script: bytes) -> None:
    """What ``name`` means on this node: "script" runs that, "missing" is not found, "own" the node's own."""
    stand_in = f"{TOOLS}/{name}"
    _hidden.discard(name)
    if os.path.exists(stand_in):
        os.unlink(stand_in)
    if tool == "missing":
        _hidden.add(name)
    elif tool == "script":
        os.makedirs(TOOLS, exist_ok=True)
        with open(stand_in, "wb") as file:
            file.write(script)
        os.chmod(stand_in, 0o755)


def find_program(name: str) -> str | None:
    """The program's path, as a shell would find it."""
    if name in _hidden:
        return None
    if "/" in name:
        return name if os.access(name, os.X_OK) else None
    for folder in PATH.split(":"):
        candidate = f"{folder}/{name}"
        if os.access(candidate, os.X_OK):
            return candidate
    return None


def spawn(argv: Sequence[str], stdin: int, stdout: int, stderr: int) -> int:
    """Start ``argv`` in a process group of its own; returns its pid. FileNotFoundError if there is none."""
    program = find_program(argv[0])
    if program is None:
        raise FileNotFoundError(argv[0])
    return os.posix_spawn(
        program,
        list(argv),
        ENVIRONMENT,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_DUP2, stderr, 2),
        ],
        setpgroup=0,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD],
    )


def exit_status(status: int) -> int:
    """A wait status as a shell's ``$?``."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


class Reaper:
    """Collects ended children and tells whoever asked about them."""

    def __init__(self) -> None:
        self._ended: dict[int, int] = {}
        self._watchers: dict[int, Callable[[int], None]] = {}

    def watch(self, pid: int, ended: Callable[[int], None]) -> None:
        """Call ``ended(exit status)`` from :meth:`collect` once ``pid`` has ended."""
        self._watchers[pid] = ended

    def forget(self, pid: int) -> None:
        self._watchers.pop(pid, None)
        self._ended.pop(pid, None)

    def collect(self, *, tell: bool = True) -> None:
        """Reap all that ended; with ``tell``, call the watchers."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._ended[pid] = exit_status(status)
        if tell:
            for pid in [pid for pid in self._ended if pid in self._watchers]:
                self._watchers.pop(pid)(self._ended.pop(pid))

    def wait(self, pid: int, deadline: float) -> int | None:
        """Exit status of ``pid``, or None at ``deadline`` (monotonic seconds). Tells no watcher meanwhile."""
        if pid not in self._ended:
            handle = os.pidfd_open(pid)
            try:
                select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(handle)
            self.collect(tell=False)
        return self._ended.pop(pid, None)

    def call(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 20.0) -> bytes:
        """Run to the end for the agent's own needs; its output. Raises OSError when it fails or hangs."""
        read, write = os.pipe()
        given = os.memfd_create("stdin")
        os.write(given, stdin)
        os.lseek(given, 0, os.SEEK_SET)
        try:
            pid = spawn(argv, given, write, write)
        finally:
            os.close(write)
            os.close(given)
        deadline = time.monotonic() + timeout
        status = self.wait(pid, deadline)
        if status is None:
            os.killpg(pid, signal.SIGKILL)
            self.wait(pid, deadline + 5)
        said = _drain(read)
        if status != 0:
            why = "did not end in time" if status is None else f"exit status {status}"
            raise OSError(f"{' '.join(argv)}: {why}: {said.decode(errors='replace').strip()[-400:]}")
        return said


def _drain(descriptor: int) -> bytes:
    """What is in the pipe now. A container that inherited it may hold it open: never wait for its end."""
    os.set_blocking(descriptor, False)
    said = b""
    while select.select([descriptor], [], [], 0)[0]:
        piece = os.read(descriptor, 65536)
        if not piece:
            break
        said += piece
    os.close(descriptor)
    return said
