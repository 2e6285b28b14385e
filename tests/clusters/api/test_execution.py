"""Exec over a websocket, frame by frame."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from websocket import WebSocketException

from pytest_k8snet.clusters.api import execution
from pytest_k8snet.clusters.api.client import ApiRefused, ApiUnreachable
from pytest_k8snet.clusters.api.execution import PodAccess, PodProcess
from pytest_k8snet.clusters.base import NodeUnreachable
from tests.clusters.api.conftest import Connect
from tests.clusters.api.servers import (
    Answer,
    Scripted,
    ended,
    frame,
    header,
    http,
    refused,
    reset,
    silent,
    upgraded,
    websocket,
)

Exec = Callable[..., tuple[PodProcess, Scripted]]
SAID = "pod pod-src, container container"


@pytest.fixture
def execute(connect: Connect) -> Iterator[Exec]:
    """Start argv ("true" unless given) in a container whose server gives ``answers``."""
    with contextlib.ExitStack() as opened:

        def start(
            *answers: bytes | Answer, argv: tuple[str, ...] = ("true",), stdin: bytes = b"", **more: Any
        ) -> tuple[PodProcess, Scripted]:
            api, server = connect(*answers)
            process = PodAccess(api, "lab", "pod-src", "container", **more).start(argv, stdin=stdin)
            opened.callback(process.close)
            return process, server

        yield start


def finish(process: PodProcess) -> tuple[int | None, bytes, bytes]:
    for _ in range(10_000):
        process.pump(5)
        if process.exit_status is not None:
            break
    return process.exit_status, bytes(process.stdout), bytes(process.stderr)


def query(server: Scripted) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(server.lines[-1].split()[1]).query, keep_blank_values=True)


def failure(message: str, reason: str = "InternalError") -> bytes:
    said = {
        "status": "Failure",
        "reason": reason,
        "message": message,
        "details": {"causes": [{"message": "x"}]},
    }
    return frame(3, json.dumps(said).encode())


def test_output_and_exit_status(execute: Exec) -> None:
    process, server = execute(
        websocket(
            frame(1, b""), frame(2, b""), frame(1, b"out\xff"), frame(2, b"err"), frame(1, b"\0"), ended(3)
        ),
        argv=("sh", "-c", "echo 'a & b'; exit 3", ""),
        prefix=("nsenter", "-t", "1"),
    )
    assert finish(process) == (3, b"out\xff\0", b"err")
    assert server.lines[0].startswith("GET /api/v1/namespaces/lab/pods/pod-src/exec?")
    assert query(server) == [
        ("container", "container"),
        *[("command", word) for word in ("nsenter", "-t", "1", "sh", "-c", "echo 'a & b'; exit 3", "")],
        ("stdin", "false"),
        ("stdout", "true"),
        ("stderr", "true"),
    ]
    assert header(server.requests[0], "Authorization") == "Bearer s3cret"
    assert header(server.requests[0], "Sec-WebSocket-Protocol") == "v5.channel.k8s.io,v4.channel.k8s.io"


def test_after_the_end_nothing_happens(execute: Exec) -> None:
    process, _ = execute(websocket(ended()))
    assert finish(process) == (0, b"", b"")
    process.pump(60)
    process.pump(60)
    process.close()
    process.close()
    process.pump(60)
    assert process.exit_status == 0


@pytest.mark.parametrize("size", [1, 3, 4096])
def test_large_binary_output_in_any_pieces(execute: Exec, size: int) -> None:
    content = random.Random(1).randbytes(20_000 if size < 9 else 8_000_000)
    frames = [frame(1, content[start : start + 32768]) for start in range(0, len(content), 32768)]
    whole = b"".join(frames) + ended()
    pieces = (whole[start : start + size] for start in range(0, len(whole), size))

    def answer(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(upgraded(request))
        for piece in pieces:
            connection.sendall(piece)
        connection.recv(1)

    process, _ = execute(answer)
    assert finish(process) == (0, content, b"")


def test_frames_in_fragments_and_pings_between_them(execute: Exec) -> None:
    pongs: list[bytes] = []

    def answer(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        connection.sendall(
            upgraded(request)
            + frame(1, b"one ", fin=False)
            + frame(-1, b"alive?", opcode=9)
            + frame(-1, b"two ", opcode=0, fin=False)
            + frame(-1, b"three", opcode=0)
            + frame(1, "größer".encode(), opcode=1)
            + frame(-1, b"")
            + frame(-1, b"\xff\x01")
        )
        pongs.append(connection.recv(100))
        connection.sendall(ended())
        connection.recv(100)

    process, _ = execute(answer)
    assert finish(process) == (0, b"one two three" + "größer".encode(), b"")
    assert pongs[0][0] == 0x8A


def test_a_pump_ends_in_time_with_half_a_frame_in_hand(execute: Exec) -> None:
    more = threading.Event()

    def answer(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        whole = frame(1, b"x" * 1000)
        connection.sendall(upgraded(request) + whole[:500])
        more.wait(10)
        connection.sendall(whole[500:] + ended())
        connection.recv(1)

    process, _ = execute(answer)
    process.pump(0)
    process.pump(0.05)
    assert not process.stdout
    assert process.exit_status is None
    more.set()
    assert finish(process) == (0, b"x" * 1000, b"")


def test_a_quiet_process_is_waited_for_no_longer_than_asked(execute: Exec) -> None:
    process, _ = execute(lambda connection, request, over: silent(upgraded(request))(connection, b"", over))
    process.pump(0.05)
    process.pump(0)
    assert process.exit_status is None


def test_a_quiet_connection_is_kept_alive(execute: Exec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "PING_AFTER", 0.05)
    heard: list[bytes] = []

    def answer(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        connection.sendall(upgraded(request))
        heard.append(connection.recv(100))
        connection.sendall(ended())
        connection.recv(100)

    process, _ = execute(answer)
    assert finish(process)[0] == 0
    assert heard[0][0] == 0x89


def test_a_capture_is_kept_alive_while_requests_are_made(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody pumps it then."""
    heard = threading.Event()

    def capture(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        connection.sendall(upgraded(request))
        if connection.recv(100)[0] == 0x89:
            heard.set()
        connection.recv(100)

    def asked(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        connection.sendall(upgraded(request))
        heard.wait(10)
        connection.sendall(ended())
        connection.recv(100)

    api, _ = connect(capture, asked)
    place = PodAccess(api, "lab", "pod-src", "container")
    captures = place.start(["tcpdump"])
    monkeypatch.setattr(execution, "PING_AFTER", 0.05)
    request = place.start(["curl"])
    assert finish(request)[0] == 0
    assert heard.is_set()
    for process in (request, captures):
        process.close()
    assert api.connection.processes == set()


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (b"", "Connection to remote host was lost"),
        (frame(1, b"x" * 100)[:50], "Connection to remote host was lost"),
        (frame(-1, struct.pack("!H", 1000), opcode=8), "closed by the server"),
        (frame(-1, struct.pack("!H", 1011) + b"node\ngone", opcode=8), "closed by the server: node gone"),
        (frame(3, b'{"status": "Fail'), "Connection to remote host was lost"),
        (b"\xc1\x00", "rsv is not implemented, yet"),
    ],
)
def test_a_connection_that_breaks(execute: Exec, last: bytes, said: str) -> None:
    process, _ = execute(websocket(frame(1, b"some"), last), argv=("tcpdump", "-i", "eth 1"))
    with pytest.raises(NodeUnreachable) as caught:
        finish(process)
    assert str(caught.value) == (
        f"{SAID}: tcpdump -i 'eth 1': the connection broke before its exit status came ({said})"
    )
    assert process.stdout == b"some"
    with pytest.raises(NodeUnreachable) as again:
        process.pump(60)
    assert again.value is caught.value


