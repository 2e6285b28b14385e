"""Lab 3: a ClusterIP service, translated on the node of the pod that asks."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_k8snet.claims.causes import BETWEEN_NODES, TRANSLATION, overlay, services, traffic
from pytest_k8snet.claims.diagnosis import explained_by
from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.matchers import address_and_port, anywhere, tcp
from pytest_k8snet.claims.nat import SELECTED, Address, conntrack_verdict, entry_walk, ready, walk_verdict
from pytest_k8snet.claims.path import envelope, pod_ip, same_node, sources, target
from pytest_k8snet.claims.verdict import Verdict, all_of, broken, claim, held, inconclusive, shown_by
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.observations import ClusterIPLab, Spread
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.intent import Intent

FALSE_ALARM = 1e-6  #: chance of a false alarm that ``spreads`` allows


@explained_by(services.selector_mismatch, services.no_endpoints)
@claim
def endpoints(lab: ClusterIPLab, intent: Intent) -> Verdict:
    """The service selects exactly the ready type: dest pods."""
    service, pods = lab.service.get(), lab.pods.get()
    wanted = {pod.name: pod for pod in pods if pod.ready and SELECTED.items() <= pod.labels.items()}
    port = lab.request.target_port
    addresses = {(pod_ip(pod, lab.request.client_ip), port): name for name, pod in wanted.items()}
    found = ready(lab.endpoints, service)
    label = ", ".join(f"{key}: {value}" for key, value in SELECTED.items())
    expected = f"endpoints of {service.name}: the ready {label} pods {_named(addresses)}"
    shown = shown_by(lab.endpoints)
    if not wanted and not found:
        advice = "wait until pod-dest is ready, or see why it is not: kubectl describe pod"
        return inconclusive(expected, f"no ready {label} pod, and no endpoint", advice=advice, **shown)
    missing = [f"{name} is missing" for address, name in addresses.items() if address not in found]
    names = {ip: pod.name for pod in pods for ip in pod.ips}
    extra = [
        f"{address_and_port(*address)} ({_why_not(names.get(address[0]), pods)}) is too many"
        for address in sorted(found - addresses.keys(), key=str)
    ]
    if missing or extra:
        selector = ", ".join(f"{key}: {value}" for key, value in service.selector.items()) or "nothing"
        seen = f"{'; '.join(missing + extra)}; the service selects {selector}, port {port}"
        advice = "compare the service's selector and targetPort with the pods' labels and ports"
        return broken(expected, seen, advice=advice, **shown)
    return held(expected, f"{len(found)} endpoints: {_named(addresses)}", **shown)


@explained_by(services.translated_in_the_pod)
@claim
def vip_on_source_veth(lab: ClusterIPLab, intent: Intent) -> Verdict:
    """On pod-src's host interface the destination is the ClusterIP."""
    wanted = tcp(src=lab.request.client_ip, dst=_vip(lab))
    hop = Ledger.of(lab.request, intent).hop("source-veth")
    return hop.shows(wanted)


@explained_by(
    services.translated_on_other_node,
    *TRANSLATION,
    services.no_service_rules,
    overlay.cluster_cidr_misses_pods,
    traffic.pod_traffic_masqueraded,
    *BETWEEN_NODES,
)
@claim
def dnat_before_uplink(lab: ClusterIPLab, intent: Intent) -> Verdict:
    """On node2's uplink the destination is pod-dest:8080; the ClusterIP never appears there.

    The source is still pod-src's own address (with masquerade-all declared, node2's may stand there).
    """
    request = lab.request
    if same_node(lab.source.node, request.target.node):
        raise NotObserved(
            f"pod-src and pod-dest both run on {lab.source.node.name}: nothing crosses an uplink",
            command="kubectl get pods -o wide",
            advice="pin the pods to two nodes (nodeSelector), or name the roles with --k8snet-role",
        )
    inner = tcp(src=sources(request, intent, client_kept=False), dst=target(request))
    wanted = envelope(intent, lab.source.node, request.target.node) / inner
    hop = Ledger.of(request, intent).hop("source-uplink")
    return all_of((hop.shows(wanted), hop.never_shows(anywhere(tcp(dst=_vip(lab))), control=wanted)))


@explained_by(services.translated_on_other_node, *TRANSLATION, services.no_service_rules)
@claim
def rules_lead_to_pod(lab: ClusterIPLab, intent: Intent) -> Verdict:
    """The node's live rules, walked for pod-src -> ClusterIP:8080, end in DNAT to an endpoint.

    Rules, conntrack and wire must name the same endpoint: one verdict on the three.
    """
    service = lab.service.get()
    known = ready(lab.endpoints, service)
    ledger = Ledger.of(lab.request, intent)
    result, rules = entry_walk(ledger, "source-veth")
    wish = f"{rules.node}: {lab.request.client_ip} -> {address_and_port(*_vip(lab))}"
    walked = walk_verdict(result, known, ledger, wish, service)
    return all_of((walked, conntrack_verdict(ledger, known))) if walked.held else walked


