"""What a test's report says of its verdict, on the terminal, in JUnit's file and in a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.plugin.conftest import events, lab_file

THREE = """
def test_it_holds(lab, judge):
    judge(held("the claim", "the evidence"))

def test_it_is_broken(lab, judge):
    judge(broken("IPIP on eth1", "a bare packet\\nand another", where="k8s-node2 eth1",
                 command="tcpdump -nn -i eth1  (on k8s-node2)", advice="look at the routes",
                 details="a listing\\nof two lines"))

def test_it_can_not_tell(lab, judge):
    judge(inconclusive("IPIP on eth1", "the kernel dropped 3 packets", advice="capture again"))
"""


def test_three_verdicts_in_words(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, THREE)
    result = pytester.runpytest_inprocess("--k8snet", "-v", "my_lab")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "my_lab/test_my_lab.py::test_it_holds HELD*",
            "my_lab/test_my_lab.py::test_it_is_broken BROKEN*",
            "my_lab/test_my_lab.py::test_it_can_not_tell INCONCLUSIVE*",
            "=* FAILURES =*",
            "BROKEN: my-lab/it-is-broken: a bare packet",
            "",
            "  expected  IPIP on eth1",
            "  seen      a bare packet",
            "            and another",
            "  where     k8s-node2 eth1",
            "  command   tcpdump -nn -i eth1  (on k8s-node2)",
            "  next      look at the routes",
            "",
            "a listing",
            "of two lines",
            "=* INCONCLUSIVE =*",
            "_* test_it_can_not_tell _*",
            "INCONCLUSIVE: my-lab/it-can-not-tell: the kernel dropped 3 packets",
            "  next      capture again",
            "=* k8snet =*",
            "on embedded: a stand-in",
            "my-lab  1 held, 1 broken, 1 inconclusive in * s",
            "INCONCLUSIVE my_lab/test_my_lab.py::test_it_can_not_tell",
            "BROKEN my_lab/test_my_lab.py::test_it_is_broken - BROKEN: my-lab/it-is-broken*",
            "=* 1 failed, 1 passed, 1 inconclusive in *",
            "k8snet: this is a verdict on the embedded reference network, not on a cluster.",
        ],
        consecutive=False,
    )
    assert result.outlines[-1].startswith("k8snet: this is a verdict on")
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*judge(broken*")


def test_letters_without_v(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, THREE)
    result = pytester.runpytest_inprocess("--k8snet", "-q", "my_lab")
    result.stdout.fnmatch_lines([".F[?] *"])
    result.stdout.no_fnmatch_line("*provider*")
    assert result.outlines[-1].startswith("k8snet: this is a verdict on")


def test_no_escape_codes_and_no_progress_in_a_pipe(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, THREE)
    result = pytester.runpytest_inprocess("--k8snet", "my_lab")
    assert "\x1b" not in result.stdout.str() + result.stderr.str()
    result.stdout.no_fnmatch_line("*building nodes*")


def test_evidence_does_not_steer_the_terminal(pytester: pytest.Pytester, my_lab: Path) -> None:
    seen = "\\x1b[2J\\x1b[31mpod\\x07\\tsays\\nmore"
    lab_file(my_lab, f"def test_a(lab, judge): judge(broken('a', '{seen}', details='\\x9b1m'))\n")
    result = pytester.runpytest_inprocess("--k8snet", "my_lab", "-rA", "--color=yes")
    result.stdout.fnmatch_lines([r"*\x1b[[]2J\x1b[[]31mpod\x07*says*", "*more*", r"*\x9b1m*"])
    assert "\x1b[2J" not in result.stdout.str()
    assert "\x07" not in result.stdout.str()


def test_junit_file(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, THREE)
    pytester.runpytest_inprocess("--k8snet", "my_lab", "--junitxml=out.xml")
    suite = ElementTree.parse(pytester.path / "out.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors"), suite.get("tests")) == ("2", "0", "3")
    cases = suite.iter("testcase")
    properties = [{p.get("name"): p.get("value") for p in case.iter("property")} for case in cases]
    assert [(told["k8snet_claim"], told["k8snet_verdict"]) for told in properties] == [
        ("my-lab/it-holds", "held"),
        ("my-lab/it-is-broken", "broken"),
        ("my-lab/it-can-not-tell", "inconclusive"),
    ]
    messages = [failure.get("message", "") for failure in suite.iter("failure")]
    assert messages[0].startswith("BROKEN: my-lab/it-is-broken: a bare packet")
    assert messages[1].startswith("INCONCLUSIVE: my-lab/it-can-not-tell: the kernel dropped 3 packets")


def test_verdicts_go_into_the_bundle(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, THREE)
    pytester.runpytest_inprocess("--k8snet", "my_lab", "--k8snet-bundle=kept")
    lines = (pytester.path / "kept" / "labs" / "my-lab" / "verdicts.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines]
    assert [(line["claim"], line["outcome"]) for line in kept] == [
        ("my-lab/it-holds", "held"),
        ("my-lab/it-is-broken", "broken"),
        ("my-lab/it-can-not-tell", "inconclusive"),
    ]
    assert kept[1]["test"] == "my_lab/test_my_lab.py::test_it_is_broken"
    assert kept[1]["seen"] == "a bare packet\nand another"
    assert json.loads((pytester.path / "kept" / "bundle.json").read_text())["finished"]


def test_judging_nothing_is_inconclusive(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, "def test_forgot(lab, judge):\n    held('a', 'b')\n")
    result = pytester.runpytest_inprocess("--k8snet", "my_lab")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["INCONCLUSIVE: my-lab/forgot: judged nothing*", "=* 1 inconclusive in *"])


def test_a_verdict_that_is_swallowed_still_counts(pytester: pytest.Pytester, my_lab: Path) -> None:
    body = """
