"""The file around the packets: every number of its headers, and where it may be cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8snet.evidence import pcap
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.pcap import Record, count, link_type, records, window

LARGEST = 262_144
FORMATS = [
    ("<", 0xA1B2C3D4, 10**6),
    (">", 0xA1B2C3D4, 10**6),
    ("<", 0xA1B23C4D, 10**9),
    (">", 0xA1B23C4D, 10**9),
]


def header(
    order: str = "<", magic: int = 0xA1B2C3D4, *, network: int = 1, version: tuple[int, int] = (2, 4)
) -> bytes:
    return struct.pack(order + "IHHiIII", magic, *version, 0, 0, LARGEST, network)


def record(content: bytes, *, order: str = "<", fraction: int = 0, length: int | None = None) -> bytes:
    said = len(content) if length is None else length
    return struct.pack(order + "IIII", 5, fraction, len(content), said) + content


@pytest.mark.parametrize(("order", "magic", "per_second"), FORMATS)
def test_a_record_s_time_is_exact(order: str, magic: int, per_second: int) -> None:
    for fraction in (0, 1, per_second // 2, per_second - 1):
        file = header(order, magic) + record(b"ab", order=order, fraction=fraction, length=60)
        assert list(records(file)) == [Record(1, 5 + fraction / per_second, b"ab", 60)]
    with pytest.raises(ParseError, match=f"packet 1 has an impossible header .*{per_second}/{per_second}"):
        list(records(header(order, magic) + record(b"ab", order=order, fraction=per_second)))


def test_records_come_in_file_order() -> None:
    file = header() + record(b"first") + record(b"") + record(b"third")
    assert [(found.number, found.content) for found in records(file)] == [
        (1, b"first"),
        (2, b""),
        (3, b"third"),
    ]
    assert list(records(header())) == []


def test_the_largest_record() -> None:
    (found,) = records(header() + record(bytes(LARGEST)))
    assert found.length == LARGEST
    with pytest.raises(ParseError, match="packet 1 has an impossible header"):
        list(records(header() + record(bytes(LARGEST + 1))))


def test_a_record_is_never_longer_than_its_frame_was() -> None:
    assert [found.length for found in records(header() + record(b"abc", length=3))] == [3]
    with pytest.raises(ParseError, match=r"impossible header .*3 of 2 bytes at 5 s \+ 0/1000000"):
        list(records(header() + record(b"abc", length=2)))


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        (1, "cut inside the header of packet 2"),
        (15, "cut inside the header of packet 2"),
        (16, "cut inside packet 2: 0 of 10 bytes are there"),
        (25, "cut inside packet 2: 9 of 10 bytes are there"),
    ],
)
def test_a_cut_says_where(kept: int, problem: str) -> None:
    file = header() + record(b"0123456789")
    found = records(file + file[24 : 24 + kept])
    assert next(found).number == 1
    with pytest.raises(ParseError, match=problem):
        next(found)


@pytest.mark.parametrize(("order", "magic", "per_second"), FORMATS)
def test_the_link_type_is_the_lower_half(order: str, magic: int, per_second: int) -> None:
    """The upper one says how long a frame's checksum is (draft-ietf-opsawg-pcap, 4)."""
    assert link_type(header(order, magic, network=276)) == 276
    assert link_type(header(order, magic, network=0x2400_0000 + 0xFFFF)) == 0xFFFF


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\x0a\x0d\x0d\x0a" + bytes(30), "this is pcapng"),
        (header()[:23], r"cut inside the file header \(23 of 24 bytes\)"),
        (header()[:4], r"cut inside the file header \(4 of 24 bytes\)"),
        (header(version=(2, 3)), "version 2.3, expected 2.4"),
        (header(version=(2, 5)), "version 2.5, expected 2.4"),
        (header(version=(1, 4)), "version 1.4, expected 2.4"),
        (header(version=(3, 4)), "version 3.4, expected 2.4"),
    ],
)
def test_a_file_header_of_another_kind(content: bytes, problem: str) -> None:
    for read in (link_type, lambda file: list(records(file))):
        with pytest.raises(ParseError, match=problem):
            read(content)


def test_an_unknown_magic_number_is_shown() -> None:
    for first in (0x00, 0xFF):  # on either side of pcapng's
        content = bytes([first, *range(1, 40)])
        with pytest.raises(ParseError, match="no pcap magic number") as caught:
            link_type(content)
        assert caught.value.near == content[:16].hex(" ")
    assert caught.value.what == pcap.WHAT


@pytest.mark.parametrize(("order", "magic", "per_second"), FORMATS)
def test_a_window_keeps_both_of_its_ends(order: str, magic: int, per_second: int) -> None:
    half = per_second // 2
    frames = [record(b"%d" % number, order=order, fraction=number * half // 2) for number in range(4)]
    file = header(order, magic) + b"".join(frames)  # at 5, 5.25, 5.5 and 5.75 s
    assert window(file, 5.25, 5.5) == header(order, magic) + frames[1] + frames[2]
    assert window(file, 5.26, 5.49) == header(order, magic)
    assert window(file, 0, 9) == file


@given(
    times=st.lists(st.integers(0, 10**6 - 1), max_size=20),
    start=st.integers(-1, 10**6),
    size=st.integers(-1, 10**6),
)
def test_a_window_is_the_same_as_looking_at_all(times: list[int], start: int, size: int) -> None:
    """Whatever the order: a capture's packets are not always in that of their times."""
    file = header() + b"".join(record(b"%d" % number, fraction=time) for number, time in enumerate(times))
    begin, end = 5 + start / 10**6, 5 + (start + size) / 10**6
    kept = [found for found in records(file) if begin <= found.time <= end]
    windowed = window(file, begin, end)
    assert [(found.time, found.content, found.length) for found in records(windowed)] == [
        (found.time, found.content, found.length) for found in kept
    ]
    assert (count(file), count(windowed)) == (len(times), len(kept))


@pytest.mark.parametrize("missing", [1, 9, 10, 11, 25])
def test_a_window_of_a_cut_file_has_what_is_whole(missing: int) -> None:
    file = header() + record(b"first") + record(b"0123456789")
    assert window(file[:-missing], 0, 9) == header() + record(b"first")
    with pytest.raises(ParseError, match="cut inside"):
        count(file[:-missing])


def test_a_window_of_no_capture() -> None:
    for content in (b"", b"hello", header()[:10]):
        with pytest.raises(ParseError):
            window(content, 0, 9)
    broken = record(b"abc", length=2)
    with pytest.raises(ParseError, match="impossible header"):
        window(header() + broken, 0, 9)
