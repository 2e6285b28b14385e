"""The namespace of a run: made, kept alive by a heartbeat, removed; and those that killed runs left.

Usually one of our own, ``k8snet-<random>``. Where pull secrets tie the run to a namespace that exists, that
one is used and stays; a ConfigMap in it then carries our label, owner and heartbeat, and keeps a second run
out.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.api.watching import wait_for
from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from pytest_k8snet.clusters.kube import heartbeat
from pytest_k8snet.clusters.kube.heartbeat import BEAT, OWNER, Heartbeat
from pytest_k8snet.clusters.kube.pod_troubles import one_line
from pytest_k8snet.clusters.kube.waiting import pods_gone, refusal
from pytest_k8snet.clusters.kube.workloads import MANAGED_BY, RUN

NAMESPACES = "/api/v1/namespaces"
SELECTOR = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())
PREFIX = "k8snet-"
KEPT = "k8snet.dev/kept"  #: annotation: left on purpose, so never removed by us
MARK = "k8snet-run"  #: the ConfigMap in a namespace that is not ours
REMOVAL = 120.0  #: seconds for a namespace to go; containers that ignore signals take a few
SWEEPING = 60.0  #: seconds for one that a killed run left; a stuck one must not stop all runs after it
SILENT = 2.5  #: heartbeats that are waited for where only they can tell that a run is alive; one may be late
#: What a namespace of ours needs so that its pods are admitted: probe pods are privileged (PodSecurity,
#: Kubernetes >= 1.23). Older versions take it for a label like any other.
PRIVILEGED = {"pod-security.kubernetes.io/enforce": "privileged"}

#: What a run can leave in a namespace that stays: group, version and resource. All is ours by its label. What
#: makes pods comes before the pods.
_LEAVES = (
    "/apis/apps/v1/{}/daemonsets",
    "/apis/apps/v1/{}/deployments",
    "/apis/apps/v1/{}/statefulsets",
    "/apis/apps/v1/{}/replicasets",
    "/apis/batch/v1/{}/jobs",
    "/api/v1/{}/pods",
    "/api/v1/{}/services",
    "/apis/networking.k8s.io/v1/{}/networkpolicies",
    "/api/v1/{}/configmaps",
)


def new_name() -> str:
    return PREFIX + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(6))


class RunNamespace:
    """Where the objects of one run are. :meth:`open` makes it; :meth:`close` removes it, whatever was made.

    ``given``: a namespace that exists, to be used instead of one of our own.
    """

    def __init__(self, api: Api, run: str, *, given: str = "", keep: bool = False) -> None:
        self.name = given or new_name()
        self.run = run
        self.kept = keep
        self._api = api
        self._given = given
        self._made = False  #: perhaps: the answer may have been lost
        self._heart: Heartbeat | None = None

    @property
    def mark(self) -> str:
        """The path of the object that carries our annotations."""
        place = f"{NAMESPACES}/{self.name}"
        return f"{place}/configmaps/{MARK}" if self._given else place

    def open(self, connect: Callable[[], Api], progress: Callable[[str], None], deadline: Deadline) -> None:
        """Make it, after a look for another run's mark where it was given. Raises ClusterError, one line."""
        metadata: dict[str, Any] = {
            "name": self.name,
            "labels": {**MANAGED_BY, RUN: self.run},
            "annotations": {
                **heartbeat.noted(),
                **({KEPT: "true"} if self.kept else {}),
                # OpenShift's default node selector would keep the labs off the nodes that were chosen.
                "openshift.io/node-selector": "",
            },
        }
        progress(f"making namespace {self.name}" if not self._given else f"using namespace {self.name}")
        try:
            if self._given:
                metadata |= {"name": MARK, "namespace": self.name}
                _take_over(self._api, self.name, progress, deadline)
                self._made = True
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
                self._api.create(f"{NAMESPACES}/{self.name}/configmaps", body)
            else:
                metadata["labels"] |= PRIVILEGED
                self._made = True
                body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
                self._api.create(NAMESPACES, body)
        except ApiRefused as error:
            self._made = error.repeated  # a try before this one may have been carried out
            raise refusal(f"namespace {self.name}", error) from None
        self._heart = Heartbeat(connect, self.mark)
        # Pods are refused until the controller manager made it.
        wait_for(
            self._api,
            f"{NAMESPACES}/{self.name}/serviceaccounts",
            lambda found: "default" in found or None,
            deadline=deadline,
            what=f"service account default in namespace {self.name} (kube-controller-manager makes it)",
        )

    def close(self) -> str:
        """Remove what is ours, wait until it is gone. What stays and how to remove it; "" when nothing does.

        Idempotent; raises no ClusterError.
        """
        if self._heart is not None:
            self._heart.stop()
        if not self._made:
            return ""
        if self.kept:
            return f"kept as asked: {self.stays}"
        self._api.deadline = deadline = Deadline(REMOVAL)
        try:
            if self._given:
                remove_objects(self._api, self.name, self.run, deadline)
            else:
                remove(self._api, self.name, deadline)
        except ClusterError as error:
            return f"could not be removed: {self.what}: {error}; remove it with `{self.removal}`"
        return ""

    @property
    def removal(self) -> str:
        """The command that removes it."""
        kubectl = f"kubectl --context {self._api.context}"
        if self._given:
            return f"{kubectl} -n {self.name} delete all,configmaps -l {RUN}={self.run}"
        return f"{kubectl} delete namespace {self.name}"

    @property
    def stays(self) -> str:
        return f"{self.what}; remove it with `{self.removal}`"

    @property
    def what(self) -> str:
        """What there is to remove."""
        return f"the run's objects in namespace {self.name}" if self._given else f"namespace {self.name}"


