"""Processes of this machine: what they say, how they end, and that nothing of them stays."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pytest_k8snet.clusters.base import ClusterError, CommandTimeout
from pytest_k8snet.clusters.ways import local
from pytest_k8snet.clusters.ways.local import LocalAccess, LocalProcess, call


def to_the_end(process: LocalProcess) -> LocalProcess:
    while process.exit_status is None:
        process.pump(10)
    process.close()
    return process


def start(script: str, *, stdin: bytes = b"", held: bool = False) -> LocalProcess:
    return LocalProcess(["sh", "-c", script], stdin=stdin, held=held)


def gone(pid: int) -> bool:
    """Whether process ``pid`` ends soon: a killed one needs a moment, and more on a busy machine."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10)[0])
    finally:
        os.close(handle)


def test_output_is_kept_apart_and_whole() -> None:
    ended = to_the_end(start("printf 'a\\000b'; echo words >&2; exit 3"))
    assert (bytes(ended.stdout), bytes(ended.stderr), ended.exit_status) == (b"a\0b", b"words\n", 3)


def test_more_than_a_pipe_holds_both_ways() -> None:
    given = bytes(range(256)) * 4096  # 1 MiB
    assert bytes(to_the_end(start("cat", stdin=given)).stdout) == given


def test_what_is_not_read_of_its_input_is_no_error() -> None:
    ended = to_the_end(start("head -c 3; exec 0<&-; echo more", stdin=b"abc" * 500_000))
    assert bytes(ended.stdout) == b"abcmore\n"


def test_nothing_given_is_an_input_at_its_end() -> None:
    assert bytes(to_the_end(start("cat; echo end")).stdout) == b"end\n"


def test_a_signal_is_a_status_above_128() -> None:
    assert to_the_end(start("kill -KILL $$")).exit_status == 137


def test_it_runs_in_a_session_of_its_own() -> None:
    # Field 6 of /proc/PID/stat is the session, which for its leader is its own process id.
    ended = to_the_end(
        start("read pid comm state parent group session rest </proc/$$/stat; echo $$ $session")
    )
    pid, session = ended.stdout.split()
    assert pid == session


@pytest.mark.parametrize("pidfd", [True, False])
def test_news_come_as_they_are_said(pidfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not pidfd:
        monkeypatch.setattr(os, "pidfd_open", lambda pid: os.open("/nowhere", os.O_RDONLY))
    process = start("echo one; read line; echo two; exec >&- 2>&-; read line; exit 4", held=True)
    with closing(process):
        process.pump(10)
        assert bytes(process.stdout) == b"one\n"
        process.pump(0)
        assert (bytes(process.stdout), process.exit_status) == (b"one\n", None)
        assert process._child.stdin
        process._child.stdin.write(b"\n")
        while b"two" not in process.stdout:
            process.pump(10)
        process.pump(0.01)
        assert process.exit_status is None
        process._child.stdin.write(b"\n")
        to_the_end(process)
        assert process.exit_status == 4
        process.pump(10)  # it has ended: returns at once


def test_a_child_that_holds_the_pipes_open_does_not_hold_us_up() -> None:
    ended = to_the_end(start("sleep 60 & echo $!"))
    os.kill(int(ended.stdout), 9)
    assert ended.exit_status == 0


def test_closing_ends_it_and_its_children() -> None:
    process = start("sleep 60 & echo $!; wait")
    process.pump(10)
    process.close()
    process.close()
    assert gone(process._child.pid)
    assert gone(int(process.stdout))


def test_a_held_process_lives_until_it_is_let_go() -> None:
    process = start("cat; echo ended >&2", held=True)
    process.pump(0.01)
    assert process.exit_status is None
    process.close()
    assert process._child.returncode == 0


def test_a_held_process_that_does_not_go_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LETTING_GO", 0.01)
    process = start("exec sleep 60", held=True)
    process.close()
    assert process._child.returncode == -9


def test_it_dies_with_whoever_holds_it() -> None:
    # By SIGKILL, so that nothing of ours can tidy up.
    script = (
        "import os; from pytest_k8snet.clusters.ways.local import LocalProcess;"
        "held = LocalProcess(['cat'], held=True); print(held._child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert said.returncode == -9
    assert gone(int(said.stdout))


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(ClusterError) as raised:
        LocalAccess("k8s-node1", ("no-such-docker", "exec")).start(["ip", "addr"])
    assert str(raised.value) == "no-such-docker is not on PATH of this machine: install it"


def test_a_program_that_can_not_be_run(tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as raised:
        LocalProcess([str(tmp_path)])
    assert str(raised.value) == f"{tmp_path} can't be started on this machine: Permission denied"


def test_a_call() -> None:
    result = call(["sh", "-c", "echo out; echo words >&2; exit 2"], timeout=10)
    assert (result.exit_status, result.stdout, result.stderr) == (2, b"out\n", b"words\n")
    assert result.argv == ("sh", "-c", "echo out; echo words >&2; exit 2")


def test_a_call_that_does_not_end() -> None:
    with pytest.raises(CommandTimeout) as raised:
        call(["sh", "-c", "echo pulling >&2; exec sleep 60"], timeout=1)
    assert str(raised.value) == (
        "sh -c echo pulling >&2; exec sleep 60 did not end within 1 s; its last words: pulling"
    )
