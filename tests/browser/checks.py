"""What can be wrong with a page: each check gives lines that say it, none where all is well."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tests.browser.chromium import missing
from tests.browser.visit import Visit

#: Of findings.js: what the eye can see, or a browser do, without anybody's doing.
SEEN = ("overflowing", "small", "crowded", "spilling", "faint", "reaching", "moving", "doubled")

PAPER = 718  #: px: as wide as a sheet of A4 is within margins of 1 cm, which Chromium takes by default


def noise(opened: Visit) -> list[str]:
    """What it said on the console, threw, or asked for, up to now."""
    opened.page.wait_for_timeout(50)  # is told a moment after it happened
    return opened.noise


@functools.cache
def _axe() -> Any:
    try:
        return import_module("axe_playwright_python.sync_playwright").Axe()
    except ImportError:
        missing("axe-playwright-python, of the extra [dev]")


def axe(opened: Visit, *, contrast: bool = True) -> list[str]:
    """What axe-core finds on the page as it now is; what is shut or hidden it passes over.

    ``contrast``: most of its time, and what findings.js's ``faint`` finds too.
    """
    # WCAG 2.2's least size of what a finger hits is off in axe by default.
    rules = {"target-size": {"enabled": True}, "color-contrast": {"enabled": contrast}}
    options = {"resultTypes": ["violations"], "rules": rules}
    found = _axe().run(opened.page, options=options).response["violations"]
    return [
        f"{rule['impact']}: {rule['id']}: {rule['help']}: "
        + ", ".join(" ".join(map(str, node["target"])) for node in rule["nodes"])
        for rule in found
    ]


def walked(opened: Visit) -> list[str]:
    """From end to end by Tab: what the keyboard does not reach, or reaches without a sign of it."""
    opened.page.evaluate("scrollTo(0, 0)")
    opened.find("watchFocus")
    stops = opened.page.locator("summary, button, a, input, [tabindex]").count()
    opened.press("Tab", times=stops + 1)
    return opened.find("unreached")


def copied(opened: Visit, most: int = 5) -> list[str]:
    """The longest commands in sight, copied by keyboard: what is pasted then must be what is to be typed."""
    page, found = opened.page, []
    page.evaluate("document.body.append(document.createElement('textarea'))")
    scratch = page.locator("textarea")
    places = [(place, place.locator("code").inner_text()) for place in page.locator(".command:visible").all()]
    for place, command in sorted(places, key=lambda one: len(one[1]), reverse=True)[:most]:
        scratch.fill("nothing")
        scratch.press("Control+A")
        scratch.press("Control+X")
        place.get_by_role("button").press("Enter")
        got, deadline = "", time.monotonic() + 1
        while got != command and time.monotonic() < deadline:
            scratch.fill("")
            scratch.press("Control+V")
            got = scratch.input_value()
        if got != command:
            found.append(f"pasted {got!r}, not {command!r}")
    scratch.evaluate("scratch => scratch.remove()")
    return found if places else ["there is no command"]


def led(opened: Visit, anchors: list[str]) -> list[str]:
    """To each anchor, as a link on the page or a new address leads."""
    found = []
    for anchor in anchors:
        opened.page.evaluate(
            """async anchor => {
              const here = location.hash;
              const heard = new Promise(hear => addEventListener("hashchange", hear, { once: true }));
              location.hash = encodeURIComponent(anchor);
              if (location.hash !== here) await heard;
              for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
            }""",
            anchor,
        )
        found += opened.find("arrived")
    return found


def unprinted(opened: Visit) -> list[str]:
    """What of the page is not on paper, be it shut, hidden, cut off or pale."""
    converter = shutil.which("pdftotext")
    if converter is None:
        missing("pdftotext (apt-get install poppler-utils)")
    words = opened.find("words")
    pdf = opened.page.pdf(format="A4", margin={"top": "1cm", "right": "1cm", "bottom": "1cm", "left": "1cm"})
    done = subprocess.run([converter, "-", "-"], input=pdf, capture_output=True, check=True, timeout=30)
    printed = _letters(done.stdout.decode())
    return [f"not printed: {word}" for word in words if _letters(word) not in printed] + _on_paper(opened)


def _letters(text: str) -> str:
    """What of a text can be found on paper.

    A word may go on in the next line, where pdftotext drops a hyphen; capitals may be the style's.
    """
    return re.sub(r"[\s-]", "", text).casefold()


def _on_paper(opened: Visit) -> list[str]:
    """What is cut off, or too pale."""
    page, before = opened.page, opened.page.viewport_size
    opened.find("opening")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER, "height": 1000})
    found = [line for check in ("clipped", "overflowing", "faint") for line in opened.find(check)]
    page.emulate_media(media="null")
    if before:
        page.set_viewport_size(before)
    return found


def unscripted(opened: Visit) -> list[str]:
    """What is lost, or does nothing, where no script runs."""
    plain = opened.again(java_script_enabled=False)
    found = plain.find("opening") + plain.find("dead")
    lost = sorted({*opened.find("words")} - {*plain.find("readable")})
    return found + [f"only by script: {word}" for word in lost] + noise(plain)


def _seen(check: str) -> Callable[[Visit], list[str]]:
    """A check of findings.js."""
    return lambda opened: opened.find(check)


#: Those that need nothing but an open page, by what they find.
CHECKS: dict[str, Callable[[Visit], list[str]]] = {
    "noise": noise,
    "axe": axe,
    "walked": walked,
    "copied": copied,
    "led": lambda opened: led(opened, ["claim"]),
    "unprinted": unprinted,
    "unscripted": unscripted,
    **{name: _seen(name) for name in ("opening", *SEEN)},
}
