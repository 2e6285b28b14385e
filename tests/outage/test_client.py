"""The program that runs on nodes: alone, on loopback, with a server that does what it is told."""

from __future__ import annotations

import ast
import importlib.resources
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from statistics import median
from typing import Any

import pytest

from pytest_k8snet.embedded import app
from pytest_k8snet.evidence.outage import Watched, parse_watched
from pytest_k8snet.probes.outage_client import read_answer
from pytest_k8snet.probes.watchers import PROGRAM, READY, parse_progress

SOURCE = importlib.resources.files("pytest_k8snet.probes").joinpath(PROGRAM).read_text()
FIRST = 20190  #: of ten ports for the held connections of these tests


def test_it_is_python_3_6() -> None:
    ast.parse(SOURCE, feature_version=(3, 6))
    with pytest.raises(SyntaxError):
        ast.parse(SOURCE + "\nif (x := 1): pass\n", feature_version=(3, 6))


@pytest.mark.parametrize(
    ("said", "ended", "status", "stays"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False, 200, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", False, None, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False, None, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\nok", False, 200, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False, 200, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\nok", False, 200, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", False, None, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", False, 200, True),
        (b"HTTP/1.1 200 OK\r\n\r\nok", False, None, False),
        (b"HTTP/1.1 200 OK\r\n\r\nok", True, 200, False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, True),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", False, 503, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True, 200, False),
        (b"SSH-2.0-x\r\n\r\n", False, 0, False),
        (b"", True, None, False),
    ],
)
def test_an_answer_is_whole_or_not(said: bytes, ended: bool, status: int | None, stays: bool) -> None:
    assert read_answer(said, ended) == (status, stays)


@contextmanager
def serving(port: int) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen([sys.executable, "-I", "-S", app.__file__, str(port)])
    try:
        for _ in range(200):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield server
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Client:
    def __init__(self, *words: object, limit: float = 0.9, patience: float = 5.0) -> None:
        settings = ("token", "0.05", limit, patience, "0.02")
        argv = (sys.executable, "-I", "-S", "-c", SOURCE, *map(str, settings), *map(str, words))
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._stderr.readline().strip() == READY

    @property
    def _stderr(self) -> Any:
        return self._process.stderr

    def ask(self) -> dict[str, tuple[int, int, float]]:
        self._process.send_signal(signal.SIGUSR1)
        progress = parse_progress(self._stderr.readline())
        assert progress is not None
        assert abs(progress.now - time.time()) < 1
        return {word.stream: (word.finished, word.lost, word.calm) for word in progress.words}

    def until(self, stream: str, finished: int) -> tuple[int, int, float]:
        while (told := self.ask()[stream])[0] < finished:
            time.sleep(0.05)
        return told

    def stop(self, how: int = signal.SIGINT) -> Watched:
        self._process.send_signal(how)
        out, err = self._process.communicate(timeout=20)
        assert (self._process.returncode, err) == (0, b"")
        return parse_watched(out, "here")


def counted(watched: Watched, kind: str) -> Counter[str]:
    return Counter(attempt.error for attempt in watched.attempts if attempt.kind == kind)


def test_it_asks_on_new_connections_and_on_one_that_is_held() -> None:
    port = free_port()
    with serving(port):
        client = Client("pod", "127.0.0.1", port, FIRST, 10, limit=5.0)
        _, lost, calm = client.until("pod/new", 20)
        watched = client.stop(signal.SIGTERM)
    assert lost == 0
    assert set(counted(watched, "new")) == set(counted(watched, "held")) == {""}
    assert calm > 0
    sent = [attempt.sent for attempt in watched.attempts if attempt.kind == "new"]
    assert median(later - sooner for sooner, later in pairwise(sent)) == pytest.approx(0.05, abs=0.02)
    assert {attempt.port for attempt in watched.attempts if attempt.kind == "held"} == {FIRST}
    assert len({attempt.port for attempt in watched.attempts if attempt.kind == "new"}) == len(sent)
    assert watched.beaten >= 20


def test_a_server_that_says_nothing_loses_each_attempt_by_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client("pod", "127.0.0.1", silent.getsockname()[1], FIRST, 10, limit=0.3, patience=0.5)
        finished, lost, calm = client.until("pod/new", 10)
        watched = client.stop()
    assert (finished, calm) == (lost, 0.0)
    assert counted(watched, "new").keys() == {"no answer in 0.3 s"}
    assert counted(watched, "held").keys() == {"no answer in 0.5 s"}
    new = [attempt.sent for attempt in watched.attempts if attempt.kind == "new"]
    assert new[1] - new[0] < 0.3  # it did not wait for the first one's end


def test_nobody_there_is_an_error_with_the_kernels_name() -> None:
    client = Client("nodeport", "127.0.0.1", free_port(), FIRST, 10)
    client.until("nodeport/held", 3)
    watched = client.stop()
    assert counted(watched, "new").keys() == counted(watched, "held").keys() == {"ECONNREFUSED"}
    assert {attempt.took for attempt in watched.attempts} == {None}


def test_a_held_connection_that_is_closed_is_lost_and_made_anew_from_another_port() -> None:
    port = free_port()
    with serving(port):
        client = Client("pod", "127.0.0.1", port, FIRST, 10)
        client.until("pod/held", 3)
    with serving(port):
        begun = client.ask()["pod/held"][0]
        client.until("pod/held", begun + 5)
        watched = client.stop()
    held = [attempt for attempt in watched.attempts if attempt.kind == "held"]
    assert held[0].port == FIRST
    assert held[-1].port != FIRST
    assert (held[0].error, held[-1].error) == ("", "")
    assert any(attempt.error for attempt in held)


def test_where_its_port_is_taken_it_takes_the_next() -> None:
    port = free_port()
    with serving(port), socket.create_server(("0.0.0.0", FIRST)):
        client = Client("pod", "127.0.0.1", port, FIRST, 10)
        client.until("pod/held", 2)
        watched = client.stop()
    assert {attempt.port for attempt in watched.attempts if attempt.kind == "held"} == {FIRST + 1}


def test_a_server_that_closes_after_each_answer_loses_nothing() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

    def answer(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                if connection.recv(4096):
                    connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        client = Client("pod", "127.0.0.1", server.getsockname()[1], FIRST, 10)
        client.until("pod/held", 5)
        watched = client.stop()
        server.shutdown(socket.SHUT_RDWR)
    assert counted(watched, "held").keys() == {""}
    assert len({attempt.port for attempt in watched.attempts if attempt.kind == "held"}) > 1


def test_a_stall_of_its_own_is_a_late_beat() -> None:
    client = Client()
    client.ask()
    client._process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    client._process.send_signal(signal.SIGCONT)
    client.ask()
    watched = client.stop()
    assert watched.attempts == ()
    assert max(beat.late for beat in watched.beats) > 0.15


@pytest.mark.parametrize(
    "line", [b"", b"now pod/new=1/2/3", b"1.0 pod/new=1/2", b"1.0 pod/new=1/2/x", b"\xff"]
)
def test_only_progress_is_progress(line: bytes) -> None:
    assert parse_progress(line) is None
