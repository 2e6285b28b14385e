"""The launcher: what a killed run left is swept, what lives is left alone."""

from __future__ import annotations

import fcntl
from pathlib import Path

from pytest_k8snet.embedded import launcher


def folder(parent: Path, name: str, *, lock: bool = True) -> Path:
    made = parent / name
    made.mkdir()
    (made / "console").write_text("said")
    if lock:
        (made / "lock").touch()
    return made


def test_the_folder_of_a_killed_launcher_is_removed(tmp_path: Path) -> None:
    left = folder(tmp_path, "k8snet-dead")
    launcher.sweep(str(tmp_path))
    assert not left.exists()


def test_the_folder_of_a_running_launcher_stays(tmp_path: Path) -> None:
    alive = folder(tmp_path, "k8snet-alive")
    with (alive / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        launcher.sweep(str(tmp_path))
        assert (alive / "console").exists()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    strangers = [folder(tmp_path, "other-thing"), folder(tmp_path, "k8snet-notes", lock=False)]
    (tmp_path / "k8snet-link").symlink_to(strangers[0])
    launcher.sweep(str(tmp_path))
    assert all(stranger.exists() for stranger in strangers)
    assert (strangers[0] / "lock").exists()


def test_user_mode_linux_gets_a_root_that_it_cannot_write() -> None:
    argv = launcher.command(
        {
            "kernel": "uml",
            "python": "/usr/bin/python3",
            "agent": "agent.py",
            "stream": [3, 4],
            "linux": "linux.uml",
            "memory": "192M",
        },
        "/tmp/folder",
        "/tmp/folder/agent.json",
    )
    assert "ro" in argv
    assert "ssl0=fd:3,fd:4" in argv
    assert argv[-6:] == ["--", "-I", "-S", "agent.py", "uml", "/tmp/folder/agent.json"]
