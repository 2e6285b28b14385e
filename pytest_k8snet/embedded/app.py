"""What the lab's images do: answer HTTP on one port. Run inside a container by ``python -I -S``.

``/hostname`` answers with the pod's name, as ``kubetm/app`` does; ``/large`` with 128 KiB, for the
claim on MTU. Standard library only, one connection at a time: a lab sends no more.
"""

from __future__ import annotations

import socket
import sys

LARGE = b"k8snet--" * (128 * 1024 // 8)


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
    head = b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, len(body)) + body


def serve(port: int) -> None:
    """Answer on every address, for ever."""
    server = socket.create_server(("0.0.0.0", port), backlog=128)
    while True:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(5)
            try:
                request = b""
                while b"\r\n\r\n" not in request and len(request) < 65536:
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    request += piece
                if request:
                    connection.sendall(answer(request))
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)  # the client's FIN: the flow's end is on the wire before ours
            except OSError:
                continue


if __name__ == "__main__":
    serve(int(sys.argv[1]))
