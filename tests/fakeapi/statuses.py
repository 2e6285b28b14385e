"""Status objects, worded as the real API server words them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refused(Exception):
    """The API says no: ``code`` is the HTTP status, ``body`` the Status object."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.body = failure(code, message, reason=reason, details=details)


def failure(code: int, message: str, *, reason: str = "", details: Mapping[str, Any] | None = None) -> Json:
    body: Json = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or _REASONS.get(code, ""),
    }
    if details:
        body["details"] = dict(details)
    return body | {"code": code}


def deleted(details: Mapping[str, Any]) -> Json:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": dict(details),
    }


def not_found(group: str, plural: str, name: str) -> Refused:
    where = f"{plural}.{group}" if group else plural
    return Refused(404, f'{where} "{name}" not found', details=_details(group, plural, name))


def already_exists(group: str, plural: str, name: str) -> Refused:
    where = f"{plural}.{group}" if group else plural
    return Refused(
        409,
        f'{where} "{name}" already exists',
        reason="AlreadyExists",
        details=_details(group, plural, name),
    )


def modified(group: str, plural: str, name: str) -> Refused:
    where = f"{plural}.{group}" if group else plural
    message = (
        f'Operation cannot be fulfilled on {where} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return Refused(409, message, details=_details(group, plural, name))


def forbidden(group: str, plural: str, name: str, why: str, **details: Any) -> Refused:
    """What an admission plugin's refusal looks like: ``pods "x" is forbidden: <why>``."""
    where = f"{plural}.{group}" if group else plural
    return Refused(
        403,
        f'{where} "{name}" is forbidden: {why}',
        details=_details(group, plural, name) | details,
    )


def invalid(kind: str, name: str, field: str, value: object, why: str) -> Refused:
    """A 422 of one field, as validation and the NodePort allocator give it."""
    shown = f'"{value}"' if isinstance(value, str) else value
    message = f"Invalid value: {shown}: {why}"
    cause = {"reason": "FieldValueInvalid", "message": message, "field": field}
    return Refused(
        422,
        f'{kind} "{name}" is invalid: {field}: {message}',
        details={"name": name, "kind": kind, "causes": [cause]},
    )


def bad_request(message: str) -> Refused:
    return Refused(400, message)


def webhook_denied(webhook: str, why: str) -> Refused:
    """A webhook's refusal with the code of controller-runtime's ``Denied``; unless told, it would be 400."""
    message = f'admission webhook "{webhook}" denied the request: {why}'
    return Refused(403, message, reason="Forbidden")


def expired(seen: int, oldest: int) -> Json:
    """The Status in a watch's ERROR event when its resourceVersion was compacted away."""
    return failure(410, f"too old resource version: {seen} ({oldest})", reason="Expired")


def rbac(user: str, verb: str, group: str, resource: str, namespace: str, name: str) -> Refused:
    """A refusal by RBAC. ``resource`` with its subresource: "pods/exec"."""
    plural = resource.split("/")[0]
    subject = f"{plural}.{group}" if group else plural
    if name:
        subject += f' "{name}"'
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = (
        f'{subject} is forbidden: User "{user}" cannot {verb} resource "{resource}" '
        f'in API group "{group}" {where}'
    )
    return Refused(403, message, details=_details(group, plural, name))


def _details(group: str, plural: str, name: str) -> Json:
    found = {"name": name, "group": group, "kind": plural}
    return {key: value for key, value in found.items() if value}
