"""Every cause that a broken claim can name: what docs/diagnosis.md lists."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_k8snet.claims.causes import nodeports, overlay, sandbox, services, traffic
from pytest_k8snet.claims.diagnosis import Cause

#: By the place where to look, in the order of the labs.
BY_PLACE: Mapping[str, tuple[Cause, ...]] = {
    "The pod and its node": (
        sandbox.container_in_node_netns,
        sandbox.container_in_own_netns,
        sandbox.leftover_sandbox,
        sandbox.sandbox_missing,
        sandbox.pod_ip_on_node,
        sandbox.pod_without_address,
        sandbox.pod_ip_prefix,
        sandbox.eth0_missing,
        sandbox.host_route_missing,
        sandbox.host_route_elsewhere,
        sandbox.host_route_twice,
        sandbox.container_not_listening,
        sandbox.restarted_outside_sandbox,
    ),
    "Pools, routes and tunnels": (
        overlay.pool_mode,
        overlay.pool_cidr,
        overlay.cluster_cidr_misses_pods,
        overlay.policy_route,
        overlay.no_route_to_block,
        overlay.route_bypasses_tunnel,
        overlay.tunnel_to_other_node,
        overlay.encapsulated_twice,
        overlay.reply_bypasses_tunnel,
    ),
    "Packets on their way": (
        traffic.forwarding_off,
        traffic.rp_filter_strict,
        traffic.not_decapsulated,
        traffic.lost_on_node,
        traffic.answer_lost_on_node,
        traffic.pod_traffic_masqueraded,
        traffic.ttl_rewritten,
        traffic.mtu_too_large,
        traffic.tunnel_mtu_too_small,
        traffic.pmtu_black_hole,
    ),
    "Services": (
        services.selector_mismatch,
        services.no_endpoints,
        services.no_service_rules,
        services.rules_lead_elsewhere,
        services.rules_shadowed,
        services.rules_translate_nothing,
        services.translated_on_other_node,
        services.translated_in_the_pod,
        services.not_translated_back,
        services.endpoint_starved,
    ),
    "NodePorts": (
        nodeports.nothing_listens,
        nodeports.port_held_by_other,
        nodeports.loopback_only,
        nodeports.nodeport_rules_missing,
        nodeports.masquerade_missing,
        nodeports.stranger_answers,
    ),
}

DIAGNOSES: Mapping[str, Cause] = {cause.id: cause for causes in BY_PLACE.values() for cause in causes}

#: What may be wrong with the ways that two nodes know to each other's pods.
ROUTES = (
    overlay.policy_route,
    overlay.no_route_to_block,
    overlay.tunnel_to_other_node,
    overlay.route_bypasses_tunnel,
)
#: What may cut or bend the way between two nodes, whatever is asked for on it; the surest evidence first.
BETWEEN_NODES = (
    traffic.forwarding_off,
    traffic.rp_filter_strict,
    overlay.encapsulated_twice,
    traffic.not_decapsulated,
    *ROUTES,
    traffic.lost_on_node,
    traffic.answer_lost_on_node,
)
#: Likewise between the nat rules of the node that translates and the service's endpoints.
TRANSLATION = (
    services.selector_mismatch,
    services.no_endpoints,
    services.rules_shadowed,
    services.rules_lead_elsewhere,
    services.rules_translate_nothing,
)
