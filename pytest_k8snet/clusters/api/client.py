"""One API server by one kubeconfig context: raw JSON on REST paths, each failure one clear line.

No typed models: the client's models of one Kubernetes version reject what another answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import urllib3

from pytest_k8snet.clusters.api.backoff import Backoff
from pytest_k8snet.clusters.api.connection import Connection, Query
from pytest_k8snet.clusters.api.contexts import configuration
from pytest_k8snet.clusters.api.refusals import ApiRefused, ApiUnreachable, one_line
from pytest_k8snet.clusters.base import ClusterError, Deadline

__all__ = ["Api", "ApiRefused", "ApiUnreachable", "Query"]

TRY = 30.0  #: seconds at most for the answer to one try
LEAST = 5.0  #: seconds for a try when the deadline is past: cleaning up still has to work
FIRST_ANSWER = 15.0  #: seconds for all tries of the first request
PATIENCE = 60.0  #: seconds of the first deadline
PAGE = 500  #: objects a page

RETRIED = frozenset({429, 500, 502, 503, 504})


class Api:
    """One API server. Close it, or use it as a context manager.

    What fails on the way (429, 5xx, a broken connection) is tried again until :attr:`deadline`; when that
    is past, each request is tried once. Safe for several threads.
    """

    deadline: Deadline  #: of all retries; set it for each phase of a run

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.context = connection.endpoint.context
        self.server = connection.endpoint.server
        self.deadline = Deadline(PATIENCE)
        self._answered = False

    @classmethod
    def connect(cls, kubeconfig: Path | None, context: str) -> Api:
        """Read the kubeconfig and ask the server for its version.

        ``kubeconfig``: None for ``$KUBECONFIG``, else ~/.kube/config. Raises :class:`ClusterError`, one line:
        no such file, not YAML, no such context (and those there are), unreachable, certificate, 401.
        """
        made = cls(Connection(configuration(kubeconfig, context), context))
        try:
            made._answer("GET", "/version", {}, deadline=Deadline(FIRST_ANSWER))
        except ApiRefused as refused:
            if refused.status != 403:  # not all may read the version, yet it is there and knows us
                made.close()
                raise
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        """Close its connections. Idempotent."""
        self.connection.close()

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def get(self, path: str, *, deadline: Deadline | None = None, **query: Query) -> dict[str, Any]:
        return self._object(self._answer("GET", path, query, deadline=deadline), path)

    def listed(self, path: str, *, deadline: Deadline | None = None, **query: Query) -> dict[str, Any]:
        """All pages as one list object; its ``metadata.resourceVersion`` is where a watch starts."""
        limit, token, items = PAGE, "", list[Any]()
        while True:
            try:
                page = self.get(path, deadline=deadline, **{**query, "limit": limit, "continue": token})
            except ApiRefused as refused:
                if refused.status != 410 or not token:
                    raise
                # The snapshot that the pages come from is gone (etcd compaction): all at once instead.
                limit, token, items = 0, "", []
                continue
            items += page.get("items") or []
            metadata = page.setdefault("metadata", {})
            token = metadata.pop("continue", "")
            if not token:
                metadata.pop("remainingItemCount", None)
                page["items"] = items
                return page

    def text(self, path: str, *, deadline: Deadline | None = None, **query: Query) -> bytes:
        """The answer as it is: a pod's log, ``/healthz``."""
        return self._answer("GET", path, query, deadline=deadline)

    def create(self, path: str, body: Mapping[str, Any], **query: Query) -> dict[str, Any]:
        """POST. Where an answer was lost, and the next says AlreadyExists, the object is taken to be ours.

        It is if it carries all labels of ``body``, which must then have some. With ``generateName`` a lost
        answer is an error, since trying again would make a second object.
        """
        metadata = body.get("metadata") or {}
        name = metadata.get("name", "")
        try:
            made = self._answer("POST", path, query, body=body, twice="generateName" not in metadata)
        except ApiRefused as refused:
            if not (refused.repeated and refused.status == 409 and name and metadata.get("labels")):
                raise
            found = self.get(f"{path}/{name}")
            if not metadata["labels"].items() <= (found["metadata"].get("labels") or {}).items():
                raise
            return found
        return self._object(made, path)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A JSON merge patch (RFC 7386): null removes a field, lists are replaced."""
        answer = self._answer("PATCH", path, {}, body=body, content_type="application/merge-patch+json")
        return self._object(answer, path)

    def delete(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        """``body``: DeleteOptions. What is gone already is fine."""
        try:
            self._answer("DELETE", path, {}, body=body)
        except ApiRefused as refused:
            if refused.status != 404:
                raise

    def version(self) -> str:
        """The server's version: "v1.20.8"."""
        return str(self.get("/version").get("gitVersion", ""))

    def allowed(
        self,
        verb: str,
        resource: str,
        *,
        group: str = "",
        namespace: str = "",
        subresource: str = "",
        name: str = "",
    ) -> bool:
        """May we? By a SelfSubjectAccessReview. ``namespace``: empty for all, and for what has none."""
        attributes = {
            "verb": verb,
            "resource": resource,
            "group": group,
            "namespace": namespace,
            "subresource": subresource,
            "name": name,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        answer = self.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool((answer.get("status") or {}).get("allowed"))

    def opened(
        self, path: str, *, deadline: Deadline, silence: float, **query: Query
    ) -> urllib3.BaseHTTPResponse:
        """One try of a GET whose answer is read as it comes: a watch. The caller closes it.

        ``silence``: seconds without a byte until it breaks. Raises :class:`ApiRefused`,
        :class:`ApiUnreachable`.
        """
        timeout = max(min(silence, deadline.left), 0.01)
        response = self.connection.send("GET", path, query, timeout=timeout, stream=True)
        if response.status == 200:
            return response
        try:
            body = response.read()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self.connection.endpoint.failure(error, timeout) from None
        finally:
            response.close()
        raise self._refused(response, body)

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, Query],
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        deadline: Deadline | None = None,
        twice: bool = True,
    ) -> bytes:
        """The body of a successful answer. ``twice``: trying again does no harm where an answer was lost."""
        backoff = Backoff(deadline or self.deadline)
        sent = None if body is None else json.dumps(body).encode()
        lost = False
        while True:
            timeout = min(TRY, max(LEAST, backoff.deadline.left))
            try:
                response = self.connection.send(
                    method, path, query, timeout=timeout, body=sent, content_type=content_type
                )
            except ApiUnreachable as error:
                # A server that never answered is a wrong address more often than a short break.
                hopeless = error.final or not self._answered or (error.sent and not twice)
                if hopeless or not backoff.wait():
                    raise
                lost = lost or error.sent
                continue
            self._answered = True
            if response.status < 300:
                return response.data
            refused = self._refused(response, response.data)
            refused.repeated = lost
            undone = response.status == 429
            again = response.status in RETRIED and (undone or twice)
            # Two writers met; a merge patch that names no resourceVersion means the same after either.
            again = again or (method == "PATCH" and refused.reason == "Conflict" and not _pinned(body))
            if not again or not backoff.wait(refused.retry_after):
                raise refused
            lost = lost or not undone

    def _refused(self, response: urllib3.BaseHTTPResponse, body: bytes) -> ApiRefused:
        return self.connection.refused(
            body, status=response.status, phrase=response.reason or "", headers=response.headers
        )

    def _object(self, body: bytes, path: str) -> dict[str, Any]:
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            text = one_line(body.decode(errors="replace"))[:80]
            raise ClusterError(
                f"kubeconfig context {self.context}: {self.server}{path} answered no JSON object but"
                f" {text!r}; is it an API server?"
            )
        return said


def _pinned(body: Mapping[str, Any] | None) -> bool:
    return "resourceVersion" in ((body or {}).get("metadata") or {})
