"""What an outage watch is judged to show."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pytest_k8snet.claims import outage
from pytest_k8snet.claims.outage_gaps import Timeline, felt
from pytest_k8snet.claims.verdict import Outcome, Verdict
from pytest_k8snet.evidence.outage import INTERVAL, KINDS, PATHS, Attempt, Command, OutageLab
from pytest_k8snet.evidence.reading import NotObserved, Reading
from tests.outage.watches import (
    AFTER,
    AHEAD,
    HERE,
    LASTED,
    Change,
    lost,
    slow,
    unsent,
    watch,
    within,
)

HELD, BROKEN, INCONCLUSIVE = Outcome.HELD, Outcome.BROKEN, Outcome.INCONCLUSIVE


def judged(lab: OutageLab, path: str = "pod", budget: int = 200) -> Verdict:
    return outage.gap(lab, path, budget)


@pytest.mark.parametrize("path", PATHS)
def test_a_calm_watch_holds_any_budget(path: str) -> None:
    verdict = judged(watch(), path, 0)
    assert verdict.outcome is HELD
    assert verdict.seen == "new connections: none of 120 lost; held connection: none of 120 lost"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("budget", "outcome"), [(299, BROKEN), (301, HELD)])
def test_a_gap_is_as_long_as_the_path_was_broken(path: str, budget: int, outcome: Outcome) -> None:
    lab = watch({(path, "new"): lost(1.01, 0.3)})
    verdict = judged(lab, path, budget)
    assert verdict.outcome is outcome
    assert (
        "6 of 120 lost (no answer in 0.9 s), longest gap 300 ms at +1.00 s after the command" in verdict.seen
    )
    for other in set(PATHS) - {path}:
        assert judged(lab, other, 0).outcome is HELD


def test_one_lost_request_is_a_gap_of_one_interval() -> None:
    assert "longest gap 50 ms" in judged(watch({("pod", "new"): lost(1.01, 0.05)})).seen


def test_two_gaps_are_not_one() -> None:
    first, second = lost(1.01, 0.15), lost(3.01, 0.25)
    lab = watch({("pod", "new"): lambda attempt: second(first(attempt) or attempt)})
    verdict = judged(lab)
    assert verdict.outcome is BROKEN
    assert "8 of 120 lost (no answer in 0.9 s), longest gap 250 ms at +3.00 s" in verdict.seen


def test_a_path_that_never_comes_back_is_broken_to_the_end_of_the_watch() -> None:
    verdict = judged(watch({("pod", "new"): lost(2.01, 99)}), budget=3900)
    assert verdict.outcome is BROKEN
    assert re.search(r"longest gap 39\d\d ms at \+2.00 s, and no answer since", verdict.seen)


def test_what_was_lost_before_the_command_is_none_of_its_doing() -> None:
    assert judged(watch({("pod", "new"): lost(-1.0, 0.3)}), budget=0).outcome is HELD


def test_a_gap_that_began_before_the_command_and_went_on_counts() -> None:
    assert judged(watch({("pod", "new"): lost(-0.2, 0.5)})).outcome is BROKEN


def test_a_refused_connection_is_lost_too() -> None:
    verdict = judged(watch({("pod", "new"): lost(1.01, 0.3, "ECONNREFUSED")}))
    assert verdict.outcome is BROKEN
    assert "6 of 120 lost (ECONNREFUSED)" in verdict.seen


def test_a_lost_held_connection_breaks_the_budget_though_new_ones_go_on() -> None:
    verdict = judged(watch({("pod", "held"): lost(1.01, 0.3, "ECONNRESET")}))
    assert verdict.outcome is BROKEN
    assert "new connections: none of 120 lost; held connection: 6 of 120 lost (ECONNRESET)" in verdict.seen


@pytest.mark.parametrize(("seconds", "outcome"), [(0.7, HELD), (1.5, BROKEN)])
def test_a_late_answer_on_the_held_connection_is_what_tcp_makes_of_the_budget_or_more(
    seconds: float, outcome: Outcome
) -> None:
    verdict = judged(watch({("pod", "held"): slow(1.01, seconds)}), budget=300)
    assert verdict.outcome is outcome
    assert (
        f"none of {120 - round(seconds / 0.05) + 1} lost, slowest answer {seconds * 1000:.0f} ms"
        in verdict.seen
    )
    assert "(TCP sends again ever more rarely)" in verdict.seen


def given_up(at: float, waited: float) -> Change:
    """An answer that was awaited for ``waited`` seconds in vain; nothing was sent meanwhile."""

    def change(attempt: Attempt) -> Attempt | None:
        return lost(at, INTERVAL)(attempt) if within(attempt, at, INTERVAL) else silent(attempt)

    silent = unsent(at + INTERVAL, waited - INTERVAL)
    return change


@pytest.mark.parametrize(
    ("waited", "budget", "outcome"),
    [
        (0.9, 0, BROKEN),
        (0.9, 60, HELD),  # a SYN: the path may have been broken just then
        (3.0, 900, BROKEN),
        (3.0, 1200, HELD),
        (3.0, 0, BROKEN),
    ],
)
def test_what_a_held_connection_waited_for_is_not_all_outage(
    waited: float, budget: int, outcome: Outcome
) -> None:
    verdict = judged(watch({("pod", "held"): given_up(0.51, waited)}), budget=budget)
    assert verdict.outcome is outcome
    assert f"longest gap {waited * 1000:.0f} ms" in verdict.seen
    assert f"{waited * 1000 - 50:.0f} ms of it spent on one answer" in verdict.seen


def test_what_new_connections_lost_counts_in_full() -> None:
    assert judged(watch({("pod", "new"): given_up(0.51, 3.0)}), budget=2900).outcome is BROKEN


def test_tcp_doubles_its_waits() -> None:
    waits = [0.2, 0.6, 1.4, 3.0, 6.2]  # seconds after which Linux sends again
    for broken in (0.05, 0.3, 0.7, 2.0, 5.0):
        assert felt(broken) > min(again for again in waits if again >= broken)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gap_that_outlasts_the_watch_has_no_length(kind: str) -> None:
    verdict = judged(watch({("pod", kind): lost(LASTED + AFTER - 0.12, 9)}), budget=500)
    assert verdict.outcome is INCONCLUSIVE
    assert "and no answer since" in verdict.seen
    assert verdict.seen.endswith("; but the watch ended before that gap did")


def test_an_answer_that_was_under_way_when_the_command_began_counts() -> None:
    assert judged(watch({("pod", "held"): slow(-0.06, 2.0)})).outcome is BROKEN


def test_a_request_that_was_under_way_when_the_command_began_and_lost_is_counted() -> None:
    verdict = judged(watch({("pod", "new"): lost(-0.06, 0.05)}), budget=0)
    assert verdict.outcome is BROKEN
    assert "1 of 121 lost (no answer in 0.9 s)" in verdict.seen


def test_a_client_that_paused_from_before_the_command_measured_nothing_meanwhile() -> None:
    lab = watch({("pod", kind): unsent(-0.06, 1.5) for kind in KINDS})
    for verdict in (outage.measured(lab), judged(lab)):
        assert verdict.outcome is INCONCLUSIVE
        assert "nothing was sent over path pod for 1500 ms at -" in verdict.seen


def test_where_the_server_closes_every_connection_none_was_held() -> None:
    def another(attempt: Attempt) -> Attempt:
        return replace(attempt, port=20100 + round(attempt.sent / INTERVAL) % 10)

    lab = watch({("pod", "held"): another})
    verdict = judged(lab)
    assert verdict.outcome is INCONCLUSIVE
    assert "no connection over path pod stood for 10 answers before the command began" in verdict.seen
    assert outage.measured(lab).outcome is HELD


def test_a_connection_that_the_server_closed_in_order_was_made_anew() -> None:
    def other_port(attempt: Attempt) -> Attempt:
        return replace(attempt, port=20101) if attempt.sent > HERE + AHEAD["k8s-node2"] + 1 else attempt

    verdict = judged(watch({("pod", "held"): other_port}), budget=0)
    assert verdict.outcome is HELD
    assert verdict.seen.endswith("held connection: none of 120 lost, made anew once")


@pytest.mark.parametrize("place", ["k8s-node2", "k8s-node1"])
def test_a_machine_that_stalled_then_may_account_for_a_gap(place: str) -> None:
    lab = watch({("pod", "new"): lost(1.01, 0.3)}, stalls={place: (1.1, 0.8)})
    verdict = judged(lab)
    assert verdict.outcome is INCONCLUSIVE
    assert f"but {place} itself stalled for 800 ms then" in verdict.seen
    assert f"{place} stalled once, for 800 ms at most" in verdict.details


@pytest.mark.parametrize(
    "stalls",
    [
        {"k8s-node1": (3.5, 0.8)},  # at another time
        {"k8s-node1": (-2.0, 0.8)},
        {"k8s-node1": (1.1, 0.14)},  # too short for that gap
        {"k8s-master": (1.1, 0.8)},  # not on that path
        {"": (1.1, 0.8)},
    ],
)
def test_other_stalls_do_not_excuse_a_gap(stalls: dict[str, tuple[float, float]]) -> None:
    assert judged(watch({("pod", "new"): lost(1.01, 0.3)}, stalls=stalls)).outcome is BROKEN


def test_a_gap_that_no_stall_accounts_for_is_broken_beside_one_that_has_one() -> None:
    longer, shorter = lost(1.01, 0.6), lost(3.01, 0.3)
    lab = watch(
        {("pod", "new"): lambda attempt: shorter(longer(attempt) or attempt)},
        stalls={"k8s-node1": (1.1, 0.5)},
    )
    assert judged(lab, budget=250).outcome is BROKEN
    assert judged(lab, budget=350).outcome is INCONCLUSIVE


def test_where_a_clock_was_not_read_any_stall_there_may_have_been_then() -> None:
    lab = watch({("pod", "new"): lost(1.01, 0.3)}, stalls={"k8s-node1": (3.5, 0.8)}, unread=["k8s-node1"])
    verdict = judged(lab)
    assert verdict.outcome is INCONCLUSIVE
    assert "its clock was not read" in verdict.seen


def test_without_the_clients_clock_nobody_knows_when_the_command_began() -> None:
    verdict = judged(watch(unread=["k8s-node2"]))
    assert verdict.outcome is INCONCLUSIVE
    assert "the clock of k8s-node2 was never read" in verdict.seen


@pytest.mark.parametrize(("seconds", "outcome"), [(0.25, HELD), (0.6, INCONCLUSIVE)])
def test_a_silence_longer_than_the_budget_may_hide_a_gap(seconds: float, outcome: Outcome) -> None:
    verdict = judged(watch({("pod", "new"): unsent(1.01, seconds)}))
    assert verdict.outcome is outcome
    assert ("a gap may be hidden there" in verdict.seen) is (outcome is INCONCLUSIVE)


def test_a_gap_beyond_the_budget_is_broken_whatever_else_may_be_hidden() -> None:
    gone, silent = lost(1.01, 0.3), unsent(3.01, 0.6)
    lab = watch({("pod", "new"): lambda attempt: silent(gone(attempt) or attempt)})
    assert judged(lab).outcome is BROKEN


@pytest.mark.parametrize("failed", ["k8s-node1", "pod"])
def test_without_a_client_or_a_control_nothing_is_told(failed: str) -> None:
    verdict = judged(watch({("pod", "new"): lost(1.01, 0.3)}, failed=[failed]))
    assert verdict.outcome is INCONCLUSIVE
    assert (verdict.seen, verdict.advice) == ("python3 is not installed", "install it")


def test_the_table_tells_each_path_and_kind() -> None:
    lab = watch(
        {("clusterip", "new"): lost(1.01, 0.3), ("pod", "held"): slow(2.01, 0.45)}, failed=["nodeport"]
    )
    assert outage.summary(lab) == [
        "path       connections  requests  lost  longest gap  at       slowest answer",
        "pod        new          120       0     0 ms         -        2 ms",
        "pod        held         112       0     0 ms         -        450 ms",
        "clusterip  new          120       6     300 ms       +1.00 s  2 ms",
        "clusterip  held         120       0     0 ms         -        2 ms",
        "nodeport   new          not measured: python3 is not installed",
        "nodeport   held         not measured: python3 is not installed",
    ]


def test_the_watch_itself_is_measured() -> None:
    verdict = outage.measured(watch({("clusterip", "new"): lost(1.01, 0.3)}))
    assert verdict.outcome is HELD
    lost_there = "clusterip: 6 lost, longest gap 300 ms"
    assert verdict.seen == f"status 0 after 4.0 s; pod: nothing lost; {lost_there}; nodeport: nothing lost"


def test_a_command_that_failed_is_broken_with_its_last_words() -> None:
    verdict = outage.measured(watch(status=3, tail="draining\nerror: no such node", failed=["pod"]))
    assert verdict.outcome is BROKEN
    assert verdict.seen == "the command exited with status 3 after 4.0 s: error: no such node"
    assert verdict.details.startswith("draining\nerror: no such node\n\npath ")
    assert "and said nothing" in outage.measured(watch(status=3)).seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("begin", "seconds", "words"),
    [
        (-9, 9.1, "path nodeport was answered 0 times before the command began"),
        (LASTED - 0.1, 9, "path nodeport was hardly asked after the command had ended"),
    ],
)
def test_a_path_must_be_asked_before_and_after(kind: str, begin: float, seconds: float, words: str) -> None:
    lab = watch({("nodeport", kind): unsent(begin, seconds)})
    for verdict in (outage.measured(lab), judged(lab, "nodeport")):
        assert verdict.outcome is INCONCLUSIVE
        assert f"{words} ({kind} connections)" in verdict.seen


def test_a_path_that_answered_nothing_before_the_command_has_no_control() -> None:
    assert outage.measured(watch({("nodeport", "new"): lost(-9, 9.1)})).outcome is INCONCLUSIVE


def test_a_client_that_paused_measured_nothing_meanwhile() -> None:
    verdict = outage.measured(watch({("pod", "new"): unsent(1.01, 0.8)}))
    assert verdict.outcome is INCONCLUSIVE
    assert "nothing was sent over path pod for 800 ms at +" in verdict.seen


def test_a_control_without_a_beat_controls_nothing() -> None:
    lab = watch()
    (place, reading), *others = lab.controls
    dumb = replace(reading, value=replace(reading.get(), beaten=0))
    verdict = outage.measured(replace(lab, controls=((place, dumb), *others)))
    assert verdict.outcome is INCONCLUSIVE
    assert verdict.seen == "nothing beat on the machine that runs pytest"
    assert outage.measured(replace(lab, controls=tuple(others))).outcome is INCONCLUSIVE


def test_a_command_that_was_not_run_leaves_all_open() -> None:
    not_run: Reading[Command] = Reading(
        "", "pytest --k8snet-watch", failure="the command was not run: why", advice="go"
    )
    lab = replace(watch(), command=not_run, clocks=())
    for verdict in (outage.measured(lab), judged(lab)):
        assert (verdict.outcome, verdict.seen) == (INCONCLUSIVE, "the command was not run: why")
    with pytest.raises(NotObserved):
        outage.told(lab, "pod")


def test_no_attempt_at_all_is_a_silence_without_end() -> None:
    when, seconds = Timeline(watch({("pod", "new"): unsent(-9, 99)}), "pod").silence()
    assert seconds == float("inf")
    assert when == pytest.approx(HERE + AHEAD["k8s-node2"], abs=0.1)