def sweep(api: Api, progress: Callable[[str], None], deadline: Deadline) -> list[str]:
    """Remove the namespaces that killed runs left, and wait until they are gone: one may hold the NodePort.

    Those of runs that are alive, and those kept on purpose, are left alone. Returns a line for each other.
    """
    told = []
    for found in api.listed(NAMESPACES, labelSelector=SELECTOR)["items"]:
        name, noted = found["metadata"]["name"], found["metadata"].get("annotations") or {}
        terminating = bool(found["metadata"].get("deletionTimestamp"))
        if OWNER not in noted or KEPT in noted or not name.startswith(PREFIX):
            continue
        if not terminating and not _is_over(api, NAMESPACES, name, noted, progress):
            continue
        line = f"namespace {name}, left by {heartbeat.in_words(noted)}"
        progress(f"waiting for the end of {line}" if terminating else f"removing {line}")
        try:
            remove(api, name, Deadline(min(SWEEPING, deadline.left)))
        except (CommandTimeout, ApiRefused) as stuck:  # refused: by a policy on the removal of namespaces
            told.append(f"{line}: {stuck}")
        else:
            told.append(f"removed {line}")
    return told


def remove(api: Api, name: str, deadline: Deadline) -> None:
    """Delete a namespace and wait until it is gone. Raises ClusterError, which says what holds it up."""
    try:
        api.delete(f"{NAMESPACES}/{name}")
    except ApiRefused as error:
        if error.status != 409:  # it is being deleted already
            raise
    try:
        wait_for(
            api,
            NAMESPACES,
            lambda found: None if name in found else True,
            deadline=deadline,
            what=f"the end of namespace {name}",
            fieldSelector=f"metadata.name={name}",
        )
    except CommandTimeout as timeout:
        raise CommandTimeout(_why_still_there(api, name) or str(timeout)) from timeout


def remove_object(api: Api, path: str, found: Mapping[str, Any]) -> None:
    """Delete ``found``, an object of the collection at ``path``, and what it made, whatever its kind's own
    default is (a Job's pods would stay). Another one that took its name meanwhile is left alone."""
    metadata = found["metadata"]
    options = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Background",
        "preconditions": {"uid": metadata["uid"]},
    }
    try:
        api.delete(f"{path}/{metadata['name']}", options)
    except ApiRefused as error:
        if error.status != 409:
            raise


