"""A drawing to vary by :func:`dataclasses.replace`."""

from __future__ import annotations

from pytest_k8snet.report.drawing import Drawing

#: pod-src asks pod-dest on another node and is answered; no point was captured.
POD_NETWORK = Drawing(
    lab="pod-network",
    name="pod-src -> pod-dest:8080/hostname",
    client="pod-src",
    client_is_pod=True,
    client_node="k8s-node2",
    target="pod-dest",
    target_node="k8s-node1",
    entry_node="k8s-node2",
    asked="20.111.156.72:8080",
    service="",
    tunnel="ipip",
    answered=True,
    answer="200, 9 bytes",
    sightings=(),
    captures=(),
)
