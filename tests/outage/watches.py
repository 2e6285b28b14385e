"""Watches of all three paths by hand, without captures (no test itself). Time 0: the command begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from pytest_k8snet.evidence.outage import (
    INTERVAL,
    KINDS,
    PATHS,
    Attempt,
    Beat,
    Clock,
    Command,
    OutageLab,
    PathWatched,
    Watched,
)
from pytest_k8snet.evidence.reading import Reading
from tests.claims.scenes import DEST_IP, MASTER, NODE2, NODE_PORT, PORT, SRC_IP, VIP, master, node2, pod_dest

HERE = 1_700_000_000.0  #: the command's beginning, by the clock of the machine that runs pytest
LASTED = 4.0
BEFORE, AFTER = 1.5, 2.0  #: seconds that were watched around it
AHEAD = {"k8s-master": 3.0, "k8s-node1": -20.0, "k8s-node2": 0.25}  #: seconds of each clock
ERROR = 0.004
NODES = {"pod": "k8s-node2", "clusterip": "k8s-node2", "nodeport": "k8s-master"}

Change = Callable[[Attempt], Attempt | None]


def attempts(path: str, kind: str) -> list[Attempt]:
    """All answered at once."""
    zero = HERE + AHEAD[NODES[path]]
    count = round((BEFORE + LASTED + AFTER) / INTERVAL)
    port = 20100 + 10 * PATHS.index(path)
    return [
        Attempt(
            path, kind, zero - BEFORE + number * INTERVAL, 0.002, port if kind == "held" else 40000 + number
        )
        for number in range(count)
    ]


def within(attempt: Attempt, begin: float, seconds: float) -> bool:
    return begin < attempt.sent - HERE - AHEAD[NODES[attempt.path]] < begin + seconds


def lost(begin: float, seconds: float, error: str = "no answer in 0.9 s") -> Change:
    """All that was sent within ``seconds`` from ``begin`` is lost."""
    return lambda attempt: (
        replace(attempt, took=None, error=error) if within(attempt, begin, seconds) else attempt
    )


def unsent(begin: float, seconds: float) -> Change:
    """Nothing was sent within ``seconds`` from ``begin``."""
    return lambda attempt: None if within(attempt, begin, seconds) else attempt


def slow(at: float, seconds: float) -> Change:
    """The answer to the first attempt from ``at`` on took ``seconds``; nothing was sent meanwhile."""

    def change(attempt: Attempt) -> Attempt | None:
        if within(attempt, at, INTERVAL):
            return replace(attempt, took=seconds)
        return None if within(attempt, at + INTERVAL, seconds - INTERVAL) else attempt

    return change


def watch(
    changes: Mapping[tuple[str, str], Change] | None = None,
    *,
    stalls: Mapping[str, tuple[float, float]] | None = None,
    status: int = 0,
    tail: str = "",
    unread: Iterable[str] = (),
    failed: Iterable[str] = (),
) -> OutageLab:
    """``changes`` by path and kind; ``stalls``: machine -> (when, seconds); ``unread``: nodes whose clock was
    never read; ``failed``: paths whose client said nothing, and places whose control did."""
    all_said: dict[str, list[Attempt]] = {node: [] for node in AHEAD}
    for path in PATHS:
        for kind in KINDS:
            change = (changes or {}).get((path, kind), lost(0, 0))
            changed = map(change, attempts(path, kind))
            all_said[NODES[path]] += [attempt for attempt in changed if attempt is not None]

    def said(place: str, failure: str) -> Reading[Watched]:
        if failure in failed:
            return Reading(place, "outage_client.py", failure="python3 is not installed", advice="install it")
        zero = HERE + AHEAD.get(place, 0.0)
        late = [(stalls or {})[place]] if place in (stalls or {}) else []
        beats = tuple(Beat(place, zero + when, seconds) for when, seconds in late)
        ordered = tuple(sorted(all_said.get(place, ()), key=lambda attempt: attempt.sent))
        begin, end = zero - BEFORE, zero + LASTED + AFTER
        return Reading(place, "outage_client.py", Watched(ordered, beats, begin, end, 150))

    clients = {node: said(node, path) for path, node in reversed(NODES.items())}
    target = pod_dest()

    def path_of(name: str, **asked: Any) -> PathWatched:
        inside = name != "nodeport"
        return PathWatched(
            path=name,
            client="pod-src" if inside else "k8s-master",
            client_node=node2() if inside else master(),
            client_ip=ip_address(SRC_IP if inside else MASTER),
            target=target,
            target_port=PORT,
            client_said=clients[NODES[name]],
            entry=node2(),
            **asked,
        )

    return OutageLab(
        paths=(
            path_of("pod", asked_ip=ip_address(DEST_IP), asked_port=PORT),
            path_of("clusterip", asked_ip=ip_address(VIP), asked_port=PORT),
            path_of("nodeport", asked_ip=ip_address(NODE2), asked_port=NODE_PORT),
        ),
        command=Reading("", "pytest --k8snet-watch", Command("upgrade", status, HERE, HERE + LASTED, tail)),
        controls=(("", said("", "here")), ("k8s-node1", said("k8s-node1", "k8s-node1"))),
        interval=INTERVAL,
        clocks=tuple(Clock(node, ahead, ERROR) for node, ahead in AHEAD.items() if node not in unread),
    )
