"""Session-wide fixtures: an engine starts when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines import containerd as containerd_engine
from tests.engines import dockerd as dockerd_engine
from tests.engines.containerd import Containerd
from tests.engines.dockerd import Dockerd


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Dockerd]:
    """A real dockerd of this machine's docker.io, in namespaces of its own."""
    if reason := dockerd_engine.why_not():
        pytest.skip(reason)
    engine = Dockerd()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def containerd() -> Iterator[Containerd]:
    """A real containerd with its CRI plugin, in namespaces of its own; crictl must be there."""
    if reason := containerd_engine.why_not():
        pytest.skip(reason)
    engine = Containerd()
    yield engine
    engine.close()
