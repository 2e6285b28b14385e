"""Lab 4: a NodePort, asked on node2 and answered by a pod on node1."""

from __future__ import annotations

from pytest_k8snet.claims.causes import BETWEEN_NODES, TRANSLATION, nodeports, services
from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.diagnosis import explained_by
from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.listeners import owner_of_port
from pytest_k8snet.claims.matchers import address_and_port, anywhere, describe, tcp
from pytest_k8snet.claims.modes import proxy_mode
from pytest_k8snet.claims.nat import (
    connection,
    conntrack_verdict,
    entry_packet,
    entry_walk,
    forwarded,
    ready,
    walk_verdict,
)
from pytest_k8snet.claims.path import (
    envelope,
    masquerade_sources,
    same_node,
    target,
)
from pytest_k8snet.claims.verdict import Verdict, all_of, broken, claim, held, inconclusive, shown_by
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.evidence.observations import NodeEvidence, NodePortLab
from pytest_k8snet.evidence.packets import Packet
from pytest_k8snet.intent import Intent

IS_IT_UP = "see whether that node is up, then run again"


@explained_by(
    nodeports.port_held_by_other,
    nodeports.loopback_only,
    nodeports.nothing_listens,
    nodeports.nodeport_rules_missing,
)
@claim
def kube_proxy_listens(lab: NodePortLab, intent: Intent) -> Verdict:
    """kube-proxy listens on 31080 on every node.

    True up to kube-proxy 1.20, 1.21.12, 1.22.9 and 1.23.6. Later versions open no socket, and the
    claim reads: 31080 belongs to kube-proxy, that is, its rules claim the port (KUBE-NODEPORTS; nftables:
    map service-nodeports; ipvs: a virtual server on the node's address, and KUBE-NODE-PORT-TCP) and no other
    process listens on it. The text says which reading was judged.
    """
    if not lab.nodes:
        return inconclusive("a listener on every node", "no node was looked at", advice="name the nodes")
    return all_of(owner_of_port(node, lab, intent) for node in lab.nodes)


@claim
def arrives_plain(lab: NodePortLab, intent: Intent) -> Verdict:
    """On node2's uplink master -> node2:31080 arrives plain."""
    request = lab.request
    wanted = tcp(src=request.client_ip, dst=(request.asked_ip, request.asked_port))
    hop = _ledger(lab, intent).hop("entry-uplink")
    return all_of((hop.shows(wanted), hop.never_shows(wanted.in_another_envelope(), control=wanted)))


@explained_by(services.no_service_rules, *TRANSLATION, *BETWEEN_NODES)
@claim
def dnat_and_forward(lab: NodePortLab, intent: Intent) -> Verdict:
    """Right after it, node2 -> node1 goes out inside IPIP with inner destination pod-dest:8080.

    With the endpoint on the entry node nothing leaves by the uplink: the request must then reach
    the pod's host interface, translated.
    """
    request, ledger = lab.request, _ledger(lab, intent)
    arrival = tcp(src=request.client_ip, dst=(request.asked_ip, request.asked_port))
    onward = tcp(dst=target(request))
    entry = ledger.hop("entry-uplink")
    if _refused(lab):
        return entry.never_shows(anywhere(onward), control=arrival)
    if same_node(request.entry, request.target.node):
        return all_of(
            (
                ledger.hop("target-veth").shows(onward),
                entry.never_shows(anywhere(onward), control=arrival),
            )
        )
    wanted = envelope(intent, request.entry, request.target.node) / onward
    shown = all_of((entry.shows(arrival), entry.shows(wanted)))
    if not shown.held:
        return shown
    numbers = [
        next(packet.number for packet in entry.sightings if form.matches(packet))
        for form in (arrival, wanted)
    ]
    if numbers[0] > numbers[1]:
        return broken(
            f"{entry.where}: {arrival}, then {wanted}",
            f"packet {numbers[1]} goes out before packet {numbers[0]} arrives",
            where=entry.where,
            command=entry.command,
            advice="another node or process sent it: who else holds this token?",
            details=ledger.text,
        )
    return all_of((shown, entry.never_shows(wanted.in_another_envelope(), control=wanted)))


