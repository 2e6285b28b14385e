"""The rows of a hop ledger, structured for reports and as aligned plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_k8snet.claims.matchers import Matcher, describe_end, describe_envelope
from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.evidence.packets import Packet
from pytest_k8snet.evidence.reading import NotObserved

if TYPE_CHECKING:
    from pytest_k8snet.claims.ledger import Hop, Ledger


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
    note: str = ""  #: why nothing is shown
    expected: str = ""  #: what the intent expects, where this row differs from it
    first_difference: bool = False

    @property
    def differs(self) -> bool:
        return bool(self.expected)


def rows_of(ledger: Ledger) -> tuple[LedgerRow, ...]:
    """The rows in path order; the first that differs from the intent is marked."""
    before: Packet | None = None
    rows: list[LedgerRow] = []
    marked = False
    for hop in ledger.hops:
        for row, packet in _rows_at(hop):
            if packet is not None:
                row = replace(row, changes=changes(before, packet) if before else ("sent",))
                before = packet
            if row.differs and not marked:
                row, marked = replace(row, first_difference=True), True
            rows.append(row)
    return tuple(rows)


def _rows_at(hop: Hop) -> Iterator[tuple[LedgerRow, Packet | None]]:
    blank = LedgerRow(hop.point.id, hop.node.name, hop.point.interface)
    try:
        sightings = hop.sightings
    except NotObserved as missing:
        yield replace(blank, note=f"not observed: {missing.cause}"), None
        return
    wanted = _wanted(hop)
    for packet in sightings:
        row = replace(
            blank,
            number=packet.number,
            time=packet.time,
            outer=describe_envelope(packet),
            inner=f"{describe_end(packet, 'src')} -> {describe_end(packet, 'dst')}",
            ttl=packet.ip.ttl,
        )
        if wanted is not None and not any(matcher.matches(packet) for matcher in wanted):
            row = replace(row, expected=_in_words(wanted))
        yield row, packet
    missing_forms = tuple(m for m in wanted or () if not any(map(m.matches, sightings)))
    if sightings and len(sightings) < len(wanted or ()) and missing_forms:
        yield replace(blank, note="not seen here", expected=_in_words(missing_forms)), None
    elif not sightings and (missing_forms or wanted is None):
        outcome, seen, _ = hop.absence
        differs = outcome is Outcome.BROKEN and bool(missing_forms)
        yield replace(blank, note=seen, expected=_in_words(missing_forms) if differs else ""), None


def _wanted(hop: Hop) -> tuple[Matcher, ...] | None:
    try:
        return hop.expected
    except NotObserved:
        return None


def _in_words(matchers: Sequence[Matcher]) -> str:
    return ", then ".join(map(str, matchers)) or "nothing of this request"


def changes(before: Packet, after: Packet) -> tuple[str, ...]:
    """What happened to a packet between two sightings of it."""
    found = []
    if len(after.tunnels) > len(before.tunnels):
        found.append("encapsulated" + (" twice" if len(after.tunnels) > 1 else ""))
    elif len(after.tunnels) < len(before.tunnels):
        found.append("decapsulated")
    elif describe_envelope(after) != describe_envelope(before):
        found.append("envelope changed")
    for end, name in (("dst", "DNAT"), ("src", "SNAT")):
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
