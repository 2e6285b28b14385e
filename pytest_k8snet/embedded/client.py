"""The plugin's end of the stream: requests to the agent, answers by number, output as it comes."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pytest_k8snet.clusters.base import (
    ClusterError,
    CommandResult,
    CommandTimeout,
    NodeUnreachable,
    RunningCommand,
)
from pytest_k8snet.embedded.framing import WINDOW, Decoder, encode
from pytest_k8snet.embedded.kernel import Kernel

#: Seconds on top of a command's own time-out before the agent itself counts as gone.
GRACE = 10.0

Frame = tuple[dict[str, Any], bytes]


class Client:
    """Speaks to one agent. Thread-safe; every wait has a deadline."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._numbers = 0
        self._lock = threading.Lock()
        self._inboxes: dict[int, tuple[str, queue.SimpleQueue[Frame]]] = {}  #: with the node that is asked
        self._gone = ""  #: why nothing answers any more
        self._gone_nodes: dict[str, str] = {}
        self._credit = WINDOW
        self._credit_changed = threading.Condition()
        self._ready: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="k8snet-agent", daemon=True)
        self._reader.start()

    @property
    def console(self) -> str:
        """The kernel's last console lines (after close)."""
        return self._kernel.console

    def wait_ready(self, timeout: float) -> dict[str, Any]:
        """The agent's first words: kernel release and uptime (seconds)."""
        try:
            header, _ = self._ready.get(timeout=timeout)
        except queue.Empty:
            raise CommandTimeout(
                f"the agent in the kernel said nothing for {timeout:.0f} s after the start"
            ) from None
        if "error" in header:
            raise NodeUnreachable(header["error"])
        return header

    def ask(self, operation: str, *, body: bytes = b"", timeout: float = 30.0, **fields: Any) -> Any:
        """One configuring request; its answer. ClusterError with the agent's words when it fails."""
        number, inbox = self._send({"op": operation, **fields}, body)
        try:
            header, _ = self._take(inbox, time.monotonic() + timeout, f"{operation} {fields.get('node', '')}")
        finally:
            self._inboxes.pop(number, None)
        if "error" in header:
            raise ClusterError(header["error"])
        return header.get("answer")

    def run(self, node: str, argv: Sequence[str], *, timeout: float, stdin: bytes = b"") -> CommandResult:
        """Run to the end on a node. CommandTimeout after ``timeout`` seconds (the process is killed)."""
        number, inbox = self._send({"op": "run", "node": node, "argv": list(argv), "timeout": timeout}, stdin)
        try:
            header, body = self._take(inbox, time.monotonic() + timeout + GRACE, f"{argv[0]} on {node}")
        finally:
            self._inboxes.pop(number, None)
        if "error" in header:
            raise NodeUnreachable(header["error"])
        out, err = body[: header["stdout"]], body[header["stdout"] :]
        if "timeout" in header:
            last = (err or out).decode(errors="replace").strip().splitlines()
            raise CommandTimeout(
                f"{' '.join(argv)} on {node} did not end within {timeout:g} s; "
                + (f"its last words: {last[-1]}" if last else "it said nothing")
            )
        return CommandResult(tuple(argv), header["exit"], out, err)

    def spawn(self, node: str, argv: Sequence[str]) -> AgentCommand:
        number, inbox = self._send({"op": "spawn", "node": node, "argv": list(argv)}, b"")
        return AgentCommand(self, node, tuple(argv), number, inbox)

    def signal(self, node: str, target: int, number: int) -> None:
        self._send({"op": "signal", "node": node, "target": target, "signal": number}, b"")

    def close(self) -> None:
        """End the kernel; the reader ends with it."""
        self._kernel.close()
        self._reader.join(timeout=5)

    def _send(self, header: dict[str, Any], body: bytes) -> tuple[int, queue.SimpleQueue[Frame]]:
        inbox: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        node = header.get("node", "")
        with self._lock:
            if gone := self._gone or self._gone_nodes.get(node):
                raise NodeUnreachable(gone)
            self._numbers += 1
            number = self._numbers
            self._inboxes[number] = (node, inbox)
            left = memoryview(encode({"id": number, **header}, body))
            while left:
                with self._credit_changed:
                    if not self._credit_changed.wait_for(
                        lambda: self._credit > 0 or self._gone, timeout=GRACE
                    ):
                        raise NodeUnreachable(f"the agent took nothing for {GRACE:.0f} s")
                    if self._gone:
                        raise NodeUnreachable(self._gone)
                    size = min(self._credit, len(left))
                    self._credit -= size
                try:
                    os.write(self._kernel.write, left[:size])
                except OSError as error:
                    raise NodeUnreachable(f"the agent is gone: {error.strerror}") from error
                left = left[size:]
        return number, inbox

    def _take(self, inbox: queue.SimpleQueue[Frame], deadline: float, what: str) -> Frame:
        try:
            return inbox.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise CommandTimeout(f"{what}: the agent did not answer in time") from None

    def _read(self) -> None:
        decoder = Decoder()
        while True:
            try:
                piece = os.read(self._kernel.read, 65536)
            except OSError:
                piece = b""
            if not piece:
                break
            for header, body in decoder.feed(piece):
                self._dispatch(header, body)
        os.close(self._kernel.read)
        self._fail("the reference network's kernel has ended")

    def _dispatch(self, header: dict[str, Any], body: bytes) -> None:
        if "ack" in header:
            with self._credit_changed:
                self._credit += header["ack"]
                self._credit_changed.notify()
        elif "id" in header:
            _, inbox = self._inboxes.get(header["id"], ("", None))
            if inbox is not None:
                inbox.put((header, body))
        elif header.get("event") == "ready":
            self._ready.put((header, body))
        elif header.get("event") == "node-gone":
            self._lose(header["node"])

    def _fail(self, why: str) -> None:
        self._gone = why
        with self._credit_changed:
            self._credit_changed.notify_all()
        self._ready.put(({"error": why}, b""))
        for _, inbox in list(self._inboxes.values()):
            inbox.put(({"error": why}, b""))

    def _lose(self, node: str) -> None:
        """One node ended; the others go on."""
        self._gone_nodes[node] = why = f"node {node} has ended"
        for asked, inbox in list(self._inboxes.values()):
            if asked == node:
                inbox.put(({"error": why}, b""))


