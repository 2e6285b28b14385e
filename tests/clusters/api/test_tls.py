"""Certificates, for requests and for exec: the kubeconfig's settings hold for both."""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.api.client import Api, ApiUnreachable
from pytest_k8snet.clusters.api.execution import PodAccess
from pytest_k8snet.clusters.base import ClusterError
from tests.clusters.api.conftest import VERSION, Serve, Write, entries
from tests.clusters.api.servers import Scripted, ended, frame, header, websocket

#: OpenSSL's words, which depend on the chain that the server shows.
UNTRUSTED = ("unable to get local issuer certificate", "self-signed certificate in certificate chain")
SAN = "subjectAltName = IP:127.0.0.1, DNS:kubernetes.default"


def openssl(directory: Path, *argv: str) -> None:
    subprocess.run(["openssl", *argv], cwd=directory, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca, server and client (.crt, .key), and ``other``, which signed none of them."""
    made = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name in ("ca", "other"):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
        openssl(made, "req", "-x509", *key, *files, "-subj", f"/CN={name}")
    for name, extension in (("server", SAN), ("client", "extendedKeyUsage = clientAuth")):
        (made / "extension").write_text(extension)
        openssl(made, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2", "-extfile", "extension"]
        openssl(made, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signed)
    return made


@pytest.fixture
def server(serve: Serve, certificates: Path) -> Scripted:
    """It answers its version twice and then an exec; who has a certificate must show a good one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return serve(VERSION, VERSION, websocket(*[frame(1, bytes(1000))] * 500, ended(7)), tls=context)


@pytest.fixture
def made(server: Scripted, certificates: Path) -> Callable[..., dict[str, Any]]:
    def make(ca: str = "ca.crt", user: dict[str, Any] | None = None, **cluster: Any) -> dict[str, Any]:
        cluster = {"certificate-authority": str(certificates / ca), **cluster}
        return entries(server.url, user, cluster=cluster)

    return make


def used(config: Path) -> int | None:
    """A request and an exec, both over TLS."""
    with Api.connect(config, "lab") as api:
        assert api.version() == "v1.20.8"
        process = PodAccess(api, "lab", "pod-src", "container").start(["true"])
        while process.exit_status is None:
            process.pump(5)
        process.close()
        assert process.stdout == bytes(500_000)
        return process.exit_status


Made = Callable[..., dict[str, Any]]


def test_a_trusted_server(made: Made, kubeconfig: Write) -> None:
    assert used(kubeconfig(made())) == 7


def test_our_certificate(made: Made, kubeconfig: Write, certificates: Path) -> None:
    user = {"client-certificate": f"{certificates}/client.crt", "client-key": f"{certificates}/client.key"}
    assert used(kubeconfig(made(user=user))) == 7


def test_a_certificate_that_the_server_refuses(made: Made, kubeconfig: Write, certificates: Path) -> None:
    user = {"client-certificate": f"{certificates}/other.crt", "client-key": f"{certificates}/other.key"}
    with pytest.raises(
        ApiUnreachable, match=r"can't be reached: (TLS failed \(|Connection reset|Broken pipe)"
    ):
        used(kubeconfig(made(user=user)))


def test_a_server_that_nobody_vouches_for(made: Made, kubeconfig: Write, server: Scripted) -> None:
    with pytest.raises(ApiUnreachable) as caught:
        used(kubeconfig(made(ca="other.crt")))
    head = f"kubeconfig context lab: the certificate of {server.url} is not trusted: "
    tail = " (certificate-authority, tls-server-name or insecure-skip-tls-verify of its cluster)"
    said = str(caught.value)
    assert said.startswith(head)
    assert said.endswith(tail)
    assert said.removeprefix(head).removesuffix(tail) in UNTRUSTED
    assert server.requests == []


def test_a_server_of_another_name(made: Made, kubeconfig: Write) -> None:
    with pytest.raises(ApiUnreachable, match=r"certificate is not valid for 'k8s\.example'"):
        used(kubeconfig(made(**{"tls-server-name": "k8s.example"})))


def test_the_name_that_the_certificate_has(made: Made, kubeconfig: Write) -> None:
    assert used(kubeconfig(made(**{"tls-server-name": "kubernetes.default"}))) == 7


def test_without_verification(made: Made, kubeconfig: Write) -> None:
    config = made(**{"insecure-skip-tls-verify": True})
    del config["clusters"][0]["cluster"]["certificate-authority"]
    assert used(kubeconfig(config)) == 7


def test_the_authorities_of_the_machine(made: Made, kubeconfig: Write) -> None:
    config = made()
    del config["clusters"][0]["cluster"]["certificate-authority"]
    with pytest.raises(ApiUnreachable, match=f"is not trusted: ({'|'.join(UNTRUSTED)})"):
        used(kubeconfig(config))


def test_a_server_without_tls(serve: Serve, kubeconfig: Write) -> None:
    url = serve(VERSION).url.replace("http:", "https:")
    with pytest.raises(ApiUnreachable, match=rf"{url} can't be reached: TLS failed \("):
        used(kubeconfig(entries(url, cluster={"insecure-skip-tls-verify": True})))


@pytest.mark.parametrize("broken", ["ca", "client"])
def test_what_is_no_certificate(made: Made, kubeconfig: Write, tmp_path: Path, broken: str) -> None:
    nothing = tmp_path / "nothing.crt"
    nothing.write_text("s3cret")
    user = {"client-certificate": str(nothing), "client-key": str(nothing)}
    config = made(ca=str(nothing)) if broken == "ca" else made(user=user)
    with pytest.raises(ClusterError) as caught:
        used(kubeconfig(config))
    assert str(caught.value) == (
        "kubeconfig context lab: its certificates can't be loaded (certificate-authority of its cluster;"
        " client-certificate and client-key of its user)"
    )


def test_certificates_that_only_the_strict_reject_are_trusted(
    made: Made, kubeconfig: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.13 makes strict contexts; a certificate without key identifiers fails there."""
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    monkeypatch.setattr("pytest_k8snet.clusters.api.connection.create_urllib3_context", lambda: strict)
    assert used(kubeconfig(made())) == 7


def tunnel(connection: socket.socket, request: bytes, over: threading.Event) -> None:
    """A proxy's CONNECT."""
    host, port = request.split()[1].decode().split(":")
    with socket.create_connection((host, int(port)), timeout=10) as target:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        ways = {connection: target, target: connection}
        while content := (ready := select.select(list(ways), [], [], 10)[0])[0].recv(65536):
            ways[ready[0]].sendall(content)


def test_a_proxy_is_asked_for_a_tunnel_by_both(
    made: Made, kubeconfig: Write, serve: Serve, server: Scripted
) -> None:
    proxy = serve(tunnel)
    config = kubeconfig(made(**{"proxy-url": f"http://me:s%40cret@127.0.0.1:{proxy.port}"}))
    assert used(config) == 7
    assert {line.split()[0] for line in proxy.lines} == {"CONNECT"}
    assert {header(each, "Proxy-Authorization") for each in proxy.requests} == {"Basic bWU6c0BjcmV0"}
    assert len(proxy.lines) >= 2


def test_a_proxy_that_opens_no_tunnel(made: Made, kubeconfig: Write, serve: Serve, server: Scripted) -> None:
    proxy = serve(tunnel, b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
    config = kubeconfig(made(**{"proxy-url": f"http://me:s3cret@127.0.0.1:{proxy.port}"}))
    away = f"{server.url} can't be reached through proxy http://127.0.0.1:{proxy.port}: "
    with Api.connect(config, "lab") as api, pytest.raises(ApiUnreachable, match=f"{away}failed CONNECT via"):
        PodAccess(api, "lab", "pod-src", "container").start(["true"])
    with pytest.raises(ApiUnreachable, match=f"{away}Tunnel connection failed: 502 Bad Gateway"):
        Api.connect(config, "lab")
