"""Frames on the stream between the plugin and the agent (and between the agent and its nodes).

A frame is two big-endian 32-bit lengths, a JSON header and a binary body. Standard library only:
the agent imports this module inside the reference network's kernel.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

LENGTHS = struct.Struct(">II")

#: Bytes the plugin may have under way to the agent before they are acknowledged. A UML serial line
#: loses what its 4 KiB line buffer can't take, so the sender stays well below that.
WINDOW = 1024


def encode(header: dict[str, Any], body: bytes = b"") -> bytes:
    """One frame."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return LENGTHS.pack(len(head), len(body)) + head + body


class Decoder:
    """Takes bytes as they come, gives whole frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, piece: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        self._held += piece
        while len(self._held) >= LENGTHS.size:
            head, body = LENGTHS.unpack_from(self._held)
            end = LENGTHS.size + head + body
            if len(self._held) < end:
                return
            header = json.loads(self._held[LENGTHS.size : LENGTHS.size + head])
            content = bytes(self._held[LENGTHS.size + head : end])
            del self._held[:end]
            yield header, content
