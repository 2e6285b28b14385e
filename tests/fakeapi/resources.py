"""Which resources the fake serves, in which versions, and how a request's path names one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.fakeapi.statuses import Json

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Resource:
    group: str  #: "" for the core group
    versions: tuple[str, ...]
    plural: str
    kind: str
    namespaced: bool = True
    custom: bool = False  #: of a CustomResourceDefinition: items of a list then carry kind and apiVersion
    subresources: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """ "pods", "daemonsets.apps": as the API names it in messages, and as the store takes it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def group_version(group: str, version: str) -> str:
    return f"{group}/{version}" if group else version


def standard(minor: int, *, calico: bool) -> list[Resource]:
    """What Kubernetes 1.``minor`` serves, as far as the plugin may ask for it."""
    slices = [
        version for version, first, last in (("v1", 21, 99), ("v1beta1", 17, 24)) if first <= minor <= last
    ]
    found = [
        Resource(
            "", ("v1",), "namespaces", "Namespace", namespaced=False, subresources=("status", "finalize")
        ),
        Resource("", ("v1",), "nodes", "Node", namespaced=False, subresources=("status", "proxy")),
        Resource("", ("v1",), "pods", "Pod", subresources=("exec", "log", "status", "attach")),
        Resource("", ("v1",), "services", "Service", subresources=("status",)),
        Resource("", ("v1",), "endpoints", "Endpoints"),
        Resource("", ("v1",), "configmaps", "ConfigMap"),
        Resource("", ("v1",), "secrets", "Secret"),
        Resource("", ("v1",), "serviceaccounts", "ServiceAccount"),
        Resource("", ("v1",), "events", "Event"),
        Resource("", ("v1",), "resourcequotas", "ResourceQuota"),
        Resource("", ("v1",), "limitranges", "LimitRange"),
        Resource("apps", ("v1",), "daemonsets", "DaemonSet", subresources=("status",)),
        Resource("apps", ("v1",), "deployments", "Deployment", subresources=("status", "scale")),
        Resource("apps", ("v1",), "replicasets", "ReplicaSet", subresources=("status",)),
        Resource("discovery.k8s.io", tuple(slices), "endpointslices", "EndpointSlice"),
        Resource("networking.k8s.io", ("v1",), "networkpolicies", "NetworkPolicy"),
    ]
    if minor >= 33:
        found.append(Resource("networking.k8s.io", ("v1",), "servicecidrs", "ServiceCIDR", namespaced=False))
    if calico:
        found += [
            Resource("crd.projectcalico.org", ("v1",), plural, kind, namespaced=False, custom=True)
            for plural, kind in (
                ("ippools", "IPPool"),
                ("felixconfigurations", "FelixConfiguration"),
                ("blockaffinities", "BlockAffinity"),
                ("ipamblocks", "IPAMBlock"),
            )
        ]
    return found


@dataclass(frozen=True)
class Target:
    """What a request's path names."""

    resource: Resource
    version: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Unknown(Exception):
    """No such path: the real server answers ``404 page not found`` as plain text."""


class Table:
    """All resources, found by path or by key."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._resources = list(resources)

    def namespaced(self) -> list[Resource]:
        return [resource for resource in self._resources if resource.namespaced and resource.versions]

    def find(self, key: str) -> Resource:
        """By "daemonsets.apps", or by the plural alone where only one group has it."""
        found = [known for known in self._resources if key in (known.key, known.plural)]
        exact = [known for known in found if known.key == key]
        if len(exact or found) != 1:
            raise KeyError(key)
        return (exact or found)[0]

    def target(self, path: str) -> Target:
        """What ``path`` names; raises :class:`Unknown`."""
        _, root, *parts = path.rstrip("/").split("/")
        group = parts.pop(0) if root == "apis" and parts else ""
        if root not in ("api", "apis") or len(parts) < 2:
            raise Unknown(path)
        version, *parts = parts
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
            namespace, parts = parts[1], parts[2:]
        plural, name, subresource, *rest = [*parts, "", ""]
        for known in self._resources:
            served = known.group == group and known.plural == plural and version in known.versions
            if served and not any(rest) and (known.namespaced or not namespace):
                return Target(known, version, namespace, name, subresource)
        raise Unknown(path)

    def groups(self) -> Json:
        """The answer to /apis."""
        versions: dict[str, list[str]] = {}
        for resource in self._resources:
            if resource.group:
                known = versions.setdefault(resource.group, [])
                known += [version for version in resource.versions if version not in known]
        versions.setdefault("authorization.k8s.io", ["v1"])
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [self._group(group, found) for group, found in versions.items() if found],
        }

    def group(self, name: str) -> Json:
        """The answer to /apis/<group>; raises :class:`Unknown`."""
        for group in self.groups()["groups"]:
            if group["name"] == name:
                return {"kind": "APIGroup", "apiVersion": "v1", **group}
        raise Unknown(name)

    def version(self, group: str, version: str) -> Json:
        """The answer to /api/v1 or /apis/<group>/<version>; raises :class:`Unknown`."""
        served: list[Json] = []
        for resource in self._resources:
            if resource.group == group and version in resource.versions:
                common = {"singularName": "", "namespaced": resource.namespaced, "kind": resource.kind}
                served.append({"name": resource.plural, **common, "verbs": list(VERBS)})
                served += [
                    {"name": f"{resource.plural}/{sub}", **common, "verbs": ["create", "get"]}
                    for sub in resource.subresources
                ]
        if not served:
            raise Unknown(group_version(group, version))
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version(group, version),
            "resources": served,
        }

    def _group(self, name: str, versions: list[str]) -> Json:
        found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
        return {"name": name, "versions": found, "preferredVersion": found[0]}


def presented(obj: Json, resource: Resource, version: str, *, in_list: bool = False) -> Json:
    """``obj`` as version ``version`` shows it."""
    shown: dict[str, Any] = {"kind": resource.kind, "apiVersion": group_version(resource.group, version)}
    if in_list and not resource.custom:
        shown = {}
    shown |= {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
    if resource.plural == "endpointslices" and version == "v1beta1":
        # v1beta1 names the node in `topology`; nodeName stood behind a feature gate until 1.21.
        shown["endpoints"] = [
            {
                **{key: value for key, value in endpoint.items() if key != "nodeName"},
                "topology": {"kubernetes.io/hostname": endpoint["nodeName"]},
            }
            if "nodeName" in endpoint
            else endpoint
            for endpoint in shown.get("endpoints") or []
        ]
    return shown
