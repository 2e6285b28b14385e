"""One node of the reference network: process 1 of its own PID, network, mount and UTS namespaces."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
import traceback
from typing import Any

from pytest_k8snet.embedded.agent import containers, syscalls
from pytest_k8snet.embedded.agent.children import Reaper, set_tool
from pytest_k8snet.embedded.agent.commands import Command, CommandTable
from pytest_k8snet.embedded.agent.kube_proxy import hold
from pytest_k8snet.embedded.agent.links import Links, plain_wire, sysctl
from pytest_k8snet.embedded.agent.pods import Pods
from pytest_k8snet.embedded.framing import Decoder, encode

NAMESPACES = (
    syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWCGROUP
)


def start(name: str) -> tuple[int, socket.socket]:
    """Fork the node; its pid (as the caller sees it) and the agent's end of its socket.

    Returns once the node is in its own namespaces. OSError when it can't be made.
    """
    ours, theirs = socket.socketpair()
    pid = syscalls.fork_in_new_pid_namespace()
    if pid == 0:
        try:
            ours.close()
            syscalls.unshare(NAMESPACES)
            theirs.send(b"+")
            NodeAgent(name, theirs).serve()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    theirs.close()
    if not ours.recv(1):
        raise OSError(f"node {name} did not start")
    return pid, ours


class NodeAgent:
    """Serves one node's requests until its socket ends; its end is the end of all that runs on the node."""

    def __init__(self, name: str, stream: socket.socket) -> None:
        self.name = name
        self._stream = stream
        self._selector = selectors.DefaultSelector()
        self._reaper = Reaper()
        self._commands = CommandTable(self._selector, self._reaper, self._send)

    def serve(self) -> None:
        syscalls.set_process_name("k8snet-node")
        syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("proc", "/proc", "proc")
        syscalls.mount("sysfs", "/sys", "sysfs")
        syscalls.mount("cgroup2", "/sys/fs/cgroup", "cgroup2")  # crun asks for one even when it uses none
        syscalls.mount("tmpfs", "/run", "tmpfs", options="mode=755")
        os.mkdir(containers.ROOT)
        syscalls.mount("/", containers.ROOT, flags=syscalls.MS_BIND | syscalls.MS_REC)
        syscalls.sethostname(self.name)
        self._links = Links()
        self._pods = Pods(self._reaper, self._links)
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(wake_read, selectors.EVENT_READ, None)
        self._selector.register(self._stream, selectors.EVENT_READ, Decoder())
        while True:
            deadline = self._commands.next_deadline()
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            for key, _ in self._selector.select(wait):
                if isinstance(key.data, Command):
                    if key.fd in key.data.open:
                        self._commands.readable(key.data, key.fd)
                elif isinstance(key.data, Decoder):
                    piece = self._stream.recv(65536)
                    if not piece:
                        return
                    for request, body in key.data.feed(piece):
                        self._handle(request, body)
                else:
                    os.read(wake_read, 4096)
            self._reaper.collect()
            self._commands.expire()

    def _send(self, header: dict[str, Any], body: bytes) -> None:
        self._stream.sendall(encode(header, body))

    def _handle(self, request: dict[str, Any], body: bytes) -> None:
        if request["op"] in ("run", "spawn"):
            self._commands.start(request, body)
            return
        if request["op"] == "signal":
            self._commands.signal(request["target"], request["signal"])
            return
        try:
            answer = getattr(self, "do_" + request["op"])(request, body)
        except Exception as error:
            trace = "".join(traceback.format_exception_only(error)).strip()
            self._send({"id": request["id"], "error": f"{self.name}: {trace}"}, b"")
        else:
            self._send({"id": request["id"], "answer": answer}, b"")

    def do_configure(self, request: dict[str, Any], _: bytes) -> None:
        """Addresses, tunnel, routes and sysctls of the node itself; links to what its containers run."""
        for link, program in request["programs"].items():
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(program, link)
        self._links.up("lo")
        for name in ("eth0", "eth1"):
            plain_wire(name)
            self._links.address(name, request[name]["address"])
            self._links.up(name, mtu=request[name]["mtu"])
        tunnel = request["tunnel"]
        if not self._links.exists("tunl0"):
            self._links.tunnel("tunl0")
        self._links.up("tunl0", mtu=tunnel["mtu"])
        self._links.address("tunl0", tunnel["address"])
        for key, value in request["sysctls"].items():
            sysctl(key, value)
        for route in request["routes"]:
            self._links.route(route)

    def do_rules(self, request: dict[str, Any], body: bytes) -> None:
        """Replace the node's iptables rules."""
        self._reaper.call([request["restore"]], stdin=body)

    def do_hold(self, request: dict[str, Any], _: bytes) -> int:
        """Hold NodePorts on an address, in a process of the given name; its pid."""
        return hold(request["ports"], request["name"], request["address"])

    def do_release(self, request: dict[str, Any], _: bytes) -> None:
        """End a process that holds NodePorts."""
        os.kill(request["pid"], signal.SIGKILL)
        self._reaper.wait(request["pid"], time.monotonic() + 5)

    def do_tool(self, request: dict[str, Any], body: bytes) -> None:
        """Let ``body``, a script, stand in for a program; hide the program; or neither, as before."""
        set_tool(request["name"], request["tool"], body)

    def do_end(self, request: dict[str, Any], _: bytes) -> None:
        """The node dies, and all that runs on it."""
        os._exit(1)

    def do_pod(self, request: dict[str, Any], _: bytes) -> dict[str, Any]:
        return self._pods.add(request["pod"])

    def do_delete(self, request: dict[str, Any], _: bytes) -> None:
        self._pods.delete(request["pod"])

    def do_container(self, request: dict[str, Any], _: bytes) -> str:
        return self._pods.container(request["pod"], request["container"])
