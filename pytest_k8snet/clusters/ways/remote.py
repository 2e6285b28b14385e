"""Processes that run elsewhere: in a node, a probe pod, a container; started, read, signalled, ended.

Neither ``docker exec`` nor ``ssh`` nor the API's exec passes on a signal, and a process outlives the
connection that started it. So each one announces its process id before anything else, and is signalled by
a second process that is started the same way: in the same PID namespace, so that both mean the same by it.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

from pytest_k8snet.clusters.base import (
    ClusterError,
    CommandResult,
    CommandTimeout,
    Deadline,
    NodeUnreachable,
    RunningCommand,
)

#: Where nodes keep programs that a process brought there by nsenter or sudo does not have on its PATH:
#: Flatcar, snap, Container-Optimized OS, RKE2, k3s, NixOS. After those that are on it.
PATH = (
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin:/snap/bin:/home/kubernetes/bin"
    ":/var/lib/rancher/rke2/bin:/var/lib/rancher/k3s/data/current/bin:/run/current-system/sw/bin"
)
#: Numbers and texts in the one form that parsers know, whatever the place's own environment. It is one line
#: without "!": a csh at the other end of ssh takes no others in quotes.
_ENVIRONMENT = f'PATH="${{PATH:+$PATH:}}{PATH}"; LC_ALL=C; LANG=C; TZ=UTC; export PATH LC_ALL LANG TZ; '
_BEGIN = 'echo "k8snet-pid $$" >&2; exec "$@"'
_ANNOUNCEMENT = re.compile(rb"^k8snet-pid ([0-9]{1,10})\r?\n", re.MULTILINE)

_SIGNAL = 'kill -s "$2" "$1"'
#: Its children too. Stopped first: a shell whose command dies would begin the next one.
_KILL = (
    'end() { kill -s STOP "$1"; for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do end "$child"; '
    'done; kill -s KILL "$1"; }; end "$1"'
)
#: Seconds for a signal to be sent, and for a killed process to be seen to end.
SIGNALLING = 10.0
NOT_STARTED = (126, 127)  #: exit status for a program that can't be run: a shell's, docker's, the API's
#: runc's (by docker or the API), crun's, nsenter's and a shell's words for it.
_NO_FILE = re.compile("not found|no such file", re.IGNORECASE)


class Process(abc.ABC):
    """One process that was started elsewhere: what it said so far, and its end."""

    stdout: bytearray
    stderr: bytearray
    #: None while it runs; as a shell's ``$?`` (128+N when killed by signal N), once all it said is taken in.
    exit_status: int | None = None

    @abc.abstractmethod
    def pump(self, timeout: float) -> None:
        """Take in what it said, until there is something new, its end, or ``timeout`` seconds (0: look only).

        Raises :class:`~pytest_k8snet.clusters.base.NodeUnreachable` when the connection to it broke.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the connection. Says nothing of the process itself. Idempotent."""


class Access(abc.ABC):
    """A way to start processes in one place."""

    place: str  #: as errors name it: "k8s-node1", "pod pod-src, container container"

    @abc.abstractmethod
    def start(self, argv: Sequence[str], *, stdin: bytes = b"") -> Process:
        """Start ``argv`` there, nothing pasted into a shell.

        Raises :class:`~pytest_k8snet.clusters.base.ClusterError`, one clear line, where it can't be started.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what this way holds: a connection, a container. Idempotent."""


class NoShell(ClusterError):
    """A place has no ``sh``, which every command is started by."""


def run(
    access: Access, argv: Sequence[str], *, timeout: float, stdin: bytes = b"", prepare: str = ""
) -> CommandResult:
    """Run to the end; a program that is not there is exit status 127. Nothing stays behind.

    ``prepare`` is for the shell that starts it, "; " at its end: more of its environment.
    Raises CommandTimeout after ``timeout`` seconds (the process and its children are killed), NodeUnreachable
    when the place does not answer, :class:`NoShell`.
    """
    command = RemoteCommand(access, argv, stdin, prepare=prepare)
    try:
        if not command.ends(timeout):
            gone = "" if command.kill() else "; it could not be killed and may still run there"
            raise CommandTimeout(
                f"{' '.join(argv)} on {access.place} did not end within {timeout:.3g} s; "
                f"{words(command.stderr or command.stdout)}{gone}"
            )
        return command.result()
    finally:
        command.release()


def spawn(access: Access, argv: Sequence[str], *, prepare: str = "") -> RemoteCommand:
    """Start and return at once; that it could not start shows when it is waited for or stopped."""
    return RemoteCommand(access, argv, prepare=prepare)


