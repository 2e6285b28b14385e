"""The Docker daemon that holds a cluster of ours: questions and changes, each failure one clear line."""

from __future__ import annotations

import json
from typing import Any

from pytest_k8snet.clusters import engine
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.ways.docker import complaint
from pytest_k8snet.clusters.ways.local import call

#: Seconds for a command that only asks or changes an object of the daemon's.
PATIENCE = 60.0

#: What kind puts on the containers that are its nodes (pkg/cluster/internal/providers/docker/constants.go).
CLUSTER_LABEL = "io.x-k8s.kind.cluster"


def why_silent() -> str:
    """Why no daemon answers, in docker's own words; "" where one does."""
    why = engine.why_silent()
    if why.startswith("no Docker daemon"):
        asked = call(["docker", "version", "--format", "{{.Server.Version}}"], timeout=PATIENCE)
        why += f": {complaint(asked.stderr)}"
    return why


def docker(*argv: str, timeout: float = PATIENCE) -> str:
    """What ``docker argv`` prints. Raises ClusterError, one line with docker's own words."""
    result = call(["docker", *argv], timeout=timeout)
    if result.exit_status:
        raise ClusterError(f"`docker {' '.join(argv)}`: {complaint(result.stderr)}")
    return result.stdout.decode(errors="replace")


def inspected(kind: str, *names: str) -> list[dict[str, Any]]:
    """The objects that ``docker KIND inspect`` finds; those that are gone meanwhile are left out."""
    if not names:
        return []
    # It fails where one is missing, and prints the others all the same.
    result = call(["docker", kind, "inspect", *names], timeout=PATIENCE)
    try:
        found = json.loads(result.stdout)
    except ValueError:
        raise ClusterError(f"`docker {kind} inspect`: {complaint(result.stderr)}") from None
    return [each for each in found if isinstance(each, dict)]


def there(image: str) -> bool:
    """Whether the daemon has this image: asked as kind asks before it pulls."""
    return call(["docker", "image", "inspect", "--format={{.Id}}", image], timeout=PATIENCE).exit_status == 0


def node_containers(cluster: str) -> list[str]:
    """The containers that are the nodes of kind's cluster of that name, stopped ones too, by name."""
    listed = docker("ps", "-a", "--filter", f"label={CLUSTER_LABEL}={cluster}", "--format", "{{.Names}}")
    return sorted(listed.split())
