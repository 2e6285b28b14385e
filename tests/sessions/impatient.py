"""``-p tests.sessions.impatient``: where something hangs, or is away for good."""

from __future__ import annotations

from pytest_k8snet import cluster_settings
from pytest_k8snet.clusters.base import Cluster, Patience
from pytest_k8snet.clusters.kube import namespaces

Cluster.patience = Patience(command=1.5)
namespaces.REMOVAL = 1.0
cluster_settings.SHORTEST_TIMEOUT = 1.0
