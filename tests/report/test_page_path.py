"""The geometry of a path's picture: what is where, and that everything has its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from pytest_k8snet.report.drawing import CaptureTold, Drawing, Sighting
from pytest_k8snet.report.page import path
from pytest_k8snet.report.page.lettering import folded, visible
from pytest_k8snet.report.page.pen import BOLD, MONO, SANS
from pytest_k8snet.report.page.shapes import Box, Mark, Picture, Text, Way
from pytest_k8snet.report.page.stops import Leg, back, ends, envelopes, there
from tests.report.told_runs import faulty, healthy

S = TypeVar("S", Box, Mark, Text, Way)

SOURCE, SERVICE, TARGET = "20.109.131.5:35096", "10.107.94.97:8080", "20.111.156.72:8080"
OUTER = "IPIP 192.168.219.23 -> 192.168.219.22"


def seen(point: str, node: str, inner: str, outer: str = "", *changes: str, ttl: int = 64) -> Sighting:
    return Sighting(point, node, "eth1", 4, 1.0, outer, inner, ttl, changes or ("unchanged",))


CLUSTERIP = Drawing(
    lab="clusterip",
    name="pod-src -> svc-clusterip:8080/hostname",
    client="pod-src",
    client_is_pod=True,
    client_node="node2",
    target="pod-dest",
    target_node="node1",
    entry_node="node2",
    asked=SERVICE,
    service="svc-clusterip",
    tunnel="ipip",
    answered=True,
    answer="200, 9 bytes",
    sightings=(
        seen("source-veth", "node2", f"{SOURCE} -> {SERVICE}", "", "sent"),
        seen(
            *("source-uplink", "node2", f"{SOURCE} -> {TARGET}", OUTER),
            *("encapsulated", f"DNAT {SERVICE} -> {TARGET}", "TTL -1"),
        ),
        seen("target-uplink", "node1", f"{SOURCE} -> {TARGET}", OUTER),
        seen("target-veth", "node1", f"{SOURCE} -> {TARGET}", "", "decapsulated", "TTL -1"),
    ),
    captures=tuple(
        CaptureTold(point, node, "eth1", "tcpdump -i eth1", packets=9, dropped=0)
        for point, node in (
            ("source-veth", "node2"),
            ("source-uplink", "node2"),
            ("target-uplink", "node1"),
            ("target-veth", "node1"),
        )
    ),
)


def picture(drawing: Drawing) -> Picture:
    """Of the request's way there."""
    return path.picture(there(drawing))


def altered(number: int, /, **fields: Any) -> Drawing:
    """CLUSTERIP with one of its sightings changed."""
    rows = list(CLUSTERIP.sightings)
    rows[number] = replace(rows[number], **fields)
    return replace(CLUSTERIP, sightings=tuple(rows))


def lost(note: str = "nothing of the request; no answer came") -> dict[str, Any]:
    return {"number": None, "time": None, "outer": "", "inner": "", "ttl": None, "changes": (), "note": note}


def boxes(drawn: Picture, look: str) -> list[Box]:
    return [shape for shape in drawn.shapes if isinstance(shape, Box) and shape.look == look]


def marks(drawn: Picture) -> list[str]:
    """From top to bottom."""
    return [mark.look for mark in sorted(_each(drawn, Mark), key=lambda mark: mark.y)]


def labels(drawn: Picture) -> list[str]:
    return [text.text for text in _each(drawn, Text)]


def ways(drawn: Picture) -> list[str]:
    return [way.look for way in _each(drawn, Way)]


def _each(drawn: Picture, kind: type[S]) -> Iterator[S]:
    return (shape for shape in drawn.shapes if isinstance(shape, kind))


# Which boxes there are.


def test_a_pod_path_has_two_nodes_and_a_node_port_three() -> None:
    found = {drawing.name: drawing for lab in healthy().labs for drawing in lab.drawings}
    counts = {name: len(boxes(picture(drawing), "node")) for name, drawing in found.items()}
    assert counts == {
        "pod-src -> pod-dest:8080/hostname": 2,
        "pod-src -> pod-dest:8080/large": 2,
        "pod-src -> svc-clusterip:8080/hostname": 2,
        "k8s-master -> k8s-node2:31080/hostname": 3,
    }


