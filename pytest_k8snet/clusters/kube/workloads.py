"""A lab's manifests as they are made on a real cluster; the files stay as the document has them (pure)."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.images import Images
from pytest_k8snet.clusters.kube.roles import Roles
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import DOCUMENT_NODES, HOSTNAME, Manifest

#: On everything that is ours. ``RUN`` tells one run's objects from another's.
MANAGED_BY = {"app.kubernetes.io/managed-by": "pytest-k8snet"}
RUN = "k8snet.dev/run"
PART = "k8snet.dev/part"  #: "lab" or "probe"
MADE_BY = "k8snet.dev/made-by"  #: on the pods of a workload: its kind and name

#: On the labs' pods, so that no service mesh takes them, whatever its default or a given namespace's: a
#: sidecar is a container too many, and a mesh redirects what labs trace. Istio (old ones read annotations),
#: Linkerd.
NO_MESH_LABELS = {"sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none"}
NO_MESH_ANNOTATIONS = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}

#: Seconds that a pod may take to end. Many images' first process ignores SIGTERM and would take all 30; 0
#: would remove the object before the container is gone.
GRACE = 1
DOCUMENT_NODE_PORT = Intent().node_port

#: Kinds whose pods are waited for, with their number: field of spec, else one each.
_COUNTED = ("Deployment", "ReplicaSet", "StatefulSet", "ReplicationController")


@dataclass(frozen=True)
class Site:
    """Where manifests are made: everything that differs from the document's cluster."""

    namespace: str
    run: str  #: value of the label RUN
    roles: Roles
    images: Images
    node_port: int = DOCUMENT_NODE_PORT

    @property
    def labels(self) -> dict[str, str]:
        return {**MANAGED_BY, RUN: self.run}


def made(manifest: Manifest, site: Site) -> dict[str, Any]:
    """The object to create: a copy in our namespace, on the real nodes, with the images that run.

    Raises ClusterError, one line, for a manifest of another namespace or of a role that no node plays.
    """
    body = copy.deepcopy(dict(manifest.body))
    metadata = body["metadata"]
    if metadata.get("namespace", site.namespace) != site.namespace:
        raise ClusterError(
            f"{manifest.label}: names namespace {metadata['namespace']!r}, and labs touch their own only;"
            " leave metadata.namespace out"
        )
    metadata["namespace"] = site.namespace
    _label(metadata, site.labels | {PART: "lab"})
    if manifest.kind == "Service":
        for port in (body.get("spec") or {}).get("ports") or ():
            if port.get("nodePort") == DOCUMENT_NODE_PORT:
                port["nodePort"] = site.node_port
    for owner in _pod_objects(body):
        if owner is not body:
            marks = site.labels | {PART: "lab", MADE_BY: made_by(manifest)}
            _label(owner.setdefault("metadata", {}), marks)
        _keep_out_of_meshes(owner["metadata"])
        _place(owner["spec"], manifest, site)
    return body


def pods_expected(manifest: Manifest) -> int | None:
    """How many pods a workload makes: None where the cluster decides (DaemonSet) or none is waited for."""
    if manifest.kind in _COUNTED:
        return int((manifest.body.get("spec") or {}).get("replicas", 1))
    return 1 if manifest.kind == "DaemonSet" else None


def made_by(manifest: Manifest) -> str:
    """A label's value: 63 characters that begin and end with a letter or digit."""
    return re.sub(r"[^a-z0-9.-]", "-", f"{manifest.kind}.{manifest.name}".lower())[:63].rstrip(".-")


def _pod_objects(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The mappings with a pod's metadata and spec: the body of a Pod, the template of what makes pods."""
    spec = body.get("spec")
    if not isinstance(spec, dict):
        return
    if body["kind"] == "Pod":
        yield body
    elif body["kind"] == "CronJob":
        yield from _pod_objects({"kind": "Job", "spec": (spec.get("jobTemplate") or {}).get("spec")})
    elif isinstance(template := spec.get("template"), dict):
        inner = template.get("spec")
        if isinstance(inner, dict) and "containers" in inner:  # not what another kind calls a template
            yield template


def _place(spec: dict[str, Any], manifest: Manifest, site: Site) -> None:
    selector = spec.get("nodeSelector") or {}
    role = DOCUMENT_NODES.get(selector.get(HOSTNAME, ""))
    if role is not None:
        if role not in site.roles.hostnames:
            raise ClusterError(f"{manifest.label}: {site.roles.lacks.get(role, f'no node plays {role}')}")
        spec["nodeSelector"] = {**selector, HOSTNAME: site.roles.hostnames[role]}
    elif not selector and "nodeName" not in spec and "nodeAffinity" not in (spec.get("affinity") or {}):
        # The nodes without a role are not observed: a pod there could be asked, not captured.
        names = [name for role, name in site.roles.nodes.items() if role != "master"]
        spec["affinity"] = {**(spec.get("affinity") or {}), "nodeAffinity": on_nodes(names)}
    for containers in ("initContainers", "containers"):
        if containers in spec:
            spec[containers] = [site.images.container(container) for container in spec[containers]]
    if site.images.pull_secrets:
        own = [*(spec.get("imagePullSecrets") or ()), *({"name": name} for name in site.images.pull_secrets)]
        spec["imagePullSecrets"] = own
    spec.setdefault("terminationGracePeriodSeconds", GRACE)
    # No lab talks to the API; a token in a pod that others may exec into is one too many.
    spec.setdefault("automountServiceAccountToken", False)


def on_nodes(names: list[str]) -> dict[str, Any]:
    """A nodeAffinity for these nodes: matchFields takes one name each."""
    terms = [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]} for name in names
    ]
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}


def _keep_out_of_meshes(metadata: dict[str, Any]) -> None:
    metadata["labels"] = {**NO_MESH_LABELS, **metadata["labels"]}
    metadata["annotations"] = {**NO_MESH_ANNOTATIONS, **(metadata.get("annotations") or {})}


def _label(metadata: dict[str, Any], labels: Mapping[str, str]) -> None:
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
