"""The agent's main loop: frames from the plugin, passed on to nodes; the underlay between the nodes."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
import traceback
from typing import Any

from pytest_k8snet.embedded.agent import kernel_modules, node
from pytest_k8snet.embedded.agent.links import Links, plain_wire
from pytest_k8snet.embedded.framing import Decoder, encode

UNDERLAY = "underlay"  #: the bridge that stands for the document's host-only network


class Agent:
    """Relays between the stream and the nodes; builds the underlay."""

    def __init__(self, settings: dict[str, Any], read: int, write: int) -> None:
        self._settings = settings
        self._read = read
        self._write = write
        self._selector = selectors.DefaultSelector()
        self._nodes: dict[str, socket.socket] = {}
        self._pids: dict[str, int] = {}

    def serve(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._links = Links()
        self._selector.register(self._read, selectors.EVENT_READ, None)
        self._send({"event": "ready", "kernel": os.uname().release, "uptime": time.monotonic()})
        decoder = Decoder()
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    try:
                        piece = os.read(self._read, 4096)
                    except OSError:
                        piece = b""
                    if not piece:
                        return
                    self._send({"ack": len(piece)})
                    for request, body in decoder.feed(piece):
                        self._handle(request, body)
                else:
                    self._relay(key.data)

    def _relay(self, name: str) -> None:
        piece = self._nodes[name].recv(65536)
        if piece:
            # Frames arrive in pieces: one node's bytes may not be mixed with another's.
            for header, body in self._decoders[name].feed(piece):
                self._send(header, body)
        else:
            self._selector.unregister(self._nodes[name])
            self._nodes.pop(name).close()
            self._send({"event": "node-gone", "node": name})

    def _send(self, header: dict[str, Any], body: bytes = b"") -> None:
        frame = memoryview(encode(header, body))
        while frame:
            frame = frame[os.write(self._write, frame[:4096]) :]

    def _handle(self, request: dict[str, Any], body: bytes) -> None:
        name = request.get("node")
        try:
            if name is not None:
                if name not in self._nodes:
                    raise OSError(f"node {name} is gone")
                self._nodes[name].sendall(encode(request, body))
                return
            answer = getattr(self, "do_" + request["op"])(request)
        except Exception as error:
            trace = "".join(traceback.format_exception_only(error)).strip()
            self._send({"id": request["id"], "error": trace})
        else:
            self._send({"id": request["id"], "answer": answer})

    def do_end(self, request: dict[str, Any]) -> None:
        """The kernel dies, and all nodes with it."""
        raise SystemExit

    def do_modules(self, request: dict[str, Any]) -> None:
        """Load more modules: in User-Mode Linux nothing loads them by itself."""
        if self._settings["kernel"] == "uml":
            kernel_modules.load(request["names"])

    def do_nodes(self, request: dict[str, Any]) -> dict[str, int]:
        """Start the nodes and wire their eth0 (one NAT network each) and eth1 (the underlay)."""
        self._decoders: dict[str, Decoder] = {}
        self._links.bridge(UNDERLAY)
        for number, wish in enumerate(request["nodes"]):
            name = wish["name"]
            pid, stream = node.start(name)
            self._nodes[name], self._pids[name] = stream, pid
            self._decoders[name] = Decoder()
            self._selector.register(stream, selectors.EVENT_READ, name)
            for port in ("eth0", "eth1"):
                ours = f"{port}-{number}"
                self._links.veth(ours, port, pid, wish[port]["mtu"])
                plain_wire(ours)
                self._links.up(ours)
                if port == "eth1":
                    self._links.enslave(ours, UNDERLAY)
        return self._pids
