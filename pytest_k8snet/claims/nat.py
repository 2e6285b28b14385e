"""What a service's translation looks like in conntrack, in the rules and on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.matchers import address_and_port, describe, tcp
from pytest_k8snet.claims.modes import proxy_mode
from pytest_k8snet.claims.verdict import Verdict, broken, held, inconclusive, shown_by
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.conntrack import Connection
from pytest_k8snet.evidence.objects import Endpoint, Service
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.packets import IPAddress, Packet
from pytest_k8snet.evidence.reading import NotObserved, Reading

Address = tuple[IPAddress, int]

#: The pods that the lab's service is for: its manifest selects ``type: dest``.
SELECTED: Mapping[str, str] = {"type": "dest"}

#: A source port as clients take them, for a walk whose request no capture shows.
ANY_CLIENT_PORT = 40000

#: Where the request leaves its client, as far as a lab captures that.
_FIRST_POINTS = ("source-veth", "client-uplink", "entry-uplink")


def client_port(ledger: Ledger) -> int:
    """The client's own port, from the first point that shows the request before any NAT.

    Raises NotObserved when no readable point shows it.
    """
    request = ledger.request
    asked = tcp(src=request.client_ip, dst=(request.asked_ip, request.asked_port))
    unread = []
    for hop in ledger.hops:
        if hop.point.id in _FIRST_POINTS:
            try:
                sightings = hop.sightings
            except NotObserved as missing:
                unread.append(missing.cause)
                continue
            for packet in sightings:
                if asked.matches(packet) and packet.tcp is not None:
                    return packet.tcp.sport
    first = ledger.hops[0] if ledger.hops else None
    raise NotObserved(
        "; ".join([f"no capture shows which port {request.client_ip} sent the request from", *unread]),
        node=first.node.name if first else "",
        command=first.point.run.command if first else "",
        advice="the request must be seen as its client sent it before its connection can be looked up",
    )


def connection(ledger: Ledger) -> Connection | None:
    """The entry node's conntrack entry of this very request; None when the listing has none.

    Raises NotObserved when conntrack was not read, or lists no connection to the asked address at all:
    that alone does not tell a connection that was never tracked from a listing made in the wrong place.
    """
    request = ledger.request
    entries = request.connections.get()
    if not entries:
        raise NotObserved(
            f"conntrack lists no connection to {address_and_port(request.asked_ip, request.asked_port)}: "
            "flushed, exempt (NOTRACK) or never made",
            node=request.connections.node,
            command=request.connections.command,
            advice="list all of the node's connections, as root in its own network namespace: conntrack -L"
            + _ip_vs_keeps_apart(ledger),
        )
    original = (request.client_ip, client_port(ledger), request.asked_ip, request.asked_port)
    for entry in entries:
        there = entry.original
        if entry.protocol == "tcp" and (there.src, there.sport, there.dst, there.dport) == original:
            return entry
    return None


def ready(reading: Reading[tuple[Endpoint, ...]], service: Service) -> frozenset[Address]:
    """Address and port of the service's ready endpoints.

    A service of two families has slices for each; those that stand behind ``cluster_ip`` are of its own.
    """
    return frozenset(
        (endpoint.ip, endpoint.port)
        for endpoint in reading.get()
        if endpoint.ready
        and (endpoint.namespace, endpoint.service) == (service.namespace, service.name)
        and (service.cluster_ip is None or endpoint.ip.version == service.cluster_ip.version)
    )


def forwarded(ledger: Ledger) -> tuple[Hop, Packet]:
    """The request as the wire shows it after DNAT was due, at the first point behind the entry node's
    rules that shows it. Raises NotObserved when no readable point does.
    """
    request = ledger.request
    asked = tcp(src=request.client_ip, dst=(request.asked_ip, request.asked_port))
    behind = [hop for hop in ledger.hops if hop.point.id not in ("source-veth", "client-uplink")]
    for hop in behind:
        if hop.readable:
            for packet in hop.sightings:
                if not asked.matches(packet):
                    return hop, packet
    last = behind[-1] if behind else None
    raise NotObserved(
        f"no capture behind {request.entry.name}'s rules shows the request",
        node=last.node.name if last else "",
        command=last.point.run.command if last else "",
        advice="see the ledger: which of these captures failed?",
    )


def entry_packet(ledger: Ledger, point_id: str) -> NewConnection:
    """The request's first packet where it enters the node where DNAT is due, by the interface of
    ``point_id``. Raises NotObserved where the node's interfaces were not read."""
    request = ledger.request
    return NewConnection(
        request.client_ip,
        request.asked_ip,
        sport=_client_port_or_any(ledger),
        dport=request.asked_port,
        in_interface=ledger.hop(point_id).point.interface,
        dst_local=holds(request.entry, request.asked_ip),
    )


