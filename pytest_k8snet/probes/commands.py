"""A command on a node, or an API read, as a :class:`Reading`: what it brought, or why it brought nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pytest_k8snet.clusters.base import (
    Cluster,
    ClusterError,
    CommandResult,
    CommandTimeout,
    Node,
    NodeUnreachable,
    NotRecorded,
)
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.reading import NotObserved, Reading

T = TypeVar("T")
U = TypeVar("U")

#: Program -> Debian package, where the names differ.
PACKAGES = {
    "ip": "iproute2",
    "ss": "iproute2",
    "netstat": "net-tools",
    "nsenter": "util-linux",
    "stat": "coreutils",
    "cat": "coreutils",
    "iptables-save": "iptables",
    "iptables-legacy-save": "iptables",
    "iptables-nft-save": "iptables",
    "ip6tables-save": "iptables",
    "ip6tables-legacy-save": "iptables",
    "ip6tables-nft-save": "iptables",
    "nft": "nftables",
    "crictl": "cri-tools",
    "docker": "docker.io",
}
NOT_FOUND = 127  #: a shell's exit status for a program that is not there (POSIX 2.8.2)
#: What an iproute2 without JSON says of ``-j`` (CentOS 7's 4.11), and what BusyBox does.
_NO_JSON = (b'Option "-j" is unknown', b"BusyBox")

_READS = {
    "pods": "kubectl get pods -n {namespace} -o json",
    "services": "kubectl get services -n {namespace} -o json",
    "endpointslices": "kubectl get endpointslices -n {namespace} -o json",
    "nodes": "kubectl get nodes -o json",
    "ippools": "kubectl get ippools -o json",
    "clustercidrs": "kubectl cluster-info dump | grep -m 1 cluster-cidr",
}


def run(node: Node, argv: Sequence[str]) -> Reading[CommandResult]:
    """Run to the end on ``node``; only exit status 0 is a value."""
    command = shlex.join(argv)
    try:
        result = node.run(*argv)
    except ClusterError as error:
        return unreached(node.name, command, error)
    if result.exit_status:
        return failed(node.name, command, result)
    return Reading(node.name, command, result)


def read(node: Node, argv: Sequence[str], parse: Callable[[bytes], T]) -> Reading[T]:
    """Run on ``node`` and parse the standard output. A ParseError becomes the failure."""
    return derive(run(node, argv), lambda result: parse(result.stdout))


def read_objects(cluster: Cluster, resource: str, parse: Callable[[bytes], T]) -> Reading[T]:
    """One read of the cluster's API: "pods", "services", "endpointslices", "nodes", "ippools",
    "clustercidrs"."""
    command = _READS[resource].format(namespace=cluster.namespace)
    try:
        body = cluster.get(resource)
    except ClusterError as error:
        return unreached("", command, error)
    return derive(Reading("", command, body), parse)


def derive(reading: Reading[T], find: Callable[[T], U]) -> Reading[U]:
    """The same reading, parsed or looked into. ``find`` raises ParseError for output that can't be read, and
    NotObserved (cause and advice) when what it looks for is not there."""
    if reading.failure or reading.value is None:
        return failed_as(reading)
    try:
        value = find(reading.value)
    except NotObserved as missing:
        return Reading(reading.node, reading.command, failure=missing.cause, advice=missing.advice)
    except ParseError as error:
        return Reading(
            reading.node,
            reading.command,
            failure=f"unreadable output: {error}",
            advice=f"compare `{reading.command}` with what this version of pytest-k8snet reads",
        )
    return Reading(reading.node, reading.command, value)


def failed_as(reading: Reading[Any], *, command: str = "") -> Reading[T]:
    """A failed reading passed on as that of another kind of evidence, which needed it."""
    return Reading(
        reading.node,
        command or reading.command,
        failure=reading.failure or "nothing was read",
        advice=reading.advice,
    )


def text(output: bytes) -> str:
    """Output as text; bytes that are no UTF-8 are kept visible, for a parser to refuse."""
    return output.decode(errors="backslashreplace")


def failed(node: str, command: str, result: CommandResult) -> Reading[T]:
    """The reading of a command that ended with an error."""
    if result.exit_status == NOT_FOUND:
        missing = missing_program(result)
        return Reading(
            node,
            command,
            failure=f"{missing} is not installed on {node}",
            advice=f"install {PACKAGES.get(missing, missing)} on {node}",
        )
    said = last_line(result.stderr)
    if "ip" in result.argv and any(words in result.stderr for words in _NO_JSON):
        return Reading(
            node,
            command,
            failure=f"the ip of {node} prints no JSON (-j): {said}",
            advice=f"install iproute2 5.0 or newer on {node}; pods of ours bring theirs "
            "(--k8snet-node-access probe)",
        )
    return Reading(
        node,
        command,
        failure=f"`{result.argv[0]}` exited with status {result.exit_status}" + (f": {said}" if said else ""),
        advice=f"run it on {node} to see what it says" if node else "",
    )


def unreached(node: str, command: str, error: ClusterError) -> Reading[T]:
    """The reading of a command that did not end, or could not begin."""
    where = node or "the API"
    if isinstance(error, NotRecorded):
        advice = "record the run again with --k8snet-bundle"
    elif isinstance(error, CommandTimeout):
        advice = f"see why it takes so long on {where}"
    elif isinstance(error, NodeUnreachable):
        advice = f"see whether {where} is up"
    else:
        advice = f"see whether {where} answers"
    return Reading(node, command, failure=str(error), advice=advice)


def missing_program(result: CommandResult) -> str:
    """The program that exit status 127 is about: nsenter's and env's complaint names another than theirs."""
    inner = re.search(r"failed to execute (\S+?):", text(result.stderr))
    return inner[1] if inner else result.argv[0]


def last_line(output: bytes) -> str:
    lines = text(output).strip().splitlines()
    return lines[-1].strip() if lines else ""