@explained_by(services.no_service_rules, *TRANSLATION, nodeports.masquerade_missing, *BETWEEN_NODES)
@claim
def masqueraded(lab: NodePortLab, intent: Intent) -> Verdict:
    """The inner source is node2 (its tunl0 address), so the answer returns through node2.

    With externalTrafficPolicy Local declared, the client's address is kept, and a node without an
    endpoint forwards nothing.
    """
    request, service, ledger = lab.request, lab.service.get(), _ledger(lab, intent)
    if _refused(lab):
        arrival = tcp(src=request.client_ip, dst=(request.asked_ip, request.asked_port))
        return ledger.hop("entry-uplink").never_shows(anywhere(tcp(dst=target(request))), control=arrival)
    local = same_node(request.entry, request.target.node)
    hop = ledger.hop("target-veth" if local else "entry-uplink")
    if service.external_traffic_policy == "Local":
        return hop.shows(anywhere(tcp(src=request.client_ip, dst=target(request))))
    sources = masquerade_sources(intent, request.entry, request.target.node, request.client_ip.version)
    return hop.shows(anywhere(tcp(src=sources, dst=target(request))))


@explained_by(
    nodeports.masquerade_missing,
    services.not_translated_back,
    services.no_service_rules,
    *TRANSLATION,
    *BETWEEN_NODES,
)
@claim
def answers_from_node2(lab: NodePortLab, intent: Intent) -> Verdict:
    """The master sees the answer come from node2:31080."""
    request, ledger = lab.request, _ledger(lab, intent)
    if _refused(lab):
        arrival = tcp(src=request.client_ip, dst=(request.asked_ip, request.asked_port))
        hop = ledger.hop("entry-uplink")
        if not hop.readable or not hop.sightings:
            return hop.shows(anywhere(arrival))  # what never came was not dropped there
        return _silent(request.entry, request.answer.get(), shown_by(request.answer))
    wanted = tcp(src=(request.asked_ip, request.asked_port), dst=request.client_ip)
    return ledger.hop("client-uplink").reply_shows(wanted, only=True)


@explained_by(
    nodeports.nodeport_rules_missing,
    nodeports.masquerade_missing,
    nodeports.stranger_answers,
    services.selector_mismatch,
    services.no_endpoints,
    *BETWEEN_NODES,
)
@claim
def every_node(lab: NodePortLab, intent: Intent) -> Verdict:
    """The port answers on each node's address.

    The answer must name a pod behind the service: anything may answer on a port. With
    externalTrafficPolicy Local declared, only nodes that run an endpoint answer.
    """
    local_only = lab.service.get().external_traffic_policy == "Local"
    endpoints = [endpoint for endpoint in lab.endpoints.get() if endpoint.ready]
    hosts = {endpoint.node for endpoint in endpoints}
    pods = sorted({endpoint.pod for endpoint in endpoints if endpoint.pod})
    missing = {node.name for node in lab.nodes} - {node.name for node, _ in lab.every_node}
    if missing or not lab.every_node:
        names = ", ".join(sorted(missing)) or "any node"
        return inconclusive(
            "an answer from every node", f"no request to {names}", where=names, advice="request each node"
        )
    verdicts = []
    for node, request in lab.every_node:
        exchange, shown = request.answer.get(), shown_by(request.answer)
        if local_only and node.name not in hosts:
            verdicts.append(_silent(node, exchange, shown))
            continue
        expected = f"{node.name} answers {request.label}, by {' or '.join(pods) or 'an endpoint'}"
        if exchange.answered:
            verdicts.append(_by_an_endpoint(node, exchange, pods, expected, shown))
            continue
        if unseen := _unseen(lab, node, intent):
            seen = f"{node.name}: no answer; {unseen}"
            verdicts.append(inconclusive(expected, seen, advice=IS_IT_UP, **shown))
            continue
        status = (
            f"HTTP {exchange.status}" if exchange.status else f"no answer ({exchange.error or 'no reason'})"
        )
        advice = f"{proxy_mode(intent).look} on {node.name}: do the rules claim the port on this address?"
        verdicts.append(broken(expected, f"{node.name}: {status}", advice=advice, **shown))
    return all_of(verdicts)


