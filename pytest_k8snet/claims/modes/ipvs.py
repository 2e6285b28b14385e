"""Mode ipvs: a virtual server for each address of a service, sets that say what is masqueraded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_k8snet.claims import ipvswalk, rulewalk
from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.modes.base import ProxyMode
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.ipsets import IPSet
from pytest_k8snet.evidence.ipvs import VirtualServer
from pytest_k8snet.evidence.objects import Service
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import Reading


class IPVS(ProxyMode):
    look = "ipvsadm -Ln"

    def reading(self, node: NodeEvidence) -> Reading[Any]:
        return node.ipvs

    def walk(
        self, node: NodeEvidence, packet: NewConnection, hook: str = "PREROUTING", *, mark: int = 0
    ) -> Walk:
        # Nodes often lack ipset: what its sets decide is then not known, and said so where it counts.
        sets: Mapping[str, IPSet] = {} if node.ipsets.failure else node.ipsets.value or {}
        if hook != "PREROUTING":
            return rulewalk.walk(node.rules.get(), packet, hook, mark=mark, sets=sets)
        return ipvswalk.walk(node.ipvs.get(), node.rules.get(), sets, packet)

    def names(self, service: Service) -> list[str]:
        return [
            str(VirtualServer(port.protocol, service.cluster_ip, port.port, "")) for port in service.ports
        ]

    def entered(self, result: Walk, service: Service) -> str | None:
        last = result.path[-1] if result.path else ""
        if not last.startswith("ip_vs "):
            return None
        server = last.removeprefix("ip_vs ").rpartition(" ")[0]
        ports = {str(port.node_port) for port in service.ports if port.node_port}
        return server if server in self.names(service) or server.rpartition(":")[2] in ports else None

    def missing(self, node: NodeEvidence, service: Service, node_port: int | None) -> str | None:
        servers = node.ipvs.get()
        names = self.names(service)
        name = f"{' or '.join(names)} of {service.namespace}/{service.name}"
        if not {str(server) for server in servers}.intersection(names):
            return f"{node.name}'s ip_vs has no virtual server {name}"
        held = any(own.ip == service.cluster_ip for each in node.interfaces.get() for own in each.addresses)
        if not held:
            return f"no interface of {node.name} holds the address of {name} ({ipvswalk.DEVICE} must)"
        if node_port is not None and not any(each.port == node_port for each in servers):
            return f"{node.name}'s ip_vs has no virtual server on port {node_port} for {name}"
        return None

    def claim(self, node: NodeEvidence, result: Walk, port: int) -> str:
        last = result.path[-1] if result.path else ""
        if not last.startswith("ip_vs ") or f":{port} " not in last:
            return ""
        return f"{last}; {self._set_name(node)} holds it" if self._in_set(node, port) else ""

    def unclaimed(self, node: NodeEvidence, address: IPAddress, port: int) -> str | None:
        server = VirtualServer("TCP", address, port, "")
        if str(server) not in map(str, node.ipvs.get()):
            return f"ip_vs has no virtual server {server}"
        return None if self._in_set(node, port) else f"the set {self._set_name(node)} lacks {port}"

    def refuses(self, node: NodeEvidence, packet: NewConnection, result: Walk) -> bool | None:
        # ip_vs answers "port unreachable" where a virtual server has no real one.
        return not result.endpoints and any(end.startswith("ip_vs ") for end in result.ends)

    def source(self, node: NodeEvidence) -> str:
        return "; read from ip_vs"

    def _in_set(self, node: NodeEvidence, port: int) -> bool:
        found = node.ipsets.get().get(self._set_name(node))
        return found is not None and str(port) in found.members

    def _set_name(self, node: NodeEvidence) -> str:
        return "KUBE-6-NODE-PORT-TCP" if node.uplink.get().ip.version == 6 else "KUBE-NODE-PORT-TCP"
