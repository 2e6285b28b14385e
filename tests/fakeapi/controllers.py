"""Scheduler, kubelets and controllers: one thread that makes the store's objects what they should be.

Level-triggered, as the real ones: after every change all is looked at again, until nothing changes.
"""

from __future__ import annotations

import threading

from tests.fakeapi import deletion, scheduling
from tests.fakeapi.endpoints import Endpoints
from tests.fakeapi.kubelet import Kubelet, Unschedulable, event
from tests.fakeapi.statuses import Json, Refused
from tests.fakeapi.store import Store

#: What the DaemonSet controller adds, so that its pods come up on nodes that are not well.
_DAEMON_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}
    for key, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
]


class Controllers:
    def __init__(self, store: Store, kubelet: Kubelet, minor: int) -> None:
        self._store = store
        self._kubelet = kubelet
        self._minor = minor
        self._endpoints = Endpoints(store, minor)
        self._seen = -1  # the store's version that needs no more work
        self._said: set[tuple[str, str]] = set()  # (uid, message) of Events that were sent
        self._thread = threading.Thread(target=self._run, name="fake controllers")

    def start(self) -> None:
        """Bring the cluster's own objects up, then follow the store."""
        self.settle()
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def settle(self) -> None:
        """Bring everything to rest now; the store's lock keeps everybody else out."""
        with self._store.changed:
            self._seen = -1
            while self._seen != self._store.version:
                self._seen = self._store.version
                self._reconcile()

    def _run(self) -> None:
        while not self._store.closed:
            self._store.wait(self._seen)
            self.settle()

    def _reconcile(self) -> None:
        store = self._store
        for namespace in store.listed("namespaces"):
            self._namespace(namespace)
        for daemon_set in store.listed("daemonsets"):
            self._daemon_set(daemon_set)
        owners = {obj["metadata"]["uid"] for obj in store.listed("daemonsets")}
        for pod in store.listed("pods"):
            references = pod["metadata"].get("ownerReferences") or []
            if references and all(reference["uid"] not in owners for reference in references):
                self._delete(pod)
            elif pod["spec"].get("nodeName"):
                self._kubelet.reconcile(pod)
            else:
                self._schedule(pod)
        self._endpoints.reconcile()

    # Namespaces

    def _namespace(self, namespace: Json) -> None:
        name = namespace["metadata"]["name"]
        if "deletionTimestamp" in namespace["metadata"]:
            return self._empty(name)
        self._ensure("serviceaccounts", "default", name)
        if self._minor >= 20:
            self._ensure("configmaps", "kube-root-ca.crt", name)
        return None

    def _empty(self, name: str) -> None:
        """Contents first; the namespace goes when nothing is left."""
        left = False
        for resource in self._store.table.namespaced():
            for obj in self._store.listed(resource.key, name):
                left = True
                if resource.key == "pods":
                    self._delete(obj)
                else:
                    self._store.remove(resource.key, obj["metadata"]["name"], name)
        if not left:
            self._store.remove("namespaces", name)

    def _ensure(self, kind: str, name: str, namespace: str) -> None:
        if all(obj["metadata"]["name"] != name for obj in self._store.listed(kind, namespace)):
            self._store.create(kind, {"metadata": {"name": name, "namespace": namespace}})

    def _delete(self, pod: Json) -> None:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if "deletionTimestamp" in pod["metadata"]:
            self._kubelet.reconcile(pod)
        else:
            deletion.delete(self._store, self._store.table.find("pods"), name, namespace, {})

    # Pods

    def _schedule(self, pod: Json) -> None:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        told = self._kubelet.outcome(pod)
        if isinstance(told, Unschedulable):
            node, message = "", told.message
        else:
            node, message = scheduling.place(pod["spec"], self._store.listed("nodes"), self._minor)
        if node:
            self._store.modify("pods", name, namespace, lambda obj: obj["spec"].update(nodeName=node))
            return
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self._store.modify("pods", name, namespace, lambda obj: obj["status"].update(conditions=[condition]))
        self._say(pod, "Pod", "FailedScheduling", message, "default-scheduler")

    def _say(
        self, obj: Json, kind: str, reason: str, message: str, component: str, *, about: str = ""
    ) -> None:
        """A Warning, once for each ``about``, or each message."""
        said = (obj["metadata"]["uid"], about or message)
        if said not in self._said:
            self._said.add(said)
            event(self._store, obj, kind, reason, message, component)

    # DaemonSets

    def _daemon_set(self, daemon_set: Json) -> None:
        meta, spec = daemon_set["metadata"], daemon_set["spec"]
        pods = {
            pod["spec"].get("nodeName") or _aimed_at(pod): pod
            for pod in self._store.listed("pods", meta["namespace"])
            if any(owner["uid"] == meta["uid"] for owner in pod["metadata"].get("ownerReferences") or [])
        }
        template = spec["template"]["spec"] | {
            "tolerations": [*(spec["template"]["spec"].get("tolerations") or []), *_DAEMON_TOLERATIONS]
        }
        wanted = [
            node["metadata"]["name"]
            for node in self._store.listed("nodes")
            if scheduling.suits(template, node) and not scheduling.untolerated(template, node)
        ]
        for node in wanted:
            if node not in pods:
                try:
                    self._store.create("pods", _daemon_pod(daemon_set, template, node))
                except Refused as refused:
                    # The name is another each time.
                    message = f"Error creating: {refused}"
                    component = "daemonset-controller"
                    self._say(daemon_set, "DaemonSet", "FailedCreate", message, component, about=node)
        ready = sum(_ready(pod) for name, pod in pods.items() if name in wanted)
        status = {
            "currentNumberScheduled": sum(name in wanted for name in pods),
            "desiredNumberScheduled": len(wanted),
            "numberAvailable": ready,
            "numberMisscheduled": 0,
            "numberReady": ready,
            "numberUnavailable": len(wanted) - ready,
            "observedGeneration": meta["generation"],
            "updatedNumberScheduled": sum(name in wanted for name in pods),
        }
        shown = {key: value for key, value in status.items() if value or key not in _LEFT_OUT_WHEN_ZERO}
        self._store.modify(
            "daemonsets", meta["name"], meta["namespace"], lambda obj: obj.update(status=shown)
        )


_LEFT_OUT_WHEN_ZERO = ("numberAvailable", "numberUnavailable", "updatedNumberScheduled")


def _daemon_pod(daemon_set: Json, template: Json, node: str) -> Json:
    meta = daemon_set["metadata"]
    owner = {
        "apiVersion": "apps/v1",
        "blockOwnerDeletion": True,
        "controller": True,
        "kind": "DaemonSet",
        "name": meta["name"],
        "uid": meta["uid"],
    }
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return {
        "metadata": {
            "generateName": f"{meta['name']}-",
            "namespace": meta["namespace"],
            "labels": dict(daemon_set["spec"]["template"]["metadata"].get("labels") or {}),
            "annotations": dict(daemon_set["spec"]["template"]["metadata"].get("annotations") or {}),
            "ownerReferences": [owner],
        },
        "spec": template | {"affinity": affinity},
    }


def _aimed_at(pod: Json) -> str:
    required = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    name: str = required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]
    return name


def _ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)
