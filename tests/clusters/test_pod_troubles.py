"""What a pod's status says of why it does not become ready."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_k8snet.clusters.kube.pod_troubles import (
    LATE,
    SOON,
    is_ready,
    newest_warning,
    state_in_words,
    trouble,
)
from tests.clusters.kubernetes_objects import pod, waiting

READY = {"type": "Ready", "status": "True"}
CONTAINERD = (
    'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/kubetm/init:latest":'
    ' failed to resolve reference "docker.io/kubetm/init:latest": docker.io/kubetm/init:latest: not found'
)
DENIED = (
    "rpc error: code = Unknown desc = Error response from daemon: pull access denied for kubetm/init,"
    " repository does not exist or may require 'docker login': denied: requested access is denied"
)
TIMED_OUT = 'rpc error: code = Unknown desc = Get "https://mirror/v2/": net/http: TLS handshake timeout'
AGNHOST = "replace it with --k8snet-images agnhost, or with --k8snet-images kubetm/init=OTHER"
SECRET = ", or a pull secret with --k8snet-image-pull-secret NAMESPACE/NAME"
WHERE = "pod pod-src, container container on k8s-node2"


def test_ready_is_the_condition_of_a_pod_that_stays() -> None:
    ready = pod(conditions=[{"type": "Initialized", "status": "True"}, READY])
    assert is_ready(ready)
    assert not is_ready(pod(conditions=[{**READY, "status": "False"}]))
    assert not is_ready(pod())
    ready["metadata"]["deletionTimestamp"] = "2026-11-22T20:38:03Z"
    assert not is_ready(ready)


@pytest.mark.parametrize(
    ("status", "line", "turns"),
    [
        (
            waiting("ErrImagePull", CONTAINERD),
            f"{WHERE}: image kubetm/init can't be had (ErrImagePull): {CONTAINERD}; {AGNHOST}",
            0,
        ),
        (
            waiting("ErrImagePull", DENIED),
            f"{WHERE}: image kubetm/init can't be had (ErrImagePull): {DENIED}; {AGNHOST}{SECRET}",
            0,
        ),
        (
            waiting("ErrImagePull", TIMED_OUT),
            f"{WHERE}: image kubetm/init can't be had (ErrImagePull): {TIMED_OUT}; {AGNHOST}",
            SOON,
        ),
        (
            waiting("ImagePullBackOff", 'Back-off pulling image "kubetm/init"'),
            f"{WHERE}: image kubetm/init can't be had (ImagePullBackOff): Back-off pulling image "
            f'"kubetm/init"; {AGNHOST}',
            0,
        ),
        (
            waiting("InvalidImageName", "Failed to apply default image tag"),
            f"{WHERE}: image kubetm/init can't be had (InvalidImageName): Failed to apply default image tag;"
            f" {AGNHOST}",
            0,
        ),
        (
            waiting("CrashLoopBackOff", "back-off 5m0s", exitCode=2, reason="Error"),
            f"{WHERE} ends again and again (CrashLoopBackOff; exit code 2); see"
            " `kubectl --context mine -n k8snet-abc logs pod-src -c container --previous`",
            0,
        ),
        (
            waiting("CrashLoopBackOff", "", exitCode=137, reason="OOMKilled"),
            f"{WHERE} ends again and again (CrashLoopBackOff; exit code 137, OOMKilled); see"
            " `kubectl --context mine -n k8snet-abc logs pod-src -c container --previous`",
            0,
        ),
        (
            waiting("CrashLoopBackOff", "", exitCode=128, reason="StartError", message="exec format\nerror"),
            f"{WHERE} ends again and again (CrashLoopBackOff; exit code 128, StartError: exec format error);"
            " see `kubectl --context mine -n k8snet-abc logs pod-src -c container --previous`",
            0,
        ),
        (
            waiting("CrashLoopBackOff"),
            f"{WHERE} ends again and again (CrashLoopBackOff; no exit code is known); see"
            " `kubectl --context mine -n k8snet-abc logs pod-src -c container --previous`",
            0,
        ),
        (
            waiting("CreateContainerConfigError", 'configmap "x" not found'),
            f'{WHERE} can\'t be started (CreateContainerConfigError): configmap "x" not found',
            LATE,
        ),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available:\n 3 node(s) didn't match node selector.",
                    }
                ],
            },
            "pod pod-src is Pending, no node takes it: 0/3 nodes are available: 3 node(s) didn't match node"
            " selector.",
            SOON,
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
            "pod pod-src ended (Failed, Evicted: The node was low on resource: memory.); see"
            " `kubectl --context mine -n k8snet-abc describe pod pod-src`",
            0,
        ),
        (
            {"phase": "Succeeded"},
            "pod pod-src ended (Succeeded); see `kubectl --context mine -n k8snet-abc describe pod pod-src`",
            0,
        ),
    ],
)
def test_a_trouble_in_one_line(status: dict[str, Any], line: str, turns: int) -> None:
    found = trouble(pod(**status), "mine")
    assert found is not None
    assert (found.line, found.turns) == (line, turns)
    assert "\n" not in found.line


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
        waiting("ContainerCreating"),
        waiting("PodInitializing"),
        {"phase": "Running", "containerStatuses": [{"name": "container", "state": {"running": {}}}]},
        {"phase": "Running", "containerStatuses": [{"name": "container"}]},
    ],
)
def test_a_pod_that_is_on_its_way_is_in_no_trouble(status: dict[str, Any]) -> None:
    assert trouble(pod(**status), "mine") is None


@pytest.mark.parametrize(
    ("reason", "said", "turns"),
    [
        ("ErrImagePull", "pull access denied, authorization failed", LATE),
        ("ImagePullBackOff", "Back-off pulling image", LATE),
        ("InvalidImageName", "no such name", 0),
    ],
)
def test_a_pull_secret_may_come_after_the_pod(reason: str, said: str, turns: int) -> None:
    waits = pod(**waiting(reason, said))
    waits["spec"]["imagePullSecrets"] = [{"name": "regcred"}]
    found = trouble(waits, "mine")
    assert found is not None
    assert found.turns == turns


def test_the_option_that_replaces_an_image() -> None:
    status = waiting("ErrImagePull", CONTAINERD)
    own = trouble(pod(image="my/app:1", **status), "mine")
    assert own is not None
    assert own.advice == "name another with --k8snet-images IMAGE=OTHER"
    probe = trouble(pod(image="x", labels={"k8snet.dev/part": "probe"}, **status), "mine")
    assert probe is not None
    assert probe.advice == "name another with --k8snet-probe-image"


def test_an_init_container_is_looked_at_first() -> None:
    both = pod(
        initContainerStatuses=waiting("ImagePullBackOff", "x")["containerStatuses"],
        containerStatuses=waiting("PodInitializing")["containerStatuses"],
    )
    both["status"]["initContainerStatuses"][0] |= {"name": "init", "image": "init:1"}
    found = trouble(both, "mine")
    assert found is not None
    assert "container init on k8s-node2: image init:1" in found.text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (waiting("ContainerCreating"), "pod-src on k8s-node2: ContainerCreating"),
        ({"phase": "Running"}, "pod-src on k8s-node2: not Ready"),
        ({}, "pod-src on k8s-node2: Pending"),
    ],
)
def test_the_state_in_words(status: dict[str, Any], words: str) -> None:
    assert state_in_words(pod(**status)) == words


def test_the_newest_warning() -> None:
    def event(reason: str, **more: str) -> dict[str, str]:
        return {"type": "Warning", "reason": reason, "message": f"{reason}\nsaid", **more}

    events = [
        event("New", lastTimestamp="2026-11-22T20:00:03Z"),
        event("Old", lastTimestamp="2026-11-22T20:00:01Z"),
        event("Events1", eventTime="2026-11-22T20:00:02.000000Z"),
        {"type": "Normal", "reason": "Pulled", "lastTimestamp": "2026-11-22T20:00:09Z"},
    ]
    assert newest_warning(events) == "New: New said"
    assert newest_warning(events, "Old") == "Old: Old said"
    assert newest_warning(events, "Pulled") == ""
    assert newest_warning([]) == ""
