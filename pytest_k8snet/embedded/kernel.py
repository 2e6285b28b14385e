"""Which kernel carries the reference network, what it needs, and how it is started."""

from __future__ import annotations

import compileall
import functools
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from pytest_k8snet.clusters.base import ClusterError

SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: MiB for User-Mode Linux; the four labs use about 120.
UML_MEMORY = "192M"

#: program -> Debian package, for the probes and the agent whatever the kernel
PROGRAMS = {
    "ip": "iproute2",
    "ss": "iproute2",
    "iptables-legacy-restore": "iptables",
    "conntrack": "conntrack",
    "tcpdump": "tcpdump",
    "crun": "crun",
    "curl": "curl",
    "nsenter": "util-linux",
}
UML_PROGRAM = "linux.uml"
UML_PACKAGE = "user-mode-linux"

#: Tried as the labs need it: a tunnel, NAT rules, a capture, all in fresh namespaces.
NAMESPACES_TRIAL = """
ip link add k8snettrial type ipip remote 192.0.2.1 local 192.0.2.2 &&
ip link set lo up &&
iptables-legacy -t nat -A PREROUTING -p tcp -m addrtype --dst-type LOCAL -m statistic --mode random \
  --probability 0.5 -j DNAT --to-destination 192.0.2.1:80 &&
iptables-legacy -t nat -A POSTROUTING -m mark --mark 1 -j MASQUERADE &&
timeout --signal INT 0.3 tcpdump -Z root -i lo -w - >/dev/null || test $? -eq 124
"""


def program(name: str) -> str | None:
    """Path of a program, the system folders included (an ordinary user's PATH often lacks sbin)."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":" + SBIN)


@functools.cache
def namespaces_work() -> str:
    """ "" when this kernel can carry the network in namespaces, else why not."""
    unshare = program("unshare")
    if unshare is None:
        return "unshare (Debian package util-linux) is missing"
    if os.getuid() != 0:
        # In a user namespace of one user, tcpdump's -Z has no group list to change: no capture, no lab.
        return "only root can make namespaces that tcpdump and crun accept"
    if not os.path.isdir("/sys/module/ipip"):
        # Trying would load the module, and a tunl0 would appear on the host's own network.
        return "its ipip module is not loaded (modprobe ipip)"
    trial = [
        unshare,
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "sh",
        "-ec",
        NAMESPACES_TRIAL,
    ]
    try:
        result = subprocess.run(
            trial, capture_output=True, timeout=15, env={"PATH": SBIN, "LC_ALL": "C"}, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = result.stderr.decode(errors="replace").strip().splitlines()
    return "" if result.returncode == 0 else (said[-1] if said else f"exit status {result.returncode}")


def choose(kernel: str) -> tuple[str, str]:
    """``(kernel, why)`` for "auto", "namespaces" or "uml"; ClusterError when there is no way."""
    if kernel == "uml":
        return "uml", "asked for"
    refused = namespaces_work()
    if kernel == "namespaces":
        if refused:
            raise ClusterError(f"--k8snet-kernel=namespaces: this kernel can't carry the network: {refused}")
        return "namespaces", "asked for"
    if not refused:
        return "namespaces", "the host's kernel has ipip"
    return "uml", f"the host's kernel can't: {refused}"


def missing(kernel: str) -> list[str]:
    """What is not there, one sentence each, with the Debian package; [] when all is."""
    problems = []
    if platform.system() != "Linux":
        return [f"the reference network needs Linux, this is {platform.system()}"]
    wanted = dict(PROGRAMS)
    if kernel == "uml":
        if platform.machine() != "x86_64":
            return [
                f"User-Mode Linux needs x86-64, this is {platform.machine()}; "
                "load the ipip module (modprobe ipip) and use --k8snet-kernel=namespaces"
            ]
        wanted[UML_PROGRAM] = UML_PACKAGE
    else:
        wanted["unshare"] = "util-linux"
    for name, package in wanted.items():
        if program(name) is None:
            problems.append(f"{name} is missing (Debian package {package})")
    return problems


class Kernel:
    """A started kernel: a byte stream to the agent in it, and the launcher that cleans up after it."""

    def __init__(self, kernel: str, cpu: int | None = None) -> None:
        """Start it. ClusterError when the launcher can't."""
        self._console = ""
        self._close_lock = threading.Lock()
        to_agent_read, self.write = os.pipe()
        self.read, from_agent_write = os.pipe()
        alive_read, self._alive = os.pipe()
        package = Path(__file__).resolve().parent
        # The kernel inside sees this folder read-only: what is not compiled now is compiled at each start.
        compileall.compile_dir(str(package), quiet=2)
        settings = {
            "kernel": kernel,
            "stream": [to_agent_read, from_agent_write],
            "alive": alive_read,
            "cpu": pick_cpu() if cpu is None and kernel == "uml" else cpu,
            "memory": UML_MEMORY,
            "linux": program(UML_PROGRAM),
            "python": os.path.realpath(sys.executable),
            "agent": str(package / "agent" / "__main__.py"),
            "paths": import_paths(package),
        }
        theirs = (to_agent_read, from_agent_write, alive_read)
        try:
            self._launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(package / "launcher.py"), json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=theirs,
                start_new_session=True,
            )
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        assert self._launcher.stdout is not None
        said: IO[bytes] = self._launcher.stdout
        line = said.readline()
        if not line or "pid" not in json.loads(line):
            _, error = self._launcher.communicate(timeout=10)
            self.close()
            raise ClusterError(f"the kernel could not be started: {error.decode(errors='replace').strip()}")

    @property
    def console(self) -> str:
        """The last lines of the kernel's console; known once it is closed."""
        return self._console

    def close(self) -> None:
        """End the kernel and wait until the launcher has removed everything. Idempotent."""
        with self._close_lock:
            if self._alive < 0:
                return
            os.close(self._alive)
            os.close(self.write)
            self._alive = -1
            try:
                out, _ = self._launcher.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                self._launcher.kill()
                out, _ = self._launcher.communicate()
            lines = out.decode(errors="replace").splitlines()
            if lines and lines[-1].startswith("{"):
                self._console = str(json.loads(lines[-1]).get("console", ""))


def pick_cpu() -> int:
    """One of this process's CPUs for User-Mode Linux: another one for each xdist worker, any other time
    as the process's number falls, so that runs side by side seldom share one."""
    cpus = sorted(os.sched_getaffinity(0))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    return cpus[(int(worker) if worker.isdigit() else os.getpid()) % len(cpus)]


def import_paths(package: Path) -> list[str]:
    """``sys.path`` entries for the agent: where this package and pyroute2 live."""
    found = importlib.util.find_spec("pyroute2")
    if found is None or found.origin is None:
        raise ClusterError(
            "pyroute2 is not installed; it is a dependency of pytest-k8snet: pip install pyroute2"
        )
    return list(dict.fromkeys([str(package.parent.parent), str(Path(found.origin).parent.parent)]))