def test_a_path_on_one_node_has_one_and_says_that_the_uplinks_are_not_on_it() -> None:
    drawing = replace(
        CLUSTERIP,
        target_node="node2",
        tunnel="",
        sightings=(
            CLUSTERIP.sightings[0],
            seen(
                "target-veth", "node2", f"{SOURCE} -> {TARGET}", "", f"DNAT {SERVICE} -> {TARGET}", "TTL -1"
            ),
        ),
        captures=tuple(replace(capture, node="node2") for capture in CLUSTERIP.captures),
    )
    drawn = picture(drawing)
    assert len(boxes(drawn, "node")) == 1
    assert marks(drawn) == ["seen", "quiet", "quiet", "nat", "seen", "answered"]
    assert set(ways(drawn)) == {"seen"}
    assert labels(drawn).count("source and target node") == 1


def test_a_path_that_nobody_captured_still_has_its_ends() -> None:
    drawn = picture(replace(CLUSTERIP, sightings=(), captures=(), answered=False, answer="timed out"))
    assert len(boxes(drawn, "node")) == 2
    assert marks(drawn) == ["unanswered"]
    assert ways(drawn) == ["unseen"]
    assert "not seen to arrive" in labels(drawn)


def test_the_client_of_a_node_port_is_no_pod() -> None:
    drawn = picture(next(lab for lab in healthy().labs if lab.name == "nodeport").drawings[0])
    roles = [text.text for text in _each(drawn, Text) if text.look == "role" and "node" in text.text]
    assert roles == ["client's node", "process on the node", "entry node", "target node"]


# What is marked.


def test_nat_stands_between_the_two_sightings_and_before_the_envelope() -> None:
    drawn = picture(CLUSTERIP)
    assert marks(drawn) == ["seen", "nat", "seen", "seen", "seen", "answered"]
    told = labels(drawn)
    places = [told.index(text) for text in ("source-veth", "DNAT", "encapsulated", "source-uplink", "IPIP")]
    assert places == sorted(places)
    assert told[told.index("DNAT") + 1 :][:2] == [SERVICE, f"\u2192 {TARGET}"]
    new = [text.text for text in _each(drawn, Text) if text.look == "address new"]
    assert new == [f"\u2192 {TARGET}"] * 2  # in the NAT's box, and where the packet shows it first


def test_an_envelope_is_drawn_around_each_inner_header_that_has_one() -> None:
    drawn = picture(CLUSTERIP)
    outer, inner = boxes(drawn, "envelope"), boxes(drawn, "inner")
    assert (len(outer), len(inner)) == (2, 4)
    for around, within in zip(outer, inner[1:3], strict=True):
        assert _holds(around, within)
    assert len(boxes(drawn, "tube")) == 1


def test_two_envelopes_are_two_boxes() -> None:
    drawn = picture(altered(1, outer=f"{OUTER} around {OUTER}"))
    first, second, third = boxes(drawn, "envelope")
    assert _holds(first, second)
    assert not _holds(second, third)


def test_the_first_wrong_hop_is_framed_once_with_what_was_expected() -> None:
    row: dict[str, Any] = {
        "outer": "",
        "expected": f"{OUTER} around TCP 20.109.131.5 -> {TARGET}",
        "changes": ("TTL -1",),
    }
    drawn = picture(altered(1, first_difference=True, **row))
    assert marks(drawn).count("wrong") == 1
    (frame,) = boxes(drawn, "wrong")
    told = [text.text for text in _each(drawn, Text) if frame.y < text.y < frame.y + frame.height]
    assert told == [
        *("FIRST WRONG HOP", "packet 4", "source-uplink", "eth1", "TTL 64", SOURCE, f"\u2192 {TARGET}"),
        *("expected here", "IPIP 192.168.219.23 \u2192\u00a0192.168.219.22", "around TCP 20.109.131.5"),
        f"\u2192\u00a0{TARGET}",
    ]


def test_a_later_hop_that_differs_has_another_mark() -> None:
    assert marks(picture(altered(2, expected=OUTER))) == [
        "seen",
        "nat",
        "seen",
        "differs",
        "seen",
        "answered",
    ]


