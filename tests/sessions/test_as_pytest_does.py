"""pytest's own ways, and this plugin's of keeping and replaying a run, on a cluster that exists."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from tests.fakeapi import FakeCluster, Output
from tests.fakeapi.answers import LabAnswers
from tests.sessions.user import User


def verdicts(report: Path) -> dict[str, str]:
    """Claim -> verdict, of a JUnit report."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        told = {each.get("name"): each.get("value") for each in case.iter("property")}
        found[str(told["k8snet_claim"])] = str(told.get("k8snet_verdict"))
    return found


def test_a_run_that_is_kept_is_judged_again(user: User) -> None:
    """All four labs: the same 34 verdicts, from the files alone."""
    with FakeCluster("v1.34.2") as fake:
        answers = LabAnswers(fake)
        # One that breaks: a replay that held everything would prove little.
        answers.instead["k8s-node2", "conntrack"] = Output()
        ended = user.start(fake, "--k8snet-disruptive", "--k8snet-bundle=kept", "--junitxml=live.xml").end()
        assert (answers.unknown, fake.left()) == ([], [])
        asked = len(fake.faults.log)
        again = user.run("--k8snet-replay=kept", "--junitxml=again.xml")
        assert len(fake.faults.log) == asked
    live = verdicts(user.folder / "live.xml")
    assert len(live) == 34
    assert set(live.values()) == {"held", "inconclusive"}
    assert verdicts(user.folder / "again.xml") == live
    assert (ended.status, again.status) == (1, 1)
    assert again.told == ended.told
    header = json.loads((user.folder / "kept" / "bundle.json").read_text())
    assert (header["provider"], header["finished"] is None) == ("kubeconfig", False)
    kept = "".join(path.read_text() for path in (user.folder / "kept").rglob("*.json*"))
    assert "fake-token" not in kept


def test_workers_have_a_namespace_each(user: User) -> None:
    with FakeCluster() as fake:
        LabAnswers(fake)
        ended = user.start(fake, "-n2", "-k", "one_sandbox or same_netns or pod_ip").end()
        assert (ended.status, ended.counts["passed"]) == (0, 3)
        assert fake.left() == []


def test_collecting_asks_nothing(user: User, fake: FakeCluster) -> None:
    ended = user.judge(fake, "--co", "-q", "-m", "nodeport and not disruptive")
    assert ended.status == 0
    assert sum("::test_" in line for line in ended.lines) == 7
    assert fake.faults.log == []


def test_the_first_that_fails_ends_it(user: User, fake: FakeCluster, answers: LabAnswers) -> None:
    answers.absent.add("docker")
    ended = user.judge(fake, "-x")
    assert (ended.status, ended.counts) == (1, {"inconclusive": 1})


def test_nothing_selected_makes_nothing(user: User, fake: FakeCluster) -> None:
    assert user.judge(fake, "-k", "nothing_of_that_name").status == 5
    assert fake.requests("POST", "/api/v1/namespaces") <= 1  # the preflight's dry run
