"""The client against an agent played by the test: deadlines, flow control, an agent that dies."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, NodeUnreachable
from pytest_k8snet.embedded import client as client_module
from pytest_k8snet.embedded.client import Client
from pytest_k8snet.embedded.framing import WINDOW, Decoder, encode
from pytest_k8snet.evidence.tcpdump import all_read

Answer = Callable[[dict[str, Any], bytes, Callable[..., None]], None]


class PlayedKernel:
    """Two pipes and a thread that answers; acknowledges what it takes, ``at_once`` or never."""

    console = "the last words"

    def __init__(self, answer: Answer, *, acknowledge: bool = True) -> None:
        self._take, self.write = os.pipe()
        self.read, self._give = os.pipe()
        self.largest = 0
        self._answer = answer
        self._acknowledge = acknowledge
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def say(self, header: dict[str, Any], body: bytes = b"") -> None:
        os.write(self._give, encode(header, body))

    def _serve(self) -> None:
        decoder = Decoder()
        while piece := os.read(self._take, 1 << 20):
            self.largest = max(self.largest, len(piece))
            if self._acknowledge:
                self.say({"ack": len(piece)})
            for header, body in decoder.feed(piece):
                self._answer(header, body, self.say)
        os.close(self._give)
        os.close(self._take)

    def close(self) -> None:
        os.close(self.write)
        self.thread.join()


Play = Callable[..., tuple[Client, PlayedKernel]]


@pytest.fixture
def play() -> Iterator[Play]:
    made: list[tuple[Client, PlayedKernel]] = []

    def start(answer: Answer, **options: Any) -> tuple[Client, PlayedKernel]:
        kernel = PlayedKernel(answer, **options)
        client = Client(kernel)  # type: ignore[arg-type]
        made.append((client, kernel))
        return client, kernel

    yield start
    for client, _ in made:
        client.close()


def silent(header: dict[str, Any], body: bytes, say: Callable[..., None]) -> None:
    """An agent that takes everything and answers nothing."""


def test_a_command_comes_back_with_its_output_and_status(play: Play) -> None:
    def answer(header: dict[str, Any], body: bytes, say: Callable[..., None]) -> None:
        say({"id": header["id"], "exit": 3, "stdout": 3}, b"out" + body)

    client, _ = play(answer)
    result = client.run("k8s-node1", ["ip", "addr"], timeout=1, stdin=b"err")
    assert (result.exit_status, result.stdout, result.stderr) == (3, b"out", b"err")


def test_a_command_out_of_time_says_what_it_last_said(play: Play) -> None:
    def answer(header: dict[str, Any], body: bytes, say: Callable[..., None]) -> None:
        say({"id": header["id"], "exit": None, "stdout": 0, "timeout": 1}, b"still trying\n")

    client, _ = play(answer)
    with pytest.raises(CommandTimeout, match=r"did not end within 1 s; its last words: still trying"):
        client.run("k8s-node1", ["curl"], timeout=1)


def test_an_agent_that_never_answers_has_a_deadline(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "GRACE", 0.05)
    client, _ = play(silent)
    with pytest.raises(CommandTimeout, match="did not answer in time"):
        client.run("k8s-node1", ["true"], timeout=0.01)
    with pytest.raises(CommandTimeout, match="said nothing"):
        client.wait_ready(0.01)


def test_an_agent_that_dies_fails_all_that_wait(play: Play) -> None:
    client, kernel = play(silent)
    threading.Timer(0.05, kernel.close).start()
    with pytest.raises(NodeUnreachable, match="kernel has ended"):
        client.run("k8s-node1", ["sleep", "9"], timeout=30)
    with pytest.raises(NodeUnreachable):
        client.run("k8s-node1", ["true"], timeout=1)
    kernel.close = lambda: None  # type: ignore[method-assign]


def test_no_more_than_the_window_is_ever_under_way(play: Play) -> None:
    def answer(header: dict[str, Any], body: bytes, say: Callable[..., None]) -> None:
        say({"id": header["id"], "answer": len(body)})

    client, kernel = play(answer)
    assert client.ask("rules", body=b"x" * 50_000) == 50_000
    assert 0 < kernel.largest <= WINDOW


def test_an_agent_that_takes_nothing_has_a_deadline_too(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "GRACE", 0.05)
    client, _ = play(silent, acknowledge=False)
    with pytest.raises(NodeUnreachable, match="took nothing"):
        client.ask("rules", body=b"x" * 5000)


def test_a_refusal_of_the_agent_is_a_cluster_error(play: Play) -> None:
    def answer(header: dict[str, Any], body: bytes, say: Callable[..., None]) -> None:
        say({"id": header["id"], "error": "k8s-node1: OSError: no interface eth9"})

    client, _ = play(answer)
    with pytest.raises(ClusterError, match="no interface eth9"):
        client.ask("configure", node="k8s-node1")


def test_a_capture_is_ready_when_it_says_so_and_whole_when_it_is_stopped(play: Play) -> None:
    def answer(header: dict[str, Any], body: bytes, say: Callable[..., None]) -> None:
        if header["op"] == "spawn":
            say({"id": header["id"], "event": "started"})
            say({"id": header["id"], "event": "stderr"}, b"tcpdump: listening ")
            say({"id": header["id"], "event": "stderr"}, b"on eth1\n")
            say({"id": header["id"], "event": "stdout"}, b"first ")
        elif header["op"] == "signal":
            say({"id": header["target"], "exit": 0, "stdout": 6}, b"second0 packets dropped")

    client, _ = play(answer)
    capture = client.spawn("k8s-node2", ["tcpdump"])
    capture.wait_for(b"listening on", timeout=2)
    result = capture.stop(timeout=2)
    assert result.stdout == b"first second"
    assert result.stderr == b"tcpdump: listening on eth1\n0 packets dropped"


def test_a_capture_that_ends_before_it_listens_says_why(play: Play) -> None:
    def answer(header: dict[str, Any], body: bytes, say: Callable[..., None]) -> None:
        say({"id": header["id"], "exit": 1, "stdout": 0}, b"tcpdump: eth9: No such device\n")

    client, _ = play(answer)
    capture = client.spawn("k8s-node2", ["tcpdump"])
    with pytest.raises(ClusterError, match=r"exit status 1 before it said 'listening on': .*No such device"):
        capture.wait_for(b"listening on", timeout=2)
    assert capture.stop(timeout=1).exit_status == 1


def test_a_capture_that_never_listens_has_a_deadline(play: Play) -> None:
    client, _ = play(silent)
    capture = client.spawn("k8s-node2", ["tcpdump"])
    with pytest.raises(CommandTimeout, match=r"did not say 'listening on' within 0.05 s"):
        capture.wait_for(b"listening on", timeout=0.05)


def test_a_node_that_ends_takes_no_other_with_it(play: Play) -> None:
    def answer(header: dict[str, Any], body: bytes, say: Callable[..., None]) -> None:
        if header["op"] == "end":
            say({"event": "node-gone", "node": header["node"]})
        elif header["node"] == "k8s-node2":
            say({"id": header["id"], "exit": 0, "stdout": 0})

    client, _ = play(answer)
    running = client.spawn("k8s-node1", ["tcpdump"])
    with pytest.raises(ClusterError, match="node k8s-node1 has ended"):
        client.ask("end", node="k8s-node1")
    with pytest.raises(NodeUnreachable, match="node k8s-node1 has ended"):
        running.stop(timeout=1)
    with pytest.raises(NodeUnreachable, match="node k8s-node1 has ended"):
        client.run("k8s-node1", ["ip", "addr"], timeout=1)
    assert client.run("k8s-node2", ["true"], timeout=1).exit_status == 0


REPORT = b"tcpdump: 4 packets captured, %d packets received by filter, 0 packets dropped by kernel\n"


def reporting(received: Callable[[int], int], cut: int) -> Answer:
    """A tcpdump that has captured 4 packets; SIGUSR1 number n makes it say how many it has received.

    Its words come late and in pieces: each piece ends ``cut`` bytes into the report after.
    """
    asked = [0]
    held = [b"tcpdump: listening on eth1, link-type EN10MB\n"]

    def answer(header: dict[str, Any], body: bytes, say: Callable[..., None]) -> None:
        if header["op"] == "signal":
            asked[0] += 1
            text = held.pop() + REPORT % received(asked[0])
            held.append(text[-cut:] if cut else b"")
            say({"id": header["target"], "event": "stderr"}, text[: len(text) - cut])

    return answer


@pytest.mark.parametrize("cut", [0, 1, 30, 70])
def test_a_capture_is_asked_until_it_has_read_everything(play: Play, cut: int) -> None:
    client, _ = play(reporting(lambda number: 6 if number < 3 else 4, cut))
    running = client.spawn("k8s-node1", ["tcpdump"])
    reports: list[bytes] = []

    def done(report: bytes) -> bool:
        reports.append(report)
        return all_read(report)

    running.catch_up(done, timeout=5)
    assert reports[-1] + b"\n" == REPORT % 4
    assert set(reports[:-1]) <= {REPORT[:-1] % 6, b"tcpdump: listening on eth1, link-type EN10MB"}


@pytest.mark.parametrize("cut", [0, 30])
def test_a_capture_that_never_reads_everything_is_not_waited_for(play: Play, cut: int) -> None:
    client, _ = play(reporting(lambda number: 6, cut))
    client.spawn("k8s-node1", ["tcpdump"]).catch_up(all_read, timeout=0.3)
    client, _ = play(silent)
    client.spawn("k8s-node1", ["tcpdump"]).catch_up(all_read, timeout=0.1)