@pytest.mark.parametrize(
    ("note", "look"),
    [
        ("nothing of the request; no answer came", "absent"),
        ("not observed: tcpdump is missing", "unobserved"),
    ],
)
def test_a_point_without_a_sighting_has_its_mark_and_its_reason(note: str, look: str) -> None:
    drawn = picture(altered(2, **lost(note)))
    assert marks(drawn) == ["seen", "nat", "seen", look, "seen", "answered"]
    assert ways(drawn) == ["seen", "seen", "unseen", "unseen", "seen"]
    assert len(boxes(drawn, "absent")) == 1
    assert note in " ".join(text.text for text in _each(drawn, Text) if text.look == "note")


def test_a_capture_that_failed_without_a_row_is_shown_as_not_observed() -> None:
    captures = (
        *CLUSTERIP.captures,
        CaptureTold("other", "node1", "eth2", "tcpdump", problem="no such device"),
    )
    assert [stop.look for stop in there(replace(CLUSTERIP, captures=captures)).stops] == ["seen"] * 4 + [
        "unobserved"
    ]


def test_what_was_lost_does_not_arrive() -> None:
    drawn = picture(altered(3, **lost()))
    assert ways(drawn) == ["seen", "seen", "seen", "unseen", "unseen"]
    assert len(boxes(drawn, "pod missed")) == 1


@pytest.mark.parametrize(
    ("fields", "tunnel", "label"),
    [
        ({"outer": OUTER}, "ipip", "IPIP tunnel"),
        ({"outer": "VXLAN VNI 4096 10.0.0.1 -> 10.0.0.2"}, "vxlan", "VXLAN VNI 4096 tunnel"),
        ({"outer": ""}, "ipip", "past the IPIP tunnel"),
        ({"outer": ""}, "", "between the nodes"),
        (lost(), "ipip", "between the nodes: nothing seen"),
    ],
)
def test_the_wire_is_told_by_what_its_two_ends_show(fields: dict[str, Any], tunnel: str, label: str) -> None:
    rows = [replace(row, **fields) for row in CLUSTERIP.sightings[1:3]]
    sightings = (CLUSTERIP.sightings[0], *rows, CLUSTERIP.sightings[3])
    assert label in labels(picture(replace(CLUSTERIP, tunnel=tunnel, sightings=sightings)))


# That everything has its place.

LONG = "[fd00:1234:5678:9abc:def0:1234:5678:9abc]:35096"
CROWDED = replace(
    CLUSTERIP,
    client="a-deployment-with-a-name-of-some-length-7d9c5b8f6d-x2x9z",
    client_node="ip-10-0-12-34.eu-central-1.compute.internal",
    target_node="k" * 200,
    asked=LONG,
    answer="Failed to connect to the server after a time that was longer than it should be " * 9,
    answered=False,
    sightings=tuple(
        replace(
            row,
            inner=f"{LONG} -> {LONG[:-5]}31080",
            outer=" around ".join(["VXLAN VNI 16777215 " + f"{LONG[1:-7]} -> {LONG[1:-7]}"] * 30),
            changes=(f"DNAT {LONG} -> {LONG[:-5]}1", "envelope changed", "TTL -1", "x" * 99, "TTL +3"),
            interface="enp0s31f6.40941",
            expected="TCP " * 200,
            first_difference=number == 2,
        )
        for number, row in enumerate(CLUSTERIP.sightings)
    ),
)


# The answer's way back.

ANSWERED = replace(
    CLUSTERIP,
    replies=(
        seen("target-veth", "node1", f"{TARGET} -> {SOURCE}", "", "sent"),
        seen(
            *("target-uplink", "node1", f"{TARGET} -> {SOURCE}", "IPIP 192.168.219.22 -> 192.168.219.23"),
            *("encapsulated", "TTL -1"),
        ),
        seen("source-uplink", "node2", f"{TARGET} -> {SOURCE}", "IPIP 192.168.219.22 -> 192.168.219.23"),
        seen(
            *("source-veth", "node2", f"{SERVICE} -> {SOURCE}", ""),
            *("decapsulated", f"un-DNAT {TARGET} -> {SERVICE}", "TTL -1"),
        ),
    ),
)


def back_of(drawing: Drawing) -> Leg:
    leg = back(drawing)
    assert leg is not None
    return leg


def answered(number: int, /, **fields: Any) -> Drawing:
    """ANSWERED with one sighting of the answer changed."""
    rows = list(ANSWERED.replies)
    rows[number] = replace(rows[number], **fields)
    return replace(ANSWERED, replies=tuple(rows))


