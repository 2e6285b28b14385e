"""The HTML page of a run: one file that needs nothing else, neither network nor script to be read.

Every byte of evidence in it was printed by somebody's pod or node: it is escaped, made visible, and behind
that stands a Content Security Policy under which nothing but the page's own style and script counts.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from pytest_k8snet.report.page.contents import contents
from pytest_k8snet.report.page.lettering import visible
from pytest_k8snet.report.page.requests import seen_at
from pytest_k8snet.report.page.shapes import Box, Mark, Text, Way
from pytest_k8snet.report.page.stops import envelopes
from pytest_k8snet.report.told import ToldRun


def render(run: ToldRun) -> str:
    """The whole page, as HTML text to be written as UTF-8."""
    style, script = _own("style.css"), _own("script.js")
    return _page().render(
        page=contents(run),
        run=run,
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src {_hashed(style)}; script-src {_hashed(script)};"
        " img-src data:; base-uri 'none'; form-action 'none'",
    )


@cache
def _page() -> Template:
    environment = Environment(
        loader=PackageLoader("pytest_k8snet.report.page"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "fragment": _fragment,
        "moment": _moment,
        "arrows": _arrows,
        "stacked": _stacked,
        "kinded": _kinded,
        "whole": _whole,
        "jointed": _jointed,
        "printed": _printed,
        "clock": _clock,
        "typed": _typed,
        "units": _units,
        "seen_at": seen_at,
        "envelopes": envelopes,
    }
    environment.tests |= {
        name: (lambda shape, kind=kind: isinstance(shape, kind))
        for name, kind in {"box": Box, "way": Way, "mark": Mark, "text": Text}.items()
    }
    return environment.get_template("page.html.j2")


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hashed(text: str) -> str:
    """A source expression of CSP 3, section 2.3.1."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _visible(value: object) -> object:
    """Applied to all that a template puts out; Markup is text of our own."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _fragment(anchor: str) -> str:
    """The link to an element of the page."""
    return "#" + quote(anchor, safe="/~-._")


def _moment(text: str) -> str:
    """ "2026-11-20 10:12:05 UTC" of ISO 8601; what is none stays as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.astimezone(UTC) if moment.tzinfo else moment:%Y-%m-%d %H:%M:%S} UTC"


def _arrows(text: str) -> str:
    """ "a -> b" so that a line ends before the arrow, if anywhere; browsers end lines within "->".

    Meanings write "a > b".
    """
    return re.sub(r" -?>(?: |$)", " \u2192\u00a0", text)


def _stacked(text: str) -> Markup:
    """What is sent above where it goes, as in the picture."""
    return Markup("<br>\u2192\u00a0").join(escape(visible(end)) for end in text.split(" -> "))


def _kinded(change: str) -> Markup:
    """ "DNAT a -> b" in three lines; "TTL -1" in one."""
    kind, _, addresses = change.partition(" ")
    if " -> " not in addresses:
        return escape(visible(change))
    return Markup("<br>").join((escape(visible(kind)), _stacked(addresses)))


def _whole(command: str) -> Markup:
    """A command, or a rule, whose options are not cut at their hyphens."""
    words = (escape(visible(word)) for word in command.split(" "))
    return Markup(" ").join(Markup("<span>{}</span>").format(word) if "-" in word else word for word in words)


def _jointed(test: str) -> Markup:
    """A node id whose lines end behind "::", "_" or "/"."""
    return Markup("<wbr>").join(escape(visible(part)) for part in re.split(r"(?<=::)|(?<=[_/])", test))


def _printed(text: str) -> Markup:
    """For <pre>: lines that have columns stay as wide as they are, all others may be folded."""
    return Markup("").join(
        escape(line)
        if re.search(r"\S {2,}\S", line)
        else Markup('<span class="folds">{}</span>').format(_whole(line))
        for line in visible(text).splitlines(keepends=True)
    )


def _clock(seconds: float | None) -> str:
    """The time of day, in UTC, of a packet."""
    if seconds is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S.%f}"
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def _typed(command: str) -> tuple[str, str]:
    """What to type, and where: the inverse of :func:`~pytest_k8snet.claims.verdict.typed_on`."""
    parts = re.fullmatch(r"(.*?) +\(on ([^()]+)\)", command, re.DOTALL)
    return (parts[1], parts[2]) if parts else (command, "")


def _units(number: float) -> str:
    return f"{number:g}"
