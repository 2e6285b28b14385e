"""Objects in a few words."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_k8snet.clusters.api.last_seen import last_seen


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({}, "x"),
        ({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}, "x Running"),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are\navailable"}
                ],
            },
            "x Pending (PodScheduled False: 0/3 nodes are available)",
        ),
        ({"conditions": [{"type": "Ready", "status": "Unknown"}]}, "x (Ready Unknown)"),
        (
            {
                "initContainerStatuses": [
                    {"name": "first", "state": {"terminated": {"reason": "Completed"}}},
                    {"name": "second", "state": {"terminated": {"reason": "Error"}}},
                ]
            },
            "x (second: Error)",
        ),
        ({"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "X"}}}]}, "x (c: X)"),
        ({"desiredNumberScheduled": 3, "numberReady": 1}, "x (1 of 3 ready)"),
        ({"replicas": 2}, "x (0 of 2 ready)"),
    ],
)
def test_one_object(status: dict[str, Any], said: str) -> None:
    assert last_seen({"x": {"status": status}}) == said


def test_none_and_many() -> None:
    assert last_seen({}) == "no such object"
    assert last_seen({name: {"status": None} for name in "abcde"}) == "a, b, c, and 2 more"
    assert last_seen({"x": {"metadata": {"deletionTimestamp": "now"}}}) == "x terminating"
