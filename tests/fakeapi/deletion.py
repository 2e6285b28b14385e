"""What a DELETE does before an object is gone: grace of pods, Terminating of namespaces."""

from __future__ import annotations

from tests.fakeapi import statuses
from tests.fakeapi.resources import Resource
from tests.fakeapi.statuses import Json, Refused
from tests.fakeapi.store import Store, now

_TERMINATING = (
    'Operation cannot be fulfilled on namespaces "{}": The system is ensuring all content is removed '
    "from this namespace.  Upon completion, this namespace will automatically be purged by the system."
)


def delete(store: Store, resource: Resource, name: str, namespace: str, options: Json) -> Json:
    """The answer to the DELETE. Raises a 404, or a 409 for a namespace that is terminating already.

    A pod with a node is only marked: the kubelet removes it. A namespace is marked as well: the
    controllers remove its contents, then itself.
    """
    uid = (options.get("preconditions") or {}).get("uid")
    with store.changed:
        found = store.get(resource.key, name, namespace)
        if uid and uid != found["metadata"]["uid"]:
            raise Refused(
                409,
                f'Operation cannot be fulfilled on {resource.key} "{name}": Precondition failed: '
                f"UID in precondition: {uid}, UID in object meta: {found['metadata']['uid']}",
            )
        if resource.key == "namespaces":
            if "deletionTimestamp" in found["metadata"]:
                raise Refused(409, _TERMINATING.format(name))
            return store.modify("namespaces", name, "", _terminating)
        if resource.key == "pods":
            grace = options.get("gracePeriodSeconds")
            seconds = found["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else int(grace)
            # A pod that no kubelet has taken needs no grace.
            if seconds and found["spec"].get("nodeName"):
                return store.modify("pods", name, namespace, lambda pod: _dying(pod, seconds))
        gone = store.remove(resource.key, name, namespace)
        if options.get("propagationPolicy") == "Orphan":
            _orphan(store, gone["metadata"]["uid"])
        if resource.key in ("pods", "services"):
            return gone
        details = {"name": name, "group": resource.group, "kind": resource.plural}
        details["uid"] = gone["metadata"]["uid"]
        return statuses.deleted({key: value for key, value in details.items() if value})


def _terminating(namespace: Json) -> None:
    namespace["metadata"]["deletionTimestamp"] = now()
    namespace["status"] = {"phase": "Terminating"}


def _dying(pod: Json, seconds: int) -> None:
    pod["metadata"].setdefault("deletionTimestamp", now())
    pod["metadata"]["deletionGracePeriodSeconds"] = seconds


def _orphan(store: Store, owner: str) -> None:
    for pod in store.listed("pods"):
        references = pod["metadata"].get("ownerReferences") or []
        kept = [reference for reference in references if reference["uid"] != owner]
        if kept != references:
            pod["metadata"]["ownerReferences"] = kept
            store.update("pods", pod)
