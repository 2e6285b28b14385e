"""Where the labs lie in this checkout they are collected only with ``--k8snet``: their fixtures need it."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path == config.rootpath / "scenarios" and not config.getoption("k8snet"):
        return True
    return None
