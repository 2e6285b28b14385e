"""Pods come up, or don't, as a test told; their statuses are worded as kubelets word them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_network

from tests.fakeapi.content import FakeNode
from tests.fakeapi.statuses import Json
from tests.fakeapi.store import Store, now

#: Stands in messages for the pod as the kubelet names it: "pod-src_default(<uid>)".
_POD = "<pod>"


@dataclass(frozen=True)
class Running:
    """All containers run; not ``ready`` when the readiness probe goes on failing."""

    ready: bool = True


@dataclass(frozen=True)
class Waiting:
    """Containers wait: for each of ``reasons`` in turn, then for the last one for good."""

    reasons: Sequence[tuple[str, str]]  #: (reason, message)
    restarts: int = 0
    exit_code: int | None = None  #: of the run before, which made it wait
    event: str = ""  #: the reason of the Event that goes with it
    container: str = ""  #: the one that waits, while the others run; "": all


@dataclass(frozen=True)
class Unschedulable:
    """No node takes it. ``message``: the scheduler's."""

    message: str


Outcome = Running | Waiting | Unschedulable


def creating() -> Waiting:
    """The sandbox takes its time: ContainerCreating, without a message."""
    return Waiting([("ContainerCreating", "")])


def sandbox_fails(message: str) -> Waiting:
    """ContainerCreating for good; why stands in the Event FailedCreatePodSandBox only."""
    return Waiting([("ContainerCreating", message)], event="FailedCreatePodSandBox")


def crash_loop(name: str, exit_code: int = 1) -> Waiting:
    """Container ``name`` ended with ``exit_code`` again and again."""
    message = f"back-off 5m0s restarting failed container={name} pod={_POD}"
    return Waiting(
        [("CrashLoopBackOff", message)], restarts=5, exit_code=exit_code, event="BackOff", container=name
    )


def image_fails(container: str, image: str, runtime: str, minor: int) -> Waiting:
    """ErrImagePull, then ImagePullBackOff, for an image that the registry does not have."""
    if runtime.startswith("docker"):
        name, _, tag = image.rpartition(":")
        why = (
            f"rpc error: code = Unknown desc = Error response from daemon: manifest for {name}:{tag} "
            "not found: manifest unknown: manifest unknown"
        )
    else:
        full = (
            image
            if "." in image.split("/")[0]
            else f"docker.io/{image if '/' in image else 'library/' + image}"
        )
        why = (
            f'rpc error: code = NotFound desc = failed to pull and unpack image "{full}": '
            f'failed to resolve reference "{full}": {full}: not found'
        )
    back_off = f'Back-off pulling image "{image}"'
    if minor >= 32:
        back_off += f": ErrImagePull: {why}"
    reasons = [("ErrImagePull", why), ("ImagePullBackOff", back_off)]
    return Waiting(reasons, event="Failed", container=container)


