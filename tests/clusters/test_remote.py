"""Commands by an access: real processes of this machine, and scripted ones for what breaks on the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from pytest_k8snet.clusters.base import (
    ClusterError,
    CommandResult,
    CommandTimeout,
    Deadline,
    NodeUnreachable,
)
from pytest_k8snet.clusters.ways import remote
from pytest_k8snet.clusters.ways.local import LocalAccess, LocalProcess
from pytest_k8snet.clusters.ways.remote import Access, NoShell, Process, RemoteCommand, run, spawn
from tests.clusters.test_local import gone

#: Behaves as tcpdump does: says when it listens, reports on SIGUSR1, counts on SIGINT.
CAPTURE = """
import os, signal, sys
asked = []
def report(*_):
    asked.append(1)
    os.write(2, b"%d packets captured\\n" % len(asked))
def end(*_):
    os.write(2, b"0 packets dropped by kernel\\n")
    sys.exit(0)
signal.signal(signal.SIGUSR1, report)
signal.signal(signal.SIGINT, end)
os.write(1, b"\\xd4\\xc3\\xb2\\xa1")
os.write(2, b"listening on eth1\\n")
while True:
    signal.pause()
"""
DEAF = CAPTURE.replace("signal.signal(signal.SIGINT, end)", "signal.signal(signal.SIGINT, signal.SIG_IGN)")


class Counting(LocalAccess):
    """Keeps what it started."""

    def __init__(self) -> None:
        super().__init__("k8s-node1")
        self.started: list[LocalProcess] = []

    def start(self, argv: Sequence[str], *, stdin: bytes = b"") -> Process:
        process = super().start(argv, stdin=stdin)
        assert isinstance(process, LocalProcess)
        self.started.append(process)
        return process


@pytest.fixture
def node() -> Iterator[Counting]:
    """Whatever a test does, nothing that it started runs afterwards."""
    access = Counting()
    yield access
    assert [process._child.returncode is None for process in access.started] == [False] * len(access.started)


def capture(node: Access, script: str = CAPTURE) -> RemoteCommand:
    return spawn(node, [sys.executable, "-I", "-S", "-c", script])


class Scripted(Process):
    """Says its pieces one by one, then ends with ``status``; an exception among them is raised."""

    def __init__(self, pieces: Sequence[bytes | BaseException], status: int | None) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.pieces = list(pieces)
        self.status = status
        self.closed = False

    def pump(self, timeout: float) -> None:
        if not self.pieces:
            self.exit_status = self.status
            return
        piece = self.pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        self.stderr += piece

    def close(self) -> None:
        self.closed = True


class ScriptedAccess(Access):
    place = "k8s-node1"

    def __init__(self, *processes: Scripted | ClusterError) -> None:
        self.processes = list(processes)
        self.asked: list[tuple[str, ...]] = []

    def start(self, argv: Sequence[str], *, stdin: bytes = b"") -> Process:
        self.asked.append(tuple(argv))
        process = self.processes.pop(0)
        if isinstance(process, ClusterError):
            raise process
        return process


def scripted(*pieces: bytes | BaseException, status: int | None = 0) -> Scripted:
    return Scripted(pieces, status)


@contextmanager
def fails(kind: type[ClusterError], message: str) -> Iterator[None]:
    with pytest.raises(ClusterError) as raised:
        yield
    assert type(raised.value) is kind
    assert str(raised.value) == message


def test_a_result(node: Counting) -> None:
    argv = ("sh", "-c", 'cat; echo "$1" >&2; exit 3', "sh", "it's $HOME")
    assert run(node, argv, timeout=10, stdin=b"\0in") == CommandResult(argv, 3, b"\0in", b"it's $HOME\n")


def test_commands_speak_the_language_that_parsers_read(
    node: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    monkeypatch.setenv("PATH", f"/first:{os.environ['PATH']}")
    said = run(node, ["sh", "-c", "echo $LC_ALL $LANG $TZ $PATH"], timeout=10).stdout.decode().split()
    assert said[:3] == ["C", "C", "UTC"]
    assert said[3] == f"{os.environ['PATH']}:{remote.PATH}"


def test_a_place_without_a_path_does_not_search_its_working_directory(node: Counting) -> None:
    node.prefix = ("env", "-u", "PATH")
    said = run(node, ["sh", "-c", "echo $PATH"], timeout=10).stdout.decode()
    assert "" not in said.strip().split(":")


def test_a_program_that_is_not_there(node: Counting) -> None:
    result = run(node, ["no-such-tcpdump", "-i", "eth1"], timeout=10)
    assert (result.exit_status, result.argv) == (127, ("no-such-tcpdump", "-i", "eth1"))
    assert b"no-such-tcpdump" in result.stderr


def test_a_command_that_does_not_end_is_killed_with_its_children(node: Counting) -> None:
    with pytest.raises(CommandTimeout) as raised:
        run(node, ["sh", "-c", "sleep 60 & echo $!; echo waiting for it >&2; wait"], timeout=1)
    assert str(raised.value) == (
        "sh -c sleep 60 & echo $!; echo waiting for it >&2; wait on k8s-node1 did not end within 1 s; "
        "its last words: waiting for it"
    )
    assert gone(int(node.started[0].stdout))
    assert node.started[0].exit_status == 137


def test_a_command_that_says_nothing(node: Counting) -> None:
    with fails(CommandTimeout, "sleep 60 on k8s-node1 did not end within 0.1 s; it said nothing"):
        run(node, ["sleep", "60"], timeout=0.1)


def test_ctrl_c_leaves_nothing_behind() -> None:
    process = scripted(b"k8snet-pid 71\n", KeyboardInterrupt(), status=137)
    access = ScriptedAccess(process, killer := scripted())
    with pytest.raises(KeyboardInterrupt):
        run(access, ["curl"], timeout=5)
    assert access.asked[1][3:] == ("sh", "71", "")
    assert "kill -s KILL" in access.asked[1][2]
    assert process.closed
    assert killer.closed


def test_what_can_not_be_killed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SIGNALLING", 0.01)
    access = ScriptedAccess(scripted(b"k8snet-pid 71\n", status=None), NodeUnreachable("no route to host"))
    with fails(
        CommandTimeout,
        "curl -m 5 on k8s-node1 did not end within 0.01 s; it said nothing; it could not be killed and may "
        "still run there",
    ):
        run(access, ["curl", "-m", "5"], timeout=0.01)


def test_a_pid_that_comes_in_pieces_after_a_banner() -> None:
    pieces = (b"Welcome to k8s-node1\nk8snet-pid 7", b"1", b"\nk8snet-pid 5\n", b"its own\n")
    result = run(ScriptedAccess(scripted(*pieces, status=1)), ["ip"], timeout=5)
    assert result == CommandResult(("ip",), 1, b"", b"k8snet-pid 5\nits own\n")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            126,
            'OCI runtime exec failed: exec failed: exec: "sh": executable file not found in $PATH: unknown',
        ),
        (127, "nsenter: failed to execute sh: No such file or directory"),
    ],
)
def test_a_place_without_a_shell(status: int, said: str) -> None:
    with fails(
        NoShell,
        f"k8s-node1 has no shell `sh`, by which commands are started: its last words: {said}",
    ):
        run(ScriptedAccess(scripted(said.encode(), status=status)), ["ip"], timeout=5)


def test_a_place_that_does_not_answer() -> None:
    said = b"Error response from daemon: No such container: k8s-node1\n"
    command = spawn(ScriptedAccess(scripted(said, status=1)), ["tcpdump"])
    with fails(
        NodeUnreachable,
        "tcpdump on k8s-node1 could not be started: the way there ended with exit status 1; "
        "its last words: Error response from daemon: No such container: k8s-node1",
    ):
        command.wait_for(b"listening", 5)
    with pytest.raises(NodeUnreachable, match="No such container"):
        command.stop()


def test_a_connection_that_breaks_on_the_way() -> None:
    process = scripted(b"k8snet-pid 71\n", NodeUnreachable("the stream ended"), status=137)
    access = ScriptedAccess(process, scripted())
    with fails(NodeUnreachable, "the stream ended"):
        run(access, ["curl"], timeout=5)
    assert "KILL" in access.asked[1][2]  # a broken stream does not end what it started
    assert process.closed


def test_a_capture(node: Counting) -> None:
    running = capture(node)
    running.wait_for(b"listening on", 10)
    asked: list[bytes] = []

    def done(report: bytes) -> bool:
        asked.append(report)
        return len(asked) == 3

    running.catch_up(done, 10)
    assert asked == [b"1 packets captured", b"2 packets captured", b"3 packets captured"]
    result = running.stop()
    assert (result.exit_status, result.stdout) == (0, b"\xd4\xc3\xb2\xa1")
    assert result.stderr == b"listening on eth1\n" + b"\n".join(asked) + b"\n0 packets dropped by kernel\n"
    assert running.stop() == result


def test_catching_up_ends_at_its_deadline(node: Counting) -> None:
    running = capture(node)
    running.wait_for(b"listening on", 10)
    running.catch_up(lambda report: False, 0.1)
    assert running.stop().exit_status == 0


def test_catching_up_with_one_that_says_nothing() -> None:
    process = scripted(b"k8snet-pid 71\n", status=None)
    command = spawn(ScriptedAccess(process, scripted()), ["tcpdump"])
    command.catch_up(lambda report: True, 0.02)
    process.status = 0
    assert command.stop().exit_status == 0


#: Says more than a pipe holds, then that it did, by a file; ends when it is told to.
TALKER = """
import signal, sys
for _ in range(64):
    sys.stdout.buffer.write(b"x" * 16384)
