"""One traced request as reports draw it: plain values, which survive the way from an xdist worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sighting:
    """One row of the hop ledger or of the answer's way back.

    As :class:`~pytest_k8snet.claims.rows.LedgerRow` has it.
    """

    point: str  #: "source-veth"
    node: str
    interface: str
    number: int | None = None  #: the packet's position in the capture, as Wireshark counts; None: not seen
    time: float | None = None  #: seconds since the epoch by that node's clock
    outer: str = ""  #: "IPIP 192.168.219.23 -> 192.168.219.22"; empty when bare
    inner: str = ""  #: "20.109.131.5:35096 -> 20.111.156.72:8080"
    ttl: int | None = None
    #: Since the sighting before: "encapsulated", "DNAT a -> b", "TTL -1"; of an answer "un-DNAT a -> b".
    changes: tuple[str, ...] = ()
    note: str = ""  #: why nothing is shown; of an answer also what the packet that is shown lacks
    expected: str = ""  #: what the intent expects, where this row differs from it
    first_difference: bool = False


@dataclass(frozen=True)
class CaptureTold:
    """One tcpdump of the request."""

    point: str
    node: str
    interface: str
    command: str  #: as a person types it
    pcap: str = ""  #: its file in the bundle; "" where none is kept
    packets: int | None = None
    dropped: int | None = None
    problem: str = ""  #: why it could not be read


@dataclass(frozen=True)
class Listing:
    """Lines that a node printed, or what was made of them."""

    title: str  #: "rules of k8s-node2, walked", "conntrack of k8s-node2"
    command: str  #: as a person types it, with the node
    lines: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Drawing:
    """See the module. Made by :func:`pytest_k8snet.report.draw.draw`."""

    lab: str
    name: str  #: "pod-src -> svc-clusterip:8080/hostname"
    client: str  #: "pod-src", or a node's name
    client_is_pod: bool
    client_node: str
    target: str  #: "pod-dest"
    target_node: str
    entry_node: str  #: where DNAT is due
    asked: str  #: "10.107.94.97:8080"
    service: str  #: "svc-clusterip" or ""; a NodePort's is "node2:31080" in the cluster's own names
    tunnel: str  #: what the intent expects between entry and target node: "ipip", "vxlan" or ""
    answered: bool
    answer: str  #: "200, 9 bytes" or the client's error
    sightings: tuple[Sighting, ...]  #: in path order
    captures: tuple[CaptureTold, ...]  #: in path order
    listings: tuple[Listing, ...] = ()  #: rule walk, conntrack entry
    #: The answer's way back, target-veth first: :func:`~pytest_k8snet.claims.answers.answer_rows`.
    replies: tuple[Sighting, ...] = ()

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def of_plain(cls, fields: Mapping[str, Any]) -> Drawing:
        """The inverse of :meth:`plain`, also once lists stand for tuples."""

        def each(kind: type, name: str) -> tuple[Any, ...]:
            return tuple(
                kind(
                    **{key: tuple(value) if isinstance(value, list) else value for key, value in one.items()}
                )
                for one in fields[name]
            )

        return cls(
            **{
                **fields,
                "sightings": each(Sighting, "sightings"),
                "captures": each(CaptureTold, "captures"),
                "listings": each(Listing, "listings"),
                "replies": each(Sighting, "replies"),
            }
        )
