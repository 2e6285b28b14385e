"""A fake Kubernetes API server on loopback: real HTTP, real websockets, real watches, no cluster."""

from __future__ import annotations

from tests.fakeapi.admission import denied_by, over_quota
from tests.fakeapi.cluster import FakeCluster
from tests.fakeapi.content import Content, FakeNode, document_nodes
from tests.fakeapi.execution import CannotStart, Exec, Output
from tests.fakeapi.kubelet import Running, Unschedulable, Waiting, crash_loop, creating, sandbox_fails

__all__ = [
    "CannotStart",
    "Content",
    "Exec",
    "FakeCluster",
    "FakeNode",
    "Output",
    "Running",
    "Unschedulable",
    "Waiting",
    "crash_loop",
    "creating",
    "denied_by",
    "document_nodes",
    "over_quota",
    "sandbox_fails",
]
