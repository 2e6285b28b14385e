"""Draws a traced request: from the evidence of a lab to the plain values that reports show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from pytest_k8snet.claims.answers import answer_rows
from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.matchers import address_and_port
from pytest_k8snet.claims.modes import proxy_mode
from pytest_k8snet.claims.nat import connection, entry_walk
from pytest_k8snet.claims.path import encapsulation, same_node
from pytest_k8snet.claims.verdict import typed_on
from pytest_k8snet.evidence.conntrack import Connection, Tuple
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.evidence.observations import TracedRequest
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.intent import Intent
from pytest_k8snet.report.drawing import CaptureTold, Drawing, Listing, Sighting


def draw(lab: str, ledger: Ledger, *, bundle: bool) -> Drawing:
    """The drawing of one request. ``bundle``: the run keeps its captures, so that their files can be named.

    Evidence that is missing leaves its place in the drawing with the reason; it raises nothing.
    """
    request, intent = ledger.request, ledger.intent
    first = request.points[0] if request.points else None
    client, asked = _ends(request)
    return Drawing(
        lab=lab,
        name=request.name,
        client=client,
        client_is_pod=first is None or first.id == "source-veth",
        client_node=first.node.name if first is not None else request.entry.name,
        target=request.target.pod.name,
        target_node=request.target.node.name,
        entry_node=request.entry.name,
        asked=address_and_port(request.asked_ip, request.asked_port),
        service=_service(request, asked),
        tunnel=_tunnel(request, intent),
        answered=ledger.answered,
        answer=_answer(request.answer),
        sightings=tuple(Sighting(**asdict(row)) for row in ledger.rows),
        captures=tuple(_capture(hop, bundle) for hop in ledger.hops),
        listings=tuple(_listings(ledger)),
        replies=tuple(Sighting(**asdict(row)) for row in answer_rows(ledger)),
    )


def _ends(request: TracedRequest) -> tuple[str, str]:
    """Who asked, and whom, by the names that the request's own has: "pod-src", "svc-clusterip"."""
    client, _, rest = request.name.partition(" -> ")
    asked, found, _ = rest.partition(f":{request.asked_port}{request.path}")
    return client, asked if found else str(request.asked_ip)


def _to_pod(request: TracedRequest) -> bool:
    """The pod itself was asked, no service."""
    return request.asked_ip in request.target.pod.ips


def _by_node_port(request: TracedRequest) -> bool:
    return any(point.id == "entry-uplink" for point in request.points)


def _service(request: TracedRequest, asked: str) -> str:
    if _to_pod(request):
        return ""
    return f"{asked}:{request.asked_port}" if _by_node_port(request) else asked


def _tunnel(request: TracedRequest, intent: Intent) -> str:
    entry, goal = request.entry, request.target.node
    if same_node(entry, goal):
        return ""
    try:
        return encapsulation(intent, entry, goal) or ""
    except NotObserved:  # one subnet or two? Then the ledger expects nothing there either.
        return ""


def _answer(answer: Reading[Exchange]) -> str:
    try:
        exchange = answer.get()
    except NotObserved as missing:
        return missing.cause
    if not exchange.status:
        return exchange.error
    told = f"{exchange.status}, {exchange.size} byte{'' if exchange.size == 1 else 's'}"
    return f"{told}: {exchange.error}" if exchange.error else told


def _capture(hop: Hop, bundle: bool) -> CaptureTold:
    point, run = hop.point, hop.point.run
    problem = ""
    try:
        hop.capture  # noqa: B018
    except NotObserved as missing:
        problem = missing.cause
    value = None if run.failure else run.value
    return CaptureTold(
        point=point.id,
        node=hop.node.name,
        interface=point.interface,
        command=run.command,
        pcap=point.pcap if bundle else "",
        packets=len(value.capture.packets) + value.capture.not_ip if value is not None else None,
        dropped=value.dropped if value is not None else None,
        problem=problem,
    )


def _listings(ledger: Ledger) -> Iterator[Listing]:
    request = ledger.request
    # On the way to a pod's own address no rule has a part: labs do not read them for that.
    if not (_to_pod(request) and proxy_mode(ledger.intent).reading(request.entry).failure):
        yield _walk(ledger)
    yield _conntrack(ledger)


def _walk(ledger: Ledger) -> Listing:
    entry = ledger.request.entry
    rules = proxy_mode(ledger.intent).reading(entry)
    lines, problem = "", ""
    try:
        walk, _ = entry_walk(ledger, "entry-uplink" if _by_node_port(ledger.request) else "source-veth")
        lines = walk.text
    except NotObserved as missing:
        problem = missing.cause
    command = typed_on(rules.node, rules.command)
    return Listing(f"rules of {entry.name}, walked", command, tuple(lines.splitlines()), problem)


def _conntrack(ledger: Ledger) -> Listing:
    request, reading = ledger.request, ledger.request.connections
    lines, problem = "", ""
    try:
        entry = connection(ledger)
        if entry is None:
            asked = address_and_port(request.asked_ip, request.asked_port)
            problem = f"conntrack lists connections to {asked}, but not this request's: flushed or never made"
        else:
            lines = _printed(entry)
    except NotObserved as missing:
        problem = missing.cause
    command = typed_on(reading.node, reading.command)
    return Listing(f"conntrack of {request.entry.name}", command, tuple(lines.splitlines()), problem)


def _printed(entry: Connection) -> str:
    """As ``conntrack -L`` prints it, but for the protocol's number and the time-out."""
    words = [entry.protocol, *filter(None, [entry.state]), _one_way(entry.original)]
    words += ["[UNREPLIED]"] if "UNREPLIED" in entry.flags else []
    words.append(_one_way(entry.reply))
    words += [f"[{flag}]" for flag in sorted(entry.flags - {"UNREPLIED"})]
    return " ".join([*words, f"mark={entry.mark}"])


def _one_way(there: Tuple) -> str:
    return f"src={there.src} dst={there.dst} sport={there.sport} dport={there.dport}"