def test_a_connection_that_is_reset(execute: Exec) -> None:
    def answer(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        connection.sendall(upgraded(request))
        reset(connection, request, over)

    process, _ = execute(answer)
    with pytest.raises(NodeUnreachable, match=r"Connection reset by peer|remote host was lost"):
        finish(process)


OLD_RUNC = r'container process caused "exec: \"crictl\": executable file not found in $PATH": unknown'
RUNC = 'unable to start container process: exec: "/x/cri": stat /x/cri: no such file or directory: unknown'
CRUN = "crun: executable file `crictl` not found in $PATH: No such file or directory: OCI runtime..."


@pytest.mark.parametrize("message", [OLD_RUNC, RUNC, CRUN])
def test_a_program_that_is_not_there(execute: Exec, message: str) -> None:
    process, _ = execute(websocket(failure(f"Internal error occurred: {message}")))
    assert finish(process) == (127, b"", f"Internal error occurred: {message}\n".encode())


@pytest.mark.parametrize("message", [OLD_RUNC, RUNC])
def test_a_program_that_is_not_there_by_docker(execute: Exec, message: str) -> None:
    said = f"OCI runtime exec failed: exec failed: container_linux.go:380: {message}\r\n".encode()
    process, _ = execute(websocket(frame(1, said), ended(126)))
    assert finish(process) == (127, b"", said)


def test_a_program_that_may_not_run_by_docker(execute: Exec) -> None:
    said = b'OCI runtime exec failed: exec failed: exec: "/etc/hosts": permission denied: unknown\r\n'
    process, _ = execute(websocket(frame(1, said), ended(126)))
    assert finish(process) == (126, b"", said)


def test_a_program_that_says_so_itself(execute: Exec) -> None:
    process, _ = execute(websocket(frame(1, b'exec: "x": executable file not found'), ended(126)))
    assert finish(process) == (126, b'exec: "x": executable file not found', b"")


def test_what_the_node_refuses_after_the_upgrade(execute: Exec) -> None:
    message = 'Internal error occurred: unable to upgrade connection: container not found ("container")'
    process, _ = execute(websocket(failure(message)))
    with pytest.raises(ApiRefused) as caught:
        finish(process)
    assert str(caught.value) == f"{SAID}: true: {message}"


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (refused(404, "NotFound", 'pods "pod-src" not found'), 404, 'pods "pod-src" not found'),
        (
            refused(400, "BadRequest", "container c is not valid for pod pod-src"),
            400,
            "container c is not valid for pod pod-src",
        ),
        (
            http(b'unable to upgrade connection: container not found ("c")\n', 500),
            500,
            'unable to upgrade connection: container not found ("c")',
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", 403, "HTTP 403 Forbidden"),
    ],
)
def test_refused_exec(execute: Exec, answer: bytes, status: int, said: str) -> None:
    with pytest.raises(ApiRefused) as caught:
        execute(answer)
    assert (caught.value.status, str(caught.value)) == (status, f"{SAID}: {said}")


