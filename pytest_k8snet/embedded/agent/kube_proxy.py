"""A process called kube-proxy that holds NodePorts, as kube-proxy up to 1.20 does.

It never accepts: the node's NAT rules take the packets before they reach a socket. Holding the port
keeps other programs off it (Kubernetes 1.20 pkg/proxy/iptables, ``openLocalPort``).
"""

from __future__ import annotations

import os
import signal
import socket

from pytest_k8snet.embedded.agent.syscalls import set_process_name


def hold(ports: list[int], name: str = "kube-proxy") -> int:
    """Fork a process ``name`` listening on each port on every address; its pid.

    Raises OSError when a port is taken.
    """
    sockets = [socket.create_server(("0.0.0.0", port), backlog=1) for port in ports]
    pid = os.fork()
    if pid == 0:
        try:
            set_process_name(name)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            while True:
                signal.pause()
        finally:
            os._exit(1)
    for held in sockets:
        held.close()
    return pid
