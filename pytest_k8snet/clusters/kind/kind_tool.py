"""kind, driven through pytest-kind's KindCluster, its words kept: they say why something failed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline

if TYPE_CHECKING:
    from pytest_kind.cluster import KindCluster

_PID = b"k8snet-pid "
_END = b"k8snet-end\n"
#: KindCluster runs what it is told is kind, with our own output as kind's. This stands in: it says which
#: process kind is, sends its words to us, and becomes kind. What is asked for on standard output stays there.
_STAND_IN = """#!/bin/sh
exec 2>{fifo}
echo "k8snet-pid $$" >&2
KIND_EXPERIMENTAL_PROVIDER=docker
export KIND_EXPERIMENTAL_PROVIDER
[ "$1" = get ] || exec >&2
exec {kind} "$@"
"""
#: kind's steps: " • Preparing nodes 📦 📦 📦  ..." on a pipe, "✓" and "✗" when they end.
_STEP = re.compile(r"^ [•✓✗] (.*?)[^\w)]*$")
#: Lines of a failed command that give no reason: a hint of docker's, the frames of a stack of kubeadm's.
_NO_REASON = re.compile(
    r"--help|^To see the stack trace|\.(go|s):\d+|^(runtime|main|k8s\.io|github\.com)[./]"
)
#: A command in kind's words that has more than a line can take.
_COMMAND = re.compile(r'command "((?:\S+ ){3}\S+) [^"]{60,}"')
_ADVICE = (
    (r"failed to pull image", "`docker pull` or `docker load` it, or name another with --kind-image"),
    (r"port is already allocated|address already in use", "end what holds that port"),
    (
        r"could not find a log line that matches",
        "the node's systemd did not come up: see fs.inotify.max_user_instances and the cgroup version",
    ),
    (r"already exist for a cluster", "name another with --cluster-name"),
    (
        r"failed to init node with kubeadm|failed to join node with kubeadm",
        "too little memory is the usual cause",
    ),
)


class KindFailed(ClusterError):
    """kind could not do it: one line in its own words. ``details``: all that it said."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


@dataclass
class Kind:
    """One cluster of kind's. ``folder`` is ours, for as long as the run lasts.

    Not for several threads at once but :meth:`load`.
    """

    name: str
    binary: Path
    folder: Path
    kubeconfig: Path
    image: str = ""
    kubectl: Path | None = None
    _made: list[Path] = field(default_factory=list)  #: folders of pytest-kind's that were not there before

    def create(self, config: Path, deadline: Deadline, progress: Callable[[str], None]) -> None:
        """``kind create cluster``. Raises KindFailed, CommandTimeout; half of one is for :meth:`delete`."""
        with self._cluster("create", deadline, progress) as cluster:
            cluster.create(config)

    def load(self, image: str, deadline: Deadline) -> None:
        """``kind load docker-image``: from the daemon into all nodes."""
        with self._cluster("load", deadline) as cluster:
            cluster.load_docker_image(image)

    def load_archive(self, archive: Path, deadline: Deadline) -> None:
        """``kind load image-archive``, which KindCluster has not."""
        with self._cluster("load", deadline) as cluster:
            argv = [str(cluster.kind_path), "load", "image-archive", f"--name={self.name}", str(archive)]
            subprocess.run(argv, check=True)

    def delete(self, deadline: Deadline) -> None:
        """``kind delete cluster``; also what pytest-kind and kind wrote for it. Idempotent."""
        with self._cluster("delete", deadline) as cluster:
            cluster.delete()
        self.forget()

    def forget(self) -> None:
        """Remove the kubeconfig and the folders that were made for this cluster."""
        for path in self._made:
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        self._made.clear()

    @contextmanager
    def _cluster(
        self, doing: str, deadline: Deadline, progress: Callable[[str], None] = lambda step: None
    ) -> Iterator[KindCluster]:
        from pytest_kind.cluster import KindCluster

        here = Path.cwd() / ".pytest-kind"
        for path in (self.kubeconfig, here / self.name, here):
            if not path.exists() and path not in self._made:
                self._made.append(path)
        listener = _Listener(self.folder, progress)
        try:
            stand_in = listener.stand_in(self.binary)
            cluster = KindCluster(
                self.name, self.kubeconfig, self.image or None, kind_path=stand_in, kubectl_path=self.kubectl
            )
            timer = threading.Timer(deadline.left, listener.kill)
            timer.start()
            try:
                yield cluster
            finally:
                timer.cancel()
        except (subprocess.CalledProcessError, OSError) as error:
            listener.close()
            raise self._failure(doing, error, listener) from None
        finally:
            listener.close()
            progress("")

    def _failure(self, doing: str, error: Exception, listener: _Listener) -> ClusterError:
        said = listener.said
        if listener.killed:
            return CommandTimeout(
                f"kind {doing} did not end in the time it was given (--k8snet-timeout); its last words:"
                f" {listener.last or 'none'}"
            )
        if isinstance(error, OSError):
            what = error.filename or self.binary
            return KindFailed(f"kind {doing}: {what}: {error.strerror}", said)
        why = in_one_line(said)
        advice = next((f"; {words}" for pattern, words in _ADVICE if re.search(pattern, why)), "")
        return KindFailed(f"kind {doing}: {why}{advice}", said)


