"""The server's end of a websocket (RFC 6455) with Kubernetes' channels in it, over a blocking connection."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Iterator

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from tests.fakeapi.statuses import Json, bad_request
from tests.fakeapi.wire import Exchange

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

STDIN, STDOUT, STDERR, ERROR, CLOSE = 0, 1, 2, 3, 255


def asks(exchange: Exchange) -> bool:
    """Whether the request wants to be a websocket."""
    return "websocket" in exchange.headers.get("Upgrade", "").lower()


def choose(exchange: Exchange, v5: bool) -> str:
    """The protocol of those that the client offers that the server prefers. Raises a 400."""
    offered = [name.strip() for name in exchange.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    for protocol in ("v5.channel.k8s.io",) * v5 + ("v4.channel.k8s.io",):
        if protocol in offered:
            return protocol
    raise bad_request("websocket: none of the offered protocols is served")


class Channels:
    """Frames whose first byte is a channel. ``version`` 4, or 5, in which a channel can be closed."""

    def __init__(self, exchange: Exchange, protocol: str) -> None:
        accept = hashlib.sha1(exchange.headers["Sec-WebSocket-Key"].encode() + _GUID).digest()
        exchange.send_response(101)
        exchange.send_header("Upgrade", "websocket")
        exchange.send_header("Connection", "Upgrade")
        exchange.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
        exchange.send_header("Sec-WebSocket-Protocol", protocol)
        exchange.end_headers()
        exchange.close_connection = True
        self.version = 5 if protocol.startswith("v5.") else 4
        self._exchange = exchange
        self._frames = Connection(ConnectionType.SERVER)
        self._lock = threading.Lock()

    def send(self, channel: int, content: bytes) -> None:
        """Raises OSError where the client is gone."""
        try:
            with self._lock:
                self._write(self._frames.send(BytesMessage(bytes([channel]) + content)))
        except (LocalProtocolError, ValueError):  # closed already
            raise BrokenPipeError from None

    def status(self, status: Json) -> None:
        self.send(ERROR, json.dumps(status).encode())

    def received(self) -> Iterator[tuple[int, bytes]]:
        """(channel, content) until the client closes or is gone. In version 5 (CLOSE, channel) ends one."""
        message = b""
        while True:
            try:
                content = self._exchange.rfile.read1(65536)
                self._frames.receive_data(content or None)
                for event in self._frames.events():
                    if isinstance(event, BytesMessage | TextMessage):
                        data = event.data
                        message += data.encode() if isinstance(data, str) else bytes(data)
                        if event.message_finished and message:
                            yield message[0], message[1:]
                            message = b""
                    elif isinstance(event, Ping):
                        with self._lock:
                            self._write(self._frames.send(event.response()))
                    elif isinstance(event, CloseConnection):
                        return
            except (OSError, ValueError, RemoteProtocolError, LocalProtocolError):
                return
            if not content:
                return

    def close(self) -> None:
        """Say so with a close frame; the connection itself ends with the exchange."""
        with contextlib.suppress(OSError, ValueError, LocalProtocolError), self._lock:
            self._write(self._frames.send(CloseConnection(code=1000)))

    def hang_up(self) -> None:
        """End the connection without a close frame: what a broken proxy does."""
        with contextlib.suppress(OSError):
            self._exchange.connection.shutdown(socket.SHUT_RDWR)

    def _write(self, content: bytes) -> None:
        self._exchange.wfile.write(content)
