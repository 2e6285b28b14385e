"""A cluster of canned answers: what it is told to say, and 127 for anything else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from pytest_k8snet.clusters.base import (
    Cluster,
    ClusterError,
    ClusterInfo,
    CommandResult,
    CommandTimeout,
    Node,
    RunningCommand,
)
from pytest_k8snet.clusters.tape import MemoryTape, Tape
from pytest_k8snet.manifests import Manifest

ROLES = {"master": "k8s-master", "node1": "k8s-node1", "node2": "k8s-node2"}

Answer = CommandResult | ClusterError | Callable[[Sequence[str]], CommandResult]


def says(stdout: str | bytes = b"", stderr: str | bytes = b"", status: int = 0) -> CommandResult:
    def raw(text: str | bytes) -> bytes:
        return text.encode() if isinstance(text, str) else text

    return CommandResult((), status, raw(stdout), raw(stderr))


class FakeRun(RunningCommand):
    """``listens`` False: it ends, or hangs, without having said so."""

    def __init__(self, result: CommandResult, wait: ClusterError | None = None) -> None:
        self.result = result
        self.wait = wait
        self.stopped = 0

    def wait_for(self, text: bytes, timeout: float) -> None:
        if self.wait:
            raise self.wait
        if text not in self.result.stderr:
            raise CommandTimeout(f"{text.decode()!r} was not said within {timeout:g} s")

    def stop(self, timeout: float = 10.0) -> CommandResult:
        self.stopped += 1
        return self.result


class FakeNode(Node):
    cluster: FakeCluster

    def _run(self, argv: Sequence[str], *, timeout: float, stdin: bytes) -> CommandResult:
        return self.cluster.asked(self.name, argv)

    def _spawn(self, argv: Sequence[str]) -> RunningCommand:
        run = FakeRun(self.cluster.asked(self.name, argv), self.cluster.not_listening.get(self.name))
        self.cluster.spawned.append(run)
        return run


class FakeCluster(Cluster):
    """``say(where, pattern, answers...)``: the n-th command that matches gets the n-th answer, later ones
    the last. What was said later wins."""

    def __init__(self, tape: Tape | None = None, nodes: Mapping[str, str] = ROLES) -> None:
        self.tape = tape or MemoryTape()
        self.info = ClusterInfo("fake", "fake: three nodes of canned answers", details={"kernel": "none"})
        self.roles = dict(nodes)
        self.nodes = {name: FakeNode(self, name) for name in nodes.values()}
        self.objects: dict[str, bytes | ClusterError] = {}
        self.commands: list[tuple[str, str]] = []
        self.spawned: list[FakeRun] = []
        self.not_listening: dict[str, ClusterError] = {}
        self.applied: list[str] = []
        self.deleted: list[str] = []
        self._answers: list[tuple[str, str, list[Answer]]] = []

    def say(self, where: str, pattern: str, *answers: Answer) -> None:
        self._answers.insert(0, (where, pattern, list(answers)))

    def asked(self, where: str, argv: Sequence[str]) -> CommandResult:
        command = shlex.join(argv)
        self.commands.append((where, command))
        for place, pattern, answers in self._answers:
            if re.fullmatch(place, where) and re.match(pattern, command):
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(answer, ClusterError):
                    raise answer
                if callable(answer):
                    answer = answer(argv)
                return CommandResult(tuple(argv), answer.exit_status, answer.stdout, answer.stderr)
        return CommandResult(tuple(argv), 127, b"", f"sh: 1: {argv[0]}: not found\n".encode())

    def ran(self, pattern: str) -> list[tuple[str, str]]:
        return [(where, command) for where, command in self.commands if re.match(pattern, command)]

    def apply(self, manifests: Sequence[Manifest], timeout: float = 60.0) -> None:
        self.applied += [manifest.name for manifest in manifests]

    def delete(self, manifests: Sequence[Manifest], timeout: float = 30.0) -> None:
        self.deleted += [manifest.name for manifest in manifests]

    def close(self) -> None:
        pass

    def _get(self, resource: str) -> bytes:
        answer = self.objects.get(resource, ClusterError(f"the API does not know {resource}"))
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    def _exec(self, pod: str, container: str, argv: Sequence[str], *, timeout: float) -> CommandResult:
        return self.asked(f"pod/{pod}/{container}", argv)
