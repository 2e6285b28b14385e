"""API reads as evidence: what the parsers of :mod:`pytest_k8snet.evidence.objects` look at, no more.

What is read is kept in bundles, so it is cut down first: no managed fields, no environment of containers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml

from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kube.discovery import Kinds

SYSTEM = "/api/v1/namespaces/kube-system"
DISCOVERY = "/apis/discovery.k8s.io"
#: Calico's API: its own CRDs, else its API server.
IPPOOLS = ("/apis/crd.projectcalico.org/v1", "/apis/projectcalico.org/v3")

_METADATA = ("name", "namespace", "uid", "labels", "annotations", "creationTimestamp", "deletionTimestamp")
_POD_SPEC = ("nodeName", "nodeSelector", "hostNetwork")
_CONTAINER = ("name", "image", "ports")
_NODE_SPEC = ("podCIDR", "podCIDRs", "taints", "unschedulable")
_NODE_STATUS = ("addresses", "conditions", "nodeInfo")
#: Of a node's annotations: others hold what installers note there (k3s: its whole command line).
_CALICO = "projectcalico.org/"
#: kubectl's copy of the whole object.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def read(api: Api, kinds: Kinds, resource: str, *, namespace: str, nodes: Collection[str]) -> bytes:
    """A JSON ``List``: pods, services, endpointslices of ``namespace``; the Node objects of ``nodes``;
    ippools; clustercidrs. Raises ClusterError, one line."""
    place = f"namespaces/{namespace}"
    if resource == "pods":
        items = [_pod(item) for item in _listed(api, f"/api/v1/{place}/pods")]
    elif resource == "services":
        items = [_whole(item) for item in _listed(api, f"/api/v1/{place}/services")]
    elif resource == "endpointslices":
        items = [_whole(item) for item in _listed(api, slices_path(kinds, namespace))]
    elif resource == "nodes":
        found = _listed(api, "/api/v1/nodes")
        items = [_node(item) for item in found if item["metadata"]["name"] in nodes]
    elif resource == "ippools":
        items = [_whole(item) for item in _listed(api, ippools_path(kinds))]
    elif resource == "clustercidrs":
        items = [{"source": source, "cidr": cidr} for source, cidr in cluster_cidrs(api, nodes)]
    else:
        raise ClusterError(f"{resource!r} is not a resource that labs read")
    return json.dumps({"kind": "List", "apiVersion": "v1", "items": items}).encode()


def slices_path(kinds: Kinds, namespace: str) -> str:
    """v1 since Kubernetes 1.21; v1beta1 until 1.24."""
    version = "v1" if kinds.has(f"{DISCOVERY}/v1", "endpointslices") else "v1beta1"
    return f"{DISCOVERY}/{version}/namespaces/{namespace}/endpointslices"


def ippools_path(kinds: Kinds) -> str:
    for base in IPPOOLS:
        if kinds.has(base, "ippools"):
            return f"{base}/ippools"
    raise ClusterError(
        "no Calico: the cluster serves ippools neither in crd.projectcalico.org/v1"
        " nor in projectcalico.org/v3"
    )


def cluster_cidrs(api: Api, nodes: Collection[str]) -> Iterator[tuple[str, str]]:
    """(source, CIDR) of every place that states the pods' range and may be read; none where there is none.

    A node's podCIDR is its share of the range and is called "node podCIDR of NAME".
    """
    kubeadm = config_map(api, "kubeadm-config").get("ClusterConfiguration", "")
    for cidr in _cidrs(_dig(_yaml(kubeadm), "networking", "podSubnet")):
        yield "kubeadm-config podSubnet", cidr
    for cidr in dict.fromkeys(_of_controller_managers(api)):
        yield "kube-controller-manager --cluster-cidr", cidr
    for cidr in _cidrs(_dig(proxy_config(api), "clusterCIDR")):
        yield "kube-proxy clusterCIDR", cidr
    for node in _listed(api, "/api/v1/nodes"):
        if node["metadata"]["name"] in nodes:
            spec = node.get("spec") or {}
            for cidr in spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]):
                yield f"node podCIDR of {node['metadata']['name']}", cidr


def proxy_config(api: Api) -> Mapping[str, Any]:
    """kube-proxy's configuration as kubeadm keeps it (ConfigMap kube-proxy); empty where it can't be had."""
    return _yaml(config_map(api, "kube-proxy").get("config.conf", ""))


def config_map(api: Api, name: str) -> Mapping[str, str]:
    """The content of a ConfigMap in kube-system; empty where there is none or it may not be read."""
    try:
        return api.get(f"{SYSTEM}/configmaps/{name}").get("data") or {}
    except ApiRefused as error:
        if error.status in (403, 404):
            return {}
        raise


def _of_controller_managers(api: Api) -> Iterator[str]:
    try:
        pods = _listed(api, f"{SYSTEM}/pods", "component=kube-controller-manager")
    except ApiRefused as error:
        if error.status == 403:
            return
        raise
    for pod in pods:
        for container in pod["spec"]["containers"]:
            for argument in (*(container.get("command") or ()), *(container.get("args") or ())):
                if argument.startswith("--cluster-cidr="):
                    yield from _cidrs(argument.partition("=")[2])


def _listed(api: Api, path: str, selector: str = "") -> list[dict[str, Any]]:
    return list(api.listed(path, labelSelector=selector)["items"])


def _only(mapping: Mapping[str, Any] | None, keys: Collection[str]) -> dict[str, Any]:
    return {key: mapping[key] for key in keys if key in mapping} if mapping else {}


def _metadata(item: Mapping[str, Any]) -> dict[str, Any]:
    kept = _only(item["metadata"], _METADATA)
    if "annotations" in kept:
        kept["annotations"] = {k: v for k, v in (kept["annotations"] or {}).items() if k != _LAST_APPLIED}
    return kept


def _whole(item: Mapping[str, Any]) -> dict[str, Any]:
    return {**item, "metadata": _metadata(item)}


def _pod(item: Mapping[str, Any]) -> dict[str, Any]:
    containers = [_only(each, _CONTAINER) for each in item["spec"]["containers"]]
    spec = {**_only(item["spec"], _POD_SPEC), "containers": containers}
    return {"metadata": _metadata(item), "spec": spec, "status": item.get("status") or {}}


def _node(item: Mapping[str, Any]) -> dict[str, Any]:
    metadata = _metadata(item)
    noted = metadata.get("annotations") or {}
    metadata["annotations"] = {key: value for key, value in noted.items() if key.startswith(_CALICO)}
    return {
        "metadata": metadata,
        "spec": _only(item.get("spec"), _NODE_SPEC),
        "status": _only(item.get("status"), _NODE_STATUS),
    }


def _yaml(text: str) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return document if isinstance(document, dict) else {}


def _dig(document: Mapping[str, Any], *keys: str) -> str:
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _cidrs(text: str) -> list[str]:
    """Dual stack: both, with a comma between."""
    return [cidr.strip() for cidr in text.split(",") if cidr.strip()]
