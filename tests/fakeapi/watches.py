"""Watch streams: one JSON line an event, until the time is up."""

from __future__ import annotations

import json
import time

from tests.fakeapi import selectors
from tests.fakeapi.faults import Fault, Request
from tests.fakeapi.resources import Target, group_version, presented
from tests.fakeapi.statuses import Json
from tests.fakeapi.store import Event, Store, TooOld
from tests.fakeapi.wire import Exchange


class Watch:
    """One watch stream, from its resourceVersion to its end."""

    def __init__(
        self, store: Store, exchange: Exchange, request: Request, target: Target, fault: Fault | None
    ) -> None:
        self._store = store
        self._exchange = exchange
        self._target = target
        self._fault = fault
        self._matches = selectors.of(request.query)
        self._since = int(request.query.get("resourceVersion") or 0)
        self._bookmarks = request.query.get("allowWatchBookmarks") in ("true", "True", "1")
        self._sent = store.bookmarks
        timeout = int(request.query.get("timeoutSeconds") or 0)  # 0: as if it were not there
        self._end = time.monotonic() + timeout if timeout else None

    def serve(self) -> None:
        """Until its timeout, its client's or the fake's end."""
        cut, self._exchange.cut = self._exchange.cut, False
        self._exchange.begin_stream("application/json")
        self._exchange.cut = cut
        if self._fault and self._fault.error_event:
            self._send("ERROR", self._fault.error_event)
            return self._exchange.stream(b"")
        if not self._since:
            self._initial()
        while not self._store.closed:
            left = None if self._end is None else self._end - time.monotonic()
            if left is not None and left <= 0:
                self._bookmark()
                break
            try:
                events = self._store.events(self._since, self._sent, left)
            except TooOld as too_old:
                self._send("ERROR", too_old.status)
                break
            for event in events:
                self._since = event.version
                self._tell(event)
            if self._store.bookmarks > self._sent:
                self._sent = self._store.bookmarks
                self._bookmark()
        return self._exchange.stream(b"")

    def _initial(self) -> None:
        """Without a resourceVersion a watch begins with what there is, as ADDED events."""
        with self._store.changed:
            found = self._store.listed(self._target.resource.key, self._target.namespace, *self._matches)
            self._since = self._store.version
        for obj in found:
            self._send("ADDED", self._presented(obj))

    def _tell(self, event: Event) -> None:
        if event.resource.key != self._target.resource.key:
            return
        if self._target.namespace not in ("", event.obj["metadata"].get("namespace")):
            return
        now = event.type != "DELETED" and self._wanted(event.obj)
        before = event.before is not None and self._wanted(event.before)
        if not now and not before:
            return
        # An object that begins or ceases to match a selector comes and goes for this watch.
        kind = "MODIFIED" if now and before else "ADDED" if now else "DELETED"
        self._send(kind, self._presented(event.obj))

    def _wanted(self, obj: Json) -> bool:
        return all(match(obj) for match in self._matches)

    def _bookmark(self) -> None:
        if self._bookmarks:
            resource = self._target.resource
            version = {
                "resourceVersion": str(max(self._since, self._store.version)),
                "creationTimestamp": None,
            }
            self._send(
                "BOOKMARK",
                {
                    "kind": resource.kind,
                    "apiVersion": group_version(resource.group, self._target.version),
                    "metadata": version,
                },
            )

    def _presented(self, obj: Json) -> Json:
        return presented(obj, self._target.resource, self._target.version)

    def _send(self, kind: str, obj: Json) -> None:
        self._exchange.stream(json.dumps({"type": kind, "object": obj}).encode() + b"\n")
