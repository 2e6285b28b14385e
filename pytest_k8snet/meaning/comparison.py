"""What two runs mean, set side by side: facts by id, and the changes between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import MappingProxyType


@dataclass(frozen=True)
class Fact:
    """One thing that a run says of its network, free of the run's own addresses, names, hashes and ports."""

    id: str  #: "mtu/node2/tunnel"; the part before the first slash is its kind
    value: str  #: in roles: "IPIP node2.uplink > node1.uplink"; may have several lines
    missing: str = ""  #: why it was not observed; ``value`` is then ""
    #: How far a number may be from the other run's without being a change: (factor, least difference).
    #: None: any difference is one.
    bound: tuple[float, float] | None = None
    #: Ids of facts without which this one can't be there: no request seen, no TTL of it.
    rests_on: tuple[str, ...] = ()
    labs: tuple[str, ...] = ()  #: the observations that tell it; none: a verdict


Meaning = Mapping[str, Fact]  #: by id

_VERDICT, _LAB = "verdict/", "lab/"
_INCONCLUSIVE = "inconclusive"
_ELSEWHERE = "\nelsewhere in the same run: "


@dataclass(frozen=True)
class Allowed:
    """One line of ``k8snet_baseline_allow``: a glob on ids of changes, and why they are expected."""

    glob: str
    reason: str

    def covers(self, change_id: str) -> bool:
        return fnmatchcase(change_id, self.glob)


@dataclass(frozen=True)
class Change:
    """One fact that differs. ``before`` is the baseline's value; "" on the side that has no such fact."""

    id: str
    before: str
    now: str
    allowed: str = ""  #: the reason that the user gave; "" where nobody expected it
    unknown: str = ""  #: why this run can't tell (it was not observed): inconclusive, not a change


@dataclass(frozen=True)
class Comparison:
    """This run beside a kept one."""

    baseline: str  #: which run: "before (embedded, recorded 2026-11-20 10:12 UTC)"
    same: int  #: facts that both runs have, and that mean the same
    changes: tuple[Change, ...] = ()
    #: Facts that were not compared, and why: a lab left out of this run, a claim unknown to the baseline.
    left_out: Mapping[str, str] = field(default_factory=dict)
    idle: Sequence[Allowed] = ()  #: allowances that no change needed

    @property
    def unexpected(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if not change.allowed and not change.unknown)

    @property
    def unknown(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.unknown)

    @property
    def expected(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.allowed and not change.unknown)


def meaning_of(facts: Iterable[Fact]) -> Meaning:
    """One run's facts by id. Of a fact that several labs tell, what was observed counts; where they
    contradict each other, the value has what each says."""
    found: dict[str, Fact] = {}
    for fact in facts:
        known = found.get(fact.id)
        found[fact.id] = fact if known is None else _both(known, fact)
    return found


def _both(one: Fact, other: Fact) -> Fact:
    labs = tuple(dict.fromkeys((*one.labs, *other.labs)))
    if one.missing or other.missing:
        return replace(other if one.missing else one, labs=labs)
    said = one.value.split(_ELSEWHERE)
    if other.value in said:
        return replace(one, labs=labs)
    return replace(one, value=_ELSEWHERE.join((*said, other.value)), labs=labs)


