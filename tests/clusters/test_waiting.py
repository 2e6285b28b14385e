"""Waiting for pods: told within seconds why it is in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from pytest_k8snet.clusters.kube import waiting
from pytest_k8snet.clusters.kube.pod_troubles import LATE
from pytest_k8snet.clusters.kube.waiting import Pods, pods_gone, pods_ready, refusal
from tests.clusters.real import api_of
from tests.fakeapi import (
    FakeCluster,
    Running,
    Unschedulable,
    Waiting,
    creating,
    document_nodes,
    sandbox_fails,
)

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


@pytest.fixture
def api(fake: FakeCluster, tmp_path: Path) -> Iterator[Api]:
    with api_of(fake, tmp_path) as api:
        yield api


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TURN", 0.1)


def make(api: Api, name: str = "pod-src") -> None:
    spec = {"containers": [{"name": "container", "image": "kubetm/init"}], "nodeSelector": {}}
    api.create(PODS, {"metadata": {"name": name, "labels": {"a": "b"}}, "spec": spec})


def none_missing(pods: Pods) -> str:
    return "" if "pod-src" in pods else "no pod pod-src"


def wait(api: Api, seconds: float = 5.0, missing: Callable[[Pods], str] = none_missing, **more: Any) -> Pods:
    return pods_ready(api, "default", selector="a=b", missing=missing, deadline=Deadline(seconds), **more)


def test_it_returns_the_pods_once_all_are_ready(fake: FakeCluster, api: Api) -> None:
    fake.kubelet.let("pod-src", creating())
    make(api)
    steps = []

    def step(text: str) -> None:
        steps.append(text)
        fake.kubelet.let("pod-src", Running())

    assert list(wait(api, progress=step)) == ["pod-src"]
    assert steps[0].startswith("waiting for pod-src on k8s-node")
    assert steps[0].endswith(": ContainerCreating")


def test_pods_that_are_not_relevant_may_be_in_trouble(fake: FakeCluster, api: Api) -> None:
    fake.kubelet.let("other", Waiting([("InvalidImageName", "x")]))
    make(api)
    make(api, "other")
    assert list(wait(api, relevant=lambda pod: pod["metadata"]["name"] == "pod-src")) == ["pod-src"]


def test_a_pod_of_a_node_that_is_silent_is_told_when_that_stays(tmp_path: Path) -> None:
    nodes = [replace(node, ready=node.name != "k8s-node2") for node in document_nodes()]
    with FakeCluster(nodes=nodes) as fake, api_of(fake, tmp_path) as api:
        fake.kubelet.let("pod-src", creating())
        containers = [{"name": "container", "image": "kubetm/init"}]
        spec = {"containers": containers, "nodeName": "k8s-node2", "tolerations": [{"operator": "Exists"}]}
        api.create(PODS, {"metadata": {"name": "pod-src", "labels": {"a": "b"}}, "spec": spec})
        with pytest.raises(ClusterError) as raised:
            wait(api)
    assert str(raised.value) == (
        "pod-src on k8s-node2: ContainerCreating, and k8s-node2 is not Ready:"
        " Kubelet stopped posting node status."
    )


def test_a_pod_that_no_node_takes_is_told_when_that_stays(fake: FakeCluster, api: Api) -> None:
    fake.kubelet.let("pod-src", Unschedulable("0/3 nodes are available: 3 Insufficient cpu."))
    make(api)
    with pytest.raises(ClusterError) as raised:
        wait(api)
    assert str(raised.value) == (
        "pod pod-src is Pending, no node takes it: 0/3 nodes are available: 3 Insufficient cpu."
    )


def test_a_pod_that_a_node_takes_late_becomes_ready(fake: FakeCluster, api: Api) -> None:
    fake.kubelet.let("pod-src", Unschedulable("0/3 nodes are available"))
    make(api)
    assert list(wait(api, progress=lambda step: fake.kubelet.let("pod-src", Running()))) == ["pod-src"]


def test_a_pull_that_may_come_right_is_told_when_the_kubelet_backs_off(fake: FakeCluster, api: Api) -> None:
    reasons = [("ErrImagePull", "i/o timeout"), ("ImagePullBackOff", 'Back-off pulling image "kubetm/init"')]
    fake.kubelet.let("pod-src", Waiting(reasons, event="Failed"))
    make(api)
    with pytest.raises(ClusterError) as raised:
        wait(api)
    assert 'Back-off pulling image "kubetm/init" (i/o timeout); ' in str(raised.value)


def test_the_event_tells_why_a_pull_failed_that_was_not_seen(fake: FakeCluster, api: Api) -> None:
    fake.kubelet.let("pod-src", Waiting([("ImagePullBackOff", "Back-off pulling image")]))
    make(api)
    uid = fake.store.get("pods", "pod-src", "default")["metadata"]["uid"]
    for second, message in (
        (1, 'Failed to pull image "kubetm/init": i/o timeout'),
        (2, "Error: ErrImagePull"),
    ):
        event = {"type": "Warning", "reason": "Failed", "message": message}
        event["lastTimestamp"] = f"2026-11-22T20:00:0{second}Z"
        meta = {"name": f"e{second}", "namespace": "default"}
        about = {"kind": "Pod", "name": "pod-src", "namespace": "default", "uid": uid}
        fake.store.create("events", {"metadata": meta, "involvedObject": about, **event})
    with pytest.raises(ClusterError) as raised:
        wait(api)
    assert 'Back-off pulling image (Failed to pull image "kubetm/init": i/o timeout); replace it' in str(
        raised.value
    )


def test_a_sandbox_that_fails_again_and_again(fake: FakeCluster, api: Api) -> None:
    fake.kubelet.let("pod-src", sandbox_fails('plugin type="calico" failed (add): no free address'))
    make(api)
    with pytest.raises(ClusterError) as raised:
        wait(api)
    assert "ContainerCreating: FailedCreatePodSandBox: " in str(raised.value)
    assert "no free address" in str(raised.value)
    assert not isinstance(raised.value, CommandTimeout)


def test_a_controller_that_may_not_make_a_pod(fake: FakeCluster, api: Api) -> None:
    said = 'Error creating: pods "k8snet-probe-" is forbidden: exceeded quota: compute'
    event = {"reason": "FailedCreate", "message": said, "type": "Warning", "lastTimestamp": "x"}
    about = {"kind": "ReplicaSet", "name": "web-5d8f7c", "namespace": "default"}
    metadata = {"name": "e", "namespace": "default"}
    fake.store.create("events", {"metadata": metadata, "involvedObject": about, **event})
    with pytest.raises(ClusterError) as raised:
        wait(api, makers=["web"])
    assert str(raised.value) == f"no pod pod-src in namespace default: FailedCreate: {said}"
    # Another's workload, in a namespace that was given.
    with pytest.raises(CommandTimeout, match="in time: no pod pod-src; see "):
        wait(api, seconds=0.3, makers=["we"])


def test_the_events_of_an_earlier_pod_of_that_name_say_nothing(fake: FakeCluster, api: Api) -> None:
    said = {"reason": "FailedMount", "message": "no such volume", "type": "Warning", "lastTimestamp": "x"}
    about = {"kind": "Pod", "name": "pod-src", "namespace": "default", "uid": "an earlier one's"}
    fake.store.create(
        "events", {"metadata": {"name": "e", "namespace": "default"}, "involvedObject": about, **said}
    )
    fake.kubelet.let("pod-src", creating())
    make(api)
    turns: list[str] = []

    def step(text: str) -> None:
        turns.append(text)
        if len(turns) > LATE:
            fake.kubelet.let("pod-src", Running())

    assert list(wait(api, progress=step)) == ["pod-src"]


def test_a_deadline_says_the_last_state(fake: FakeCluster, api: Api) -> None:
    fake.kubelet.let("pod-src", Running(ready=False))
    make(api)
    fake.controllers.settle()
    with pytest.raises(CommandTimeout) as raised:
        wait(api, seconds=0.5)
    assert str(raised.value).startswith("pods did not become ready in time: pod-src on k8s-node")
    assert ": not Ready; see `kubectl --context fake -n default get pods,events`" in str(raised.value)


def test_a_deadline_without_a_pod(fake: FakeCluster, api: Api) -> None:
    fake.deny("list", "events")  # they only explain
    with pytest.raises(CommandTimeout, match="in time: no pod pod-src; see "):
        wait(api, seconds=0.3)


def test_a_deadline_with_a_warning(fake: FakeCluster, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TURN", 5.0)  # one turn
    fake.kubelet.let("pod-src", sandbox_fails("no address"))
    make(api)
    fake.controllers.settle()
    with pytest.raises(CommandTimeout, match="ContainerCreating; FailedCreatePodSandBox: no address; see "):
        wait(api, seconds=0.5)


def test_an_api_that_does_not_answer_says_so(fake: FakeCluster, api: Api) -> None:
    fake.fail("GET", PODS, status=503, times=1000)
    with pytest.raises(ClusterError) as raised:
        wait(api, seconds=0.3)
    assert "did not become ready" not in str(raised.value)


def test_pods_that_end(fake: FakeCluster, api: Api) -> None:
    make(api)
    wait(api)
    fake.kubelet.hold_deletions()
    api.delete(f"{PODS}/pod-src")
    with pytest.raises(CommandTimeout, match="the end of pods in namespace default"):
        pods_gone(api, "default", lambda pods: ", ".join(pods), Deadline(0.2))
    fake.kubelet.release_deletions()
    pods_gone(api, "default", lambda pods: ", ".join(pods), Deadline(5))


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("spec.ports[0].nodePort: provided port is already allocated", "--k8snet-node-port"),
        ("provided port is not in the valid range. The range of valid ports is 1-2", "--k8snet-node-port"),
        ('violates PodSecurity "baseline:latest": hostNetwork', "enforce=privileged"),
        ("exceeded quota: compute", "ResourceQuota"),
    ],
)
def test_a_refusal_says_what_it_means_for_a_lab(message: str, advice: str) -> None:
    line = str(refusal("Pod x", ApiRefused(message, status=403)))
    assert line.startswith(f"Pod x: the API refuses it: {message}; ")
    assert advice in line


def test_any_other_refusal_is_the_apis_own_words() -> None:
    assert str(refusal("Pod x", ApiRefused("no", status=403))) == "Pod x: the API refuses it: no"
