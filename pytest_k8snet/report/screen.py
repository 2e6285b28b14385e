"""The summary on a terminal: drawn by rich, no line wider than the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_k8snet.report.account import ToldLab
from pytest_k8snet.report.plain import Plain
from pytest_k8snet.report.summary import OUTCOMES, WrongHop, all_good

_STYLES = {
    "held": "green",
    "passed": "green",
    "broken": "bold red",
    "failed": "bold red",
    "inconclusive": "bold yellow",
    "skipped": "yellow",
    "changed": "bold red",
    "unknown": "bold yellow",
    "allowed": "green",
}
_INDENT = len("broken  ")
_ENOUGH = 20  #: cells below which half a sentence tells nothing
_MOST = 12  #: lines of a kind that a person takes in; the rest is counted


class Screen(Plain):
    """``width`` in cells; None: no line is cut (colours in a pipe, a CI log)."""

    def __init__(self, width: int | None, *, colour: bool, encoding: str, whole: bool = False) -> None:
        super().__init__(whole=whole)
        self._width = width
        self._most = _MOST if width is not None and not whole else None
        self._encoding = encoding
        self._ellipsis = "…" if self._writable("…") else "..."
        self._console = Console(
            file=StringIO(),
            width=width or 10_000,
            # pytest has decided from --color, NO_COLOR and the rest of the environment: rich must not, again.
            force_terminal=colour,
            color_system="standard" if colour else None,
            no_color=not colour,
            force_jupyter=False,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def labs(self, labs: Sequence[ToldLab]) -> Iterator[str]:
        """A row a lab; a column for each outcome that there is."""
        if not labs:
            return
        present = [name for name in OUTCOMES if any(lab.counts[name] for lab in labs)]
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column(overflow="fold")
        for name in present:
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        for lab in labs:
            good = all_good(lab)
            table.add_row(
                Text(self._shown(lab.name), style="bold" if good else "bold red"),
                *(Text(str(lab.counts[name] or ""), style=_STYLES[name]) for name in present),
                Text(f"{lab.seconds:.1f} s"),
            )
        yield from self._render(table)

    def hops(self, hops: Sequence[WrongHop]) -> Iterator[str]:
        """Claims and their hop on one line where they fit, else on a line each."""
        told = hops[: self._most]
        for hop in told:
            causes = "; ".join(diagnosis for diagnosis, _ in hop.causes)
            cause = Text(f" ({self._shown(causes)})" if causes else "", style="yellow")
            head = Text("broken  ", style=_STYLES["broken"])
            names = Text(", ".join(map(self._shown, hop.claims)), style="bold")
            whole = Text.assemble(head, names, "  ", self._hop(hop, None), cause)
            if self._width is None or whole.cell_len <= self._width:
                yield from self._render(whole)
                continue
            names = Text(self._listed(hop.claims, self._width - _INDENT - cause.cell_len), style="bold")
            yield from self._render(Text.assemble(head, names, cause))
            if hop.text:
                yield from self._render(Text(" " * _INDENT) + self._hop(hop, self._width - _INDENT))
        if len(told) < len(hops):
            yield from self._render(
                Text(f"broken  and {len(hops) - len(told)} more first wrong hops (-v)", style="bold")
            )

    def enough(self, word: str, lines: Sequence[str]) -> Iterator[str]:
        yield from lines[: self._most]
        if len(lines[: self._most]) < len(lines):
            yield self.line(word, f"and {len(lines) - _MOST} more (-v)")

    def line(self, word: str, about: str, text: str = "") -> str:
        """``about`` is an id: it is never cut."""
        room = None if self._width is None else self._width - len(word) - 4 - cell_len(about)
        if room is not None and room < _ENOUGH:
            room = None  # the terminal may wrap it: half a sentence in the way of nothing is worse
        parts = [Text(word, style=_STYLES.get(word, "bold")), Text(self._shown(about))]
        parts += [Text(self._cut(text, room))] * bool(text)
        (line,) = self._render(Text("  ").join(parts))
        return line

    def note(self, text: str, outcome: str = "") -> str:
        (line,) = self._render(Text(self._shown(text), style=_STYLES.get(outcome, "")))
        return line

    def _hop(self, hop: WrongHop, room: int | None) -> Text:
        """In ``room`` cells; what was expected and what was seen share what they have to lose."""
        where, expected, seen = map(self._shown, (hop.where, hop.expected, hop.seen))
        if not (expected and seen):
            return Text(self._cut(hop.text, room))
        place, words = (f"{where}: " if where else ""), ("expected ", ", seen ")
        if room is not None:
            rest = room - cell_len(place) - sum(map(len, words))
            if rest < 2 * _ENOUGH:
                return Text(self._cut(hop.text, room))
            share = max(rest // 2, rest - cell_len(seen))
            expected = self._cut(expected, share)
            seen = self._cut(seen, rest - cell_len(expected))
        return Text.assemble((place, "cyan"), words[0], expected, words[1], (seen, "red"))

    def _listed(self, claims: Sequence[str], room: int) -> str:
        """As many as there is room for, the rest counted."""
        names = [self._shown(claim) for claim in claims]
        for shown in range(len(names), 0, -1):
            more = f" and {len(names) - shown} more" if shown < len(names) else ""
            line = ", ".join(names[:shown]) + more
            if cell_len(line) <= room or shown == 1:
                return line
        return ""

    def _cut(self, text: str, room: int | None) -> str:
        shown = self._shown(text)
        if room is None or cell_len(shown) <= room:
            return shown
        return set_cell_size(shown, max(room - cell_len(self._ellipsis), 0)).rstrip() + self._ellipsis

    def _shown(self, text: str) -> str:
        """What the terminal's encoding lacks is escaped here: pytest would escape the colours, too."""
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def _writable(self, text: str) -> bool:
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError:
            return False
        return True

    def _render(self, what: RenderableType) -> list[str]:
        with self._console.capture() as captured:
            self._console.print(what, no_wrap=True, overflow="ignore", crop=False)
        return [line.rstrip() for line in captured.get().splitlines()]
