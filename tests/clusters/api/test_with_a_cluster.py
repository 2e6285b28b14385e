"""The whole way against the fake cluster, old and new."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.api.execution import PodAccess, PodProcess
from pytest_k8snet.clusters.api.watching import wait_for
from pytest_k8snet.clusters.base import Deadline, NodeUnreachable
from tests.fakeapi import CannotStart, Exec, FakeCluster, Output

PODS = "/api/v1/namespaces/default/pods"
POD = {
    "metadata": {"name": "pod-src", "labels": {"k8snet": "run-1"}},
    "spec": {"containers": [{"name": "container", "image": "kubetm/init"}]},
}


@pytest.fixture(params=["v1.20.8", "v1.36.0"])
def fake(request: pytest.FixtureRequest) -> Iterator[FakeCluster]:
    with FakeCluster(request.param) as cluster:
        yield cluster


@pytest.fixture
def api(fake: FakeCluster, tmp_path: Path) -> Iterator[Api]:
    with Api.connect(fake.kubeconfig(tmp_path / "kubeconfig"), "fake") as connected:
        yield connected


@pytest.fixture
def access(api: Api) -> PodAccess:
    api.create(PODS, POD)
    running(api)
    return PodAccess(api, "default", "pod-src", "container")


def running(api: Api) -> str:
    def ready(objects: Mapping[str, dict[str, Any]]) -> str | None:
        pod = objects.get("pod-src", {})
        return str(pod["spec"]["nodeName"]) if pod.get("status", {}).get("phase") == "Running" else None

    return wait_for(
        api, PODS, ready, deadline=Deadline(20), what="pod-src", fieldSelector="metadata.name=pod-src"
    )


def finish(access: PodAccess, *argv: str, stdin: bytes = b"") -> PodProcess:
    with ExitStack() as closed:
        process = access.start(argv, stdin=stdin)
        closed.callback(process.close)
        while process.exit_status is None:
            process.pump(5)
        return process


def test_requests(fake: FakeCluster, api: Api) -> None:
    assert api.version() == fake.version
    assert len(api.listed("/api/v1/nodes")["items"]) == 3
    fake.fail("POST", PODS, lost=True)
    assert api.create(PODS, POD)["metadata"]["name"] == "pod-src"
    patched = api.patch(f"{PODS}/pod-src", {"metadata": {"labels": {"k8snet": None, "a": "b"}}})
    assert patched["metadata"]["labels"] == {"a": "b"}
    fake.deny("create", "daemonsets.apps")
    assert not api.allowed("create", "daemonsets", group="apps")
    assert api.allowed("create", "pods", subresource="exec")


def test_a_pod_comes_up_and_goes_through_faults(fake: FakeCluster, api: Api) -> None:
    fake.fail("WATCH", PODS, cut=True)
    fake.fail("WATCH", PODS, reset=True)
    fake.fail("GET", PODS, status=503)
    api.create(PODS, POD)
    assert running(api).startswith("k8s-node")
    api.delete(f"{PODS}/pod-src")
    wait_for(api, PODS, lambda objects: not objects or None, deadline=Deadline(20), what="pod-src gone")


def test_processes(fake: FakeCluster, access: PodAccess) -> None:
    noise = random.Random(1).randbytes(3_000_000)
    fake.on_exec(lambda call: Output(noise, b"warning\n", 2))
    process = finish(access, "tcpdump", "-w", "-")
    assert (process.exit_status, bytes(process.stderr)) == (2, b"warning\n")
    assert process.stdout == noise


def test_a_program_that_is_not_there(fake: FakeCluster, access: PodAccess) -> None:
    def missing(call: Exec) -> Output:
        raise CannotStart.not_found("crictl")

    fake.on_exec(missing)
    process = finish(access, "crictl", "pods")
    assert process.exit_status == 127
    assert b"executable file not found in $PATH" in process.stderr
    assert not process.stdout


def test_a_connection_that_breaks(fake: FakeCluster, access: PodAccess) -> None:
    def breaks(call: Exec) -> int:
        call.stdout(b"some")
        call.hang_up()
        return 0

    fake.on_exec(breaks)
    with pytest.raises(NodeUnreachable, match="tcpdump: the connection broke before its exit status came"):
        finish(access, "tcpdump")


def test_standard_input(fake: FakeCluster, access: PodAccess) -> None:
    content = b"*nat\n" * 100_000

    def restore(call: Exec) -> Output:
        # As head -c does, where standard input has no end.
        size = int(call.argv[3]) if call.argv[0] == "sh" else len(content) + 1
        return Output(call.read(size))

    fake.on_exec(restore)
    assert finish(access, "iptables-restore", stdin=content).stdout == content


def test_who_may_not_exec(fake: FakeCluster, access: PodAccess) -> None:
    fake.deny("get", "pods/exec")
    with pytest.raises(
        ApiRefused, match=r'^pod pod-src, container container: pods "pod-src" is forbidden: User'
    ):
        finish(access, "true", stdin=b"x")


def test_what_is_not_there(api: Api, access: PodAccess) -> None:
    with pytest.raises(ApiRefused, match='pods "gone" not found') as caught:
        PodAccess(api, "default", "gone", "container").start(["true"])
    assert caught.value.status == 404
    with pytest.raises(ApiRefused, match="container gone is not valid for pod pod-src"):
        PodAccess(api, "default", "pod-src", "gone").start(["true"])
