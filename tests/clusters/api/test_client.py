"""Requests: what is tried again, what is refused, and in which words."""

from __future__ import annotations

import json
import socket

import pytest

from pytest_k8snet.clusters.api import client
from pytest_k8snet.clusters.api.client import Api, ApiRefused, ApiUnreachable
from pytest_k8snet.clusters.base import ClusterError, Deadline
from tests.clusters.api.conftest import VERSION, Connect, Serve, Write, entries
from tests.clusters.api.servers import header, http, refused, reset, silent

PODS = "/api/v1/namespaces/lab/pods"
BUSY = refused(429, "TooManyRequests", "the server has received too many requests", Retry_After="3")
BROKEN = refused(503, "ServiceUnavailable", "etcdserver: leader changed")
EXISTS = refused(409, "AlreadyExists", 'pods "pod-src" already exists')
POD = {"metadata": {"name": "pod-src", "labels": {"k8snet": "run-1"}}}


def body_of(request: bytes) -> object:
    return json.loads(request.partition(b"\r\n\r\n")[2])


def test_the_version_is_asked_with_our_login(serve: Serve, kubeconfig: Write) -> None:
    server = serve(VERSION)
    with Api.connect(kubeconfig(entries(server.url)), "lab") as api:
        assert (api.context, api.server, api.version()) == ("lab", server.url, "v1.20.8")
    assert header(server.requests[0], "Authorization") == "Bearer s3cret"
    assert header(server.requests[0], "User-Agent").startswith("pytest-k8snet/")


def test_who_may_not_read_the_version_is_connected(serve: Serve, kubeconfig: Write) -> None:
    server = serve(refused(403, "Forbidden", "forbidden: no"))
    with Api.connect(kubeconfig(entries(server.url)), "lab") as api, pytest.raises(ApiRefused) as caught:
        api.version()
    assert (caught.value.status, caught.value.reason, str(caught.value)) == (
        403,
        "Forbidden",
        "forbidden: no",
    )


def test_refused_credentials_name_their_context_and_not_themselves(serve: Serve, kubeconfig: Write) -> None:
    server = serve(refused(401, "Unauthorized", "Unauthorized"))
    with pytest.raises(ApiRefused) as caught:
        Api.connect(kubeconfig(entries(server.url)), "lab")
    assert caught.value.status == 401
    assert str(caught.value) == (
        f"the credentials of kubeconfig context lab are refused by {server.url}: Unauthorized"
    )


def test_nobody_listens(kubeconfig: Write, pauses: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ApiUnreachable) as caught:
        Api.connect(kubeconfig(entries(url)), "lab")
    assert str(caught.value) == f"kubeconfig context lab: {url} can't be reached: Connection refused"
    assert pauses == []


def test_a_name_that_nobody_knows(kubeconfig: Write) -> None:
    with pytest.raises(ApiUnreachable, match=r"https://k8s\.invalid can't be reached: its name can't be res"):
        Api.connect(kubeconfig(entries("https://user:s3cret@k8s.invalid")), "lab")


def test_a_server_that_stays_silent(serve: Serve, kubeconfig: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TRY", 0.1)
    server = serve(silent())
    with pytest.raises(ApiUnreachable, match="can't be reached: no answer within 0 s"):
        Api.connect(kubeconfig(entries(server.url)), "lab")


def test_what_is_no_api_server(serve: Serve, kubeconfig: Write) -> None:
    server = serve(http(b"<html>\n<h1>Login</h1>"))
    with Api.connect(kubeconfig(entries(server.url)), "lab") as api, pytest.raises(ClusterError) as caught:
        api.get("/api")
    assert str(caught.value) == (
        f"kubeconfig context lab: {server.url}/api answered no JSON object but '<html> <h1>Login</h1>';"
        " is it an API server?"
    )


def test_a_redirect_is_not_followed_with_our_login(connect: Connect) -> None:
    api, server = connect(http(b"", 302, Location="/login"))
    with pytest.raises(ApiRefused, match="HTTP 302 Said"):
        api.get("/api")
    assert server.lines == ["GET /api"]


def test_what_fails_for_a_while_is_tried_again(connect: Connect, pauses: list[float]) -> None:
    api, server = connect(BUSY, BROKEN, reset, refused(500, "InternalError", "x"), http({"kind": "Pod"}))
    assert api.get(f"{PODS}/pod-src") == {"kind": "Pod"}
    assert len(server.requests) == 5
    assert pauses[0] == 3.0
    assert all(0 < pause < 5 for pause in pauses[1:])


def test_at_the_deadline_the_last_refusal_stands(connect: Connect, pauses: list[float]) -> None:
    api, server = connect(BROKEN, seconds=0)
    with pytest.raises(ApiRefused, match=r"^etcdserver: leader changed$"):
        api.get(PODS)
    assert (len(server.requests), pauses) == (1, [])


def test_a_server_that_wants_more_time_than_is_left_is_not_asked_again(
    connect: Connect, pauses: list[float]
) -> None:
    api, server = connect(BUSY, seconds=2.5)
    with pytest.raises(ApiRefused, match="too many requests"):
        api.get(PODS)
    assert (len(server.requests), pauses) == (1, [])


def test_waits_grow_to_a_limit_and_end_with_the_deadline(connect: Connect, pauses: list[float]) -> None:
    api, _ = connect(*[BROKEN] * 9, http({}))
    api.get(PODS)
    assert 0.1 <= pauses[0] <= 0.2 < 2.5 <= pauses[-1] <= 5.0
    api, _ = connect(BROKEN, http({}), seconds=0.05)
    pauses.clear()
    api.get(PODS)
    assert 0 < pauses[0] <= 0.05


def test_what_is_refused_for_good_is_asked_once(connect: Connect, pauses: list[float]) -> None:
    quota = 'pods "x" is forbidden: exceeded quota: lab, requested: pods=1, used: pods=5, limited: pods=5'
    api, server = connect(refused(403, "Forbidden", quota))
    with pytest.raises(ApiRefused) as caught:
        api.create(PODS, POD)
    assert (str(caught.value), caught.value.status, caught.value.reason) == (quota, 403, "Forbidden")
    assert (len(server.requests), pauses) == (1, [])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(b"404 page not found\n", 404), "404 page not found"),
        (http(b"", 404), "HTTP 404 Said"),
        (http({"kind": "Status", "reason": "Gone"}, 404), "Gone"),
        (http({"message": "not ours"}, 404), '{"message": "not ours"}'),
    ],
)
def test_refusals_of_others_than_the_api(connect: Connect, answer: bytes, said: str) -> None:
    api, _ = connect(answer)
    with pytest.raises(ApiRefused) as caught:
        api.text("/x")
    assert (str(caught.value), caught.value.status) == (said, 404)


