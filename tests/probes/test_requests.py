"""The report that curl is asked for, by a curl that runs here, is what the parser reads."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address

import pytest

from pytest_k8snet.clusters.base import CommandResult
from pytest_k8snet.probes.requests import ask, ask_often, from_node, url
from tests.clusters.fake import FakeCluster, says
from tests.probes.network import report

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
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
