"""Facts side by side: what is a change, what is unknown, what is left out."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.intent import Intent
from pytest_k8snet.meaning.comparison import Allowed, Change, Comparison, Fact, compare, meaning_of
from pytest_k8snet.meaning.observed import facts_of, unobserved, verdict_fact
from tests.claims import scenes

MTU = Fact("mtu/node1/tunnel", "1480", labs=("pod-network",))
LOST = Fact("mtu/node1/tunnel", "", "node1 did not answer", labs=("pod-network",))
WIDE = dataclasses.replace(MTU, value="1500")
MODE = Fact("pool/mode", "Always", labs=("pod-network",))
RULES = Fact("rules/clusterip/node2", "a walk", labs=("clusterip",))
PATH = Fact("path/clusterip/target-veth", "to pod-dest", labs=("clusterip",))
GONE = dataclasses.replace(PATH, value="not seen")
TTL = Fact("ttl/clusterip/target-veth", "62", rests_on=(PATH.id,), labs=("clusterip",))
HELD = verdict_fact("clusterip/endpoints", Outcome.HELD)


def beside(
    before: list[Fact], now: list[Fact], *allowed: Allowed, left_out: dict[str, str] | None = None
) -> Comparison:
    return compare(
        meaning_of(before), meaning_of(now), baseline="kept", allowed=allowed, left_out=left_out or {}
    )


def test_what_differs_is_a_change() -> None:
    found = beside([MTU, MODE], [WIDE, MODE])
    assert found.changes == (Change("mtu/node1/tunnel", "1480", "1500"),)
    assert (found.same, found.left_out, found.baseline) == (1, {}, "kept")
    assert found.unexpected == found.changes


def test_what_is_there_on_one_side_alone_is_a_change() -> None:
    assert beside([MODE], [MODE, MTU]).changes == (Change(MTU.id, "", "1480"),)
    assert beside([MODE, MTU], [MODE]).changes == (Change(MTU.id, "1480", ""),)


def test_what_this_run_did_not_observe_is_unknown() -> None:
    found = beside([MTU], [LOST])
    assert found.changes == (Change(MTU.id, "1480", "", unknown="node1 did not answer"),)
    assert found.unexpected == ()
    assert found.same == 0


def test_what_the_baseline_did_not_observe_is_left_out() -> None:
    found = beside([LOST, MODE], [MTU, MODE])
    assert found.changes == ()
    assert found.left_out == {MTU.id: "the baseline did not observe it: node1 did not answer"}
    assert beside([LOST], [LOST]).changes == ()
    assert beside([MODE], [MODE, LOST]).left_out == {
        MTU.id: "not in the baseline, and not observed: node1 did not answer"
    }


def test_a_lab_that_was_not_run_is_left_out_once() -> None:
    found = beside([MODE, RULES, PATH], [MODE])
    assert (found.changes, found.left_out, found.same) == ((), {"lab/clusterip": "not run"}, 1)
    told = beside([MODE, RULES], [MODE], left_out={"clusterip": "deselected"})
    assert told.left_out == {"lab/clusterip": "deselected"}
    assert beside([MODE], [MODE, RULES]).left_out == {"lab/clusterip": "not run in the baseline"}


def test_a_lab_that_failed_is_one_thing_unknown() -> None:
    failed = unobserved("clusterip", "no service svc-clusterip")
    found = beside([MODE, RULES, PATH], [MODE, failed])
    assert found.changes == (Change("lab/clusterip", "observed", "", unknown="no service svc-clusterip"),)
    assert not found.left_out
    assert beside([MODE], [MODE, failed]).changes == ()
    assert beside([MODE, failed], [MODE, RULES]).left_out == {"lab/clusterip": "no service svc-clusterip"}


def test_a_fact_of_two_labs_is_compared_where_either_was_run() -> None:
    both = dataclasses.replace(MTU, labs=("pod-network", "nodeport"))
    assert beside([both], [dataclasses.replace(WIDE, labs=("nodeport",))]).changes
    assert beside([both, MODE], [MODE]).changes == (Change(MTU.id, "1480", ""),)


def test_verdicts() -> None:
    broken, unsure = (verdict_fact("clusterip/endpoints", word) for word in ("broken", "inconclusive"))
    (change,) = beside([HELD], [broken]).changes
    assert (change.before, change.now, change.unknown) == ("held", "broken", "")
    (change,) = beside([HELD], [unsure]).changes
    assert (change.before, change.now) == ("held", "inconclusive")
    assert change.unknown
    (change,) = beside([broken], [HELD]).changes
    assert (change.before, change.now, change.unknown) == ("broken", "held", "")


@pytest.mark.parametrize("now", ["held", "broken"])
def test_a_claim_that_was_inconclusive_is_nothing_to_compare_with(now: str) -> None:
    unsure, decided = (verdict_fact("clusterip/endpoints", word) for word in ("inconclusive", now))
    found = beside([MODE, unsure], [MODE, decided])
    assert found.changes == ()
    assert found.left_out == {HELD.id: "the claim is inconclusive in the baseline"}
    assert beside([unsure], [unsure]).same == 1


def test_verdicts_of_one_side_alone_are_left_out() -> None:
    id = "verdict/clusterip/endpoints"
    assert beside([RULES, HELD], [RULES]).left_out == {id: "not judged in this run"}
    assert beside([MODE, HELD], [MODE]).left_out == {"lab/clusterip": "not run"}
    assert beside([RULES], [RULES, HELD]).left_out == {id: "not in the baseline"}
    assert beside([RULES, HELD], [RULES], left_out={id: "skipped: no Calico"}).left_out == {
        id: "skipped: no Calico"
    }


def test_what_follows_from_a_change_is_not_told_again() -> None:
    assert [change.id for change in beside([PATH, TTL], [GONE]).changes] == [PATH.id]
    assert [change.id for change in beside([GONE], [PATH, TTL]).changes] == [PATH.id]
    unseen = dataclasses.replace(TTL, value="", missing="nothing to read it from")
    assert [change.id for change in beside([PATH, TTL], [GONE, unseen]).changes] == [PATH.id]
    assert [change.id for change in beside([PATH, TTL], [PATH]).changes] == [TTL.id]
    other = dataclasses.replace(TTL, value="40")
    assert [change.id for change in beside([PATH, TTL], [GONE, other]).changes] == [PATH.id, TTL.id]
    assert beside([PATH, TTL], [GONE]).same == 0


def test_of_two_sightings_one_is_gone() -> None:
    two, one = dataclasses.replace(TTL, value="64\n63"), dataclasses.replace(TTL, value="64")
    assert [change.id for change in beside([PATH, two], [GONE, one]).changes] == [PATH.id]
    assert [change.id for change in beside([PATH, two], [PATH, one]).changes] == [TTL.id]
    assert [change.id for change in beside([GONE, one], [PATH, two]).changes] == [PATH.id, TTL.id]


def test_what_could_not_be_counted_is_unknown_once() -> None:
    one = Fact("netns/pod-pause/container1/by", "none", labs=("pause",))
    none = Fact("netns/pod-pause", "", "docker did not answer", labs=("pause",))
    kept = Fact("sandbox/pod-pause", "1", labs=("pause",))
    found = beside([kept, one], [kept, none])
    assert found.changes == (Change("netns/pod-pause", "", "", unknown="docker did not answer"),)
    assert not found.left_out
    assert list(beside([kept, none], [kept, one]).left_out) == ["netns/pod-pause", one.id]


@pytest.mark.parametrize(
    ("before", "now", "changed"),
    [
        ("8.0 ms", "80.0 ms", False),
        ("8.0 ms", "508.0 ms", False),
        ("8.0 ms", "508.1 ms", True),
        ("1008.0 ms", "8.0 ms", True),
        ("200.0 ms", "2000.0 ms", False),
        ("200.0 ms", "2000.1 ms", True),
    ],
)
def test_times_have_a_bound(before: str, now: str, changed: bool) -> None:
    sides = [[Fact("time/clusterip", value, bound=(10.0, 500.0))] for value in (before, now)]
    assert bool(beside(sides[0], sides[1]).changes) is changed


def test_an_allowance_names_its_reason_and_an_idle_one_is_told() -> None:
    wider, idle = Allowed("mtu/*", "new switches"), Allowed("tunnel/*", "VXLAN")
    found = beside([MTU, MODE], [WIDE, MODE], wider, idle)
    assert found.changes == (Change(MTU.id, "1480", "1500", allowed="new switches"),)
    assert found.unexpected == ()
    assert found.idle == [idle]


def test_no_allowance_covers_what_is_unknown() -> None:
    found = beside([MTU], [LOST], Allowed("mtu/*", "new switches"))
    assert found.changes == (Change(MTU.id, "1480", "", unknown="node1 did not answer"),)
    assert found.idle == []


def test_labs_that_tell_one_fact() -> None:
    again = dataclasses.replace(MTU, labs=("nodeport",))
    assert meaning_of([MTU, again])[MTU.id] == dataclasses.replace(MTU, labs=("pod-network", "nodeport"))
    assert meaning_of([LOST, again])[MTU.id].value == "1480"
    assert meaning_of([again, LOST])[MTU.id].value == "1480"
    said = meaning_of([MTU, dataclasses.replace(WIDE, labs=("nodeport",)), again])[MTU.id].value
    assert said == "1480\nelsewhere in the same run: 1500"


def test_facts_pass_through_json() -> None:
    """As they come from a worker of pytest-xdist."""
    facts = facts_of(scenes.nodeport(), Intent())
    come = [Fact(**json.loads(json.dumps(dataclasses.asdict(fact)))) for fact in facts]
    found = compare(meaning_of(facts), meaning_of(come), baseline="x")
    assert (found.changes, found.same) == ((), len(meaning_of(facts)))


@pytest.mark.parametrize(("lab", "id"), [("pause-restart", "restart"), ("clusterip-spread", "spread")])
def test_a_failed_reading_says_of_what_it_is_one_by_its_lab(lab: str, id: str) -> None:
    reading: Reading[object] = Reading("k8s-node1", "kill 1", failure="it said no")
    assert facts_of(reading, Intent(), lab) == (Fact(id, "", "it said no", labs=(lab,)),)
    assert facts_of(reading, Intent()) == ()


def test_an_observation_of_nothing_known_is_refused() -> None:
    with pytest.raises(TypeError, match="nothing is known of what int means"):
        facts_of(3, Intent())
