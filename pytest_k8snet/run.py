"""The cluster of one pytest process: opened on first use, closed whatever happens."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_k8snet.clusters import choose

if TYPE_CHECKING:
    from pytest_k8snet.clusters.base import Cluster
    from pytest_k8snet.evidence.observations import TracedRequest
    from pytest_k8snet.intent import Intent
    from pytest_k8snet.settings import Settings


class Run:
    """What the fixtures of one process share. ``joins``: another process of the run began the bundle;
    ``shared``: kubeconfig of the kind cluster that it made."""

    def __init__(
        self, settings: Settings, *, joins: bool, shared: Path | None = None, say: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self._joins = joins
        self._shared = shared
        self._say = say  #: shows one step of setting up; "" when there is no step any more
        self._cluster: Cluster | None = None
        self._closed = False
        self._ledgers: defaultdict[str, list[str]] = defaultdict(list)
        self._untold: defaultdict[str, list[str]] = defaultdict(list)
        self._drawings: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._meaning: list[dict[str, Any]] = []

    def cluster(self) -> Cluster:
        """Raises :class:`~pytest_k8snet.clusters.base.ClusterError` when it does not come up."""
        if self._cluster is None:
            with self.step(f"starting {self.settings.provider}"):
                self._cluster = choose.open_cluster(
                    self.settings.provider,
                    intent=self.settings.intent(),
                    kernel=self.settings.kernel,
                    bundle=self.settings.bundle,
                    join=self._joins,
                    replay=self.settings.replay,
                    faults=self.settings.faults,
                    asked=self.settings.asked,
                    shared=self._shared,
                    disruptive=self.settings.disruptive,
                    progress=self._say,
                )
        return self._cluster

    def intent(self) -> Intent:
        """A replay is judged by the intent of the recorded run, unless another one was declared."""
        if self.settings.provider == "replay":
            return self.settings.intent(getattr(self.cluster(), "intent", None))
        return self.settings.intent()

    @property
    def summary(self) -> str:
        """The cluster in one line; "" before it is up."""
        return self._cluster.info.summary if self._cluster is not None else ""

    @property
    def farewell(self) -> str:
        """What a closed cluster left behind on purpose, and how to remove it; else ""."""
        return self._cluster.farewell if self._cluster is not None and self._closed else ""

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """What is under way, for whoever watches; the block may say more of it."""
        self._say(text)
        try:
            yield lambda more: self._say(f"{text}: {more}" if more else text)
        finally:
            self._say("")

    def note(
        self, lab: str, request: TracedRequest, *, aside: bool = False, client_kept: bool = False
    ) -> None:
        """Keep the ledger of a lab's request for the reports; one ``aside`` is not told with failures.

        ``client_kept``: the service keeps the client's address (externalTrafficPolicy Local).
        """
        from pytest_k8snet.claims.ledger import Ledger
        from pytest_k8snet.report.draw import draw

        ledger = Ledger.of(request, self.intent(), client_kept=client_kept)
        text = ledger.text
        self._untold[lab].append(text)
        if not aside:
            self._ledgers[lab].append(text)
        kept = self.settings.bundle is not None or self.settings.replay is not None
        drawing = draw(lab, ledger, bundle=kept)
        self._drawings[lab].append(drawing.plain())

    def observed(self, lab: str, observation: object) -> None:
        """Keep what the observation of a lab means, where the run is compared with a kept one."""
        if self.settings.baseline is not None:
            from pytest_k8snet.meaning.observed import facts_of

            self._meaning += map(dataclasses.asdict, facts_of(observation, self.intent(), lab))

    def ledgers(self, lab: str) -> list[str]:
        """What stands with each failure of a lab."""
        return list(self._ledgers[lab])

    def untold_ledgers(self, lab: str) -> list[str]:
        """Those that no report carried yet."""
        return self._untold.pop(lab, [])

    def untold_drawings(self, lab: str) -> list[dict[str, Any]]:
        """Likewise."""
        return self._drawings.pop(lab, [])

    def untold_meaning(self) -> list[dict[str, Any]]:
        """Likewise, of all labs."""
        meaning, self._meaning = self._meaning, []
        return meaning

    def nodes_in(self, text: str) -> list[str]:
        """The nodes of the cluster that ``text`` names, in their order there."""
        names = self._cluster.nodes if self._cluster is not None else ()
        found = {name: re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text) for name in names}
        return sorted((name for name in names if found[name]), key=lambda name: found[name].start())  # type: ignore[union-attr]

    def keep(self, test: str, claim: str, verdict: Mapping[str, str]) -> None:
        """Put a verdict's fields into the run's bundle, if one is kept."""
        if self._cluster is not None:
            self._cluster.tape.verdict(test, claim, verdict)

    def close(self) -> None:
        if self._cluster is not None and not self._closed:
            self._closed = True
            try:
                self._cluster.close()
            finally:
                self._cluster.tape.close()

    def pytest_unconfigure(self) -> None:
        # The fixture closes the cluster; an interrupt between its start and its fixture's end does not.
        self.close()


RUN = pytest.StashKey[Run]()
