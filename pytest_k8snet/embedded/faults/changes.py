"""What a fault is made of: small changes to the network's description, or to the running kernel.

A change to the description overrides the one method that its subject passes through, so it stays in force
whatever is applied meanwhile (new pods, new endpoints). A change to the kernel is done once, when what it
needs is there, and undone when the fault is repaired: faults can take turns in one kernel.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pytest_k8snet.clusters.base import ClusterError, CommandResult
from pytest_k8snet.embedded.description import PYTHON, Network


class Reach(Protocol):
    """What a change may do to the running network; the embedded cluster offers it."""

    def command(self, node: str, argv: Sequence[str]) -> CommandResult:
        """Run on a node, unrecorded: a fault is no evidence."""

    def sandbox(self, pod: str) -> tuple[str, int]:
        """The node of a pod, and the process that holds its network namespace there."""

    def tool(self, node: str, name: str, tool: str, script: bytes = b"") -> None:
        """What a program is on a node: a "script" of ours, "missing", or its "own"."""

    def modules(self, names: Sequence[str]) -> None:
        """Load kernel modules that the healthy network has no use for."""

    def serve(self, node: str, argv: Sequence[str]) -> None:
        """Start a process that says "ready" on its standard error, and leave it running."""

    def quit(self, node: str, argv: Sequence[str]) -> None:
        """End what :meth:`serve` started."""

    def rebuild(self, pod: str) -> None:
        """Make a pod again as it is meant to be: one that a fault has spoilt."""

    def end(self, node: str) -> None:
        """End a node; "" ends the whole kernel."""


@dataclass(frozen=True)
class ProxyPlan:
    """How kube-proxy holds NodePorts on one node: the process's name, and the address it listens on."""

    name: str = "kube-proxy"
    address: str = "0.0.0.0"


@dataclass(frozen=True)
class Change:
    """A change that changes nothing: each kind overrides what it is about."""

    def network(self, network: Network) -> Network:
        return network

    def pod(self, wish: dict[str, Any]) -> dict[str, Any]:
        """``wish`` as :meth:`Network.pod_request` gives it."""
        return wish

    def rules(self, node: str, text: str) -> str:
        """``text``: the input of iptables-restore for a node."""
        return text

    def proxy(self, node: str, plan: ProxyPlan | None) -> ProxyPlan | None:
        """None: no process holds the ports."""
        return plan

    def required(self) -> frozenset[str]:
        """Names of the pods and services that must be there before :meth:`do`."""
        return frozenset()

    def do(self, reach: Reach) -> None: ...

    def undo(self, reach: Reach) -> None: ...

    def before(self, node: str, program: str, reach: Reach) -> None:
        """Called before each probe's command."""


@dataclass(frozen=True)
class Describes(Change):
    """Fields of the network's description: ``Describes(cluster_cidr=...)``."""

    fields: Mapping[str, Any]

    def network(self, network: Network) -> Network:
        return replace(network, **self.fields)


@dataclass(frozen=True)
class Selects(Change):
    """A service's selector."""

    service: str
    selector: Mapping[str, str]

    def required(self) -> frozenset[str]:
        return frozenset({self.service})

    def network(self, network: Network) -> Network:
        if self.service not in network.services:
            return network
        changed = replace(network.services[self.service], selector=self.selector)
        return replace(network, services={**network.services, self.service: changed})


@dataclass(frozen=True)
class PodWish(Change):
    """A pod's wish: fields of the pod itself, and of one of its containers."""

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    container: str = ""
    container_fields: Mapping[str, Any] = field(default_factory=dict)

    def required(self) -> frozenset[str]:
        return frozenset({self.name})

    def pod(self, wish: dict[str, Any]) -> dict[str, Any]:
        if wish["name"] != self.name:
            return wish
        inside = [
            {**container, **(self.container_fields if container["name"] == self.container else {})}
            for container in wish["containers"]
        ]
        return {**wish, "containers": inside, **self.fields}


@dataclass(frozen=True)
class Rules(Change):
    """kube-proxy's rules on some nodes: each match of ``pattern`` (a line each) becomes ``replacement``."""

    nodes: tuple[str, ...]
    pattern: str
    replacement: str = ""
    service: str = ""  #: whose rules they are

    def required(self) -> frozenset[str]:
        return frozenset(filter(None, (self.service,)))

    def rules(self, node: str, text: str) -> str:
        return re.sub(self.pattern, self.replacement, text, flags=re.M) if node in self.nodes else text


