"""The report that curl is asked for, by a curl that runs here, is what the parser reads."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address

import pytest

from pytest_k8snet.claims.mtu import LARGE
from pytest_k8snet.clusters.base import CommandResult
from pytest_k8snet.probes.requests import ask, ask_often, from_node, url
from tests.clusters.fake import FakeCluster, says
from tests.probes.network import report

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    received = 0

    def do_GET(self) -> None:
        type(self).received = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        body = f'{{"http_code":000,"exitcode":{self.headers["X-K8snet"]}\n{{"a":"\\"'.encode()
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), App) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def cluster() -> FakeCluster:
    def real(argv: object) -> CommandResult:
        done = subprocess.run(list(argv), capture_output=True, timeout=20, check=False)  # type: ignore[call-overload]
        return CommandResult((), done.returncode, done.stdout, done.stderr)

    fake = FakeCluster()
    fake.say("k8s-master", "curl", real)
    return fake


def test_an_answer(cluster: FakeCluster, port: int) -> None:
    client = from_node(cluster.node("master"))
    target = url(ip_address("127.0.0.1"), port, "/hostname")
    exchange = ask(client, target, "tok-1").get()
    assert (exchange.status, exchange.url, exchange.error) == (200, target, "")
    assert exchange.body == b'{"http_code":000,"exitcode":tok-1\n{"a":"\\"'
    assert exchange.size == len(exchange.body)
    assert exchange.remote == (ip_address("127.0.0.1"), port)
    thrown_away = ask(client, target, "tok-1", discard=True).get()
    assert (thrown_away.body, thrown_away.size) == (b"", exchange.size)
    assert ask(client, target.replace("hostname", "missing"), "t").get().status == 404


def test_a_refused_connection(cluster: FakeCluster) -> None:
    exchange = ask(from_node(cluster.node("master")), "http://127.0.0.1:9/", "tok").get()
    assert exchange.status == 0
    assert "Failed to connect" in exchange.error


def test_many_connections(cluster: FakeCluster, port: int) -> None:
    client = from_node(cluster.node("master"))
    exchanges = ask_often(client, f"http://127.0.0.1:{port}/", "tok", 5).get()
    assert [exchange.status for exchange in exchanges] == [200] * 5
    assert len({exchange.local for exchange in exchanges}) == 5, "each has a port of its own"
    refused = ask_often(client, "http://127.0.0.1:9/", "tok", 5).get()
    assert [exchange.status for exchange in refused] == [0], "it ends at the first that fails"


def test_a_url_is_one_url(cluster: FakeCluster, port: int) -> None:
    target = f"http://127.0.0.1:{port}/[1-2]"
    assert ask(from_node(cluster.node("master")), target, "tok").get().url == target


def test_a_report_for_more_than_was_asked(cluster: FakeCluster) -> None:
    cluster.say("k8s-master", "curl", says((b"\n" + report("http://x/", "10.0.0.1", 80, 0)) * 2))
    asked = ask(from_node(cluster.node("master")), "http://x/", "tok")
    assert asked.failure == "curl reported 2 requests where one was made"


def test_addresses_of_version_6_stand_in_brackets() -> None:
    assert url(ip_address("fd00::1"), 80, "/x") == "http://[fd00::1]:80/x"


def old_curl(argv: list[str]) -> CommandResult:
    """This machine's curl, asked for two variables that it does not know, as one before 7.75 was."""
    report = argv.index("-w") + 1
    asked = argv[report].replace("%{exitcode}", "%{k8snet_a}").replace("%{errormsg}", "%{k8snet_b}")
    argv = [*argv[:report], asked, *argv[report + 1 :]]
    done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
    assert b"curl: unknown --write-out variable: 'k8snet_a'" in done.stderr
    return CommandResult((), done.returncode, done.stdout, done.stderr)


def test_a_curl_before_7_75(cluster: FakeCluster, port: int) -> None:
    cluster.say("k8s-master", "curl", old_curl)  # type: ignore[arg-type]
    client = from_node(cluster.node("master"))
    exchange = ask(client, f"http://127.0.0.1:{port}/", "tok").get()
    assert (exchange.status, exchange.error, exchange.answered) == (200, "", True)
    assert exchange.body == b'{"http_code":000,"exitcode":tok\n{"a":"\\"'
    refused = ask(client, "http://127.0.0.1:9/", "tok").get()
    assert refused.status == 0
    assert "Failed to connect" in refused.error
    exchanges = ask_often(client, f"http://127.0.0.1:{port}/", "tok", 3).get()
    assert [exchange.answered for exchange in exchanges] == [True] * 3
    (failed,) = ask_often(client, "http://127.0.0.1:9/", "tok", 3).get()
    assert "Failed to connect" in failed.error


def test_a_curl_before_7_52_ends_at_its_last_request(cluster: FakeCluster, port: int) -> None:
    def curl(argv: list[str]) -> CommandResult:
        if "--fail-early" in argv:
            said = b"curl: option --fail-early: is unknown\ncurl: try 'curl --help' for more information\n"
            return CommandResult((), 2, b"", said)
        return old_curl(argv)

    cluster.say("k8s-master", "curl", curl)  # type: ignore[arg-type]
    client = from_node(cluster.node("master"))
    exchanges = ask_often(client, f"http://127.0.0.1:{port}/", "tok", 3).get()
    assert [exchange.answered for exchange in exchanges] == [True] * 3
    refused = ask_often(client, "http://127.0.0.1:9/", "tok", 3).get()
    assert [exchange.answered for exchange in refused] == [False] * 3
    assert refused[0].error == "no HTTP answer"
    assert "Failed to connect" in refused[2].error


def test_a_large_request(cluster: FakeCluster, port: int) -> None:
    exchange = ask(from_node(cluster.node("master")), f"http://127.0.0.1:{port}/", "tok", upload=True).get()
    assert (exchange.status, exchange.error) == (200, "")
    assert LARGE < App.received < 256 * 1024, "enough for the claim, and what Go's server reads"
