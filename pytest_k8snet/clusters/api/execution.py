"""Processes in a container, by the API's exec over a websocket (kubectl exec without SPDY).

A frame is one byte for the channel (0 stdin, 1 stdout, 2 stderr, 3 the end) and what was said. Protocol
v4.channel.k8s.io: every Kubernetes since 1.4; the server's wsstream takes the first of our offers that it
knows. v5.channel.k8s.io (1.30, KEP-4006) adds frames that close a channel: stdin can end.
"""

# mypy: allow-untyped-calls
# (websocket-client has none for most)

from __future__ import annotations

import json
import re
import select
import shlex
import ssl
import time
from collections.abc import MutableSet, Sequence
from contextlib import suppress
from typing import Any

from websocket import ABNF, WebSocket, WebSocketException, WebSocketTimeoutException

from pytest_k8snet.clusters.api.backoff import Backoff
from pytest_k8snet.clusters.api.client import TRY, Api, Query
from pytest_k8snet.clusters.api.refusals import ApiRefused, ApiUnreachable, one_line, refused_by
from pytest_k8snet.clusters.base import ClusterError, Deadline, NodeUnreachable
from pytest_k8snet.clusters.ways.remote import Access, Process

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
STDIN, STDOUT, STDERR, END, CLOSE = 0, 1, 2, 3, 255
STDIN_FRAME = 2**14  #: bytes; a writable socket takes so many at once
FRAMES_AT_ONCE = 256  #: that one pump takes in at most
#: Seconds without a word from us on a connection. Load balancers drop idle ones: HAProxy as kubeadm's guide
#: to high availability has it after 20 (kubernetes/kubeadm docs/ha-considerations.md).
PING_AFTER = 10.0
STARTING = 15.0  #: seconds for the API server to reach the kubelet and that to start it
#: Seconds of tries where there is no room or no way: a command's own, since its limit is seconds as well, and
#: one that is to end another must be tried when all else is late.
RETRYING = 15.0
GOODBYE = 1.0  #: seconds at most to send a close frame

#: There was no room or no server for it: nothing was started. Other answers may come after it was.
RETRIED = frozenset({429, 503})

#: runc (old ones escape their quotes) and crun, on a program that is not there.
NOT_FOUND = re.compile(
    rb'exec: \\*".*?": (?:executable file not found|stat [^:]+: no such file or directory)'
    rb"|executable file `[^`]*` not found|open executable: no such file or directory",
    re.IGNORECASE,
)
#: Docker's daemon says so on the command's own stdout, before anything else, and ends it with 126.
NOT_STARTED = b"OCI runtime exec failed: "


