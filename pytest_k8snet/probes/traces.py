"""Requests, seen at every point of their path at once, and in conntrack right after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_k8snet.clusters.base import Cluster, Node
from pytest_k8snet.evidence import conntrack
from pytest_k8snet.evidence.conntrack import Connection
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.evidence.observations import (
    Aftermath,
    NodeEvidence,
    PodEvidence,
    Request,
    TracedRequest,
)
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.probes.captures import Point, capturing, flow_filter
from pytest_k8snet.probes.commands import derive, read
from pytest_k8snet.probes.nodes import host_interface, read_netconf, underlay_address, uplink_interface
from pytest_k8snet.probes.pods import pod_address
from pytest_k8snet.probes.requests import Client, ask, from_node, from_pod, url


@dataclass(frozen=True)
class Question:
    """One request of a trace. ``label`` names it within its lab; ``discard`` throws the answer's body away,
    ``upload`` sends a large one (:func:`~pytest_k8snet.probes.requests.ask`)."""

    label: str
    path: str
    discard: bool = False
    upload: bool = False


def trace(
    cluster: Cluster,
    *,
    questions: Sequence[Question],
    client: Client,
    client_ip: IPAddress,
    asked_ip: IPAddress,
    asked_port: int,
    target: PodEvidence,
    target_port: int,
    points: Sequence[Point],
    entry: NodeEvidence,
    asked_name: str = "",
) -> tuple[TracedRequest, ...]:
    """Ask ``asked_ip:asked_port`` from ``client``, one question after the other, while every one of
    ``points`` captures; one set of captures serves them all (starting four tcpdumps costs more than a
    request), and their tokens keep them apart.

    The first question's label names the captures. ``entry`` is the node where the destination is
    translated: its conntrack is read as soon as the answers are there, while the kernel still knows the
    connections.

    Where a question gets no answer, controls are asked before the captures end (:class:`Aftermath`).
    """
    prefix = f"{cluster.tape.run_id}-"
    tokens = [cluster.tape.token(question.label) for question in questions]
    pcap = tokens[0].removeprefix(prefix)
    urls = [url(asked_ip, asked_port, question.path) for question in questions]
    wanted = flow_filter((asked_port, target_port), asked_ip.version)
    with capturing(cluster, points, pcap=pcap, filter=wanted) as captures:
        answers = [
            ask(client, where, token, discard=question.discard, upload=question.upload)
            for where, token, question in zip(urls, tokens, questions, strict=True)
        ]
        connections = read_connections(cluster.nodes[entry.name], asked_ip, asked_port)
        unanswered = any(map(_unanswered, answers))
        aftermath = _aftermath(cluster, questions[0], entry, target, target_port) if unanswered else None
    return tuple(
        TracedRequest(
            name=f"{client.name} -> {asked_name or asked_ip}:{asked_port}{question.path}"
            + (" with a large body" if question.upload else ""),
            token=token,
            path=question.path,
            client_ip=client_ip,
            asked_ip=asked_ip,
            asked_port=asked_port,
            target=target,
            target_port=target_port,
            answer=answer,
            points=captures.points,
            entry=entry,
            connections=connections,
            aftermath=aftermath,
            upload=question.upload,
        )
        for question, token, answer in zip(questions, tokens, answers, strict=True)
    )


def trace_from_pod(
    cluster: Cluster,
    source: PodEvidence,
    target: PodEvidence,
    *,
    questions: Sequence[Question],
    target_port: int,
    asked_ip: IPAddress | None = None,
    asked_port: int | None = None,
    asked_name: str = "",
    container: str = "",
) -> tuple[TracedRequest, ...]:
    """From a pod to a pod, or to ``asked_ip:asked_port`` that leads there (a service): source veth, source
    uplink, target uplink, target veth."""
    client_ip, target_ip = pod_address(source.pod, asked_ip), pod_address(target.pod, asked_ip)
    return trace(
        cluster,
        questions=questions,
        client=from_pod(cluster, source.pod, container),
        client_ip=client_ip,
        asked_ip=asked_ip or target_ip,
        asked_port=asked_port or target_port,
        asked_name=asked_name or ("" if asked_ip else target.pod.name),
        target=target,
        target_port=target_port,
        points=(
            Point("source-veth", source.node, host_interface(source.node, client_ip)),
            Point("source-uplink", source.node, uplink_interface(source.node)),
            Point("target-uplink", target.node, uplink_interface(target.node)),
            Point("target-veth", target.node, host_interface(target.node, target_ip)),
        ),
        entry=source.node,
    )


def trace_from_node(
    cluster: Cluster,
    client: NodeEvidence,
    entry: NodeEvidence,
    target: PodEvidence,
    *,
    questions: Sequence[Question],
    node_port: int,
    target_port: int,
) -> tuple[TracedRequest, ...]:
    """From a node to ``entry``'s NodePort: client uplink, entry uplink, target uplink, target veth."""
    client_ip, asked_ip = underlay_address(client), underlay_address(entry)
    return trace(
        cluster,
        questions=questions,
        client=from_node(cluster.nodes[client.name]),
        client_ip=client_ip,
        asked_ip=asked_ip,
        asked_port=node_port,
        asked_name=entry.name,
        target=target,
        target_port=target_port,
        points=(
            Point("client-uplink", client, uplink_interface(client)),
            Point("entry-uplink", entry, uplink_interface(entry)),
            Point("target-uplink", target.node, uplink_interface(target.node)),
            Point("target-veth", target.node, host_interface(target.node, pod_address(target.pod, asked_ip))),
        ),
        entry=entry,
    )


def _unanswered(answer: Reading[Exchange]) -> bool:
    """curl says that no answer came. A curl that says nothing asked nothing, as far as is known."""
    return not answer.failure and answer.value is not None and not answer.value.answered


def _aftermath(
    cluster: Cluster, question: Question, entry: NodeEvidence, target: PodEvidence, port: int
) -> Aftermath:
    def control(node: NodeEvidence, name: str, address: IPAddress) -> Request:
        # Begins another way than the request's own: neither may stand in the other.
        token = cluster.tape.token(f"control-{question.label}-{node.name}-{name}")
        answer = ask(from_node(cluster.nodes[node.name]), url(address, port, question.path), token)
        return Request(f"{node.name} -> {name} {address}:{port}", answer)

    goal = target.node
    apart = entry.name != goal.name
    return Aftermath(
        to_pod=control(goal, target.pod.name, pod_address(target.pod)),
        between_nodes=control(entry, goal.name, underlay_address(goal)) if apart else None,
        netconf={name: read_netconf(cluster.nodes[name]) for name in dict.fromkeys((entry.name, goal.name))},
    )


def read_connections(node: Node, address: IPAddress, port: int) -> Reading[tuple[Connection, ...]]:
    """Connections whose original destination is ``address:port``, by conntrack, else from /proc (where the
    kernel still has that file); the failure is that of conntrack."""

    def wanted(listed: tuple[Connection, ...]) -> tuple[Connection, ...]:
        return tuple(c for c in listed if (c.original.dst, c.original.dport) == (address, port))

    family = ("-f", "ipv6") if address.version == 6 else ()
    options = ("--orig-dst", str(address), "--orig-port-dst", str(port))
    listed = read(node, ("conntrack", "-L", *family, "-p", "tcp", *options), conntrack.parse_conntrack)
    if listed.failure:
        fallback = read(node, ("cat", "/proc/net/nf_conntrack"), conntrack.parse_conntrack)
        if not fallback.failure:
            return derive(fallback, wanted)
    return derive(listed, wanted)
