"""Turns of waiting that take seconds on a real cluster take a moment here.

``-p tests.sessions.brisk`` for a session in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_k8snet.clusters.kube import service_rules, waiting


def shorten(setattr: Callable[[object, str, Any], None] = setattr) -> None:
    setattr(waiting, "TURN", 0.2)
    setattr(service_rules, "ENDPOINTS", 1.0)
    setattr(service_rules, "SYNC", 1.0)
    setattr(service_rules, "LOOK", 0.01)


def pytest_configure() -> None:
    shorten()
