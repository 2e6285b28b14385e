"""The lines that end a run: plain in a pipe, drawn to a terminal's width, whole and coloured in CI's log."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from pytest_k8snet.meaning.comparison import Allowed, Change, Comparison
from pytest_k8snet.report.account import ToldClaim, ToldLab
from pytest_k8snet.report.drawing import Drawing, Sighting
from pytest_k8snet.report.plain import Plain
from pytest_k8snet.report.screen import Screen
from pytest_k8snet.report.summary import Summary, WrongHop, one_line, wrong_hops
from tests.matrix.replayed import recorded
from tests.plugin import stand_in
from tests.plugin.conftest import lab_file
from tests.report.drawings import POD_NETWORK

NAME = "pod-src -> pod-dest:8080/hostname"
ROW = "20.109.131.5:47590 -> 20.111.156.72:8080"


def claim(name: str, outcome: str = "held", **judged: str) -> ToldClaim:
    return ToldClaim(f"test::{name}", name, "", outcome, judged)


def lab(name: str, *claims: ToldClaim, drawings: tuple[Drawing, ...] = ()) -> ToldLab:
    return ToldLab(name, list(claims), 1.25, drawings=list(drawings))


def drawing(*sightings: Sighting, name: str = NAME) -> Drawing:
    return replace(POD_NETWORK, name=name, sightings=sightings)


SENT = Sighting("source-veth", "k8s-node2", "calia", 1, 1.0, "", ROW, 64)
BARE = Sighting(
    *("source-uplink", "k8s-node2", "eth1", 4, 1.0, "", ROW, 63),
    expected="IPIP 192.168.219.23 -> 192.168.219.22",
    first_difference=True,
)


def on_the_ledger(row: str = ROW) -> dict[str, str]:
    """A verdict on a later hop of the request whose ledger stands in its details."""
    return {
        "where": "k8s-node1 eth1",
        "expected": "k8s-node1 eth1: IPIP",
        "seen": "packet 2: TCP",
        "details": f"{NAME}\nsource-uplink  k8s-node2  eth1  -  {row}",
    }


def text(pieces: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", pieces)


def screen(summary: Summary, width: int | None = 80, **how: Any) -> list[str]:
    return list(Screen(width, **{"colour": False, "encoding": "utf-8", **how}).told(summary))


# --- what is told -------------------------------------------------------------------------------------------


def test_the_first_wrong_hop_is_the_request_s_that_the_verdict_rests_on() -> None:
    told = lab("pod-network", claim("a/b", "broken", **on_the_ledger()), drawings=(drawing(SENT, BARE),))
    assert wrong_hops([told]) == [
        WrongHop(
            ("a/b",),
            "k8s-node2 eth1",
            "IPIP 192.168.219.23 -> 192.168.219.22",
            "plain TCP 20.109.131.5 -> 20.111.156.72:8080",
        )
    ]


@pytest.mark.parametrize(
    ("judged", "drawn"),
    [
        (on_the_ledger(), ()),
        (on_the_ledger(), (drawing(SENT),)),  # no hop of it differs
        (on_the_ledger(), (drawing(SENT, BARE, name="pod-src -> pod-dest:8080/large"),)),
        (on_the_ledger("20.109.131.5:1 -> 20.111.156.72:8080"), (drawing(SENT, BARE),)),  # another, alike
        ({**on_the_ledger(), "details": ""}, (drawing(SENT, BARE),)),
    ],
)
def test_a_verdict_on_something_else_speaks_for_itself(
    judged: dict[str, str], drawn: tuple[Drawing, ...]
) -> None:
    told = lab("pod-network", claim("a/b", "broken", **judged), drawings=drawn)
    assert wrong_hops([told]) == [WrongHop(("a/b",), "k8s-node1 eth1", "IPIP", "packet 2: TCP")]


@pytest.mark.parametrize(
    ("note", "seen"),
    [
        ("nothing of it; 2 packets captured: a, b; no answer came: it was lost", "nothing of it"),
        ("not seen here", "nothing in that form"),
    ],
)
def test_a_hop_that_saw_nothing(note: str, seen: str) -> None:
    lost = drawing(SENT, replace(BARE, number=None, inner="", note=note))
    told = lab("x", claim("a/b", "broken", **on_the_ledger(note)), drawings=(lost,))
    assert [hop.seen for hop in wrong_hops([told])] == [seen]


def test_equal_first_wrong_hops_are_told_once() -> None:
    cause = {"cause": "a route bypasses the tunnel", "diagnosis": "route-bypasses-tunnel"}
    again = replace(BARE, inner=ROW.replace("47590", "5"))
    labs = [
        lab(
            "p", claim("p/a", "broken", **on_the_ledger(), **cause), claim("p/ok"), drawings=(drawing(BARE),)
        ),
        lab(
            "c",
            claim("c/a", "broken", **on_the_ledger(again.inner), **cause),
            claim("c/b", "broken", where="k8s-node2", expected="k8s-node2: x", seen="k8s-node2: y\nand more"),
            claim("c/can-not-tell", "inconclusive", seen="?"),
            drawings=(drawing(again),),
        ),
    ]
    first, second = Plain().hops(wrong_hops(labs))
    assert first == (
        "broken  p/a, c/a  k8s-node2 eth1: expected IPIP 192.168.219.23 -> 192.168.219.22, "
        "seen plain TCP 20.109.131.5 -> 20.111.156.72:8080; "
        "cause: a route bypasses the tunnel (route-bypasses-tunnel)"
    )
    assert second == "broken  c/b  k8s-node2: expected x, seen y"


def test_a_real_fault_by_its_first_wrong_hop(
    pytester: pytest.Pytester,
) -> None:
    with tarfile.open(recorded("direct-routes")) as archive:
        archive.extractall(pytester.path, filter="data")
    result = pytester.runpytest_inprocess(
        "--k8snet", "--k8snet-replay=direct-routes", "--color=no", "-p", "no:cacheprovider"
    )
    result.stdout.fnmatch_lines(
        [
            "pause        9 held in *",
            "pod-network  6 held, 4 broken, 1 inconclusive in *",
            "broken  pod-network/route-via-tunnel  k8s-node2 eth1: expected 20.111.156.72 via 192.168.219.22"
            " on its ipip tunnel, seen via 192.168.219.22 dev eth1 (kind veth);"
            " cause: k8s-node2 sends packets for 20.111.156.72 via *(route-bypasses-tunnel)",
            "broken  pod-network/encapsulated-on-source-uplink, pod-network/encapsulated-on-target-uplink,"
            " pod-network/reply-encapsulated, clusterip/dnat-before-uplink  k8s-node2 eth1: expected IPIP"
            " 192.168.219.23 -> 192.168.219.22 around TCP 20.109.131.5 -> 20.111.156.72:8080,"
            " seen plain TCP 20.109.131.5 -> 20.111.156.72:8080; cause: *(route-bypasses-tunnel)",
            "INCONCLUSIVE scenarios/pod_network/test_pod_network.py::test_mtu_fits",
        ]
    )


def test_outages_are_measured_also_when_held() -> None:
    told = lab("outage", claim("outage/pod-new", seen="2 of 80 lost\nlongest gap 120 ms"), claim("outage/x"))
    assert list(Plain().told(Summary(labs=(told,)))) == [
        "outage  2 held in 1.2 s",
        "measured  outage/pod-new  2 of 80 lost longest gap 120 ms",
    ]


def test_paths_that_were_measured_alike_are_told_each() -> None:
    told = lab("outage", *(claim(f"outage/{path}", seen="none of 60 lost") for path in ("pod", "nodeport")))
    assert list(Plain().told(Summary(labs=(told,)))) == [
        "outage  2 held in 1.2 s",
        "measured  outage/pod  none of 60 lost",
        "measured  outage/nodeport  none of 60 lost",
    ]


def test_an_outage_lab_that_could_not_be_set_up_measured_nothing() -> None:
    why = "pod pod-src: image can't be had"
    told = lab("outage", *(claim(f"outage/{path}", "inconclusive", seen=why) for path in ("pod", "nodeport")))
    assert list(Plain().told(Summary(labs=(told,)))) == ["outage  2 inconclusive in 1.2 s"]


COMPARED = Comparison(
    "before (embedded, recorded 2026-11-20 10:12 UTC)",
    same=120,
    changes=(
        Change("version/calico", "3.30", "3.31", allowed="the upgrade"),
        Change("route/node2", "bird", "", unknown="ip timed out"),
        Change("mtu/node2/tunnel", "1480", "1450"),
        Change("nat/x", "", "a\nb"),
    ),
    left_out={"lab/pause": "not run"},
    idle=(Allowed("mtu/*", "jumbo frames"),),
)


def test_changes_since_the_baseline_unexpected_first() -> None:
    broken = claim("baseline/mtu/node2/tunnel", "broken", expected="1480", seen="1450")
    lines = list(Plain().told(Summary(labs=(lab("baseline", broken),), comparison=COMPARED)))
    assert lines == [
        "baseline  1 broken in 1.2 s",
        "since before (embedded, recorded 2026-11-20 10:12 UTC): 2 unexpected changes, 1 unknown, 1 allowed,"
        " 120 facts the same, 1 not compared",
        "changed  mtu/node2/tunnel  1480 -> 1450",
        "changed  nat/x  nothing -> a; b",
        "unknown  route/node2  was bird; ip timed out",
        "allowed  version/calico  3.30 -> 3.31  (the upgrade)",
        "idle  mtu/*  no change needed this allowance (jumbo frames)",
    ]
    assert "not compared  lab/pause  not run" in Plain(whole=True).told(Summary(comparison=COMPARED))


def test_no_difference_is_one_line() -> None:
    told = Plain().told(Summary(comparison=Comparison("before", same=1), places=(("report", "x.html"),)))
    assert list(told) == ["since before: no difference, 1 fact the same", "report: x.html"]


def test_nothing_judged_says_nothing_but_what_was_written() -> None:
    assert not list(Plain().told(Summary()))
    assert not screen(Summary())
    assert list(Plain().told(Summary(places=(("report", "run.html"),)))) == ["report: run.html"]


def test_what_a_baseline_could_not_tell_is_told_once() -> None:
    tests = ("a.py::test_b", "baseline/route/node2", "baseline/compared")
    lines = list(Plain().told(Summary(inconclusive=tests, comparison=COMPARED)))
    assert [line for line in lines if line.startswith("INCONCLUSIVE")] == [
        "INCONCLUSIVE a.py::test_b",
        "INCONCLUSIVE baseline/compared",
    ]
    assert "unknown  route/node2  was bird; ip timed out" in lines


def test_evidence_can_not_move_the_cursor() -> None:
    assert one_line("a\x1b[2J\tb\nc\ud800 ü 名") == "a\\x1b[2J b c\\ud800 ü 名"
    judged = {"where": "n\x1b[1m", "expected": "\x1b]0;x\x07", "seen": "ok"}
    told = Summary(labs=(lab("l", claim("l/a", "broken", **judged)),))
    assert "\x1b" not in "".join([*Plain().told(told), *screen(told)])


def test_an_expected_failure_gives_its_reason_alone(pytester: pytest.Pytester, my_lab: Path) -> None:
    body = "@pytest.mark.xfail(reason='known')\ndef test_a(lab, judge): judge(broken('a', 'b'))\n"
    lab_file(my_lab, body)
    result = pytester.runpytest_inprocess("--k8snet", "my_lab")
    result.stdout.fnmatch_lines(["lab my-lab was skipped as a whole: known"])


# --- how it is drawn ----------------------------------------------------------------------------------------


def many(number: int) -> Summary:
    claims = [
        claim(f"lab/{'long-' * 12}{n}", "broken", where=f"node{n} eth1", expected="名" * 60, seen="é" * 90)
        for n in range(number)
    ]
    return Summary(
        clusters=("a cluster",),
        labs=(lab("a-lab-with-a-rather-long-name-that-goes-on-and-on", *claims), lab("b", claim("b/c"))),
    )


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "iso-8859-1"])
def test_nothing_is_wider_than_the_terminal(width: int, encoding: str) -> None:
    lines = screen(many(5), width, encoding=encoding, colour=True)
    drawn = "\n".join(lines)
    assert drawn.encode(encoding)  # pytest would escape the whole line, colours too
    wide = [line for line in map(text, lines) if cell_len(line) > width]
    assert all(line.startswith("broken  lab/long") for line in wide)  # an id alone is never cut
    assert ("…" if encoding == "utf-8" else "...") in drawn
    assert not re.search(r"[\u2500-\u257f]", drawn)  # nor are there boxes
    told = [text(line).strip() for line in lines if "expected" in line]
    assert len(told) == 5
    if width >= 80:
        for number, line in enumerate(told):
            assert line.startswith(f"node{number} eth1: expected ")
            assert re.search(r", seen (é|\\x?e9){2}", line)  # what was expected leaves room for what was seen


def test_what_fits_is_on_one_line() -> None:
    hop = WrongHop(("p/a", "p/b"), "k8s-node2 eth1", "IPIP", "plain TCP", (("no-tunnel", "words"),))
    assert list(Screen(80, colour=False, encoding="utf-8").hops([hop])) == [
        "broken  p/a, p/b  k8s-node2 eth1: expected IPIP, seen plain TCP (no-tunnel)"
    ]
    assert list(Screen(60, colour=False, encoding="utf-8").hops([hop])) == [
        "broken  p/a, p/b (no-tunnel)",
        "        k8s-node2 eth1: expected IPIP, seen plain TCP",
    ]


def test_claims_beyond_the_width_are_counted() -> None:
    hop = WrongHop(tuple(f"lab/claim-{n}" for n in range(30)), "k8s-node2", "x" * 60, "y")
    first, second = Screen(80, colour=False, encoding="utf-8").hops([hop])
    assert re.fullmatch(r"broken  (lab/claim-\d, ){3}lab/claim-\d and 26 more", first)
    assert second == f"        k8s-node2: expected {'x' * 43}…, seen y"
    assert len(second) == 80


def test_two_hundred_broken_claims_fill_no_screen() -> None:
    lines = screen(many(200))
    assert len(lines) < 35
    assert lines[-1] == "broken  and 188 more first wrong hops (-v)"
    assert len(screen(many(200), whole=True)) > 400
    assert sum(line.startswith("broken") for line in Plain().told(many(200))) == 200


def test_a_run_that_can_tell_nothing_fills_no_screen() -> None:
    unknown = tuple(Change(f"route/node{n}", "bird", "", unknown="the kernel has ended") for n in range(60))
    told = Summary(
        inconclusive=tuple(f"a.py::test_{n}" for n in range(30)),
        comparison=Comparison("before", same=1, changes=unknown),
    )
    lines = screen(told)
    assert len(lines) == 27
    assert lines[12] == "INCONCLUSIVE  and 18 more (-v)"
    assert lines[26] == "unknown  and 48 more (-v)"
    assert list(map(text, screen(told, width=None))) == screen(told, whole=True) == list(Plain().told(told))


def test_a_row_a_lab_with_the_outcomes_that_there_are() -> None:
    labs = (lab("pause", claim("p/a"), claim("p/b")), lab("x", claim("x/a"), claim("x/b", "inconclusive")))
    assert screen(Summary(labs=labs, inconclusive=("x.py::test_b",))) == [
        "       held  inconclusive   time",
        "pause     2                1.2 s",
        "x         1             1  1.2 s",
        "INCONCLUSIVE x.py::test_b",
    ]


def test_all_skipped() -> None:
    skipped = ToldClaim("t", "l/a", "", "skipped", text="one worker only:\n no second node")
    told = Summary(labs=(lab("l", skipped),))
    for lines in (screen(told), list(Plain().told(told))):
        assert lines[-1] == "lab l was skipped as a whole: one worker only: no second node"


def test_colours_only_where_they_are_wanted() -> None:
    told = Summary(labs=many(1).labs, comparison=COMPARED, inconclusive=("a::b",))
    coloured = screen(told, colour=True)
    assert "\x1b[1;31m" in "".join(coloured)
    assert "\x1b" not in "".join(screen(told))
    assert list(map(text, coloured)) == screen(told)  # and nothing is said by colour alone


# --- in whole sessions --------------------------------------------------------------------------------------

#: What pytest asks of the environment before it colours or cuts.
DECIDE = ("BUILD_NUMBER", "CI", "FORCE_COLOR", "NO_COLOR", "PY_COLORS")

BROKEN = f"""
def test_a(lab, judge): judge(broken("k8s-node2 eth1: {"x" * 90}", "{"y" * 90}", where="k8s-node2 eth1"))
def test_b(lab, judge): judge(held("a", "b"))
"""


def ended(pytester: pytest.Pytester, *args: str) -> list[str]:
    lines = pytester.runpytest_inprocess("--k8snet", "my_lab", *args).outlines
    begin = max(n for n, line in enumerate(lines) if re.search(r"=+ k8snet =+", text(line)))
    return lines[begin + 1 : next(n for n in range(begin + 1, len(lines)) if "===" in text(lines[n]))]


def test_in_a_pipe_nothing_is_cut(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, BROKEN)
    assert f"broken  my-lab/a  k8s-node2 eth1: expected {'x' * 90}, seen {'y' * 90}" in ended(pytester)


def test_colours_in_a_pipe_cut_nothing_either(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, BROKEN)
    lines = ended(pytester, "--color=yes")
    assert any(f"expected {'x' * 90}, seen {'y' * 90}" in text(line) for line in lines)
    assert "\x1b[1;31mbroken" in "".join(lines)


@pytest.mark.parametrize(
    ("env", "drawn", "coloured", "cut"),
    [
        ({}, True, True, True),
        ({"NO_COLOR": "1"}, True, False, True),
        ({"TERM": "dumb"}, False, False, False),
        ({"CI": "true"}, True, True, False),
    ],
)
def test_on_a_terminal(
    pytester: pytest.Pytester, env: dict[str, str], drawn: bool, coloured: bool, cut: bool
) -> None:
    pytester.makeconftest(stand_in.CONFTEST)
    lab_file(pytester.mkdir("my_lab"), BROKEN)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--k8snet", "my_lab"],
        cwd=pytester.path,
        stdout=theirs,
        env={**{k: v for k, v in os.environ.items() if k not in DECIDE}, "TERM": "xterm", "COLUMNS": "80"}
        | env,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # what Linux says at the end of a pseudo-terminal
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    assert process.wait(timeout=20) == 1
    _, _, told = shown.decode().replace("\r\n", "\n").rpartition("= k8snet =")
    told = told[: told.index("short test summary")]
    assert ("held  broken" in text(told)) is drawn
    assert ("\x1b[" in told) is coloured
    assert ("x…, seen yyy" in text(told)) is cut
    assert ("x" * 90 in text(told)) is not cut


def test_where_things_lie(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, BROKEN)
    assert ended(pytester, "--k8snet-bundle=kept here")[-2:] == [
        "bundle: kept here",
        "judge again: pytest --k8snet '--k8snet-replay=kept here' my_lab",
    ]
    elsewhere = pytester.path.parent / "elsewhere"
    assert f"bundle: {elsewhere}" in ended(pytester, f"--k8snet-bundle={elsewhere}")


def test_a_bundle_that_nothing_was_kept_in_is_not_told(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, "@pytest.mark.skip(reason='not today')\ndef test_a(lab, judge): pass\n")
    assert not any("bundle" in line for line in ended(pytester, "--k8snet-bundle=kept"))
