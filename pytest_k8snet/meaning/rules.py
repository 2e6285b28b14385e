"""kube-proxy: its mode, its back end, and the chain of rules that one request walks, in roles."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_k8snet.claims import nat
from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.modes import proxy_mode
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.evidence.routes import lookup
from pytest_k8snet.intent import Intent
from pytest_k8snet.meaning.comparison import Fact
from pytest_k8snet.meaning.roles import Roles
from pytest_k8snet.meaning.told import told


def of_proxy(node: NodeEvidence, intent: Intent, roles: Roles) -> Iterator[Fact]:
    """``proxy/mode/NODE`` as the node shows it, and where the rules stand: ``proxy/back-end/NODE``."""
    role = roles.node(node.name)
    yield told(f"proxy/mode/{role}", lambda: _mode(node, intent))
    yield told(f"proxy/back-end/{role}", lambda: _back_end(node, intent))


def _mode(node: NodeEvidence, intent: Intent) -> str:
    mode = intent.proxy_mode
    if mode == "nftables":
        found = bool(node.nftables.get().chains)
    elif mode == "ipvs":
        found = bool(node.ipvs.get())
    else:
        found = "KUBE-NODEPORTS" in node.rules.get().tables.get("nat", {})
    return mode if found else f"no rule of kube-proxy's in mode {mode}"


def _back_end(node: NodeEvidence, intent: Intent) -> str:
    if intent.proxy_mode == "nftables":
        table = node.nftables.get()
        return f"nftables, table {table.family} {table.name}"
    rules = node.rules.get()
    words = f"iptables, {rules.backend or 'back end not said'}"
    words += ", legacy tables hold rules too" if rules.legacy_present else ""
    if intent.proxy_mode == "ipvs":
        kept = "not read" if node.ipvs_conntrack.failure else str(bool(node.ipvs_conntrack.value)).lower()
        words += f"; ip_vs, which tells conntrack: {kept}"
    return words


def of_entry(lab: str, ledger: Ledger, point: str, intent: Intent, roles: Roles) -> Iterator[Fact]:
    """The walk of the lab's own request on the node where DNAT is due: ``rules/LAB/NODE``, then
    ``rules/LAB/NODE/postrouting``."""
    entry = ledger.request.entry
    id = f"rules/{lab}/{roles.node(entry.name)}"
    yield told(id, lambda: roles.text(nat.entry_walk(ledger, point)[0].text))
    yield told(f"{id}/postrouting", lambda: _behind(ledger, point, intent, roles), rests_on=(id,))


def _behind(ledger: Ledger, point: str, intent: Intent, roles: Roles) -> str:
    """The walk through POSTROUTING of what the first walk translated, or left alone."""
    request, entry = ledger.request, ledger.request.entry
    before = nat.entry_walk(ledger, point)[0]
    goal = _goal(before, request.asked_ip, request.asked_port)
    if goal is None or before.mark is None:
        raise NotObserved("the rules before the routing end in nothing that is known", node=entry.name)
    route = lookup(entry.routes.get(), goal[0])
    packet = NewConnection(
        request.client_ip,
        goal[0],
        sport=nat.ANY_CLIENT_PORT,
        dport=goal[1],
        out_interface=(route.device or "") if route else "",
    )
    return roles.text(proxy_mode(intent).walk(entry, packet, "POSTROUTING", mark=before.mark).text)


def _goal(before: Walk, asked: IPAddress, port: int) -> tuple[IPAddress, int] | None:
    if before.unknown is not None:
        return None
    if before.endpoints:
        ip, number, _ = min(before.endpoints, key=lambda end: (int(end[0]), end[1]))
        return ip, number
    return asked, port


def of_node_port(node: NodeEvidence, request_ip: IPAddress, port: int, intent: Intent, roles: Roles) -> Fact:
    """``rules/nodeport/NODE`` of a node that is asked on its own address."""

    def value() -> str:
        uplink = node.uplink.get()
        packet = NewConnection(
            request_ip,
            uplink.ip,
            sport=nat.ANY_CLIENT_PORT,
            dport=port,
            in_interface=uplink.interface,
            dst_local=True,
        )
        return roles.text(proxy_mode(intent).walk(node, packet).text)

    return told(f"rules/nodeport/{roles.node(node.name)}", value)
