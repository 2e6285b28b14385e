"""Label and field selectors of list and watch requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.fakeapi.statuses import Json, bad_request

Matches = Callable[[Json], bool]

_SET = re.compile(r"^\s*([^\s!=,()]+)\s+(in|notin)\s+\(([^)]*)\)\s*$")


def labels(selector: str) -> Matches:
    """``a=b``, ``a==b``, ``a!=b``, ``a``, ``!a``, ``a in (b,c)``, ``a notin (b,c)``; raises a 400."""
    terms = [_label_term(term) for term in re.split(r",(?![^(]*\))", selector) if term.strip()]
    return lambda obj: all(term(obj["metadata"].get("labels") or {}) for term in terms)


def fields(selector: str) -> Matches:
    """``metadata.name=x,spec.nodeName!=y``: any dotted path to a scalar."""
    terms: list[tuple[list[str], str, bool]] = []
    for term in filter(None, selector.split(",")):
        match = re.match(r"^([^=!]+)(==|!=|=)(.*)$", term)
        if not match:
            raise bad_request(
                f"unable to parse requirement: invalid selector: '{selector}'; can't understand '{term}'"
            )
        terms.append((match[1].split("."), match[3], match[2] != "!="))
    return lambda obj: all((_scalar(obj, path) == value) is wanted for path, value, wanted in terms)


def _label_term(term: str) -> Callable[[Mapping[str, str]], bool]:
    term = term.strip()
    match = _SET.match(term)
    if match:
        key, values = match[1], {value.strip() for value in match[3].split(",")}
        if match[2] == "in":
            return lambda found: found.get(key) in values
        return lambda found: found.get(key) not in values
    if term.startswith("!"):
        return lambda found: term[1:].strip() not in found
    match = re.match(r"^([^=!\s]+)\s*(==|!=|=)\s*([^\s=]*)$", term)
    if match:
        key, value, wanted = match[1], match[3], match[2] != "!="
        return lambda found: (found.get(key) == value) is wanted
    if re.match(r"^[A-Za-z0-9./_-]+$", term):
        return lambda found: term in found
    raise bad_request(f"unable to parse requirement: found '{term}', expected: identifier")


def _scalar(obj: Any, path: list[str]) -> str:
    for part in path:
        obj = obj.get(part) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj)


def of(query: Mapping[str, str]) -> list[Matches]:
    """The selectors of a request's query."""
    return [labels(query.get("labelSelector", "")), fields(query.get("fieldSelector", ""))]
