"""Nodes as testinfra hosts: ``testinfra_host(node).interface("tunl0").exists`` in a user's test.

Imports testinfra, so it is imported only where a host is asked for.
"""

from __future__ import annotations

import weakref
from typing import Any

from testinfra.backend.base import BaseBackend
from testinfra.backend.base import CommandResult as TestinfraResult
from testinfra.host import Host

from pytest_k8snet.clusters.base import Node

_hosts: weakref.WeakKeyDictionary[Node, Host] = weakref.WeakKeyDictionary()


class NodeBackend(BaseBackend):  # type: ignore[misc]
    """Runs testinfra's shell commands through :meth:`Node.run`: recorded, and replayed, like all others."""

    NAME = "k8snet"

    def __init__(self, node: Node) -> None:
        super().__init__(node.name)
        self._node = weakref.proxy(node)  # the cluster keeps it; a host must not, or _hosts would for ever

    def run(self, command: str, *args: str, **kwargs: Any) -> TestinfraResult:
        line = self.get_command(command, *args)
        result = self._node.run("sh", "-c", line)
        return self.result(result.exit_status, line.encode(), result.stdout, result.stderr)


def testinfra_host(node: Node) -> Host:
    """The testinfra host of ``node``, the same one each time: it caches what it learned of the system."""
    if node not in _hosts:
        _hosts[node] = Host(NodeBackend(node))
    return _hosts[node]


testinfra_host.__test__ = False  # type: ignore[attr-defined]  # pytest would collect the name in a test module
