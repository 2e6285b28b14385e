"""A connection's first packet, on its way through iptables' marks to a real server of ip_vs.

In kube-proxy's ipvs mode iptables translates nothing: it marks what is to be masqueraded, by sets. The node
holds every service's address on kube-ipvs0, so the packet goes to INPUT, where ip_vs takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_k8snet.claims import rulewalk
from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.walks import MASQUERADE_MARK, Walk
from pytest_k8snet.evidence.ipsets import IPSet
from pytest_k8snet.evidence.ipvs import RealServer, VirtualServer
from pytest_k8snet.evidence.netfilter import RuleSet

DEVICE = "kube-ipvs0"
_ACCEPTED = frozenset({"ACCEPT", "policy ACCEPT"})


def walk(
    servers: Sequence[VirtualServer], rules: RuleSet, sets: Mapping[str, IPSet], packet: NewConnection
) -> Walk:
    """Walk ``packet`` through PREROUTING, then to the real servers that ip_vs chooses from.

    What iptables translates or drops never comes to ip_vs. A set that is not among ``sets`` is not known;
    where it decides on the mark alone, ``masquerade`` is None. Shares are those of the schedulers rr and wrr
    (kube-proxy's default is rr); with any other every real server counts alike.
    """
    marked = rulewalk.walk(rules, packet, sets=sets)
    if marked.unknown is not None or marked.endpoints or not _ACCEPTED.issuperset(marked.ends):
        return marked
    if not packet.dst_local:
        return replace(marked, ends=(f"FORWARD: no interface of the node holds {packet.dst}",))
    if any(server.ip is None and marked.mark in (server.port, None) for server in servers):
        return replace(marked, unknown="ip_vs has a virtual server for this mark: ipvsadm -Ln, FWM")
    server = find(servers, packet)
    if server is None:
        wanted = VirtualServer(packet.protocol.upper(), packet.dst, packet.dport, "")
        return replace(marked, ends=(f"INPUT: ip_vs has no virtual server {wanted}",))
    path = (*marked.path, f"ip_vs {server} {server.scheduler}")
    chosen = [real for real in server.servers if real.weight]
    if not server.port:
        return replace(marked, path=path, unknown=f"ip_vs takes every port of {packet.dst}: {server}")
    if any(real.forward != "Masq" for real in chosen):
        return replace(marked, path=path, unknown=f"ip_vs forwards by other means than NAT: {server}")
    if not chosen:
        return replace(marked, path=path, ends=(f"ip_vs {server} has no real server with a weight",))
    total = sum(_weight(server, real) for real in chosen)
    return replace(
        marked,
        endpoints=tuple((real.ip, real.port, _weight(server, real) / total) for real in chosen),
        path=path,
        masquerade=None if marked.mark is None else bool(marked.mark & MASQUERADE_MARK),
        ends=(),
    )


def find(servers: Sequence[VirtualServer], packet: NewConnection) -> VirtualServer | None:
    """The virtual server that takes the packet; one for every port (0) where none names its own."""
    for port in (packet.dport, 0):
        for server in servers:
            if (server.protocol, server.ip, server.port) == (packet.protocol.upper(), packet.dst, port):
                return server
    return None


def _weight(server: VirtualServer, real: RealServer) -> int:
    return real.weight if server.scheduler == "wrr" else 1
