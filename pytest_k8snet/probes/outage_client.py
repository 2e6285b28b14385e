"""Sends over several paths at a steady pace while somebody changes the cluster, and says what came of it.

A program by itself, run on a node, mostly in a pod's network namespace::

    python3 -c SOURCE TOKEN INTERVAL LIMIT PATIENCE LATE [PATH ADDRESS PORT FIRST COUNT]...

Nodes may be old, so it is written for Python 3.6 and its standard library. Nobody imports it but its tests.
Without a path it only beats: a control.

Every INTERVAL seconds it asks each ADDRESS:PORT for /hostname twice: on a new connection, whatever became of
those before, and on one that is held (from source port FIRST, or another of the COUNT from there), where the
next request waits for the answer to the last. LIMIT and PATIENCE are the seconds for an answer, in that
order; LATE those by which a beat of its own clock is late enough to be told.

It says "watching" on standard error when it begins. On SIGUSR1 it says there, in one line, how far it is: its
clock, and for each PATH/KIND the attempts finished and lost and the milliseconds since the last trouble.
SIGINT ends it. What it prints is described in ``evidence/outage.py``; nothing it does waits for its reader.
"""

import contextlib
import errno
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections import deque

UNASKED = 300.0  #: seconds after which it ends by itself: whoever started it asks more often
TROUBLE = 0.25  #: seconds without an answer that are trouble already, when asked how it goes
RESET = struct.pack("ii", 1, 0)  #: SO_LINGER: close by RST, so that no TIME_WAIT fills conntrack


def main(words: "list[str]") -> None:
    token = words[0]
    interval, limit, patience, late = map(float, words[1:5])
    watch = Watch(interval, late)
    streams = []  # type: list[Stream]
    for path, address, port, first, count in zip(*[iter(words[5:])] * 5):  # noqa: B905 - Python 3.10
        asked = Asked(path, token, address, int(port))
        streams.append(New(watch, asked, limit))
        streams.append(Held(watch, asked, limit, patience, range(int(first), int(first) + int(count))))
    watch.run(streams)


class Asked:
    """Who is asked, and how."""

    def __init__(self, path: str, token: str, address: str, port: int) -> None:
        self.path = path
        self.target = (address, port)
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._token = token

    def request(self, connection: str) -> bytes:
        address, port = self.target
        host = f"[{address}]" if ":" in address else address
        head = f"GET /hostname HTTP/1.1\r\nHost: {host}:{port}\r\nX-K8snet: {self._token}\r\n"
        return (head + f"Connection: {connection}\r\n\r\n").encode()


