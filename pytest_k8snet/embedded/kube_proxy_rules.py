"""kube-proxy's iptables rules for the reference network, as kube-proxy 1.20 writes them.

Chains, names, order and comments follow Kubernetes 1.20 pkg/proxy/iptables/proxier.go, checked
against a recording of a real 1.20 node (tests compare them).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from pytest_k8snet.embedded.description import Network, ServicePlan, image_port

MASQUERADE_MARK = "0x4000/0x4000"


def chain(kind: str, identity: str) -> str:
    """``KUBE-SVC-`` or ``KUBE-SEP-`` and 16 letters of base32(sha256(identity)) (proxier.go)."""
    digest = base64.b32encode(hashlib.sha256(identity.encode()).digest()).decode()
    return f"KUBE-{kind}-{digest[:16]}"


def render(network: Network, *, masquerade_all: bool = False) -> str:
    """The whole input of ``iptables-restore``: tables filter and nat."""
    chains: list[str] = []
    services: list[str] = []
    node_ports: list[str] = []
    bodies: list[str] = []
    rejects: list[str] = []
    for service in network.services.values():
        for name, port, target, node_port in service.ports:
            full = f"{service.namespace}/{service.name}" + (f":{name}" if name else "")
            endpoints = [
                (pod.ip, target_port(target, pod.containers))
                for pod in network.endpoints(service)
                if pod.name not in network.not_ready
            ]
            if not endpoints:
                rejects.append(_reject(service, full, port))
                continue
            svc = chain("SVC", full + "tcp")
            chains.append(svc)
            match = (
                f'-d {service.cluster_ip}/32 -p tcp -m comment --comment "{full} cluster IP" '
                f"-m tcp --dport {port}"
            )
            if masquerade_all:
                services.append(f"-A KUBE-SERVICES {match} -j KUBE-MARK-MASQ")
            else:
                services.append(f"-A KUBE-SERVICES ! -s {network.proxy_cidr} {match} -j KUBE-MARK-MASQ")
            services.append(f"-A KUBE-SERVICES {match} -j {svc}")
            if node_port is not None:
                match = f'-p tcp -m comment --comment "{full}" -m tcp --dport {node_port}'
                node_ports.append(f"-A KUBE-NODEPORTS {match} -j KUBE-MARK-MASQ")
                node_ports.append(f"-A KUBE-NODEPORTS {match} -j {svc}")
            bodies += _balance(svc, full, endpoints, chains)
    nat = [
        "*nat",
        *(f":{name} ACCEPT [0:0]" for name in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")),
        *(
            f":{name} - [0:0]"
            for name in (
                "KUBE-KUBELET-CANARY",
                "KUBE-MARK-DROP",
                "KUBE-MARK-MASQ",
                "KUBE-NODEPORTS",
                "KUBE-POSTROUTING",
                "KUBE-PROXY-CANARY",
                "KUBE-SERVICES",
                *sorted(chains),
            )
        ),
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
        "-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000",
        f"-A KUBE-MARK-MASQ -j MARK --set-xmark {MASQUERADE_MARK}",
        *node_ports,
        f"-A KUBE-POSTROUTING -m mark ! --mark {MASQUERADE_MARK} -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
        '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" '
        "-j MASQUERADE --random-fully",
        *services,
        '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last '
        'rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS',
        *bodies,
        "COMMIT",
    ]
    return "\n".join([*_filter(rejects, network.proxy_cidr), *nat]) + "\n"


def target_port(target: int | str, containers: Sequence[tuple[str, str]]) -> int:
    """A numbered target port as it is; a name means the first container's port."""
    return target if isinstance(target, int) else image_port(containers[0][1])


def _balance(svc: str, full: str, endpoints: list[tuple[IPv4Address, int]], chains: list[str]) -> list[str]:
    """One jump per endpoint, each with its share of what is left, and the endpoints' own chains."""
    jumps: list[str] = []
    bodies: list[str] = []
    for number, (ip, port) in enumerate(endpoints):
        sep = chain("SEP", f"{full}tcp{ip}:{port}")
        chains.append(sep)
        left = len(endpoints) - number
        share = f"-m statistic --mode random --probability {1 / left:.11f} " if left > 1 else ""
        jumps.append(f'-A {svc} -m comment --comment "{full}" {share}-j {sep}')
        bodies.append(f'-A {sep} -s {ip}/32 -m comment --comment "{full}" -j KUBE-MARK-MASQ')
        bodies.append(
            f'-A {sep} -p tcp -m comment --comment "{full}" -m tcp -j DNAT --to-destination {ip}:{port}'
        )
    return jumps + bodies


def _reject(service: ServicePlan, full: str, port: int) -> str:
    return (
        f'-A KUBE-SERVICES -d {service.cluster_ip}/32 -p tcp -m comment --comment "{full} has no endpoints" '
        f"-m tcp --dport {port} -j REJECT --reject-with icmp-port-unreachable"
    )


def _filter(rejects: list[str], cluster_cidr: IPv4Network) -> list[str]:
    return [
        "*filter",
        *(f":{name} ACCEPT [0:0]" for name in ("INPUT", "FORWARD", "OUTPUT")),
        *(
            f":{name} - [0:0]"
            for name in ("KUBE-EXTERNAL-SERVICES", "KUBE-FIREWALL", "KUBE-FORWARD", "KUBE-SERVICES")
        ),
        '-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service '
        'portals" -j KUBE-EXTERNAL-SERVICES',
        "-A INPUT -j KUBE-FIREWALL",
        '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
        '-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" '
        "-j KUBE-SERVICES",
        '-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" '
        "-j KUBE-SERVICES",
        "-A OUTPUT -j KUBE-FIREWALL",
        '-A KUBE-FIREWALL -m comment --comment "kubernetes firewall for dropping marked packets" '
        "-m mark --mark 0x8000/0x8000 -j DROP",
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" '
        "-m mark --mark 0x4000/0x4000 -j ACCEPT",
        f'-A KUBE-FORWARD -s {cluster_cidr} -m comment --comment "kubernetes forwarding conntrack '
        'pod source rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
        *rejects,
        "COMMIT",
    ]
