"""What a client printed, read again; cut or bent, refused."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.outage import (
    Alongside,
    Attempt,
    Beat,
    Clock,
    Command,
    Watched,
    parse_alongside,
    parse_watched,
)

SAID = """\
start\t1700000000.500000\t0.05
a\tclusterip\theld\t58.3\t1.0\t20110\t
a\tpod\tnew\t0.0\t2.5\t40000\t
b\t100.0\t62.5
a\tpod\tnew\t50.0\t-\t0\tENETUNREACH
end\t1200.5\t24\t3\t1
"""
KEPT = Alongside(
    Command("make upgrade", 2, 1700000001.0, 1700000009.5, "last\nwords"),
    Watched((), (Beat("", 1700000002.0, 0.3),), 1700000000.0, 1700000010.0, 200),
    (Clock("k8s-node2", -0.25, 0.004),),
)


def test_attempts_come_in_the_order_in_which_they_were_sent() -> None:
    watched = parse_watched(SAID, "k8s-node2")
    assert watched.attempts == (
        Attempt("pod", "new", 1700000000.5, 0.0025, 40000),
        Attempt("pod", "new", 1700000000.55, None, 0, "ENETUNREACH"),
        Attempt("clusterip", "held", 1700000000.5583, 0.001, 20110),
    )
    assert watched.beats == (Beat("k8s-node2", 1700000000.6, 0.0625),)
    assert (watched.began, watched.ended, watched.beaten) == (1700000000.5, 1700000001.7005, 24)
    assert parse_watched(SAID.encode(), "k8s-node2") == watched


def test_a_control_only_beats() -> None:
    watched = parse_watched("start\t1.0\t0.05\n" + "b\t50.0\t30.0\nend\t90.0\t2\t0\t1\n", "k8s-node1")
    assert (watched.attempts, len(watched.beats), watched.beaten) == ((), 1, 2)


@pytest.mark.parametrize("size", range(0, len(SAID), 7))
def test_what_was_cut_is_refused(size: int) -> None:
    with pytest.raises(ParseError, match="cut"):
        parse_watched(SAID[:size], "k8s-node2")


@pytest.mark.parametrize("line", range(6))
def test_a_line_too_few_is_refused(line: int) -> None:
    lines = SAID.splitlines(keepends=True)
    with pytest.raises(ParseError):
        parse_watched("".join(lines[:line] + lines[line + 1 :]), "k8s-node2")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("start", "begin", "does not begin"),
        ("1700000000.500000", "today", "not a number"),
        ("1700000000.500000", "inf", "no number that can be"),
        ("a\tpod", "c\tpod", "neither an attempt nor a beat"),
        ("\t40000\t\n", "\t40000\n", "neither an attempt nor a beat"),
        ("pod\tnew", "pods\tnew", "unknown path or kind"),
        ("pod\tnew", "pod\told", "unknown path or kind"),
        ("40000", "70000", "not a number"),
        ("40000", "http", "not a number"),
        ("\t0.0\t2.5", "\t0.0\t-2.5", "no number that can be"),
        ("\t-\t0\tENETUNREACH", "\t-\t0\t", "answered or has an error"),
        ("\t2.5\t40000\t", "\t2.5\t40000\tECONNRESET", "answered or has an error"),
        ("b\t100.0\t62.5", "b\t100.0\tnan", "no number that can be"),
        ("\t24\t3\t1", "\t24\t4\t1", "3 attempts and 1 late beats arrived of 4 and 1"),
        ("\t24\t3\t1", "\t24\t3\t0", "arrived of 3 and 0"),
        ("\t24\t3\t1", "\t0\t3\t1", "contradicts"),
        ("\t24\t3\t1", "\tmany\t3\t1", "not a number"),
        ("end\t1200.5", "end\t40.0", "contradicts"),
    ],
)
def test_what_does_not_add_up_is_refused(old: str, new: str, problem: str) -> None:
    assert old in SAID
    with pytest.raises(ParseError, match=problem):
        parse_watched(SAID.replace(old, new, 1), "k8s-node2")


def test_what_was_kept_beside_the_clients_comes_back() -> None:
    assert parse_alongside(KEPT.written()) == KEPT


@pytest.mark.parametrize("field", ["command", "control", "clocks"])
def test_what_was_kept_in_part_is_refused(field: str) -> None:
    fields = dataclasses.asdict(KEPT)
    for bent in (None, 3, [{"no": "such field"}]):
        with pytest.raises(ParseError, match="not what a watch keeps"):
            parse_alongside(json.dumps(fields | {field: bent}).encode())
    with pytest.raises(ParseError):
        parse_alongside(KEPT.written()[:40])


def test_a_control_here_has_times_that_can_be() -> None:
    with pytest.raises(ParseError, match="no number that can be"):
        parse_alongside(KEPT.written().replace(b'"began": 1700000000.0', b'"began": -1'))
