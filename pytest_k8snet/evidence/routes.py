"""Routes, from ``ip -j -d route show table all`` and ``ip -j -d route get ADDRESS`` (iproute2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from pytest_k8snet.evidence import jsontree
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.jsontree import Tree
from pytest_k8snet.evidence.packets import IPAddress

WHAT = "ip -j route"
WHAT_GET = "ip -j route get"
DEFAULT_IPV4 = IPv4Network("0.0.0.0/0")
DEFAULT_IPV6 = IPv6Network("::/0")


@dataclass(frozen=True, slots=True)
class Route:
    destination: IPv4Network | IPv6Network  #: "default" is 0.0.0.0/0 or ::/0; a host /32 or /128
    device: str | None  #: None for blackhole/unreachable
    gateway: IPAddress | None = None
    type: str = "unicast"
    table: str = "main"
    protocol: str = ""  #: "bird", "80", "kernel", "boot", ...
    scope: str = "global"
    metric: int | None = None
    onlink: bool = False
    prefsrc: IPAddress | None = None


def parse_routes(text: str | bytes) -> tuple[Route, ...]:
    """Every route that ``ip -j -d route show table all`` lists (or one table), in its order.

    A multipath route gives one :class:`Route` per next hop. Raises ParseError.
    """
    return tuple(route for entry in jsontree.parse(WHAT, text).items() for route in _routes(entry))


def parse_route_get(text: str | bytes) -> Route:
    """The kernel's own choice, from ``ip -j -d route get ADDRESS``. Raises ParseError."""
    listed = [entry for entry in jsontree.parse(WHAT_GET, text).items() if entry.value != {}]
    if len(listed) != 1:
        raise ParseError(WHAT_GET, f"expected one route, found {len(listed)}", text)
    (route,) = _routes(listed[0])
    return route


def _routes(entry: Tree) -> Iterator[Route]:
    if entry.value == {}:
        return
    metric = entry.get("metric")
    prefsrc = entry.get("prefsrc")
    for hop in entry["nexthops"].items() if entry.get("nexthops") else (entry,):
        gateway = hop.get("gateway") or hop.dig("via", "host")
        device = hop.get("dev")
        flags = [flag.text() for flag in (*entry.items_of("flags"), *hop.items_of("flags"))]
        yield Route(
            destination=_destination(entry, hop),
            device=device.text() if device else None,
            gateway=gateway.address() if gateway else None,
            type=entry.text_or("type", "unicast"),
            table=entry.text_or("table", "main"),
            protocol=entry.text_or("protocol", ""),
            scope=entry.text_or("scope", "global"),
            metric=metric.integer() if metric else None,
            onlink="onlink" in flags,
            prefsrc=prefsrc.address() if prefsrc else None,
        )


def _destination(entry: Tree, hop: Tree) -> IPv4Network | IPv6Network:
    destination = entry["dst"]
    if destination.text() != "default":
        return destination.network()
    # "default" names no family. iproute2 prints "pref" (RFC 4191) for IPv6 routes only; a "gateway" is
    # of the route's own family (of another one, it is called "via").
    if entry.get("pref"):
        return DEFAULT_IPV6
    hint = hop.get("gateway") or entry.get("prefsrc")
    return DEFAULT_IPV6 if hint and hint.address().version == 6 else DEFAULT_IPV4


def lookup(routes: Iterable[Route], address: IPAddress) -> Route | None:
    """The route the kernel takes for a new packet to ``address``; None when there is none.

    Table local before main (no other table: policy rules are not in a listing of routes), the longest
    prefix, then the smallest metric; a ``throw`` route ends the search in its table.
    """
    fitting = [route for route in routes if address in route.destination]
    for table in ("local", "main"):
        best = min(
            (route for route in fitting if route.table == table),
            key=lambda route: (-route.destination.prefixlen, route.metric or 0),
            default=None,
        )
        if best is not None and best.type != "throw":
            return best
    return None
