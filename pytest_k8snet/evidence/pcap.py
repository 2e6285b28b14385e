"""The classic pcap file (draft-ietf-opsawg-pcap): its records, or a ``ParseError`` where it was cut."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from pytest_k8snet.evidence.errors import ParseError

WHAT = "pcap"
FILE_HEADER = 24
RECORD_HEADER = 16
LARGEST_RECORD = 262_144  #: libpcap's MAXIMUM_SNAPLEN: a longer record is a broken file
#: magic number as it stands in the file -> (byte order, fractions of a second)
MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000_000),
}
PCAPNG = b"\x0a\x0d\x0d\x0a"


class Cut(ParseError):
    """The file ends inside a record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One frame. ``length`` is its size on the wire; ``content`` is shorter where the snaplen cut it."""

    number: int
    time: float
    content: bytes
    length: int


def link_type(content: bytes) -> int:
    """The file's LINKTYPE_ number. Raises ParseError when this is no whole pcap file header."""
    order, _ = _byte_order(content)
    (network,) = struct.unpack_from(order + "I", content, 20)
    # The upper half says whether frames end in a checksum; IP's own length keeps that out of payloads.
    return int(network & 0xFFFF)


def records(content: bytes) -> Iterator[Record]:
    """Every frame in file order. Raises ParseError where the file ends inside a record."""
    for number, (begin, end, time, length) in enumerate(_spans(content), 1):
        yield Record(number, time, content[begin + RECORD_HEADER : end], length)


def count(content: bytes) -> int:
    """The number of frames. Raises ParseError like :func:`records`."""
    return sum(1 for _ in _spans(content))


def window(content: bytes, start: float, end: float) -> bytes:
    """The same file with only the frames of ``start <= time <= end`` (seconds since the epoch).

    For files that are too long to decode whole. A last record that is cut is left out: whoever kept the file
    knows that it is cut. Raises ParseError otherwise like :func:`records`.
    """
    _byte_order(content)
    kept = [content[:FILE_HEADER]]
    with suppress(Cut):
        for begin, after, time, _ in _spans(content):
            if start <= time <= end:
                kept.append(content[begin:after])
    return b"".join(kept)


def _spans(content: bytes) -> Iterator[tuple[int, int, float, int]]:
    """Of each record: where its header begins and its frame ends, its time, the frame's size on the wire."""
    order, fractions = _byte_order(content)
    header = struct.Struct(order + "IIII")
    position = FILE_HEADER
    number = 0
    while position < len(content):
        number += 1
        begin = position
        if position + RECORD_HEADER > len(content):
            raise Cut(WHAT, f"cut inside the header of packet {number}")
        seconds, fraction, captured, length = header.unpack_from(content, position)
        position += RECORD_HEADER
        if captured > LARGEST_RECORD or captured > length or fraction >= fractions:
            raise ParseError(
                WHAT,
                f"packet {number} has an impossible header",
                f"{captured} of {length} bytes at {seconds} s + {fraction}/{fractions}",
            )
        if position + captured > len(content):
            raise Cut(
                WHAT,
                f"cut inside packet {number}: {len(content) - position} of {captured} bytes are there",
            )
        position += captured
        yield begin, position, seconds + fraction / fractions, length


def _byte_order(content: bytes) -> tuple[str, int]:
    if not content:
        raise ParseError(WHAT, "empty: the capture ended before it wrote a file header")
    if content[:4] == PCAPNG:
        raise ParseError(WHAT, "this is pcapng; write classic pcap (tcpdump -w)")
    if content[:4] not in MAGIC:
        raise ParseError(WHAT, "no pcap magic number", content[:16].hex(" "))
    if len(content) < FILE_HEADER:
        raise ParseError(WHAT, f"cut inside the file header ({len(content)} of {FILE_HEADER} bytes)")
    order, fractions = MAGIC[content[:4]]
    major, minor = struct.unpack_from(order + "HH", content, 4)
    if (major, minor) != (2, 4):
        raise ParseError(WHAT, f"version {major}.{minor}, expected 2.4")
    return order, fractions
