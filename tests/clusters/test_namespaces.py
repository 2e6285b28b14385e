"""A run's namespace, its heartbeat, and the namespaces that killed runs left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.api.client import Api
from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from pytest_k8snet.clusters.images import Images
from pytest_k8snet.clusters.kube import heartbeat, namespaces
from pytest_k8snet.clusters.kube.heartbeat import BEAT, OWNER, Heartbeat
from pytest_k8snet.clusters.kube.namespaces import KEPT, MARK, RunNamespace, remove, sweep
from tests.clusters.real import api_of, lab, opened, programs
from tests.fakeapi import FakeCluster

LABELS = {"app.kubernetes.io/managed-by": "pytest-k8snet", "k8snet.dev/run": "old"}
ELSEWHERE = {"host": "laptop", "kernel": "another", "pid": 1, "start": "1", "since": "yesterday"}


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        fake.on_exec(programs({}))
        yield fake


@pytest.fixture
def api(fake: FakeCluster, tmp_path: Path) -> Iterator[Api]:
    with api_of(fake, tmp_path) as api:
        yield api


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(fake: FakeCluster, name: str = "k8snet-old", **annotations: str) -> None:
    fake.store.create(
        "namespaces", {"metadata": {"name": name, "labels": LABELS, "annotations": annotations}}
    )


def now(seconds: float = 0) -> str:
    return f"{time.time() + seconds:.0f}"


def names(fake: FakeCluster) -> list[str]:
    return [path.removeprefix("namespaces/") for path in fake.left()]


def silent(step: str) -> None: ...


def test_this_process_is_alive_and_another_owner_of_its_id_is_not(dead: int) -> None:
    notes = heartbeat.noted()
    assert heartbeat.is_gone(notes) is False
    who = heartbeat.owner()
    assert heartbeat.is_gone({OWNER: json.dumps({**who, "start": "1"}), BEAT: now()}) is True
    assert heartbeat.is_gone({OWNER: json.dumps({**who, "pid": dead}), BEAT: now()}) is True
    assert heartbeat.in_words(notes) == f"process {os.getpid()} on {who['host']}, since {who['since']}"


@pytest.mark.parametrize(
    ("answer", "gone"), [(PermissionError, None), (None, None), (ProcessLookupError, True)]
)
def test_a_process_that_proc_hides_is_not_taken_to_be_gone(
    monkeypatch: pytest.MonkeyPatch, answer: type[Exception] | None, gone: bool | None
) -> None:
    """/proc mounted with hidepid shows no process of another user."""
    notes = {OWNER: json.dumps({**heartbeat.owner(), "pid": 4711}), BEAT: now(-90)}

    def kill(pid: int, number: int) -> None:
        assert (pid, number) == (4711, 0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(heartbeat, "_start", lambda pid: "")
    monkeypatch.setattr(os, "kill", kill)
    assert heartbeat.is_gone(notes) is gone


@pytest.mark.parametrize("pid", [None, "x", 0, -1])
def test_a_process_id_that_is_none_is_known_by_its_heart(pid: object) -> None:
    assert heartbeat.is_gone({OWNER: json.dumps({**heartbeat.owner(), "pid": pid}), BEAT: now()}) is False


@pytest.mark.parametrize(
    ("age", "gone"), [(0, False), (30, False), (90, None), (-90, None), (float("nan"), None)]
)
def test_a_run_on_another_machine_is_known_by_its_heart(age: float, gone: bool | None) -> None:
    beat = "soon" if age != age else now(-age)
    assert heartbeat.is_gone({OWNER: json.dumps(ELSEWHERE), BEAT: beat}) is gone


@pytest.mark.parametrize("owner", ["", "[]", "{", "{}"])
def test_an_owner_that_says_nothing_is_known_by_its_heart(owner: str) -> None:
    assert heartbeat.is_gone({OWNER: owner, BEAT: now()}) is False
    assert heartbeat.in_words({OWNER: owner}) == "process ? on ?, since ?"


def test_without_proc_only_the_heart_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(path: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", none)
    who = heartbeat.owner()
    assert (who["kernel"], who["start"]) == ("", "")
    assert heartbeat.is_gone({OWNER: json.dumps(who), BEAT: now(-90)}) is None


def test_the_heart_beats_until_it_is_stopped(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.02)
    leave(fake, **{OWNER: "x", BEAT: "0"})
    path = fake.kubeconfig(tmp_path / "kubeconfig")
    beaten = threading.Event()
    fake.fail("PATCH", "*", status=403, times=1)  # a beat that is refused is not the last
    fake.fail("PATCH", "*", hook=lambda request: beaten.set(), after=1, times=None)
    heart = Heartbeat(lambda: Api.connect(path, "fake"), "/api/v1/namespaces/k8snet-old")
    try:
        assert beaten.wait(10)
    finally:
        heart.stop()
    heart.stop()
    assert not any(thread.name == "k8snet-heartbeat" for thread in threading.enumerate())
    assert float(fake.store.get("namespaces", "k8snet-old")["metadata"]["annotations"][BEAT]) > 0


def test_what_a_killed_run_of_this_machine_left_is_removed_and_said(
    fake: FakeCluster, api: Api, dead: int
) -> None:
    owner = {**heartbeat.owner(), "pid": dead, "since": "yesterday"}
    leave(fake, **{OWNER: json.dumps(owner), BEAT: now()})
    steps: list[str] = []
    (told,) = sweep(api, steps.append, Deadline(5))
    assert told == (
        f"removed namespace k8snet-old, left by process {dead} on {owner['host']}, since yesterday"
    )
    assert steps == [f"removing {told.removeprefix('removed ')}"]
    assert names(fake) == []


@pytest.mark.parametrize(
    "notes",  # made when the test runs: a heart that beat at collection has stopped by then
    [
        pytest.param(heartbeat.noted, id="a worker of this very run"),
        pytest.param(lambda: {OWNER: json.dumps(ELSEWHERE), BEAT: now()}, id="another machine's"),
        pytest.param(lambda: {OWNER: json.dumps(ELSEWHERE), BEAT: "0", KEPT: "true"}, id="kept"),
        pytest.param(dict, id="somebody else's, with our label"),
    ],
)
def test_a_namespace_of_a_run_that_is_alive_or_was_kept_is_left_alone(
    fake: FakeCluster, api: Api, notes: Callable[[], dict[str, str]]
) -> None:
    leave(fake, **notes())
    fake.store.create("namespaces", {"metadata": {"name": "k8snet-other", "labels": {}}})
    assert sweep(api, silent, Deadline(5)) == []
    assert names(fake) == ["k8snet-old", "k8snet-other"]


def test_a_run_elsewhere_whose_heart_stands_still_is_gone(
    fake: FakeCluster, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.1)
    leave(fake, **{OWNER: json.dumps(ELSEWHERE), BEAT: "0"})
    steps: list[str] = []
    assert len(sweep(api, steps.append, Deadline(5))) == 1
    assert steps[0] == "waiting for a heartbeat of k8snet-old (process 1 on laptop, since yesterday)"
    assert names(fake) == []


def test_a_run_elsewhere_is_not_gone_because_the_api_was_silent(
    fake: FakeCluster, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.1)
    leave(fake, **{OWNER: json.dumps(ELSEWHERE), BEAT: "0"})

    def silence(step: str) -> None:
        fake.fail("WATCH", "/api/v1/namespaces", status=503, times=None)

        def change(obj: dict[str, Any]) -> None:
            obj["metadata"]["annotations"][BEAT] = "10"

        fake.fail("GET", "/api/v1/namespaces", hook=lambda request: None, times=1)  # where the wait begins
        fake.fail(
            "GET",
            "/api/v1/namespaces",
            hook=lambda request: fake.store.modify("namespaces", "k8snet-old", "", change),
        )

    assert sweep(api, silence, Deadline(5)) == []
    assert names(fake) == ["k8snet-old"]


def test_a_namespace_that_only_looks_like_ours_is_left_alone(fake: FakeCluster, api: Api, dead: int) -> None:
    owner = {**heartbeat.owner(), "pid": dead}
    leave(fake, "production", **{OWNER: json.dumps(owner), BEAT: "0"})  # copied with all its annotations
    assert sweep(api, silent, Deadline(5)) == []
    assert names(fake) == ["production"]


def test_a_run_elsewhere_whose_clock_is_wrong_is_alive(fake: FakeCluster, api: Api) -> None:
    leave(fake, **{OWNER: json.dumps(ELSEWHERE), BEAT: now(-3600)})

    def beat(step: str) -> None:
        def change(obj: dict[str, Any]) -> None:
            obj["metadata"]["annotations"][BEAT] = now(-3590)

        fake.store.modify("namespaces", "k8snet-old", "", change)

    assert sweep(api, beat, Deadline(5)) == []
    assert names(fake) == ["k8snet-old"]


def test_one_that_is_going_already_is_waited_for(fake: FakeCluster, api: Api) -> None:
    leave(fake, **{OWNER: json.dumps(ELSEWHERE), BEAT: now()})
    hold(fake, "k8snet-old")
    api.delete("/api/v1/namespaces/k8snet-old")
    steps: list[str] = []

    def step(text: str) -> None:
        steps.append(text)
        fake.kubelet.release_deletions()

    assert len(sweep(api, step, Deadline(5))) == 1
    assert steps[0].startswith("waiting for the end of namespace k8snet-old, left by ")
    assert names(fake) == []


def hold(fake: FakeCluster, namespace: str) -> None:
    """A pod in it that does not end."""
    spec = {"nodeName": "k8s-node1", "containers": [{"name": "c", "image": "i:1"}]}
    fake.store.create("pods", {"metadata": {"name": "stays", "namespace": namespace}, "spec": spec})
    fake.kubelet.hold_deletions("stays")


def test_one_that_is_stuck_does_not_stop_the_next_run(
    fake: FakeCluster, api: Api, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "SWEEPING", 0.2)
    leave(fake, **{OWNER: json.dumps({**heartbeat.owner(), "pid": dead}), BEAT: now()})
    hold(fake, "k8snet-old")
    (told,) = sweep(api, silent, Deadline(5))
    assert told.startswith(f"namespace k8snet-old, left by process {dead} on ")
    assert "it is still Terminating: " in told


def test_one_that_may_not_be_removed_does_not_stop_the_next_run(
    fake: FakeCluster, api: Api, dead: int
) -> None:
    leave(fake, **{OWNER: json.dumps({**heartbeat.owner(), "pid": dead}), BEAT: now()})
    fake.fail("DELETE", "/api/v1/namespaces/*", status=403, message="a ticket is needed")
    (told,) = sweep(api, silent, Deadline(5))
    assert told.startswith(f"namespace k8snet-old, left by process {dead} on ")
    assert told.endswith(": a ticket is needed")


def test_one_that_does_not_go_says_why(fake: FakeCluster, api: Api) -> None:
    leave(fake)
    hold(fake, "k8snet-old")
    with pytest.raises(CommandTimeout, match="it is still Terminating: "):
        remove(api, "k8snet-old", Deadline(0.2))
    said = {"type": "NamespaceContentRemaining", "status": "True", "message": "Some\nresources remain: pods."}
    other = {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all fine"}
    fake.store.modify(
        "namespaces", "k8snet-old", "", lambda obj: obj["status"].update(conditions=[other, said])
    )
    with pytest.raises(CommandTimeout) as raised:
        remove(api, "k8snet-old", Deadline(0.2))
    assert str(raised.value) == "it is still Terminating: Some resources remain: pods."


def test_a_namespace_that_may_not_be_removed(fake: FakeCluster, api: Api) -> None:
    leave(fake)
    fake.deny("delete", "namespaces")
    with pytest.raises(ClusterError, match="cannot delete resource"):
        remove(api, "k8snet-old", Deadline(1))


def test_removing_one_that_was_never_made(fake: FakeCluster, api: Api) -> None:
    assert RunNamespace(api, "run1").close() == ""


GIVEN = Images.read((), ["labs/regcred"], "")
DAEMON = {
    "selector": {"matchLabels": {"k8snet.dev/run": "old"}},
    "template": {
        "metadata": {"labels": LABELS},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    },
}


@pytest.fixture
def labs(fake: FakeCluster) -> dict[str, Any]:
    return fake.store.create("namespaces", {"metadata": {"name": "labs"}})


@pytest.mark.usefixtures("labs")
def test_what_could_not_be_deleted_in_a_given_namespace_is_said(fake: FakeCluster, tmp_path: Path) -> None:
    with opened(fake, tmp_path, images=GIVEN) as cluster:
        cluster.apply(lab("svc-nodeport"))
        fake.fail("DELETE", "/api/v1/namespaces/labs/services/*", status=403, message="no", times=None)
    assert cluster.farewell == (
        "could not be removed: the run's objects in namespace labs: no; remove it with"
        f" `kubectl --context fake -n labs delete all,configmaps -l k8snet.dev/run={cluster.tape.run_id}`"
    )
    assert fake.store.get("configmaps", MARK, "labs")  # so the next run finds them


@pytest.mark.usefixtures("labs")
def test_what_took_the_name_of_ours_meanwhile_is_left_alone(fake: FakeCluster, tmp_path: Path) -> None:
    with opened(fake, tmp_path, images=GIVEN) as cluster:
        cluster.apply(lab("svc-clusterip"))
        fake.store.remove("services", "svc-clusterip", "labs")
        ports = [{"port": 80}]
        theirs = {"metadata": {"name": "svc-clusterip", "namespace": "labs"}, "spec": {"ports": ports}}
        fake.store.create("services", theirs)
    assert cluster.farewell == ""
    assert fake.store.get("services", "svc-clusterip", "labs")


@pytest.mark.usefixtures("labs")
def test_pods_of_what_a_killed_run_left_are_not_made_again(fake: FakeCluster, api: Api) -> None:
    metadata = {"namespace": "labs", "labels": {**LABELS}}
    web = fake.store.create("deployments", {"metadata": {**metadata, "name": "web"}, "spec": DAEMON})
    daemons = fake.store.create("daemonsets", {"metadata": {**metadata, "name": "d"}, "spec": DAEMON})
    namespaces.remove_objects(api, "labs", "old", Deadline(5))
    deleted = [request for request in fake.faults.log if request.verb == "DELETE"]
    assert [request.path.rpartition("/")[2] for request in deleted[:2]] == ["d", "web"]
    assert {request.body["propagationPolicy"] for request in deleted} == {"Background"}
    assert [request.body["preconditions"]["uid"] for request in deleted[:2]] == [
        each["metadata"]["uid"] for each in (daemons, web)
    ]
    assert fake.store.listed("pods", "labs") == []


@pytest.mark.usefixtures("labs")
def test_a_namespace_that_is_given_stays_and_holds_nothing_of_ours(fake: FakeCluster, tmp_path: Path) -> None:
    fake.store.create("configmaps", {"metadata": {"name": "theirs", "namespace": "labs"}})
    with opened(fake, tmp_path, images=GIVEN) as cluster:
        assert cluster.namespace == "labs"
        cluster.apply(lab("pod-src", "pod-dest", "svc-clusterip"))
        assert fake.store.get("pods", "pod-src", "labs")["spec"]["imagePullSecrets"] == [{"name": "regcred"}]
        assert fake.store.get("configmaps", MARK, "labs")["metadata"]["annotations"][OWNER]
        with pytest.raises(ClusterError) as raised:
            opened(fake, tmp_path, images=GIVEN)
        assert str(raised.value).startswith(f"namespace labs is in use by process {os.getpid()} on ")
        assert "wait for its end" in str(raised.value)
        assert (
            fake.store.get("configmaps", MARK, "labs")["metadata"]["labels"]["k8snet.dev/run"]
            == cluster.tape.run_id
        )
    assert names(fake) == ["labs"]
    kinds = ("pods", "services", "daemonsets.apps", "configmaps")
    left = {obj["metadata"]["name"] for kind in kinds for obj in fake.store.listed(kind, "labs")}
    assert left - {"kube-root-ca.crt"} == {"theirs"}
    assert fake.processes.running == []


@pytest.mark.usefixtures("labs")
def test_what_a_killed_run_left_in_a_given_namespace_is_removed(
    fake: FakeCluster, tmp_path: Path, dead: int
) -> None:
    notes = {OWNER: json.dumps({**heartbeat.owner(), "pid": dead}), BEAT: now()}
    metadata = {"namespace": "labs", "labels": LABELS}
    fake.store.create("configmaps", {"metadata": {**metadata, "name": MARK, "annotations": notes}})
    ports = [{"port": 80, "nodePort": 31080}]
    fake.store.create(
        "services",
        {"metadata": {**metadata, "name": "svc-nodeport"}, "spec": {"type": "NodePort", "ports": ports}},
    )
    steps: list[str] = []
    with opened(fake, tmp_path, images=GIVEN, steps=steps) as cluster:
        cluster.apply(lab("svc-nodeport"))
    assert any(step.startswith("removing what was left in namespace labs by process ") for step in steps)


@pytest.mark.usefixtures("labs")
def test_a_given_namespace_that_is_kept_stays_taken(fake: FakeCluster, tmp_path: Path) -> None:
    with opened(fake, tmp_path, images=GIVEN, keep=True) as cluster:
        pass
    assert cluster.farewell == (
        "kept as asked: the run's objects in namespace labs; remove it with `kubectl --context fake -n labs"
        f" delete all,configmaps -l k8snet.dev/run={cluster.tape.run_id}`"
    )
    with pytest.raises(ClusterError, match="kept on purpose"):
        opened(fake, tmp_path, images=GIVEN)


@pytest.mark.usefixtures("labs")
def test_an_object_of_somebody_else_in_a_given_namespace(fake: FakeCluster, tmp_path: Path) -> None:
    spec = {"containers": [{"name": "c", "image": "i:1"}]}
    fake.store.create("pods", {"metadata": {"name": "pod-src", "namespace": "labs"}, "spec": spec})
    with opened(fake, tmp_path, images=GIVEN) as cluster, pytest.raises(ClusterError) as raised:
        cluster.apply(lab("pod-src"))
    assert str(raised.value) == (
        "pod-src.yaml: Pod pod-src exists in namespace labs and is not of this run"
        " (kubectl --context fake -n labs get Pod pod-src)"
    )
    assert fake.store.get("pods", "pod-src", "labs")


def test_a_given_namespace_that_is_not_there(fake: FakeCluster, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"^namespace labs: the API refuses it: .*not found"):
        opened(fake, tmp_path, images=GIVEN)
    assert names(fake) == []


def test_a_name_is_new_each_time(api: Api) -> None:
    made = {namespaces.new_name() for _ in range(20)}
    assert len(made) == 20
    assert all(len(name) == 13 and name.startswith("k8snet-") for name in made)