@explained_by(services.no_service_rules, *TRANSLATION, nodeports.masquerade_missing)
@claim
def rules_conntrack_wire(lab: NodePortLab, intent: Intent) -> Verdict:
    """node2's rules (KUBE-NODEPORTS to KUBE-SEP), conntrack and wire name the same endpoint.

    In nftables mode the rules are map service-nodeports to chain endpoint-..., in ipvs mode the virtual
    server of the node's address. They must agree on masquerading too: where the rules mark the packet for it
    (1.21 in KUBE-NODEPORTS, 1.22-1.23 in KUBE-SVC, since 1.24 in KUBE-EXT; nftables in external-...; ipvs by
    KUBE-NODE-PORT-TCP), conntrack and wire show another source.
    """
    request, service, ledger = lab.request, lab.service.get(), _ledger(lab, intent)
    known = ready(lab.endpoints, service)
    result, rules = entry_walk(ledger, "entry-uplink")
    wish = f"{rules.node}: {request.client_ip} -> {address_and_port(request.asked_ip, request.asked_port)}"
    if _refused(lab) and result.unknown is None:
        return _refused_by_rules(ledger, result, wish)
    walked = walk_verdict(result, known, ledger, wish, service)
    if not walked.held:
        return walked
    tracked = conntrack_verdict(ledger, known)
    return all_of((walked, tracked, _same_source(ledger, result))) if tracked.held else tracked


def client_kept(lab: NodePortLab) -> bool:
    """The service declares externalTrafficPolicy Local: its NodePort traffic keeps the client's address."""
    service = lab.service
    return not service.failure and service.get().external_traffic_policy == "Local"


def _ledger(lab: NodePortLab, intent: Intent) -> Ledger:
    return Ledger.of(lab.request, intent, client_kept=client_kept(lab))


def _refused(lab: NodePortLab) -> bool:
    """externalTrafficPolicy Local, and the entry node runs no endpoint: it must drop the request."""
    local_only = lab.service.get().external_traffic_policy == "Local"
    return local_only and not same_node(lab.request.entry, lab.request.target.node)


def _unobserved(node: NodeEvidence) -> str:
    """Why nothing of a node could be read; empty where it could."""
    failure = node.interfaces.failure
    return f"{node.name} can't be observed: {failure}" if failure else ""


def _unseen(lab: NodePortLab, node: NodeEvidence, intent: Intent) -> str:
    """Why a missing answer says nothing of the NodePort: a node that it needs can't be observed."""
    if gone := _unobserved(node):
        return gone
    last = _ledger(lab, intent).hops[-1]
    return "" if last.readable else f"{last.node.name}, which runs the endpoint, can't be observed either"


def _silent(node: NodeEvidence, exchange: Exchange, shown: dict[str, str]) -> Verdict:
    expected = f"{node.name} drops the request: externalTrafficPolicy Local, and no endpoint runs there"
    if gone := _unobserved(node):
        return inconclusive(expected, gone, advice=IS_IT_UP, **shown)
    if exchange.answered:
        advice = "see whether kube-proxy on this node knows the service's policy"
        return broken(expected, f"{node.name}: HTTP {exchange.status}", advice=advice, **shown)
    return held(expected, f"{node.name}: no answer", **shown)


