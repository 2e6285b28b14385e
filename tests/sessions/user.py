"""Somebody who types ``pytest --k8snet ...`` in a folder of theirs, and reads what comes of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakeapi import FakeCluster

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 100.0  #: seconds for one session; on a quiet machine none takes five
#: What never reaches a user. "Exception ignored": in a destructor, a thread or at exit.
_CRASH = re.compile(
    r"Traceback|INTERNALERROR|Exception ignored|Warning: |warnings summary|^Exception in ", re.MULTILINE
)


#: Without the plugins that only this environment has, and as strict as a user may be.
_OWN = ("-p", "no:hypothesispytest", "-p", "no:cacheprovider", "-W", "error", "--color=no", "--k8snet")


@dataclass(frozen=True)
class Ended:
    """How one session ended."""

    status: int
    out: str
    err: str

    @property
    def refused(self) -> str:
        """The one line of a session that did not start."""
        assert (self.status, self.out.strip()) == (4, ""), self.out + self.err
        (line,) = self.err.strip().splitlines()
        return line.removeprefix("ERROR: ").removeprefix("--k8snet: ")

    @property
    def told(self) -> list[str]:
        """What is said of claims that are not held: "INCONCLUSIVE: pause/one-sandbox: ..."."""
        return re.findall(r"^(?:BROKEN|INCONCLUSIVE): .*$", self.out, re.MULTILINE)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def counts(self) -> dict[str, int]:
        """pytest's last line: {"passed": 9, "inconclusive": 1}."""
        (found,) = re.findall(r"^=+ (.*) in [\d.]+s.* =+$", self.out, re.MULTILINE)
        return {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", found)}


class Session:
    """One session under way. ``process`` and all that it starts are a process group of their own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            (sys.executable, "-m", "pytest", "-p", "tests.sessions.brisk", *_OWN, *arguments),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it: to all of them."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> Ended:
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        return _ended(self.process.returncode, out, err)


@dataclass(frozen=True)
class User:
    """Sessions run in this process, which saves most of their time; those of :meth:`start` in their own."""

    pytester: pytest.Pytester

    @property
    def folder(self) -> Path:
        return self.pytester.path

    def run(self, *arguments: str) -> Ended:
        result = self.pytester.runpytest_inprocess(*_OWN, *arguments)
        return _ended(int(result.ret), result.stdout.str(), result.stderr.str())

    def judge(self, fake: FakeCluster, *arguments: str) -> Ended:
        """The fake cluster, as its administrator."""
        return self.run(*self._named(fake), *arguments)

    def start(self, fake: FakeCluster, *arguments: str) -> Session:
        return Session(self.folder, *self._named(fake), *arguments)

    def _named(self, fake: FakeCluster) -> tuple[str, str]:
        kubeconfig = fake.kubeconfig(self.folder / "kubeconfig")
        return f"--k8snet-kubeconfig={kubeconfig}", "--k8snet-context=fake"


def _ended(status: int, out: str, err: str) -> Ended:
    assert _CRASH.search(out + err) is None, out + err
    return Ended(status, out, err)
