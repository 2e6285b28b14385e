"""Watch streams through the real client: what they tell, and how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest
import urllib3
from kubernetes import watch
from kubernetes.client.exceptions import ApiException

from tests.fakeapi import FakeCluster

PODS = "/api/v1/namespaces/default/pods"


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "container", "image": "kubetm/init"}]},
    }


def new_watch() -> Any:
    return watch.Watch()  # type: ignore[no-untyped-call]


@contextmanager
def stream(fake: FakeCluster, query: str = "") -> Iterator[urllib3.BaseHTTPResponse]:
    """A watch of the default namespace's pods."""
    with urllib3.PoolManager(retries=False) as pool:
        url = f"{fake.url}{PODS}?watch=true&{query}"
        headers = {"Authorization": "Bearer fake-token"}
        answer = pool.request("GET", url, headers=headers, preload_content=False)
        yield answer
        answer.close()


def lines(fake: FakeCluster, query: str, count: int) -> list[dict[str, Any]]:
    """The first ``count`` events of a watch."""
    with stream(fake, query) as answer:
        return [json.loads(line) for line in islice(answer, count)]


def seen(fake: FakeCluster, query: str, count: int) -> list[tuple[str, str]]:
    return [(line["type"], line["object"]["metadata"]["name"]) for line in lines(fake, query, count)]


def test_a_watch_tells_how_a_pod_comes_up(core: Any) -> None:
    version = core.list_namespaced_pod("default").metadata.resource_version
    core.create_namespaced_pod("default", pod("pod-src"))
    pods = new_watch()
    told = []
    for event in pods.stream(core.list_namespaced_pod, "default", resource_version=version):
        told.append((event["type"], event["object"].status.phase))
        if told[-1][1] == "Running":
            pods.stop()
    assert (told[0], told[-1]) == (("ADDED", "Pending"), ("MODIFIED", "Running"))


def test_without_a_version_it_begins_with_what_there_is(fake: FakeCluster) -> None:
    fake.store.create("pods", pod("pod-src"))
    assert seen(fake, "", 1) == [("ADDED", "pod-src")]


def test_objects_come_and_go_with_their_labels(fake: FakeCluster) -> None:
    version = fake.store.version
    with fake.store.changed:  # before the kubelet has a look
        fake.store.create("pods", pod("pod-dest", type="dest"))
        fake.store.patch("pods", "pod-dest", "default", {"metadata": {"labels": {"type": "other"}}})
    told = seen(fake, f"resourceVersion={version}&labelSelector=type%3Ddest", 2)
    assert told == [("ADDED", "pod-dest"), ("DELETED", "pod-dest")]


def test_bookmarks_come_at_the_end_of_a_watch_that_allows_them(fake: FakeCluster) -> None:
    version = fake.store.version
    fake.store.create("configmaps", {"metadata": {"name": "other"}})
    query = f"resourceVersion={version}&timeoutSeconds=1"
    (bookmark,) = lines(fake, f"{query}&allowWatchBookmarks=true", 2)
    assert (bookmark["type"], bookmark["object"]["kind"]) == ("BOOKMARK", "Pod")
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) > version


def test_bookmarks_come_when_told(fake: FakeCluster) -> None:
    with stream(fake, f"resourceVersion={fake.store.version}&allowWatchBookmarks=true") as answer:
        fake.store.bookmark()
        assert json.loads(next(iter(answer)))["type"] == "BOOKMARK"


def test_what_was_compacted_away_is_gone(fake: FakeCluster) -> None:
    version = fake.store.version
    fake.store.compact()
    (line,) = lines(fake, f"resourceVersion={version}", 2)
    assert (line["type"], line["object"]["code"], line["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert line["object"]["message"].startswith(f"too old resource version: {version} (")


def test_the_client_sees_410_and_broken_streams(fake: FakeCluster, core: Any) -> None:
    version = core.list_namespaced_pod("default").metadata.resource_version
    fake.store.compact()
    with pytest.raises(ApiException) as error:
        list(new_watch().stream(core.list_namespaced_pod, "default", resource_version=version))
    assert error.value.status == 410
    fake.fail("WATCH", PODS, cut=True)
    fake.store.create("pods", pod("pod-src"))
    with stream(fake) as answer, pytest.raises(urllib3.exceptions.ProtocolError):
        answer.read()


def test_all_connections_break_at_once(fake: FakeCluster) -> None:
    fake.store.create("pods", pod("pod-src"))
    with stream(fake) as answer:
        answer.read(10)
        fake.break_connections()
        with pytest.raises(urllib3.exceptions.ProtocolError):
            answer.read()


def test_an_error_event_ends_a_watch(fake: FakeCluster) -> None:
    fake.fail(
        "WATCH",
        PODS,
        error_event={"kind": "Status", "code": 500, "message": "etcd is on fire", "metadata": {}},
    )
    (line,) = lines(fake, "", 2)
    assert (line["type"], line["object"]["message"]) == ("ERROR", "etcd is on fire")
