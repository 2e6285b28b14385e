"""The page of recorded runs, read as a browser reads it (without one: tests/browser has that)."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import pytest

from pytest_k8snet.report.page import render
from pytest_k8snet.report.page.contents import contents
from tests.report.pages import RUNS, bare, claim, head, html, plain, run_of, tree, with_claims
from tests.report.reading import Element, read
from tests.report.told_runs import many


@pytest.mark.parametrize("name", RUNS)
def test_every_claim_is_there_once_with_all_that_its_verdict_says(name: str) -> None:
    run = run_of(name)
    page = tree(name)
    shown = {claim.anchor: claim for claim in contents(run).claims}
    bodies = {element.attributes.get("id"): element for element in page.each("div")}
    for lab in run.labs:
        for told in lab.claims:
            body = bodies[told.claim]
            details = body.within("details")
            (summary,) = details.each("summary")
            assert plain(told.sentence) in plain(summary.words)
            assert told.outcome in summary.words
            assert ("open" in details.attributes) == (told.outcome in ("broken", "inconclusive"))
            command, _, node = told.judged["command"].partition("  (on ")
            for value in (
                *(told.judged[key] for key in ("expected", "seen", "cause", "where", "advice", "diagnosis")),
                "" if shown[told.claim].drawn else told.judged["details"],
                command,
                node.removesuffix(")"),
                *told.nodes,
                told.test,
            ):
                assert plain(value) in plain(body.text)


def test_broken_then_inconclusive_claims_come_before_all_others() -> None:
    page = tree("dnat-missing")
    shown = [details.words.partition(" ")[0] for details in page.of("claim")]
    assert shown == ["broken"] * 4 + ["inconclusive"] + ["held"] * 29


def test_a_claim_that_does_not_hold_leads_to_its_path_and_its_lab_leads_to_it() -> None:
    page = tree("direct-routes")
    links = [unquote(link["href"]) for link in page.by_id("nodeport/masqueraded").each("a")]
    assert links == ["#nodeport-request-1"]
    listed = [unquote(link["href"]) for link in page.by_id("lab-nodeport").each("a")]
    assert "#nodeport/masqueraded" in listed


def test_labs_at_a_glance() -> None:
    page = tree("direct-routes")
    rows = [row.words for row in page.by_id("labs").each("tr")][1:]
    assert [re.sub(r" [\d.]+ s$", "", row) for row in rows] == [
        "pause 9 held",
        "pod-network 4 broken 1 inconclusive 6 held",
        "clusterip 1 broken 6 held",
        "nodeport 2 broken 5 held",
    ]


@pytest.mark.parametrize("name", RUNS)
def test_a_ledger_that_is_drawn_does_not_stand_in_a_claim_too(name: str) -> None:
    ledgers = {ledger for lab in run_of(name).labs for ledger in lab.ledgers}
    assert ledgers.isdisjoint(pre.text for pre in tree(name).each("pre"))
    drawn = [shown for shown in contents(run_of(name)).claims if shown.drawn]
    assert drawn
    for shown in drawn:
        (link,) = tree(name).by_id(shown.anchor).each("a")
        assert unquote(link["href"]) == f"#{shown.requests[0].anchor}"


def test_the_claim_on_the_large_answer_leads_to_its_picture() -> None:
    (link,) = tree("direct-routes").by_id("pod-network/mtu-fits").each("a")
    assert unquote(link["href"]) == "#pod-network-request-2"


def test_the_first_wrong_picture_comes_right_below_the_list_of_what_does_not_hold() -> None:
    page = tree("direct-routes")
    section = page.by_id("not-held")
    _, brief, *shown = [child for child in section.children if isinstance(child, Element)]
    assert [item.words for item in brief.each("li")][:2] == [
        "broken pod-network/route-via-tunnel",
        "broken pod-network/encapsulated-on-source-uplink",
    ]
    assert len(list(brief.each("li"))) == 8
    assert ["request" in details.looks for details in shown] == [True] * 4 + [False] * 8
    assert ["open" in details.attributes for details in shown] == [True, False, *[True] * 10]
    wrong = {unquote(link["href"]) for link in page.by_id("lab-pod-network").each("a")}
    assert {"#pod-network-request-1", "#pod-network-request-2"} <= wrong
    assert not page.by_id("lab-pod-network").of("request")


# What it is a verdict on.


def test_the_head_says_what_the_verdict_is_on() -> None:
    told = head(bare()).words
    assert "This is a verdict on the cluster of context prod." in told
    for word in ("Reference network", "Wrong on purpose", "Replay", "Not the whole run"):
        assert word not in told


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reference": True}, "Reference network: the labs' three machines in one kernel."),
        ({"faults": ("pool-never", "node-gone")}, "Wrong on purpose: pool-never, node-gone."),
        ({"replay": "kept"}, "Replay: judged again from the bundle kept;"),
        ({"interrupted": "interrupted before its end"}, "Not the whole run: interrupted before its end."),
    ],
)
def test_the_head_says_what_makes_this_run_a_special_one(fields: dict[str, Any], words: str) -> None:
    assert words in head(bare(**fields)).words


@pytest.mark.parametrize(
    ("outcomes", "fields", "look", "headline"),
    [
        ("", {}, "unsure", "Nothing was judged"),
        ("skipped skipped", {}, "unsure", "Nothing was judged: all 2 claims skipped"),
        ("held", {}, "good", "The one claim held"),
        ("held held", {}, "good", "All 2 claims held"),
        ("held passed skipped", {}, "good", "1 held, 1 passed, 1 skipped"),
        ("held inconclusive", {}, "unsure", "1 inconclusive, 1 held"),
        ("held broken inconclusive", {}, "bad", "1 broken, 1 inconclusive, 1 held"),
        ("held failed", {}, "bad", "1 failed, 1 held"),
        ("held lost", {}, "unsure", "1 lost, 1 held"),
        ("held", {"interrupted": "Ctrl-C"}, "unsure", "The one claim held; the run was cut short"),
    ],
)
def test_the_headline(outcomes: str, fields: dict[str, Any], look: str, headline: str) -> None:
    claims = [claim(outcome, f"lab/{number}") for number, outcome in enumerate(outcomes.split())]
    top = head(with_claims(*claims, **fields))
    (title,) = top.each("h1")
    assert (top.looks, title.words) == ({look}, headline)


@pytest.mark.parametrize("outcome", ["lost", "rerun", "", "<b>"])
def test_an_outcome_that_is_not_known_is_shown_as_it_is_among_what_does_not_hold(outcome: str) -> None:
    page = read(render(with_claims(claim("held", "lab/a"), claim(outcome, "lab/b"))))
    (details,) = page.by_id("not-held").each("details")
    assert "unsure" in details.looks
    assert details.of("word")[0].text == outcome


def test_a_failure_without_a_verdict_shows_pytests_report_and_a_skip_its_reason() -> None:
    claims = claim("failed", "", text="E   KeyError\n    at x"), claim("skipped", "lab/b", text="no Calico")
    page = read(render(with_claims(*claims)))
    assert [pre.text for pre in page.by_id("t.py::").each("pre")] == ["E   KeyError\n    at x"]
    assert "no Calico" in page.by_id("lab/b").words
    assert not list(page.by_id("lab/b").each("pre"))


def test_a_lab_that_was_skipped_as_a_whole_is_told_with_its_reason() -> None:
    page = read(render(with_claims(claim("skipped", text="no Calico"), claim("skipped", "lab/two"))))
    assert "Lab lab was skipped as a whole: no Calico" in page.by_id("labs").words


# Of any size.


def test_a_run_that_judged_nothing() -> None:
    page = read(render(bare()))
    assert "No lab was judged." in page.by_id("labs").words
    assert not page.of("claim")


def test_one_claim() -> None:
    page = read(render(many(1)))
    assert len(page.of("claim")) == 1


def test_two_hundred_claims() -> None:
    page = tree("many")
    assert len(page.of("claim")) == 200
    assert len(page.by_id("not-held").of("claim")) == 31


@pytest.mark.parametrize("name", RUNS)
def test_the_four_labs_stay_below_a_megabyte(name: str) -> None:
    assert len(html(name).encode()) < 300_000


@pytest.mark.parametrize(
    ("outcomes", "title"),
    [
        ("broken held", "What does not hold"),
        ("failed inconclusive", "What does not hold or can't be told"),
        ("inconclusive", "What can't be told"),
    ],
)
def test_the_title_of_what_does_not_hold_claims_no_more_than_is_so(outcomes: str, title: str) -> None:
    claims = [claim(outcome, f"lab/{number}") for number, outcome in enumerate(outcomes.split())]
    section = read(render(with_claims(*claims))).by_id("not-held")
    assert next(section.each("h2")).words == title


def test_what_an_outage_watch_measured_is_open_though_it_holds() -> None:
    page = read(render(with_claims(claim("held", "outage/measured"), claim("held", "outage/gap"))))
    assert "open" in page.by_id("outage/measured").within("details").attributes
    assert "open" not in page.by_id("outage/gap").within("details").attributes


def test_lines_without_columns_are_folded_and_tables_are_not() -> None:
    details = "lost inside k8s-node2\n ms   port\n+51  46222\n-A CHAIN <b>"
    page = read(render(with_claims(claim("broken", judged={"details": details}))))
    (printed,) = page.by_id("lab/one").each("pre")
    assert printed.text == details
    assert [line.text for line in printed.of("folds")] == ["lost inside k8s-node2\n", "-A CHAIN <b>"]
