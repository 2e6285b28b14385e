"""The clients of an outage watch, on the nodes: ``outage_client.py``, started, asked, stopped, read."""

from __future__ import annotations

import base64
import importlib.resources
import re
import shlex
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from pytest_k8snet.clusters.base import Cluster, ClusterError, CommandResult, Node, RunningCommand
from pytest_k8snet.evidence import outage
from pytest_k8snet.evidence.outage import PathWatched, Watched
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.probes.commands import NOT_FOUND, derive, failed, failed_as, unreached

PROGRAM = "outage_client.py"
#: What runs it: on PATH; where RHEL 8 keeps one; where the reference network does.
PYTHONS = ("python3", "/usr/libexec/platform-python", "/run/k8snet/python")
#: What nsenter says of a program that is not there: util-linux's (old ones with exit status 1), BusyBox's.
_NO_PROGRAM = re.compile(rb"failed to execute|can't execute")
READY = b"watching"
ANSWERING = 3.0  #: seconds for it to say how it goes

_GONE = (
    "an upgrade that restarts the API server or kubelet also breaks the way to probe pods: "
    "watch it with --k8snet-node-access=ssh"
)


@dataclass(frozen=True)
class Word:
    """How one path and kind went so far."""

    stream: str  #: "pod/new"
    finished: int
    lost: int
    calm: float  #: seconds since the last trouble


@dataclass(frozen=True)
class Progress:
    now: float  #: by the client's clock, seconds since the epoch
    words: tuple[Word, ...]


def _packed() -> str:
    """The program as one line of itself unpacked. The API's exec takes a command as part of a URL, and what
    stands before an API server may refuse one of 8 KB (nginx's default) or more."""
    source = importlib.resources.files(__package__).joinpath(PROGRAM).read_bytes()
    packed = base64.urlsafe_b64encode(zlib.compress(source, 9)).decode()
    return f"import base64,zlib;exec(zlib.decompress(base64.urlsafe_b64decode('{packed}')))"


class Watcher:
    """One client process on ``node``. ``inside`` goes before its command: nsenter's words, or none."""

    def __init__(
        self,
        cluster: Cluster,
        node: Node,
        inside: Reading[tuple[str, ...]],
        token: str,
        paths: Sequence[PathWatched],
    ) -> None:
        self.node = node
        self.paths = tuple(paths)
        self.command = ""  #: as a person would read it
        self.said: Reading[Watched] = Reading(node.name, "", failure="it was not started")
        self._cluster = cluster
        self._inside = inside
        settings = (outage.INTERVAL, outage.LIMIT, outage.PATIENCE, outage.LATE)
        self._words = [token, *(f"{setting:g}" for setting in settings)]
        for path in paths:
            ports = outage.HELD_PORTS[path.path]
            asked = (path.path, path.asked_ip, path.asked_port, ports.start, len(ports))
            self._words += map(str, asked)
        self._running: RunningCommand | None = None

    def start(self) -> None:
        """Begin to send; where that can't be, :attr:`said` says why."""
        if self._inside.failure or self._inside.value is None:
            self.said = failed_as(self._inside)
            return
        for python in PYTHONS:
            self._start((*self._inside.value, python))
            if not self._missing:
                return
        self.said = Reading(
            self.node.name,
            self.command,
            failure=f"there is no python3 on {self.node.name}, which the client is written in",
            advice=f"install it there, or in the probe image (looked for: {', '.join(PYTHONS[:2])})",
        )

    def _start(self, prefix: tuple[str, ...]) -> None:
        argv = (*prefix, "-c", _packed(), *self._words)
        # Kept under its name: its text would be most of a bundle's records, and none that was recorded by an
        # earlier version could be replayed.
        kept = (*prefix, PROGRAM, *self._words)
        self.command = shlex.join(kept)
        self._missing = False
        try:
            running = self.node.spawn(*argv, known_as=kept)
        except ClusterError as error:
            self.said = unreached(self.node.name, self.command, error)
            return
        try:
            running.wait_for(READY, self._cluster.patience.listening)
        except ClusterError as error:
            self.said = unreached(self.node.name, self.command, error)
            with suppress(ClusterError):
                result = running.stop()
                self._missing = _NO_PROGRAM.search(result.stderr) is not None
                if result.exit_status == NOT_FOUND and not self._missing:
                    self._missing = "nsenter" not in prefix
                    self.said = failed(self.node.name, self.command, result)
        except BaseException:
            running.stop()
            raise
        else:
            self._running = running
            self.said = Reading(self.node.name, self.command)

    def ask(self) -> Progress | None:
        """How it goes; None where it does not say. What it printed meanwhile is taken in, too."""
        said: deque[bytes] = deque(maxlen=1)

        def once(line: bytes) -> bool:
            said.append(line)
            return True

        if self._running is not None:
            with suppress(ClusterError):  # its end will tell
                self._running.drain()  # an answer that came too late is none to this question
                self._running.catch_up(once, ANSWERING)
        return parse_progress(said[0]) if said else None

    def stop(self) -> None:
        """Let it end, and read what it said. Idempotent."""
        running, self._running = self._running, None
        if running is None:
            return
        try:
            result = running.stop()
        except ClusterError as error:
            self.said = unreached(self.node.name, self.command, error)
            self.said = Reading(self.node.name, self.command, failure=self.said.failure, advice=_GONE)
            return
        self.said = derive(self._ended(result), lambda said: outage.parse_watched(said, self.node.name))

    def _ended(self, result: CommandResult) -> Reading[bytes]:
        if result.exit_status:
            return failed(self.node.name, self.command, result)
        return Reading(self.node.name, self.command, result.stdout)


@contextmanager
def watching(watchers: Sequence[Watcher]) -> Iterator[None]:
    """All of them send while the block runs; none is left on its node, whatever ends it."""
    with ExitStack() as started:
        for watcher in watchers:
            started.callback(watcher.stop)
            watcher.start()
        yield


def parse_progress(line: bytes) -> Progress | None:
    """``1700000000.5 pod/new=240/6/1250 ...``; None for anything else."""
    try:
        now, *streams = line.decode().split()
        words = []
        for stream in streams:
            name, _, counted = stream.partition("=")
            finished, lost, calm = map(int, counted.split("/"))
            words.append(Word(name, finished, lost, calm / 1000))
        return Progress(float(now), tuple(words))
    except ValueError:
        return None
