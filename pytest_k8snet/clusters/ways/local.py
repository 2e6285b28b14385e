"""Processes on this machine: what is run here, and the near end of ``docker exec``, ``ssh`` and the like."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from pytest_k8snet.clusters.base import ClusterError, CommandResult, CommandTimeout, Deadline
from pytest_k8snet.clusters.ways.remote import Access, Process, words

#: Seconds for a held process to end by itself once its standard input is closed.
LETTING_GO = 5.0
#: The most that a pipe holds (fs.pipe-max-size), so that one read takes all that is there. Two might never
#: end: a child that goes on may write faster than that.
PIPE_SIZE = 1 << 20


class LocalProcess(Process):
    """A child process in a session of its own: Ctrl-C at the terminal reaches pytest alone, which still has
    counters to read from its captures.

    ``held``: its standard input stays open until :meth:`close`, or until this process ends, whatever ends
    it. A program that reads to the end of its input (``cat``) lives exactly as long.
    """

    def __init__(self, argv: Sequence[str], *, stdin: bytes = b"", held: bool = False) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.exit_status = None
        self._held = held
        self._unsent = memoryview(stdin)
        try:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise ClusterError(f"{argv[0]} is not on PATH of this machine: install it") from None
        except OSError as error:
            raise ClusterError(f"{argv[0]} can't be started on this machine: {error.strerror}") from error
        self._selector = selectors.DefaultSelector()
        self._handle = _handle(self._child.pid)
        if self._handle is not None:
            self._selector.register(self._handle, selectors.EVENT_READ)
        assert self._child.stdin
        assert self._child.stdout
        assert self._child.stderr
        self._open: dict[IO[bytes], bytearray] = {
            self._child.stdout: self.stdout,
            self._child.stderr: self.stderr,
        }
        for pipe in self._open:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ)
        if stdin:
            os.set_blocking(self._child.stdin.fileno(), False)
            self._selector.register(self._child.stdin, selectors.EVENT_WRITE)
        elif not held:
            self._child.stdin.close()

    def pump(self, timeout: float) -> None:
        deadline = Deadline(timeout)
        news = False
        while not news and self.exit_status is None:
            if self._handle is None and not self._open:
                # A kernel without pidfds (before 5.3): the end of its output announces its own.
                with suppress(subprocess.TimeoutExpired):
                    self._child.wait(deadline.left)
                    self._end()
                return
            ready = {key.fileobj for key, _ in self._selector.select(deadline.left)}
            if not ready:
                return
            if self._child.stdin in ready:
                self._send()
            for pipe, said in list(self._open.items()):
                if pipe in ready:
                    news |= self._take(pipe, said)
            if self._handle in ready:
                self._end()

    def close(self) -> None:
        if self._child.returncode is None:
            assert self._child.stdin
            if self._held:
                self._child.stdin.close()
                with suppress(subprocess.TimeoutExpired):
                    self._child.wait(LETTING_GO)
            if self._child.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._child.pid, signal.SIGKILL)
                self._child.wait()
        self._let_go()

    def _send(self) -> None:
        assert self._child.stdin
        try:
            self._unsent = self._unsent[os.write(self._child.stdin.fileno(), self._unsent[:65536]) :]
        except BrokenPipeError:  # it reads no further, as `head` does
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._selector.unregister(self._child.stdin)
            self._child.stdin.close()

    def _take(self, pipe: IO[bytes], said: bytearray) -> bool:
        """Take what is in one pipe now; whether that was anything."""
        try:
            piece = os.read(pipe.fileno(), PIPE_SIZE)
        except BlockingIOError:
            return False
        said += piece
        if not piece:
            self._selector.unregister(pipe)
            del self._open[pipe]
            pipe.close()
        return bool(piece)

    def _end(self) -> None:
        # What it left in its pipes is taken; a child of its own may hold them open for ever.
        for pipe, said in list(self._open.items()):
            self._take(pipe, said)
        status = self._child.wait()
        self.exit_status = 128 - status if status < 0 else status
        self._let_go()

    def _let_go(self) -> None:
        for pipe in (self._child.stdin, *self._open):
            assert pipe
            pipe.close()
        self._open.clear()
        self._selector.close()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class LocalAccess(Access):
    """Starts ``prefix`` + argv on this machine: with no prefix here, with ("docker", "exec", ...) there."""

    def __init__(self, place: str, prefix: Sequence[str] = ()) -> None:
        self.place = place
        self.prefix = tuple(prefix)

    def start(self, argv: Sequence[str], *, stdin: bytes = b"") -> Process:
        return LocalProcess([*self.prefix, *argv], stdin=stdin)


def call(argv: Sequence[str], *, timeout: float) -> CommandResult:
    """Run a program of this machine (docker, ssh) to its end, with the user's environment and no shell.

    A non-zero exit status is a result. Raises ClusterError where it is not installed, and CommandTimeout
    after ``timeout`` seconds; it is killed then.
    """
    process = LocalProcess(argv)
    try:
        deadline = Deadline(timeout)
        while process.exit_status is None and deadline.left:
            process.pump(deadline.left)
    finally:
        process.close()
    if process.exit_status is None:
        said = words(process.stderr or process.stdout)
        raise CommandTimeout(f"{' '.join(argv)} did not end within {timeout:g} s; {said}")
    return CommandResult(tuple(argv), process.exit_status, bytes(process.stdout), bytes(process.stderr))


def _handle(pid: int) -> int | None:
    """A file that becomes readable at the end of child ``pid``; None where the kernel has none."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
