"""One page opened in a browser, and all that it said and asked for meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, WebSocket

NARROWEST = 320  #: WCAG 2.2, 1.4.10 Reflow: what 1280 px are at a zoom of 400 %
PHONE = 390
DESKTOP = 1280

Scheme = Literal["light", "dark"]

#: ``findings``: functions that say what is wrong with a page.
FINDINGS = (Path(__file__).parent / "findings.js").read_text()


@dataclass
class Visit:
    page: Page
    file: Path
    windows: Windows
    noise: list[str] = field(default_factory=list)  #: what a finished page must never do

    @property
    def url(self) -> str:
        return self.file.as_uri()

    def find(self, check: str) -> list[str]:
        """What a function of findings.js finds."""
        found: list[str] = self.page.evaluate(f"(() => {{\n{FINDINGS}\nreturn findings.{check}();\n}})()")
        return found

    def again(self, **options: Any) -> Visit:
        """The same file, opened otherwise."""
        return self.windows.look(self.file, **options)

    def press(self, key: str, times: int = 1) -> None:
        for _ in range(times):
            self.page.keyboard.press(key)

    def listen(self) -> None:
        for event, handler in self._handlers:
            self.page.on(event, handler)

    def leave(self) -> None:
        """What the page does from now on is not this visit's."""
        for event, handler in self._handlers:
            self.page.remove_listener(event, handler)

    @property
    def _handlers(self) -> list[tuple[Any, Callable[[Any], None]]]:
        return [
            ("console", self._said),
            ("pageerror", self._failed),
            ("dialog", self._stopped),
            ("request", self._asked),
            ("websocket", self._asked),
        ]

    def _said(self, message: ConsoleMessage) -> None:
        self.noise.append(f"console {message.type}: {message.text}")

    def _failed(self, error: Exception) -> None:
        self.noise.append(f"error: {error}")

    def _stopped(self, dialog: Dialog) -> None:
        self.noise.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, wanted: Request | WebSocket) -> None:
        if wanted.url.partition("#")[0] != self.url and not wanted.url.startswith("data:"):
            self.noise.append(f"asked for {wanted.url}")


class Windows:
    """Of one browser. A window is taken again for the next page of its kind: a new one takes long."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._pages: dict[str, Page] = {}
        self._visits: list[Visit] = []

    def look(
        self,
        file: Path,
        *,
        width: int = DESKTOP,
        scheme: Scheme = "light",
        anchor: str = "",
        before: str = "",
        **options: Any,
    ) -> Visit:
        """Opens ``file`` as somebody does who was sent it: from disk, here with no network.

        Wants reduced motion: what moves all the same is a finding, and nothing has to be waited for.

        ``width``: of the window, in CSS px; narrow ones are a phone's. ``anchor``: "#claim".
        ``before``: script that runs before the page's own. ``options``: playwright's of a new context.
        """
        phone = width <= PHONE
        kind = f"{phone} {before} {options}"
        size = {"width": width, "height": 844 if phone else 900}
        if kind not in self._pages:
            context = self._browser.new_context(is_mobile=phone, has_touch=phone, offline=True, **options)
            if before:
                context.add_init_script(before)
            self._pages[kind] = context.new_page()
        page = self._pages[kind]
        if page.url.partition("#")[0] == file.as_uri():
            page.goto("about:blank")  # only to jump to an anchor is not to open a page
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        opened = Visit(page, file, self)
        opened.listen()
        self._visits.append(opened)
        page.goto(opened.url + anchor)
        return opened

    def noise(self) -> list[str]:
        """Of all that was opened."""
        for page in {opened.page for opened in self._visits}:
            page.wait_for_timeout(50)  # is told a moment after it happened
        return [line for opened in self._visits for line in opened.noise]

    def leave(self) -> None:
        """What the pages do from now on is nobody's noise."""
        while self._visits:
            self._visits.pop().leave()
