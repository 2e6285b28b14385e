"""Which node a pod may run on, and what the scheduler says when there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.fakeapi.statuses import Json


def tolerates(spec: Json, taint: Json) -> bool:
    for toleration in spec.get("tolerations") or []:
        if toleration.get("effect", "") not in ("", taint["effect"]):
            continue
        if toleration.get("operator", "Equal") == "Exists":
            if toleration.get("key", "") in ("", taint["key"]):
                return True
        elif (toleration.get("key"), toleration.get("value", "")) == (taint["key"], taint.get("value", "")):
            return True
    return False


def untolerated(spec: Json, node: Json) -> Json | None:
    for taint in node["spec"].get("taints") or []:
        found: Json = taint
        if found["effect"] != "PreferNoSchedule" and not tolerates(spec, found):
            return found
    return None


def suits(spec: Json, node: Json) -> bool:
    """nodeSelector and required node affinity (operators In, NotIn, Exists, DoesNotExist)."""
    labels = node["metadata"]["labels"]
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms")
    if terms is None:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(_expression(one, labels) for one in term.get("matchExpressions") or [])
        and all(_expression(one, fields) for one in term.get("matchFields") or [])
        for term in terms
    )


def place(spec: Json, nodes: Sequence[Json], minor: int) -> tuple[str, str]:
    """(node, "") or ("", why not), worded as Kubernetes 1.``minor`` words it."""
    reasons: Counter[str] = Counter()
    for node in nodes:
        taint = untolerated(spec, node)
        # The plugins' order: node affinity came before taints until the configuration v1beta3 of 1.23.
        if not suits(spec, node) and (taint is None or minor < 23):
            reasons[_AFFINITY[minor >= 22]] += 1
        elif taint:
            shown = f"{{{taint['key']}: {taint.get('value', '')}}}"
            if taint["key"] == "node.kubernetes.io/unschedulable":
                reasons["node(s) were unschedulable"] += 1
            elif minor >= 34:  # kubernetes#134740, in 1.34 since 1.34.2
                reasons["node(s) had untolerated taint(s)"] += 1
            elif minor >= 24:
                reasons[f"node(s) had untolerated taint {shown}"] += 1
            else:
                reasons[f"node(s) had taint {shown}, that the pod didn't tolerate"] += 1
        else:
            return node["metadata"]["name"], ""
    counted = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    message = f"0/{len(nodes)} nodes are available: {counted}."
    if minor >= 24:
        claims = "no new claims to deallocate, " if minor >= 34 else ""
        message += (
            f" {claims}preemption: 0/{len(nodes)} nodes are available: "
            f"{len(nodes)} Preemption is not helpful for scheduling."
        )
    return "", message


_AFFINITY = ("node(s) didn't match Pod's node affinity", "node(s) didn't match Pod's node affinity/selector")


def _expression(one: Json, found: Json) -> bool:
    value = found.get(one["key"])
    match one["operator"]:
        case "In":
            return value in one["values"]
        case "NotIn":
            return value not in one["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise NotImplementedError(one["operator"])
