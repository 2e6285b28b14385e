"""The comparison with a baseline on the page: what is told, how, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_k8snet.meaning.comparison import Allowed, Change, Comparison
from pytest_k8snet.report.account import ToldClaim, ToldLab
from pytest_k8snet.report.page import render
from pytest_k8snet.report.page.changes import Row
from tests.report.pages import bare, claim, head, plain, with_claims
from tests.report.reading import Element, read

COMPARISON = Comparison(
    baseline="before (embedded, recorded 2026-11-20 10:12 UTC)",
    same=120,
    changes=(
        Change("mtu/node2/tunnel", "1480", "1450", allowed="new Calico defaults"),
        Change("version/kubelet", "1.20.8", "", allowed="the upgrade", unknown="the API did not answer"),
        Change("encapsulation/node2", "IPIP node2.uplink > node1.uplink", "plain"),
        Change("nat/clusterip", "KUBE-SVC\nKUBE-SEP", ""),
    ),
    left_out={"claim nodeport/masqueraded": "not in this run", "ttl/pod-network": "not in this run"},
    idle=(Allowed("ttl/*", "another runtime"),),
)


def test_the_comparison_goes_from_unexpected_to_allowed() -> None:
    section = compared(COMPARISON)
    assert [title.words for title in section.each("h3", "h4")] == [
        *("Unexpected changes (2)", "encapsulation", "nat"),
        *("Change that can't be told (1)", "version"),
        *("Allowed change (1)", "mtu"),
        *("Not compared", "Allowances that no change needed"),
    ]
    assert [value.text.replace("\u00a0", " ") for value in section.each("dd")] == [
        *("IPIP node2.uplink \u2192 node1.uplink", "plain"),
        *("KUBE-SVC\nKUBE-SEP", "no such fact"),
        *("1.20.8", "not observed"),
        *("1480", "1450"),
        "claim nodeport/masqueraded, ttl/pod-network",
        "another runtime",
    ]
    for words in (
        "recorded 2026-11-20 10:12 UTC): 2 unexpected changes 1 change that can't be told 1 allowed change"
        " 120 facts the same",
        "Allowed: new Calico defaults",
        "Can't be told: the API did not answer",
    ):
        assert words in section.words


def compared(comparison: Comparison, *claims: ToldClaim) -> Element:
    lab = ToldLab("baseline", list(claims))
    run = with_claims(claim("held"), comparison=comparison)
    return read(render(replace(run, labs=(*run.labs, lab)))).by_id("baseline")


def changes(*found: Change) -> Comparison:
    return Comparison("before", 1, found)


def test_changes_of_a_kind_stand_together_and_those_alike_are_told_once() -> None:
    section = compared(
        changes(
            Change("encapsulation/a", "IPIP", "plain"),
            Change("ttl/a", "63", "64"),
            Change("encapsulation/b", "IPIP", "VXLAN"),
            Change("encapsulation/c", "IPIP", "plain"),
        )
    )
    assert [title.words for title in section.each("h4")] == ["encapsulation (3)", "ttl"]
    rows = [[item.text for item in names.each("li")] for names in section.of("names")]
    assert rows == [["a", "c"], ["b"], ["a"]]
    assert [value.text for value in section.each("dd")] == ["IPIP", "plain", "IPIP", "VXLAN", "63", "64"]


def test_of_values_with_several_lines_each_line_says_whose_it_is() -> None:
    section = compared(changes(Change("rules/a", "-A one\n-A two\n-> ACCEPT", "-A one\n-A three\n-> ACCEPT")))
    (lines,) = section.of("lines")
    assert [plain(item.text) for item in lines.each("li")] == [
        *("both-Aone", "\u2212before-Atwo", "+now-Athree", "both->ACCEPT")
    ]
    assert not list(section.each("dd"))


@pytest.mark.parametrize(
    ("before", "now", "sides"),
    [
        ("a\nb", "b", ["before", "both"]),
        ("b", "a\nb", ["now", "both"]),
        ("a\nb", "c\nd", ["before", "before", "now", "now"]),
        ("a", "b", []),
        ("a\nb", "", []),
        ("", "a\nb", []),
    ],
)
def test_lines_are_set_side_by_side_where_there_are_several(before: str, now: str, sides: list[str]) -> None:
    assert [line.side for line in Row((), before, now, "").lines] == sides


def test_verdicts_come_last_and_short_and_lead_to_their_claims() -> None:
    section = compared(
        changes(
            Change("verdict/lab/one", "held", "broken"),
            Change("verdict/lab/gone", "held", "broken"),
            Change("ttl/a", "63", "64"),
        )
    )
    assert [title.words for title in section.each("h4")] == ["ttl", "verdicts"]
    (verdicts,) = section.of("verdicts")
    assert verdicts.words == "2 claims: held then, broken now. lab/one lab/gone"
    assert [(link["href"], link.text) for link in verdicts.each("a")] == [("#lab/one", "lab/one")]


def test_a_change_is_told_in_the_comparison_and_not_as_a_claim_too() -> None:
    comparison = changes(Change("ttl/a", "63", "64"))
    lab = ToldLab(
        "baseline",
        [claim("held", "baseline/compared"), claim("broken", "baseline/ttl/a", judged={"expected": "63"})],
    )
    run = replace(with_claims(claim("held"), comparison=comparison))
    page = read(render(replace(run, labs=(*run.labs, lab))))
    assert next(page.each("h1")).words == "All 2 claims held; 1 unexpected change since the baseline"
    assert page.by_id("baseline/ttl/a").text == "a"
    assert "baseline/compared" in page.by_id("baseline").of("claim")[0].words
    anchors = {element.attributes.get("id") for element in page.each()}
    assert anchors.isdisjoint({"not-held", "lab-baseline"})
    rows = [row.words for row in page.by_id("labs").each("tr")]
    assert rows[-1] == "baseline 1 unexpected change 1 fact the same"


def test_a_comparison_that_could_not_be_made_is_a_claim_like_others() -> None:
    lab = ToldLab("baseline", [claim("inconclusive", "baseline/compared")])
    page = read(render(bare(labs=(lab,))))
    assert "baseline/compared" in page.by_id("not-held").words
    assert "baseline/compared" in page.by_id("lab-baseline").words


@pytest.mark.parametrize(
    ("changes", "look", "headline"),
    [
        ((), "good", "The one claim held"),
        (COMPARISON.changes[:1], "good", "The one claim held"),
        (COMPARISON.changes[:2], "unsure", "The one claim held"),
        (COMPARISON.changes[:3], "bad", "The one claim held; 1 unexpected change since the baseline"),
        (COMPARISON.changes, "bad", "The one claim held; 2 unexpected changes since the baseline"),
    ],
)
def test_an_unexpected_change_is_in_the_headline(
    changes: tuple[Change, ...], look: str, headline: str
) -> None:
    top = head(with_claims(claim("held"), comparison=replace(COMPARISON, changes=changes)))
    assert (top.looks, next(top.each("h1")).words) == ({look}, headline)


def test_without_a_baseline_there_is_no_such_section() -> None:
    assert "baseline" not in {element.attributes.get("id") for element in read(render(bare())).each()}
