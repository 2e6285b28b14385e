"""What pytest-xdist's controller does for its workers: what they are told, and what they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.run import Run
from pytest_k8snet.settings import PROVIDER_INPUT, Settings

_KIND_INPUT = "k8snet_shared_kind"  #: in workerinput: kubeconfig of the kind cluster that the workers share


def shared_kind(config: pytest.Config) -> Path | None:
    """Kubeconfig of the kind cluster that this worker's controller made; None where there is none."""
    kubeconfig = getattr(config, "workerinput", {}).get(_KIND_INPUT)
    return Path(kubeconfig) if kubeconfig else None


class Inputs:
    """What "auto" came to holds for the workers too, whatever changes meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[PROVIDER_INPUT] = self._settings.provider


class SharedKind:
    """The one kind cluster that all workers share: made before they start, removed after they ended."""

    def __init__(self, run: Run) -> None:
        self._run = run

    # xdist starts its workers in this hook.
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        try:
            cluster = self._run.cluster()
        except ClusterError as error:
            pytest.exit(f"k8snet: {error}", returncode=pytest.ExitCode.USAGE_ERROR)
        self._kubeconfig = str(getattr(cluster, "kubeconfig"))  # noqa: B009 - of kind clusters alone

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[_KIND_INPUT] = self._kubeconfig


class SharedBundle:
    """The bundle that xdist's workers join, begun by the first that has something to keep.

    The controller sees to it that the directory is free before they start, and says when all is done.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        from pytest_k8snet.clusters.bundle import BundleTape

        self._tape = BundleTape(self._directory)

    def pytest_unconfigure(self) -> None:
        if tape := getattr(self, "_tape", None):
            tape.close()