def _by_an_endpoint(
    node: NodeEvidence, exchange: Exchange, pods: list[str], expected: str, shown: dict[str, str]
) -> Verdict:
    """The body names a pod behind the service, as the labs' application answers /hostname."""
    body = exchange.body.decode("utf-8", "replace").strip()
    seen = f"{node.name}: HTTP {exchange.status}, {body[:60]!r}"
    if not pods:
        advice = "kubectl get endpointslices -o yaml: is there a ready endpoint, and does it name its pod?"
        return inconclusive(expected, f"{seen}; no ready endpoint names a pod", advice=advice, **shown)
    if any(pod in body for pod in pods):
        return held(expected, seen, **shown)
    advice = f"walk the nat rules of {node.name}, and see who listens: a stranger answers on this port"
    return broken(expected, f"{seen}, which names no pod behind the service", advice=advice, **shown)


def _refused_by_rules(ledger: Ledger, result: Walk, wish: str) -> Verdict:
    """The entry node's rules drop what externalTrafficPolicy Local has no endpoint for there."""
    entry, mode = ledger.request.entry, proxy_mode(ledger.intent)
    expected = f"{wish}: dropped, as externalTrafficPolicy Local wants it without a local endpoint"
    seen = f"the rules end in {', '.join(result.ends) or 'DNAT'}"
    shown = shown_by(mode.reading(entry))
    refused = mode.refuses(entry, entry_packet(ledger, "entry-uplink"), result)
    if refused:
        return held(expected, f"{seen}, and the packet goes no further", details=result.text, **shown)
    if refused is None:
        advice = "iptables -t filter -S INPUT, and the chains it leads to: does a rule drop the port?"
        seen += "; what table filter does with it is not known"
        return inconclusive(expected, seen, advice=advice, details=result.text, **shown)
    advice = "see the service's externalTrafficPolicy and kube-proxy's log"
    return broken(expected, seen, advice=advice, details=result.text, **shown)


def _same_source(ledger: Ledger, result: Walk) -> Verdict:
    """Rules, conntrack and wire agree on whether the client's address was rewritten."""
    request, entry = ledger.request, connection(ledger)
    hop, packet = forwarded(ledger)
    expected = f"rules, conntrack and wire agree on the source behind {request.entry.name}"
    kept = entry.reply.dst if entry else None
    marks = {True: "mark it for masquerading", False: "do not mark it", None: "mark it or not: not known"}
    seen = (
        f"rules {marks[result.masquerade]}, "
        f"conntrack expects the answer at {kept}, {hop.where} shows {describe(packet)}"
    )
    shown = shown_by(proxy_mode(ledger.intent).reading(request.entry))
    if kept != packet.ip.src or (result.masquerade and packet.ip.src == request.client_ip):
        return broken(
            expected,
            seen + _without_masquerade(ledger, result, packet),
            advice="KUBE-POSTROUTING (nftables: chain masquerading) must masquerade what carries mark 0x4000",
            details=result.text,
            **shown,
        )
    if result.masquerade is None:
        sets = request.entry.ipsets
        advice = sets.advice or "judge the rules that match a set by hand: which set holds the packet?"
        seen += f"; {sets.failure}" if sets.failure else ""
        return inconclusive(expected, seen, advice=advice, details=result.text, **shown)
    return held(expected, seen, details=result.text, **shown)


def _without_masquerade(ledger: Ledger, result: Walk, packet: Packet) -> str:
    """ "; no rule masquerades it", when a walk through POSTROUTING says so."""
    request = ledger.request
    leaving = NewConnection(
        request.client_ip,
        packet.ip.dst,
        sport=packet.tcp.sport if packet.tcp else 0,
        dport=packet.tcp.dport if packet.tcp else 0,
    )
    if result.mark is None:
        return ""
    after = proxy_mode(ledger.intent).walk(request.entry, leaving, "POSTROUTING", mark=result.mark)
    if after.unknown is None and not {"MASQUERADE", "SNAT"} & set(after.ends):
        return "; no rule in POSTROUTING masquerades it"
    return ""
