"""What a service's translation looks like in conntrack, in the rules and on the wire."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.matchers import address_and_port, describe, tcp
from pytest_k8snet.claims.rulematch import NewConnection
from pytest_k8snet.claims.rulewalk import Walk, service_chain_name, walk
from pytest_k8snet.claims.verdict import Verdict, broken, held, inconclusive, shown_by
from pytest_k8snet.evidence.conntrack import Connection
from pytest_k8snet.evidence.netfilter import RuleSet
from pytest_k8snet.evidence.objects import Endpoint, Service
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.packets import IPAddress, Packet
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.intent import Intent

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
            advice="list all of the node's connections, as root in its own network namespace: conntrack -L",
        )
    original = (request.client_ip, client_port(ledger), request.asked_ip, request.asked_port)
    for entry in entries:
        there = entry.original
        if entry.protocol == "tcp" and (there.src, there.sport, there.dst, there.dport) == original:
            return entry
    return None


def ready(reading: Reading[tuple[Endpoint, ...]], service: Service) -> frozenset[Address]:
    """Address and port of the service's ready endpoints."""
    return frozenset(
        (endpoint.ip, endpoint.port)
        for endpoint in reading.get()
        if endpoint.ready and (endpoint.namespace, endpoint.service) == (service.namespace, service.name)
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


def require_iptables(intent: Intent, rules: Reading[RuleSet]) -> RuleSet:
    """The node's rules. Raises NotObserved when they were not read, or are not what kube-proxy uses."""
    if intent.proxy_mode != "iptables":
        raise NotObserved(
            f"kube-proxy's mode is declared as {intent.proxy_mode}; only iptables rules are walked",
            node=rules.node,
            command={"nftables": "nft list table ip kube-proxy", "ipvs": "ipvsadm -Ln"}[intent.proxy_mode],
            advice="read that listing by hand, or declare k8snet_proxy_mode = iptables if that is what runs",
        )
    return rules.get()


def entry_walk(ledger: Ledger, point_id: str) -> tuple[Walk, Reading[RuleSet]]:
    """The request's first packet, walked through the nat rules of the node where DNAT is due.

    It comes in by the interface of ``point_id``. Raises NotObserved like :func:`require_iptables`.
    """
    request = ledger.request
    reading = request.entry.rules
    packet = NewConnection(
        request.client_ip,
        request.asked_ip,
        sport=_client_port_or_any(ledger),
        dport=request.asked_port,
        in_interface=ledger.hop(point_id).point.interface,
        dst_local=holds(request.entry, request.asked_ip),
    )
    return walk(require_iptables(ledger.intent, reading), packet), reading


def holds(node: NodeEvidence, address: IPAddress) -> bool:
    """The node itself has this address. Raises NotObserved when its interfaces were not read."""
    return any(a.ip == address for i in node.interfaces.get() for a in i.addresses)


def _client_port_or_any(ledger: Ledger) -> int:
    try:
        return client_port(ledger)
    except NotObserved:
        return ANY_CLIENT_PORT


def walk_verdict(
    result: Walk, endpoints: frozenset[Address], rules: Reading[RuleSet], wish: str, service: Service
) -> Verdict:
    """The walk ends in DNAT, and only to ready endpoints of the service."""
    shown = shown_by(rules)
    wanted = ", ".join(sorted(address_and_port(*address) for address in endpoints)) or "no endpoint"
    expected = f"{wish}: DNAT to {wanted}"
    details = result.text
    if result.unknown is not None:
        advice = "judge this rule by hand; the walk does not guess"
        return inconclusive(expected, result.unknown, advice=advice, details=details, **shown)
    reached = [(ip, port) for ip, port, _ in result.endpoints]
    strangers = [address for address in reached if address not in endpoints]
    chains = service_chains(service)
    # Traffic policies lead through chains of the same hash: KUBE-EXT-, KUBE-SVL-, KUBE-XLB-.
    by_name = next((c for c in chains if any(c.rpartition("-")[2] in rule for rule in result.path)), None)
    if strangers:
        wrong = ", ".join(address_and_port(*address) for address in strangers)
        seen = f"the rules lead to {wrong}, which is no ready endpoint of {service.namespace}/{service.name}"
    elif result.ends or not reached:
        seen = f"the rules end in {', '.join(result.ends) or 'nothing'}" + (" for some" if reached else "")
        seen += f"; {' or '.join(chains)} was " + ("entered" if by_name else "never entered")
    elif by_name is None:
        seen = f"another rule translates it first: {' or '.join(chains)} was never entered"
    else:
        shares = ", ".join(
            f"{address_and_port(ip, port)} ({share:.1%})" for ip, port, share in result.endpoints
        )
        note = _other_tables(rules.get())
        return held(expected, f"{by_name} -> {shares}{note}", details=details, **shown)
    advice = "compare with the service's EndpointSlices; see kube-proxy's log on this node"
    return broken(expected, seen, advice=advice, details=details, **shown)


def service_chains(service: Service) -> list[str]:
    return [
        service_chain_name(service.namespace, service.name, port.name, port.protocol)
        for port in service.ports
    ]


def _other_tables(rules: RuleSet) -> str:
    backend = f"; read from {rules.backend}" if rules.backend else ""
    return backend + ("; legacy tables hold rules too" if rules.legacy_present else "")


def conntrack_verdict(ledger: Ledger, endpoints: frozenset[Address] | None = None) -> Verdict:
    """The flow's conntrack entry sends it to the endpoint that the wire shows (one of ``endpoints``)."""
    request = ledger.request
    entry, shown = connection(ledger), shown_by(request.connections)
    asked = (request.asked_ip, request.asked_port)
    wish = f"conntrack on {request.entry.name}: {request.client_ip} -> {address_and_port(*asked)}"
    advice = "DNAT must happen on this node and nowhere else: walk its nat rules"
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
        return broken(expected, seen, advice=advice, details=ledger.text, **shown)
    kept = (entry.reply.src, entry.reply.sport)
    seen = f"conntrack {address_and_port(*kept)}, {hop.where} {address_and_port(*wire)}"
    if kept != wire:
        return broken(expected, seen, advice=advice, details=ledger.text, **shown)
    if endpoints is not None and wire not in endpoints:
        seen += ", which is no ready endpoint"
        return broken(expected, seen, advice=advice, details=ledger.text, **shown)
    return held(expected, seen, details=ledger.text, **shown)
