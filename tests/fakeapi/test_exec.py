"""Exec over websockets, with the real client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from websocket import WebSocketConnectionClosedException

from tests.fakeapi import CannotStart, Exec, FakeCluster, Output, creating
from tests.fakeapi.conftest import Connect

Start = Callable[..., Any]


@pytest.fixture(params=["v1.20.8", "v1.34.2"])
def cluster(request: pytest.FixtureRequest) -> Iterator[FakeCluster]:
    """Protocol v4 by the kubelet, v5 by the API server."""
    with FakeCluster(request.param) as fake:
        container = {"name": "container", "image": "kubetm/init"}
        fake.store.create("pods", {"metadata": {"name": "pod-src"}, "spec": {"containers": [container]}})
        fake.controllers.settle()
        yield fake


@pytest.fixture
def start(cluster: FakeCluster, connect: Connect) -> Start:
    core = client.CoreV1Api(connect(cluster))

    @contextmanager
    def started(*argv: str, container: str = "container") -> Iterator[Any]:
        process = stream(
            core.connect_get_namespaced_pod_exec,
            "pod-src",
            "default",
            command=list(argv),
            container=container,
            stdin=True,
            stdout=True,
            stderr=True,
            binary=True,
            _preload_content=False,
        )
        try:
            yield process
        finally:
            process.close()
            # What the client forgets where the server said good-bye first.
            process.sock.shutdown()

    return started


def test_streams_and_status_are_told_apart(cluster: FakeCluster, start: Start) -> None:
    every_byte = bytes(range(256)) * 1024
    cluster.on_exec(lambda call: Output(every_byte, b"err", 3))
    with start("sh", "-c", "a b") as process:
        process.run_forever(timeout=5)
        assert (process.read_stdout(), process.read_stderr(), process.returncode) == (every_byte, b"err", 3)
    (call,) = cluster.processes.started
    assert (call.pod, call.container, call.argv) == ("pod-src", "container", ("sh", "-c", "a b"))
    assert cluster.left() == []


def test_standard_input_comes_through(cluster: FakeCluster, start: Start) -> None:
    cluster.on_exec(lambda call: Output(call.read(5)))
    with start("cat") as process:
        process.write_stdin(b"\x00\xffabc")
        process.run_forever(timeout=5)
        assert process.read_stdout() == b"\x00\xffabc"


def test_a_capture_ends_by_a_signal_of_another_exec(cluster: FakeCluster, start: Start) -> None:
    def capture(call: Exec) -> int:
        call.stderr(b"tcpdump: listening on eth1\n")
        call.stdout(b"\xd4\xc3\xb2\xa1")
        assert call.wait_signal() == 2
        call.stderr(b"1 packet captured\n")
        return 0

    cluster.on_exec(capture)
    with start("tcpdump") as process:
        assert process.readline_stderr(timeout=5) == b"tcpdump: listening on eth1"
        (running,) = cluster.processes.running
        with start("kill", "-INT", str(running.pid)) as kill:
            kill.run_forever(timeout=5)
            assert kill.returncode == 0
        process.run_forever(timeout=5)
        assert (process.returncode, process.read_stderr()) == (0, b"1 packet captured\n")


def test_a_process_outlives_its_client_and_not_its_pod(cluster: FakeCluster, start: Start) -> None:
    signals: list[int] = []
    cluster.on_exec(lambda call: signals.append(call.wait_signal()))
    with start("sleep", "inf"):
        pass
    (call,) = cluster.processes.running
    assert call.wait_disconnected(5)
    assert cluster.left() == [f"processes/{call.pid} sleep inf"]
    cluster.store.remove("pods", "pod-src", "default")
    cluster.processes.end_pod("default", "pod-src")
    cluster.processes.join()
    assert (cluster.left(), signals) == ([], [9])


def test_a_broken_connection_is_no_end(cluster: FakeCluster, start: Start) -> None:
    def breaking(call: Exec) -> int:
        call.hang_up()
        return call.wait_signal()

    cluster.on_exec(breaking)
    with start("tcpdump") as process, pytest.raises(WebSocketConnectionClosedException):
        process.run_forever(timeout=5)
    assert len(cluster.processes.running) == 1


def test_what_is_not_there_does_not_start(cluster: FakeCluster, start: Start) -> None:
    def missing(call: Exec) -> Output:
        raise CannotStart.not_found(call.argv[0])

    cluster.on_exec(missing)
    with start("conntrack") as process:
        process.run_forever(timeout=5)
        if cluster.version == "v1.20.8":  # dockershim says it on stdout
            assert process.returncode == 126
            assert b'exec: "conntrack": executable file not found in $PATH' in process.read_stdout()
        else:
            status = json.loads(process.read_channel(3))
            assert (status["reason"], status["code"]) == ("InternalError", 500)
            assert 'exec: "conntrack": executable file not found in $PATH' in status["message"]


def test_refusals_come_before_the_upgrade(cluster: FakeCluster, start: Start) -> None:
    refused(start, "container other is not valid for pod pod-src", container="other")
    cluster.deny("get", "pods/exec")
    refused(start, 'cannot get resource \\"pods/exec\\"')


def refused(start: Start, message: str, **how: str) -> None:
    with pytest.raises(ApiException) as error, start("true", **how):
        pass
    assert message in str(error.value)


def test_a_container_that_does_not_run(cluster: FakeCluster, start: Start) -> None:
    cluster.store.patch("pods", "pod-src", "default", {"status": {"containerStatuses": None}})
    cluster.kubelet.let("pod-src", creating())
    cluster.controllers.settle()
    if cluster.version == "v1.20.8":
        refused(start, "container not found")
    else:
        with start("true") as process:
            process.run_forever(timeout=5)
            message = json.loads(process.read_channel(3))["message"]
            assert message == (
                'Internal error occurred: unable to upgrade connection: container not found ("container")'
            )