def test_hides(lab, judge):
    with pytest.raises(AssertionError):
        judge(broken("a", "b"))
"""
    lab_file(my_lab, body)
    result = pytester.runpytest_inprocess("--k8snet", "my_lab")
    result.stdout.fnmatch_lines(["BROKEN: my-lab/hides: b"])
    result.assert_outcomes(failed=1)


def test_judge_takes_a_verdict_only(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, "def test_true(lab, judge):\n    judge(True)\n")
    result = pytester.runpytest_inprocess("--k8snet", "my_lab")
    result.stdout.fnmatch_lines(["E*TypeError: judge() takes a Verdict, not True; call a claim to get one"])
    result.assert_outcomes(failed=1)


def test_a_lab_that_can_not_be_set_up_is_inconclusive(pytester: pytest.Pytester, my_lab: Path) -> None:
    body = """
@pytest.fixture(scope="module")
def observed(lab):
    raise ClusterError("the agent of k8s-node1 does not answer any more")

def test_one(observed, judge): judge(held("a", "b"))
def test_two(observed, judge): judge(held("a", "b"))
"""
    lab_file(my_lab, body)
    result = pytester.runpytest_inprocess("--k8snet", "my_lab", "--junitxml=out.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "INCONCLUSIVE: my-lab/one: the agent of k8s-node1 does not answer any more",
            "  expected  the lab set up and observed",
            "my-lab  2 inconclusive in *",
            "=* 2 inconclusive in *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*raise ClusterError*")
    suite = ElementTree.parse(pytester.path / "out.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors")) == ("2", "0")
    for case in suite.iter("testcase"):
        assert {p.get("name"): p.get("value") for p in case.iter("property")}[
            "k8snet_verdict"
        ] == "inconclusive"


def test_evidence_missing_outside_a_claim_is_inconclusive(pytester: pytest.Pytester, my_lab: Path) -> None:
    body = """
from pytest_k8snet.evidence.reading import Reading