class PodAccess(Access):
    """One container of one pod. ``prefix`` stands before each argv: nsenter into the host, say."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        pod: str,
        container: str,
        *,
        prefix: Sequence[str] = (),
        place: str = "",
    ) -> None:
        self.place = place or f"pod {pod}, container {container}"
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        self._container = container
        self._prefix = tuple(prefix)

    def start(self, argv: Sequence[str], *, stdin: bytes = b"") -> PodProcess:
        """Start it. ``stdin`` is sent while :meth:`PodProcess.pump` runs.

        A server before v5 can't end stdin; there ``head -c`` in the container does, with ``sh``.

        Raises :class:`~pytest_k8snet.clusters.api.refusals.ApiRefused` (no such pod or container, forbidden),
        ``ApiUnreachable``.
        """
        whole = [*self._prefix, *argv]
        if not stdin:
            return self._open(whole, argv, [V5, V4], stdin)
        try:
            return self._open(whole, argv, [V5], stdin)
        except ApiRefused:
            # It knows no v5, or refuses this for a reason that it says again now.
            bounded = ["sh", "-c", 'head -c "$0" | "$@"', str(len(stdin)), *whole]
            return self._open(bounded, argv, [V4], stdin)

    def _open(
        self, whole: Sequence[str], argv: Sequence[str], protocols: Sequence[str], stdin: bytes
    ) -> PodProcess:
        query: dict[str, Query] = {
            "container": self._container,
            "command": list(whole),
            "stdin": bool(stdin),
            "stdout": True,
            "stderr": True,
        }
        backoff = Backoff(Deadline(RETRYING))
        while True:
            try:
                websocket = self._api.connection.websocket(
                    self._path, query, protocols=protocols, timeout=STARTING
                )
            except ApiUnreachable as error:
                if error.sent:
                    raise ApiUnreachable(
                        f"{self.place}: {error} (exec also needs the kubelet there to answer)", sent=True
                    ) from None
                if error.final or not backoff.wait():
                    raise
            except ApiRefused as refused:
                if refused.status not in RETRIED or not backoff.wait(refused.retry_after):
                    raise ApiRefused(
                        f"{self.place}: {refused}", status=refused.status, reason=refused.reason
                    ) from None
            else:
                what = f"{self.place}: {shlex.join(argv)}"
                return PodProcess(websocket, what, stdin, together=self._api.connection.processes)


class PodProcess(Process):
    """A process at the other end of a websocket. For one thread.

    Where the runtime could not start it, for other reasons than a missing program (that is exit status 127),
    :meth:`pump` raises :class:`~pytest_k8snet.clusters.api.refusals.ApiRefused` with its words: from 1.30 the
    API server opens the websocket before it asks the node. What it raised once it raises again.
    """

    def __init__(
        self, websocket: WebSocket, what: str, stdin: bytes, *, together: MutableSet[PodProcess]
    ) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._websocket: WebSocket | None = websocket
        self._what = what
        self._input = memoryview(stdin)
        self._ends_input = bool(stdin) and websocket.subprotocol == V5
        self._end = bytearray()
        self._failure: ClusterError = NodeUnreachable(f"{what}: we closed the connection before its end")
        self._spoke = time.monotonic()
        #: Those of this server: whoever is pumped keeps all alive. While requests are made, no capture is.
        self._together = together
        together.add(self)

    def pump(self, timeout: float) -> None:
        websocket = self._websocket
        if self.exit_status is not None:
            return
        if websocket is None:
            raise self._failure
        try:
            if not self._send_and_wait(websocket, time.monotonic() + timeout):
                return
            for _ in range(FRAMES_AT_ONCE):
                self._take(websocket, timeout)
                if self.exit_status is not None or not self._wait(websocket, 0):
                    return
        except WebSocketTimeoutException:
            return  # in the middle of a frame; what came of it is kept
        except ApiRefused as refused:
            self._failure = refused
            self.close()
            raise
        except (WebSocketException, OSError, ValueError) as error:
            why = one_line(str(error)).rstrip(".") or type(error).__name__
            self._failure = NodeUnreachable(
                f"{self._what}: the connection broke before its exit status came ({why})"
            )
            self.close()
            raise self._failure from None

    def close(self) -> None:
        self._together.discard(self)
        websocket, self._websocket = self._websocket, None
        if websocket is None:
            return
        try:
            if websocket.connected:
                websocket.settimeout(GOODBYE)
                websocket.send_close()
        except (WebSocketException, OSError, ValueError):
            pass  # it is closed now, with or without a word
        finally:
            websocket.shutdown()

    def _send_and_wait(self, websocket: WebSocket, end: float) -> bool:
        """Send stdin as the other side takes it; True once there is something to read, False at ``end``."""
        while True:
            if self._input or self._ends_input:
                ready = self._wait(websocket, end - time.monotonic(), select.POLLIN | select.POLLOUT)
                if ready & select.POLLOUT:
                    self._send_input(websocket)
                if ready & ~select.POLLOUT:
                    return True
            else:
                silent = min([each._kept_alive() for each in list(self._together)], default=PING_AFTER)
                if self._wait(websocket, min(end - time.monotonic(), silent)):
                    return True
            if time.monotonic() >= end:
                return False

    def _kept_alive(self) -> float:
        """Say a word where it is time to: seconds until it is again."""
        silent = time.monotonic() - self._spoke
        if self._websocket is None or self.exit_status is not None:
            return PING_AFTER
        if silent < PING_AFTER:
            return PING_AFTER - silent
        # That it is broken is told by its own pump.
        with suppress(WebSocketException, OSError, ValueError):
            self._websocket.settimeout(GOODBYE)
            self._websocket.ping()
        self._spoke = time.monotonic()
        return PING_AFTER

    def _send_input(self, websocket: WebSocket) -> None:
        websocket.settimeout(TRY)
        if self._input:
            frame, self._input = self._input[:STDIN_FRAME], self._input[STDIN_FRAME:]
            websocket.send(bytes([STDIN]) + frame, opcode=ABNF.OPCODE_BINARY)
        else:
            websocket.send(bytes([CLOSE, STDIN]), opcode=ABNF.OPCODE_BINARY)
            self._ends_input = False
        self._spoke = time.monotonic()

    @staticmethod
    def _wait(websocket: WebSocket, timeout: float, events: int = select.POLLIN) -> int:
        """What of ``events`` is possible, after ``timeout`` seconds at most; 0 for nothing."""
        sock = websocket.sock
        assert sock is not None
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return select.POLLIN
        poll = select.poll()
        poll.register(sock, events)
        ready = poll.poll(max(0.0, timeout) * 1000)
        return ready[0][1] if ready else 0

    def _take(self, websocket: WebSocket, timeout: float) -> None:
        """One frame, or as much of it as comes in time."""
        websocket.settimeout(max(0.05, timeout))
        opcode, frame = websocket.recv_data_frame(True)
        if opcode == ABNF.OPCODE_CLOSE:
            said = frame.data[2:].decode(errors="replace")
            raise WebSocketException(f"closed by the server{': ' if said else ''}{said}")
        if opcode not in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) or not frame.data:
            return
        channel, said = frame.data[0], memoryview(frame.data)[1:]
        if channel == STDOUT:
            self.stdout += said
        elif channel == STDERR:
            self.stderr += said
        elif channel == END and said:
            self._end += said
            self._read_end()

    def _read_end(self) -> None:
        """The Status object on channel 3; it comes after all output (kubelet's ServeExec, client-go's v4)."""
        try:
            status = json.loads(self._end)
        except ValueError:
            return  # its rest is in the next frame
        if status.get("status") == "Success":
            self.exit_status = 0
            return
        code = _exit_code(status)
        message = one_line(str(status.get("message") or status.get("reason") or "")).encode()
        if code is None:
            if not NOT_FOUND.search(message):
                said = refused_by(status)
                raise ApiRefused(f"{self._what}: {said}", status=said.status, reason=said.reason)
            self.stderr += message + b"\n"
            code = 127
        elif code in (126, 127) and self.stdout.startswith(NOT_STARTED):
            self.stderr += self.stdout
            self.stdout.clear()
            code = 127 if NOT_FOUND.search(self.stderr) else code
        self.exit_status = code


def _exit_code(status: dict[str, Any]) -> int | None:
    """The process's own, which stands among the causes (NonZeroExitCode); None where it never ran."""
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdecimal():
            return int(cause["message"])
    return None
