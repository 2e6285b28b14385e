"""A request as it stands on the page: both its ways, and what they come to in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pytest_k8snet.report.drawing import Drawing, Sighting
from pytest_k8snet.report.page.path import picture
from pytest_k8snet.report.page.shapes import Picture
from pytest_k8snet.report.page.stops import Leg, Stop, back, there


@dataclass(frozen=True)
class ShownLeg:
    told: Leg
    anchor: str

    @cached_property
    def picture(self) -> Picture:
        return picture(self.told)

    @property
    def first_wrong(self) -> Sighting | None:
        return self.told.first_wrong

    @property
    def title(self) -> str:
        name = self.told.drawing.name
        return f"the answer's way back, {name}" if self.told.is_answer else f"the path of {name}"

    @cached_property
    def missed(self) -> list[Stop]:
        """Where it was looked for and not shown."""
        return [stop for stop in self.told.stops if stop.sighting is not None and not stop.seen]

    @property
    def in_short(self) -> str:
        """What the picture shows, in a sentence."""
        packet = "answer" if self.told.is_answer else "request"
        if self.first_wrong is not None:
            where = _place(self.first_wrong)
            return f"The {'answer went wrong at' if self.told.is_answer else 'first wrong hop is'} {where}."
        if not any(stop.seen for stop in self.told.stops):
            return f"No point shows this {packet}."
        if self.missed:
            points = ", ".join(dict.fromkeys(stop.point for stop in self.missed))
            return f"The {packet} is not shown at {points}; it is as expected where it was seen."
        return f"The {packet} was seen as expected at every point."


@dataclass(frozen=True)
class ShownRequest:
    told: Drawing
    anchor: str

    @cached_property
    def there(self) -> ShownLeg:
        return ShownLeg(there(self.told), f"{self.anchor}~path")

    @cached_property
    def back(self) -> ShownLeg | None:
        leg = back(self.told)
        return ShownLeg(leg, f"{self.anchor}~answer") if leg is not None else None

    @cached_property
    def wrong(self) -> ShownLeg | None:
        """The way that has its first wrong hop."""
        return next((leg for leg in (self.there, self.back) if leg is not None and leg.first_wrong), None)

    @property
    def first_wrong(self) -> Sighting | None:
        return self.wrong.first_wrong if self.wrong is not None else None

    @property
    def look(self) -> str:
        if self.wrong is not None:
            return "bad"
        missed = self.there.missed or not any(stop.seen for stop in self.there.told.stops)
        return "unsure" if missed or not self.told.answered else "good"

    @property
    def wrong_in_short(self) -> str:
        """Where its first wrong hop is."""
        if self.wrong is None or self.wrong.first_wrong is None:
            return ""
        return _place(self.wrong.first_wrong) + (
            " on the answer's way back" if self.wrong.told.is_answer else ""
        )

    @property
    def in_short(self) -> str:
        """What both pictures show."""
        if self.back is None or self.wrong is self.there:
            return self.there.in_short
        return f"{self.there.in_short} {self.back.in_short}"


def seen_at(sighting: Sighting) -> str:
    """One row of the ledger, in words."""
    if sighting.number is None:
        return sighting.note or "nothing"
    seen = f"{sighting.outer} around {sighting.inner}" if sighting.outer else f"plain {sighting.inner}"
    return f"{seen} ({sighting.note})" if sighting.note else seen


def _place(sighting: Sighting) -> str:
    return f"{sighting.point} ({sighting.node} {sighting.interface})"
