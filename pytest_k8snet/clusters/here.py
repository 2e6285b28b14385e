"""The machine that runs pytest, while a cluster is watched: its clock, its beats, the user's command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pytest_k8snet.clusters.base import ClusterError, Deadline
from pytest_k8snet.evidence.outage import INTERVAL, LATE, Beat, Watched

TAIL = 8192  #: bytes of the command's last words that are kept
STEP = 0.05  #: seconds between two looks at whether the command has ended
#: Control sequences of a terminal: CSI, then OSC (ECMA-48, 5.4 and 8.3.89).
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\\\)?")
ENDING = 5.0  #: seconds for a command to end on SIGINT, and as many on SIGTERM; it is killed then


@dataclass
class Heart:
    """The beats of this machine, from a thread's start to its end."""

    now: Callable[[], float]  #: seconds since the epoch
    beaten: int = 0
    late: list[Beat] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began = self.now()

    def until_now(self) -> Watched:
        return Watched((), tuple(self.late), self.began, self.now(), self.beaten)


class Here:
    """Runs ``command`` by a shell, as its user would type it; the watch says when."""

    def __init__(self, command: str) -> None:
        self.text = command
        self._ran = False
        self._zero = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch, by a clock that nobody sets meanwhile."""
        return self._zero + time.monotonic()

    @contextmanager
    def beating(self) -> Iterator[Heart]:
        """A thread beats while the block runs, as the clients on the nodes do."""
        heart = Heart(self.now)
        ended = threading.Event()
        thread = threading.Thread(target=_beat, args=(heart, ended), name="k8snet-heart", daemon=True)
        thread.start()
        try:
            yield heart
        finally:
            ended.set()
            thread.join()

    def run(self, meanwhile: Callable[[], None]) -> tuple[int, str]:
        """The command to its end: exit status, as a shell's ``$?``, and its last words.

        ``meanwhile`` is called again and again. What the command leaves running in the background goes on;
        but when an exception ends this (Ctrl-C), everything in its process group is ended. Raises
        ClusterError where there is no shell, and when it ran already: no upgrade is run twice.
        """
        if self._ran:
            raise ClusterError("it ran already")
        self._ran = True
        # A file without a name, not a pipe: a command that says much never waits for us, and one that it left
        # in the background may still say something when we are gone.
        with tempfile.TemporaryFile() as said:
            try:
                child = subprocess.Popen(
                    ("/bin/sh", "-c", self.text),
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise ClusterError(f"/bin/sh can't be started on this machine: {error.strerror}") from error
            try:
                while _runs(child):
                    meanwhile()
            except BaseException:
                _end(child)
                raise
            # Not by its position: that is the command's too.
            tail = os.pread(said.fileno(), TAIL, max(0, os.fstat(said.fileno()).st_size - TAIL))
        status = child.returncode
        return (128 - status if status < 0 else status), _legible(tail)


def _beat(heart: Heart, ended: threading.Event) -> None:
    began = due = time.monotonic()
    while not ended.wait(max(0.0, due - time.monotonic())):
        late = time.monotonic() - due
        heart.beaten += 1
        if late >= LATE:
            heart.late.append(Beat("", heart.began + due - began, late))
        due += INTERVAL * (1 + int(late / INTERVAL))


def _runs(child: subprocess.Popen[bytes]) -> bool:
    """Whether it still does after a moment."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(STEP)
    return child.returncode is None


def _legible(said: bytes) -> str:
    """Without colours and what else a terminal obeys: this is shown, kept and put into XML."""
    text = _TERMINAL.sub("", said.decode(errors="replace")).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(letter for letter in text if letter in "\n\t" or letter.isprintable()).strip()


def _end(child: subprocess.Popen[bytes]) -> None:
    """Interrupt the command and all it started, and wait for it; kill what does not heed it. What runs as
    another user (sudo) can only be left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        deadline = Deadline(ENDING)
        while deadline.left:
            with suppress(subprocess.TimeoutExpired):
                child.wait(STEP)
            try:
                os.killpg(child.pid, 0)  # the shell may be gone and a child of it not
            except ProcessLookupError:
                return
            except PermissionError:
                if child.returncode is not None:
                    return
            time.sleep(STEP)
