"""What the reference network's app answers."""

from __future__ import annotations

import socket

import pytest

from pytest_k8snet.embedded.app import answer


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