class RemoteCommand(RunningCommand):
    """A command under way. Whoever starts one stops it, or at least :meth:`release`\\ s it."""

    def __init__(self, access: Access, argv: Sequence[str], stdin: bytes = b"", *, prepare: str = "") -> None:
        self._access = access
        self._argv = tuple(argv)
        self._what = f"{self._argv[0]} on {access.place}"
        self._pid = ""  #: "" until it is announced
        self._begin = 0  #: where on standard error its own words begin
        self._killed = False
        self.released = False
        script = _ENVIRONMENT + prepare + _BEGIN
        self._process = access.start(("sh", "-c", script, "sh", *self._argv), stdin=stdin)

    @property
    def stdout(self) -> bytes:
        return bytes(self._process.stdout)

    @property
    def stderr(self) -> bytes:
        """Its own words: what stands before the announcement, the way there said (ssh's banner)."""
        return bytes(self._process.stderr[self._begin :]) if self._pid else b""

    def wait_for(self, text: bytes, timeout: float) -> None:
        deadline = Deadline(timeout)
        while text not in self.stderr:
            if self._ended:
                self._check_started()
                raise ClusterError(
                    f"{self._what} ended with exit status {self._process.exit_status} before it said "
                    f"{text.decode()!r}; {words(self.stderr)}"
                )
            if not deadline.left:
                raise CommandTimeout(
                    f"{self._what} did not say {text.decode()!r} within {timeout:.3g} s; {words(self.stderr)}"
                )
            self._pump(deadline.left)

    def catch_up(self, done: Callable[[bytes], bool], timeout: float) -> None:
        deadline = Deadline(timeout)
        # Its words come in pieces, and an answer may follow the next question: only whole lines count.
        while not self._ended and deadline.left:
            known = len(self._lines)
            self._signal(_SIGNAL, "USR1", deadline)
            while not self._ended and len(self._lines) == known and deadline.left:
                self._pump(deadline.left)
            if len(self._lines) > known and done(self._lines[-1]):
                return

    def drain(self) -> None:
        known = -1
        with suppress(ClusterError):
            while not self._ended and len(self._process.stdout) + len(self._process.stderr) != known:
                known = len(self._process.stdout) + len(self._process.stderr)
                self._pump(0)

    def stop(self, timeout: float = 10.0) -> CommandResult:
        """See :meth:`RunningCommand.stop`. One that does not heed SIGINT is killed: exit status 137."""
        try:
            self._pump(0)
            if not self._ended:
                failure = self._signal(_SIGNAL, "INT", Deadline(SIGNALLING))
                if not self.ends(timeout) and not self.kill():
                    raise CommandTimeout(
                        f"{self._what} (stopped) did not end within {timeout:.3g} s, could not be killed "
                        f"and may still run there; {failure or words(self.stderr)}"
                    )
            return self.result()
        finally:
            self.release()

    def ends(self, timeout: float) -> bool:
        """Whether it ended, ``timeout`` seconds from now at the latest."""
        deadline = Deadline(timeout)
        while not self._ended and deadline.left:
            self._pump(deadline.left)
        return self._ended

    def kill(self) -> bool:
        """Kill it and its children (SIGKILL); whether it is seen to end."""
        self._killed = True
        with suppress(ClusterError):
            self._signal(_KILL, "", Deadline(SIGNALLING))
            self.ends(SIGNALLING)
        return self._ended

    def release(self) -> None:
        """Leave nothing behind: killed if it runs, its connection closed. Idempotent."""
        try:
            if not self._ended and not self._killed:
                self.kill()
        finally:
            self._process.close()
            self.released = True

    def result(self) -> CommandResult:
        """What it said, now that it :meth:`ended <ends>`. Raises as :func:`run` where it never began."""
        self._check_started()
        assert self._process.exit_status is not None
        return CommandResult(self._argv, self._process.exit_status, self.stdout, self.stderr)

    @property
    def _lines(self) -> list[bytes]:
        """What it said on standard error, as far as lines are whole."""
        return self.stderr.split(b"\n")[:-1]

    @property
    def _ended(self) -> bool:
        return self._process.exit_status is not None

    def _pump(self, timeout: float) -> None:
        self._process.pump(timeout)
        if not self._pid:
            announced = _ANNOUNCEMENT.search(self._process.stderr)
            if announced:
                self._pid = announced[1].decode()
                self._begin = announced.end()

    def _check_started(self) -> None:
        if self._pid:
            return
        status = self._process.exit_status
        said = words(self._process.stderr or self._process.stdout)
        if status in NOT_STARTED and _NO_FILE.search(said):
            raise NoShell(f"{self._access.place} has no shell `sh`, by which commands are started: {said}")
        raise NodeUnreachable(
            f"{self._what} could not be started: the way there ended with exit status {status}; {said}"
        )

    def _signal(self, script: str, name: str, deadline: Deadline) -> str:
        """Signal it by a second process: why that failed, "" when it did not."""
        while not self._pid and not self._ended and deadline.left:
            self._pump(deadline.left)
        if self._ended:
            return ""
        if not self._pid:
            return "it did not say its process id"
        sender = self._access.start(("sh", "-c", script, "sh", self._pid, name))
        try:
            while sender.exit_status is None and deadline.left:
                sender.pump(deadline.left)
        finally:
            sender.close()
        return f"kill: {words(sender.stderr)}" if sender.exit_status else ""


def words(said: bytes | bytearray) -> str:
    """The last line of what was said, for an error message."""
    lines = said.decode(errors="backslashreplace").strip().splitlines()
    return f"its last words: {lines[-1].strip()}" if lines else "it said nothing"