def entry_walk(ledger: Ledger, point_id: str) -> tuple[Walk, Reading[Any]]:
    """That packet, walked through kube-proxy's rules, and what these were read from.

    Raises NotObserved where the rules were not read.
    """
    entry, mode = ledger.request.entry, proxy_mode(ledger.intent)
    return mode.walk(entry, entry_packet(ledger, point_id)), mode.reading(entry)


def holds(node: NodeEvidence, address: IPAddress) -> bool:
    """The node itself has this address. Raises NotObserved when its interfaces were not read."""
    return any(a.ip == address for i in node.interfaces.get() for a in i.addresses)


def _client_port_or_any(ledger: Ledger) -> int:
    try:
        return client_port(ledger)
    except NotObserved:
        return ANY_CLIENT_PORT


def walk_verdict(
    result: Walk, endpoints: frozenset[Address], ledger: Ledger, wish: str, service: Service
) -> Verdict:
    """The walk ends in DNAT, and only to ready endpoints of the service."""
    entry, mode = ledger.request.entry, proxy_mode(ledger.intent)
    shown = shown_by(mode.reading(entry))
    wanted = ", ".join(sorted(address_and_port(*address) for address in endpoints)) or "no endpoint"
    expected = f"{wish}: DNAT to {wanted}"
    details = result.text
    if result.unknown is not None:
        advice = "judge this rule by hand; the walk does not guess"
        return inconclusive(expected, result.unknown, advice=advice, details=details, **shown)
    reached = [(ip, port) for ip, port, _ in result.endpoints]
    strangers = [address for address in reached if address not in endpoints]
    names, by_name = " or ".join(mode.names(service)), mode.entered(result, service)
    if strangers:
        wrong = ", ".join(address_and_port(*address) for address in strangers)
        seen = f"the rules lead to {wrong}, which is no ready endpoint of {service.namespace}/{service.name}"
    elif result.ends or not reached:
        seen = f"the rules end in {', '.join(result.ends) or 'nothing'}" + (" for some" if reached else "")
        seen += f"; {names} was " + ("entered" if by_name else "never entered")
    elif by_name is None:
        seen = f"another rule translates it first: {names} was never entered"
    else:
        shares = ", ".join(
            f"{address_and_port(ip, port)} ({share:.1%})" for ip, port, share in result.endpoints
        )
        return held(expected, f"{by_name} -> {shares}{mode.source(entry)}", details=details, **shown)
    advice = "compare with the service's EndpointSlices; see kube-proxy's log on this node"
    return broken(expected, seen, advice=advice, details=details, **shown)


def conntrack_verdict(ledger: Ledger, endpoints: frozenset[Address] | None = None) -> Verdict:
    """The flow's conntrack entry sends it to the endpoint that the wire shows (one of ``endpoints``)."""
    request = ledger.request
    entry, shown = connection(ledger), shown_by(request.connections)
    asked = (request.asked_ip, request.asked_port)
    wish = f"conntrack on {request.entry.name}: {request.client_ip} -> {address_and_port(*asked)}"
    advice = "DNAT must happen on this node and nowhere else: walk its nat rules" + _ip_vs_keeps_apart(ledger)
    if entry is not None and (entry.reply.src, entry.reply.sport) == asked:
        seen = f"an entry whose answer comes from {address_and_port(*asked)} itself: it was not translated"
        expected = f"{wish} answered by an endpoint"
        return broken(expected, seen, advice=advice, details=ledger.text, **shown)
    hop, packet = forwarded(ledger)
    wire = (packet.ip.dst, packet.tcp.dport if packet.tcp else 0)
    expected = f"{wish} answered by the endpoint on the wire, {address_and_port(*wire)}"
    if entry is None:
        seen = f"no such entry; yet {hop.where} shows {describe(packet)}"
        advice = "the entry was flushed or never made: is the traffic exempt (NOTRACK), or the table full?"
        advice += _ip_vs_keeps_apart(ledger)
        return broken(expected, seen, advice=advice, details=ledger.text, **shown)
    kept = (entry.reply.src, entry.reply.sport)
    seen = f"conntrack {address_and_port(*kept)}, {hop.where} {address_and_port(*wire)}"
    if kept != wire:
        return broken(expected, seen, advice=advice, details=ledger.text, **shown)
    if endpoints is not None and wire not in endpoints:
        seen += ", which is no ready endpoint"
        return broken(expected, seen, advice=advice, details=ledger.text, **shown)
    return held(expected, seen, details=ledger.text, **shown)


def _ip_vs_keeps_apart(ledger: Ledger) -> str:
    """In ipvs mode: why conntrack may not know of a translation, for the end of an advice."""
    if ledger.intent.proxy_mode != "ipvs":
        return ""
    setting = ledger.request.entry.ipvs_conntrack
    value = "" if setting.failure else f", and is {int(bool(setting.value))} here"
    return f"; ip_vs tells conntrack only with net.ipv4.vs.conntrack = 1, which kube-proxy sets{value}"
