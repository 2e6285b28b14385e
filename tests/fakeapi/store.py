"""Objects with resourceVersions, and the events that watches are made of: etcd and its cache in small."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.fakeapi import statuses
from tests.fakeapi.resources import Resource, Table
from tests.fakeapi.selectors import Matches
from tests.fakeapi.statuses import Json, Refused

Key = tuple[str, str, str]  #: resource key, namespace, name
#: Called with a new object before it is kept; it may complete the object or raise :class:`Refused`.
Admission = Callable[[Resource, Json], None]


@dataclass(frozen=True)
class Event:
    version: int
    type: str  #: "ADDED", "MODIFIED", "DELETED"
    resource: Resource
    obj: Json
    before: Json | None  #: the object as it was until then


class Store:
    """All methods are safe to call from any thread; what they return is the caller's own copy."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.admission: list[Admission] = []
        self.changed = threading.Condition(threading.RLock())
        self._objects: dict[Key, Json] = {}
        self._events: list[Event] = []
        self._version = 100
        self._oldest = 0  #: watches from before this version are refused
        self._bookmarks = 0
        self._nudged = False
        self._closed = False

    # Reading

    @property
    def version(self) -> int:
        with self.changed:
            return self._version

    def get(self, resource: str, name: str, namespace: str = "") -> Json:
        """Raises :class:`Refused` with a 404."""
        with self.changed:
            return copy.deepcopy(self._kept(self.table.find(resource), name, namespace))

    def listed(self, resource: str, namespace: str = "", *matches: Matches) -> list[Json]:
        """By namespace and name; of all namespaces when ``namespace`` is empty."""
        key = self.table.find(resource).key
        with self.changed:
            found = [
                obj
                for (kind, space, _), obj in sorted(self._objects.items(), key=lambda item: item[0])
                if kind == key and namespace in ("", space)
            ]
            return [copy.deepcopy(obj) for obj in found if all(match(obj) for match in matches)]

    @property
    def bookmarks(self) -> int:
        """How many were asked for."""
        return self._bookmarks

    def events(self, since: int, bookmarks: int, timeout: float | None = None) -> list[Event]:
        """All events after version ``since``, as soon as there are any.

        Returns none after ``timeout`` seconds, when more than ``bookmarks`` bookmarks were asked for, and
        when the store was closed. Raises :class:`TooOld` where ``since`` lies before the horizon.
        """
        with self.changed:
            self.changed.wait_for(
                lambda: self._closed or self._version > since or self._bookmarks > bookmarks, timeout
            )
            self.check(since)
            return [event for event in self._events if event.version > since]

    def wait(self, seen: int) -> int:
        """Return the version, and forget nudges, once it is after ``seen``, or at a nudge or the end."""
        with self.changed:
            self.changed.wait_for(lambda: self._closed or self._nudged or self._version > seen)
            self._nudged = False
            return self._version

    def nudge(self) -> None:
        """Something beside the objects changed: let the controllers look again."""
        with self.changed:
            self._nudged = True
            self.changed.notify_all()

    def check(self, since: int) -> None:
        """Raises :class:`TooOld` where the events after ``since`` are forgotten."""
        if since < self._oldest:
            raise TooOld(since, self._oldest)

    @property
    def closed(self) -> bool:
        return self._closed

    # Changing

    def create(self, resource: str, obj: Json, namespace: str = "", *, dry_run: bool = False) -> Json:
        """Raises :class:`Refused`: 404 (no such namespace), 403, 409 (exists), 422."""
        kind = self.table.find(resource)
        obj = copy.deepcopy(obj)
        with self.changed:
            meta = obj.setdefault("metadata", {})
            if kind.namespaced:
                meta["namespace"] = namespace or meta.get("namespace") or "default"
            if not meta.get("name") and meta.get("generateName"):
                meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
            name, space = _identity(meta)
            if kind.namespaced:
                self._check_namespace(kind, name, space)
            if (kind.key, space, name) in self._objects:
                raise statuses.already_exists(kind.group, kind.plural, name)
            for admit in self.admission:
                admit(kind, obj)
            meta["uid"] = str(uuid.uuid4())
            meta["creationTimestamp"] = now()
            if kind.plural in ("pods", "daemonsets", "deployments"):
                meta.setdefault("generation", 1)
            if not dry_run:
                self._put("ADDED", kind, obj, None)
            return copy.deepcopy(obj)

    def update(self, resource: str, obj: Json) -> Json:
        """Replace; raises a 404, or a 409 where the object names an older resourceVersion."""
        kind = self.table.find(resource)
        with self.changed:
            name, space = _identity(obj["metadata"])
            before = self._kept(kind, name, space)
            asked = obj["metadata"].get("resourceVersion")
            if asked and asked != before["metadata"]["resourceVersion"]:
                raise statuses.modified(kind.group, kind.plural, name)
            fresh = copy.deepcopy(obj)
            for constant in ("uid", "creationTimestamp"):
                fresh["metadata"][constant] = before["metadata"][constant]
            return self._replace(kind, before, fresh)

    def modify(self, resource: str, name: str, namespace: str, change: Callable[[Json], None]) -> Json:
        """Change in place under the lock; nothing is written where nothing changes. Raises a 404."""
        kind = self.table.find(resource)
        with self.changed:
            before = self._kept(kind, name, namespace)
            fresh = copy.deepcopy(before)
            change(fresh)
            return self._replace(kind, before, fresh)

    def patch(self, resource: str, name: str, namespace: str, patch: Json) -> Json:
        """A JSON merge patch (RFC 7396). Raises a 404 or 409."""

        def change(obj: Json) -> None:
            merged = merge(obj, patch)
            asked = (patch.get("metadata") or {}).get("resourceVersion")
            if asked and asked != obj["metadata"]["resourceVersion"]:
                kind = self.table.find(resource)
                raise statuses.modified(kind.group, kind.plural, name)
            obj.clear()
            obj.update(merged)

        return self.modify(resource, name, namespace, change)

    def remove(self, resource: str, name: str, namespace: str = "") -> Json:
        """Take it out at once: what a delete comes to in the end. Raises a 404."""
        kind = self.table.find(resource)
        with self.changed:
            before = self._kept(kind, name, namespace)
            del self._objects[(kind.key, namespace, name)]
            gone = copy.deepcopy(before)
            self._record("DELETED", kind, gone, before)
            return copy.deepcopy(gone)

    def compact(self) -> None:
        """Forget all events: watches that resume from before now get 410 Gone."""
        with self.changed:
            self._version += 1
            self._oldest = self._version
            self._events.clear()
            self.changed.notify_all()

    def bookmark(self) -> None:
        """Let every watch that allows bookmarks send one now."""
        with self.changed:
            self._bookmarks += 1
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    def _kept(self, kind: Resource, name: str, namespace: str) -> Json:
        try:
            return self._objects[(kind.key, namespace, name)]
        except KeyError:
            raise statuses.not_found(kind.group, kind.plural, name) from None

    def _check_namespace(self, kind: Resource, name: str, namespace: str) -> None:
        space = self._objects.get(("namespaces", "", namespace))
        if space is None:
            raise statuses.not_found("", "namespaces", namespace)
        if "deletionTimestamp" in space["metadata"]:
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise statuses.forbidden(kind.group, kind.plural, name, why, causes=[cause])

    def _replace(self, kind: Resource, before: Json, fresh: Json) -> Json:
        if fresh != before:
            meta = fresh["metadata"]
            if "generation" in meta and fresh.get("spec") != before.get("spec"):
                meta["generation"] += 1
            self._put("MODIFIED", kind, fresh, before)
        return copy.deepcopy(fresh)

    def _put(self, type_: str, kind: Resource, obj: Json, before: Json | None) -> None:
        name, space = _identity(obj["metadata"])
        self._objects[(kind.key, space, name)] = obj
        self._record(type_, kind, obj, before)

    def _record(self, type_: str, kind: Resource, obj: Json, before: Json | None) -> None:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        self._events.append(Event(self._version, type_, kind, copy.deepcopy(obj), before))
        self.changed.notify_all()


class TooOld(Exception):
    """A watch asked for events that were compacted away."""

    def __init__(self, seen: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {seen} ({oldest})")
        self.status = statuses.expired(seen, oldest)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merge(obj: object, patch: object) -> Json:
    """RFC 7396: null removes, objects are merged, anything else replaces."""
    merged: Json = dict(obj) if isinstance(obj, dict) else {}
    if not isinstance(patch, dict):
        raise statuses.bad_request("a merge patch is a JSON object")
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = merge(merged.get(key), value)
        else:
            merged[key] = value
    return merged


def _identity(meta: Json) -> tuple[str, str]:
    try:
        return meta["name"], meta.get("namespace", "")
    except KeyError:
        raise Refused(
            422, "resource name may not be empty: name or generateName is required", reason="Invalid"
        ) from None
