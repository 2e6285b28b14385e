"""Text that a command printed line by line."""

from __future__ import annotations


def lines(content: str | bytes) -> list[str]:
    """The lines of ``content`` without the space around them, empty ones left out.

    Process names and comments may hold any byte: what is not UTF-8 stays visible as ``\\xNN``
    instead of making the whole output unreadable. Only a line feed ends a line.
    """
    text = content.decode(errors="backslashreplace") if isinstance(content, bytes) else content
    return [line for line in map(str.strip, text.split("\n")) if line]


def port(word: str) -> int:
    """A port number in digits. Raises ValueError for anything else, services' names included."""
    if not (word.isascii() and word.isdecimal() and len(word) <= 5 and int(word) <= 65535):
        raise ValueError(f"{word!r} is no port number")
    return int(word)