sys.stdout.flush()
sys.stderr.write("said\\n")
sys.stderr.flush()
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
signal.pause()
"""


def test_one_that_says_more_than_a_pipe_holds_goes_on(node: Counting) -> None:
    running = capture(node, TALKER)
    running.catch_up = running.wait_for = None  # type: ignore[method-assign, assignment] # neither is asked
    deadline = Deadline(20)
    while b"said" not in running.stderr and deadline.left:
        running.drain()
    assert running.stderr == b"said\n"
    assert len(running.stop().stdout) == 64 * 16384


def test_draining_waits_for_nothing_and_leaves_a_broken_connection_to_the_end() -> None:
    process = scripted(b"k8snet-pid 71\n", b"one\n", b"two\n", NodeUnreachable("the stream ended"), status=1)
    command = spawn(ScriptedAccess(process, scripted(), scripted()), ["tcpdump"])
    command.drain()
    assert command.stderr == b"one\ntwo\n"


def test_a_capture_that_ended_by_itself(node: Counting) -> None:
    running = spawn(node, ["sh", "-c", "echo tcpdump: eth7: No such device exists >&2; exit 1"])
    with fails(
        ClusterError,
        "sh on k8s-node1 ended with exit status 1 before it said 'listening on'; "
        "its last words: tcpdump: eth7: No such device exists",
    ):
        running.wait_for(b"listening on", 10)
    running.catch_up(lambda report: False, 10)
    assert running.stop().exit_status == 1
    assert len(node.started) == 1  # nobody was signalled


def test_a_capture_that_does_not_say_it_listens(node: Counting) -> None:
    running = capture(node)
    running.wait_for(b"listening on", 10)
    with fails(
        CommandTimeout,
        f"{sys.executable} on k8s-node1 did not say 'never said' within 0.1 s; "
        "its last words: listening on eth1",
    ):
        running.wait_for(b"never said", 0.1)
    running.stop()


def test_a_capture_that_does_not_heed_us_is_killed(node: Counting) -> None:
    running = capture(node, DEAF)
    running.wait_for(b"listening on", 10)
    result = running.stop(timeout=0.1)
    assert (result.exit_status, result.stdout) == (137, b"\xd4\xc3\xb2\xa1")
    assert result.stderr == b"listening on eth1\n"


def test_a_capture_that_nothing_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SIGNALLING", 0.01)
    process = scripted(b"k8snet-pid 71\n", b"listening\n", status=None)
    refused = scripted(b"sh: kill: (71) - Operation not permitted\n", status=1)
    access = ScriptedAccess(process, refused, scripted(status=1))
    with fails(
        CommandTimeout,
        "tcpdump on k8s-node1 (stopped) did not end within 0.01 s, could not be killed and may still run "
        "there; "
        "kill: its last words: sh: kill: (71) - Operation not permitted",
    ):
        spawn(access, ["tcpdump"]).stop(timeout=0.01)
    assert process.closed


def test_a_capture_that_never_said_its_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SIGNALLING", 0.01)
    with fails(
        CommandTimeout,
        "tcpdump on k8s-node1 (stopped) did not end within 0.01 s, could not be killed and may still run "
        "there; "
        "it did not say its process id",
    ):
        spawn(ScriptedAccess(scripted(status=None)), ["tcpdump"]).stop(timeout=0.01)


def test_one_that_is_let_go_is_gone(node: Counting) -> None:
    running = capture(node)
    running.wait_for(b"listening on", 10)
    running.release()
    running.release()
    assert node.started[0].exit_status == 137
