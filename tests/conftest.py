from __future__ import annotations

import pytest

pytest_plugins = ["pytester", "tests.engines.fixtures"]


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provider "auto" takes Docker where a daemon answers: a test must not depend on the machine's."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
