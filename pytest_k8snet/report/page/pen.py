"""Draws what the picture of a path consists of: packets, what was done to them, notes (pure geometry)."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_k8snet.report.drawing import Sighting
from pytest_k8snet.report.page.lettering import folded
from pytest_k8snet.report.page.shapes import Box, Mark, Shape, Text
from pytest_k8snet.report.page.stops import ends, envelopes

NODE = (4.0, 336.0)  #: left and right edge of a node's box
WAY = 24.0  #: x of the line
BODY = (46.0, 326.0)  #: left and right edge of what is beside it
MONO = 6.8  #: width of a monospaced letter at the size of addresses; the widest in use (SF Mono)
SANS = 6.9  #: of other text, on average; DejaVu Sans is among the widest
BOLD = 7.5
LINE = 15.0  #: height of a line of text
PAD = 7.0
INSET = 6.0  #: from an envelope to what it is around
NARROWEST = 160.0  #: what is inside so many envelopes that it would be narrower is not inset any more

#: What an expectation or a reason is cut to; the table beside the picture has it whole.
MOST_LINES = 6


class Pen:
    """Draws from top to bottom; ``y`` is where it is."""

    def __init__(self) -> None:
        self.y = 6.0
        self.nodes: list[Shape] = []  #: these three lie below everything else, in this order
        self.frames: list[Shape] = []
        self.boxes: list[Shape] = []
        self.shapes: list[Shape] = []

    def text(self, x: float, text: str, look: str, *, end: bool = False) -> None:
        self.shapes.append(Text(x, self.y, text, look, end))

    def lines(self, x: float, lines: Iterable[str], look: str) -> None:
        for line in lines:
            self.shapes.append(Text(x, self.y, line, look))
            self.y += LINE

    def arrow(self, x: float, end: str, columns: int, look: str) -> None:
        """Where a packet goes: behind an arrow, further lines indented."""
        first, *others = folded(end, columns - 2)
        self.lines(x, [f"\u2192 {first}"], look)
        self.lines(x + 2 * MONO, others, look)

    def absent(self, note: str) -> None:
        """The first and the last part of a reason: what is missing, and what that means."""
        parts = note.split("; ")
        if len(parts) > 2:
            note = "; ".join((parts[0], "...", parts[-1]))
        top = self.y
        self.y += 14
        width = BODY[1] - BODY[0]
        self.lines(BODY[0] + PAD, folded(note, int((width - 2 * PAD) / SANS), MOST_LINES), "note")
        self.y -= 8
        self.boxes.append(Box(BODY[0], top, width, self.y - top, "absent"))
        self.y += 8

    def nat(self, change: str) -> None:
        kind, _, addresses = change.partition(" ")
        old, new = ends(addresses)
        beside = max(len(kind) * MONO + 10, 44)  # "DNAT", "un-DNAT"
        columns = int((BODY[1] - BODY[0] - 2 * PAD - beside) / MONO)
        top = self.y
        self.y += 14
        self.text(BODY[0] + PAD, kind, "nat kind")
        self.lines(BODY[0] + PAD + beside, folded(old, columns), "address old")
        self.arrow(BODY[0] + PAD + beside, new, columns, "address new")
        self.y -= 8
        self.boxes.append(Box(BODY[0], top, BODY[1] - BODY[0], self.y - top, "nat"))
        self.shapes.append(Mark(WAY, (top + self.y) / 2, "nat"))
        self.y += 6

    def pills(self, words: Iterable[str]) -> None:
        x, drawn = BODY[0], False
        for word in words:
            # A minus sign, as it is printed; a screen has room for it.
            text = word.replace(" -", " \u2212") if word.startswith("TTL") else word
            for line in folded(text, int((BODY[1] - BODY[0] - 2 * PAD) / SANS)):
                width = len(line) * SANS + 2 * PAD
                if x + width > BODY[1]:
                    x, self.y = BODY[0], self.y + 23
                look = "tunnel" if "capsulated" in word or word.startswith("envelope") else "plain"
                self.shapes.append(Box(x, self.y, width, 19, f"pill {look}"))
                self.shapes.append(Text(x + PAD, self.y + 13.5, line, f"pill {look}"))
                x, drawn = x + width + 6, True
        if drawn:
            self.y += 25

    def packet(self, sighting: Sighting, before: Sighting | None) -> None:
        """Envelopes around the inner header. What differs from the sighting ``before`` is marked."""
        left, right = BODY
        boxes: list[tuple[float, float, float, str]] = []
        for title, addresses in envelopes(sighting.outer):
            boxes.append((left, right, self.y, "envelope"))
            self.y += 14
            self._header(left, right, title, addresses)
            self.y -= 8
            inset = INSET if right - left > NARROWEST else 0.0
            left, right = left + inset, right - inset
        boxes.append((left, right, self.y, "inner"))
        self.y += 14
        self._inner(left, right, sighting, before)
        self.y += INSET * (len(boxes) - 1) - 8
        for level, (start, end, top, look) in enumerate(boxes):
            self.boxes.append(Box(start, top, end - start, self.y - INSET * level - top, look))
        self.y += 8

    def _header(self, left: float, right: float, title: str, addresses: str) -> None:
        columns = int((right - left - 2 * PAD) / MONO)
        source, destination = ends(addresses)
        line = f"{source} \u2192 {destination}" if destination else source
        if title and len(title) + 1 + len(line) <= columns:
            self.text(left + PAD, title, "outer kind")
            self.lines(left + PAD + (len(title) + 1) * MONO, [line], "address outer")
            return
        if title:
            self.lines(left + PAD, folded(title, columns), "outer kind")
        self.lines(left + PAD, folded(source, columns), "address outer")
        if destination:
            self.arrow(left + PAD, destination, columns, "address outer")

    def _inner(self, left: float, right: float, sighting: Sighting, before: Sighting | None) -> None:
        columns = int((right - left - 2 * PAD) / MONO)
        earlier = ends(before.inner) if before is not None else ("", "")
        source, destination = there = ends(sighting.inner)
        ttl = "" if sighting.ttl is None else f"TTL {sighting.ttl}"
        beside = len(source) + 1 + len(ttl) <= columns
        if ttl and beside:
            self.text(right - PAD, ttl, "ttl", end=True)
        looks = [
            "address new" if old and old != end else "address"
            for old, end in zip(earlier, there, strict=True)
        ]
        self.lines(left + PAD, folded(source, columns), looks[0])
        if destination:
            self.arrow(left + PAD, destination, columns, looks[1])
        if ttl and not beside:
            self.lines(left + PAD, [ttl], "ttl")
