"""What an API server says when it says no, and what is said when it can't be asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_k8snet.clusters.base import ClusterError

#: Of an answer that is no Status object: a proxy's page, a kubelet's line.
LONGEST_TEXT = 300


class ApiRefused(ClusterError):
    """The API server answered with an error; the message is its own.

    ``status`` is the HTTP status, ``reason`` the Status object's ("NotFound", "AlreadyExists", "Forbidden",
    "Expired", ...; the HTTP reason phrase where the answer is no Status). ``repeated``: an earlier try of the
    same request got no answer, and may have been carried out. ``retry_after``: seconds, where it says so.
    """

    def __init__(
        self, message: str, *, status: int, reason: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.repeated = False


class ApiUnreachable(ClusterError):
    """No answer came: the server can't be reached, its certificate is not trusted, the connection broke.

    ``sent``: the server may have carried the request out. ``final``: another try would end the same.
    """

    def __init__(self, message: str, *, sent: bool, final: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.final = final


def one_line(text: str) -> str:
    return " ".join(text.split())


def refusal(body: bytes, *, status: int, phrase: str, headers: Mapping[str, str]) -> ApiRefused:
    """The error that an answer with ``status`` (HTTP) and ``body`` stands for.

    Retry-After is in whole seconds as the API server says it; a date, which only proxies say, is passed over.
    """
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if isinstance(said, dict) and said.get("kind") == "Status":
        refused = refused_by(said, status=status)
    else:
        text = one_line(body.decode(errors="replace"))[:LONGEST_TEXT]
        refused = ApiRefused(text or f"HTTP {status} {phrase}".strip(), status=status, reason=phrase)
    after = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
    refused.retry_after = float(after) if after.isdecimal() else None
    return refused


def refused_by(said: Mapping[str, Any], *, status: int = 0) -> ApiRefused:
    """The error that a Status object (meta/v1) stands for; ``status`` where it has no code of its own."""
    code = said.get("code")
    code = code if isinstance(code, int) and code else status
    reason = str(said.get("reason") or "")
    message = one_line(str(said.get("message") or ""))
    return ApiRefused(message or reason or f"HTTP {code}", status=code, reason=reason)
