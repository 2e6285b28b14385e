"""The few system calls that Python 3.11 does not offer (mount, unshare, setns, finit_module, ...)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
SYS_FINIT_MODULE_X86_64 = 313
REBOOT_POWER_OFF = 0x4321FEDC

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    _check(
        _libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None),
        f"mount {kind or source} on {target}",
    )


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    _check(_libc.sethostname(name.encode(), len(name.encode())), "sethostname")


def set_process_name(name: str) -> None:
    """prctl(PR_SET_NAME): what ``ss -p`` and ``ps`` show (15 characters)."""
    _check(_libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0), "prctl")


def die_with_parent(signal_number: int) -> None:
    """prctl(PR_SET_PDEATHSIG)."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def power_off() -> None:
    """Halt the kernel that the agent is process 1 of. Only ever called inside User-Mode Linux."""
    _libc.reboot(REBOOT_POWER_OFF)


def insert_module(path: str) -> None:
    """finit_module(2); a module that is there already is fine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _libc.syscall(SYS_FINIT_MODULE_X86_64, descriptor, b"", 0) != 0:
            number = ctypes.get_errno()
            if number != 17:  # EEXIST
                raise OSError(number, f"insmod {path}: {os.strerror(number)}")
    finally:
        os.close(descriptor)


def fork_in_new_pid_namespace() -> int:
    """fork(2), the child being process 1 of a PID namespace of its own; the caller stays in its own."""
    home = os.open("/proc/self/ns/pid", os.O_RDONLY)
    try:
        unshare(CLONE_NEWPID)
        pid = os.fork()
        if pid != 0:
            # A process may prepare one PID namespace only, until it has gone back to its own.
            _check(_libc.setns(home, CLONE_NEWPID), "setns back")
        return pid
    finally:
        os.close(home)


@contextmanager
def network_namespace(path: str) -> Iterator[None]:
    """Be in the network namespace at ``path`` (``/proc/PID/ns/net``); sockets opened there stay there."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(path, os.O_RDONLY)
    try:
        _check(_libc.setns(there, CLONE_NEWNET), f"setns {path}")
        try:
            yield
        finally:
            _check(_libc.setns(home, CLONE_NEWNET), "setns back")
    finally:
        os.close(there)
        os.close(home)
