"""Watches that break in all the ways they do, and waits that end when they must."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_k8snet.clusters.api import watching
from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.api.watching import wait_for
from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from tests.clusters.api.conftest import Connect
from tests.clusters.api.servers import Answer, http, refused, reset, silent, status, stream

PODS = "/api/v1/namespaces/lab/pods"
Objects = Mapping[str, dict[str, Any]]


def pod(name: str = "pod-src", phase: str = "Pending", version: str = "5", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}, "status": {"phase": phase, **more}}


def listed(*pods: dict[str, Any], version: str = "4") -> bytes:
    return http({"metadata": {"resourceVersion": version}, "items": list(pods)})


def event(kind: str, seen: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": seen}, ensure_ascii=False).encode() + b"\n"


def watched(*events: bytes, ended: bool = True) -> bytes:
    return stream(*events, ended=ended)


RUNNING = watched(event("MODIFIED", pod(phase="Running", version="9")))


def running(objects: Objects) -> str | None:
    phases = [each["status"]["phase"] for each in objects.values()]
    return ",".join(objects) if phases and set(phases) == {"Running"} else None


def wait(api: Api, seconds: float = 30, **query: Any) -> str:
    return wait_for(api, PODS, running, deadline=Deadline(seconds), what="pod-src ready", **query)


def test_what_is_ready_already_needs_no_watch(connect: Connect) -> None:
    api, server = connect(listed(pod(phase="Running")))
    assert wait(api, fieldSelector="metadata.name=pod-src") == "pod-src"
    assert server.lines == [f"GET {PODS}?fieldSelector=metadata.name%3Dpod-src&limit=500"]


def test_the_watch_begins_where_the_list_ended(connect: Connect) -> None:
    api, server = connect(listed(pod()), RUNNING)
    assert wait(api, labelSelector="lab") == "pod-src"
    assert server.lines[1] == (
        f"GET {PODS}?labelSelector=lab&watch=1&resourceVersion=4&allowWatchBookmarks=True&timeoutSeconds=30"
    ).replace("True", "true")


def test_each_change_is_told(connect: Connect) -> None:
    api, _ = connect(
        listed(pod()),
        watched(
            event("ADDED", pod("pod-dest")),
            event("BOOKMARK", pod("", version="7")),
            event("MODIFIED", pod(phase="Running")),
            event("DELETED", pod("pod-dest")),
        ),
    )
    told: list[dict[str, str]] = []

    def ready(objects: Objects) -> str | None:
        told.append({name: each["status"]["phase"] for name, each in objects.items()})
        return running(objects)

    wait_for(api, PODS, ready, deadline=Deadline(30), what="x")
    assert told == [
        {"pod-src": "Pending"},
        {"pod-src": "Pending", "pod-dest": "Pending"},
        {"pod-src": "Running", "pod-dest": "Pending"},
        {"pod-src": "Running"},
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_come_in_any_pieces(connect: Connect, size: int) -> None:
    content = event("ADDED", pod("pod-dest", reason="größer → 猫")) + b"\n"
    content += event("DELETED", pod("pod-dest")) + event("MODIFIED", pod(phase="Running"))
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    api, _ = connect(listed(pod()), stream(*pieces))
    assert wait(api) == "pod-src"


@pytest.mark.parametrize(
    "broken",
    [
        watched(event("MODIFIED", pod(version="6"))),
        watched(event("BOOKMARK", pod(version="6"))),
        watched(event("MODIFIED", pod(version="6")), ended=False),
        watched(event("MODIFIED", pod(version="6")), event("MODIFIED", pod(version="8"))[:20]),
        watched(event("MODIFIED", pod(version="6")), event("MODIFIED", pod(version="8"))[:20], ended=False),
        watched(event("MODIFIED", pod(version="6")), b"<html>503</html>\n", event("ADDED", pod("x"))),
        watched(event("MODIFIED", pod(version="6")), b'{"type": "ADDED"}\n'),
        watched(event("MODIFIED", pod(version="6")), b"[]\n"),
        watched(event("MODIFIED", pod(version="6")), event("ERROR", status(500, "InternalError", "x"))),
        watched(event("MODIFIED", pod(version="6")), event("ERROR", status(504, "Timeout", "x"))),
    ],
)
def test_a_stream_that_breaks_is_resumed_where_it_was(connect: Connect, broken: bytes) -> None:
    api, server = connect(listed(pod()), broken, RUNNING)
    assert wait(api) == "pod-src"
    assert [line.count("watch=1") for line in server.lines] == [0, 1, 1]
    assert "resourceVersion=6&" in server.lines[2]


BUSY = refused(429, "TooManyRequests", "y", Retry_After="2")


@pytest.mark.parametrize("broken", [reset, refused(503, "x", "y"), BUSY, watched()])
def test_a_watch_that_does_not_begin_is_begun_again(
    connect: Connect, broken: bytes | Answer, pauses: list[float]
) -> None:
    api, server = connect(listed(pod()), broken, broken, RUNNING)
    assert wait(api) == "pod-src"
    assert [line.count("resourceVersion=4&") for line in server.lines] == [0, 1, 1, 1]
    assert (pauses == [2.0, 2.0]) if broken is BUSY else (len(pauses) == 2 and max(pauses) < 1)


@pytest.mark.parametrize(
    "gone",
    [
        refused(410, "Expired", "too old resource version: 4 (7)"),
        watched(event("ERROR", status(410, "Expired", "too old resource version: 4 (7)"))),
    ],
)
def test_a_version_that_is_gone_begins_again_with_a_list(connect: Connect, gone: bytes) -> None:
    api, server = connect(listed(pod(), pod("pod-old")), gone, listed(pod(), version="11"), RUNNING)
    assert wait(api) == "pod-src"
    assert "resourceVersion=11&" in server.lines[3]


def test_what_is_refused_for_good_ends_the_wait(connect: Connect) -> None:
    message = 'pods is forbidden: User "ci" cannot watch resource "pods" in API group "" in namespace "lab"'
    api, server = connect(listed(pod()), refused(403, "Forbidden", message))
    with pytest.raises(ApiRefused, match="cannot watch resource"):
        wait(api)
    assert len(server.requests) == 2


def test_what_ready_raises_ends_the_wait(connect: Connect) -> None:
    api, _ = connect(listed(pod()), watched(event("MODIFIED", pod(phase="Failed"))))

    def ready(objects: Objects) -> None:
        if objects["pod-src"]["status"]["phase"] == "Failed":
            raise ClusterError("pod-src failed")

    with pytest.raises(ClusterError, match="pod-src failed"):
        wait_for(api, PODS, ready, deadline=Deadline(30), what="x")


def test_at_the_deadline_the_last_thing_seen_is_told(connect: Connect) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image 'x'"}}
    seen = pod(containerStatuses=[{"name": "container", "state": waiting}])
    api, _ = connect(
        listed(),
        silent(watched(event("ADDED", seen), ended=False)),
    )
    began = time.monotonic()
    with pytest.raises(CommandTimeout) as caught:
        wait(api, seconds=0.3)
    assert time.monotonic() - began < 3  # the server is silent for longer
    assert str(caught.value) == (
        "pod-src ready: not within 0 s; last seen: pod-src Pending (container: Back-off pulling image 'x')"
    )


def test_a_watch_without_a_word_is_opened_again(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SILENCE", 0.1)
    api, server = connect(
        listed(pod()),
        silent(watched(ended=False)),
        RUNNING,
    )
    assert wait(api) == "pod-src"
    assert "resourceVersion=4&" in server.lines[2]


def test_a_server_that_only_fails_is_named_at_the_deadline(connect: Connect) -> None:
    api, _ = connect(listed(), refused(503, "ServiceUnavailable", "leader changed"))
    with pytest.raises(CommandTimeout) as caught:
        wait(api, seconds=0.2)
    assert str(caught.value) == ("pod-src ready: not within 0 s; last seen: no such object; leader changed")


def test_a_list_that_only_fails_is_named_at_the_deadline(connect: Connect) -> None:
    api, server = connect(reset)
    with pytest.raises(CommandTimeout) as caught:
        wait(api, seconds=0.2)
    assert str(caught.value).endswith(
        f"last seen: no such object; kubeconfig context lab: {server.url} can't be reached:"
        " Connection reset by peer"
    )
