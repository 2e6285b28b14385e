"""Lab 1 as facts: the pod, its sandbox, and what a restart left as it was."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_k8snet.evidence.observations import PauseLab, Request, Restart
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.intent import Intent
from pytest_k8snet.meaning import known, nodes, pods
from pytest_k8snet.meaning.answers import answer
from pytest_k8snet.meaning.comparison import Fact
from pytest_k8snet.meaning.told import told


def of_pause(lab: PauseLab, intent: Intent) -> Iterator[Fact]:
    roles = known.of_pause(lab, intent)
    yield from nodes.of_node(lab.pod.node, roles)
    yield from pods.of_interfaces(lab.pod, roles)
    yield from pods.of_containers(lab.pod)
    address = lab.pod.pod.ips[0] if lab.pod.pod.ips else None
    yield nodes.route_fact(lab.pod.node, address, roles, to=lab.pod.pod.name)
    for request in lab.siblings:
        yield _asked(request, request.label.partition(" -> ")[0])
    for request in lab.from_other_node:
        yield _asked(request, f"port-{request.label.rpartition(':')[2]}")


def _asked(request: Request, place: str) -> Fact:
    """``answer/pause/container1``: by that container's sibling; ``answer/pause/port-8000``: from outside."""
    return told(f"answer/pause/{place}", lambda: answer(request.answer.get()))


def of_restart(reading: Reading[Restart]) -> Iterator[Fact]:
    """``restart``: why nothing is known; else what came back as it was."""
    if reading.failure or reading.value is None:
        yield told("restart", lambda: str(reading.get()))
        return
    before, after = reading.value.before, reading.value.after
    for place, old, new in (
        ("namespace", before.inode, after.inode),
        ("address", before.ips, after.ips),
        ("veth", before.host_interface, after.host_interface),
    ):
        yield Fact(f"restart/{place}", "none before" if not old else "kept" if old == new else "not kept")