@explained_by(services.translated_on_other_node, *TRANSLATION, services.no_service_rules)
@claim
def conntrack_agrees(lab: ClusterIPLab, intent: Intent) -> Verdict:
    """Conntrack's entry pod-src -> ClusterIP:8080 is answered by the endpoint that the wire shows."""
    _vip(lab)
    return conntrack_verdict(Ledger.of(lab.request, intent), ready(lab.endpoints, lab.service.get()))


@explained_by(
    services.translated_in_the_pod,
    services.not_translated_back,
    *TRANSLATION,
    services.no_service_rules,
    *BETWEEN_NODES,
)
@claim
def reply_from_vip(lab: ClusterIPLab, intent: Intent) -> Verdict:
    """pod-src sees the answer come from the ClusterIP."""
    wanted = tcp(src=_vip(lab), dst=lab.request.client_ip)
    return Ledger.of(lab.request, intent).hop("source-veth").reply_shows(wanted, only=True)


@explained_by(services.endpoint_starved)
@claim
def spreads(lab: ClusterIPLab, spread: Reading[Spread]) -> Verdict:
    """With several endpoints every one is reached.

    kube-proxy picks an endpoint at random for each connection, so one of n healthy endpoints stays
    unreached after k connections with a probability of at most n * (1 - 1/n)^k. An unreached one
    counts as broken only where that is below 1e-6 (n = 3: k >= 37); else the run can't tell.
    """
    evidence = spread.get()
    names = tuple(dict.fromkeys(evidence.endpoints))
    answered = [answer for answer in evidence.answers if answer.answered]
    count, connections = len(names), len(answered)
    expected = f"each of {', '.join(names) or 'the endpoints'} answers some connection"
    shown = shown_by(spread)
    if count < 2 or not connections:
        seen = f"{count} endpoints, {connections} of {len(evidence.answers)} connections answered"
        advice = "scale pod-dest to 3 and wait until all are ready"
        if count > 1:
            advice = "the service does not answer at all: see the other claims first"
        return inconclusive(expected, seen, advice=advice, **shown)
    chance = count * (1 - 1 / count) ** connections
    hits = dict.fromkeys(names, 0)
    strangers = []
    for answer in answered:
        body = answer.body.decode("utf-8", "replace").strip()
        name = max((name for name in names if name in body), key=len, default=None)
        if name is None:
            strangers.append(body[:60])
        else:
            hits[name] += 1
    seen = ", ".join(f"{name} {number}" for name, number in hits.items())
    seen += f" of {connections} answered connections; chance of a false alarm {chance:.1e}"
    if unanswered := len(evidence.answers) - connections:
        seen += f"; {unanswered} more got no answer"
    if strangers:
        advice = "does the application answer with its host name, and is it the lab's?"
        seen += f"; {len(strangers)} answers name no endpoint, such as {strangers[0]!r}"
        return broken(expected, seen, advice=advice, **shown)
    if all(hits.values()):
        return held(expected, seen, **shown)
    if chance >= FALSE_ALARM:
        advice = f"make more connections: {_enough(count)} for {count} endpoints"
        return inconclusive(expected, seen, advice=advice, **shown)
    starved = ", ".join(name for name, number in hits.items() if not number)
    advice = "walk the service's chain: -m statistic --probability of each endpoint; session affinity"
    return broken(expected, f"{starved} never answered: {seen}", advice=advice, **shown)


def _vip(lab: ClusterIPLab) -> Address:
    """The service's address and port. Raises NotObserved where the request asked for another one."""
    service, request = lab.service.get(), lab.request
    if service.cluster_ip != request.asked_ip or request.asked_port not in {p.port for p in service.ports}:
        ports = ", ".join(str(port.port) for port in service.ports)
        raise NotObserved(
            f"the request went to {address_and_port(request.asked_ip, request.asked_port)}, "
            f"service {service.name} is at {service.cluster_ip} ports {ports}",
            command=lab.service.command,
            advice="the service was made again meanwhile: run the lab again",
        )
    return request.asked_ip, request.asked_port


def _enough(count: int) -> int:
    """The fewest connections that keep the chance of a false alarm below the bound."""
    connections = 1
    while count * (1 - 1 / count) ** connections >= FALSE_ALARM:
        connections += 1
    return connections


def _named(addresses: Mapping[Address, str]) -> str:
    return (
        ", ".join(f"{name} {address_and_port(*address)}" for address, name in addresses.items()) or "(none)"
    )


def _why_not(name: str | None, pods: tuple[Pod, ...]) -> str:
    pod = next((pod for pod in pods if pod.name == name), None)
    if pod is None:
        return "no pod of this namespace"
    if not SELECTED.items() <= pod.labels.items():
        labels = ", ".join(f"{key}: {value}" for key, value in pod.labels.items()) or "no label"
        return f"pod {name}, {labels}"
    return f"pod {name}, not ready" if not pod.ready else f"pod {name}, another port"