@dataclass(frozen=True)
class FirstRule(Change):
    """A rule before all others of its chain in table nat, on one node, in iptables-save's words."""

    node: str
    rule: str

    def rules(self, node: str, text: str) -> str:
        if node != self.node:
            return text
        return re.sub(r"^(?=-A PREROUTING )", self.rule + "\n", text, count=1, flags=re.M)


@dataclass(frozen=True)
class Proxy(Change):
    """How kube-proxy holds the NodePorts of one node; ``plan`` None: it does not."""

    node: str
    plan: ProxyPlan | None
    service: str  #: whose NodePort it is

    def required(self) -> frozenset[str]:
        return frozenset({self.service})

    def proxy(self, node: str, plan: ProxyPlan | None) -> ProxyPlan | None:
        return self.plan if node == self.node else plan


@dataclass(frozen=True)
class On(Change):
    """Commands on a node, as a shell would split them, and those that take them back."""

    node: str
    commands: tuple[str, ...]
    back: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()  #: that must be there before

    def required(self) -> frozenset[str]:
        return frozenset(self.pods)

    def do(self, reach: Reach) -> None:
        for command in self.commands:
            _run(reach, self.node, shlex.split(command))

    def undo(self, reach: Reach) -> None:
        for command in self.back:
            _run(reach, self.node, shlex.split(command))


@dataclass(frozen=True)
class Modules(Change):
    """Kernel modules that the changes after this one need."""

    names: tuple[str, ...]

    def do(self, reach: Reach) -> None:
        reach.modules(self.names)


@dataclass(frozen=True)
class Inside(Change):
    """Commands in a pod's network namespace; ``{PID}`` is the sandbox of pod ``of``. The pod is made again
    afterwards."""

    name: str
    commands: tuple[str, ...]
    of: str = ""

    def required(self) -> frozenset[str]:
        return frozenset(filter(None, (self.name, self.of)))

    def do(self, reach: Reach) -> None:
        node, pid = reach.sandbox(self.name)
        other = reach.sandbox(self.of)[1] if self.of else 0
        for command in self.commands:
            argv = shlex.split(command.replace("{PID}", str(other)))
            _run(reach, node, ("nsenter", "-t", str(pid), "-n", *argv))

    def undo(self, reach: Reach) -> None:
        reach.rebuild(self.name)


@dataclass(frozen=True)
class Spoils(Change):
    """Nothing by itself: the pod is spoilt by what the labs do to it under this fault, and made again."""

    name: str

    def undo(self, reach: Reach) -> None:
        reach.rebuild(self.name)


@dataclass(frozen=True)
class Tool(Change):
    """A program of one node: ``script`` stands in for it (a shell's, or as its first line says); without
    one the program is not there."""

    node: str
    name: str
    script: str = ""

    def do(self, reach: Reach) -> None:
        script = self.script if self.script.startswith("#!") else f"#!/bin/sh\n{self.script}"
        reach.tool(self.node, self.name, "script" if self.script else "missing", script.encode())

    def undo(self, reach: Reach) -> None:
        reach.tool(self.node, self.name, "own")


@dataclass(frozen=True)
class Serves(Change):
    """A program in Python that listens on a node; it says "ready" on its standard error."""

    node: str
    program: str

    def _argv(self) -> tuple[str, ...]:
        return (PYTHON, "-I", "-S", "-c", self.program)

    def do(self, reach: Reach) -> None:
        reach.serve(self.node, self._argv())

    def undo(self, reach: Reach) -> None:
        reach.quit(self.node, self._argv())


@dataclass(frozen=True)
class Ends(Change):
    """A node ("": the whole kernel) ends just before ``program`` is run on ``at``. Nothing brings it back."""

    node: str
    at: str
    program: str

    def before(self, node: str, program: str, reach: Reach) -> None:
        if (node, program) == (self.at, self.program):
            reach.end(self.node)


@dataclass(frozen=True)
class Fault:
    """A named fault. ``sentence`` says what is wrong in the network, in the words of the labs."""

    name: str
    sentence: str
    changes: tuple[Change, ...]

    @property
    def last(self) -> bool:
        """Nothing can run in this kernel any more afterwards."""
        return any(isinstance(change, Ends) for change in self.changes)


def _run(reach: Reach, node: str, argv: Sequence[str]) -> None:
    result = reach.command(node, argv)
    if result.exit_status:
        said = result.stderr.decode(errors="replace").strip()
        raise ClusterError(f"a fault could not be made: `{result.command}` on {node}: {said}")
