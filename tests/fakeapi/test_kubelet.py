"""How pods come up, or don't: statuses and messages as real kubelets and schedulers give them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakeapi import (
    FakeCluster,
    FakeNode,
    Running,
    Unschedulable,
    crash_loop,
    document_nodes,
    sandbox_fails,
)
from tests.fakeapi.admission import PodSecurity
from tests.fakeapi.statuses import Json


def made(fake: FakeCluster, *images: str, **spec: Any) -> Json:
    """pod-pause, once everything is at rest."""
    containers = [{"name": f"container{n}", "image": image} for n, image in enumerate(images or ("x:1",), 1)]
    fake.store.create("pods", {"metadata": {"name": "pod-pause"}, "spec": {"containers": containers} | spec})
    fake.controllers.settle()
    return fake.store.get("pods", "pod-pause", "default")


def waiting(pod: Json) -> list[Json]:
    found: list[Json] = [status["state"].get("waiting", {}) for status in pod["status"]["containerStatuses"]]
    return found


def warnings(fake: FakeCluster) -> list[tuple[str, str]]:
    return [(event["reason"], event["message"]) for event in fake.store.listed("events")]


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            "v1.20.8",
            "0/3 nodes are available: 1 node(s) had taint {node-role.kubernetes.io/master: }, that the pod "
            "didn't tolerate, 2 node(s) didn't match Pod's node affinity.",
        ),
        (
            "v1.29.4",
            "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane:"
            " }, 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes are available: "
            "3 Preemption is not helpful for scheduling.",
        ),
        (
            "v1.34.2",
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match Pod's node "
            "affinity/selector. no new claims to deallocate, preemption: 0/3 nodes are available: 3 "
            "Preemption is not helpful for scheduling.",
        ),
    ],
)
def test_no_node_fits(version: str, message: str) -> None:
    with FakeCluster(version) as fake:
        pod = made(fake, nodeSelector={"kubernetes.io/hostname": "k8s-master"})
        (condition,) = pod["status"]["conditions"]
        assert (pod["status"]["phase"], condition["reason"]) == ("Pending", "Unschedulable")
        assert condition["message"] == message
        assert warnings(fake) == [("FailedScheduling", message)]


def test_a_pod_is_scheduled_once_it_may(fake: FakeCluster) -> None:
    fake.kubelet.let("pod-pause", Unschedulable("0/3 nodes are available: 3 Insufficient memory."))
    assert "nodeName" not in made(fake)["spec"]
    fake.kubelet.let("pod-pause", Running())
    fake.controllers.settle()
    assert fake.store.get("pods", "pod-pause", "default")["status"]["phase"] == "Running"


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        (
            "docker://20.10.7",
            "rpc error: code = Unknown desc = Error response from daemon: manifest for kubetm/p8080:v9 not "
            "found: manifest unknown: manifest unknown",
        ),
        (
            "containerd://1.6.20",
            'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/kubetm/p8080:v9": '
            'failed to resolve reference "docker.io/kubetm/p8080:v9": docker.io/kubetm/p8080:v9: not found',
        ),
    ],
)
def test_one_image_of_two_is_missing(runtime: str, message: str) -> None:
    with FakeCluster(nodes=document_nodes(runtime)) as fake:
        fake.kubelet.without_image("kubetm/p8080:*")
        pod = made(fake, "kubetm/p8000:v1", "kubetm/p8080:v9")
        assert pod["status"]["phase"] == "Pending"
        assert waiting(pod) == [
            {},
            {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "kubetm/p8080:v9"'},
        ]
        assert warnings(fake) == [("Failed", message)]


def test_a_container_that_crashes(fake: FakeCluster) -> None:
    fake.kubelet.let("pod-pause", crash_loop("container2", exit_code=3))
    pod = made(fake, "kubetm/p8000:v1", "kubetm/p8080:v1")
    first, second = pod["status"]["containerStatuses"]
    assert (pod["status"]["phase"], first["ready"], second["ready"]) == ("Running", True, False)
    assert second["lastState"]["terminated"]["exitCode"] == 3
    assert second["state"]["waiting"]["message"] == (
        "back-off 5m0s restarting failed container=container2 "
        f"pod=pod-pause_default({pod['metadata']['uid']})"
    )
    assert "podIP" in pod["status"]


def test_a_sandbox_that_fails_says_why_in_an_event_only(fake: FakeCluster) -> None:
    why = "Failed to create pod sandbox: ... cni plugin not initialized"
    fake.kubelet.let("pod-pause", sandbox_fails(why))
    pod = made(fake)
    assert waiting(pod) == [{"reason": "ContainerCreating"}]
    assert "podIP" not in pod["status"]
    assert warnings(fake) == [("FailedCreatePodSandBox", why)]


def test_a_probe_that_fails(fake: FakeCluster) -> None:
    fake.kubelet.let("pod-pause", Running(ready=False))
    status = made(fake)["status"]
    assert status["conditions"][1] == {
        "type": "Ready",
        "status": "False",
        "reason": "ContainersNotReady",
        "message": "containers with unready status: [container1]",
    }


def test_daemons_run_where_their_tolerations_let_them(fake: FakeCluster) -> None:
    def daemons(name: str, **spec: Any) -> Json:
        pod = {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "x"}]} | spec,
        }
        wanted = {"selector": {"matchLabels": {"app": name}}, "template": pod}
        fake.store.create("daemonsets", {"metadata": {"name": name}, "spec": wanted})
        fake.controllers.settle()
        return fake.store.get("daemonsets", name, "default")

    assert daemons("workers")["status"]["numberReady"] == 2
    everywhere = daemons("everywhere", hostNetwork=True, tolerations=[{"operator": "Exists"}])
    assert everywhere["status"]["numberReady"] == 3
    pods = [
        pod
        for pod in fake.store.listed("pods", "default")
        if pod["metadata"]["labels"]["app"] == "everywhere"
    ]
    assert [pod["status"]["podIP"] for pod in sorted(pods, key=lambda pod: pod["spec"]["nodeName"])] == [
        "192.168.219.21",
        "192.168.219.22",
        "192.168.219.23",
    ]
    fake.store.remove("daemonsets", "everywhere", "default")
    fake.controllers.settle()
    assert len(fake.store.listed("pods", "default")) == 2


def test_daemons_that_admission_refuses(fake: FakeCluster) -> None:
    fake.store.admission.append(PodSecurity(fake.store, "baseline"))
    pod = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"hostPID": True, "containers": [{"name": "c", "image": "x"}]},
    }
    wanted = {"selector": {"matchLabels": {"a": "b"}}, "template": pod}
    fake.store.create("daemonsets", {"metadata": {"name": "probe"}, "spec": wanted})
    fake.controllers.settle()
    (reason, message), *others = warnings(fake)
    assert len(others) == 1  # one for each worker
    assert reason == "FailedCreate"
    assert message.startswith('Error creating: pods "probe-')
    assert message.endswith('violates PodSecurity "baseline:latest": host namespaces (hostPID=true)')


def test_nodes_that_are_not_well_get_no_pods() -> None:
    nodes = (
        FakeNode("away", "192.168.219.31", "20.111.0.0/26", ready=False),
        FakeNode("cordoned", "192.168.219.32", "20.111.0.64/26", unschedulable=True),
        FakeNode("well", "192.168.219.33", "20.111.0.128/26"),
    )
    with FakeCluster(nodes=nodes) as fake:
        assert made(fake)["spec"]["nodeName"] == "well"
