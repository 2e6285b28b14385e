"""Probe commands of one node: run to the end, or left running and stopped later (captures)."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from typing import Any

from pytest_k8snet.embedded.agent.children import Reaper, spawn

Send = Callable[[dict[str, Any], bytes], None]


class Command:
    """One process with its output. ``stream`` sends output as it comes, else all of it at the end."""

    def __init__(self, request: dict[str, Any], stdin: bytes, send: Send, table: CommandTable) -> None:
        self.id: int = request["id"]
        self.stream: bool = request["op"] == "spawn"
        self.timeout: float | None = request.get("timeout")
        self.deadline = None if self.timeout is None else time.monotonic() + self.timeout
        self.status: int | None = None
        self.kept = {"stdout": b"", "stderr": b""}
        self.open: dict[int, str] = {}
        self._send = send
        given = os.memfd_create("stdin")
        os.write(given, stdin)
        os.lseek(given, 0, os.SEEK_SET)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        try:
            self.pid = spawn(request["argv"], given, out_write, err_write)
        except OSError:
            os.close(out_read)
            os.close(err_read)
            raise
        finally:
            for descriptor in (given, out_write, err_write):
                os.close(descriptor)
        for descriptor, name in ((out_read, "stdout"), (err_read, "stderr")):
            os.set_blocking(descriptor, False)
            self.open[descriptor] = name
            table.selector.register(descriptor, selectors.EVENT_READ, self)

    def read(self, descriptor: int) -> int | None:
        """Take what is there: how many bytes; 0 at its end, None when nothing is there now."""
        try:
            piece = os.read(descriptor, 65536)
        except BlockingIOError:
            return None
        if self.stream and piece:
            self._send({"id": self.id, "event": self.open[descriptor]}, piece)
        else:
            self.kept[self.open[descriptor]] += piece
        return len(piece)

    def finish(self, **more: Any) -> None:
        """Send the last frame: exit status, and the output where it was not streamed."""
        out, err = self.kept["stdout"], self.kept["stderr"]
        self._send({"id": self.id, "exit": self.status, "stdout": len(out), **more}, out + err)


class CommandTable:
    """The commands under way on one node."""

    def __init__(self, selector: selectors.BaseSelector, reaper: Reaper, send: Send) -> None:
        self.selector = selector
        self._reaper = reaper
        self._send = send
        self._commands: dict[int, Command] = {}

    def start(self, request: dict[str, Any], stdin: bytes) -> None:
        """Start it; a program that does not exist answers 127, as a shell does."""
        try:
            command = Command(request, stdin, self._send, self)
        except FileNotFoundError as missing:
            said = f"{missing}: command not found\n".encode()
            self._send({"id": request["id"], "exit": 127, "stdout": 0}, said)
            return
        except OSError as error:
            said = f"{request['argv'][0]}: {error.strerror}\n".encode()
            self._send({"id": request["id"], "exit": 126, "stdout": 0}, said)
            return
        self._commands[command.id] = command
        self._reaper.watch(command.pid, lambda status: self._ended(command, status))
        if command.stream:
            self._send({"id": command.id, "event": "started"}, b"")

    def signal(self, identifier: int, number: int) -> None:
        command = self._commands.get(identifier)
        if command is not None and command.status is None:
            os.killpg(command.pid, number)

    def readable(self, command: Command, descriptor: int) -> None:
        if command.read(descriptor) == 0:
            self._close(command, descriptor)

    def _drain(self, command: Command) -> None:
        """Take what an ended command left in its pipes; a child of it may hold them open for ever."""
        for descriptor in list(command.open):
            while command.read(descriptor):
                pass
            self._close(command, descriptor)

    def _close(self, command: Command, descriptor: int) -> None:
        self.selector.unregister(descriptor)
        os.close(descriptor)
        del command.open[descriptor]

    def _ended(self, command: Command, status: int) -> None:
        command.status = status
        self._drain(command)
        del self._commands[command.id]
        command.finish()

    def next_deadline(self) -> float | None:
        deadlines = [c.deadline for c in self._commands.values() if c.deadline is not None]
        return min(deadlines, default=None)

    def expire(self) -> None:
        """Kill what ran out of time, and say so."""
        now = time.monotonic()
        for command in list(self._commands.values()):
            if command.deadline is not None and now >= command.deadline:
                self._reaper.forget(command.pid)
                os.killpg(command.pid, signal.SIGKILL)
                self._drain(command)
                del self._commands[command.id]
                command.finish(timeout=command.timeout)