def in_one_line(said: str) -> str:
    """The reason among kind's words: its ERROR, and what the command that failed said of it.

    kind prints "ERROR: failed to ...: command "docker ..." failed with error: exit status 1", then "Command
    Output: ..." of many lines, of which the last ones need not say why: docker's ends with a hint, kubeadm's
    with where it was in its code.
    """
    lines = [line.strip() for line in said.splitlines()]
    at = next((number for number, line in enumerate(lines) if line.startswith("ERROR:")), None)
    if at is None:
        return next((line for line in reversed(lines) if line), "it said nothing")
    error = lines[at].removeprefix("ERROR:").strip()
    output = [line.removeprefix("Command Output:").strip() for line in lines[at + 1 :]]
    stop = next(
        (number for number, line in enumerate(output) if line.startswith("Stack Trace:")), len(output)
    )
    output = [line for line in output[:stop] if line]
    output = [line for line in output if not _NO_REASON.search(line)] or output
    reasons = [line for line in output if re.search(r"\berror\b", line, re.IGNORECASE)] or output
    error = _COMMAND.sub(r'command "\1 ..."', error)
    return f"{error}: {reasons[-1]}" if output else error


class _Listener:
    """Hears what kind says on a named pipe, shows its steps, and knows its process id."""

    def __init__(self, folder: Path, progress: Callable[[str], None]) -> None:
        self.killed = False
        self._progress = progress
        self._folder = folder
        self._lines: list[str] = []
        self._pid = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pipe = -1
        self._files: list[Path] = []

    def stand_in(self, kind: Path) -> Path:
        """The program to run instead of ``kind``. Raises OSError."""
        unique = f"{os.getpid()}-{id(self)}"
        fifo, script = self._folder / f"words-{unique}", self._folder / f"kind-{unique}"
        self._files = [fifo, script]
        os.mkfifo(fifo)
        # Both ends: it never ends between two calls of kind, and opening it waits for nobody.
        self._pipe = os.open(fifo, os.O_RDWR)
        script.write_text(_STAND_IN.format(fifo=shlex.quote(str(fifo)), kind=shlex.quote(str(kind))))
        script.chmod(0o700)
        self._thread = threading.Thread(target=self._listen, name="k8snet-kind", daemon=True)
        self._thread.start()
        return script

    @property
    def said(self) -> str:
        return "\n".join(self._lines)

    @property
    def last(self) -> str:
        return next((line.strip() for line in reversed(self._lines) if line.strip()), "")

    def kill(self) -> None:
        with self._lock:
            self.killed = True
            if self._pid:
                with suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """Idempotent."""
        if self._thread is not None:
            os.write(self._pipe, _END)
            self._thread.join()
            self._thread = None
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        for path in self._files:
            path.unlink(missing_ok=True)

    def _listen(self) -> None:
        with os.fdopen(os.dup(self._pipe), "rb") as pipe:
            for line in pipe:
                if line == _END:
                    return
                self._hear(line)

    def _hear(self, line: bytes) -> None:
        if line.startswith(_PID):
            with self._lock:
                self._pid = int(line[len(_PID) :])
                if self.killed:
                    with suppress(ProcessLookupError):
                        os.kill(self._pid, signal.SIGKILL)
            return
        text = line.decode(errors="replace").rstrip()
        self._lines.append(text)
        step = _STEP.match(text)
        if step and text.startswith(" •"):
            self._progress(f"kind: {step[1]}")
