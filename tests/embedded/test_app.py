"""What the reference network's app answers."""

from __future__ import annotations

import selectors
import socket

import pytest

from pytest_k8snet.embedded.app import Connection, answer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /hostname HTTP/1.1", b"200 OK"),
        (b"GET / HTTP/1.1", b"200 OK"),
        (b"GET /large?x=1 HTTP/1.1", b"200 OK"),
        (b"GET /elsewhere HTTP/1.1", b"404 Not Found"),
        (b"rubbish", b"404 Not Found"),
    ],
)
def test_status(request_line: bytes, status: bytes) -> None:
    assert answer(request_line + b"\r\n\r\n").startswith(b"HTTP/1.1 " + status)


def test_hostname_names_the_pod_and_large_is_large() -> None:
    assert answer(b"GET /hostname HTTP/1.1\r\n\r\n").endswith(socket.gethostname().encode() + b"\n")
    head, _, body = answer(b"GET /large HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    assert len(body) == 128 * 1024
    assert b"Content-Length: 131072" in head


@pytest.mark.parametrize(
    ("asked", "told"),
    [(b"", b"close"), (b"Connection: close\r\n", b"close"), (b"Connection: Keep-Alive\r\n", b"keep-alive")],
)
def test_a_connection_is_kept_for_who_asks_for_it(asked: bytes, told: bytes) -> None:
    assert b"\r\nConnection: " + told + b"\r\n" in answer(b"GET /hostname HTTP/1.1\r\n" + asked + b"\r\n")


def test_a_client_that_says_nothing_holds_nobody_up() -> None:
    def asked(end: socket.socket, how: bytes) -> int:
        end.sendall(b"GET /hostname HTTP/1.1\r\n" + how + b"\r\n")
        return connections[end].ready()

    connections = {}
    for _ in range(2):
        client, server = socket.socketpair()
        connections[client] = Connection(server)
    silent, other = connections
    silent.sendall(b"GET /host")
    assert connections[silent].ready() == selectors.EVENT_READ
    assert asked(other, b"Connection: keep-alive\r\n") == selectors.EVENT_READ
    assert asked(other, b"") == selectors.EVENT_READ
    assert other.recv(4096).count(b"200 OK") == 2
    other.close()
    assert connections[other].ready() == 0  # the client's FIN
    for connection in connections.values():
        connection.socket.close()
    silent.close()