def test_reads(lab, judge):
    Reading("k8s-node1", "ss -ltn", failure="timed out after 15 s", advice="try it by hand").get()
"""
    lab_file(my_lab, body)
    result = pytester.runpytest_inprocess("--k8snet", "my_lab")
    result.stdout.fnmatch_lines(
        [
            "INCONCLUSIVE: my-lab/reads: timed out after 15 s",
            "  where     k8s-node1",
            "  command   ss -ltn",
            "  next      try it by hand",
        ]
    )


def test_other_tests_of_a_user_show_as_ever(pytester: pytest.Pytester, my_lab: Path) -> None:
    body = """
def test_plain(): pass
def test_with_lab(lab): assert [m.name for m in lab.manifests] == ["pod-mine"]
def test_wrong(lab): assert lab.name == "other"
@pytest.mark.xfail(reason="known")
def test_expected(lab, judge): judge(broken("a", "b"))
"""
    lab_file(my_lab, body)
    result = pytester.runpytest_inprocess("--k8snet", "-v", "my_lab")
    result.assert_outcomes(passed=2, failed=1, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "*::test_plain PASSED*",
            "*::test_with_lab PASSED*",
            "*::test_wrong FAILED*",
            "*::test_expected XFAIL*",
            "E*AssertionError*",
            "my-lab  1 passed, 1 failed, 1 skipped in *",
        ]
    )


def test_without_summary_no_long_texts(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, "def test_a(lab, judge): judge(inconclusive('a', 'dropped'))\n")
    result = pytester.runpytest_inprocess("--k8snet", "--no-summary", "my_lab")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("INCONCLUSIVE: my-lab/a*")


def test_a_strict_xfail_whose_claim_holds_fails_as_pytest_says(
    pytester: pytest.Pytester, my_lab: Path
) -> None:
    body = """
@pytest.mark.xfail(reason="known", strict=True)
def test_a(lab, judge): judge(held("a", "b"))
"""
    lab_file(my_lab, body)
    result = pytester.runpytest_inprocess("--k8snet", "-v", "my_lab")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*::test_a FAILED*", "[[]XPASS(strict)[]] known", "my-lab  1 failed in *"])


def test_a_lab_skipped_as_a_whole_is_named(pytester: pytest.Pytester, my_lab: Path) -> None:
    body = """
@pytest.fixture(scope="module")
def needs(lab): pytest.skip("one worker only: no second node")
def test_one(needs, judge): pass
def test_two(needs, judge): pass
"""
    lab_file(my_lab, body)
    result = pytester.runpytest_inprocess("--k8snet", "my_lab")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["lab my-lab was skipped as a whole: one worker only: no second node"])


LEDGER = """
def test_traced(trace, ledger, judge):
    request = trace("pod-src", "pod-dest", port=8080)
    assert "eth1" in ledger(request).text
    judge({verdict}("a", "b"))
def test_again(lab, judge): judge(held("a", "b"))
"""


def test_ledger_once_with_v(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, LEDGER.format(verdict="held"))
    result = pytester.runpytest_inprocess("--k8snet", "-v", "my_lab")
    assert result.outlines.count("my-lab: pod-src -> pod-dest") == 1
    assert result.outlines.count("k8s-node2 eth1  20.109.131.5 > 20.111.156.72") == 1
    assert "trace pod-src pod-dest {'port': 8080}" in events(pytester)
    quiet = pytester.runpytest_inprocess("--k8snet", "my_lab")
    quiet.stdout.no_fnmatch_line("*20.109.131.5*")


def test_ledger_on_failure(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, LEDGER.format(verdict="broken"))
    result = pytester.runpytest_inprocess("--k8snet", "my_lab")
    result.stdout.fnmatch_lines(
        ["BROKEN: my-lab/traced: b", "pod-src -> pod-dest", "k8s-node2 eth1  20.109.131.5 > 20.111.156.72"]
    )