class AgentCommand(RunningCommand):
    """A command left running on a node."""

    def __init__(
        self, client: Client, node: str, argv: tuple[str, ...], number: int, inbox: queue.SimpleQueue[Frame]
    ) -> None:
        self._client = client
        self._node = node
        self._argv = argv
        self._number = number
        self._inbox = inbox
        self._out: list[bytes] = []
        self._err = b""
        self._exit: int | None = None

    def _next(self, deadline: float, what: str) -> None:
        header, body = self._client._take(self._inbox, deadline, what)
        if "error" in header:
            raise NodeUnreachable(header["error"])
        if header.get("event") == "stdout":
            self._out.append(body)
        elif header.get("event") == "stderr":
            self._err += body
        elif "exit" in header:
            self._exit = header["exit"]
            self._out.append(body[: header["stdout"]])
            self._err += body[header["stdout"] :]

    def wait_for(self, text: bytes, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        what = f"{self._argv[0]} on {self._node}"
        while text not in self._err:
            if self._exit is not None:
                last = self._err.decode(errors="replace").strip().splitlines()
                raise ClusterError(
                    f"{what} ended with exit status {self._exit} before it said {text.decode()!r}: "
                    + (last[-1] if last else "it said nothing")
                )
            try:
                self._next(deadline, what)
            except CommandTimeout:
                raise CommandTimeout(
                    f"{what} did not say {text.decode()!r} within {timeout:g} s; it said "
                    f"{self._err.decode(errors='replace').strip() or 'nothing'!r}"
                ) from None

    def catch_up(self, done: Callable[[bytes], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with contextlib.suppress(CommandTimeout):
            # Its words come in pieces, and an answer may follow the next question: only whole lines count.
            while self._exit is None and time.monotonic() < deadline:
                known = self._err.count(b"\n")
                self._client.signal(self._node, self._number, signal.SIGUSR1)
                while self._exit is None and self._err.count(b"\n") == known:
                    self._next(deadline, f"{self._argv[0]} on {self._node}")
                if done(self._err.rpartition(b"\n")[0].rpartition(b"\n")[2]):
                    return
                time.sleep(0.02)  # it is at work: a reader in a hurry would only keep it from it

    def stop(self, timeout: float = 10.0) -> CommandResult:
        deadline = time.monotonic() + timeout
        if self._exit is None:
            self._client.signal(self._node, self._number, signal.SIGINT)
        while self._exit is None:
            self._next(deadline, f"{self._argv[0]} on {self._node} (stopped)")
        self._client._inboxes.pop(self._number, None)
        return CommandResult(self._argv, self._exit, b"".join(self._out), self._err)
