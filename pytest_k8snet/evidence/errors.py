"""The one error a parser raises."""

from __future__ import annotations


class ParseError(ValueError):
    """Output that is not what its command prints.

    ``what`` names the format (``"ip -j addr"``), ``problem`` says what is wrong, ``near`` holds the
    offending piece (cut to 120 characters) so that a reader finds it in the raw output.
    """

    def __init__(self, what: str, problem: str, near: object = "") -> None:
        self.what = what
        self.problem = problem
        self.near = str(near)[:120]
        super().__init__(f"{what}: {problem}" + (f" (near {self.near!r})" if self.near else ""))
