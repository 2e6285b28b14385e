"""Where the packets of a gap ended: each kind of loss from hand-made captures, and what is never claimed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_k8snet.claims.outage_ledger import LINES, Ending, lines, where_lost
from pytest_k8snet.evidence.outage import Clock, OutageLab
from pytest_k8snet.evidence.reading import Reading
from tests.claims.scenes import DEST_IP, MASTER, NODE1, NODE2, PORT, SRC_IP, VIP
from tests.outage import nodeport_gap
from tests.outage.scenes import (
    END,
    GAP,
    INTERFACES,
    Leg,
    Trip,
    around,
    gap,
    healthy,
    legs,
    watch,
)

PATHS = ("pod", "clusterip", "nodeport")
VETH, UPLINK2 = "k8s-node2 calia5814ebbae9", "k8s-node2 eth1"
UPLINK1, DEST = "k8s-node1 eth1", "k8s-node1 calib8c6d5407e3"
ASKED, TRANSLATED = f"{UPLINK2} (as asked)", f"{UPLINK2} (translated)"
DROPPED = "the kernel dropped 3 of its packets"


def endings(lab: OutageLab) -> tuple[Ending, ...]:
    return where_lost(lab, lab.paths[0].path, GAP, END)


def ledger(lab: OutageLab) -> list[str]:
    return lines(lab, lab.paths[0].path, GAP, END)


def only(lab: OutageLab) -> Ending:
    (ending,) = endings(lab)
    assert ending.count == 6
    assert ledger(lab)[0] == ending.sentence
    return ending


def rows(lab: OutageLab) -> list[str]:
    return [line for line in ledger(lab) if line.lstrip()[:1] in ("+", "-")]


@pytest.mark.parametrize("tunnel", ["ipip", "vxlan", None])
@pytest.mark.parametrize("path", ["pod", "clusterip"])
@pytest.mark.parametrize(
    ("reach", "last", "missing", "seen", "between"),
    [
        (1, VETH, UPLINK2, VETH, "inside k8s-node2"),
        (2, UPLINK2, UPLINK1, f"{VETH} and eth1", "between k8s-node2 and k8s-node1"),
        (3, UPLINK1, DEST, f"{VETH} and eth1, {UPLINK1}", "inside k8s-node1"),
    ],
)
def test_a_syn_is_lost_between_two_points(
    path: str, tunnel: str | None, reach: int, last: str, missing: str, seen: str, between: str
) -> None:
    assert only(watch(path, gap(reach=reach), tunnel=tunnel)) == Ending(
        "lost",
        6,
        f"6 SYNs of the gap were seen on {seen} and not on {missing}: lost {between}",
        last,
        missing,
    )


@pytest.mark.parametrize(
    ("reach", "last", "missing", "between"),
    [
        (1, "k8s-master eth1", ASKED, "between k8s-master and k8s-node2"),
        (2, ASKED, TRANSLATED, "inside k8s-node2"),
        (3, TRANSLATED, UPLINK1, "between k8s-node2 and k8s-node1"),
        (4, UPLINK1, DEST, "inside k8s-node1"),
    ],
)
def test_a_node_port_s_syn_passes_one_uplink_twice(reach: int, last: str, missing: str, between: str) -> None:
    """Node2's clock differs from the client's here, and each port is followed through SNAT and DNAT."""
    ending = only(watch("nodeport", gap(reach=reach)))
    assert (ending.kind, ending.last, ending.missing) == ("lost", last, missing)
    assert ending.sentence.endswith(f"lost {between}")


@pytest.mark.parametrize("path", PATHS)
def test_a_syn_that_never_left(path: str) -> None:
    lab = watch(path, gap(reach=0))
    client, where = ("k8s-master", "k8s-master eth1") if path == "nodeport" else ("pod-src", VETH)
    assert only(lab) == Ending(
        "unsent", 6, f"6 attempts of the gap never left {client}: {where} shows no SYN", "", where
    )


@pytest.mark.parametrize("path", PATHS)
def test_pod_dest_did_not_answer(path: str) -> None:
    assert only(watch(path, gap())) == Ending(
        "unanswered",
        6,
        f"6 SYNs of the gap were seen as far as {DEST}: they reached pod-dest, which did not answer",
        DEST,
    )


@pytest.mark.parametrize(
    ("back", "last", "missing", "between"),
    [
        (3, DEST, UPLINK1, "inside k8s-node1"),
        (2, UPLINK1, UPLINK2, "between k8s-node1 and k8s-node2"),
        (1, UPLINK2, VETH, "inside k8s-node2"),
    ],
)
@pytest.mark.parametrize("path", ["pod", "clusterip"])
def test_an_answer_is_lost_on_its_way_back(
    path: str, back: int, last: str, missing: str, between: str
) -> None:
    assert only(watch(path, gap(back=back))) == Ending(
        "answer lost",
        6,
        f"6 SYNs of the gap were answered; the answer came back to {last} and not to {missing}: "
        f"lost {between}",
        last,
        missing,
    )


def test_a_node_port_s_answer_whose_translation_is_not_undone() -> None:
    ending = only(watch("nodeport", gap(back=2)))
    assert (ending.kind, ending.last, ending.missing) == ("answer lost", TRANSLATED, ASKED)


@pytest.mark.parametrize("path", PATHS)
def test_the_handshake_is_not_the_request(path: str) -> None:
    """An answer that came to the client, which lost the request all the same."""
    ending = only(watch(path, gap(back=0)))
    assert ending.kind == "connected"
    assert ending.sentence.endswith("shows the answer: what was lost came after the handshake")


def test_an_answer_from_another_address() -> None:
    ending = only(watch("clusterip", gap(back=0, answer_from=(DEST_IP, PORT))))
    assert (ending.kind, ending.sentence) == (
        "stranger",
        f"6 SYNs of the gap were answered from {DEST_IP}:{PORT} instead of {VIP}:{PORT}: "
        "the translation was not undone",
    )


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"resets": (0, 1, 2, 3)}, f"RST from {DEST_IP}, first seen on {DEST}"),
        ({"reach": 1, "resets": (0,)}, f"RST from {VIP}, first seen on {VETH}"),
    ],
)
def test_refused_by_a_reset(how: dict[str, Any], sentence: str) -> None:
    assert only(watch("clusterip", gap(**how))).sentence == f"6 SYNs of the gap were refused: {sentence}"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ((0, NODE2, (3, 1)), f"ICMP host unreachable from {NODE2}, first seen on {VETH}"),
        ((0, NODE2, (3, 3)), f"ICMP port unreachable from {NODE2}, first seen on {VETH}"),
        ((1, NODE1, (11, 0)), f"ICMP time to live exceeded from {NODE1}, first seen on {UPLINK2}"),
        ((0, NODE2, (3, 99)), f"ICMP type 3 code 99 from {NODE2}, first seen on {VETH}"),
    ],
)
def test_answered_by_icmp(error: tuple[int, str, tuple[int, int]], sentence: str) -> None:
    lab = watch("pod", gap(reach=2, error=error))
    assert only(lab).sentence == f"6 SYNs of the gap were answered by {sentence}"
    assert any("SYN ICMP" in row for row in rows(lab))


def test_another_s_icmp_error_is_not_ours() -> None:
    """The twin: the same error about a packet that no point showed."""
    lab = watch("pod", gap(reach=2))
    (other,) = watch("pod", [Trip(0.05, reach=0, error=(0, NODE2, (3, 1)))]).captures[1:2]
    strange = replace(lab.captures[1], content=Reading("", "", _joined(lab, other.content.get())))
    lab = replace(lab, captures=(lab.captures[0], strange, *lab.captures[2:]))
    assert only(lab).kind == "lost"


def _joined(lab: OutageLab, more: bytes) -> bytes:
    return lab.captures[1].content.get() + more[24:]


@pytest.mark.parametrize(
    ("leg", "detail"),
    [
        (
            Leg("source-uplink", (SRC_IP, 0), (DEST_IP, PORT), "ipip", toward=MASTER),
            f"encapsulated toward {MASTER} instead of k8s-node1 ({NODE1})",
        ),
        (
            Leg("source-uplink", (SRC_IP, 0), (DEST_IP, PORT), "vxlan", toward=MASTER),
            f"encapsulated toward {MASTER} instead of k8s-node1 ({NODE1})",
        ),
        (
            Leg("source-uplink", (SRC_IP, 0), ("20.111.156.99", PORT), "ipip"),
            f"translated to 20.111.156.99:{PORT} instead of pod-dest ({DEST_IP}:{PORT})",
        ),
        (
            Leg("source-uplink", (SRC_IP, 0), (VIP, PORT)),
            f"sent on to {VIP}:{PORT}, not translated to pod-dest ({DEST_IP}:{PORT})",
        ),
    ],
)
def test_sent_somewhere_else(leg: Leg, detail: str) -> None:
    ending = only(watch("clusterip", gap(reach=2, instead=((1, leg),))))
    assert ending == Ending(
        "diverted", 6, f"6 SYNs of the gap were seen on {VETH} and eth1, {detail}", UPLINK2
    )


def test_several_endings_the_most_frequent_first() -> None:
    lab = watch("pod", around(Trip(0.0, reach=1), Trip(0.1, reach=2), Trip(0.2, reach=2)))
    assert [(each.kind, each.count, each.last) for each in endings(lab)] == [
        ("lost", 2, UPLINK2),
        ("lost", 1, VETH),
    ]
    assert (
        ledger(lab)[1] == f"1 SYN of the gap was seen on {VETH} and not on {UPLINK2}: lost inside k8s-node2"
    )


def test_a_gap_in_which_nothing_was_lost() -> None:
    lab = watch("pod", around(healthy(0.1)))
    assert endings(lab) == ()
    assert ledger(lab)[0] == "no attempt on a new connection failed in the gap"


# --- what is never claimed ---------------------------------------------------------------------


def test_a_point_without_a_capture_is_passed_over() -> None:
    lab = watch("pod", gap(reach=2), failed=["target-uplink"])
    ending = only(lab)
    assert (ending.kind, ending.missing) == ("lost", DEST)
    assert ending.sentence.endswith("lost between k8s-node2 and k8s-node1")
    assert f"the silence of {UPLINK1} proves nothing: tcpdump is not installed on k8s-node1" in ledger(lab)


def test_where_no_later_point_can_tell() -> None:
    lab = watch("pod", gap(reach=2), failed=["target-uplink"], flaws={"target-veth": DROPPED})
    ending = only(lab)
    assert (ending.kind, ending.missing) == ("untold", "")
    assert ending.sentence == (
        f"6 SYNs of the gap were last seen on {UPLINK2}; what came of it can't be told: "
        f"{UPLINK1}: tcpdump is not installed on k8s-node1; {DEST}: {DROPPED}"
    )
    assert {tuple(row.split()[2:6]) for row in rows(lab) if "no answer" in row} == {("SYN", "SYN", "?", "?")}


def test_an_answer_that_may_have_been_missed() -> None:
    """The SYN came to pod-dest, and the capture there has holes."""
    lab = watch("pod", gap(), flaws={"target-veth": DROPPED})
    assert only(lab).sentence == (
        f"6 SYNs of the gap were last seen on {DEST}; what came of it can't be told: {DEST}: {DROPPED}"
    )
    back = watch("pod", gap(back=1), flaws={"source-veth": DROPPED})
    assert only(back).sentence == (
        f"6 SYNs of the gap were answered, and the answer seen on {UPLINK2}; what came of it can't be told: "
        f"{VETH}: {DROPPED}"
    )


def test_silence_that_is_usual_proves_nothing() -> None:
    """A point that never shows this path, as an uplink where packets go encrypted."""
    trips = [replace(trip, skip=(1, 2)) for trip in gap(reach=1)]
    ending = only(watch("pod", trips))
    assert (ending.last, ending.missing) == (VETH, DEST)
    nowhere = [replace(trip, skip=(1, 2, 3)) for trip in gap(reach=1)]
    assert only(watch("pod", nowhere)).sentence == (
        f"6 SYNs of the gap were last seen on {VETH}; what came of it can't be told: "
        + "; ".join(
            f"{point}: no SYN of this path around the gap either" for point in (UPLINK2, UPLINK1, DEST)
        )
    )


def test_answers_that_usually_go_another_way_prove_nothing_by_not_being_there() -> None:
    trips = [replace(trip, unseen_back=(1,)) for trip in gap(back=2)]
    ending = only(watch("pod", trips))
    assert (ending.kind, ending.last, ending.missing) == ("answer lost", UPLINK1, VETH)
    nowhere = [replace(trip, unseen_back=(0, 1)) for trip in gap(back=2)]
    assert only(watch("pod", nowhere)).sentence.endswith(
        f"{UPLINK2}: no SYN/ACK of this path around the gap either; "
        f"{VETH}: no SYN/ACK of this path around the gap either"
    )


def test_a_reset_of_the_client_s_own_is_no_refusal() -> None:
    """It acknowledges nothing, and 0 is what the first SYN of the gap would be acknowledged by."""
    assert only(watch("pod", gap(reach=2, aborted=True))).kind == "lost"


def test_headers_without_identification_are_nobody_s() -> None:
    lab = watch("pod", gap(reach=2, ident=0, error=(0, NODE2, (3, 1))))
    assert only(lab).kind == "lost"


def test_what_was_lost_beside_the_gap_is_not_of_the_gap() -> None:
    lab = watch("pod", around(Trip(-0.15, reach=1), Trip(0.1, reach=2), Trip(0.45, reach=1)))
    assert [(ending.count, ending.last) for ending in endings(lab)] == [(1, UPLINK2)]
    assert sum("no answer" in row for row in rows(lab)) == 3


def test_attempts_that_began_together_are_told_apart_by_their_ports() -> None:
    lab = watch("pod", around(Trip(0.1, reach=2), healthy(0.1001)))
    assert [ending.count for ending in endings(lab)] == [1]
    (lost,) = (row for row in rows(lab) if "no answer" in row)
    assert lost.split()[:2] == ["+100", "40004"]


def test_a_syn_seen_farther_on_was_there() -> None:
    """A point that missed a packet which passed it is not named as one that saw it."""
    ending = only(watch("pod", gap(reach=3, skip=(1,))))
    assert ending.sentence.startswith(f"6 SYNs of the gap were seen on {VETH}, {UPLINK1} and not on {DEST}")


def test_without_the_client_s_own_point() -> None:
    lab = watch("pod", gap(reach=2), failed=["source-veth"])
    ending = only(lab)
    assert ending.kind == "untold"
    assert ending.sentence == (
        "6 attempts of the gap failed, and whether they sent a SYN can't be told: "
        f"{VETH}: tcpdump is not installed on k8s-node2"
    )


def test_a_point_that_misses_answered_attempts_can_t_say_that_none_was_sent() -> None:
    """As by a clock that jumped."""
    trips = [replace(trip, skip=(0,)) if 0.3 <= trip.at < 0.4 else trip for trip in gap(reach=0)]
    ending = only(watch("pod", trips))
    assert ending.kind == "untold"
    assert ending.sentence.endswith(f"{VETH}: it shows no SYN of 2 attempts that were answered")


@pytest.mark.parametrize("ahead", [-20.0, 20.0])
def test_clocks_that_are_far_apart(ahead: float) -> None:
    """Node2's is the client's. What is known of node1's moves its windows; unknown, they show nothing."""
    lab = watch("pod", gap(reach=3), ahead=ahead)
    assert only(lab).kind == "untold"
    clocks = Clock("k8s-node2", 7.0, 0.01), Clock("k8s-node1", 7.0 + ahead, 0.01)
    assert only(replace(lab, clocks=clocks)).missing == DEST