def test_where_no_answer_is_due_there_is_no_way_back() -> None:
    assert back(CLUSTERIP) is None


def test_the_way_back_goes_from_the_target_to_the_client() -> None:
    drawn = path.picture(back_of(ANSWERED))
    assert marks(drawn) == ["seen", "seen", "seen", "nat", "seen"]
    told = labels(drawn)
    places = [told.index(text) for text in ("node1", "answers", "IPIP tunnel", "node2", "un-DNAT")]
    assert places == sorted(places)
    assert [text.text for text in _each(drawn, Text) if text.look == "name"] == ["pod-dest", "pod-src"]
    assert [text.text for text in _each(drawn, Text) if text.look == "role" and "node" in text.text] == [
        *("target node", "source node")
    ]
    assert "not seen to arrive" not in told
    assert set(ways(drawn)) == {"seen"}


def test_an_answer_past_the_tunnel_is_told_on_its_wire() -> None:
    rows = [replace(row, outer="") for row in ANSWERED.replies]
    assert "past the IPIP tunnel" in labels(path.picture(back_of(replace(ANSWERED, replies=tuple(rows)))))


def test_an_answer_that_is_lost_does_not_reach_the_client() -> None:
    drawn = path.picture(back_of(answered(3, **lost())))
    assert len(boxes(drawn, "pod missed")) == 1
    assert "not seen to arrive" in labels(drawn)


def test_of_both_ways_only_one_hop_is_the_first_wrong_one() -> None:
    wrong = answered(1, first_difference=True, expected="plain")
    assert marks(path.picture(back_of(wrong))).count("wrong") == 1
    both = replace(wrong, sightings=altered(2, first_difference=True, expected=OUTER).sightings)
    assert marks(picture(both)).count("wrong") == 1
    assert marks(path.picture(back_of(both))).count("wrong") == 0
    assert marks(path.picture(back_of(both))).count("differs") == 1


def test_each_answer_of_recorded_runs_ends_at_its_client() -> None:
    for drawing in (drawing for lab in healthy().labs for drawing in lab.drawings):
        leg = back_of(drawing)
        assert leg.stops[0].node == drawing.target_node
        assert leg.stops[-1].node == drawing.client_node
        assert set(ways(path.picture(leg))) == {"seen"}


def pictures() -> Iterator[Picture]:
    for drawing in drawings():
        for leg in (there(drawing), back(drawing)):
            if leg is not None:
                yield path.picture(leg)


def drawings() -> Iterator[Drawing]:
    yield CLUSTERIP
    yield ANSWERED
    yield replace(CROWDED, replies=tuple(reversed(CROWDED.sightings)))
    yield CROWDED
    yield replace(CROWDED, client_is_pod=False)
    for run in (healthy(), faulty("dnat-missing"), faulty("encapsulated-twice"), faulty("tcpdump-missing")):
        for lab in run.labs:
            yield from lab.drawings


def test_nothing_is_drawn_outside_the_picture_or_wider_than_its_letters_allow() -> None:
    for drawn in pictures():
        assert drawn.width == 340
        for shape in drawn.shapes:
            match shape:
                case Box(x, y, width, height):
                    assert x >= 0 <= y
                    assert width > 0 < height
                    assert x + width <= drawn.width
                    assert y + height <= drawn.height
                case Mark(x, y):
                    assert 8 <= x <= drawn.width - 8
                    assert 8 <= y <= drawn.height - 8
                case Way(top, bottom):
                    assert 0 < top < bottom < drawn.height
                case Text(x, y, text, look, end):
                    width = len(text) * _width(look)
                    assert (x - width if end else x) >= 0, text
                    assert (x if end else x + width) <= drawn.width, text
                    assert 0 < y < drawn.height


def _width(look: str) -> float:
    if look in ("node", "name", "answer", "point", "flag") or look.startswith("wire"):
        return BOLD * 0.95
    return MONO if look.split()[0] in ("address", "outer", "interface", "ttl", "nat") else SANS * 0.9


