"""Process 1 of a User-Mode Linux that plays a host whose kernel has ipip (no test itself).

``python -I -S inside_uml.py PATHS PYTHON ARGUMENTS...``: PATHS are import paths joined by colons. Runs
the command as such a host's root would, and prints one line of JSON: its exit status, and what of the
host's links and processes it left changed. Then the kernel ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys


def processes() -> set[str]:
    return {entry for entry in os.listdir("/proc") if entry.isdigit()}


def links() -> list[str]:
    shown = subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout
    return [link["ifname"] for link in json.loads(shown)]


def main() -> None:
    paths = sys.argv[1].split(":")
    sys.path[:0] = paths
    from pytest_k8snet.embedded.agent import kernel_modules, syscalls

    try:
        for kind, target in (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run")):
            syscalls.mount(kind, target, kind)
        syscalls.mount("cgroup2", "/sys/fs/cgroup", "cgroup2")
        kernel_modules.load()
        os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        before, running = links(), processes()
        command = [word for word in sys.argv[2:] if not word.startswith("console=")]  # the kernel's own
        environment = {"PATH": os.environ["PATH"], "TMPDIR": "/run", "PYTHONPATH": ":".join(paths)}
        result = subprocess.run(command, cwd="/run", env=environment, check=False)
        ended = {
            "status": result.returncode,
            "links": sorted(set(links()) ^ set(before)),
            "processes": sorted(
                entry for entry in processes() - running if os.path.exists(f"/proc/{entry}/exe")
            ),
            "temporary": sorted(name for name in os.listdir("/run") if name.startswith("k8snet-")),
        }
        print(json.dumps(ended), flush=True)
    finally:
        syscalls.power_off()


if __name__ == "__main__":
    main()
