"""What is said of one node, whichever lab looked at it."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.evidence.routes import DEFAULT_IPV4, DEFAULT_IPV6, Route
from pytest_k8snet.meaning.comparison import Fact
from pytest_k8snet.meaning.roles import TUNNELS, Roles
from pytest_k8snet.meaning.told import listed, told

#: Types of routes in table local that say something of the lab: not of broadcasts.
_LOCAL_TYPES = frozenset({"local", "unicast"})


def of_node(node: NodeEvidence, roles: Roles) -> Iterator[Fact]:
    """Uplink, tunnel devices and versions."""
    role = roles.node(node.name)
    yield told(f"mtu/{role}/uplink", lambda: str(node.uplink.get().mtu))
    yield told(f"tunnel/{role}", lambda: listed(_tunnel(each, roles) for each in _tunnels(node)))
    yield told(f"mtu/{role}/tunnel", lambda: _tunnel_mtu(node))
    yield told(f"runtime/{role}", lambda: node.object.get().container_runtime.partition("://")[0])
    yield told(f"version/runtime/{role}", lambda: _version(node.object.get().container_runtime, "://"))
    yield told(f"version/kubelet/{role}", lambda: _version(node.object.get().kubelet_version))
    yield told(f"version/kube-proxy/{role}", lambda: _version(node.object.get().kube_proxy_version))


def _version(stated: str, behind: str = "") -> str:
    return (stated.rpartition(behind)[2] if behind else stated) or "not stated"


def _tunnels(node: NodeEvidence) -> list[Interface]:
    """Those in use: the kernel's module makes an idle tunl0 in every namespace."""
    return [each for each in node.interfaces.get() if each.kind in TUNNELS and (each.up or _addresses(each))]


def _addresses(interface: Interface) -> list[IPAddress]:
    return [own.ip for own in interface.addresses if not own.ip.is_link_local]


def _tunnel(interface: Interface, roles: Roles) -> str:
    own = [
        f"{roles.address(each.ip)}/{each.network.prefixlen}"
        for each in interface.addresses
        if not each.ip.is_link_local
    ]
    return " ".join((interface.name, interface.kind or "", "up" if interface.up else "down", *own))


def _tunnel_mtu(node: NodeEvidence) -> str:
    tunnels = _tunnels(node)
    if len(tunnels) == 1:
        return str(tunnels[0].mtu)
    return listed(f"{each.name} {each.mtu}" for each in tunnels)


def route_fact(node: NodeEvidence, address: IPAddress | None, roles: Roles, *, to: str) -> Fact:
    """``route/NODE/TO``: the routes that the node lists for an address, the most specific of each table. A
    default route is only called so: whose it is, is the machine's affair."""

    def value() -> str:
        if address is None:
            raise NotObserved(f"the address of {to} is not known", node=node.name)
        return listed(_words(route, node, roles) for route in _for(node.routes.get(), address))

    return told(f"route/{roles.node(node.name)}/{to}", value)


def _for(routes: tuple[Route, ...], address: IPAddress) -> list[Route]:
    fitting = [
        route
        for route in routes
        if address in route.destination and (route.table != "local" or route.type in _LOCAL_TYPES)
    ]
    best = {
        table: max(route.destination.prefixlen for route in fitting if route.table == table)
        for table in {route.table for route in fitting}
    }
    return [route for route in fitting if route.destination.prefixlen == best[route.table]]


def _words(route: Route, node: NodeEvidence, roles: Roles) -> str:
    if route.destination in (DEFAULT_IPV4, DEFAULT_IPV6):
        return "default" + ("" if route.table == "main" else f" table {route.table}")
    words = [] if route.type == "unicast" else [route.type]
    where = roles.behind if route.gateway else roles.network
    words += [where(route.destination), *_way(route, node, roles)]
    words += [f"proto {route.protocol}"] if route.protocol else []
    words += [f"metric {route.metric}"] if route.metric else []
    words += [f"scope {route.scope}"] if route.scope != "global" else []
    words += ["onlink"] if route.onlink else []
    words += [f"src {roles.address(route.prefsrc)}"] if route.prefsrc else []
    return " ".join(words + ([] if route.table == "main" else [f"table {route.table}"]))


def _way(route: Route, node: NodeEvidence, roles: Roles) -> list[str]:
    via = [f"via {roles.address(route.gateway)}"] if route.gateway else []
    return via + ([f"dev {roles.device(node.name, route.device)}"] if route.device else [])


def chosen(asked: Reading[Route], node: NodeEvidence, roles: Roles) -> str:
    """The kernel's own choice for one packet, policy rules included."""
    route = asked.get()
    if route.type != "unicast":
        return route.type
    return " ".join((*_way(route, node, roles), f"table {route.table or 'main'}"))
