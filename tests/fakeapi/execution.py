"""Processes that exec starts in pods: what a callback makes of them, and signals between them."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.fakeapi.statuses import Json
from tests.fakeapi.websockets import CLOSE, STDERR, STDIN, STDOUT, Channels

_FRAME = 32 * 1024  # what the kubelet copies at once
_SUCCESS: Json = {"metadata": {}, "status": "Success"}


@dataclass(frozen=True)
class Output:
    """What a process said in all, and its end. The most that most callbacks need."""

    stdout: bytes = b""
    stderr: bytes = b""
    exit_status: int = 0


class CannotStart(Exception):
    """The runtime can't start the process; the message is the runtime's."""

    @classmethod
    def not_found(cls, name: str) -> CannotStart:
        return cls(
            f'OCI runtime exec failed: exec failed: unable to start container process: exec: "{name}": '
            "executable file not found in $PATH: unknown"
        )


@dataclass(eq=False)
class Exec:
    """One process. A callback reads its standard input, writes its output, and waits for signals."""

    namespace: str
    pod: str
    container: str
    argv: tuple[str, ...]
    node: str
    runtime: str  #: "docker", "containerd", "cri-o": of the node
    streams: frozenset[str]  #: which of "stdin", "stdout", "stderr" the client asked for
    translated: bool  #: the API server speaks the websocket, not the kubelet (1.30 and later)
    channels: Channels = field(repr=False)
    pid: int = 0
    ended: bool = False
    connected: bool = True  #: a client listens; the process goes on without one
    _signals: list[int] = field(default_factory=list, repr=False)
    _stdin: bytearray = field(default_factory=bytearray, repr=False)
    _stdin_ended: bool = False
    _over: bool = False  # the fake ends
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def stdout(self, content: bytes) -> None:
        self._send(STDOUT, content)

    def stderr(self, content: bytes) -> None:
        self._send(STDERR, content)

    def hang_up(self) -> None:
        """Break the connection; the process goes on."""
        self.channels.hang_up()

    def read(self, size: int, timeout: float | None = None) -> bytes:
        """``size`` bytes of standard input; fewer only when it ended (or the client or the fake is gone)."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._stdin) >= size or self._stdin_ended or self._over, timeout
            )
            content = bytes(self._stdin[:size])
            del self._stdin[:size]
            return content

    def wait_signal(self, timeout: float | None = None) -> int:
        """The signal that came (once each); 0 after ``timeout`` seconds, SIGKILL when the fake ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._signals or self._over, timeout)
            if self._over:
                return int(signal.SIGKILL)
            return self._signals.pop(0) if self._signals else 0

    def wait_disconnected(self, timeout: float | None = None) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: not self.connected or self._over, timeout)
            return not self.connected

    def kill(self, number: int) -> None:
        with self._changed:
            self._signals.append(number)
            self._changed.notify_all()

    def over(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def listen(self) -> None:
        """Take in what the client sends until it is gone."""
        for channel, content in self.channels.received():
            with self._changed:
                if channel == STDIN:
                    self._stdin += content
                elif channel == CLOSE and content == bytes([STDIN]):
                    self._stdin_ended = True
                self._changed.notify_all()
        with self._changed:
            self.connected = False
            self._stdin_ended = True
            self._changed.notify_all()

    def _send(self, channel: int, content: bytes) -> None:
        # Nobody listens: the output of a real process is lost just so.
        with contextlib.suppress(OSError):
            for start in range(0, len(content), _FRAME):
                self.channels.send(channel, content[start : start + _FRAME])


Callback = Callable[[Exec], Output | int | None]


class Processes:
    """All that exec started. Each runs in a thread of its own, with or without a client."""

    def __init__(self) -> None:
        self.callback: Callback = lambda call: Output(stderr=b"nobody answers exec here\n", exit_status=1)
        self.started: list[Exec] = []
        self._pids = itertools.count(4001)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    @property
    def running(self) -> list[Exec]:
        """What a run left behind, if it is over."""
        with self._lock:
            return [call for call in self.started if not call.ended]

    def run(self, call: Exec) -> None:
        """Start one process for a client; returns when the client is gone."""
        call.pid = next(self._pids)
        thread = threading.Thread(target=self._live, args=(call,), name=f"exec {call.argv[0]}")
        with self._lock:
            self.started.append(call)
            self._threads.append(thread)
        # An empty message comes first, so that the client knows that the stream is there. The process runs
        # also where the client is gone already.
        with contextlib.suppress(OSError):
            call.channels.send(STDOUT, b"")
        thread.start()
        call.listen()

    def signal(self, pid: int, number: int) -> bool:
        """False where no such process runs. Without a handler in its callback it just gets to know."""
        for call in self.running:
            if call.pid == pid:
                call.kill(number)
                return True
        return False

    def end(self) -> None:
        """All that run get SIGKILL."""
        for call in self.running:
            call.over()

    def end_pod(self, namespace: str, pod: str) -> None:
        """The pod is gone, and its processes with it."""
        for call in self.running:
            if (call.namespace, call.pod) == (namespace, pod):
                call.over()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _live(self, call: Exec) -> None:
        try:
            status = self._status(call)
            call.ended = True  # before anybody can know
            with contextlib.suppress(OSError):
                call.channels.status(status)
        finally:
            call.ended = True
            call.channels.close()

    def _status(self, call: Exec) -> Json:
        try:
            end = self._kill(call) or self.callback(call)
        except CannotStart as error:
            if call.runtime != "docker":
                return cannot_start(str(error))
            # dockershim runs it all the same: the runtime's words are its output.
            end = Output(stdout=f"{error}\r\n".encode(), exit_status=126)
        if isinstance(end, Output):
            call.stdout(end.stdout)
            call.stderr(end.stderr)
            end = end.exit_status
        return exited(call, end) if end else _SUCCESS

    def _kill(self, call: Exec) -> Output | None:
        """``kill -SIGNAL PID...`` as another exec runs it, where the pids are those of processes here."""
        match call.argv:
            case ("kill", how, *pids) if pids and all(pid.isdigit() for pid in pids):
                number = _SIGNALS.get(how.removeprefix("-").removeprefix("SIG"), 0)
                here = {process.pid for process in self.started}
                if not here.issuperset(map(int, pids)):
                    return None
                missing = [pid for pid in pids if not (number == 0 or self.signal(int(pid), number))]
                stderr = "".join(f"kill: ({pid}) - No such process\n" for pid in missing)
                return Output(stderr=stderr.encode(), exit_status=1 if missing else 0)
        return None


_SIGNALS: Mapping[str, int] = {
    name: int(number)
    for member in signal.Signals
    for name, number in ((member.name.removeprefix("SIG"), member), (str(int(member)), member))
}


def exited(call: Exec, status: int) -> Json:
    """The error channel's Status for a process that ended with ``status``, not 0."""
    if call.translated:
        said = f"command terminated with exit code {status}"
    elif call.runtime == "docker":
        said = f"Error executing in Docker Container: {status}"
    else:
        said = f"error executing command [{' '.join(call.argv)}], exit code {status}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {said}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(status)}]},
    }


def cannot_start(message: str) -> Json:
    """The error channel's Status for a process that containerd could not start."""
    cause = f"error executing command in container: failed to exec in container: {message}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {cause}",
        "reason": "InternalError",
        "details": {"causes": [{"message": cause}]},
        "code": 500,
    }
