"""What the lab's images do: answer HTTP on one port. Run inside a container by ``python -I -S``.

``/hostname`` answers with the pod's name, as ``kubetm/app`` does; ``/large`` with 128 KiB, for the
claim on MTU. A client that asks for it ("Connection: keep-alive") keeps its connection. Standard library
only, one loop: the clients of an outage watch hold connections while others come and go.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time

LARGE = b"k8snet--" * (128 * 1024 // 8)
IDLE = 60.0  #: seconds after which a silent connection is let go; an upgrade's longest gap is far below


def keeps(request: bytes) -> bool:
    """Whether the client wants its connection to stand."""
    return b"\r\nconnection: keep-alive" in request.lower()


def answer(request: bytes) -> bytes:
    """The whole response to a request's head."""
    words = request.split(b"\r\n", 1)[0].split(b" ")
    path = words[1].split(b"?", 1)[0] if len(words) == 3 else b""
    if path in (b"/", b"/hostname"):
        status, body = b"200 OK", b"Hostname : " + socket.gethostname().encode() + b"\n"
    elif path == b"/large":
        status, body = b"200 OK", LARGE
    else:
        status, body = b"404 Not Found", b"not found\n"
    head = b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n"
    return head % (status, len(body), b"keep-alive" if keeps(request) else b"close") + body


class Connection:
    """One client: its request as far as it came, and the answer as far as it is still to go."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self.heard = time.monotonic()
        self._request = b""
        self._answer = b""
        self._last = False  #: the answer is the last one; the client's FIN is awaited

    def ready(self) -> int:
        """Go on; the events to wait for, 0 when it is over. Raises OSError when the client is gone."""
        if not self._answer:
            self.heard = time.monotonic()
            piece = self.socket.recv(65536)
            # The client's FIN comes before ours: the flow's end is on the wire when it has its answer.
            if not piece or self._last:
                return 0
            self._request += piece
            if b"\r\n\r\n" not in self._request:
                return selectors.EVENT_READ if len(self._request) < 65536 else 0
            self._answer = answer(self._request)
            self._last, self._request = not keeps(self._request), b""
        self._answer = self._answer[self.socket.send(self._answer) :]
        if self._answer:
            return selectors.EVENT_WRITE
        if self._last:
            self.socket.shutdown(socket.SHUT_WR)
        return selectors.EVENT_READ


def serve(port: int) -> None:
    """Answer on every address, for ever."""
    server = socket.create_server(("0.0.0.0", port), backlog=128)
    server.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(server, selectors.EVENT_READ)
    looked = time.monotonic()
    while True:
        for key, _ in selector.select(IDLE):
            connection = key.data
            if connection is None:
                client, _ = server.accept()
                client.setblocking(False)
                selector.register(client, selectors.EVENT_READ, Connection(client))
                continue
            try:
                wanted = connection.ready()
            except BlockingIOError:
                continue
            except OSError:
                wanted = 0
            if not wanted:
                selector.unregister(connection.socket)
                connection.socket.close()
            elif wanted != key.events:
                selector.modify(connection.socket, wanted, connection)
        if time.monotonic() > looked + IDLE / 2:
            looked = time.monotonic()
            let_go(selector)


def let_go(selector: selectors.BaseSelector) -> None:
    """Forget the clients of which nothing was heard for long: they may be gone without a word."""
    gone = time.monotonic() - IDLE
    for key in list(selector.get_map().values()):
        if key.data is not None and key.data.heard < gone:
            selector.unregister(key.fileobj)
            key.data.socket.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
