"""A recorded run as a cluster: the same answers to the same questions, and nothing behind them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_k8snet.clusters.base import (
    Cluster,
    ClusterError,
    ClusterInfo,
    CommandResult,
    Node,
    NotRecorded,
    Patience,
    RunningCommand,
)
from pytest_k8snet.clusters.bundle import Bundle, BundleError, load_bundle
from pytest_k8snet.clusters.records import Record
from pytest_k8snet.clusters.tape import LabTape
from pytest_k8snet.intent import ENCAPSULATIONS, PROXY_MODES, Intent

if TYPE_CHECKING:
    from pytest_k8snet.manifests import Manifest


class ReplayTape(LabTape):
    """Answers the n-th equal question of a lab with its n-th recorded answer, an error with that error.

    Raises :class:`NotRecorded`, naming lab and command, for a question the bundle holds no answer to.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(str(bundle.header.get("run_id", "")))
        self._bundle = bundle
        self._answers: dict[str, dict[tuple[str, str, tuple[str, ...]], list[Record]]] = {}
        self._asked: dict[tuple[str, str, str, tuple[str, ...]], int] = defaultdict(int)

    @property
    def run_id(self) -> str:
        recording = self._bundle.recordings.get(self.lab_name)
        return recording.run_id if recording else super().run_id

    def command(self, where: str, argv: Sequence[str], do: Callable[[], CommandResult]) -> CommandResult:
        record = self._answer("command", where, argv)
        record.raise_failure("run")
        return CommandResult(record.argv, record.exit_status, record.stdout, record.stderr)

    def read(self, resource: str, do: Callable[[], bytes]) -> bytes:
        record = self._answer("read", "", (resource,))
        record.raise_failure("run")
        return record.stdout

    def running(
        self, where: str, argv: Sequence[str], start: Callable[[], RunningCommand], *, pcap: str = ""
    ) -> RunningCommand:
        record = self._answer("running", where, argv)
        record.raise_failure("start")
        return _ReplayedRun(record, self._bundle.recordings[self.lab_name].directory)

    def wait(self, seconds: float) -> None:
        pass

    def verdict(self, test_id: str, claim_id: str, verdict: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass

    def _answer(self, kind: str, where: str, argv: Sequence[str]) -> Record:
        lab = self.lab_name
        if lab not in self._answers:
            answers = self._answers[lab] = defaultdict(list)
            recording = self._bundle.recordings.get(lab)
            for record in recording.records if recording else ():
                answers[record.question].append(record)
        question = (kind, where, tuple(argv))
        recorded = self._answers[lab].get(question, [])
        asked = self._asked[(lab, *question)]
        if asked >= len(recorded):
            what = CommandResult(tuple(argv), 0).command
            what = f"the API read of {what}" if kind == "read" else f"`{what}` on {where}"
            times = f"only {len(recorded)} of" if recorded else "nothing of"
            raise NotRecorded(f"the bundle {self._bundle.directory} holds {times} {what} in lab {lab}")
        self._asked[(lab, *question)] += 1
        return recorded[asked]


class _ReplayedRun(RunningCommand):
    def __init__(self, record: Record, directory: Path) -> None:
        self._record = record
        self._directory = directory

    def wait_for(self, text: bytes, timeout: float) -> None:
        self._record.raise_failure("wait")
        if text not in self._record.stderr:
            raise ClusterError(f"the recorded command never said {text.decode(errors='replace')!r}")

    def stop(self, timeout: float = 10.0) -> CommandResult:
        record = self._record
        record.raise_failure("stop")
        stdout = (self._directory / record.pcap).read_bytes() if record.pcap else record.stdout
        return CommandResult(record.argv, record.exit_status, stdout, record.stderr)


class ReplayNode(Node):
    def _run(self, argv: Sequence[str], *, timeout: float, stdin: bytes) -> CommandResult:
        _nothing_behind(self.name)

    def _spawn(self, argv: Sequence[str]) -> RunningCommand:
        _nothing_behind(self.name)


class ReplayCluster(Cluster):
    """The cluster of a bundle. Changing it changes nothing; ``intent`` is the one that was declared then.

    Raises :class:`BundleError` for a directory that is no whole bundle of this format.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        bundle = load_bundle(directory)
        header = bundle.header
        try:
            self.intent = _intent(header["intent"])
            self.roles = dict(header["roles"])
            if isinstance(header["nodes"], str):  # whose items are letters
                raise TypeError("nodes is no list")
            self.nodes = {str(name): ReplayNode(self, str(name)) for name in header["nodes"]}
            self.details = dict(header.get("details", {}))
            self.patience = Patience(**header.get("patience", {}))
            self.runtimes = dict(header.get("runtimes", {}))
            self.lacks = dict(header.get("lacks", {}))
            self.disruptive = bool(header.get("disruptive", True))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{bundle.directory}: bundle.json is damaged ({type(error).__name__}: {error})"
            ) from None
        self.tape = ReplayTape(bundle)
        self.bundle = bundle
        self.namespace = str(header["namespace"])
        self.runtime = str(header["runtime"])
        started = str(header.get("started", "")).replace("T", " ")[:16]
        self.info = ClusterInfo(
            provider="replay",
            summary=f"replay of {header.get('summary', bundle.directory)}, recorded {started} UTC",
            reference=bool(header.get("reference", False)),
            details=self.details | {"recorded provider": str(header.get("provider", ""))},
        )

    @contextmanager
    def lab(self, name: str) -> Iterator[None]:
        """Also in the namespace that the lab was in: each pytest-xdist worker has its own."""
        recording, outer = self.bundle.recordings.get(name), self.namespace
        self.namespace = (recording.namespace if recording else "") or outer
        try:
            with super().lab(name):
                yield
        finally:
            self.namespace = outer

    def apply(self, manifests: Sequence[Manifest], timeout: float = 60.0) -> None:
        pass

    def delete(self, manifests: Sequence[Manifest], timeout: float = 30.0) -> None:
        pass

    def close(self) -> None:
        pass

    def _get(self, resource: str) -> bytes:
        _nothing_behind("the API")

    def _exec(self, pod: str, container: str, argv: Sequence[str], *, timeout: float) -> CommandResult:
        _nothing_behind(pod)


def _nothing_behind(what: str) -> NoReturn:
    raise AssertionError(f"a replay reached past its tape to {what}")


def _intent(fields: Mapping[str, Any]) -> Intent:
    ranges = {name: fields[name] for name in ("pod_cidr", "service_cidr")}
    networks = {name: ip_network(cidr) if cidr is not None else None for name, cidr in ranges.items()}
    intent = Intent(**{**fields, **networks})
    if intent.encapsulation not in ENCAPSULATIONS or intent.proxy_mode not in PROXY_MODES:
        raise ValueError(f"intent {intent.encapsulation!r}, {intent.proxy_mode!r}")
    return intent
