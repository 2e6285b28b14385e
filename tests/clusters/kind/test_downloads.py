"""Downloads: once, whole, and what was pinned; from a server on loopback."""

from __future__ import annotations

import hashlib
import platform
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from pytest_k8snet.clusters.asked import KindOptions
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kind import downloads, versions

CONTENT = b"#!/bin/sh\necho kind version 0.99.0\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "cache" / "pytest-k8snet"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "kind").write_bytes(CONTENT)
    handler = partial(Handler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/kind"
        server.shutdown()
        thread.join()


def get(url: str, sha256: str = SHA256, *, executable: bool = False) -> Path:
    return downloads.download(
        url, sha256, "kind-1", what="kind 1", progress=lambda step: None, executable=executable
    )


def test_once_and_kept(url: str, cache: Path) -> None:
    path = get(url, executable=True)
    assert path == cache / "kind-1"
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o755
    assert get("http://127.0.0.1:9/not-asked") == path
    assert [each.name for each in cache.iterdir()] == ["kind-1"]


def test_what_is_kept_is_looked_at_again(url: str, cache: Path) -> None:
    get(url).write_bytes(b"half a fi")
    assert get(url).read_bytes() == CONTENT
    assert (cache / "kind-1").stat().st_mode & 0o777 == 0o644


def test_another_sum(url: str, cache: Path) -> None:
    with pytest.raises(ClusterError) as error:
        get(url, "0" * 64)
    assert str(error.value) == (
        f"kind 1 from {url} is not the one that is pinned: SHA-256 is {SHA256}, expected {'0' * 64}; it was"
        " thrown away"
    )
    assert list(cache.iterdir()) == []


def test_not_there(url: str, cache: Path) -> None:
    with pytest.raises(ClusterError) as error:
        get(f"{url}-of-yesterday")
    assert str(error.value) == (
        f"kind 1 can't be downloaded from {url}-of-yesterday: 404 File not found; where there is no network,"
        f" put it at {cache / 'kind-1'}"
    )
    assert list(cache.iterdir()) == []


def test_nobody_answers() -> None:
    with pytest.raises(
        ClusterError, match=r"^kind 1 can't be downloaded from \S+: Connection refused; where"
    ):
        get("http://127.0.0.1:1/kind")


def test_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: object, **more: object) -> None:
        raise requests.ReadTimeout(
            "HTTPConnectionPool(host='x', port=80): Read timed out. (read timeout=60.0)"
        )

    monkeypatch.setattr(requests, "get", late)
    with pytest.raises(ClusterError, match=": no answer in time; where there is no network"):
        get("http://x/kind")


def test_no_name_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """As requests and urllib3 wrap it."""

    def unknown(*args: object, **more: object) -> None:
        raise requests.ConnectionError(
            "HTTPSConnectionPool(host='x', port=443): Max retries exceeded with url: /kind (Caused by"
            ' NameResolutionError("<urllib3.connection.HTTPSConnection object at 0x7f>: Failed to resolve'
            " 'x' ([Errno -3] Temporary failure in name resolution)\"))"
        )

    monkeypatch.setattr(requests, "get", unknown)
    with pytest.raises(
        ClusterError, match=": Temporary failure in name resolution; where there is no network"
    ):
        get("http://x/kind")


def test_no_place_for_it(url: str, cache: Path) -> None:
    cache.parent.write_bytes(b"a file")
    with pytest.raises(
        ClusterError, match=r"^kind 1 can't be kept in \S+: Not a directory; XDG_CACHE_HOME names"
    ):
        get(url)


def test_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/u")
    assert downloads.folder() == Path("/home/u/.cache/pytest-k8snet")


def test_kind_is_downloaded_for_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = versions.Pins("9.9.9", url, {"amd64": "0" * 64, "arm64": SHA256}, {}, {}, {})
    monkeypatch.setattr(downloads, "pins", lambda: pinned)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setenv("PATH", "/nowhere")
    steps: list[str] = []
    kind = downloads.kind(KindOptions(), steps.append)
    assert kind.name == "kind-9.9.9-linux-arm64"
    assert steps == ["downloading kind 9.9.9"]
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert downloads.version_of(kind) == "0.99.0"


def test_kind_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = tmp_path / "kind"
    kind.write_bytes(CONTENT)
    kind.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert downloads.kind(KindOptions(), lambda step: None) == kind
    assert downloads.kind(KindOptions(kind=Path("other")), lambda step: None) == Path.cwd() / "other"
