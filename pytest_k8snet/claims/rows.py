"""The rows of a hop ledger, structured for reports and as aligned plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_k8snet.claims.matchers import Matcher, describe_end, describe_envelope
from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.evidence.packets import Packet
from pytest_k8snet.evidence.reading import NotObserved

if TYPE_CHECKING:
    from pytest_k8snet.claims.ledger import Hop, Ledger

#: The end of a packet that is rewritten, and what that is called.
_DONE = (("dst", "DNAT"), ("src", "SNAT"))
_UNDONE = (("src", "un-DNAT"), ("dst", "un-SNAT"))


@dataclass(frozen=True)
class LedgerRow:
    """One sighting, or (``number`` None) one sighting that is missing and why."""

    point: str  #: the capture point's id
    node: str
    interface: str
    number: int | None = None  #: the packet's position in the capture, as Wireshark counts
    time: float | None = None  #: seconds since the epoch by that node's clock
    outer: str = ""  #: "IPIP 192.168.219.23 -> 192.168.219.22"; empty when bare
    inner: str = ""  #: "20.109.131.5:35096 -> 20.111.156.72:8080"
    ttl: int | None = None  #: of the inner header
    changes: tuple[str, ...] = ()  #: since the sighting before: "encapsulated", "TTL -1", "DNAT a -> b"
    note: str = ""  #: why nothing is shown; of an answer also what the packet that is shown lacks
    expected: str = ""  #: what the intent expects, where this row differs from it
    first_difference: bool = False

    @property
    def differs(self) -> bool:
        return bool(self.expected)


def rows_of(ledger: Ledger) -> tuple[LedgerRow, ...]:
    """The rows in path order; the first that differs from the intent is marked."""
    return lined_up(pair for hop in ledger.hops for pair in _rows_at(hop))


def lined_up(
    sighted: Iterable[tuple[LedgerRow, Packet | None]], *, back: bool = False
) -> tuple[LedgerRow, ...]:
    """Rows with what changed since the packet before, and a mark on the first that differs.

    ``back``: they are an answer's, on which addresses are translated back.
    """
    before: Packet | None = None
    rows: list[LedgerRow] = []
    marked = False
    for row, packet in sighted:
        if packet is not None:
            row = replace(row, changes=changes(before, packet, back=back) if before else ("sent",))
            before = packet
        if row.differs and not marked:
            row, marked = replace(row, first_difference=True), True
        rows.append(row)
    return tuple(rows)


def row_at(hop: Hop, packet: Packet | None = None, note: str = "") -> LedgerRow:
    """One row of a point: a sighting, or why there is none."""
    row = LedgerRow(hop.point.id, hop.node.name, hop.point.interface, note=note)
    if packet is None:
        return row
    return replace(
        row,
        number=packet.number,
        time=packet.time,
        outer=describe_envelope(packet),
        inner=f"{describe_end(packet, 'src')} -> {describe_end(packet, 'dst')}",
        ttl=packet.ip.ttl,
    )


def unobserved(missing: NotObserved) -> str:
    """The note of a point whose capture can't be read. Reports know it by its beginning."""
    return f"not observed: {missing.cause}"


def _rows_at(hop: Hop) -> Iterator[tuple[LedgerRow, Packet | None]]:
    try:
        sightings = hop.sightings
    except NotObserved as missing:
        yield row_at(hop, note=unobserved(missing)), None
        return
    wanted = _wanted(hop)
    missing_forms = tuple(m for m in wanted or () if not any(map(m.matches, sightings)))
    for packet in sightings:
        row = row_at(hop, packet)
        if wanted is not None and not any(matcher.matches(packet) for matcher in wanted):
            if not missing_forms and (meant := _flooded_from(hop, packet)):
                yield replace(row, note=f"flooded: meant for {meant}"), None
                continue
            row = replace(row, expected=in_words(wanted) or "nothing of this request")
        yield row, packet
    if sightings and len(sightings) < len(wanted or ()) and missing_forms:
        yield replace(row_at(hop, note="not seen here"), expected=in_words(missing_forms)), None
    elif not sightings and (missing_forms or wanted is None):
        outcome, seen, _ = hop.absence
        differs = outcome is Outcome.BROKEN and bool(missing_forms)
        yield replace(row_at(hop, note=seen), expected=in_words(missing_forms) if differs else ""), None


def _flooded_from(hop: Hop, packet: Packet) -> str:
    """The uplink of another node that a frame was meant for which a bridge or switch sent to all; "" where
    there is none. Captures see frames to other stations (that of a node which went, most of all)."""
    if not hop.point.id.endswith("-uplink"):
        return ""
    for other in hop.ledger.hops:
        apart = other.point.id.endswith("-uplink") and other.node.name != hop.node.name
        if apart and any(matcher.matches(packet) for matcher in _wanted(other) or ()):
            return other.where
    return ""


def _wanted(hop: Hop) -> tuple[Matcher, ...] | None:
    try:
        return hop.expected
    except NotObserved:
        return None


def in_words(matchers: Iterable[Matcher]) -> str:
    """Forms that are due at one point, in order."""
    return ", then ".join(map(str, matchers))


def changes(before: Packet, after: Packet, *, back: bool = False) -> tuple[str, ...]:
    """What happened to a packet between two sightings of it.

    ``back``: it is an answer. Conntrack undoes on its source what DNAT did to the request's destination, and
    on its destination what SNAT did to the source: "un-DNAT a -> b", "un-SNAT a -> b".
    """
    found = []
    if len(after.tunnels) > len(before.tunnels):
        found.append("encapsulated" + (" twice" if len(after.tunnels) > 1 else ""))
    elif len(after.tunnels) < len(before.tunnels):
        found.append("decapsulated")
    elif describe_envelope(after) != describe_envelope(before):
        found.append("envelope changed")
    for end, name in _UNDONE if back else _DONE:
        old, new = describe_end(before, end), describe_end(after, end)
        if old != new:
            found.append(f"{name} {old} -> {new}")
    if after.ip.ttl != before.ip.ttl:
        found.append(f"TTL {after.ip.ttl - before.ip.ttl:+d}")
    return tuple(found) or ("unchanged",)


def aligned(rows: Sequence[LedgerRow]) -> list[str]:
    """One line a row, columns padded to their widest cell, the mark behind them."""
    table = [("point", "node", "interface", "outer", "inner", "TTL", "change")]
    for row in rows:
        table.append(
            (
                row.point,
                row.node,
                row.interface,
                row.outer or "-",
                row.inner or "-",
                "-" if row.ttl is None else str(row.ttl),
                ", ".join(row.changes) or row.note,
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in table]
    marks = ["", *map(_mark, rows)]
    return [f"{line}  {mark}".rstrip() for line, mark in zip(lines, marks, strict=True)]


def _mark(row: LedgerRow) -> str:
    if row.first_difference:
        return f"<-- first hop that differs: expected {row.expected}"
    return f"<-- differs too: expected {row.expected}" if row.differs else ""
