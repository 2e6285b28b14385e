"""What goes wrong with a service's endpoints, rules and translation."""

from __future__ import annotations

from pytest_k8snet.claims.causes.ways import ServiceLab, entry_uplink, hop_at, walk_of
from pytest_k8snet.claims.diagnosis import cause
from pytest_k8snet.claims.matchers import address_and_port, describe
from pytest_k8snet.claims.modes import proxy_mode
from pytest_k8snet.claims.nat import SELECTED, ready
from pytest_k8snet.claims.path import target
from pytest_k8snet.evidence.observations import ClusterIPLab, NodePortLab, Spread
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.intent import Intent


@cause(
    symptom="the service answers from the wrong pods, or from none",
    evidence="the service's selector selects other pods than those labelled type: dest",
    remedy="compare kubectl get service -o wide with kubectl get pods --show-labels; correct the selector",
)
def selector_mismatch(lab: ServiceLab, intent: Intent) -> str | None:
    """The service's selector does not fit its pods' labels."""
    service = lab.service.get()
    pods = lab.pods.get() if isinstance(lab, ClusterIPLab) else (lab.request.target.pod,)
    chosen = {pod.name for pod in pods if service.selector and service.selector.items() <= pod.labels.items()}
    meant = {pod.name for pod in pods if SELECTED.items() <= pod.labels.items()}
    if chosen == meant:
        return None
    selector = ", ".join(f"{key}: {value}" for key, value in service.selector.items()) or "nothing"
    found = ", ".join(sorted(chosen)) or "no pod"
    return f"{service.name} selects {selector}: {found} instead of {', '.join(sorted(meant)) or 'none'}"


@cause(
    symptom="the service refuses connections, or does not answer",
    evidence="its EndpointSlices hold no ready endpoint, though its selector fits its pods",
    remedy="kubectl describe pod: is it ready? kubectl get endpointslices; see the controller-manager's log",
)
def no_endpoints(lab: ServiceLab, intent: Intent) -> str | None:
    """The service has no ready endpoint."""
    service = lab.service.get()
    if ready(lab.endpoints, service) or selector_mismatch.found(lab, intent):
        return None
    return f"{service.namespace}/{service.name} has no ready endpoint"


@cause(
    symptom="the service does not answer from one node",
    evidence="the node's nat table has no chain of the service, or no rule that leads to it (for a NodePort: "
    "in KUBE-NODEPORTS); nftables: no chain or map element, ipvs: no virtual server or address on kube-ipvs0",
    remedy="see kube-proxy's log on that node: does it run, and does it reach the API?",
)
def no_service_rules(lab: ServiceLab, intent: Intent) -> str | None:
    """kube-proxy on the node does not know the service: its rules were never written, or removed."""
    entry, service = lab.request.entry, lab.service.get()
    if not ready(lab.endpoints, service):
        return None  # kube-proxy writes none for a service without endpoints
    node_port = lab.request.asked_port if isinstance(lab, NodePortLab) else None
    return proxy_mode(intent).missing(entry, service, node_port)


@cause(
    symptom="the service answers from a pod that is not behind it",
    evidence="walked for the request, the node's rules pass the service's chain and end at no ready endpoint",
    remedy="compare the KUBE-SEP chains with the EndpointSlices; restart kube-proxy to have them written",
)
def rules_lead_elsewhere(lab: ServiceLab, intent: Intent) -> str | None:
    """The service's rules on the node are stale: they lead to an address that is no endpoint of it."""
    service = lab.service.get()
    known = ready(lab.endpoints, service)
    result, node = walk_of(lab, intent)
    strays = [address_and_port(ip, port) for ip, port, _ in result.endpoints if (ip, port) not in known]
    if not known or not strays or not proxy_mode(intent).entered(result, service):
        return None
    return f"{node}'s rules of {service.name} lead to {', '.join(strays)}"


@cause(
    symptom="the service answers, but not as kube-proxy would have it",
    evidence="walked for the request, the node's rules translate it before the service's chain is reached",
    remedy="iptables -t nat -S on that node: remove the rule, or have its owner move it behind KUBE-SERVICES",
)
def rules_shadowed(lab: ServiceLab, intent: Intent) -> str | None:
    """Another rule stands before kube-proxy's and takes the service's traffic."""
    service = lab.service.get()
    result, node = walk_of(lab, intent)
    if not result.endpoints or proxy_mode(intent).entered(result, service):
        return None
    names = " or ".join(proxy_mode(intent).names(service))
    return f"{node} translates it by `{result.path[-1]}`, before {names}"