class Watch:
    """The one loop: its clock, its beats, its output."""

    def __init__(self, interval: float, late: float) -> None:
        self.interval = interval
        self.late = late
        self.selector = selectors.DefaultSelector()
        self.began = time.monotonic()
        self.epoch = time.time()
        self._ahead = 0.0  #: seconds by which the wall clock went faster since: it was set, or we were paused
        self._lines = deque([f"start\t{self.epoch:.6f}\t{interval}\n"])
        self._rest = b""
        self._beats = self._attempts = self._late_beats = 0
        self._beat_due = self.began
        self._asked = self.began
        self._signals = []  # type: list[int]
        self._streams = []  # type: list[Stream]

    def run(self, streams: "list[Stream]") -> None:
        self._streams = streams
        woken, wake = os.pipe()
        for end in (woken, wake, sys.stdout.fileno()):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake)
        for caught in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(caught, lambda number, frame: self._signals.append(number))
        self.selector.register(woken, selectors.EVENT_READ, lambda mask: os.read(woken, 512))
        for number, stream in enumerate(streams):
            # Not all at once: they would wait for each other.
            stream.due = self.began + self.interval * number / len(streams)
        os.write(2, b"watching\n")
        flush, stopping = self.began + 1, False
        while not (stopping and all(stream.idle for stream in streams)):
            due = min([self._beat_due] + [stream.due for stream in streams if not stopping])
            # Answers first: one that is there was not late because we were.
            for key, mask in self.selector.select(max(0.0, due - time.monotonic())):
                key.data(mask)
            now = time.monotonic()
            self._beat(now)
            for stream in streams:
                stream.expire(now)
                if not stopping and stream.due <= now:
                    stream.tick()
                    stream.due += self.interval * (1 + int((now - stream.due) / self.interval))
            while self._signals:
                if self._signals.pop() == signal.SIGUSR1:
                    self._tell()
                else:
                    stopping = True
            stopping = stopping or now > self._asked + UNASKED
            if now >= flush:
                flush = now + 1
                self._write()
        self._end()

    def attempt(self, path: str, kind: str, sent: float, took: "float | None", port: int, error: str) -> None:
        self._attempts += 1
        answer = "-" if took is None else f"{took * 1000:.1f}"
        self._lines.append(
            f"a\t{path}\t{kind}\t{(sent - self.began) * 1000:.1f}\t{answer}\t{port}\t{error}\n"
        )

    def _beat(self, now: float) -> None:
        if now < self._beat_due:
            return
        ahead = time.time() - self.epoch - (now - self.began)
        late = max(now - self._beat_due, ahead - self._ahead)
        self._ahead = ahead
        self._beats += 1
        if late >= self.late:
            self._late_beats += 1
            self._lines.append(f"b\t{(self._beat_due - self.began) * 1000:.1f}\t{late * 1000:.1f}\n")
        self._beat_due += self.interval * (1 + int((now - self._beat_due) / self.interval))

    def _tell(self) -> None:
        now = self._asked = time.monotonic()
        told = [
            f"{s.asked.path}/{s.kind}={s.finished}/{s.lost}/{s.calm(now) * 1000:.0f}" for s in self._streams
        ]
        os.write(2, " ".join([f"{self.epoch + now - self.began:.6f}", *told, "\n"]).encode())

    def _write(self) -> None:
        """As much as the pipe takes now; whoever should read it may be gone."""
        self._rest += "".join(self._lines).encode()
        self._lines.clear()
        try:
            while self._rest:
                self._rest = self._rest[os.write(1, self._rest[:65536]) :]
        except BlockingIOError:
            pass

    def _end(self) -> None:
        self._beat(time.monotonic())
        when = (time.monotonic() - self.began) * 1000
        self._lines.append(f"end\t{when:.1f}\t{self._beats}\t{self._attempts}\t{self._late_beats}\n")
        os.set_blocking(1, True)
        self._write()


class Stream:
    """The attempts of one path and kind."""

    kind = ""

    def __init__(self, watch: Watch, asked: Asked) -> None:
        self.watch = watch
        self.asked = asked
        self.due = 0.0
        self.finished = 0
        self.lost = 0
        self._well = None  # type: float | None
        self._waiting = deque()  # type: deque[Connection]

    @property
    def idle(self) -> bool:
        return not self._waiting

    def calm(self, now: float) -> float:
        """Seconds for which all went well."""
        late = self._waiting and now - self._waiting[0].sent > TROUBLE
        return 0.0 if self._well is None or late else now - self._well

    def tick(self) -> None:
        """A request is due."""
        raise NotImplementedError

    def expire(self, now: float) -> None:
        """Give up what took too long."""
        raise NotImplementedError

    def done(self, connection: "Connection", error: str) -> None:
        """``connection`` has its answer, or never will."""
        now = time.monotonic()
        self.finished += 1
        took = None if error else now - connection.sent
        if error:
            self.lost += 1
        if self._well is None or error or now - connection.sent > TROUBLE:
            self._well = None if error else now
        self._waiting.remove(connection)
        self.watch.attempt(self.asked.path, self.kind, connection.sent, took, connection.port, error)


class New(Stream):
    kind = "new"

    def __init__(self, watch: Watch, asked: Asked, limit: float) -> None:
        Stream.__init__(self, watch, asked)
        self._limit = limit

    def tick(self) -> None:
        connection = Connection(self, self.watch.selector, self.asked)
        self._waiting.append(connection)
        connection.ask(self.asked.request("close"))

    def expire(self, now: float) -> None:
        while self._waiting and self._waiting[0].sent + self._limit <= now:
            connection = self._waiting[0]
            connection.close()
            Stream.done(self, connection, f"no answer in {self._limit:g} s")

    def done(self, connection: "Connection", error: str) -> None:
        connection.close()
        Stream.done(self, connection, error)


