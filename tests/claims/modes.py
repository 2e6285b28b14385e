"""The healthy scenes of labs 3 and 4 on nodes whose kube-proxy runs in another mode than iptables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from ipaddress import ip_interface
from typing import Any

from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.ipsets import IPSet, parse_ipset_save
from pytest_k8snet.evidence.ipvs import VirtualServer, parse_ipvsadm
from pytest_k8snet.evidence.netfilter import parse_iptables_save
from pytest_k8snet.evidence.nftables import NftTable, parse_table
from pytest_k8snet.evidence.observations import OTHER_MODE, ClusterIPLab, NodeEvidence, NodePortLab
from tests.claims import scenes
from tests.claims.scenes import NODE2, VIP, ok
from tests.evidence.samples import sample

Change = Callable[[NodeEvidence], NodeEvidence]
RECORDED = NODE2  #: the node that the samples were recorded on


@cache
def table(address: str = NODE2) -> NftTable:
    return parse_table(sample("nft-kube-proxy-1.33.json").replace(RECORDED, address))


@cache
def servers(address: str = NODE2) -> tuple[VirtualServer, ...]:
    return parse_ipvsadm(sample("ipvsadm.txt").replace(RECORDED, address))


@cache
def sets() -> dict[str, IPSet]:
    return dict(parse_ipset_save(sample("ipset-save.txt")))


def nftables(node: NodeEvidence) -> NodeEvidence:
    """The same node in mode nftables."""
    command = "nft -j list table ip kube-proxy"
    return replace(
        node,
        rules=OTHER_MODE,
        nftables=ok(table(str(node.uplink.get().ip)), command, node.name),
        listeners=ok((), "ss -H -ltnp", node.name),
        object=ok(replace(node.object.get(), kube_proxy_version="v1.33.1"), "kubectl get nodes -o json", ""),
    )


def ipvs(node: NodeEvidence) -> NodeEvidence:
    """The same node in mode ipvs: kube-ipvs0 holds the service's address."""
    device = Interface(9, "kube-ipvs0", 1500, "dummy", addresses=(ip_interface(f"{VIP}/32"),))
    rules = parse_iptables_save(sample("iptables-save-ipvs.txt"))
    return replace(
        node,
        interfaces=replace(node.interfaces, value=(*node.interfaces.get(), device)),
        rules=ok(rules, "iptables-save", node.name),
        ipvs=ok(servers(str(node.uplink.get().ip)), "ipvsadm -Ln", node.name),
        ipsets=ok(sets(), "ipset save", node.name),
        ipvs_conntrack=ok(True, "cat /proc/sys/net/ipv4/vs/conntrack", node.name),
        object=ok(replace(node.object.get(), kube_proxy_version="v1.33.1"), "kubectl get nodes -o json", ""),
        listeners=ok((), "ss -H -ltnp", node.name),
    )


MODES: dict[str, Change] = {"nftables": nftables, "ipvs": ipvs}


def clusterip(mode: str, change: Change = lambda node: node) -> ClusterIPLab:
    """Lab 3 in a mode; ``change`` is made to the node that translates."""
    lab = scenes.clusterip()
    return replace(lab, request=replace(lab.request, entry=change(MODES[mode](lab.request.entry))))


def nodeport(mode: str, change: Change = lambda node: node, **request: Any) -> NodePortLab:
    """Lab 4 in a mode; ``change`` is made to node2."""
    lab = scenes.nodeport()
    nodes = tuple(MODES[mode](node) for node in lab.nodes)
    nodes = (*nodes[:2], change(nodes[2]))
    return replace(lab, nodes=nodes, request=replace(lab.request, entry=nodes[2], **request))
