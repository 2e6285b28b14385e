"""What the providers of real clusters may have to ask of the API; docs/rbac.yaml grants it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pytest_k8snet.clusters.api.client import Api


class Permission(NamedTuple):
    """``namespace`` empty: in every one, since that of a run is new."""

    verbs: tuple[str, ...]
    resource: str  #: "pods", "pods/exec"
    group: str = ""
    namespace: str = ""


SEE = ("get", "list", "watch")

#: Of the whole cluster.
CLUSTER = (Permission(("list",), "nodes"),)
#: To have a namespace of our own. In one that is given, a ConfigMap marks the run.
OWN_NAMESPACE = (Permission(("create", "delete", "patch", *SEE), "namespaces"),)
GIVEN_NAMESPACE = (Permission(("create", "delete", "patch", "get", "list", "watch"), "configmaps"),)
#: In the run's namespace. "get": an object whose creation was not answered may be ours. exec over a websocket
#: is "get" to the API server, and "create" as well since Kubernetes 1.35
#: (AuthorizePodWebsocketUpgradeCreatePermission).
IN_NAMESPACE = (
    Permission(("create", "delete", *SEE), "pods"),
    Permission(("create", "get"), "pods/exec"),
    Permission(("create", "delete", "get", "list"), "services"),
    Permission(("list", "watch"), "serviceaccounts"),
    Permission(("list",), "events"),
    Permission(("list", "watch"), "endpointslices", "discovery.k8s.io"),
)
#: For node access by probe pods.
PROBE = (Permission(("create", "delete", "get", "list"), "daemonsets", "apps"),)
#: Where there is Calico: two claims judge its pools.
CALICO_CRD = (Permission(("list",), "ippools", "crd.projectcalico.org"),)
CALICO_API = (Permission(("list",), "ippools", "projectcalico.org"),)
#: Looked at where it is allowed: the proxy mode, the cluster's pod range, Calico's version.
OPTIONAL = (
    Permission(("get",), "configmaps", namespace="kube-system"),
    Permission(("list",), "pods", namespace="kube-system"),
    Permission(("get",), "daemonsets", "apps", "kube-system"),
    Permission(("get",), "daemonsets", "apps", "calico-system"),
)


def missing(api: Api, asked: Iterable[Permission], namespace: str = "") -> Iterator[Permission]:
    """Those of ``asked`` that we have not, and which verbs; in ``namespace`` unless they name one."""
    for permission in asked:
        resource, _, subresource = permission.resource.partition("/")
        verbs = tuple(
            verb
            for verb in permission.verbs
            if not api.allowed(
                verb,
                resource,
                group=permission.group,
                namespace=permission.namespace or namespace,
                subresource=subresource,
            )
        )
        if verbs:
            yield permission._replace(verbs=verbs)


def in_words(permissions: Iterable[Permission]) -> str:
    """ "create,delete pods; list nodes; list ippools.crd.projectcalico.org"."""
    verbs: defaultdict[str, list[str]] = defaultdict(list)
    for permission in permissions:
        name = f"{permission.resource}.{permission.group}" if permission.group else permission.resource
        verbs[name] += permission.verbs
    return "; ".join(f"{','.join(dict.fromkeys(each))} {name}" for name, each in verbs.items())
