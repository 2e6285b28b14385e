"""Labs 3 and 4 as facts: services, their endpoints, kube-proxy's rules, and the requests that these lead."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.nodeport import client_kept
from pytest_k8snet.evidence.objects import Endpoint, Service
from pytest_k8snet.evidence.observations import ClusterIPLab, NodeEvidence, NodePortLab, Request, Spread
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.evidence.sockets import Listener
from pytest_k8snet.intent import Intent
from pytest_k8snet.meaning import known, nodes, rules, traffic
from pytest_k8snet.meaning.answers import answer, pods_named
from pytest_k8snet.meaning.comparison import Fact
from pytest_k8snet.meaning.roles import Roles
from pytest_k8snet.meaning.told import listed, told

CLUSTERIP, NODEPORT = "clusterip", "nodeport"


def of_clusterip(lab: ClusterIPLab, intent: Intent) -> Iterator[Fact]:
    roles, request = known.of_clusterip(lab, intent), lab.request
    ledger = Ledger.of(request, intent)
    for node in {node.name: node for node in (request.entry, request.target.node)}.values():
        yield from nodes.of_node(node, roles)
    service = "svc-clusterip"
    yield from _service(service, lab.service, lab.endpoints, roles)
    yield nodes.route_fact(request.entry, request.asked_ip, roles, to=service)
    yield from rules.of_proxy(request.entry, intent, roles)
    yield from rules.of_entry(CLUSTERIP, ledger, "source-veth", intent, roles)
    yield from traffic.of_request(CLUSTERIP, ledger, roles)


def of_nodeport(lab: NodePortLab, intent: Intent) -> Iterator[Fact]:
    roles, request = known.of_nodeport(lab, intent), lab.request
    ledger = Ledger.of(request, intent, client_kept=client_kept(lab))
    for node in lab.nodes:
        yield from nodes.of_node(node, roles)
        yield from rules.of_proxy(node, intent, roles)
        yield _listeners(node, request.asked_port, roles)
        if node.name != request.entry.name:
            yield rules.of_node_port(node, request.client_ip, request.asked_port, intent, roles)
    yield from rules.of_entry(NODEPORT, ledger, "entry-uplink", intent, roles)
    yield from _service("svc-nodeport", lab.service, lab.endpoints, roles)
    client = request.points[0].node
    yield nodes.route_fact(client, request.asked_ip, roles, to=f"{roles.node(request.entry.name)}.uplink")
    yield from traffic.of_request(NODEPORT, ledger, roles)
    for node, asked in lab.every_node:
        yield _answers(node, asked, ledger, roles)


def _service(
    name: str, service: Reading[Service], endpoints: Reading[tuple[Endpoint, ...]], roles: Roles
) -> Iterator[Fact]:
    yield told(f"service/{name}", lambda: _declared(service.get(), roles))
    yield told(f"endpoints/{name}", lambda: listed(_endpoint(each, roles) for each in endpoints.get()))


def _declared(service: Service, roles: Roles) -> str:
    """Type, selector, policy and ports: numbers, since their roles would hide what was declared."""
    selector = ",".join(f"{key}={value}" for key, value in sorted(service.selector.items()))
    words = [service.type, f"selects {selector or 'nothing'}"]
    for port in service.ports:
        node_port = f", {roles.port(port.node_port)}" if port.node_port else ""
        words.append(f"{port.port}/{port.protocol} > {port.target_port}{node_port}")
    return "; ".join((*words, f"externalTrafficPolicy {service.external_traffic_policy}"))


def _endpoint(endpoint: Endpoint, roles: Roles) -> str:
    state = "" if endpoint.ready else ", not ready"
    where = f" on {roles.node(endpoint.node)}" if endpoint.node else ""
    return f"{roles.end(endpoint.ip, endpoint.port)}{where}{state}"


def _listeners(node: NodeEvidence, port: int, roles: Roles) -> Fact:
    """Who listens on the NodePort, and on which address."""

    def value() -> str:
        return listed(_listener(each, roles) for each in node.listeners.get() if each.port == port)

    return told(f"listener/nodeport/{roles.node(node.name)}", value)


def _listener(listener: Listener, roles: Roles) -> str:
    if not listener.processes:
        raise NotObserved(f"ss names no process that listens on {listener.port}: run it as root")
    names = ", ".join(sorted({name for name, _ in listener.processes}))
    if listener.address is None or listener.everywhere:
        address = "every address"
    else:
        address = roles.address(listener.address)
    return f"{names} on {address}" + (f" of {listener.device}" if listener.device else "")


def _answers(node: NodeEvidence, asked: Request, ledger: Ledger, roles: Roles) -> Fact:
    """``answer/nodeport/NODE``: by each node's own address."""

    def value() -> str:
        exchange = asked.answer.get()
        if not exchange.answered:
            traffic.watched(ledger)
            node.interfaces.get()
        return answer(exchange)

    return told(f"answer/nodeport/{roles.node(node.name)}", value)


def of_spread(reading: Reading[Spread]) -> Iterator[Fact]:
    """``spread``: why nothing is known; else who stood behind the service, and who of them answered."""
    if reading.failure or reading.value is None:
        yield told("spread", lambda: str(reading.get()))
        return
    answers, endpoints = reading.value.answers, reading.value.endpoints
    reached = {name for exchange in answers if exchange.answered for name in pods_named(exchange)}
    lost = sum(1 for exchange in answers if not exchange.answered)
    yield Fact("spread/endpoints", listed(endpoints) or "none")
    yield Fact("spread/reached", listed(reached) or "none")
    yield Fact("spread/unanswered", "none" if not lost else "all" if lost == len(answers) else "some")
