"""One request of a connection: read, answered, or left without an answer."""

from __future__ import annotations

import json
import socket
import struct
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlsplit

from tests.fakeapi import statuses
from tests.fakeapi.faults import Fault, Request
from tests.fakeapi.resources import Unknown
from tests.fakeapi.statuses import Json, Refused

if TYPE_CHECKING:
    from tests.fakeapi.server import ApiServer

#: The last line of defence of API priority and fairness: no Status object, and plain text.
_TOO_MANY = b"Too many requests, please try again later.\n"
_MESSAGES = {
    500: "Internal error occurred: etcdserver: leader changed",
    503: "the server is currently unable to handle the request",
    504: "Timeout: request did not complete within the allotted timeout",
}


class Gone(Exception):
    """The connection shall end without (the rest of) an answer."""


class Answered(Exception):
    """A fault gave the answer already."""


class Exchange(BaseHTTPRequestHandler):
    """What :mod:`http.server` calls for each connection; the server decides what to answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version = sys_version = ""
    cut = False  #: end the connection in the middle of the next body or line
    lost = False  #: end it before the answer

    @property
    def api(self) -> ApiServer:
        return cast("ApiServer", self.server)

    def handle(self) -> None:
        try:
            super().handle()
        except (Gone, OSError, ValueError):  # ValueError: the server closed the file at its end
            self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.cut = self.lost = False
        request = self._request()
        fault = self.api.faults.of(request)
        try:
            self._suffer(fault, request)
            self.api.answer(self, request, fault)
        except Refused as refused:
            self.reply(refused.code, refused.body)
        except Answered:
            pass
        except Unknown:
            self.reply_raw(404, b"404 page not found\n", "text/plain; charset=utf-8")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def reply(self, code: int, body: Json, **headers: str) -> None:
        self.reply_raw(code, json.dumps(body).encode() + b"\n", "application/json", **headers)

    def reply_raw(self, code: int, body: bytes, content_type: str, **headers: str) -> None:
        if self.lost:
            self.reset()
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.cut:
            self.wfile.write(body[: len(body) // 2])
            raise Gone
        self.wfile.write(body)

    def begin_stream(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def stream(self, line: bytes) -> None:
        """One chunk; the empty one ends the stream."""
        chunk = b"%x\r\n%s\r\n" % (len(line), line)
        if self.cut:
            self.wfile.write(chunk[: len(chunk) // 2])
            raise Gone
        self.wfile.write(chunk)

    def reset(self) -> None:
        """End the connection with a RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile.flush()
        self.rfile.close()
        self.connection.close()
        raise Gone

    def _request(self) -> Request:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(content) if content else {}
        except ValueError:
            body = {}
        headers = {name.title(): value for name, value in self.headers.items()}
        watches = self.command == "GET" and query.get("watch") in ("true", "True", "1")
        return Request("WATCH" if watches else self.command, url.path, query, headers, body)

    def _suffer(self, fault: Fault | None, request: Request) -> None:
        if not fault:
            return
        if fault.hook:
            fault.hook(request)
        if fault.hold:
            fault.hold.wait()
            if self.api.closing:
                raise Gone
        if fault.reset:
            self.reset()
        self.cut, self.lost = fault.cut, fault.lost
        headers = {} if fault.retry_after is None else {"Retry_After": str(fault.retry_after)}
        if isinstance(fault.body, bytes):
            self.reply_raw(fault.status or 200, fault.body, "text/html", **headers)
        elif fault.body is not None:
            self.reply(fault.status or int(fault.body["code"]), fault.body, **headers)
        elif fault.status == 429 and not fault.message:
            self.reply_raw(429, _TOO_MANY, "text/plain; charset=utf-8", **{"Retry_After": "1"} | headers)
        elif fault.status:
            message = fault.message or _MESSAGES.get(fault.status, "Unauthorized")
            self.reply(fault.status, statuses.failure(fault.status, message, reason=fault.reason), **headers)
        else:
            return
        raise Answered
