"""Waiting for objects to become something: a list, then a watch from its resourceVersion."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from typing import Any, TypeVar

import urllib3

from pytest_k8snet.clusters.api.backoff import Backoff
from pytest_k8snet.clusters.api.client import RETRIED, Api
from pytest_k8snet.clusters.api.connection import Query
from pytest_k8snet.clusters.api.last_seen import last_seen
from pytest_k8snet.clusters.api.refusals import ApiRefused, ApiUnreachable, refused_by
from pytest_k8snet.clusters.base import CommandTimeout, Deadline

T = TypeVar("T")

#: Seconds without a byte after which a watch is opened again: its connection may be dead without saying so.
SILENCE = 30.0
CHUNK = 2**16  #: bytes at most that are read at once


class _Broke(Exception):
    """A watch's stream ended in the middle; it is resumed."""


def wait_for(
    api: Api,
    path: str,
    ready: Callable[[Mapping[str, dict[str, Any]]], T | None],
    *,
    deadline: Deadline,
    what: str,
    **query: Query,
) -> T:
    """Wait until ``ready`` returns something; it gets all objects by name, first and after each change.

    ``path``: a list's, narrowed by ``fieldSelector`` and ``labelSelector`` in ``query``. ``what`` begins the
    error: "pod-src on k8s-node2 ready". Broken streams, server errors and expired versions are got over.

    Raises :class:`CommandTimeout` at the deadline with ``what`` and the last thing seen, :class:`ApiRefused`
    for an answer that won't change, and what ``ready`` raises.
    """
    return _Wait(api, path, deadline, what, query).until(ready)


class _Wait:
    def __init__(
        self, api: Api, path: str, deadline: Deadline, what: str, query: Mapping[str, Query]
    ) -> None:
        self._api = api
        self._path = path
        self._deadline = deadline
        self._seconds = deadline.left
        self._what = what
        self._query = query
        self._backoff = Backoff(deadline)
        self._objects: dict[str, dict[str, Any]] = {}
        self._version = ""  #: resourceVersion to watch from; empty: list first
        self._trouble = ""

    def until(self, ready: Callable[[Mapping[str, dict[str, Any]]], T | None]) -> T:
        while True:
            asked = None
            try:
                with closing(self._changes()) as changes:
                    for _ in changes:
                        self._trouble = ""
                        found = ready(self._objects)
                        if found is not None:
                            return found
            except ApiRefused as refused:
                if refused.status == 410:
                    self._version = ""
                elif refused.status not in RETRIED:
                    raise
                self._trouble, asked = str(refused), refused.retry_after
            except ApiUnreachable as error:
                if error.final:
                    raise
                # With the deadline past, it had no time to answer: what was before says more.
                self._trouble = (self._deadline.left <= 0 and self._trouble) or str(error)
            except _Broke as broke:
                self._trouble = str(broke)
            # Also after a stream that simply ended: a server that ends each at once is not asked in a rush.
            if not self._backoff.wait(asked):
                raise self._late()

    def _changes(self) -> Generator[None]:
        """One step for the list, if there is none yet, and one for each change of one watch's stream."""
        if not self._version:
            found = self._api.listed(self._path, deadline=self._deadline, **self._query)
            self._objects = {each["metadata"]["name"]: each for each in found["items"]}
            self._version = str(found["metadata"].get("resourceVersion", "")) or "0"
            yield
        response = self._api.opened(
            self._path,
            deadline=self._deadline,
            silence=SILENCE,
            **{
                **self._query,
                "watch": 1,
                "resourceVersion": self._version,
                "allowWatchBookmarks": True,
                "timeoutSeconds": max(1, round(self._deadline.left)),
            },
        )
        try:
            for line in self._lines(response):
                if self._take(line):
                    self._backoff.reset()
                    yield
        finally:
            response.close()

    def _lines(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """Whole lines of the stream, until it ends or the deadline is past."""
        rest = b""
        chunks = response.stream(CHUNK)
        while self._deadline.left > 0:
            self._wait_no_longer_than_left(response)
            try:
                chunk = next(chunks, None)
            except urllib3.exceptions.ReadTimeoutError:
                return  # silent for too long, or until the deadline
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _Broke(f"the watch broke off ({type(error).__name__})") from None
            if chunk is None:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from filter(None, lines)

    def _wait_no_longer_than_left(self, response: urllib3.BaseHTTPResponse) -> None:
        connection = response.connection
        sock = getattr(connection, "sock", None)
        if sock is not None:
            sock.settimeout(max(0.01, min(SILENCE, self._deadline.left)))

    def _take(self, line: bytes) -> bool:
        """One event of the stream; was it a change?"""
        try:
            event = json.loads(line)
            kind, seen = event["type"], event["object"]
            if kind == "ERROR":
                raise refused_by(seen)
            metadata = seen["metadata"]
            self._version = str(metadata.get("resourceVersion") or self._version)
            if kind == "BOOKMARK":
                return False
            name = metadata["name"]
        except (ValueError, KeyError, TypeError):
            # Half a line of a proxy's error page: what follows can't be trusted either.
            raise _Broke("the watch sent what is no event") from None
        if kind == "DELETED":
            self._objects.pop(name, None)
        else:
            self._objects[name] = seen
        return True

    def _late(self) -> CommandTimeout:
        trouble = f"; {self._trouble}" if self._trouble else ""
        return CommandTimeout(
            f"{self._what}: not within {self._seconds:.0f} s; last seen: {last_seen(self._objects)}{trouble}"
        )