def test_lists_come_whole(connect: Connect) -> None:
    api, server = connect(
        http(
            {"metadata": {"continue": "c/1", "remainingItemCount": 1, "resourceVersion": "7"}, "items": [1]}
        ),
        http({"metadata": {"resourceVersion": "7"}, "items": [2]}),
    )
    found = api.listed(PODS, labelSelector="type=dest,lab")
    assert found == {"metadata": {"resourceVersion": "7"}, "items": [1, 2]}
    assert server.lines == [
        f"GET {PODS}?labelSelector=type%3Ddest%2Clab&limit=500",
        f"GET {PODS}?labelSelector=type%3Ddest%2Clab&limit=500&continue=c%2F1",
    ]


def test_a_list_whose_pages_expired_is_read_at_once(connect: Connect) -> None:
    api, server = connect(
        http({"metadata": {"continue": "c1"}, "items": [1]}),
        refused(410, "Expired", "The provided continue parameter is too old"),
        http({"metadata": {}, "items": None}),
    )
    assert api.listed(PODS)["items"] == []
    assert server.lines[-1] == f"GET {PODS}?limit=0"


def test_a_list_that_is_refused(connect: Connect) -> None:
    api, _ = connect(refused(410, "Expired", "too old"))
    with pytest.raises(ApiRefused, match="too old"):
        api.listed(PODS)


def test_create_and_patch_send_what_they_were_given(connect: Connect) -> None:
    api, server = connect(http(POD, 201), http(POD))
    assert api.create(PODS, POD, dryRun="All", pretty=False) == POD
    assert api.patch(f"{PODS}/pod-src", {"spec": None}) == POD
    assert server.lines == [f"POST {PODS}?dryRun=All&pretty=false", f"PATCH {PODS}/pod-src"]
    assert [body_of(request) for request in server.requests] == [POD, {"spec": None}]
    assert header(server.requests[0], "Content-Type") == "application/json"
    assert header(server.requests[1], "Content-Type") == "application/merge-patch+json"


def test_an_object_whose_creation_got_no_answer_is_ours(connect: Connect) -> None:
    found = {"metadata": {"name": "pod-src", "uid": "1", "labels": {"k8snet": "run-1", "more": "x"}}}
    api, server = connect(reset, EXISTS, http(found))
    assert api.create(PODS, POD) == found
    assert server.lines == [f"POST {PODS}", f"POST {PODS}", f"GET {PODS}/pod-src"]


@pytest.mark.parametrize("labels", [{"k8snet": "run-2"}, None])
def test_an_object_of_somebody_else_is_in_the_way(connect: Connect, labels: object) -> None:
    api, _ = connect(reset, EXISTS, http({"metadata": {"name": "pod-src", "labels": labels}}))
    with pytest.raises(ApiRefused, match="already exists"):
        api.create(PODS, POD)


def test_an_object_that_was_there_before_us_is_in_the_way(connect: Connect) -> None:
    api, server = connect(BUSY, EXISTS)  # 429 did nothing: this is no lost answer
    with pytest.raises(ApiRefused, match="already exists"):
        api.create(PODS, POD)
    assert len(server.requests) == 2


def test_without_labels_nothing_shows_that_it_is_ours(connect: Connect) -> None:
    api, _ = connect(reset, EXISTS)
    with pytest.raises(ApiRefused, match="already exists"):
        api.create(PODS, {"metadata": {"name": "pod-src"}})


