"""Faults as a client sees them, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import urllib3

from tests.fakeapi import FakeCluster
from tests.fakeapi.conftest import get

NODES = "/api/v1/nodes"


def test_a_fault_comes_as_often_as_told(fake: FakeCluster) -> None:
    fake.fail("GET", NODES, status=503, times=2, after=1)
    assert [get(fake, NODES)[0] for _ in range(5)] == [200, 503, 503, 200, 200]
    assert fake.requests("GET", NODES) == 5


def test_too_many_requests_is_plain_text_with_a_time(fake: FakeCluster) -> None:
    fake.fail("GET", NODES, status=429, retry_after=0)
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request("GET", fake.url + NODES)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "0")
    assert answer.data == b"Too many requests, please try again later.\n"


def test_a_status_says_what_the_server_says(fake: FakeCluster) -> None:
    fake.fail("*", "/api/v1/*", status=503, times=None)
    body = json.loads(get(fake, NODES)[1])
    assert (body["reason"], body["code"]) == ("ServiceUnavailable", 503)
    assert body["message"] == "the server is currently unable to handle the request"
    fake.fail("GET", "/version", status=500, body=b"<html>a proxy</html>")
    assert get(fake, "/version") == (500, b"<html>a proxy</html>")


@pytest.mark.parametrize("how", ["reset", "lost", "cut"])
def test_connections_end_without_an_answer(fake: FakeCluster, how: str) -> None:
    fake.fail("GET", NODES, **{how: True})
    with pytest.raises(urllib3.exceptions.ProtocolError):
        get(fake, NODES)
    assert get(fake, NODES)[0] == 200


def test_a_lost_answer_was_carried_out(fake: FakeCluster, post: Callable[[str, object], int]) -> None:
    namespaces = "/api/v1/namespaces"
    fake.fail("POST", namespaces, lost=True)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        post(namespaces, {"metadata": {"name": "k8snet-x"}})
    assert post(namespaces, {"metadata": {"name": "k8snet-x"}}) == 409


def test_a_hook_sees_the_request(fake: FakeCluster) -> None:
    seen: list[str] = []
    fake.fail("GET", NODES, hook=lambda request: seen.append(request.query["limit"]))
    assert get(fake, f"{NODES}?limit=1")[0] == 200
    assert seen == ["1"]


def test_what_waits_is_let_go_at_the_end() -> None:
    with FakeCluster() as fake:
        fake.fail("GET", NODES, hold=fake.hold())
        with (
            urllib3.PoolManager(retries=False, timeout=0.05) as pool,
            pytest.raises(urllib3.exceptions.TimeoutError),
        ):
            pool.request("GET", fake.url + NODES)


@pytest.fixture
def post(fake: FakeCluster) -> Callable[[str, object], int]:
    def request(path: str, body: object) -> int:
        with urllib3.PoolManager(retries=False) as pool:
            headers = {"Authorization": "Bearer fake-token"}
            return pool.request("POST", fake.url + path, json=body, headers=headers).status

    return request