def remove_objects(api: Api, namespace: str, run: str, deadline: Deadline) -> None:
    """Delete all that carries the label of ``run``, its mark last, and wait until its pods are gone."""
    selector = f"{RUN}={run}"
    for path in _leaves(namespace):
        try:
            listed = api.listed(path, labelSelector=selector)["items"]
        except ApiRefused as error:
            if error.status not in (403, 404, 405):
                raise
            continue  # a kind that this cluster has not, or that we may not touch: not ours
        for found in listed:
            if found["metadata"]["name"] != MARK:
                remove_object(api, path, found)
    pods_gone(api, namespace, lambda pods: _of_run(pods.values(), run), deadline)
    marks = f"{NAMESPACES}/{namespace}/configmaps"
    if api.listed(marks, labelSelector=selector)["items"]:  # another run's stays
        api.delete(f"{marks}/{MARK}")


def _take_over(api: Api, namespace: str, progress: Callable[[str], None], deadline: Deadline) -> None:
    path = f"{NAMESPACES}/{namespace}/configmaps"
    try:
        mark = api.get(f"{path}/{MARK}")
    except ApiRefused as error:
        if error.status == 404:
            return
        raise
    noted = mark["metadata"].get("annotations") or {}
    left = f"namespace {namespace} is in use by {heartbeat.in_words(noted)}"
    if KEPT not in noted and _is_over(api, path, MARK, noted, progress):
        progress(f"removing what was left in namespace {namespace} by {heartbeat.in_words(noted)}")
        remove_objects(api, namespace, (mark["metadata"].get("labels") or {}).get(RUN, ""), deadline)
        return
    why = (
        "kept on purpose" if KEPT in noted else "wait for its end, or name a pull secret of another namespace"
    )
    raise ClusterError(f"{left}: {why} (kubectl -n {namespace} describe configmap {MARK})")


def _is_over(
    api: Api, path: str, name: str, noted: Mapping[str, str], progress: Callable[[str], None]
) -> bool:
    gone = heartbeat.is_gone(noted)
    if gone is not None:
        return gone
    progress(f"waiting for a heartbeat of {name} ({heartbeat.in_words(noted)})")

    def beats(found: Mapping[str, Mapping[str, Any]]) -> bool | None:
        """True at a heartbeat, and where another run removed the namespace meanwhile."""
        now = found[name]["metadata"].get("annotations") or {} if name in found else {}
        return True if now.get(BEAT, "") != noted.get(BEAT, "") else None

    only = f"metadata.name={name}"
    with suppress(CommandTimeout):
        wait_for(
            api,
            path,
            beats,
            deadline=Deadline(SILENT * heartbeat.INTERVAL),
            what=f"a heartbeat of {name}",
            fieldSelector=only,
        )
        return False
    # The API may have been as silent to us as to that run: a last look, which has to succeed.
    return not beats(
        {each["metadata"]["name"]: each for each in api.listed(path, fieldSelector=only)["items"]}
    )


def _why_still_there(api: Api, name: str) -> str:
    """ "" where the API does not say."""
    with suppress(ClusterError):
        conditions = (api.get(f"{NAMESPACES}/{name}").get("status") or {}).get("conditions") or ()
        why = [one_line(each.get("message", "")) for each in conditions if each.get("status") == "True"]
        return f"it is still Terminating: {'; '.join(filter(None, why)) or 'no reason is given'}"
    return ""


def _of_run(pods: Any, run: str) -> str:
    names = [p["metadata"]["name"] for p in pods if (p["metadata"].get("labels") or {}).get(RUN) == run]
    return ", ".join(names)


def _leaves(namespace: str) -> Iterator[str]:
    for leaf in _LEAVES:
        yield leaf.format(f"namespaces/{namespace}")