def compare(
    before: Meaning,
    now: Meaning,
    *,
    baseline: str,
    allowed: Sequence[Allowed] = (),
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> Comparison:
    """``now`` beside ``before``, fact by fact.

    * What both observed and that differs is a change.
    * What this run should have observed and could not is unknown: inconclusive, and no allowance covers it.
      So is a claim that was conclusive and is not now.
    * What the baseline did not observe, a claim that was inconclusive there, or a lab or claim that one side
      did not run, is left out, and why.
      ``left_out`` has the reasons that the caller knows, by id of a fact or by name of a lab.
    * A fact that rests on one that changed is not told a second time where only one side has it.
    """
    sides = _Sides(before, now, left_out)
    changes: list[Change] = []
    for id in (*before, *(id for id in now if id not in before)):
        told = sides.beside(id)
        if told is not None:
            reason = "" if told.unknown else next((each.reason for each in allowed if each.covers(id)), "")
            changes.append(replace(told, allowed=reason))
    idle = [each for each in allowed if not any(each.covers(change.id) for change in changes)]
    return Comparison(baseline, sides.same, tuple(changes), sides.left_out, idle)


class _Sides:
    """Both runs; counts what is the same, and collects what can't be compared."""

    def __init__(self, before: Meaning, now: Meaning, reasons: Mapping[str, str]) -> None:
        self._before, self._now, self._reasons = before, now, reasons
        self._ran_before, self._ran_now = _ran(before), _ran(now)
        self.left_out: dict[str, str] = {}
        self.same = 0

    def beside(self, id: str) -> Change | None:
        """How one fact differs; None where it does not, or is left out."""
        old, new = self._before.get(id), self._now.get(id)
        if id.startswith(_LAB):
            return self._whole_lab(id, new)
        if old is not None and old.missing:
            return self._leave(id, f"the baseline did not observe it: {old.missing}")
        if old is not None and new is not None:
            return self._both(old, new)
        return self._gone(old) if old is not None else self._come(new) if new is not None else None

    def _both(self, old: Fact, new: Fact) -> Change | None:
        if new.missing:
            follows = self._follows(new)
            return None if follows else Change(new.id, old.value, "", unknown=new.missing)
        if _same(old, new):
            self.same += 1
            return None
        verdict = new.id.startswith(_VERDICT)
        if verdict and old.value == _INCONCLUSIVE:
            return self._leave(new.id, "the claim is inconclusive in the baseline")
        if set(new.value.splitlines()) < set(old.value.splitlines()) and self._follows(new):
            return None  # of two sightings one is gone, and what it rests on says so
        undecided = verdict and new.value == _INCONCLUSIVE
        unknown = "the claim is inconclusive in this run" if undecided else ""
        return Change(new.id, old.value, new.value, unknown=unknown)

    def _gone(self, old: Fact) -> Change | None:
        """This run has no such fact."""
        if old.id in self._reasons:
            return self._leave(old.id, self._reasons[old.id])
        if old.id.startswith(_VERDICT):
            lab = old.id.split("/")[1]
            if lab in self._ran_now:
                return self._leave(old.id, "not judged in this run")
            return self._leave(_LAB + lab, self._reasons.get(lab, "not run"))
        if not self._ran_now.intersection(old.labs):
            lab = next((lab for lab in old.labs if _LAB + lab in self._now), "")
            return None if lab else self._leave(_LAB + old.labs[0], self._reasons.get(old.labs[0], "not run"))
        if _unobserved_above(old.id, self._now) or self._follows(old):
            return None
        return Change(old.id, old.value, "")

    def _come(self, new: Fact) -> Change | None:
        """The baseline has no such fact."""
        if new.missing:
            if any(id.startswith(f"{new.id}/") for id in self._before):
                return Change(new.id, "", "", unknown=new.missing)
            return self._leave(new.id, f"not in the baseline, and not observed: {new.missing}")
        if new.id.startswith(_VERDICT):
            return self._leave(new.id, "not in the baseline")
        if not self._ran_before.intersection(new.labs):
            lab = new.labs[0]
            failed = self._before.get(_LAB + lab)
            return self._leave(_LAB + lab, failed.missing if failed else "not run in the baseline")
        if above := _unobserved_above(new.id, self._before):
            return self._leave(new.id, f"the baseline did not observe it: {self._before[above].missing}")
        return None if self._follows(new) else Change(new.id, "", new.value)

    def _whole_lab(self, id: str, new: Fact | None) -> Change | None:
        lab = id.removeprefix(_LAB)
        lost = [each for each in self._before.values() if lab in each.labs and not each.missing]
        if new is None or not lost:
            return None
        return Change(id, "observed", "", unknown=new.missing)

    def _follows(self, fact: Fact) -> bool:
        """What it rests on differs: that is told, and this follows from it."""
        return any(self._differs(id) for id in fact.rests_on)

    def _differs(self, id: str) -> bool:
        old, new = self._before.get(id), self._now.get(id)
        if old is None or new is None:
            return old is not new
        return bool(old.missing or new.missing) or not _same(old, new)

    def _leave(self, id: str, why: str) -> Change | None:
        self.left_out[id] = why
        return None


def _ran(meaning: Meaning) -> set[str]:
    return {lab for fact in meaning.values() for lab in fact.labs if not fact.id.startswith(_LAB)}


def _unobserved_above(id: str, meaning: Meaning) -> str:
    """The fact that stands for all below it where they could not even be counted: "netns/pod-pause"."""
    parts = id.split("/")
    above = ("/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
    return next((each for each in above if each in meaning and meaning[each].missing), "")


def _same(old: Fact, new: Fact) -> bool:
    if old.value == new.value:
        return True
    bound = new.bound or old.bound
    if bound is None:
        return False
    factor, least = bound
    low, high = sorted(float(each.value.split()[0]) for each in (old, new))
    return high - low <= least or high <= low * factor
