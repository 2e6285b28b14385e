"""Where the API keeps objects of a kind: asked of the API itself, so that any kind can be made."""

from __future__ import annotations

from typing import Any

from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.manifests import Manifest


class Kinds:
    """REST paths by apiVersion and kind. Each group is asked for once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resources: dict[str, list[dict[str, Any]]] = {}

    def collection(self, manifest: Manifest, namespace: str) -> str:
        """The path that objects like ``manifest`` are created at.

        Raises ClusterError, one line, for a kind that the cluster does not know, and for one outside
        namespaces: labs touch their own namespace only.
        """
        version = str(manifest.body["apiVersion"])
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        for resource in self.served(base):
            if resource.get("kind") == manifest.kind and "/" not in resource["name"]:
                if not resource.get("namespaced"):
                    raise ClusterError(
                        f"{manifest.label}: a {manifest.kind} is of the whole cluster,"
                        " and labs touch their own namespace only"
                    )
                return f"{base}/namespaces/{namespace}/{resource['name']}"
        raise ClusterError(
            f"{manifest.label}: the cluster knows no kind {manifest.kind} in {version}"
            f" (kubectl --context {self._api.context} api-resources lists them)"
        )

    def has(self, base: str, resource: str) -> bool:
        """``base``: "/apis/GROUP/VERSION"."""
        return any(each["name"] == resource for each in self.served(base))

    def served(self, base: str) -> list[dict[str, Any]]:
        """The resources of one group and version; none where the cluster has not got it."""
        if base not in self._resources:
            try:
                self._resources[base] = self._api.get(base).get("resources") or []
            except ApiRefused as error:
                # 503: an aggregated API whose server is away; to us it is not there.
                if error.status not in (404, 503):
                    raise
                self._resources[base] = []
        return self._resources[base]
