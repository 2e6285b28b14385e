"""The outage watch: what each path lost while somebody's command changed the cluster.

New connections measure the path: each attempt stands for itself. The held connection shows what an
application feels that keeps one: TCP sends again what was lost, ever more rarely, so that it waits longer
than the path was broken. Both are told; a budget bounds both, the second by what TCP may make of it.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from pytest_k8snet.claims import outage_ledger
from pytest_k8snet.claims.outage_gaps import Gap, Stall, Stretch, Timeline, controls, felt, places
from pytest_k8snet.claims.verdict import Verdict, broken, claim, held, inconclusive, shown_by
from pytest_k8snet.evidence.outage import KINDS, OutageLab, PathWatched
from pytest_k8snet.evidence.reading import NotObserved

#: Answers of each path and kind that must stand before the command, and requests after it.
CONTROLS = 10
#: Seconds without a request that a watch may have, whatever the budget: two are left out.
SILENT = 0.1
#: Likewise where there is no budget.
LONG_SILENT = 0.5
SLOW = 0.2  #: seconds from which an answer on the held connection is told to be slow

_OPEN = "see whether the path answers now; run it again with a command that ends when the change is through"
_CLOSES = "let the server of pod-dest (or what stands before it) keep connections alive"
_STALLED = "run it again on a machine that is less busy, or with fewer captures beside it"


@claim
def measured(lab: OutageLab) -> Verdict:
    """The command ended well, and every path was asked at a steady pace before, while and after it ran."""
    command = lab.command.get()
    timelines = [Timeline(lab, watched.path) for watched in lab.paths]
    wish = f"`{command.text}` exits with status 0, and every path is asked every {lab.interval * 1000:.0f} ms"
    shown = {**shown_by(lab.command), "command": command.text}
    details = "\n".join(summary(lab))
    took = f"after {command.ended - command.began:.1f} s"
    if command.exit_status:
        said = f": {_last_line(command.tail)}" if command.tail else ", and said nothing"
        return broken(
            wish,
            f"the command exited with status {command.exit_status} {took}{said}",
            advice="its last lines are below; what the paths did meanwhile is measured all the same",
            details=f"{command.tail}\n\n{details}".strip(),
            **shown,
        )
    for timeline in timelines:
        if lack := _lack(timeline):
            return inconclusive(
                wish, lack, advice=_STALLED, details=details, **shown_by(timeline.watched.client_said)
            )
    for place in dict.fromkeys(place for watched in lab.paths for place in ("", *places(watched))):
        if not controls(lab, place) or not all(reading.get().beaten for reading in controls(lab, place)):
            return inconclusive(
                wish, f"nothing beat on {_machine(place)}", advice=_STALLED, details=details, **shown
            )
    paths = "; ".join(f"{timeline.watched.path}: {_in_short(timeline)}" for timeline in timelines)
    return held(wish, f"status 0 {took}; {paths}", details=details, **shown)


@claim
def gap(lab: OutageLab, path: str, budget_ms: int) -> Verdict:
    """No gap of a path is longer than the budget, and the connection that is held over it lives."""
    timeline = Timeline(lab, path)
    watched = timeline.watched
    wish = (
        f"no gap longer than {budget_ms} ms over {_way(watched)}, which on the held connection delays an "
        f"answer by {felt(budget_ms / 1000) * 1000:.0f} ms at most"
    )
    seen = _told(timeline)
    shown = shown_by(watched.client_said)
    over = sorted(_beyond(timeline, budget_ms / 1000), key=lambda gap: gap.seconds, reverse=True)
    stalls = [(gap, timeline.stall(gap)) for gap in over]
    worst = next((gap for gap, stall in stalls if stall is None), None)
    details = "\n".join(
        [*summary(lab), *_ledger(timeline, worst or (over[0] if over else _longest(timeline)))]
    )
    if worst is not None:
        advice = (
            "the ledger below says where packets ended; if such a gap may be, raise k8snet_outage_budget_ms"
        )
        return broken(wish, seen, advice=advice, details=details, **shown)
    if over:
        stall = next(stall for _, stall in stalls if stall is not None)
        return inconclusive(
            wish, f"{seen}; but {_in_words(stall)}", advice=_STALLED, details=details, **shown
        )
    if any(gap.end is None for kind in KINDS for gap in timeline.stretch(kind).gaps):
        open_end = "but the watch ended before that gap did"
        return inconclusive(wish, f"{seen}; {open_end}", advice=_OPEN, details=details, **shown)
    if lack := _lack(timeline, budget_ms / 1000 + SILENT):
        return inconclusive(wish, f"{seen}; but {lack}", advice=_STALLED, details=details, **shown)
    if closed := _never_held(timeline):
        return inconclusive(wish, f"{seen}; but {closed}", advice=_CLOSES, details=details, **shown)
    return held(wish, seen, details=details, **shown)


def told(lab: OutageLab, path: str) -> str:
    """What one path did, in one line, both kinds of connections. Raises NotObserved."""
    return _told(Timeline(lab, path))


def _told(timeline: Timeline) -> str:
    return "; ".join((_new(timeline), _held(timeline)))


def summary(lab: OutageLab) -> list[str]:
    """A table: a line for each path and kind; then what the machines that watched have to say."""
    rows = [("path", "connections", "requests", "lost", "longest gap", "at", "slowest answer")]
    for watched in lab.paths:
        timeline = Timeline(lab, watched.path)
        for kind in KINDS:
            try:
                rows.append((watched.path, kind, *_cells(timeline, timeline.stretch(kind))))
            except NotObserved as missing:
                rows.append((watched.path, kind, f"not measured: {missing.cause}", "", "", "", ""))
    widths = [max(len(row[column]) for row in rows if row[3]) for column in range(7)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return [*lines, *_stalls(lab)]


def _beyond(timeline: Timeline, budget: float) -> list[Gap]:
    """What is longer than ``budget`` (seconds), by the measure of its kind."""
    found = [gap for kind in KINDS for gap in timeline.stretch(kind).gaps]
    if slowest := timeline.stretch("held").slowest:
        found.append(slowest)
    return [gap for gap in found if gap.certain > budget]


def _longest(timeline: Timeline) -> Gap | None:
    found = [gap for kind in KINDS for gap in timeline.stretch(kind).gaps]
    return max(found, key=lambda gap: gap.seconds, default=None)


def _ledger(timeline: Timeline, gap: Gap | None) -> list[str]:
    if gap is None:
        return []
    end = timeline.said.ended if gap.end is None else gap.end
    path = timeline.watched.path
    heading = f"{path}: packets around the gap at {timeline.since(gap.start)}"
    try:
        return ["", heading, *outage_ledger.lines(timeline.lab, path, gap.start, end)]
    except NotObserved as missing:
        return ["", f"{heading}: {missing.cause}"]


def _lack(timeline: Timeline, silent: float = LONG_SILENT) -> str:
    """Why what was measured is not enough to tell; "" where it is."""
    path, attempts = timeline.watched.path, timeline.said.attempts
    for kind in KINDS:
        mine = [attempt for attempt in attempts if (attempt.path, attempt.kind) == (path, kind)]
        before = sum(a.took is not None for a in mine if a.sent < timeline.began)
        if before < CONTROLS:
            return f"path {path} was answered {before} times before the command began ({kind} connections)"
        if sum(a.sent > timeline.ended for a in mine) < (CONTROLS if kind == "new" else 1):
            return f"path {path} was hardly asked after the command had ended ({kind} connections)"
    when, seconds = timeline.silence()
    if seconds > silent:
        return (
            f"nothing was sent over path {path} for {seconds * 1000:.0f} ms at {timeline.since(when)}: "
            f"{timeline.watched.client_node.name} stalled, and a gap may be hidden there"
        )
    return ""


def _never_held(timeline: Timeline) -> str:
    """Why no connection was held, so that nothing tells what became of one; "" where one was."""
    path = timeline.watched.path
    ports = [
        attempt.port
        for attempt in timeline.said.attempts
        if (attempt.path, attempt.kind) == (path, "held") and attempt.took and attempt.sent < timeline.began
    ]
    longest = max((len(list(run)) for _, run in groupby(ports)), default=0)
    if longest >= CONTROLS:
        return ""
    return (
        f"no connection over path {path} stood for {CONTROLS} answers before the command began: the server "
        "closes them, and nothing tells what becomes of one that is held"
    )


def _new(timeline: Timeline) -> str:
    stretch = timeline.stretch("new")
    return f"new connections: {_losses(timeline, stretch)}"


def _held(timeline: Timeline) -> str:
    stretch = timeline.stretch("held")
    words = [f"held connection: {_losses(timeline, stretch)}"]
    if stretch.slowest is not None and stretch.slowest.seconds >= SLOW:
        slow = f"slowest answer {stretch.slowest.seconds * 1000:.0f} ms"
        words.append(f"{slow} at {timeline.since(stretch.slowest.start)} (TCP sends again ever more rarely)")
    if stretch.remade:
        words.append(f"made anew {_times(stretch.remade)}")
    return ", ".join(words)


def _losses(timeline: Timeline, stretch: Stretch) -> str:
    longest = stretch.longest
    if longest is None:
        return f"none of {len(stretch.attempts)} lost"
    errors = Counter(attempt.error for attempt in stretch.attempts if attempt.took is None)
    why = ", ".join(error for error, _ in errors.most_common(2))
    lost = f"{stretch.lost} of {len(stretch.attempts)} lost ({why})"
    ended = " after the command began" if longest.end is not None else ", and no answer since"
    if stretch.kind == "held" and longest.waited >= SLOW:
        ended += f", {longest.waited * 1000:.0f} ms of it spent on one answer"
    return f"{lost}, longest gap {longest.seconds * 1000:.0f} ms at {timeline.since(longest.start)}{ended}"


def _in_short(timeline: Timeline) -> str:
    longest = _longest(timeline)
    if longest is None:
        return "nothing lost"
    lost = sum(timeline.stretch(kind).lost for kind in KINDS)
    return f"{lost} lost, longest gap {longest.seconds * 1000:.0f} ms"


def _cells(timeline: Timeline, stretch: Stretch) -> tuple[str, str, str, str, str]:
    longest, slowest = stretch.longest, stretch.slowest
    return (
        str(len(stretch.attempts)),
        str(stretch.lost),
        f"{longest.seconds * 1000:.0f} ms" if longest else "0 ms",
        timeline.since(longest.start) if longest else "-",
        f"{slowest.seconds * 1000:.0f} ms" if slowest else "-",
    )


def _stalls(lab: OutageLab) -> list[str]:
    """The longest stall of each machine, where there was one that is worth a word."""
    lines = []
    for place in dict.fromkeys(("", *(place for watched in lab.paths for place in places(watched)))):
        beats = [beat for reading in controls(lab, place) if reading.value for beat in reading.value.beats]
        late = max((beat.late for beat in beats), default=0.0)
        if late >= SILENT:
            lines.append(f"{_machine(place)} stalled {_times(len(beats))}, for {late * 1000:.0f} ms at most")
    return lines


def _in_words(stall: Stall) -> str:
    then = "then" if stall.close else "once (its clock was not read: it may have been then)"
    return f"{_machine(stall.place)} itself stalled for {stall.late * 1000:.0f} ms {then}"


def _machine(place: str) -> str:
    return place or "the machine that runs pytest"


def _way(watched: PathWatched) -> str:
    return f"path {watched.path} ({watched.client} -> {watched.asked_ip}:{watched.asked_port})"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
