"""Frames survive any cut of the stream."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_k8snet.embedded.framing import Decoder, encode

FRAMES = st.lists(
    st.tuples(st.dictionaries(st.text(max_size=5), st.integers(), max_size=3), st.binary(max_size=50)),
    max_size=5,
)


@given(FRAMES, st.integers(1, 9))
def test_frames_come_out_as_they_went_in_however_the_bytes_arrive(
    frames: list[tuple[dict[str, int], bytes]], piece: int
) -> None:
    stream = b"".join(encode(header, body) for header, body in frames)
    decoder = Decoder()
    out: list[tuple[dict[str, Any], bytes]] = []
    for start in range(0, len(stream), piece):
        out += decoder.feed(stream[start : start + piece])
    assert out == frames


def test_half_a_frame_is_no_frame() -> None:
    decoder = Decoder()
    assert list(decoder.feed(encode({"op": "run"}, b"body")[:-1])) == []
    assert list(decoder.feed(b"y")) == [({"op": "run"}, b"body")]
