"""Lab 2 as facts: pools, routes, tunnel and the request between two pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.mtu import unfragmented
from pytest_k8snet.claims.path import encapsulation, pod_ip
from pytest_k8snet.claims.pools import pool_of
from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.evidence.objects import IPPool
from pytest_k8snet.evidence.observations import PodNetworkLab
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent
from pytest_k8snet.meaning import known, nodes, pods, traffic
from pytest_k8snet.meaning.comparison import Fact
from pytest_k8snet.meaning.roles import IPNetwork, Roles
from pytest_k8snet.meaning.told import listed, told

LAB = "pod-network"
SHARES = "node-podCIDR"


def of_pod_network(lab: PodNetworkLab, intent: Intent) -> Iterator[Fact]:
    roles = known.of_pod_network(lab, intent)
    for pod in (lab.source, lab.target):
        yield from nodes.of_node(pod.node, roles)
        yield from pods.of_interfaces(pod, roles)
    yield from _routes(lab, roles)
    yield from _pools(lab, intent)
    yield from traffic.of_request(LAB, Ledger.of(lab.request, intent), roles)
    large = Ledger.of(lab.large, intent)
    yield told(f"answer/{LAB}/large", lambda: traffic.answered(large))
    for hop in large.hops:
        yield told(
            f"fragments/{LAB}/{hop.point.id}",
            partial(_fragments, hop, lab, intent),
            rests_on=(f"path/{LAB}/{hop.point.id}",),
        )


def _routes(lab: PodNetworkLab, roles: Roles) -> Iterator[Fact]:
    """To the other pod, and to the pod itself; and what the kernel says when it is asked for the packet."""
    for here, there, asked in (
        (lab.source, lab.target, lab.to_target),
        (lab.target, lab.source, lab.to_source),
    ):
        like, node, peer = lab.request.client_ip, here.node, there.node
        for pod in (there, here):
            yield nodes.route_fact(node, _ip(pod.pod.ips, like), roles, to=pod.pod.name)
        uplink = peer.uplink.value.ip if peer.uplink.value else None
        yield nodes.route_fact(node, uplink, roles, to=f"{roles.node(peer.name)}.uplink")
        yield told(
            f"route/{roles.node(node.name)}/{there.pod.name}/chosen",
            partial(nodes.chosen, asked, node, roles),
        )


def _ip(addresses: Iterable[IPAddress], like: IPAddress) -> IPAddress | None:
    return next((address for address in addresses if address.version == like.version), None)


def _pools(lab: PodNetworkLab, intent: Intent) -> Iterator[Fact]:
    """The pool of both pods, and every place that states the pods' range, by how they agree."""

    def of_each(words: Callable[[IPPool], str]) -> str:
        """Once, where the two pods' pools are one or alike."""
        like, listing = lab.request.client_ip, lab.pools.get()
        pools = {pod.pod.name: pool_of(listing, pod_ip(pod.pod, like)) for pod in (lab.source, lab.target)}
        return listed({words(pool) if pool else f"no pool holds {name}" for name, pool in pools.items()})

    def options(pool: IPPool) -> str:
        words = f"natOutgoing {str(pool.nat_outgoing).lower()}, blockSize {pool.block_size}"
        return words + (", disabled" if pool.disabled else "")

    declared = intent.pod_cidr
    yield told(
        "pool/mode", lambda: of_each(lambda pool: f"ipipMode {pool.ipip_mode}, vxlanMode {pool.vxlan_mode}")
    )
    yield told("pool/options", lambda: of_each(options))
    yield told(
        "pool/cidr",
        lambda: (
            "no range is declared"
            if declared is None
            else of_each(lambda pool: f"the pool {_beside(pool.cidr, declared)} the declared range")
        ),
    )
    if lab.cluster_cidrs.failure or lab.cluster_cidrs.value is None:
        yield told("cidr", lambda: str(lab.cluster_cidrs.get()))
        return
    stated: defaultdict[str, set[IPNetwork]] = defaultdict(set)
    for place in lab.cluster_cidrs.value:
        stated[_place(place.source)].add(place.network)
    for source, networks in stated.items():
        yield told(f"cidr/{source}", partial(_shares if source == SHARES else _against, networks, lab))


def _place(source: str) -> str:
    """ "kube-proxy-clusterCIDR"; "node-podCIDR" for the shares of all nodes, however many there are."""
    return "-".join(source.partition(" of ")[0].split())


def _against(networks: Iterable[IPNetwork], lab: PodNetworkLab) -> str:
    """How what one place states lies to the pools, and which of the lab's pods it holds."""
    cidrs = {pool.cidr for pool in lab.pools.get()}
    pods = (lab.source.pod, lab.target.pod)
    found = []
    for network in networks:
        held = " and ".join(pod.name for pod in pods if any(ip in network for ip in pod.ips))
        beside = " and ".join(sorted({_beside(network, cidr) for cidr in cidrs})) or "has no pool; not"
        found.append(f"{beside} the pool's range, holds {held or 'neither pod'}")
    return listed(found)


def _shares(networks: Iterable[IPNetwork], lab: PodNetworkLab) -> str:
    """How nodes' podCIDRs lie to the pools. Calico's IPAM does not use them: whether one holds a pod is
    chance."""
    cidrs = {pool.cidr for pool in lab.pools.get()}
    beside = {_beside(network, cidr) for network in networks for cidr in cidrs}
    return f"{' and '.join(sorted(beside)) or 'has no pool; not'} the pool's range"


def _beside(network: IPNetwork, other: IPNetwork) -> str:
    if network == other:
        return "is"
    if network.version == other.version and network.subnet_of(other):  # type: ignore[arg-type]
        return "lies in"
    if network.version == other.version and network.supernet_of(other):  # type: ignore[arg-type]
        return "is wider than"
    return "is apart from"


def _fragments(hop: Hop, lab: PodNetworkLab, intent: Intent) -> str:
    """Of the large transfer, or the ICMP that asks for smaller packets."""
    verdict = unfragmented(hop, lab, encapsulation(intent, lab.source.node, lab.target.node))
    if verdict.outcome is Outcome.INCONCLUSIVE:
        raise NotObserved(verdict.seen)
    if verdict.outcome is Outcome.HELD:
        return "none"
    return "ICMP asks for smaller packets" if "ICMP" in verdict.seen else "fragments"
