"""Where a request, or its answer, is looked for on its path, and what its headers say there (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pytest_k8snet.report.drawing import CaptureTold, Drawing, Sighting


@dataclass(frozen=True)
class Stop:
    """A sighting, or (None) a point that the packet was not expected to come by, and did not."""

    point: str
    node: str
    interface: str
    sighting: Sighting | None = None

    @property
    def look(self) -> str:
        seen = self.sighting
        if seen is None:
            return "quiet"
        if seen.first_difference:
            return "wrong"
        if seen.number is not None:
            return "differs" if seen.expected else "seen"
        return "unobserved" if seen.note.startswith("not observed") else "absent"

    @property
    def seen(self) -> bool:
        return self.sighting is not None and self.sighting.number is not None


@dataclass(frozen=True)
class End:
    """Who sends, or who is to get it."""

    name: str
    node: str
    is_pod: bool  #: or a process of the node


@dataclass(frozen=True)
class Leg:
    """The request's way there, or the answer's way back."""

    drawing: Drawing
    source: End
    goal: End
    sightings: tuple[Sighting, ...]
    stops: tuple[Stop, ...]
    is_answer: bool = False

    @property
    def first_wrong(self) -> Sighting | None:
        return next((row for row in self.sightings if row.first_difference), None)


def there(drawing: Drawing) -> Leg:
    """With the points of which the ledger has no row."""
    captured = {capture.point: capture for capture in drawing.captures}
    points = dict.fromkeys([*captured, *(sighting.point for sighting in drawing.sightings)])
    stops = [stop for point in points for stop in _stops_at(drawing, point, captured.get(point))]
    return Leg(drawing, *_ends(drawing), drawing.sightings, tuple(stops))


def back(drawing: Drawing) -> Leg | None:
    """None where no answer was due. Of one request one hop is the first wrong one: where that is on the way
    there, none on the way back is."""
    if not drawing.replies:
        return None
    rows = drawing.replies
    if any(row.first_difference for row in drawing.sightings):
        rows = tuple(replace(row, first_difference=False) for row in rows)
    client, target = _ends(drawing)
    stops = tuple(Stop(row.point, row.node, row.interface, row) for row in rows)
    return Leg(drawing, target, client, rows, stops, is_answer=True)


def _ends(drawing: Drawing) -> tuple[End, End]:
    client = End(drawing.client, drawing.client_node, drawing.client_is_pod)
    return client, End(drawing.target, drawing.target_node, True)


def _stops_at(drawing: Drawing, point: str, capture: CaptureTold | None) -> Iterator[Stop]:
    rows = [row for row in drawing.sightings if row.point == point]
    yield from (Stop(row.point, row.node, row.interface, row) for row in rows)
    if not rows and capture is not None:
        missing = None
        if capture.problem:
            missing = Sighting(
                point, capture.node, capture.interface, note=f"not observed: {capture.problem}"
            )
        yield Stop(point, capture.node, capture.interface, missing)


def envelopes(outer: str) -> list[tuple[str, str]]:
    """Title and addresses of each envelope, outermost first: ("IPIP", "192.168.219.23 -> 192.168.219.22")."""
    found = []
    for envelope in filter(None, outer.split(" around ")):
        parts = re.fullmatch(r"(.+?) (\S+ -> \S+)", envelope)
        found.append((parts[1], parts[2]) if parts else ("", envelope))
    return found


def ends(inner: str) -> tuple[str, str]:
    """Source and destination of "a -> b"; the destination is empty where there is no arrow."""
    source, _, destination = inner.partition(" -> ")
    return source, destination
