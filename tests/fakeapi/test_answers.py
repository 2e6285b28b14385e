"""The labs on the fake, through the kubeconfig provider: all that a real cluster has them go through."""

from __future__ import annotations

import pytest

from tests.fakeapi import FakeCluster, Output
from tests.fakeapi.answers import LabAnswers


def run(fake: FakeCluster, pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    kubeconfig = fake.kubeconfig(pytester.path / "kubeconfig")
    return pytester.runpytest_subprocess(
        *(
            "-p",
            "no:hypothesispytest",
            "--k8snet",
            "--k8snet-provider",
            "kubeconfig",
            "--k8snet-context",
            "fake",
            "--color=no",
        ),
        *("--k8snet-kubeconfig", str(kubeconfig), *options),
    )


def test_all_labs_hold(pytester: pytest.Pytester) -> None:
    with FakeCluster("v1.34.2") as fake:
        answers = LabAnswers(fake)
        result = run(fake, pytester, "--k8snet-disruptive")
        assert result.ret == 0
        result.assert_outcomes(passed=34)
        assert (answers.unknown, fake.left()) == ([], [])


def test_what_a_node_does_not_say_is_inconclusive(fake: FakeCluster, pytester: pytest.Pytester) -> None:
    answers = LabAnswers(fake)
    answers.instead["k8s-node2", "conntrack"] = Output(
        stderr=b"conntrack: Operation not permitted\n", exit_status=1
    )
    result = run(fake, pytester, "-k", "conntrack_agrees")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["INCONCLUSIVE: clusterip/conntrack-agrees:*Operation not permitted*"])
    assert fake.left() == []
