"""HTTP and websockets to one API server, by the Kubernetes client's own pool, TLS settings and credentials.

One try each: what is tried again, and for how long, is the caller's.
"""

# mypy: allow-untyped-calls
# (neither the client nor websocket-client has types throughout)

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from http.client import responses
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

import urllib3
from kubernetes.client import ApiClient
from urllib3.util.ssl_ import create_urllib3_context
from websocket import WebSocket, WebSocketBadStatusException, WebSocketException

from pytest_k8snet import __version__
from pytest_k8snet.clusters.api.failures import Endpoint
from pytest_k8snet.clusters.api.refusals import ApiRefused, refusal
from pytest_k8snet.clusters.base import ClusterError

CONNECTING = 10.0  #: seconds at most for TCP and TLS

Query = str | int | bool | Sequence[str]


def encoded(query: Mapping[str, Query]) -> str:
    """A query string; a sequence is its key several times (exec's ``command``), a bool is true or false."""
    plain = {
        key: str(value).lower() if isinstance(value, bool) else value
        for key, value in query.items()
        if value != ""
    }
    return urlencode(plain, doseq=True)


class Connection:
    """A pool of connections to the server of one kubeconfig context. Close it."""

    def __init__(self, configuration: Any, context: str) -> None:
        self._configuration = configuration
        self._host: str = configuration.host
        self.endpoint = Endpoint(context, without_login(self._host), without_login(configuration.proxy or ""))
        self.processes: set[Any] = (
            set()
        )  #: at the other ends of websockets that are open (execution.PodProcess)
        self._tls = self._tls_context()
        self._proxy = urlsplit(configuration.proxy or "")
        if self._proxy.username and not configuration.proxy_headers:
            # kubectl takes them from the URL; urllib3 does not.
            configuration.proxy_headers = urllib3.make_headers(proxy_basic_auth=":".join(self._proxy_login()))
        try:
            self._client = ApiClient(configuration)
        except (urllib3.exceptions.HTTPError, ImportError, ValueError) as error:
            raise ClusterError(
                f"kubeconfig context {context}: proxy {self.endpoint.proxy or '?'} can't be used"
                f" ({type(error).__name__})"
            ) from None
        self._pool: urllib3.PoolManager = self._client.rest_client.pool_manager
        # All of it is in the context already; loading it again for each connection would be waste.
        self._pool.connection_pool_kw.update(
            ssl_context=self._tls, ca_certs=None, cert_file=None, key_file=None
        )

    def close(self) -> None:
        """Close idle connections. Idempotent."""
        self._pool.clear()
        self._client.close()

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Query],
        *,
        timeout: float,
        body: bytes | None = None,
        content_type: str = "application/json",
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """One request, one answer, whatever its status; ``stream``: its body is left to the caller to read.

        ``timeout`` in seconds, for connecting and for each silence after it. Raises
        :class:`~pytest_k8snet.clusters.api.refusals.ApiUnreachable`.
        """
        headers = {"User-Agent": f"pytest-k8snet/{__version__}", "Accept": "*/*", **self._login()}
        if body is not None:
            headers["Content-Type"] = content_type
        if not self._configuration.verify_ssl:
            # The user said so; a warning would be an error where their tests run with -W error.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        try:
            return self._pool.request(
                method,
                self._url(path, query),
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(CONNECTING, timeout), read=timeout),
                retries=False,
                preload_content=not stream,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self.endpoint.failure(error, timeout) from None

    def websocket(
        self, path: str, query: Mapping[str, Query], *, protocols: Sequence[str], timeout: float
    ) -> WebSocket:
        """An open websocket that speaks one of ``protocols`` (its ``subprotocol`` says which).

        Raises :class:`ApiRefused` with the server's words where it refuses, ``ApiUnreachable`` otherwise.
        """
        made = WebSocket(
            sslopt={"context": self._tls, "server_hostname": self._configuration.tls_server_name or None},
            skip_utf8_validation=True,
        )
        made.settimeout(timeout)
        try:
            made.connect(
                self._url(path, query).replace("http", "ws", 1),
                header=[f"{name}: {value}" for name, value in self._login().items()],
                subprotocols=list(protocols),
                suppress_origin=True,
                redirect_limit=0,  # a login goes to no other server
                **self._proxy_options(),
            )
        except WebSocketBadStatusException as error:
            made.shutdown()
            raise self.refused(
                error.resp_body or b"",
                status=error.status_code,
                phrase=responses.get(error.status_code, ""),
                headers=error.resp_headers or {},
            ) from None
        except (WebSocketException, OSError) as error:
            made.shutdown()
            raise self.endpoint.failure(error, timeout) from None
        except BaseException:
            made.shutdown()
            raise
        return made

    def refused(self, body: bytes, *, status: int, phrase: str, headers: Mapping[str, str]) -> ApiRefused:
        """The error for an answer with such a status; for 401 it names whose credentials are refused."""
        said = refusal(body, status=status, phrase=phrase, headers=headers)
        if status != 401:
            return said
        return ApiRefused(
            f"the credentials of kubeconfig context {self.endpoint.context} are refused by"
            f" {self.endpoint.server}: {said}",
            status=status,
            reason=said.reason,
        )

    def _url(self, path: str, query: Mapping[str, Query]) -> str:
        tail = encoded(query)
        return f"{self._host}{path}?{tail}" if tail else f"{self._host}{path}"

    def _login(self) -> dict[str, str]:
        """The authorization header, empty for client certificates. A plugin's expired token is renewed."""
        try:
            login = self._configuration.auth_settings().get("BearerToken")
        except Exception as error:
            # Plugins and login servers fail in their own ways, and their texts may hold what they were given.
            raise ClusterError(
                f"kubeconfig context {self.endpoint.context}: its credentials can't be renewed"
                f" ({type(error).__name__})"
            ) from None
        return {login["key"]: login["value"]} if login and login["value"] else {}

    def _tls_context(self) -> ssl.SSLContext:
        """One for HTTP and websockets, with all that the kubeconfig says of TLS."""
        made = self._configuration
        context: ssl.SSLContext = create_urllib3_context()
        # Python 3.13 asks more of certificates than RFC 5280 readers such as kubectl do: a CA made by an
        # old kubeadm has no key identifiers.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        try:
            if made.ssl_ca_cert:
                context.load_verify_locations(made.ssl_ca_cert)
            else:
                context.load_default_certs()
            if made.cert_file:
                context.load_cert_chain(made.cert_file, made.key_file)
        except (OSError, ValueError):
            raise ClusterError(
                f"kubeconfig context {self.endpoint.context}: its certificates can't be loaded"
                " (certificate-authority of its cluster; client-certificate and client-key of its user)"
            ) from None
        context.check_hostname = bool(made.verify_ssl)
        context.verify_mode = ssl.CERT_REQUIRED if made.verify_ssl else ssl.CERT_NONE
        return context

    def _proxy_options(self) -> dict[str, Any]:
        """As the pool's: the kubeconfig's proxy-url, else the environment's."""
        if type(self._pool) is urllib3.PoolManager:
            return {"http_no_proxy": ["*"]}
        socks = self._proxy.scheme.startswith("socks")
        return {
            "http_proxy_host": self._proxy.hostname,
            "http_proxy_port": self._proxy.port or (1080 if socks else 80),
            "http_proxy_auth": self._proxy_login() if self._proxy.username else None,
            "proxy_type": self._proxy.scheme if socks else "http",
            "http_no_proxy": [""],  # the pool has judged that; an empty list would mean: read NO_PROXY
        }

    def _proxy_login(self) -> tuple[str, str]:
        return unquote(self._proxy.username or ""), unquote(self._proxy.password or "")


def without_login(url: str) -> str:
    """``url`` without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