@pytest.mark.parametrize("answer", [reset, BROKEN])
def test_a_generated_name_is_not_made_twice(connect: Connect, answer: bytes) -> None:
    api, server = connect(answer, http(POD))
    with pytest.raises(ClusterError):
        api.create(PODS, {"metadata": {"generateName": "pod-"}})
    assert len(server.requests) == 1


def test_a_patch_that_met_another_is_repeated(connect: Connect) -> None:
    conflict = refused(409, "Conflict", "the object has been modified")
    api, server = connect(conflict, http(POD))
    assert api.patch(f"{PODS}/pod-src", {"metadata": {"labels": {"a": "b"}}}) == POD
    api, server = connect(conflict, http(POD))
    with pytest.raises(ApiRefused, match="modified"):
        api.patch(f"{PODS}/pod-src", {"metadata": {"resourceVersion": "7"}})
    assert len(server.requests) == 1


def test_delete(connect: Connect) -> None:
    api, server = connect(
        http({"kind": "Status", "status": "Success"}),
        refused(404, "NotFound", 'pods "pod-src" not found'),
        refused(403, "Forbidden", "no"),
    )
    api.delete(f"{PODS}/pod-src")
    api.delete(f"{PODS}/pod-src", {"propagationPolicy": "Foreground"})
    with pytest.raises(ApiRefused, match=r"^no$"):
        api.delete(f"{PODS}/pod-src")
    assert server.requests[0].endswith(b"\r\n\r\n")
    assert body_of(server.requests[1]) == {"propagationPolicy": "Foreground"}


def test_text_is_as_it_is(connect: Connect) -> None:
    api, _ = connect(http(b"\xff\x00 log\n"))
    assert api.text(f"{PODS}/pod-src/log", tailLines=3) == b"\xff\x00 log\n"


def test_what_may_we(connect: Connect) -> None:
    api, server = connect(http({"status": {"allowed": True}}), http({"status": {"allowed": False}}))
    assert api.allowed("create", "daemonsets", group="apps", namespace="lab")
    assert not api.allowed("create", "pods", subresource="exec", name="pod-src")
    asked = [body_of(request) for request in server.requests]
    assert asked == [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        for attributes in (
            {"verb": "create", "resource": "daemonsets", "group": "apps", "namespace": "lab"},
            {"verb": "create", "resource": "pods", "subresource": "exec", "name": "pod-src"},
        )
    ]


def test_an_answer_that_breaks_off_is_asked_for_again(connect: Connect) -> None:
    api, _ = connect(http({"a": "b" * 100})[:-20], http({"a": "b"}))
    assert api.get("/x") == {"a": "b"}


def test_a_login_that_cannot_be_renewed(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    api, _ = connect(http({}))

    def expired(configuration: object) -> None:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(api.connection._configuration, "refresh_api_key_hook", expired)
    with pytest.raises(ClusterError) as caught:
        api.get("/x")
    assert str(caught.value) == "kubeconfig context lab: its credentials can't be renewed (RuntimeError)"


def test_a_proxy_of_the_kubeconfig_is_used_with_its_login(serve: Serve, kubeconfig: Write) -> None:
    proxy = serve(VERSION)
    address = f"http://me:s%40cret@127.0.0.1:{proxy.port}"
    made = entries("http://api.invalid:6443", cluster={"proxy-url": address})
    with Api.connect(kubeconfig(made), "lab") as api:
        assert api.version() == "v1.20.8"
    assert proxy.lines[0] == "GET http://api.invalid:6443/version"
    assert header(proxy.requests[0], "Proxy-Authorization") == "Basic bWU6c0BjcmV0"


def test_a_proxy_that_is_away_is_named_without_its_login(kubeconfig: Write) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    made = entries("http://api.invalid", cluster={"proxy-url": f"http://me:s3cret@127.0.0.1:{port}"})
    with pytest.raises(ApiUnreachable) as caught:
        Api.connect(kubeconfig(made), "lab")
    assert str(caught.value) == (
        f"kubeconfig context lab: http://api.invalid can't be reached through proxy http://127.0.0.1:{port}:"
        " Connection refused"
    )


def test_a_proxy_of_another_kind(kubeconfig: Write) -> None:
    made = entries("http://api.invalid", cluster={"proxy-url": "ftp://me:s3cret@proxy"})
    with pytest.raises(ClusterError, match=r"lab: proxy ftp://proxy can't be used \(ProxySchemeUnknown\)"):
        Api.connect(kubeconfig(made), "lab")


def test_a_context_is_never_taken_silently(kubeconfig: Write) -> None:
    path = kubeconfig(entries("http://x"))
    with pytest.raises(ClusterError) as caught:
        Api.connect(path, "")
    assert str(caught.value) == (
        f"no context is named; kubeconfig {path} has lab, another (--k8snet-context)"
    )


def test_one_call_may_have_a_deadline_of_its_own(connect: Connect) -> None:
    api, _ = connect(BROKEN, http({}), seconds=0)
    assert api.get(PODS, deadline=Deadline(60)) == {}
