"""The one path behind all providers: a cluster has nodes, objects, pods; each call is recorded.

A provider implements the underscored methods; the public ones record what came back, raw, on the
cluster's tape (see :mod:`pytest_k8snet.clusters.tape`), so that a run can be judged again.
"""

from __future__ import annotations

import abc
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_k8snet.clusters.tape import Tape
    from pytest_k8snet.manifests import Manifest


class ClusterError(Exception):
    """The cluster could not be brought up, reached or changed: one clear line for the user."""


class NodeUnreachable(ClusterError):
    """A node (or the agent that speaks for it) does not answer any more."""


class CommandTimeout(ClusterError):
    """A command did not end in time; the message says what was waited for and the last thing seen."""


class NotRecorded(ClusterError):
    """A replayed run was asked for a command or object that its bundle does not hold."""


@dataclass(frozen=True)
class Patience:
    """How long a run waits, in seconds. A network that is broken on purpose is asked with less of it."""

    request: int = 5  #: for one HTTP request: curl's -m
    listening: float = 10.0  #: until all tcpdumps of a trace listen, counted from their start
    command: float = 15.0  #: for the end of a node's or container's command, unless the caller says


class Deadline:
    """The one end of several waits, ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, 0 when it is past."""
        return max(0.0, self._end - time.monotonic())


@dataclass(frozen=True)
class CommandResult:
    """One finished command, raw. ``exit_status`` as a shell's ``$?`` (128+N when killed by signal N)."""

    argv: tuple[str, ...]
    exit_status: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def command(self) -> str:
        return shlex.join(self.argv)


class RunningCommand(abc.ABC):
    """A command that goes on: a capture. Stop it and read what it said."""

    @abc.abstractmethod
    def wait_for(self, text: bytes, timeout: float) -> None:
        """Return once ``text`` stands on its standard error.

        Raises :class:`CommandTimeout` after ``timeout`` seconds, or :class:`ClusterError` when the
        command ended before it said so (with what it did say).
        """

    def catch_up(self, done: Callable[[bytes], bool], timeout: float) -> None:  # noqa: B027 - not all can
        """Ask it how far it is (SIGUSR1) until ``done`` with what it says then, ``timeout`` seconds at most.

        A command that nobody can ask is taken to be there already.
        """

    def drain(self) -> None:  # noqa: B027 - where a thread reads there is nothing to do
        """Take in what it said so far, without waiting for more: what runs for minutes must never block on a
        full pipe. That its connection broke is told by :meth:`stop`."""

    @abc.abstractmethod
    def stop(self, timeout: float = 10.0) -> CommandResult:
        """Interrupt it (SIGINT), wait for its end, return all its output."""


class Node(abc.ABC):
    """One node. ``run`` takes an argv: nothing is ever pasted into a shell."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    @property
    def role(self) -> str:
        """ "master", "node1" or "node2"; "" for a node without a role in the labs."""
        for role, name in self.cluster.roles.items():
            if name == self.name:
                return role
        return ""

    def run(self, *argv: str, timeout: float | None = None, stdin: bytes = b"") -> CommandResult:
        """Run to the end and record. A non-zero exit status is a result, not an exception.

        ``timeout`` in seconds, the cluster's patience unless given; then :class:`CommandTimeout`.
        """
        limit = self.cluster.patience.command if timeout is None else timeout
        return self.cluster.tape.command(self.name, argv, lambda: self._run(argv, timeout=limit, stdin=stdin))

    def spawn(self, *argv: str, pcap: str = "", known_as: Sequence[str] = ()) -> RunningCommand:
        """Start and return at once. ``pcap`` names the file under which the bundle keeps its stdout;
        ``known_as`` is recorded in the place of ``argv``, and asked for by a replay."""
        return self.cluster.tape.running(
            self.name, tuple(known_as) or argv, lambda: self._spawn(argv), pcap=pcap
        )

    @abc.abstractmethod
    def _run(self, argv: Sequence[str], *, timeout: float, stdin: bytes) -> CommandResult: ...

    @abc.abstractmethod
    def _spawn(self, argv: Sequence[str]) -> RunningCommand: ...


@dataclass(frozen=True)
class ClusterInfo:
    """What the header, the bundle and the last lines of a run say of a cluster."""

    provider: str
    summary: str  #: one line: "embedded: reference network in User-Mode Linux 6.1.176"
    reference: bool = False  #: a reference network: its verdict is not one on a cluster
    details: Mapping[str, str] = field(default_factory=dict)  #: versions, kernel, timings


class Cluster(abc.ABC):
    """Nodes, objects and pods of one provider. A context manager: leaving it removes what is ours."""

    info: ClusterInfo
    tape: Tape
    roles: Mapping[str, str]  #: "master"/"node1"/"node2" -> node name
    nodes: Mapping[str, Node]  #: by node name
    namespace: str = "default"  #: where the lab's pods live
    runtime: str = "oci"  #: which runtime probe reads containers: "oci", "docker", "cri"
    runtimes: Mapping[str, str] = {}  #: by node name, where nodes differ; :attr:`runtime` for all others
    patience: Patience = Patience()
    #: What the cluster has not, and why: "master"/"node1"/"node2" for a role that no node can play, "calico".
    lacks: Mapping[str, str] = {}
    disruptive: bool = True  #: whether claims that kill or add containers are judged
    farewell: str = ""  #: once it is closed: what was left behind on purpose, and how to remove it

    def node(self, role: str) -> Node:
        return self.nodes[self.roles[role]]

    def runtime_of(self, node: str) -> str:
        return self.runtimes.get(node, self.runtime)

    @contextmanager
    def lab(self, name: str) -> Iterator[None]:
        """Everything recorded inside belongs to lab ``name`` (one self-contained part of the bundle)."""
        with self.tape.lab(name):
            yield

    def get(self, resource: str) -> bytes:
        """One API read, a JSON ``List`` of pods, services, endpointslices, nodes, ippools or clustercidrs."""
        return self.tape.read(resource, lambda: self._get(resource))

    def exec(self, pod: str, container: str, *argv: str, timeout: float | None = None) -> CommandResult:
        """Run inside a container of one of the lab's pods, as ``kubectl exec`` does, like ``Node.run``."""
        limit = self.patience.command if timeout is None else timeout
        return self.tape.command(
            f"pod/{pod}/{container}", argv, lambda: self._exec(pod, container, argv, timeout=limit)
        )

    @abc.abstractmethod
    def apply(self, manifests: Sequence[Manifest], timeout: float = 60.0) -> None:
        """Make the objects exist and wait until pods are ready and service rules are in place.

        Applying what is already there changes nothing.
        """

    @abc.abstractmethod
    def delete(self, manifests: Sequence[Manifest], timeout: float = 30.0) -> None: ...

    @abc.abstractmethod
    def close(self) -> None:
        """Remove all that is ours. Idempotent; never raises for what is already gone."""

    @abc.abstractmethod
    def _get(self, resource: str) -> bytes: ...

    @abc.abstractmethod
    def _exec(self, pod: str, container: str, argv: Sequence[str], *, timeout: float) -> CommandResult: ...

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
