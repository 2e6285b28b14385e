"""What held connections sent again around a gap, and at which points that was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_k8snet.claims.outage_ledger import lines, where_lost
from pytest_k8snet.evidence.outage import HELD_PORTS, OutageLab
from tests.outage.scenes import END, GAP, gap, legs, segment, watch

DROPPED = "the kernel dropped 3 of its packets"


def held(
    path: str = "pod", *, steps: Sequence[int], at: Sequence[float], **more: Any
) -> dict[int, list[Any]]:
    """A request every 50 ms around the gap at every step, and one of sequence number 99000 at ``steps``."""
    found = {}
    for step, _ in enumerate(legs(path)):
        usual = [
            segment(path, step, position * 0.05, 50_000 + position * 60) for position in (-8, -6, -4, 8, 10)
        ]
        again = [segment(path, step, when, 99_000, **more) for when in at] if step in steps else []
        found[step] = usual + again
    return found


def again(lab: OutageLab) -> list[str]:
    listed = lines(lab, lab.paths[0].path, GAP, END)
    (start,) = (number for number, line in enumerate(listed) if line.startswith("held connection"))
    return listed[start:]


def test_what_a_held_connection_sent_again() -> None:
    lab = watch("pod", gap(reach=2), held=held(steps=(0, 1), at=(0.012, 0.217, 0.62)))
    heading, row = again(lab)
    assert heading == "held connection, what was sent again: ms after each point's first sighting of it"
    assert row.split() == ["+12", "20100", "0", "205", "608", "0", "205", "608", "-", "-", "request"]


def test_what_came_through_in_the_end_is_shown_too() -> None:
    frames = held(steps=(0, 1), at=(0.0, 0.2, 0.6))
    for step in (2, 3):
        frames[step].append(segment("pod", step, 0.6, 99_000))
    assert again(watch("pod", gap(), held=frames))[1].split()[2:] == [
        "0",
        "200",
        "600",
        "0",
        "200",
        "600",
        "0",
        "0",
        "request",
    ]


def test_an_answer_that_was_sent_again() -> None:
    frames = held(steps=(), at=())
    for step in range(4):
        usual = [
            segment("pod", step, position * 0.05, 700 + position, answer=True, ack=50_060 + position * 60)
            for position in (-8, -6, 8)
        ]
        lost = [segment("pod", step, when, 800, answer=True, ack=50_060) for when in (0.0, 0.21)]
        frames[step] += usual + (lost if step >= 2 else [])
    row = again(watch("pod", gap(back=2), held=frames))[1]
    assert row.split() == [str(HELD_PORTS["pod"][0]), "-", "-", "0", "210", "0", "210", "answer"]


def test_a_translated_port_hides_a_held_connection_and_nobody_says_that_it_was_lost() -> None:
    frames = held("nodeport", steps=(0, 1), at=(0.012, 0.217))
    frames[2] = frames[3] = frames[4] = []
    assert again(watch("nodeport", gap(), held=frames))[1].split()[2:] == [
        "0",
        "205",
        "0",
        "205",
        "?",
        "?",
        "?",
        "request",
    ]


def test_a_held_connection_of_another_path_is_not_this_one_s() -> None:
    frames = held(steps=(0, 1), at=(0.012, 0.217), port=HELD_PORTS["clusterip"][0])
    assert again(watch("pod", gap(), held=frames)) == ["held connection: nothing was sent again"]


def test_a_held_connection_that_nobody_could_see() -> None:
    lab = watch("pod", gap(), flaws={"source-veth": DROPPED}, held=held(steps=(), at=()))
    assert again(lab) == [
        f"held connection: k8s-node2 calia5814ebbae9 can't tell what was sent again: {DROPPED}"
    ]


@pytest.mark.parametrize(
    "unseen",
    [{"failed": ["target-uplink"]}, {"flaws": {"target-uplink": DROPPED}}],
    ids=["failed", "dropped"],
)
def test_a_point_that_can_t_tell_is_asked_of_held_connections_too(unseen: dict[str, Any]) -> None:
    lab = watch("pod", gap(), held=held(steps=(0, 1), at=(0.0, 0.2)), **unseen)
    assert again(lab)[1].split()[2:] == ["0", "200", "0", "200", "?", "-", "request"]


def test_only_its_own_kind_proves_that_a_segment_was_not_there() -> None:
    """Point 3 shows the answers of this connection and the requests of another, but none of its own."""
    frames = held(steps=(0, 1), at=(0.0, 0.2))
    other = HELD_PORTS["pod"][1]
    frames[0].append(segment("pod", 0, -0.3, 7_000, port=other))
    frames[2] = [
        segment("pod", 2, -0.3, 7_000, port=other),
        segment("pod", 2, -0.3, 700, answer=True, ack=50_060),
    ]
    assert again(watch("pod", gap(), held=frames))[1].split()[2:] == [
        "0",
        "200",
        "0",
        "200",
        "?",
        "-",
        "request",
    ]


def test_answers_of_other_connections_are_not_shown() -> None:
    """Other paths' held connections come by the same points."""
    frames = held(steps=(), at=())
    frames[2] += [segment("pod", 2, when, 800, answer=True, ack=2_000_000_000) for when in (0.0, 0.21)]
    assert again(watch("pod", gap(), held=frames)) == ["held connection: nothing was sent again"]


def test_what_was_sent_again_long_before_is_not_shown() -> None:
    lab = watch("pod", gap(), held=held(steps=(0, 1, 2, 3), at=(-0.9, -0.7)))
    assert again(lab) == ["held connection: nothing was sent again"]


def test_a_held_connection_that_is_made_anew_is_no_attempt() -> None:
    syn = segment("pod", 0, 0.15, 12_345, flags="S")
    lab = watch("pod", gap(reach=2), held={0: [syn]})
    assert [ending.count for ending in where_lost(lab, "pod", GAP, END)] == [6]
    assert not any("20100" in row for row in lines(lab, "pod", GAP, END))
