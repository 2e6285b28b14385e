"""What the plugin does about real clusters: steps in a log, skipped labs, disruptive claims."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.plugin import stand_in
from tests.plugin.conftest import POD, events, lab_file

HOLDS = "def test_holds(lab, judge): judge(held('a', 'b'))\n"
CONTEXT = "--k8snet-context=lab"


def test_steps_stay_in_a_log(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, HOLDS)
    result = pytester.runpytest_inprocess("--k8snet", CONTEXT, "my_lab")
    result.stdout.fnmatch_lines(
        [
            "k8snet: provider kubeconfig (context lab)",
            "k8snet: starting kubeconfig (0.0 s)",
            "k8snet: building nodes (* s)",
            "on kubeconfig: a stand-in",
            "k8snet: this is a verdict on the cluster of context lab.",
        ]
    )


def test_steps_are_not_told_to_who_wants_it_quiet(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, HOLDS)
    pytester.runpytest_inprocess("--k8snet", CONTEXT, "-q", "my_lab").stdout.no_fnmatch_line("*building*")


def test_disruptive_claims_are_for_who_asks(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, "@pytest.mark.disruptive\n" + HOLDS)
    result = pytester.runpytest_inprocess("--k8snet", CONTEXT, "my_lab", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["lab my-lab was skipped as a whole: *only with --k8snet-disruptive"])
    assert events(pytester) == []
    pytester.runpytest_inprocess("--k8snet", CONTEXT, "--k8snet-disruptive", "my_lab").assert_outcomes(
        passed=1
    )
    pytester.runpytest_inprocess("--k8snet", "my_lab").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("lacks", "claim", "why"),
    [
        ({"node1": "only one worker"}, HOLDS, "only one worker"),
        ({"master": "no third node"}, "def test_it(nodeport_lab, judge): pass\n", "no third node"),
        (
            {"calico": "no IPPool: Calico does not run here"},
            "@pytest.mark.needs('calico')\n" + HOLDS,
            "no IPPool: Calico does not run here",
        ),
    ],
)
def test_what_a_cluster_lacks_skips_what_needs_it(
    pytester: pytest.Pytester,
    my_lab: Path,
    monkeypatch: pytest.MonkeyPatch,
    lacks: dict[str, str],
    claim: str,
    why: str,
) -> None:
    monkeypatch.setenv(stand_in.LACKS, json.dumps(lacks))
    lab_file(my_lab, claim)
    result = pytester.runpytest_inprocess("--k8snet", CONTEXT, "my_lab")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([f"lab my-lab was skipped as a whole: {why}"])
    assert not any(event.startswith("observe_nodeport") for event in events(pytester))


def test_what_is_there_is_judged(
    pytester: pytest.Pytester, my_lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(stand_in.LACKS, json.dumps({"master": "no third node", "node2": "only one worker"}))
    lab_file(my_lab, "@pytest.mark.needs('calico')\n" + HOLDS)
    pytester.runpytest_inprocess("--k8snet", CONTEXT, "my_lab").assert_outcomes(passed=1)


def test_what_stays_is_told_last(
    pytester: pytest.Pytester, my_lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(stand_in.FAREWELL, "kept: kubectl delete namespace k8snet-1")
    lab_file(my_lab, HOLDS)
    result = pytester.runpytest_inprocess("--k8snet", CONTEXT, "--k8snet-keep", "my_lab")
    assert result.outlines[-1] == "k8snet: kept: kubectl delete namespace k8snet-1"


def test_workers_share_one_kind_cluster(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(stand_in.CONFTEST)
    for name in ("lab_a", "lab_b"):
        directory = pytester.mkdir(name)
        (directory / "pod.yaml").write_text(POD)
        lab_file(directory, HOLDS)
    result = pytester.runpytest_subprocess("--k8snet", "--k8snet-provider=kind", "-n2", "lab_a", "lab_b")
    result.assert_outcomes(passed=2)
    told = events(pytester)
    assert (told[0], told[-1]) == ("start", "close")
    joined = told.count("start kind-kubeconfig")
    assert 1 <= joined <= 2
    assert told.count("close kind-kubeconfig") == joined
    assert (told.count("start"), told.count("close")) == (1, 1)


def test_a_kind_cluster_that_does_not_come_up_ends_a_distributed_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest(stand_in.CONFTEST)
    monkeypatch.setenv(stand_in.FAILS, "kind: no node image")
    lab_file(pytester.mkdir("my_lab"), HOLDS)
    result = pytester.runpytest_subprocess("--k8snet", "--k8snet-provider=kind", "-n2", "my_lab")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = result.stdout.str() + result.stderr.str()
    assert "k8snet: kind: no node image" in said
    assert "Traceback" not in said
    assert events(pytester) == []
