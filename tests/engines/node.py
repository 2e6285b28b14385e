"""The node of an engine under test: what probes ask of k8s-node1 runs for real, beside the daemon."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from pytest_k8snet.clusters.base import CommandResult

#: What a pod's way to its node is made of, as Calico makes it: /32 on eth0, a veth pair, a host route.
CNI = """
ip link add "$2" type veth peer name eth0 netns "$1"
ip link set "$2" up
ip route add "$3" dev "$2" scope link
nsenter -t "$1" -n sh -c 'ip link set lo up; ip addr add "$1"/32 dev eth0; ip link set eth0 up' sh "$3"
"""


def run(inside: Sequence[str], argv: Sequence[str], environment: Mapping[str, str]) -> CommandResult:
    done = subprocess.run(
        (*inside, *argv), capture_output=True, env={**os.environ, **environment}, timeout=30, check=False
    )
    return CommandResult(tuple(argv), done.returncode, done.stdout, done.stderr)


def connect(inside: Sequence[str], pid: int, veth: str, address: str) -> None:
    """What a CNI plugin's ADD does for the sandbox ``pid``. Raises CalledProcessError."""
    subprocess.run((*inside, "sh", "-e", "-c", CNI, "sh", str(pid), veth, address), check=True, timeout=30)
