"""Why no answer came, in words: what urllib3, websocket-client, ssl and the system say of it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import IncompleteRead, RemoteDisconnected

from urllib3.exceptions import ConnectTimeoutError, ProxyError, TimeoutError
from websocket import (
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketProxyException,
    WebSocketTimeoutException,
)

from pytest_k8snet.clusters.api.refusals import ApiUnreachable, one_line


@dataclass(frozen=True)
class Endpoint:
    """Where an API server is, as errors name it."""

    context: str
    server: str  #: URL without user and password
    proxy: str = ""  #: likewise

    def failure(self, error: Exception, timeout: float) -> ApiUnreachable:
        """``error`` as one line, without any secret. ``timeout``: the seconds that were waited."""
        chain = list(_chain(error))
        head = f"kubeconfig context {self.context}: "
        for each in chain:
            if isinstance(each, ssl.SSLCertVerificationError):
                return ApiUnreachable(
                    f"{head}the certificate of {self.server} is not trusted: {each.verify_message}"
                    " (certificate-authority, tls-server-name or insecure-skip-tls-verify of its cluster)",
                    sent=False,
                    final=True,
                )
        through = any(isinstance(each, ProxyError | WebSocketProxyException) for each in chain)
        way = f" through proxy {self.proxy}" if through and self.proxy else ""
        return ApiUnreachable(
            f"{head}{self.server} can't be reached{way}: {_reason(chain, timeout)}",
            sent=not any(
                isinstance(each, ConnectTimeoutError | ConnectionRefusedError | socket.gaierror)
                for each in chain
            ),
        )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """``error`` and all that it was raised from or wraps, outermost first."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [*each.args, each.__cause__, each.__context__, getattr(each, "original_error", None)]


def _reason(chain: list[BaseException], timeout: float) -> str:
    for each in chain:
        if isinstance(each, socket.gaierror):
            return f"its name can't be resolved ({each.strerror})"
        if isinstance(each, ssl.SSLError):
            return f"TLS failed ({each.reason or 'it closed the connection'})"
        if isinstance(each, RemoteDisconnected | WebSocketConnectionClosedException):
            return "it closed the connection without an answer"
        if isinstance(each, IncompleteRead):
            return "its answer broke off"
    for each in chain:
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    if any(isinstance(each, TimeoutError | WebSocketTimeoutException | socket.timeout) for each in chain):
        return f"no answer within {timeout:.0f} s"
    for each in chain:
        if isinstance(each, OSError | WebSocketException):  # a proxy's status, a handshake that fails
            return one_line(str(each))
    return type(chain[0]).__name__
