"""The user's command, and the beats of the machine that runs it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pytest_k8snet.clusters import here
from pytest_k8snet.clusters.base import ClusterError, Deadline
from pytest_k8snet.clusters.here import Here


def nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("echo one; echo two >&2", 0, "one\ntwo"),
        ("echo $((1 + 1)) | tr 2 4; exit 3", 3, "4"),
        ("kill -TERM $$", 143, ""),
        ("no-such-program", 127, "/bin/sh: 1: no-such-program: not found"),
        ("cat", 0, ""),  # nobody types into it
    ],
)
def test_a_command_as_a_user_types_it(command: str, status: int, words: str) -> None:
    assert Here(command).run(nothing) == (status, words)


def test_only_its_last_words_are_kept() -> None:
    _, said = Here("seq 20000; echo end").run(nothing)
    assert said.endswith("20000\nend")
    assert len(said) <= here.TAIL


def test_what_a_terminal_obeys_is_not_kept() -> None:
    command = r"printf '\033[1;31mred\033[0m\033]0;title\007 10%%\r20%%\r\n\000\377\b\tend\n'"
    assert Here(command).run(nothing) == (0, "red 10%\n20%\n\ufffd\tend")


def test_no_command_is_run_twice(tmp_path: Path) -> None:
    machine = Here(f"echo ran >> {tmp_path}/log")
    machine.run(nothing)
    with pytest.raises(ClusterError, match=r"^it ran already$"):
        machine.run(nothing)
    assert (tmp_path / "log").read_text() == "ran\n"


def test_a_clock_that_is_set_meanwhile_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Here("true")
    with machine.beating() as heart:
        before = machine.now()
        monkeypatch.setattr("pytest_k8snet.clusters.here.time.time", lambda: before + 3600)
        assert before <= machine.now() < before + 60
        assert heart.until_now().ended < before + 60


def test_an_interrupt_stays_one_where_the_command_may_not_be_signalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """sudo runs as another user."""

    def refuse(group: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_k8snet.clusters.here.os.killpg", refuse)
    with pytest.raises(KeyboardInterrupt):
        Here("sleep 0.2").run(interrupt)


def test_what_it_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    _, said = Here(f"sleep 60 & echo $! > {tmp_path}/pid; echo done").run(nothing)
    left = int((tmp_path / "pid").read_text())
    try:
        assert said == "done"
        os.kill(left, 0)  # it goes on
    finally:
        os.kill(left, signal.SIGKILL)


def test_what_it_leaves_in_the_background_may_still_speak(tmp_path: Path) -> None:
    speaks = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo late && echo > {tmp_path}/spoke"
    _, said = Here(f"({speaks}) & echo done").run(nothing)
    assert said == "done"
    (tmp_path / "go").touch()
    deadline = Deadline(10)
    while not (tmp_path / "spoke").exists() and deadline.left:
        time.sleep(0.05)
    assert (tmp_path / "spoke").exists()


def gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("command", ["sleep 60", "trap '' INT TERM; sleep 60; sleep 60"])
def test_an_interrupt_ends_it_and_all_that_it_started(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "ENDING", 0.3)
    begun = tmp_path / "pids"

    def interrupt() -> None:
        if begun.exists() and begun.read_text().count("\n") == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Here(f"sleep 61 & (echo $!; echo $$) > {begun}; {command}").run(interrupt)
    pids = [int(pid) for pid in begun.read_text().split()]
    for _ in range(100):
        if all(map(gone, pids)):
            return
        time.sleep(0.02)
    pytest.fail(f"still there: {pids}")


def test_a_machine_without_a_shell_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("pytest_k8snet.clusters.here.subprocess.Popen", refuse)
    with pytest.raises(ClusterError, match=r"^/bin/sh can't be started on this machine: No such file"):
        Here("true").run(nothing)


def test_it_beats_while_the_block_runs_and_no_longer() -> None:
    machine = Here("true")
    with machine.beating() as heart:
        while heart.until_now().beaten < 3:
            time.sleep(0.02)
    watched = heart.until_now()
    assert watched.began <= machine.now() <= watched.ended + 1
    beaten = heart.beaten
    time.sleep(0.12)
    assert heart.beaten == beaten
