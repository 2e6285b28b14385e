"""Every claim, in the order of the labs: what docs and reports list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_k8snet.claims import clusterip, nodeport, pause, pod_network
from pytest_k8snet.claims.verdict import Verdict, sentence


@dataclass(frozen=True)
class Claim:
    """One claim. ``function`` takes the lab's evidence and the intent, except where noted in its lab."""

    lab: str  #: "pause", "pod-network", "clusterip", "nodeport"
    function: Callable[..., Verdict]

    @property
    def id(self) -> str:
        """ "pod-network/one-flow"."""
        return f"{self.lab}/{self.function.__name__.replace('_', '-')}"

    @property
    def sentence(self) -> str:
        """The claim in the lab's own words."""
        return sentence(self.function)


_LABS: dict[str, tuple[Callable[..., Verdict], ...]] = {
    "pause": (
        pause.one_sandbox,
        pause.network_mode,
        pause.same_netns,
        pause.pod_ip,
        pause.veth_pair,
        pause.host_route,
        pause.shared_localhost,
        pause.both_reachable,
        pause.survives_restart,
    ),
    "pod-network": (
        pod_network.ippool_mode,
        pod_network.cidr_agrees,
        pod_network.route_via_tunnel,
        pod_network.plain_on_source_veth,
        pod_network.encapsulated_on_source_uplink,
        pod_network.encapsulated_on_target_uplink,
        pod_network.decapsulated_on_target_veth,
        pod_network.one_flow,
        pod_network.source_kept,
        pod_network.reply_encapsulated,
        pod_network.mtu_fits,
    ),
    "clusterip": (
        clusterip.endpoints,
        clusterip.vip_on_source_veth,
        clusterip.dnat_before_uplink,
        clusterip.rules_lead_to_pod,
        clusterip.conntrack_agrees,
        clusterip.reply_from_vip,
        clusterip.spreads,
    ),
    "nodeport": (
        nodeport.kube_proxy_listens,
        nodeport.arrives_plain,
        nodeport.dnat_and_forward,
        nodeport.masqueraded,
        nodeport.answers_from_node2,
        nodeport.every_node,
        nodeport.rules_conntrack_wire,
    ),
}

CATALOGUE: tuple[Claim, ...] = tuple(
    Claim(lab, function) for lab, functions in _LABS.items() for function in functions
)

BY_ID: dict[str, Claim] = {claim.id: claim for claim in CATALOGUE}
