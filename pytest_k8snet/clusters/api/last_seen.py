"""Objects of any kind in a few words: where they stand, and why they get no further."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_k8snet.clusters.api.refusals import one_line

MOST = 3  #: objects that are named


def last_seen(objects: Mapping[str, Mapping[str, Any]]) -> str:
    """One line: "pod-src Pending (ContainersReady False: containers with unready status: [container])"."""
    if not objects:
        return "no such object"
    told = [_one(name, seen) for name, seen in list(objects.items())[:MOST]]
    more = len(objects) - MOST
    return ", ".join([*told, f"and {more} more"] if more > 0 else told)


def _one(name: str, seen: Mapping[str, Any]) -> str:
    status = seen.get("status") or {}
    phase = status.get("phase", "")
    if (seen.get("metadata") or {}).get("deletionTimestamp"):
        phase = "terminating"
    why = next(_reasons(status), "")
    return " ".join(filter(None, [name, phase, f"({why})" if why else ""]))


def _reasons(status: Mapping[str, Any]) -> Iterator[str]:
    """Most telling first: a container that waits or ended, conditions that are not met, unfinished counts."""
    for each in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = each.get("state") or {}
        for said in (state.get("waiting"), state.get("terminated")):
            if said and said.get("reason") != "Completed":
                yield f"{each.get('name', '')}: {_reason(said)}"
    for each in status.get("conditions") or []:
        if each.get("status") != "True":
            yield f"{each.get('type', '')} {each.get('status', '')}: {_reason(each)}".rstrip(": ")
    if "desiredNumberScheduled" in status:
        yield f"{status.get('numberReady', 0)} of {status['desiredNumberScheduled']} ready"
    elif "replicas" in status:
        yield f"{status.get('readyReplicas', 0)} of {status['replicas']} ready"


def _reason(said: Mapping[str, Any]) -> str:
    return one_line(str(said.get("message") or said.get("reason") or ""))
