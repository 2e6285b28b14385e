"""What the kernel is told to do on each interface, from ``ip -j -4 netconf show`` (iproute2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_k8snet.evidence import jsontree
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.jsontree import Tree

WHAT = "ip -j netconf"
ALL, DEFAULT = "all", "default"  #: stand beside the interfaces; "default" is for those still to come
#: Modes of reverse path filtering in the kernel's order, 0 to 2 (RFC 3704, 2.2 and 2.4).
RP_FILTER = ("off", "strict", "loose")


@dataclass(frozen=True, slots=True)
class NetConf:
    """IPv4 settings as written for one interface, or for "all" or "default"; see :func:`rp_filter`."""

    interface: str
    forwarding: bool
    rp_filter: str  #: one of :data:`RP_FILTER`


def parse_netconf(text: str | bytes) -> tuple[NetConf, ...]:
    """The IPv4 settings that ``ip -j -4 netconf show`` lists (of other families, none), in its order.

    Raises ParseError, also for a listing without "all": what counts on an interface can't be told then.
    """
    listed = tuple(
        _netconf(entry)
        for entry in jsontree.parse(WHAT, text).items()
        if entry.value != {} and entry["family"].text() == "inet"
    )
    if ALL not in {conf.interface for conf in listed}:
        raise ParseError(WHAT, f"no entry for {ALL!r}", text)
    return listed


def _netconf(entry: Tree) -> NetConf:
    mode = entry["rp_filter"]
    if mode.text() not in RP_FILTER:
        raise mode.wrong(f"one of {', '.join(RP_FILTER)}")
    return NetConf(entry["interface"].text(), entry["forwarding"].flag(), mode.text())


def rp_filter(listed: Iterable[NetConf], interface: str) -> str | None:
    """The mode that counts on ``interface``: the higher of its own and that of "all", as the kernel takes it
    (Documentation/networking/ip-sysctl). None for an interface that is not listed."""
    modes = {conf.interface: RP_FILTER.index(conf.rp_filter) for conf in listed}
    if interface not in modes:
        return None
    return RP_FILTER[max(modes[interface], modes.get(ALL, 0))]


def forwards(listed: Iterable[NetConf], interface: str) -> bool | None:
    """Whether packets that come in by ``interface`` are forwarded. Its own setting alone counts: writing
    "all" (or ip_forward) changes the interfaces' own. None for an interface that is not listed."""
    return next((conf.forwarding for conf in listed if conf.interface == interface), None)
