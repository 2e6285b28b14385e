"""The launcher: a small process between the plugin and the kernel that leaves nothing behind.

``python -I -S launcher.py SETTINGS``: makes a temporary folder, starts the kernel (User-Mode Linux, or
namespaces by unshare(1)), waits until the kernel ends or the plugin does (end of file on ``alive``),
then kills what is left and removes the folder. It runs in a session of its own, so neither Ctrl-C nor
a SIGKILL of pytest reaches it; folders of launchers that were killed themselves are removed by the next.
Standard library only, so that it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any

PREFIX = "k8snet-"
PR_SET_CHILD_SUBREAPER = 36


def sweep(parent: str) -> None:
    """Remove folders of launchers that are gone: their lock is free."""
    for name in os.listdir(parent):
        folder = os.path.join(parent, name)
        lock = os.path.join(folder, "lock")
        if not name.startswith(PREFIX) or not os.path.isfile(lock) or os.path.islink(folder):
            continue
        if os.stat(folder).st_uid != os.getuid():
            continue
        try:
            with open(lock) as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # in use, or another sweep was quicker


def command(settings: dict[str, Any], folder: str, agent_settings: str) -> list[str]:
    """What starts the kernel with the agent in it."""
    agent = [settings["python"], "-I", "-S", settings["agent"], settings["kernel"], agent_settings]
    if settings["kernel"] == "namespaces":
        kinds = ["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        return ["unshare", *kinds, *agent]
    read, write = settings["stream"]
    return [
        settings["linux"],
        f"mem={settings['memory']}",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        "quiet",
        "loglevel=3",
        "con=null",
        "con0=null,fd:1",
        f"ssl0=fd:{read},fd:{write}",
        "umid=kernel",
        f"uml_dir={folder}",
        f"init={agent[0]}",
        "--",
        *agent[1:],
    ]


def adopt_orphans() -> None:
    """Become the reaper of the kernel's own children: when the last one is gone, we know it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_all(child: subprocess.Popen[bytes]) -> None:
    """Kill the kernel and the processes it traces; return when the last one is gone."""
    while True:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def physical_memory(folder: str) -> str:
    """Where User-Mode Linux keeps its memory (a file it unlinks at once): a tmpfs where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else folder


def main() -> int:
    settings: dict[str, Any] = json.loads(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if settings["cpu"] is not None:
        # User-Mode Linux is two processes that take turns on every system call: on one CPU the turn
        # costs a tenth of what waking another CPU costs.
        os.sched_setaffinity(0, {settings["cpu"]})
    adopt_orphans()
    parent = tempfile.gettempdir()
    sweep(parent)
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
    child: subprocess.Popen[bytes] | None = None
    try:
        lock = open(os.path.join(folder, "lock"), "w")  # noqa: SIM115 - held until this process ends
        fcntl.flock(lock, fcntl.LOCK_EX)
        agent_settings = os.path.join(folder, "agent.json")
        with open(agent_settings, "w") as handle:
            json.dump({key: settings[key] for key in ("stream", "paths")}, handle)
        console = open(os.path.join(folder, "console"), "wb")  # noqa: SIM115
        child = subprocess.Popen(
            command(settings, folder, agent_settings),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            pass_fds=settings["stream"],
            process_group=0,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "TMPDIR": physical_memory(folder),
                "HOME": folder,
            },
        )
        for descriptor in settings["stream"]:
            os.close(descriptor)
        print(json.dumps({"pid": child.pid, "folder": folder}), flush=True)
        ended = os.pidfd_open(child.pid)
        poll = select.poll()
        poll.register(settings["alive"], select.POLLIN | select.POLLHUP)
        poll.register(ended, select.POLLIN)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        poll.poll()
        return 0
    finally:
        if child is not None:
            kill_all(child)
        tail = b""
        with contextlib.suppress(OSError), open(os.path.join(folder, "console"), "rb") as handle:
            tail = handle.read()[-4000:]
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # where the plugin is gone, nobody reads it
            print(json.dumps({"console": tail.decode(errors="replace")}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