def test_captures_that_were_never_started() -> None:
    lab = replace(watch("pod", gap()), captures=())
    assert only(lab).sentence.endswith("can't be told: source-veth: no capture")


def test_a_capture_that_can_t_be_read() -> None:
    lab = watch("pod", gap(reach=2))
    broken = replace(lab.captures[3], content=Reading("k8s-node1", "tcpdump", b"hello, this is no capture"))
    lab = replace(lab, captures=(*lab.captures[:3], broken, lab.captures[4]))
    assert only(lab).missing == DEST
    assert any(
        f"the silence of {UPLINK1} proves nothing: pcap: no pcap magic" in line for line in ledger(lab)
    )


POINTS = sorted(INTERFACES)
OUTCOMES = st.builds(
    Trip,
    at=st.floats(0, 0.3),
    reach=st.integers(0, 5),
    back=st.none() | st.integers(0, 4),
    skip=st.sets(st.integers(0, 4), max_size=2).map(lambda found: tuple(sorted(found))),
    resets=st.sampled_from([(), (0,), (0, 1)]),
    times=st.integers(1, 2),
    said=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(
    path=st.sampled_from(PATHS),
    trips=st.lists(OUTCOMES, min_size=1, max_size=4),
    failed=st.sets(st.sampled_from(POINTS)),
    dropped=st.sets(st.sampled_from(POINTS)),
)
def test_an_absence_is_never_claimed_where_a_capture_can_t_show_it(
    path: str, trips: list[Trip], failed: set[str], dropped: set[str]
) -> None:
    lab = watch(path, around(*trips), failed=failed, flaws=dict.fromkeys(dropped, DROPPED))
    flawed = {" ".join(INTERFACES[point]) for point in failed | dropped}
    for ending in endings(lab):
        assert not any(ending.missing.startswith(point) for point in flawed)
        if ending.kind == "unanswered":
            assert DEST not in flawed
    listed = ledger(lab)
    assert len(listed) <= LINES
    header = next(line for line in listed if line.split()[:2] == ["ms", "port"])
    for step, leg in enumerate(legs(path)):
        start = header.index(f"  {step + 1}") + 2
        end = header.find(f"  {step + 2}", start)
        cells = {row[start : end if end > 0 else None].split("  ")[0].strip() for row in rows(lab)}
        if leg.point in failed:
            assert cells == {"?"}
        elif leg.point in dropped:
            assert "-" not in cells
            assert "SYN" not in cells, "an answer may have been missed"


# --- the table ---------------------------------------------------------------------------------


WHOLE = """\
2 SYNs of the gap were seen on k8s-node2 calia5814ebbae9 and eth1 and not on k8s-node1 eth1: \
lost between k8s-node2 and k8s-node1
1 SYN of the gap was refused: RST from 20.111.156.72, first seen on k8s-node1 calib8c6d5407e3
points: 1 k8s-node2 calia5814ebbae9, 2 k8s-node2 eth1, 3 k8s-node1 eth1, 4 k8s-node1 calib8c6d5407e3; \
ms since the gap began, by the clock of k8s-node2
  ms   port  1            2            3            4
-175  40001  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  answered in 1.3 ms
-125  40002  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  answered in 1.3 ms
 -75  40003  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  answered in 1.3 ms
  +0  40004  SYN          SYN          -            -            no answer within 0.9 s
 +50  40005  SYN x2       SYN x2       -            -            no answer within 0.9 s
+100  40006  SYN RST      SYN RST      SYN RST      SYN RST      no answer within 0.9 s
+325  40007  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  answered in 1.3 ms
+375  40008  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  answered in 1.3 ms
+425  40009  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  answered in 1.3 ms
+475  40010  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  SYN SYN/ACK  answered in 1.3 ms
held connection: k8s-node2 calia5814ebbae9 shows none of its packets around the gap"""


def test_the_whole_ledger() -> None:
    trips = Trip(0.0, reach=2), Trip(0.05, reach=2, times=2), Trip(0.1, resets=(0, 1, 2, 3))
    assert "\n".join(ledger(watch("pod", around(*trips)))) == WHOLE


def test_a_long_gap_is_cut_in_the_middle() -> None:
    trips = [Trip(position * 0.05, reach=1) for position in range(100)]
    lab = watch("pod", around(*trips))
    listed = lines(lab, "pod", GAP, GAP + 5)
    assert len(listed) == LINES
    (dots,) = (line for line in listed if line.startswith("..."))
    shown = sum(line.lstrip()[:1] in "+-" for line in listed)
    assert dots == f"... {100 + 3 + 4 - shown} more"
    assert where_lost(lab, "pod", GAP, GAP + 5)[0].count == 100


def test_only_the_beginning_of_a_very_long_gap_is_read() -> None:
    lab = watch("pod", around(Trip(1.0, reach=1), Trip(90.0, reach=1)))
    (ending,) = where_lost(lab, "pod", GAP, GAP + 100)
    assert ending.count == 1
    assert ending.sentence.endswith("lost inside k8s-node2 (in its first 60 s)")


@pytest.mark.parametrize("ports", [True, False])
def test_attempts_and_syns_are_joined_by_port_or_by_time(ports: bool) -> None:
    lab = watch("pod", gap(reach=1), ports=ports)
    assert only(lab).count == 6
    assert sum("no answer within 0.9 s" in row for row in rows(lab)) == 6
    assert sum("answered in 1.3 ms" in row for row in rows(lab)) == 7


def test_without_the_client_s_word_the_wire_tells() -> None:
    lab = watch("pod", [replace(trip, said=False) for trip in gap(reach=2)])
    assert only(lab).kind == "lost"


# --- a gap of the reference network ------------------------------------------------------------


def test_a_recorded_gap() -> None:
    """Node2 routed what came for its NodePort into a black hole for 300 ms: its rules masquerade with random
    ports, so nobody but the sequence number knows the SYNs that it sent on before and after."""
    lab, start, end = nodeport_gap.load()
    (ending,) = where_lost(lab, "nodeport", start, end)
    assert (ending.kind, ending.count, ending.last, ending.missing) == ("lost", 6, ASKED, TRANSLATED)
    listed = lines(lab, "nodeport", start, end)
    whole = [row for row in listed if "answered in" in row]
    assert len(whole) == 9
    assert all(row.count("SYN SYN/ACK") == 5 for row in whole)
    assert listed[-1].split() == [
        "+75",
        "20120",
        "0",
        "213",
        "433",
        "0",
        "213",
        "433",
        "?",
        "?",
        "?",
        "request",
    ]


def test_a_recorded_gap_whose_captures_are_not_whole() -> None:
    lab, start, end = nodeport_gap.load()
    captures = tuple(
        replace(capture, flaw=DROPPED) if capture.id != "client-uplink" else capture
        for capture in lab.captures
    )
    (ending,) = where_lost(replace(lab, captures=captures), "nodeport", start, end)
    assert (ending.kind, ending.count, ending.last, ending.missing) == ("untold", 6, ASKED, "")
