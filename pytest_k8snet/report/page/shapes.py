"""What a picture is made of. Units are those of the SVG: about one CSS pixel on a phone (pure)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    look: str  #: "node", "pod", "pod missed", "envelope", "inner", "absent", "nat", "wrong", "tunnel", ...


@dataclass(frozen=True)
class Way:
    """A part of the way. ``look``: "seen" or "unseen"."""

    top: float
    bottom: float
    look: str


@dataclass(frozen=True)
class Mark:
    """A sign centred on (x, y): its shape says what the colour says."""

    x: float
    y: float
    look: str  #: "seen", "wrong", "differs", "absent", "unobserved", "quiet", "answered", "unanswered"


@dataclass(frozen=True)
class Text:
    """``y`` is the baseline."""

    x: float
    y: float
    text: str
    look: str
    end: bool = False  #: x is the right end


Shape = Box | Way | Mark | Text


@dataclass(frozen=True)
class Picture:
    width: float
    height: float
    shapes: tuple[Shape, ...]  #: from the ground up
