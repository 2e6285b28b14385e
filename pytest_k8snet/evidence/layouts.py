"""Where a header's fields stand, by scapy's definitions, and how to read them fast.

Dissecting with scapy's packet classes costs 0.1 ms a layer; a run holds some thousand layers and is
judged at once. So scapy says *where* each field of a header is, once per layer, and reading a header
is then one integer and a shift per field (2 microseconds). scapy is imported when the first packet
is read, not before: its layers take a quarter of a second to load.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any


class Layout:
    """One header's fixed fields. ``size`` in bytes; variable parts (options) come after it."""

    __slots__ = ("_fields", "size")

    def __init__(self, size: int, fields: tuple[tuple[str, int, int], ...]) -> None:
        self.size = size
        self._fields = tuple(
            (name, size * 8 - offset - bits, (1 << bits) - 1) for name, offset, bits in fields
        )

    def read(self, content: bytes, start: int = 0) -> dict[str, int] | None:
        """The header that begins at ``start``, as scapy's field names -> unsigned numbers; None when cut."""
        end = start + self.size
        if end > len(content):
            return None
        number = int.from_bytes(content[start:end], "big")
        return {name: number >> shift & mask for name, shift, mask in self._fields}


@cache
def layout(module: str, layer: str, last: str) -> Layout:
    """scapy's ``scapy.layers.<module>.<layer>`` from its first field up to and including ``last``."""
    fields = []
    offset = 0
    for name, bits in _widths(_definition(module, layer)):
        fields.append((name, offset, bits))
        offset += bits
        if name == last:
            return Layout(offset // 8, tuple(fields))
    raise LookupError(f"scapy's {layer} has no field {last}")


def _definition(module: str, layer: str) -> Any:
    _load_scapy()
    return getattr(import_module(f"scapy.layers.{module}"), layer)


@cache
def _load_scapy() -> None:
    """Import scapy's layers without what they do on the side: ask this host for its interfaces and routes.

    A definition needs none of them, and scapy takes 10 ms and more for each interface: seconds on a node
    with its veths. What the process has already (a test file that imports ``scapy.all``) stays as it is;
    code that wants them only later calls ``conf.route.resync()`` and ``conf.ifaces.reload()``.
    """
    conf = import_module("scapy.config").conf
    import_module("scapy.interfaces")  # makes conf.ifaces
    before = conf.route_autoload, conf.route6_autoload
    conf.route_autoload = conf.route6_autoload = False
    conf.ifaces.reload = lambda: None
    try:
        for module in ("l2", "inet", "inet6"):
            import_module(f"scapy.layers.{module}")
    finally:
        del conf.ifaces.reload
        conf.route_autoload, conf.route6_autoload = before


def _widths(layer: Any) -> Iterator[tuple[str, int]]:
    for field in layer.fields_desc:
        bits = getattr(field, "size", None)  # of a BitField; the others know their size in bytes
        yield field.name, bits if bits is not None else round(field.sz * 8)


@cache
def tcp_flags(value: int) -> str:
    """TCP's flags as scapy writes them: 0x12 is "SA"."""
    letters = layout_names("inet", "TCP", "flags")
    return "".join(letter for bit, letter in enumerate(letters) if value >> bit & 1)


@cache
def layout_names(module: str, layer: str, field: str) -> tuple[str, ...]:
    """The names of a flags field, lowest bit first."""
    for candidate in _definition(module, layer).fields_desc:
        if candidate.name == field:
            return tuple(candidate.names)
    raise LookupError(f"scapy's {layer} has no field {field}")
