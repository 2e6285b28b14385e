"""What each verb does to objects, and how it is answered."""

from __future__ import annotations

import re

from tests.fakeapi import deletion, selectors, statuses
from tests.fakeapi.faults import Request
from tests.fakeapi.resources import Target, group_version, presented
from tests.fakeapi.statuses import Json, Refused
from tests.fakeapi.store import Store, TooOld
from tests.fakeapi.wire import Exchange

_PAGE = re.compile(r"^(\d+):(\d+)$")
_PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


def get(store: Store, exchange: Exchange, request: Request, target: Target) -> None:
    _reply(exchange, target, store.get(target.resource.key, target.name, target.namespace))


def list_(store: Store, exchange: Exchange, request: Request, target: Target) -> None:
    """Pages by limit and continue; a continue token from before the horizon is refused with 410."""
    start, version = 0, 0
    if request.query.get("continue"):
        page = _PAGE.match(request.query["continue"])
        if not page:
            raise statuses.bad_request("continue key is not valid: illegal base64 data at input byte 0")
        start, version = int(page[1]), int(page[2])
        try:
            store.check(version)
        except TooOld:
            message = (
                "The provided continue parameter is too old to display a consistent list result. You can "
                "start a new list without the continue parameter, or use the continue token in this response"
            )
            raise Refused(410, message, reason="Expired") from None
    with store.changed:
        found = store.listed(target.resource.key, target.namespace, *selectors.of(request.query))
        version = version or store.version
    limit = int(request.query.get("limit") or 0) or len(found)
    items = found[start : start + limit]
    meta: Json = {"resourceVersion": str(version)}
    left = len(found) - start - len(items)
    if left > 0:
        meta |= {"continue": f"{start + limit}:{version}", "remainingItemCount": left}
    exchange.reply(200, _list(target, meta, items))


def create(store: Store, exchange: Exchange, request: Request, target: Target) -> None:
    given = (request.body.get("metadata") or {}).get("namespace")
    if given and target.namespace and given != target.namespace:
        raise statuses.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    made = store.create(
        target.resource.key, request.body, target.namespace, dry_run=request.query.get("dryRun") == "All"
    )
    _reply(exchange, target, made, 201)


def update(store: Store, exchange: Exchange, request: Request, target: Target) -> None:
    meta = request.body.setdefault("metadata", {})
    meta["name"] = target.name
    if target.namespace:
        meta["namespace"] = target.namespace
    _reply(exchange, target, store.update(target.resource.key, request.body))


def patch(store: Store, exchange: Exchange, request: Request, target: Target) -> None:
    """A merge patch; a strategic one is merged the same way (so lists are replaced)."""
    if request.headers.get("Content-Type", "").split(";")[0] not in _PATCHES:
        message = "the body of the request was in an unknown format - accepted media types include: "
        raise Refused(415, message + ", ".join(_PATCHES), reason="UnsupportedMediaType")
    _reply(exchange, target, store.patch(target.resource.key, target.name, target.namespace, request.body))


def scale(store: Store, exchange: Exchange, request: Request, target: Target) -> None:
    if request.verb == "PATCH":
        change = {"spec": {"replicas": request.body["spec"]["replicas"]}}
        found = store.patch(target.resource.key, target.name, target.namespace, change)
    else:
        found = store.get(target.resource.key, target.name, target.namespace)
    replicas = found["spec"].get("replicas", 1)
    answer = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": found["metadata"]}
    exchange.reply(200, answer | {"spec": {"replicas": replicas}, "status": {"replicas": replicas}})


def delete(store: Store, exchange: Exchange, request: Request, target: Target) -> None:
    options = _delete_options(request)
    answer = deletion.delete(store, target.resource, target.name, target.namespace, options)
    if answer.get("kind") == "Status":
        exchange.reply(200, answer)
    else:
        _reply(exchange, target, answer)


def delete_collection(store: Store, exchange: Exchange, request: Request, target: Target) -> None:
    with store.changed:
        found = store.listed(target.resource.key, target.namespace, *selectors.of(request.query))
        for obj in found:
            name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace", "")
            deletion.delete(store, target.resource, name, namespace, _delete_options(request))
        meta = {"resourceVersion": str(store.version)}
    exchange.reply(200, _list(target, meta, found))


def _reply(exchange: Exchange, target: Target, obj: Json, code: int = 200) -> None:
    exchange.reply(code, presented(obj, target.resource, target.version))


def _list(target: Target, meta: Json, items: list[Json]) -> Json:
    return {
        "kind": f"{target.resource.kind}List",
        "apiVersion": group_version(target.resource.group, target.version),
        "metadata": meta,
        "items": [presented(obj, target.resource, target.version, in_list=True) for obj in items],
    }


def _delete_options(request: Request) -> Json:
    """Options stand in the body or in the query."""
    names = ("gracePeriodSeconds", "propagationPolicy")
    return {name: request.query[name] for name in names if name in request.query} | request.body
