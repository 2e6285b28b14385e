"""Waiting for pods: until all are Ready, or gone, or until it is known that waiting won't help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.api.watching import wait_for
from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from pytest_k8snet.clusters.kube.pod_troubles import (
    LATE,
    Trouble,
    is_ready,
    newest_warning,
    not_ready,
    state_in_words,
    trouble,
)

#: Seconds of one turn. What is wrong at the end of several in a row stays: see ``Trouble.turns``.
TURN = 4.0

#: Of a sandbox or volume; kubelet tries again, and a CNI plugin that starts needs a while.
_NOT_CREATED = ("FailedCreatePodSandBox", "FailedMount", "FailedAttachVolume")

Pods = Mapping[str, Mapping[str, Any]]


def pods_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def pods_ready(
    api: Api,
    namespace: str,
    *,
    selector: str,
    relevant: Callable[[Mapping[str, Any]], bool] = lambda pod: True,
    missing: Callable[[Pods], str],
    makers: Collection[str] = (),
    deadline: Deadline,
    progress: Callable[[str], None] = lambda step: None,
) -> Pods:
    """The ``relevant`` pods of ``selector`` by name, once all are Ready and ``missing`` names none that is
    not there. ``makers``: names of the workloads that make them. ``progress`` is told who is waited for.

    Raises ClusterError, one line, as soon as a pod is in a trouble that stays (image, node, message, what to
    do) or a controller may not make one; CommandTimeout at the deadline, with the last state and event.
    """
    watch = _Watch(api, namespace, relevant, missing, makers)
    while True:
        # In turns: what stays as it is makes no event that could wake a watch.
        turn = Deadline(min(TURN, deadline.left))
        try:
            return wait_for(
                api,
                pods_path(namespace),
                watch.ready,
                deadline=turn,
                what=f"pods in namespace {namespace}",
                labelSelector=selector,
            )
        except CommandTimeout as timeout:
            if not watch.looked:  # the API did not answer all that time
                if not deadline.left:
                    raise
                continue
            watch.judge()
            progress(f"waiting for {watch.state}")
            if not deadline.left:
                raise CommandTimeout(watch.last_words()) from timeout


def pods_gone(api: Api, namespace: str, gone: Callable[[Pods], str], deadline: Deadline) -> None:
    """Return once ``gone`` names no pod that is still there. Raises CommandTimeout."""
    wait_for(
        api,
        pods_path(namespace),
        lambda pods: None if gone(pods) else True,
        deadline=deadline,
        what=f"the end of pods in namespace {namespace}",
    )


def events(api: Api, namespace: str, **fields: str) -> list[Mapping[str, Any]]:
    """Events by field selector; none where they may not be read: they only explain."""
    selector = ",".join(f"{name.replace('_', '.')}={value}" for name, value in fields.items())
    try:
        return list(api.listed(f"/api/v1/namespaces/{namespace}/events", fieldSelector=selector)["items"])
    except ClusterError:
        return []


def refusal(label: str, error: ApiRefused) -> ClusterError:
    """One line for an object that the API refused: its own message, and what it means for a lab."""
    said = str(error)
    advice = ""
    if "provided port is already allocated" in said:
        advice = "find the service with `kubectl get services -A`, or name another with --k8snet-node-port"
    elif "not in the valid range" in said or "range of valid ports" in said:
        advice = "name a port of the cluster's range with --k8snet-node-port"
    elif "PodSecurity" in said:
        advice = "its namespace needs the label pod-security.kubernetes.io/enforce=privileged"
    elif "exceeded quota" in said:
        advice = "the namespace's ResourceQuota must leave room for it"
    return ClusterError(f"{label}: the API refuses it: {said}" + (f"; {advice}" if advice else ""))


class _Watch:
    """What was seen of the pods so far."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        relevant: Callable[[Mapping[str, Any]], bool],
        missing: Callable[[Pods], str],
        makers: Collection[str],
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._relevant = relevant
        self._missing = missing
        self._makers = makers
        self.looked = False
        self._pods: Pods = {}
        self._stuck: Counter[str] = Counter()  #: pod -> turns at whose end its sandbox or volume had failed
        self._cut_off: Counter[str] = Counter()  #: pod -> turns in a row at whose end its node was not Ready
        self._turns: Counter[str] = Counter()  #: pod -> turns in a row at whose end it was in trouble
        self._pulls: dict[str, str] = {}  #: image -> why its pull failed; the back-off does not repeat it

    def ready(self, listed: Pods) -> Pods | None:
        pods = {name: pod for name, pod in listed.items() if self._relevant(pod)}
        self.looked, self._pods = True, pods
        for pod in pods.values():
            found = trouble(pod, self._api.context)
            if found and found.image and found.turns:
                self._pulls[found.image] = found.said
            if found and not found.turns:
                raise ClusterError(self._told(pod, found))
            if not found:
                del self._turns[pod["metadata"]["name"]]
        if self._missing(pods) or not all(map(is_ready, pods.values())):
            return None
        return pods

    def judge(self) -> None:
        """At the end of a turn: what was wrong at the end of those before too, and all the time between."""
        now = {name: found for name, pod in self._pods.items() if (found := trouble(pod, self._api.context))}
        for name, found in now.items():
            self._turns[name] += 1
            if self._turns[name] >= found.turns:
                raise ClusterError(self._told(self._pods[name], found))
        for name, pod in self._pods.items():
            if name not in now and not is_ready(pod):
                self._judge_events(name, pod)
                self._judge_node(name, pod)
        if missing := self._missing(self._pods):
            told = events(self._api, self._namespace, reason="FailedCreate")
            refused = newest_warning([event for event in told if self._is_of_makers(event)])
            if refused:
                raise ClusterError(f"{missing} in namespace {self._namespace}: {refused}")

    def _is_of_makers(self, event: Mapping[str, Any]) -> bool:
        """A namespace that was given holds others' workloads too. A ReplicaSet is named after its maker."""
        name = str((event.get("involvedObject") or {}).get("name", ""))
        return any(name == maker or name.startswith(f"{maker}-") for maker in self._makers)

    def _judge_events(self, name: str, pod: Mapping[str, Any]) -> None:
        """A pod that is ContainerCreating all the time tells why in its events alone."""
        said = next(filter(None, (newest_warning(self._events_of(pod), each) for each in _NOT_CREATED)), "")
        self._stuck[name] += bool(said)
        if self._stuck[name] >= LATE:
            raise ClusterError(f"{state_in_words(pod)}: {said}")

    def _judge_node(self, name: str, pod: Mapping[str, Any]) -> None:
        """A kubelet that is silent says nothing of its pods: they stay as the scheduler left them."""
        node = (pod.get("spec") or {}).get("nodeName")
        with suppress(ClusterError):
            listed = self._api.listed("/api/v1/nodes", fieldSelector=f"metadata.name={node}") if node else {}
            why = next((not_ready(each) for each in listed.get("items", ())), "")
            self._cut_off[name] = self._cut_off[name] + 1 if why else 0
        if self._cut_off[name] >= LATE:
            raise ClusterError(f"{state_in_words(pod)}, and {node} is not Ready: {why}")

    @property
    def state(self) -> str:
        """What is not there or not ready yet."""
        words = [state_in_words(pod) for pod in self._pods.values() if not is_ready(pod)]
        return "; ".join(filter(None, [*words, self._missing(self._pods)]))

    def last_words(self) -> str:
        words = [self.state]
        for pod in self._pods.values():
            if not is_ready(pod) and (said := newest_warning(self._events_of(pod))):
                words.append(said)
                break
        see = f"kubectl --context {self._api.context} -n {self._namespace} get pods,events"
        return f"pods did not become ready in time: {'; '.join(words)}; see `{see}`"

    def _told(self, pod: Mapping[str, Any], found: Trouble) -> str:
        if found.image and "Back-off" in found.text:
            why = self._pulls.get(found.image) or self._why_not_pulled(pod)
            if why and why not in found.text:
                return f"{found.text} ({why}); {found.advice}"
        return found.line

    def _why_not_pulled(self, pod: Mapping[str, Any]) -> str:
        """kubelet's Event of the pull; "Error: ImagePullBackOff" is one of the same reason."""
        pulls = [
            event for event in self._events_of(pod) if not str(event.get("message", "")).startswith("Error: ")
        ]
        return newest_warning(pulls, "Failed").removeprefix("Failed: ")

    def _events_of(self, pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        # By uid: those of an earlier pod of that name stay for an hour.
        metadata = pod["metadata"]
        about = {"involvedObject_name": metadata["name"], "involvedObject_uid": metadata["uid"]}
        return events(self._api, self._namespace, **about)
