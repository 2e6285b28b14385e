from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
from kubernetes import client, config

from tests.fakeapi import FakeCluster

Connect = Callable[[FakeCluster], client.ApiClient]


@contextmanager
def connected(fake: FakeCluster, directory: Path) -> Iterator[client.ApiClient]:
    kubeconfig = fake.kubeconfig(directory / "kubeconfig")
    api: Any = config.new_client_from_config(str(kubeconfig), "fake")  # type: ignore[no-untyped-call]
    api.configuration.retries = False
    api.rest_client.pool_manager.connection_pool_kw["retries"] = False
    try:
        yield api
    finally:
        api.rest_client.pool_manager.clear()


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """The real client of a fake; its sockets are closed at the end."""
    with ExitStack() as stack:
        yield lambda fake: stack.enter_context(connected(fake, tmp_path))


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with FakeCluster() as cluster:
        yield cluster


@pytest.fixture
def core(fake: FakeCluster, connect: Connect) -> Any:
    """Any: the client's typed models differ from version to version."""
    return client.CoreV1Api(connect(fake))


def get(fake: FakeCluster, path: str, token: str = "fake-token") -> tuple[int, bytes]:
    """(status, body) of one GET on a connection of its own."""
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request("GET", fake.url + path, headers={"Authorization": f"Bearer {token}"})
        return answer.status, answer.data
