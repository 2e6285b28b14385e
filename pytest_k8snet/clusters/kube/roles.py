"""The document's roles on the nodes of a real cluster: named by the user, else chosen (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.intent import ROLES
from pytest_k8snet.manifests import HOSTNAME

#: "master" until Kubernetes 1.23, both from 1.20, "control-plane" alone from 1.24 (kubeadm).
CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
OS = "kubernetes.io/os"
#: Labels of nodes that no machine of the cluster's own stands behind (virtual-kubelet, KWOK, EKS): no probe
#: pod runs there and no ssh leads there, though probes tolerate the taint that keeps other pods away.
VIRTUAL = {"type": ("virtual-kubelet", "kwok"), "eks.amazonaws.com/compute-type": ("fargate",)}
_MANY = 12  #: names in one line


@dataclass(frozen=True)
class Roles:
    """Which node plays what. ``lacks``: roles that none can play, with the reason."""

    nodes: Mapping[str, str]  #: role -> node name
    hostnames: Mapping[str, str] = field(default_factory=dict)  #: role -> value of its kubernetes.io/hostname
    lacks: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return ", ".join(f"{role} {name}" for role, name in self.nodes.items())


def choose(nodes: Sequence[Mapping[str, Any]], named: Mapping[str, str]) -> Roles:
    """The roles on ``nodes`` (Node objects as JSON); ``named`` (role -> node) first.

    node1 and node2 must run pods: Ready, schedulable, without taints that keep the labs' pods away. master
    only sends a request: Ready, with such taints where there is no choice. A control plane that runs pods
    stands in where workers are short. Raises ClusterError, one line, for a named node that is not there or
    can't play its role.
    """
    seats = {seat.name: seat for seat in map(_seat, nodes)}
    roles: dict[str, str] = {}
    for role, name in named.items():
        if name not in seats:
            raise ClusterError(
                f"--k8snet-role {role}={name}: the cluster has no node {name!r},"
                f" it has {_some(sorted(seats))}"
            )
        why_not = seats[name].idle if role == "master" else seats[name].why_not
        if why_not:
            raise ClusterError(f"--k8snet-role {role}={name}: {name} can't play {role}: {why_not}")
        roles[role] = name
    free = [seat for name, seat in sorted(seats.items()) if name not in roles.values()]
    runs = [seat for seat in free if not seat.why_not]
    control = [seat for seat in runs if seat.control_plane]
    # The first control plane last: it plays the master unless there is no other node for the pods.
    able = [*(seat for seat in runs if not seat.control_plane), *control[1:], *control[:1]]
    for role in ("node1", "node2"):
        if role not in roles and able:
            roles[role] = able.pop(0).name
    if "master" not in roles:
        left = [seat for seat in free if not seat.idle and seat.name not in roles.values()]
        masters = sorted(left, key=lambda seat: (not seat.control_plane, bool(seat.why_not), seat.name))
        if masters:
            roles["master"] = masters[0].name
    lacks = {role: _lack(role, list(seats.values())) for role in ROLES if role not in roles}
    ordered = {role: roles[role] for role in ROLES if role in roles}
    return Roles(ordered, {role: seats[name].hostname for role, name in ordered.items()}, lacks)


@dataclass(frozen=True)
class _Seat:
    name: str
    hostname: str
    control_plane: bool
    idle: str  #: why nothing of ours runs there; ""
    why_not: str  #: why the labs' pods don't run there; ""


def _seat(node: Mapping[str, Any]) -> _Seat:
    metadata, spec = node["metadata"], node.get("spec") or {}
    labels = metadata.get("labels") or {}
    conditions = {c["type"]: c for c in (node.get("status") or {}).get("conditions") or ()}
    idle = ""
    if labels.get(OS, "linux") != "linux":
        idle = f"it runs {labels[OS]}"
    elif virtual := [f"{key}={labels[key]}" for key, values in VIRTUAL.items() if labels.get(key) in values]:
        idle = f"it is a virtual node ({virtual[0]})"
    elif conditions.get("Ready", {}).get("status") != "True":
        idle = "it is not Ready"
    keeps_away = [
        f"{taint['key']}:{taint['effect']}"
        for taint in spec.get("taints") or ()
        if taint.get("effect") in ("NoSchedule", "NoExecute")
    ]
    why_not = idle
    if not why_not and spec.get("unschedulable"):
        why_not = "it is cordoned (kubectl uncordon)"
    if not why_not and keeps_away:
        why_not = f"taint {', '.join(keeps_away)}"
    name = metadata["name"]
    return _Seat(
        name, labels.get(HOSTNAME, name), any(label in labels for label in CONTROL_PLANE), idle, why_not
    )


def _lack(role: str, seats: Sequence[_Seat]) -> str:
    if role == "master":
        busy = [f"{seat.name} ({seat.idle})" for seat in seats if seat.idle]
        return f"no third node for the role master: {_some(busy) if busy else f'{len(seats)} nodes in all'}"
    away = [f"{seat.name} ({seat.why_not})" for seat in seats if seat.why_not]
    able = [seat.name for seat in seats if not seat.why_not]
    return f"no node for the role {role}: {_some(able) if able else 'none'} can run the labs' pods" + (
        f", not {_some(away)}" if away else ""
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MANY
    return ", ".join(names[:_MANY]) + (f" and {more} more" if more > 0 else "") if names else "no nodes"
