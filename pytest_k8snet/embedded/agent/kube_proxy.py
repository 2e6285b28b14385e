"""A process called kube-proxy that holds NodePorts, as kube-proxy up to 1.20 does.

It never accepts: the node's NAT rules take the packets before they reach a socket. Holding the port
keeps other programs off it (Kubernetes 1.20 pkg/proxy/iptables, ``openLocalPort``).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket

from pytest_k8snet.embedded.agent.children import ENVIRONMENT, PATH

PROGRAMS = "/run/k8snet/programs"


def hold(ports: list[int], name: str, address: str) -> int:
    """Start a process ``name`` listening on each port of ``address`` ("0.0.0.0": of every one); its pid.

    It is sleep(1) under another name, which inherits the sockets: ``ss``, ``netstat`` and ``ps`` look in
    different places for what a process is called. Raises OSError when a port is taken.
    """
    sleep = shutil.which("sleep", path=PATH)
    if sleep is None:
        raise OSError("sleep is missing (Debian package coreutils)")
    program = f"{PROGRAMS}/{name}"
    if not os.path.lexists(program):
        os.makedirs(PROGRAMS, exist_ok=True)
        os.symlink(sleep, program)
    sockets = [socket.create_server((address, port), backlog=1) for port in ports]
    for held in sockets:
        held.set_inheritable(True)
    try:
        return os.posix_spawn(
            program,
            [name, "infinity"],
            ENVIRONMENT,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD],
        )
    finally:
        for held in sockets:
            held.close()
