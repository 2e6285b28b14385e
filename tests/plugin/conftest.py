from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin import stand_in

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: pod-mine
spec:
  nodeSelector:
    kubernetes.io/hostname: k8s-node1
  containers:
    - name: container
      image: kubetm/app
      ports:
        - containerPort: 8080
"""


@pytest.fixture(autouse=True)
def _without_hypothesis(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plugin imports the whole package at the end of every session: most of the time of a small one."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")


@pytest.fixture
def stand_ins(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in cluster for every pytest that runs in this process."""
    stand_in.install(monkeypatch)


@pytest.fixture
def my_lab(pytester: pytest.Pytester, stand_ins: None) -> Path:
    """A user's lab directory "my_lab" with one pod; tests write its test file with :func:`lab_file`."""
    directory = pytester.mkdir("my_lab")
    (directory / "pod-mine.yaml").write_text(POD)
    return directory


def events(pytester: pytest.Pytester) -> list[str]:
    """What happened to the stand-in cluster."""
    file = pytester.path / "events.txt"
    return file.read_text().splitlines() if file.exists() else []


PREAMBLE = """\
import pytest
from pytest_k8snet.claims.verdict import broken, held, inconclusive
from pytest_k8snet.clusters.base import ClusterError
"""


def lab_file(directory: Path, body: str) -> None:
    (directory / f"test_{directory.name}.py").write_text(PREAMBLE + body)
