"""All that is told of a run once it is over: what the HTML page is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_k8snet.meaning.comparison import Comparison
from pytest_k8snet.report.account import ToldLab


@dataclass(frozen=True)
class ToldRun:
    """All that the page shows of a run."""

    #: What the verdict is on, in :func:`~pytest_k8snet.clusters.choose.verdict_on`'s words: "the embedded
    #: reference network, not on a cluster".
    subject: str
    reference: bool  #: a reference network: the page says in its head that this is no verdict on a cluster
    provider: str
    clusters: tuple[str, ...]  #: one line each
    started: str  #: ISO 8601, UTC
    finished: str  #: likewise
    version: str  #: pytest-k8snet's
    intent: Mapping[str, str] = field(default_factory=dict)  #: setting -> declared value
    faults: tuple[str, ...] = ()  #: what was wrong on purpose
    labs: tuple[ToldLab, ...] = ()
    bundle: str = ""  #: as the user named it; "" where none was kept
    replay: str = ""  #: the bundle that was judged again; "" for a live run
    interrupted: str = ""  #: why the run ended early; "" where it is whole
    comparison: Comparison | None = None