class Held(Stream):
    kind = "held"

    def __init__(self, watch: Watch, asked: Asked, limit: float, patience: float, ports: range) -> None:
        Stream.__init__(self, watch, asked)
        self._limit = limit
        self._patience = patience
        self._ports = deque(ports)
        self._connection = None  # type: Connection | None

    def tick(self) -> None:
        if self._waiting:
            return
        if self._connection is None or self._connection.closed:
            self._connection = Connection(self, self.watch.selector, self.asked, self._ports)
        self._waiting.append(self._connection)
        self._connection.ask(self.asked.request("keep-alive"))

    def expire(self, now: float) -> None:
        for connection in list(self._waiting):
            limit = self._patience if connection.established else self._limit
            if connection.sent + limit <= now:
                connection.close()
                self.done(connection, f"no answer in {limit:g} s")

    def done(self, connection: "Connection", error: str) -> None:
        if error or not connection.stays:
            connection.close()
        Stream.done(self, connection, error)


class Connection:
    """One TCP connection, and at most one request on it at a time."""

    def __init__(
        self,
        stream: Stream,
        selector: selectors.BaseSelector,
        asked: Asked,
        ports: "deque[int] | None" = None,
    ) -> None:
        self.sent = time.monotonic()
        self.port = 0
        self.established = False
        self.stays = False  #: whether the server lets it stand for another request
        self.closed = False
        self._stream = stream
        self._selector = selector
        self._asked = asked
        self._request = b""
        self._answer = b""
        self._socket = socket.socket(asked.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bind(ports or ())

    def _bind(self, ports: "deque[int] | tuple[()]") -> None:
        """The first of ``ports`` that is free, which becomes the last; else one of the kernel's choice."""
        if ports:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for port in list(ports):
            ports.rotate(-1)  # type: ignore[union-attr]
            try:
                self._socket.bind(("", port))
                return
            except OSError:
                continue

    def ask(self, request: bytes) -> None:
        self.sent = time.monotonic()
        self._request, self._answer = request, b""
        if self.established:
            self._send()
            return
        status = self._socket.connect_ex(self._asked.target)
        if status in (0, errno.EINPROGRESS):
            self.port = self._socket.getsockname()[1]
            self._selector.register(self._socket, selectors.EVENT_WRITE, self._connected)
        else:
            self._fail(errno.errorcode.get(status, str(status)))

    def _connected(self, mask: int) -> None:
        status = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status:
            self._fail(errno.errorcode.get(status, str(status)))
            return
        self.established = True
        self._selector.modify(self._socket, selectors.EVENT_READ, self._readable)
        self._send()

    def _send(self) -> None:
        try:
            self._socket.send(self._request)  # far less than a socket's buffer holds
        except OSError as error:
            self._fail(errno.errorcode.get(error.errno or 0, str(error.errno)))

    def _readable(self, mask: int) -> None:
        try:
            piece = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(errno.errorcode.get(error.errno or 0, str(error.errno)))
            return
        self._answer += piece
        waiting = self in self._stream._waiting
        if not waiting:  # between two requests the server may close it, as it likes
            self.close()
            return
        whole, self.stays = read_answer(self._answer, ended=not piece)
        if whole is None:
            if not piece:
                self._fail("closed before the answer")
            return
        self._stream.done(self, "" if 200 <= whole < 300 else f"status {whole}")

    def _fail(self, why: str) -> None:
        self.close()
        if self in self._stream._waiting:
            self._stream.done(self, why)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(KeyError, ValueError):  # it may never have got so far
            self._selector.unregister(self._socket)
        self._socket.close()


def read_answer(said: bytes, ended: bool) -> "tuple[int | None, bool]":
    """Its status once all of the answer is there, else None; and whether the connection may be used again."""
    head, blank, body = said.partition(b"\r\n\r\n")
    if not blank:
        return None, False
    first, *rest = head.lower().split(b"\r\n")
    words = first.split(b" ")
    if len(words) < 2 or not words[0].startswith(b"http/") or not words[1].isdigit():
        return 0, False
    fields = {}
    for line in rest:
        name, _, value = line.partition(b":")
        fields[name.strip()] = value.strip()
    wishes = fields.get(b"connection", b"")
    stays = not ended and (b"keep-alive" in wishes if words[0] == b"http/1.0" else b"close" not in wishes)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        whole = body.endswith(b"0\r\n\r\n")
    elif fields.get(b"content-length", b"").isdigit():
        whole = len(body) >= int(fields[b"content-length"])
    else:
        whole, stays = ended or words[1] in (b"204", b"304"), stays and words[1] in (b"204", b"304")
    return (int(words[1]) if whole else None), stays


if __name__ == "__main__":
    main(sys.argv[1:])