def test_refused_credentials(execute: Exec) -> None:
    with pytest.raises(ApiRefused, match=f"{SAID}: the credentials of kubeconfig context lab are refused by"):
        execute(refused(401, "Unauthorized", "Unauthorized"))


def test_the_place_is_named_as_it_was_given(execute: Exec) -> None:
    with pytest.raises(ApiRefused, match=r"^k8s-node1: nothing$"):
        execute(refused(404, "NotFound", "nothing"), place="k8s-node1")


def test_a_busy_server_is_asked_again(execute: Exec, pauses: list[float]) -> None:
    busy = refused(429, "TooManyRequests", "busy", Retry_After="7")
    process, server = execute(busy, refused(503, "x", "y"), websocket(ended()))
    assert finish(process)[0] == 0
    assert (len(server.requests), pauses[0]) == (3, 7.0)


def test_a_broken_handshake_is_not_repeated_since_the_command_may_run(execute: Exec) -> None:
    with pytest.raises(ApiUnreachable, match=r"can't be reached: (Connection reset|it closed)"):
        execute(reset)


def test_a_server_that_speaks_another_protocol(execute: Exec) -> None:
    with pytest.raises(ApiUnreachable, match="can't be reached: Invalid WebSocket Header"):
        execute(websocket(ended(), protocol="channel.k8s.io"))


