"""EndpointSlices and Endpoints follow services and the pods that they select."""

from __future__ import annotations

from tests.fakeapi.statuses import Json
from tests.fakeapi.store import Store

_SERVICE = "kubernetes.io/service-name"


class Endpoints:
    def __init__(self, store: Store, minor: int) -> None:
        self._store = store
        self._minor = minor

    def reconcile(self) -> None:
        services = self._store.listed("services")
        for service in services:
            if service["spec"].get("selector"):
                self._service(service)
        kept = {_key(service) for service in services}
        for endpoints in self._store.listed("endpoints"):
            if _key(endpoints) not in kept:
                self._store.remove("endpoints", *_key(endpoints))
        for found in self._store.listed("endpointslices"):
            if (found["metadata"]["labels"][_SERVICE], found["metadata"]["namespace"]) not in kept:
                self._store.remove("endpointslices", *_key(found))

    def _service(self, service: Json) -> None:
        meta, spec = service["metadata"], service["spec"]
        pods = [
            pod
            for pod in self._store.listed("pods", meta["namespace"])
            if spec["selector"].items() <= (pod["metadata"].get("labels") or {}).items()
            and "podIP" in pod["status"]
            # Until 1.22 a pod that terminates leaves the slice, later it stays as not ready.
            and ("deletionTimestamp" not in pod["metadata"] or self._minor >= 22)
        ]
        ports = [
            {"name": port.get("name", ""), "port": port["targetPort"], "protocol": port["protocol"]}
            for port in spec.get("ports") or []
        ]
        common = {"namespace": meta["namespace"], "ownerReferences": [_owner(service)]}
        self._keep(
            "endpointslices",
            {
                "metadata": {
                    **common,
                    "name": f"{meta['name']}-{meta['uid'][:5]}",
                    "labels": {
                        _SERVICE: meta["name"],
                        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                    },
                },
                "addressType": "IPv4",
                "endpoints": [_endpoint(pod) for pod in pods],
                "ports": ports,
            },
        )
        ready = [
            {"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"]} for pod in pods if _ready(pod)
        ]
        subsets = [{"addresses": ready, "ports": ports}] if ready else []
        self._keep(
            "endpoints",
            {"metadata": {"name": meta["name"], "namespace": meta["namespace"]}, "subsets": subsets},
        )

    def _keep(self, kind: str, wanted: Json) -> None:
        name, namespace = _key(wanted)
        if all(_key(obj) != (name, namespace) for obj in self._store.listed(kind, namespace)):
            self._store.create(kind, wanted)
            return
        content = {key: value for key, value in wanted.items() if key != "metadata"}
        self._store.modify(kind, name, namespace, lambda obj: obj.update(content))


def _endpoint(pod: Json) -> Json:
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": _ready(pod)},
        "nodeName": pod["spec"]["nodeName"],
        "targetRef": {
            "kind": "Pod",
            "name": pod["metadata"]["name"],
            "namespace": pod["metadata"]["namespace"],
            "uid": pod["metadata"]["uid"],
        },
    }


def _ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions") or []
    ready = any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _owner(service: Json) -> Json:
    name, uid = service["metadata"]["name"], service["metadata"]["uid"]
    return {"apiVersion": "v1", "kind": "Service", "name": name, "uid": uid, "controller": True}


def _key(obj: Json) -> tuple[str, str]:
    return obj["metadata"]["name"], obj["metadata"]["namespace"]
