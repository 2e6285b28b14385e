"""The first things the agent does: file systems, kernel modules, the stream.

Kept apart from everything that imports pyroute2, which reads /proc while it is imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import termios
import tty
import types
from typing import Any

from pytest_k8snet.embedded.agent import kernel_modules, syscalls


def prepare(settings: dict[str, Any]) -> None:
    """Make the kernel usable: its file systems, and in User-Mode Linux its modules."""
    if settings["kernel"] == "uml":
        syscalls.mount("proc", "/proc", "proc")
        syscalls.mount("sysfs", "/sys", "sysfs")
        syscalls.mount("tmpfs", "/run", "tmpfs", options="mode=755")
        kernel_modules.load()
    else:
        syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("proc", "/proc", "proc")
    os.environ.clear()
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def open_stream(settings: dict[str, Any]) -> tuple[int, int]:
    """Read and write ends of the byte stream to the plugin."""
    if settings["kernel"] != "uml":
        read, write = settings["stream"]
        return int(read), int(write)
    line = os.open("/dev/ttyS0", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line, termios.TCSANOW)
    return line, line


def light_pyroute2() -> None:
    """Let pyroute2's modules be imported one by one.

    Its package module imports all of them, databases and WireGuard included: that is 0.7 s of start in
    User-Mode Linux, of which IPRoute needs a third. A bare package with the same path stands in.
    """
    found = importlib.util.find_spec("pyroute2")
    assert found is not None
    package = types.ModuleType("pyroute2")
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules["pyroute2"] = package
