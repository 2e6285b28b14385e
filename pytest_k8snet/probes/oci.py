"""Containers from a node's OCI runtime (crun, runc): ``list`` and each container's ``config.json``."""

from __future__ import annotations

import json

from pytest_k8snet.clusters.base import Node
from pytest_k8snet.evidence import sandboxes
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.evidence.sandboxes import Container
from pytest_k8snet.probes.commands import derive, failed_as, read

LIST = ("crun", "--root", "/run/crun", "list", "--format", "json")


def read_containers(node: Node, pod: Pod) -> Reading[tuple[Container, ...]]:
    """The running containers of ``pod``, its sandboxes included. The runtime lists by node, not by pod."""
    return derive(
        read_all(node),
        lambda found: tuple(c for c in found if (c.namespace, c.pod) == (pod.namespace, pod.name)),
    )


def read_all(node: Node) -> Reading[tuple[Container, ...]]:
    """Every running container of the node, sandboxes included."""
    listed = read(node, LIST, sandboxes.parse_oci_list)
    if listed.failure or listed.value is None:
        return failed_as(listed)
    running = [state for state in listed.value if state.status == "running"]
    if not running:
        return Reading(listed.node, listed.command, ())
    # One command for all: JSON documents, one after the other, are told apart by their own syntax.
    configs = read(node, ("cat", *(f"{state.bundle}/config.json" for state in running)), documents)

    def containers(texts: tuple[str, ...]) -> tuple[Container, ...]:
        if len(texts) != len(running):
            raise NotObserved(
                f"{len(running)} containers run, {len(texts)} configurations were read",
                advice="a container ended meanwhile: run it again",
            )
        return tuple(
            sandboxes.parse_oci_config(state, config) for state, config in zip(running, texts, strict=True)
        )

    found = derive(configs, containers)
    return Reading(found.node, listed.command, found.value, found.failure, found.advice)


def documents(content: bytes) -> tuple[str, ...]:
    """Split concatenated JSON documents. Raises ParseError."""
    text = content.decode(errors="backslashreplace")
    decoder = json.JSONDecoder()
    found = []
    start = 0
    while (rest := text[start:].lstrip()) != "":
        start = len(text) - len(rest)
        try:
            _, end = decoder.raw_decode(text, start)
        except ValueError as error:
            raise ParseError("config.json", f"not JSON: {error}", text[start:]) from None
        found.append(text[start:end])
        start = end
    return tuple(found)
