"""What every fault of the matrix changes, by meaning, beside the healthy run: that, and nothing else."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from pytest_k8snet.embedded.faults import observer, overlay, sandbox, services
from pytest_k8snet.meaning.comparison import Fact, Meaning
from tests.meaning import table
from tests.meaning.runs import ROWS, faulty, healthy

BREAKING = [name for name, row in ROWS.items() if row.breaks]
OBSERVERS = [fault.name for fault in observer.FAULTS]
PLACES = {"sandbox": sandbox.FAULTS, "overlay": overlay.FAULTS, "services": services.FAULTS}

#: What must not stand in a value: addresses, hashes of chains and interfaces, ids, pids, a node's own name.
OWN = re.compile(
    r"\b(?!127\.|0\.0\.0\.0|169\.254\.)(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b"
    r"|[A-Z2-7]{16}\b|cali[0-9a-f]{11}|[0-9a-f]{12,}|/proc/[0-9]|k8s-(?:master|node)|default/"
)


def own_words(meaning: Meaning) -> list[Fact]:
    return [fact for fact in meaning.values() if OWN.search(fact.id) or OWN.search(fact.value)]


@pytest.mark.parametrize("fault", BREAKING)
def test_a_fault_shows_as_what_it_is(fault: str) -> None:
    told = [change.id for change in table.told(table.beside_healthy(fault))]
    if fault in table.VERDICTS_ONLY:
        assert not told, "it shows after all: move it to [shows]"
        return
    for glob in table.SHOWS[fault]:
        assert any(fnmatchcase(id, glob) for id in told), (glob, told)


@pytest.mark.parametrize("fault", [name for name in ROWS if name not in OBSERVERS])
def test_a_fault_shows_nowhere_else(fault: str) -> None:
    place = next(name for name, faults in PLACES.items() if fault in {each.name for each in faults})
    for change in table.told(table.beside_healthy(fault)):
        assert not any(fnmatchcase(change.id, glob) for glob in table.UNTOUCHED[place]), change


@pytest.mark.parametrize("fault", OBSERVERS)
def test_a_fault_of_the_observer_is_unknown_and_changes_nothing(fault: str) -> None:
    found = table.beside_healthy(fault)
    assert table.told(found) == []
    assert found.unexpected == ()
    assert all(change.unknown for change in found.changes)
    assert found.changes


@pytest.mark.parametrize("fault", ROWS)
def test_verdicts_of_the_matrix_differ_and_no_others(fault: str) -> None:
    row = ROWS[fault]
    wanted = dict.fromkeys(row.breaks, "broken") | dict.fromkeys(row.inconclusive, "inconclusive")
    changes = table.verdicts(table.beside_healthy(fault))
    assert {change.id.removeprefix("verdict/"): change.now for change in changes} == wanted
    assert {change.before for change in changes} <= {"held"}
    assert [bool(change.unknown) for change in changes] == [each.now == "inconclusive" for each in changes]


@pytest.mark.parametrize("fault", ROWS)
def test_nothing_of_the_runs_own_stands_in_a_fact(fault: str) -> None:
    assert own_words(faulty(fault)) == []


def test_the_healthy_run_says_all_of_itself_and_nothing_of_its_own() -> None:
    assert own_words(healthy()) == []
    assert [fact for fact in healthy().values() if fact.missing] == []
    assert {"mtu", "encapsulation", "route", "proxy", "tunnel", "rules", "nat", "netns"} <= {
        id.partition("/")[0] for id in healthy()
    }


def test_every_breaking_fault_says_what_it_shows() -> None:
    assert {*table.SHOWS, *table.VERDICTS_ONLY} == set(BREAKING)
    assert not table.SHOWS.keys() & table.VERDICTS_ONLY.keys()


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert "| pool-never | pod-network/ippool-mode | `pool/mode` | 1 broken, 0 inconclusive |" in lines
    (hanging,) = (line for line in lines if line.startswith("| probe-hangs "))
    assert "| none | none; 1 unknown |" in hanging
