"""What goes wrong with a NodePort: who holds it, whose rules claim it, which source it shows."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_k8snet.claims.causes.ways import entry_uplink, translated, walk_of
from pytest_k8snet.claims.diagnosis import cause
from pytest_k8snet.claims.listeners import opens_sockets, proxy, proxy_version
from pytest_k8snet.claims.matchers import describe
from pytest_k8snet.claims.modes import proxy_mode
from pytest_k8snet.claims.nat import ready
from pytest_k8snet.evidence.observations import NodeEvidence, NodePortLab
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.evidence.sockets import Listener
from pytest_k8snet.intent import Intent


@cause(
    symptom="no process holds the NodePort, on a version of kube-proxy that opens it",
    evidence="ss lists no listener on the port",
    remedy="see whether kube-proxy runs on that node, and its log for 'can't open port'",
)
def nothing_listens(lab: NodePortLab, intent: Intent) -> str | None:
    """kube-proxy did not open the NodePort on a node."""
    names = [
        node.name
        for node, listeners in _listeners(lab)
        if not listeners and opens_sockets(proxy_version(node.object.get())[0])
    ]
    return f"nothing listens on {lab.request.asked_port} on {', '.join(names)}" if names else None


@cause(
    symptom="a process that is not Kubernetes' holds the NodePort",
    evidence="ss names another process than kube-proxy on the port",
    remedy="move that process, or the service's nodePort; then restart kube-proxy",
)
def port_held_by_other(lab: NodePortLab, intent: Intent) -> str | None:
    """Another process took the NodePort before kube-proxy."""
    for node, listeners in _listeners(lab):
        for listener in listeners:
            if listener.processes and not proxy(listener):
                name, pid = listener.processes[0]
                return f"{name} (pid {pid}) holds {lab.request.asked_port} on {node.name}"
    return None


@cause(
    symptom="the NodePort is open on the node itself, not to others",
    evidence="kube-proxy's only listener on the port has a loopback address",
    remedy="see kube-proxy's --nodeport-addresses (nodePortAddresses)",
)
def loopback_only(lab: NodePortLab, intent: Intent) -> str | None:
    """kube-proxy holds the NodePort on loopback only."""
    for node, listeners in _listeners(lab):
        ours = [listener for listener in listeners if proxy(listener)]
        if ours and all(listener.loopback_only for listener in ours):
            return f"kube-proxy holds {lab.request.asked_port} on {ours[0].address} only, on {node.name}"
    return None


@cause(
    symptom="the NodePort does not answer on one node",
    evidence="no rule in KUBE-NODEPORTS of that node names the port; nftables: map service-nodeports or set "
    "nodeport-ips, ipvs: no virtual server on the node's address, or KUBE-NODE-PORT-TCP without it",
    remedy="see kube-proxy's log on that node: does it run, and does it reach the API? nftables: see its "
    "nodePortAddresses",
)
def nodeport_rules_missing(lab: NodePortLab, intent: Intent) -> str | None:
    """kube-proxy's rules for the NodePort are missing on a node."""
    if not ready(lab.endpoints, lab.service.get()):
        return None  # kube-proxy writes none for a service without endpoints
    missing: dict[str, list[str]] = {}
    for node in lab.nodes:
        try:
            why = proxy_mode(intent).unclaimed(node, node.uplink.get().ip, lab.request.asked_port)
        except NotObserved:
            continue
        if why:
            missing.setdefault(why, []).append(node.name)
    return "; ".join(f"{why} on {', '.join(names)}" for why, names in missing.items()) or None


@cause(
    symptom="the pod sees the client's own address, and its answer goes past the node that was asked",
    evidence="behind the entry node the request's source is still the client's, though the policy is Cluster",
    remedy="iptables -t nat -S: KUBE-MARK-MASQ in the service's chains, MASQUERADE in KUBE-POSTROUTING; "
    "nftables: mark-for-masquerade and masquerading; ipvs: ipset list KUBE-NODE-PORT-TCP",
)
def masquerade_missing(lab: NodePortLab, intent: Intent) -> str | None:
    """The entry node does not masquerade the NodePort's traffic."""
    if lab.service.get().external_traffic_policy == "Local":
        return None
    kept = [p for p in translated(entry_uplink(lab, intent)) if p.ip.src == lab.request.client_ip]
    if not kept:
        return None
    result, node = walk_of(lab, intent)
    if result.masquerade is None:
        return None
    why = "KUBE-POSTROUTING lets it pass" if result.masquerade else "no rule marks it for masquerading"
    return f"{node} forwards {describe(kept[0])}: {why}"


@cause(
    symptom="something answers on the NodePort that is no pod of the service",
    evidence="the answer's body names no endpoint's pod",
    remedy="ss -ltnp and iptables -t nat -S on that node: which process, or which rule, answers?",
)
def stranger_answers(lab: NodePortLab, intent: Intent) -> str | None:
    """A stranger answers in the pods' stead."""
    pods = {endpoint.pod for endpoint in lab.endpoints.get() if endpoint.ready and endpoint.pod}
    for node, request in lab.every_node:
        answer = request.answer
        if answer.failure or answer.value is None or not answer.value.answered or not pods:
            continue
        body = answer.value.body.decode("utf-8", "replace").strip()
        if not any(pod in body for pod in pods):
            return f"{node.name} answers {body[:60]!r}, which names none of {', '.join(sorted(pods))}"
    return None


def _listeners(lab: NodePortLab) -> Iterator[tuple[NodeEvidence, list[Listener]]]:
    """Of each node whose listeners were read."""
    for node in lab.nodes:
        if not node.listeners.failure:
            yield node, [each for each in node.listeners.get() if each.port == lab.request.asked_port]