def test_a_redirect_is_not_followed_with_our_login(execute: Exec) -> None:
    with pytest.raises(ApiUnreachable, match="Redirect limit exhausted"):
        execute(http(b"", 302, Location="http://elsewhere.invalid/"))


def test_a_busy_server_is_asked_again_when_all_else_is_late(connect: Connect) -> None:
    api, server = connect(refused(503, "x", "y"), websocket(ended()), seconds=0)
    PodAccess(api, "lab", "pod-src", "container").start(["true"]).close()
    assert len(server.requests) == 2


def test_a_server_that_is_gone(
    connect: Connect, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "RETRYING", 0.1)
    api, server = connect(http({}), seconds=600)
    server.close()
    with pytest.raises(ApiUnreachable, match=f"{api.server} can't be reached: Connection refused"):
        PodAccess(api, "lab", "pod-src", "container").start(["true"])
    assert pauses


def unmasked(connection: socket.socket, size: int) -> bytes:
    """Payloads of the client's frames until ``size`` bytes of them came."""
    found, rest = b"", b""
    while len(found) < size:
        rest += connection.recv(65536)
        while len(rest) >= 6:
            length, start = rest[1] & 0x7F, 2
            if length == 126:
                length, start = struct.unpack("!H", rest[2:4])[0], 4
            if len(rest) < start + 4 + length:
                break
            mask, payload = rest[start : start + 4], rest[start + 4 : start + 4 + length]
            found += bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
            rest = rest[start + 4 + length :]
    return found


def test_standard_input_ends_where_the_server_can_end_it(execute: Exec) -> None:
    content = b"*nat\n" * 10_000
    frames = -(-len(content) // execution.STDIN_FRAME)
    heard: list[bytes] = []

    def answer(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        # It says something before it has read all: neither side may wait for the other.
        connection.sendall(upgraded(request, "v5.channel.k8s.io") + frame(1, b"early "))
        heard.append(unmasked(connection, len(content) + frames + 2))
        connection.sendall(frame(1, b"late") + ended())
        connection.recv(1)

    process, server = execute(answer, argv=("iptables-restore",), stdin=content)
    assert finish(process) == (0, b"early late", b"")
    assert heard[0].endswith(b"\xff\x00")
    parts = heard[0][:-2]
    step = execution.STDIN_FRAME + 1
    assert b"".join(parts[start + 1 : start + step] for start in range(0, len(parts), step)) == content
    assert ("stdin", "true") in query(server)
    assert header(server.requests[0], "Sec-WebSocket-Protocol") == "v5.channel.k8s.io"


def test_standard_input_is_counted_where_the_server_cannot_end_it(execute: Exec) -> None:
    heard: list[bytes] = []

    def answer(connection: socket.socket, request: bytes, over: threading.Event) -> None:
        connection.sendall(upgraded(request))
        heard.append(unmasked(connection, 6))
        connection.sendall(ended())
        connection.recv(1)

    process, server = execute(
        b"HTTP/1.1 403 Forbidden\r\n\r\n", answer, argv=("cat", "-A"), prefix=("nsenter",), stdin=b"hello"
    )
    assert finish(process)[0] == 0
    assert heard == [b"\x00hello"]
    command = [value for key, value in query(server) if key == "command"]
    assert command == ["sh", "-c", 'head -c "$0" | "$@"', "5", "nsenter", "cat", "-A"]


def test_closing_does_not_wait_for_the_other_side(execute: Exec) -> None:
    process, _ = execute(lambda connection, request, over: silent(upgraded(request))(connection, b"", over))
    process.close()
    with pytest.raises(NodeUnreachable, match=f"^{SAID}: true: we closed the connection before its end"):
        process.pump(60)


def test_closing_what_is_broken_already(execute: Exec, monkeypatch: pytest.MonkeyPatch) -> None:
    process, _ = execute(websocket())
    websocket_of = process._websocket
    assert websocket_of is not None
    monkeypatch.setattr(websocket_of, "send_close", lambda: (_ for _ in ()).throw(WebSocketException("gone")))
    process.close()
    assert websocket_of.sock is None