def test_texts_on_the_left_do_not_run_into_each_other() -> None:
    for drawn in pictures():
        left = [text for text in _each(drawn, Text) if not text.end]
        lines: dict[float, list[Text]] = {}
        for text in left:
            lines.setdefault(text.y, []).append(text)
        for line in lines.values():
            for before, after in pairwise(sorted(line, key=lambda text: text.x)):
                assert before.x + len(before.text) * MONO * 0.95 <= after.x, (before, after)
        rows = sorted(lines)
        assert all(below - above >= 5 for above, below in pairwise(rows))


def test_boxes_nest_or_stay_apart() -> None:
    for drawn in pictures():
        found = [shape for shape in _each(drawn, Box) if shape.look not in ("tube",)]
        for number, one in enumerate(found):
            for other in found[number + 1 :]:
                apart = (
                    one.y + one.height <= other.y
                    or other.y + other.height <= one.y
                    or one.x + one.width <= other.x
                    or other.x + other.width <= one.x
                )
                assert apart or _holds(one, other) or _holds(other, one), (one, other)


def _holds(around: Box, within: Box) -> bool:
    return (
        around.x <= within.x
        and around.y <= within.y
        and within.x + within.width <= around.x + around.width
        and within.y + within.height <= around.y + around.height
    )


# Letters.


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("", 9, [""]),
        ("plain TCP", 9, ["plain TCP"]),
        ("plain TCP", 8, ["plain", "TCP"]),
        ("20.109.131.5:35096", 18, ["20.109.131.5:35096"]),
        ("a 20.109.131.5:35096", 18, ["a", "20.109.131.5:35096"]),
        ("[fd00:1234::9abc]:35096", 14, ["[fd00:1234::", "9abc]:35096"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("one\ntwo", 9, ["one", "two"]),
        ("a\tb", 9, ["a b"]),
        ("a\u00a0b c", 4, ["a\u00a0b", "c"]),
    ],
)
def test_lines_end_at_spaces_and_words_are_cut_where_they_have_a_joint(
    text: str, columns: int, lines: list[str]
) -> None:
    assert folded(text, columns) == lines


def test_what_is_too_long_ends_in_dots() -> None:
    assert folded("one two three four", 5, 2) == ["one", "tw..."]
    assert folded("one two", 5, 2) == ["one", "two"]
    with pytest.raises(ValueError, match="no text fits into 2 lines of 3 columns"):
        folded("one", 3, 2)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u00e4\n\t", "plain \u00e4\n\t"),
        ("\x00\x1b[0m\r\x7f", "\u2400\u241b[0m\u240d\u2421"),
        ("a\u202eb\u200bc\u2066\x85", "a<U+202E>b<U+200B>c<U+2066><U+0085>"),
        ("\udcff\ufffe", "\ufffd\ufffd"),
    ],
)
def test_nothing_in_a_text_is_invisible(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


@pytest.mark.parametrize(
    ("outer", "found"),
    [
        ("", []),
        (OUTER, [("IPIP", "192.168.219.23 -> 192.168.219.22")]),
        ("VXLAN VNI 4096 fd00::1 -> fd00::2", [("VXLAN VNI 4096", "fd00::1 -> fd00::2")]),
        (f"{OUTER} around {OUTER}", [("IPIP", "192.168.219.23 -> 192.168.219.22")] * 2),
        ("something else", [("", "something else")]),
    ],
)
def test_envelopes_are_read_from_outside_in(outer: str, found: list[tuple[str, str]]) -> None:
    assert envelopes(outer) == found


def test_the_ends_of_a_header() -> None:
    assert ends(f"{SOURCE} -> {TARGET}") == (SOURCE, TARGET)
    assert ends("ICMP") == ("ICMP", "")


def test_a_note_on_a_seen_packet_stands_below_it() -> None:
    drawn = picture(altered(2, note="only the handshake's answer"))
    assert marks(drawn) == ["seen", "nat", "seen", "seen", "seen", "answered"]
    assert "only the handshake's answer" in labels(drawn)


def test_what_conntrack_undoes_is_drawn_as_nat_too() -> None:
    drawn = path.picture(back_of(answered(3, changes=("decapsulated", f"un-DNAT {TARGET} -> {SERVICE}"))))
    assert marks(drawn).count("nat") == 1
    told = labels(drawn)
    assert told[told.index("un-DNAT") + 1 :][:2] == [TARGET, f"\u2192 {SERVICE}"]
