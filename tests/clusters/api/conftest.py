from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_k8snet.clusters.api import backoff
from pytest_k8snet.clusters.api.client import Api
from pytest_k8snet.clusters.base import Deadline
from tests.clusters.api.servers import Answer, Scripted, http

Serve = Callable[..., Scripted]
Connect = Callable[..., tuple[Api, Scripted]]
Write = Callable[..., Path]

VERSION = http({"gitVersion": "v1.20.8"})


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which no test waits for."""
    waited: list[float] = []
    monkeypatch.setattr(backoff, "pause", waited.append)
    return waited


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as running:

        def start(*answers: bytes | Answer, tls: ssl.SSLContext | None = None) -> Scripted:
            server = Scripted(*answers, tls=tls)
            running.callback(server.close)
            return server

        yield start


def entries(
    server: str, user: dict[str, Any] | None = None, *, cluster: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A kubeconfig with the one context "lab", which is not the current one."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "another",
        "contexts": [
            {"name": "lab", "context": {"cluster": "lab-cluster", "user": "lab-user"}},
            {"name": "another", "context": {"cluster": "lab-cluster", "user": "lab-user"}},
        ],
        "clusters": [{"name": "lab-cluster", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "lab-user", "user": {"token": "s3cret"} if user is None else user}],
    }


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Write:
    def write(content: Any, name: str = "config") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def connect(serve: Serve, kubeconfig: Write) -> Iterator[Connect]:
    """Connect to a server that gives ``answers`` after its version."""
    with ExitStack() as opened:

        def start(*answers: bytes | Answer, seconds: float = 60.0) -> tuple[Api, Scripted]:
            server = serve(VERSION, *answers)
            api = opened.enter_context(Api.connect(kubeconfig(entries(server.url)), "lab"))
            api.deadline = Deadline(seconds)
            server.requests.clear()
            return api, server

        yield start
