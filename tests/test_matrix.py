"""The fault matrix: what every fault does to every claim, judged from the bundle that each left.

Live: ``make faults-live``.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import pytest

from pytest_k8snet import matrix
from pytest_k8snet.claims.catalogue import BY_ID, CATALOGUE
from pytest_k8snet.claims.causes import DIAGNOSES
from pytest_k8snet.claims.verdict import Outcome, Verdict, broken, held, inconclusive
from pytest_k8snet.clusters.bundle import FORMAT
from pytest_k8snet.embedded.faults import observer
from pytest_k8snet.embedded.faults.catalogue import BY_NAME
from tests.matrix import replayed
from tests.matrix.__main__ import main
from tests.matrix.outcome import Row, differences

ROWS = matrix.load()
CLAIMS = [claim.id for claim in CATALOGUE]


@pytest.mark.parametrize("fault", BY_NAME)
def test_a_fault_does_what_the_matrix_says_and_nothing_else(fault: str) -> None:
    row = replayed.row(fault)
    assert not row.error
    assert [str(difference) for difference in differences(row, ROWS[fault], CLAIMS)] == []
    # What can't tell says why, and what to do about it.
    for claim in row.claims(Outcome.INCONCLUSIVE):
        verdict = row.verdicts[claim]
        assert verdict.seen, claim
        assert verdict.advice, claim


def test_every_fault_has_a_row_and_every_row_a_fault() -> None:
    assert list(ROWS) == list(BY_NAME)


def test_every_fault_is_noticed() -> None:
    assert [row.fault for row in ROWS.values() if not row.breaks and not row.inconclusive] == []


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_is_broken_by_some_fault(claim: str) -> None:
    assert [row.fault for row in ROWS.values() if claim in row.breaks], f"no fault breaks {claim}: add one"


@pytest.mark.parametrize("diagnosis", DIAGNOSES)
def test_every_diagnosis_is_reached_by_some_fault(diagnosis: str) -> None:
    assert [row.fault for row in ROWS.values() if diagnosis in row.breaks.values()]


def test_the_matrix_names_claims_and_diagnoses_that_there_are() -> None:
    for row in ROWS.values():
        assert row.breaks.keys() | set(row.inconclusive) <= BY_ID.keys(), row.fault
        assert not row.breaks.keys() & set(row.inconclusive), row.fault
        assert set(row.breaks.values()) <= {*DIAGNOSES, ""}, row.fault


def test_a_fault_of_the_observer_breaks_nothing() -> None:
    assert [fault.name for fault in observer.FAULTS if ROWS[fault.name].breaks] == []


def test_the_bundles_are_those_of_the_faults_and_small() -> None:
    files = sorted(path.name for path in replayed.BUNDLES.iterdir())
    assert files == sorted(f"{name}.tar.xz" for name in BY_NAME)
    assert sum(path.stat().st_size for path in replayed.BUNDLES.iterdir()) < 10_000_000


def test_a_bundle_says_what_was_wrong_on_purpose_and_names_no_path_of_the_machine() -> None:
    with tarfile.open(replayed.recorded("pool-never")) as archive:
        texts = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        contents = {name: file.read() for name, file in texts.items() if file is not None}
    header = json.loads(contents["pool-never/bundle.json"])
    assert header["format"] == FORMAT
    assert header["details"]["faults"] == "pool-never"
    assert header["summary"].endswith(", wrong on purpose: pool-never")
    for folder in {str(Path.home()), str(Path(__file__).parent.parent)}:
        assert not [name for name, content in contents.items() if f"{folder}/".encode() in content]


GOOD = held("x", "x")
BAD = broken("x", "its sight")
CAUSED = Verdict(Outcome.BROKEN, "x", "x", cause="because", diagnosis="pool-mode")
UNKNOWN = inconclusive("x", "nobody saw it")


@pytest.mark.parametrize(
    ("verdict", "breaks", "undecided", "told"),
    [
        (GOOD, {}, (), []),
        (BAD, {"a": ""}, (), []),
        (CAUSED, {"a": "pool-mode"}, (), []),
        (UNKNOWN, {}, ("a",), []),
        (GOOD, {"a": ""}, (), ["a: expected broken, got held (x)"]),
        (GOOD, {}, ("a",), ["a: expected inconclusive, got held (x)"]),
        (UNKNOWN, {"a": ""}, (), ["a: expected broken, got inconclusive (nobody saw it)"]),
        (BAD, {}, (), ["a: expected held, got broken (its sight)"]),
        (BAD, {}, ("a",), ["a: expected inconclusive, got broken (its sight)"]),
        (UNKNOWN, {}, (), ["a: expected held, got inconclusive (nobody saw it)"]),
        (BAD, {"a": "pool-mode"}, (), ["a: expected cause pool-mode, got cause none"]),
        (CAUSED, {"a": ""}, (), ["a: expected cause none, got cause pool-mode (because)"]),
        (None, {}, (), ["a: expected held, got no verdict (the kernel would not boot)"]),
    ],
)
def test_every_difference_is_told(
    verdict: Verdict | None, breaks: dict[str, str], undecided: tuple[str, ...], told: list[str]
) -> None:
    row = Row("f", {"a": verdict}) if verdict is not None else Row("f", error="the kernel would not boot")
    found = list(differences(row, matrix.Row("f", breaks, undecided), ["a"]))
    assert list(map(str, found)) == told


def test_a_fault_that_could_not_be_taken_back_is_told() -> None:
    row = Row("f", {"a": GOOD}, error="ClusterError: File exists")
    (found,) = differences(row, matrix.Row("f", {}, ()), ["a"])
    assert str(found) == "afterwards: expected the fault taken back, got ClusterError: File exists"


@pytest.mark.parametrize(
    ("verdict", "breaks", "undecided", "missed"),
    [
        (GOOD, {"a": ""}, (), True),
        (GOOD, {}, ("a",), True),
        (UNKNOWN, {"a": ""}, (), True),
        (BAD, {"a": "pool-mode"}, (), True),
        (BAD, {}, (), False),
        (BAD, {}, ("a",), False),
        (UNKNOWN, {}, (), False),
    ],
)
def test_what_is_better_than_it_should_be_was_missed(
    verdict: Verdict, breaks: dict[str, str], undecided: tuple[str, ...], missed: bool
) -> None:
    (found,) = differences(Row("f", {"a": verdict}), matrix.Row("f", breaks, undecided), ["a"])
    assert found.missed is missed


def test_the_table_ends_with_what_was_caught(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["matrix", "pool-never", "conntrack-missing"])
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["fault", "expected", "got", "ms"]
    assert lines[1].split()[:-1] == ["pool-never", "1", "broken", "as", "expected"]
    assert lines[-1] == "2 faults, 2 caught, 0 missed, 0 extra"
    monkeypatch.setattr(matrix, "load", lambda: ROWS | {"pool-never": matrix.Row("pool-never", {}, ())})
    assert main() == 1
    said = capsys.readouterr().out
    assert "pool-never: pod-network/ippool-mode: expected held, got broken (" in said
    assert said.splitlines()[-1] == "2 faults, 1 caught, 0 missed, 1 extra"
