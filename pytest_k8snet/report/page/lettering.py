"""Text as it can be shown: nothing in it is invisible, and in a picture nothing is wider than its place."""

from __future__ import annotations

import re

#: Evidence is whatever a pod or a node printed. Control characters are shown as their pictures (U+2400...),
#: what turns the direction of text or has no width by its number, and what UTF-8 can't hold as U+FFFD.
_VISIBLE = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **{code: f"<U+{code:04X}>" for code in range(0x80, 0xA0)},
    **{
        code: f"<U+{code:04X}>"
        for code in (0x061C, 0xFEFF, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
    },
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
    0xFFFE: "\ufffd",
    0xFFFF: "\ufffd",
}

#: Where a word that is longer than a line is cut at best.
_CUTS = re.compile(r"(?<=[:/.,\-])")


def visible(text: str) -> str:
    """``text`` with everything shown that a browser would swallow, obey or refuse. Lines and tabs stay."""
    return text.translate(_VISIBLE)


def folded(text: str, columns: int, lines: int = 99) -> list[str]:
    """``text`` in lines of at most ``columns`` characters; what does not fit into ``lines`` ends in "...".

    Lines end at spaces; a word that is longer than a line is cut, behind a colon or a dot where it has one.
    At least one line, be it empty. Raises ValueError where there is no room for a character and the dots.
    """
    if columns < 4 or lines < 1:
        raise ValueError(f"no text fits into {lines} lines of {columns} columns")
    found = [
        line
        for part in visible(text).splitlines() or [""]
        for line in _folded(part.replace("\t", " "), columns)
    ]
    if len(found) > lines:
        return [*found[: lines - 1], found[lines - 1][: columns - 3].rstrip() + "..."]
    return found


def _folded(text: str, columns: int) -> list[str]:
    found = [""]
    for word in filter(None, text.split(" ")):
        joined = f"{found[-1]} {word}" if found[-1] else word
        if len(joined) <= columns:
            found[-1] = joined
            continue
        for piece in [word] if len(word) <= columns else _CUTS.split(word):
            starts = not found[-1] or piece is word
            if starts or len(found[-1] + piece) > columns:
                found += [piece[at : at + columns] for at in range(0, len(piece), columns)]
            else:
                found[-1] += piece
    return [line for line in found if line] or [""]
