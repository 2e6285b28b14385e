"""Why a pod does not become ready: what its status says, and what to do about it (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_k8snet.clusters.images import DOCUMENT
from pytest_k8snet.clusters.kube.workloads import PART

#: Kubelet's reasons (pkg/kubelet/images/types.go) for an image that waiting won't bring.
_NO_IMAGE = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
#: Answers of a registry that stay what they are, in containerd's, CRI-O's and Docker's words.
_FINAL = re.compile(
    r"not found|manifest unknown|does not exist|unauthorized|denied|forbidden|no matching manifest"
    r"|no match for platform|invalid reference|authentication required",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"unauthorized|denied|forbidden|authentication required", re.IGNORECASE)
#: The container can't be made or started. What it needs (a ConfigMap) may be on its way.
_NOT_MADE = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError")


#: Turns (see :mod:`~pytest_k8snet.clusters.kube.waiting`) for what a scheduler or a registry may yet mend,
#: and for what kubelet tries again at its next look, some ten seconds later.
SOON, LATE = 2, 6


@dataclass(frozen=True)
class Trouble:
    """``turns``: how many turns of waiting it may stay before it counts; 0 where waiting does not mend it."""

    text: str
    turns: int = 0
    image: str = ""  #: of a container whose image is not there
    said: str = ""  #: kubelet's own words in ``text``
    advice: str = ""

    @property
    def line(self) -> str:
        return f"{self.text}; {self.advice}" if self.advice else self.text


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Condition Ready, and not being deleted."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def not_ready(node: Mapping[str, Any]) -> str:
    """Why a Node (JSON) is not Ready, in its own words; "" for one that is."""
    for condition in (node.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready":
            said = one_line(condition.get("message") or condition.get("reason") or "no reason given")
            return "" if condition["status"] == "True" else said
    return "no word of its kubelet yet"


def trouble(pod: Mapping[str, Any], context: str) -> Trouble | None:
    """What keeps ``pod`` (JSON) from becoming ready, None where nothing is known to. ``context`` is that of
    the kubectl commands in advice."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    name = metadata["name"]
    kubectl = f"kubectl --context {context} -n {metadata['namespace']}"
    if status.get("phase") in ("Failed", "Succeeded"):
        why = ": ".join(filter(None, (status.get("reason"), status.get("message"))))
        return Trouble(
            f"pod {name} ended ({status['phase']}{f', {one_line(why)}' if why else ''})",
            advice=f"see `{kubectl} describe pod {name}`",
        )
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            said = one_line(condition.get("message") or condition.get("reason") or "no reason given")
            return Trouble(f"pod {name} is Pending, no node takes it: {said}", turns=SOON)
    for container in _containers(status):
        found = _container_trouble(pod, container, kubectl)
        if found:
            return found
    return None


def state_in_words(pod: Mapping[str, Any]) -> str:
    """ "pod-src on k8s-node2: ContainerCreating": for a deadline that passed while nothing was wrong."""
    status = pod.get("status") or {}
    node = (pod.get("spec") or {}).get("nodeName")
    waiting = [
        reason
        for container in _containers(status)
        if (reason := ((container.get("state") or {}).get("waiting") or {}).get("reason"))
    ]
    unready = "not Ready" if status.get("phase") == "Running" else status.get("phase", "Pending")
    return f"{pod['metadata']['name']}{f' on {node}' if node else ''}: {', '.join(waiting) or unready}"


def one_line(text: object) -> str:
    return " ".join(str(text).split())


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(kind) or ()


def _container_trouble(pod: Mapping[str, Any], container: Mapping[str, Any], kubectl: str) -> Trouble | None:
    waiting = (container.get("state") or {}).get("waiting")
    if not waiting:
        return None
    reason, said = waiting.get("reason") or "", one_line(waiting.get("message") or "")
    name, node = pod["metadata"]["name"], (pod.get("spec") or {}).get("nodeName") or "its node"
    where = f"pod {name}, container {container['name']} on {node}"
    if reason in _NO_IMAGE or reason == "ErrImagePull":
        image = _image(pod, container)
        return Trouble(
            f"{where}: image {image} can't be had ({reason}): {said or 'no message'}",
            turns=_patience(pod, reason, said),
            image=image,
            said=said,
            advice=_other_image(pod, image, said),
        )
    if reason == "CrashLoopBackOff":
        last = (container.get("lastState") or {}).get("terminated") or {}
        ended = f"exit code {last['exitCode']}" if "exitCode" in last else "no exit code is known"
        why = f", {last['reason']}" if last.get("reason") not in (None, "Error") else ""
        why += f": {one_line(last['message'])[:200]}" if last.get("message") else ""
        return Trouble(
            f"{where} ends again and again ({reason}; {ended}{why})",
            advice=f"see `{kubectl} logs {name} -c {container['name']} --previous`",
        )
    if reason in _NOT_MADE:
        return Trouble(f"{where} can't be started ({reason}): {said or 'no message'}", turns=LATE)
    return None


def _patience(pod: Mapping[str, Any], reason: str, said: str) -> int:
    if (pod.get("spec") or {}).get("imagePullSecrets") and reason in ("ErrImagePull", "ImagePullBackOff"):
        return LATE  # what puts the secret into a new namespace may come after the pod
    return 0 if reason in _NO_IMAGE or _FINAL.search(said) else SOON


def _image(pod: Mapping[str, Any], container: Mapping[str, Any]) -> str:
    """As the pod asks for it: the status may hold another spelling, or none yet."""
    spec = pod.get("spec") or {}
    for asked in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        if asked["name"] == container["name"]:
            return str(asked.get("image", ""))
    return str(container.get("image", ""))


def _other_image(pod: Mapping[str, Any], image: str, said: str) -> str:
    if (pod["metadata"].get("labels") or {}).get(PART) == "probe":
        option = "name another with --k8snet-probe-image"
    elif image in DOCUMENT:
        option = f"replace it with --k8snet-images agnhost, or with --k8snet-images {image}=OTHER"
    else:
        option = "name another with --k8snet-images IMAGE=OTHER"
    if _REFUSED.search(said):
        option += ", or a pull secret with --k8snet-image-pull-secret NAMESPACE/NAME"
    return option


def newest_warning(events: Sequence[Mapping[str, Any]], reason: str = "") -> str:
    """Reason and message of the last Warning among Events (core/v1), of ``reason`` if named; "" if none."""
    warnings = [
        event for event in events if event.get("type") == "Warning" and reason in ("", event.get("reason"))
    ]
    # Events of client libraries since 1.19 may have an eventTime alone.
    warnings.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    if not warnings:
        return ""
    last = warnings[-1]
    return f"{last.get('reason', '')}: {one_line(last.get('message') or '')}"
