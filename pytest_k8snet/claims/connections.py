"""A connection's first packet, as rules of every kind are asked about it."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8snet.evidence.packets import IPAddress


@dataclass(frozen=True, slots=True)
class NewConnection:
    """The first packet of a connection (ctstate NEW) where it enters the rules of a node.

    An empty interface name means that it is not known: rules that ask for it can't be judged.
    """

    src: IPAddress
    dst: IPAddress
    sport: int
    dport: int
    protocol: str = "tcp"
    in_interface: str = ""
    out_interface: str = ""
    dst_local: bool = False  #: the node itself holds the destination address
    src_local: bool = False
