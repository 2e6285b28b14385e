"""Mode nftables (Kubernetes 1.29 and newer): maps service-ips and service-nodeports of an own table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_k8snet.claims import nftwalk
from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.modes.base import REFUSED, ProxyMode
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.nftables import NftTable
from pytest_k8snet.evidence.nftexpr import Concat, Verdict
from pytest_k8snet.evidence.objects import Service
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved, Reading


class NFTables(ProxyMode):
    look = "nft list table ip kube-proxy"

    def reading(self, node: NodeEvidence) -> Reading[Any]:
        return node.nftables

    def walk(
        self, node: NodeEvidence, packet: NewConnection, hook: str = "PREROUTING", *, mark: int = 0
    ) -> Walk:
        table = node.nftables.get()
        if table.family != ("ip" if packet.dst.version == 4 else "ip6"):
            raise NotObserved(
                f"table {table.family} {table.name} is not asked about {packet.dst}",
                node=node.name,
                command=node.nftables.command,
                advice="declare k8snet_service_cidr in the address family of the services",
            )
        return nftwalk.walk(table, packet, hook, mark=mark)

    def names(self, service: Service) -> list[str]:
        return [f"service-{base}" for base in self._bases(service)]

    def entered(self, result: Walk, service: Service) -> str | None:
        # Chains of traffic policies ("external-", "local-") have the same name behind their prefix.
        for base in self._bases(service):
            if any(f"-{base}: " in rule or rule.endswith(f"-{base}") for rule in result.path):
                return f"service-{base}"
        return None

    def missing(self, node: NodeEvidence, service: Service, node_port: int | None) -> str | None:
        table = node.nftables.get()
        names = self.names(service)
        name = f"{' or '.join(names)} of {service.namespace}/{service.name}"
        where = f"{node.name}'s table {table.family} {table.name}"
        if not any(chain in table.chains for chain in names):
            return f"{where} has no chain {name}"
        # The targets of the map that takes the service's own address, wherever they lead from there.
        targets = {verdict.target for _, verdict in _elements(table, "service-ips")}
        if service.cluster_ip is not None and not targets.intersection(names):
            return f"no element of map service-ips of {where} leads to {name}"
        if node_port is not None and node_port not in dict(_node_ports(table)):
            return f"map service-nodeports of {where} has no element tcp . {node_port} for {name}"
        return None

    def claim(self, node: NodeEvidence, result: Walk, port: int) -> str:
        marker = "vmap @service-nodeports -> "
        return next((rule for rule in result.path if marker in rule), "")

    def unclaimed(self, node: NodeEvidence, address: IPAddress, port: int) -> str | None:
        table = node.nftables.get()
        if port not in dict(_node_ports(table)):
            return f"map service-nodeports has no element tcp . {port}"
        served = table.sets.get("nodeport-ips")
        # Without the set every local address takes NodePorts (nodePortAddresses 0.0.0.0/0).
        if served is not None and str(address) not in map(str, served):
            known = ", ".join(map(str, served)) or "no address"
            return f"NodePorts are taken on {known} (kube-proxy's nodePortAddresses), not on {address}"
        return None

    def refuses(self, node: NodeEvidence, packet: NewConnection, result: Walk) -> bool | None:
        return not result.endpoints and REFUSED.issuperset(result.ends)

    def source(self, node: NodeEvidence) -> str:
        table = node.nftables.get()
        return f"; read from table {table.family} {table.name}"

    def _bases(self, service: Service) -> list[str]:
        return [
            nftwalk.chain_base(service.namespace, service.name, port.name, port.protocol)
            for port in service.ports
        ]


def _elements(table: NftTable, name: str) -> Iterator[tuple[object, Verdict]]:
    for key, verdict in table.maps.get(name, ()):
        if isinstance(verdict, Verdict):
            yield key, verdict


def _node_ports(table: NftTable) -> Iterator[tuple[int, Verdict]]:
    """TCP ports of map service-nodeports, whose keys are "tcp . 31080"."""
    for key, verdict in _elements(table, "service-nodeports"):
        if not isinstance(key, Concat) or len(key.parts) != 2:
            continue
        protocol, port = key.parts
        if protocol in ("tcp", 6) and isinstance(port, int):
            yield port, verdict