class Kubelet:
    """All nodes' kubelets. What tests tell it holds for pods that are there too, at once."""

    def __init__(
        self, store: Store, nodes: Sequence[FakeNode], minor: int, killed: Callable[[str, str], None]
    ) -> None:
        self._store = store
        self._nodes = {node.name: node for node in nodes}
        self._minor = minor
        self._killed = killed
        self._told: list[tuple[str, str, Outcome]] = []
        self._missing: list[str] = []
        self._held: list[str] = []
        self._addresses: dict[str, str] = {}

    # What tests tell

    def let(self, pod: str, outcome: Outcome, namespace: str = "*") -> None:
        """Pods whose name fits the pattern ``pod`` come to ``outcome``; what was told last counts."""
        with self._store.changed:
            self._told.insert(0, (pod, namespace, outcome))
            self._store.nudge()

    def without_image(self, pattern: str) -> None:
        """No node has, or can pull, an image that fits."""
        with self._store.changed:
            self._missing.append(pattern)
            self._store.nudge()

    def address(self, pod: str, address: str) -> None:
        """Pods of this name get this address."""
        self._addresses[pod] = address

    def hold_deletions(self, pod: str = "*") -> None:
        """Pods whose name fits stay Terminating, until :meth:`release_deletions`."""
        with self._store.changed:
            self._held.append(pod)

    def release_deletions(self) -> None:
        with self._store.changed:
            self._held.clear()
            self._store.nudge()

    def restart(self, namespace: str, pod: str, container: str) -> None:
        """The container died and runs again."""

        def change(obj: Json) -> None:
            for status in obj["status"]["containerStatuses"]:
                if status["name"] == container:
                    runtime = status["containerID"].split("://")[0]
                    status["lastState"] = {"terminated": {"exitCode": 137, "reason": "Error"}}
                    status["containerID"] = f"{runtime}://{_hex(str(uuid.uuid4()))}"
                    status["restartCount"] += 1

        self._store.modify("pods", pod, namespace, change)

    # What the controllers ask

    def outcome(self, pod: Json) -> Outcome:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        for pattern, space, outcome in self._told:
            if fnmatchcase(name, pattern) and fnmatchcase(namespace, space):
                return outcome
        node = self._nodes.get(pod["spec"].get("nodeName", ""))
        for container in pod["spec"]["containers"]:
            if node and any(fnmatchcase(container["image"], pattern) for pattern in self._missing):
                return image_fails(container["name"], container["image"], node.runtime, self._minor)
        return Running()

    def reconcile(self, pod: Json) -> None:
        """One step of one pod that has a node."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if "deletionTimestamp" in pod["metadata"]:
            if not any(fnmatchcase(name, pattern) for pattern in self._held):
                self._store.remove("pods", name, namespace)
                self._killed(namespace, name)
            return
        if pod["spec"]["nodeName"] not in self._nodes:
            return
        outcome = self.outcome(pod)
        waiting = outcome if isinstance(outcome, Waiting) else None
        if waiting and waiting.event and "hostIP" not in pod["status"]:
            event(self._store, pod, "Pod", waiting.event, waiting.reasons[0][1], "kubelet")
        ready = not isinstance(outcome, Running) or outcome.ready
        before = {status["name"]: status for status in pod["status"].get("containerStatuses") or []}
        statuses = [
            self._container(pod, container, before.get(container["name"]), waiting, ready)
            for container in pod["spec"]["containers"]
        ]
        self._store.modify("pods", name, namespace, lambda obj: self._status(obj, statuses))

    def _status(self, pod: Json, statuses: list[Json]) -> None:
        node = self._nodes[pod["spec"]["nodeName"]]
        status = pod["status"]
        waiting = [one["state"]["waiting"]["reason"] for one in statuses if "waiting" in one["state"]]
        started = any("running" in one["state"] or one["restartCount"] for one in statuses)
        # Running as soon as all containers were made; only then does none of them wait for its first start.
        unmade = any("waiting" in one["state"] and not one["restartCount"] for one in statuses)
        status["phase"] = "Pending" if unmade else "Running"
        status["hostIP"] = node.address
        status.setdefault("startTime", now())
        if "podIP" not in status and (started or "ContainerCreating" not in waiting):
            status["podIP"] = self._free_address(pod, node)
            status["podIPs"] = [{"ip": status["podIP"]}]
        unready = [container["name"] for container in statuses if not container["ready"]]
        why = {
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{' '.join(unready)}]",
        }
        status["conditions"] = [
            {"type": "Initialized", "status": "True"},
            {"type": "Ready", "status": str(not unready)} | (why if unready else {}),
            {"type": "ContainersReady", "status": str(not unready)} | (why if unready else {}),
            {"type": "PodScheduled", "status": "True"},
        ]
        status["containerStatuses"] = statuses

    def _container(
        self, pod: Json, container: Json, before: Json | None, waiting: Waiting | None, ready: bool
    ) -> Json:
        runtime = self._nodes[pod["spec"]["nodeName"]].runtime.split("://")[0]
        status: Json = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "lastState": {},
            "ready": ready,
            "restartCount": 0,
            "started": ready,
        }
        if waiting and waiting.container in ("", container["name"]):
            state = {"waiting": _waiting(pod, before, waiting)}
            status |= {"ready": False, "restartCount": waiting.restarts, "state": state}
            if waiting.exit_code is not None:
                ended = {"exitCode": waiting.exit_code, "reason": "Error", "finishedAt": now()}
                status["lastState"] = {"terminated": ended}
            return status
        if before and "running" in before["state"]:
            return before | {"ready": ready, "started": ready}
        return status | {
            "containerID": f"{runtime}://{_hex(pod['metadata']['uid'] + container['name'])}",
            "imageID": f"{container['image'].rpartition(':')[0]}@sha256:{_hex(container['image'])}",
            "state": {"running": {"startedAt": now()}},
        }

    def _free_address(self, pod: Json, node: FakeNode) -> str:
        if pod["spec"].get("hostNetwork"):
            return node.address
        if pod["metadata"]["name"] in self._addresses:
            return self._addresses[pod["metadata"]["name"]]
        taken = {other["status"].get("podIP") for other in self._store.listed("pods")}
        taken |= set(self._addresses.values())
        # The block's first address is the tunnel's.
        _, *free = (str(address) for address in ip_network(node.block) if str(address) not in taken)
        return free[0]


def _waiting(pod: Json, before: Json | None, waiting: Waiting) -> Json:
    names = [reason for reason, _ in waiting.reasons]
    last = ((before or {}).get("state") or {}).get("waiting", {}).get("reason")
    at = names.index(last) + 1 if last in names else 0
    reason, message = waiting.reasons[min(at, len(names) - 1)]
    meta = pod["metadata"]
    message = message.replace(_POD, f"{meta['name']}_{meta['namespace']}({meta['uid']})")
    hidden = reason == "ContainerCreating"  # why stands in an Event only
    return {"reason": reason} | ({} if hidden or not message else {"message": message})


def event(store: Store, obj: Json, kind: str, reason: str, message: str, component: str) -> None:
    """A Warning about ``obj``."""
    meta = obj["metadata"]
    involved = {
        "kind": kind,
        "name": meta["name"],
        "namespace": meta["namespace"],
        "uid": meta["uid"],
    }
    store.create(
        "events",
        {
            "metadata": {"generateName": f"{meta['name']}.", "namespace": meta["namespace"]},
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": "Warning",
            "count": 1,
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "source": {"component": component},
        },
    )


def _hex(seed: str) -> str:
    return hashlib.sha256(seed.encode()).hexdigest()
