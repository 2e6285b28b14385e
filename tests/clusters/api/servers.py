"""Loopback servers that answer request by request what a test wrote down, byte by byte."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

#: Answers one request on its connection, which ends afterwards.
Answer = Callable[[socket.socket, bytes, threading.Event], None]


def http(body: object, status: int = 200, **headers: str) -> bytes:
    """A whole answer; ``body`` is bytes as they are, or becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}


def refused(code: int, reason: str, message: str, **headers: str) -> bytes:
    return http(status(code, reason, message), code, **headers)


def stream(*chunks: bytes, ended: bool = True) -> bytes:
    """A chunked answer, one HTTP chunk for each; not ``ended``: it breaks off."""
    # One that breaks off does not announce its end.
    close = b"Connection: close\r\n" if ended else b""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + close + b"\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + body + (b"0\r\n\r\n" if ended else b"")


def silent(content: bytes = b"") -> Answer:
    """``content``, and then nothing more until the test is over."""

    def answer(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        connection.sendall(content)
        over.wait()

    return answer


def reset(connection: socket.socket, request: bytes, over: threading.Event) -> None:
    """No answer but a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def frame(channel: int, content: bytes, *, opcode: int = 2, fin: bool = True) -> bytes:
    """A server's websocket frame; ``channel`` -1 for a frame without one."""
    payload = content if channel < 0 else bytes([channel]) + content
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 2**16:
        return head + b"\x7e" + struct.pack("!H", len(payload)) + payload
    return head + b"\x7f" + struct.pack("!Q", len(payload)) + payload


def ended(exit_status: int = 0) -> bytes:
    """The last frame of a process and the close frame after it."""
    said: Mapping[str, Any] = {"metadata": {}, "status": "Success"}
    if exit_status:
        causes = [{"reason": "ExitCode", "message": str(exit_status)}]
        said = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
    return frame(3, json.dumps(said).encode()) + frame(-1, struct.pack("!H", 1000), opcode=8)


def upgraded(request: bytes, protocol: str = "v4.channel.k8s.io") -> bytes:
    key = header(request, "Sec-WebSocket-Key").encode()
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
        f"Sec-WebSocket-Protocol: {protocol}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def websocket(*content: bytes, protocol: str = "v4.channel.k8s.io") -> Answer:
    """An exec that says ``content`` (frames, or parts of them) and hangs up."""

    def answer(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        connection.sendall(upgraded(request, protocol) + b"".join(content))
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    return answer


def header(request: bytes, name: str) -> str:
    for line in request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        key, _, value = line.partition(": ")
        if key.lower() == name.lower():
            return value
    return ""


class Scripted:
    """One answer for each request, in order; the last one is for all that follow."""

    def __init__(self, *answers: bytes | Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.over = threading.Event()
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def lines(self) -> list[str]:
        """The request lines so far, without HTTP's version."""
        return [request.split(b" HTTP/")[0].decode() for request in self.requests]

    def close(self) -> None:
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake accept()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as closed:
            closed.callback(connection.close)
            connection.settimeout(10)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
                closed.callback(connection.close)
            request = _received(connection)
            if not request:
                return
            self.requests.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, bytes):
                connection.sendall(answer)
            else:
                answer(connection, request, self.over)


def _received(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        request += chunk
        if request[0] == 0x16:  # a TLS handshake, which it does not speak
            return request
    head, _, body = request.partition(b"\r\n\r\n")
    left = int(header(request, "Content-Length") or 0) - len(body)
    while left > 0:
        chunk = connection.recv(left)
        if not chunk:
            return b""
        body += chunk
        left -= len(chunk)
    return head + b"\r\n\r\n" + body
