"""Mode iptables: a chain for each service port, KUBE-NODEPORTS for NodePorts."""

from __future__ import annotations

from typing import Any

from pytest_k8snet.claims import rulewalk
from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.modes.base import REFUSED, ProxyMode
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.objects import Service
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import Reading


class IPTables(ProxyMode):
    look = "iptables -t nat -S"
    _SERVICES = ("KUBE-SVC-", "KUBE-EXT-", "KUBE-XLB-", "KUBE-SVL-")

    def reading(self, node: NodeEvidence) -> Reading[Any]:
        return node.rules

    def walk(
        self, node: NodeEvidence, packet: NewConnection, hook: str = "PREROUTING", *, mark: int = 0
    ) -> Walk:
        return rulewalk.walk(node.rules.get(), packet, hook, mark=mark)

    def names(self, service: Service) -> list[str]:
        return [
            rulewalk.service_chain_name(service.namespace, service.name, port.name, port.protocol)
            for port in service.ports
        ]

    def entered(self, result: Walk, service: Service) -> str | None:
        # Traffic policies lead through chains of the same hash: KUBE-EXT-, KUBE-SVL-, KUBE-XLB-.
        chains = self.names(service)
        return next((c for c in chains if any(c.rpartition("-")[2] in rule for rule in result.path)), None)

    def missing(self, node: NodeEvidence, service: Service, node_port: int | None) -> str | None:
        nat = node.rules.get().tables.get("nat", {})
        chains = self.names(service)
        name = f"{' or '.join(chains)} of {service.namespace}/{service.name}"
        if not any(chain in nat for chain in chains):
            others = any(chain.startswith("KUBE-S") for chain in nat)
            hint = "" if others else ", and nothing else of kube-proxy's: does eBPF stand in for it?"
            return f"{node.name}'s nat table has no chain {name}{hint}"
        jumps = {rule.target.name for chain in nat.values() for rule in chain.rules if rule.target}
        if not jumps.intersection(chains):
            return f"no rule of {node.name}'s nat table jumps to {name}"
        if node_port is not None and not self._claims(node, node_port):
            return f"no rule of {node.name}'s KUBE-NODEPORTS claims {node_port} for {name}"
        return None

    def claim(self, node: NodeEvidence, result: Walk, port: int) -> str:
        claims = [rule for rule in result.path if rule.startswith("-A KUBE-NODEPORTS ")]
        return claims[-1] if any(chain in rule for rule in claims for chain in self._SERVICES) else ""

    def unclaimed(self, node: NodeEvidence, address: IPAddress, port: int) -> str | None:
        return None if self._claims(node, port) else f"no rule of KUBE-NODEPORTS claims {port}"

    def refuses(self, node: NodeEvidence, packet: NewConnection, result: Walk) -> bool | None:
        if result.endpoints or REFUSED & set(result.ends):
            return not result.endpoints
        # Up to 1.21 table nat marks what filter drops (KUBE-MARK-DROP); later ones have the rule in
        # filter's KUBE-EXTERNAL-SERVICES.
        if result.mark is None or "filter" not in node.rules.get().tables:
            return None if result.mark is None else False
        after = rulewalk.walk(node.rules.get(), packet, "INPUT", table="filter", mark=result.mark)
        return None if after.unknown is not None else bool(REFUSED.issuperset(after.ends))

    def source(self, node: NodeEvidence) -> str:
        rules = node.rules.get()
        backend = f"; read from {rules.backend}" if rules.backend else ""
        return backend + ("; legacy tables hold rules too" if rules.legacy_present else "")

    def _claims(self, node: NodeEvidence, port: int) -> bool:
        """A rule of KUBE-NODEPORTS asks for this destination port."""
        chain = node.rules.get().tables.get("nat", {}).get("KUBE-NODEPORTS")
        return any(
            match.option == "--dport" and match.values == (str(port),) and not match.negated
            for rule in (chain.rules if chain else ())
            for match in rule.matches
        )
