from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import pytest_k8snet
from tests.fakeapi import FakeCluster
from tests.fakeapi.answers import LabAnswers
from tests.sessions import brisk
from tests.sessions.user import User

# A session in this process leaves sys.modules as it found it: what it imported itself would be there twice
# for the next one. So all is imported before.
for _found in pkgutil.walk_packages(pytest_k8snet.__path__, "pytest_k8snet."):
    if not _found.name.startswith("pytest_k8snet.embedded"):
        importlib.import_module(_found.name)


@pytest.fixture
def user(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> User:
    brisk.shorten(monkeypatch.setattr)
    return User(pytester)


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with FakeCluster() as cluster:
        yield cluster
        assert cluster.left() == []


@pytest.fixture
def answers(fake: FakeCluster) -> LabAnswers:
    return LabAnswers(fake)