@cause(
    symptom="the service does not answer from one node",
    evidence="walked for the request, the node's rules enter the service's chain and end without DNAT",
    remedy="iptables -t nat -S on that node: compare the KUBE-SEP chains with the EndpointSlices; see "
    "kube-proxy's log",
)
def rules_translate_nothing(lab: ServiceLab, intent: Intent) -> str | None:
    """The service's chain on the node leads to no endpoint, though there are some."""
    service = lab.service.get()
    result, node = walk_of(lab, intent)
    if not ready(lab.endpoints, service) or not proxy_mode(intent).entered(result, service):
        return None
    if result.endpoints or result.unknown is not None:
        return None
    return f"{node}'s rules of {service.name} end in {', '.join(result.ends)}, and translate nothing"


@cause(
    symptom="the service's own address is seen between the nodes",
    evidence="the source's uplink carries the ClusterIP, and the pod's host interface the pod's address",
    remedy="see kube-proxy on the source's node, which must translate; find the other node's DNAT rule",
)
def translated_on_other_node(lab: ClusterIPLab, intent: Intent) -> str | None:
    """The ClusterIP is translated on another node than the client's."""
    request, left = lab.request, entry_uplink(lab, intent)
    came = hop_at(lab, intent, "target-veth")
    asked = [
        p
        for p in left.sightings
        if p.tcp and (p.ip.dst, p.tcp.dport) == (request.asked_ip, request.asked_port)
    ]
    if not asked or not any(packet.ip.dst == target(request)[0] for packet in came.sightings):
        return None
    return f"{request.asked_ip} is still the destination on {left.where} (packet {asked[0].number})"


@cause(
    symptom="clients reset the connection: the answer comes from an address that they did not ask",
    evidence="an answer reaches the client's side from the pod's own address",
    remedy="conntrack -L on the node that translates: does the answer come by there, is it tracked?",
)
def not_translated_back(lab: ServiceLab, intent: Intent) -> str | None:
    """The answer does not pass the node that translated the request, or is not translated back there."""
    hop = hop_at(lab, intent, "source-veth", "client-uplink")
    request = (lab.request.asked_ip, lab.request.asked_port)
    if not any(p.tcp and (p.ip.dst, p.tcp.dport) == request for p in hop.sightings):
        return None
    for packet in hop.replies:
        if packet.tcp and (packet.ip.src, packet.tcp.sport) == target(lab.request):
            asked = address_and_port(lab.request.asked_ip, lab.request.asked_port)
            source = address_and_port(packet.ip.src, packet.tcp.sport)
            return f"on {hop.where} packet {packet.number} answers from {source} instead of {asked}"
    return None


@cause(
    symptom="the service answers, and kube-proxy's rules for it are never used",
    evidence="on the pod's host interface the request is addressed to an endpoint already",
    remedy="see what translates it in the pod (a sidecar's iptables) or at its socket (eBPF); what the lab "
    "claims of the service's own address does not apply to such a pod",
)
def translated_in_the_pod(lab: ClusterIPLab, intent: Intent) -> str | None:
    """The service's address is translated before the request leaves the pod."""
    hop = hop_at(lab, intent, "source-veth")
    for packet in hop.sightings:
        if packet.tcp and (packet.ip.dst, packet.tcp.dport) in ready(lab.endpoints, lab.service.get()):
            asked = address_and_port(lab.request.asked_ip, lab.request.asked_port)
            return f"on {hop.where} packet {packet.number} is {describe(packet)}; {asked} was asked"
    return None


@cause(
    symptom="some pods of a service idle",
    evidence="an endpoint never answered among connections enough to rule out chance",
    remedy="iptables -t nat -S KUBE-SVC-...: is there a rule for each endpoint, with its --probability?",
)
def endpoint_starved(lab: ClusterIPLab, spread: Reading[Spread]) -> str | None:
    """An endpoint is never chosen."""
    found = spread.get()
    bodies = [answer.body.decode("utf-8", "replace") for answer in found.answers if answer.answered]
    tellers = {
        max((name for name in found.endpoints if name in body), key=len, default="") for body in bodies
    }
    starved = sorted(set(found.endpoints) - tellers)
    if not starved or "" in tellers or not tellers:
        return None
    return f"{', '.join(starved)} got none of {len(bodies)} connections to {lab.request.asked_ip}"
