"""A bundle: one run kept raw in a directory, written as the run goes, to be judged again later.

::

    DIR/bundle.json                   format, provider, versions, roles, intent, timings, run id
    DIR/labs/<lab>/commands.jsonl     one line a command, capture or API read, in the order they ended
    DIR/labs/<lab>/*.pcap             what the captures saw (opens in Wireshark)
    DIR/labs/<lab>/verdicts.jsonl     what was concluded then

``bundle.json`` is replaced as a whole whenever something becomes known; the other files only grow, a line
(or a file) at a time. A run that was killed leaves a bundle that can be read: its ``bundle.json`` has no
``finished`` and does not list the labs that were open, and in those a last line without its newline is
passed over. Labs that were closed are listed with their number of records and must be whole.

Under pytest-xdist the workers of a session join one bundle; a lab that two workers ran is kept twice
(``<lab>``, ``<lab>.2``), each part whole on its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_k8snet import __version__
from pytest_k8snet.clusters.base import ClusterError, CommandResult, RunningCommand
from pytest_k8snet.clusters.recording import COMMANDS, VERDICTS, LabFiles, RecordedRun
from pytest_k8snet.clusters.records import Record
from pytest_k8snet.clusters.tape import LabTape

if TYPE_CHECKING:
    from pytest_k8snet.clusters.base import Cluster
    from pytest_k8snet.intent import Intent

FORMAT = 1
HEADER = "bundle.json"


class BundleError(ClusterError):
    """A directory that can't be written as, or read as, a bundle: one line for the user."""


class BundleTape(LabTape):
    """Runs everything and keeps it in ``directory``, which must be empty or not exist yet.

    Nothing is written before there is something to keep: a run that ends before its cluster is up leaves
    nothing behind that the next one would be refused for. Several processes of one run (pytest-xdist) share
    a bundle: those that ``join`` begin it or add to it, the one that doesn't says when it is finished.
    Raises :class:`BundleError` for a directory that holds something else.
    """

    def __init__(self, directory: str | os.PathLike[str], *, join: bool = False) -> None:
        super().__init__()
        self.directory = Path(directory)
        self._labs: dict[str, LabFiles] = {}
        self._started = _now()
        self._namespace = ""  #: of the labs' pods, once the cluster is up
        self._joins = join
        self._begun = False
        self._closed = False
        if not join:
            _check_empty(self.directory)

    def describe(self, **facts: Any) -> None:
        """Add facts (JSON values) to ``bundle.json``; a mapping is merged into the one that is there."""
        self._begin()
        with _locked(self.directory):
            _merge(self.directory, facts)

    def describe_cluster(self, cluster: Cluster, intent: Intent) -> None:
        """What a replay must know of the cluster: called once it is up."""
        info = cluster.info
        self._namespace = cluster.namespace
        self.describe(
            provider=info.provider,
            summary=info.summary,
            reference=info.reference,
            details=dict(info.details),
            roles=dict(cluster.roles),
            nodes=sorted(cluster.nodes),
            namespace=cluster.namespace,
            runtime=cluster.runtime,
            runtimes=dict(cluster.runtimes),
            lacks=dict(cluster.lacks),
            disruptive=cluster.disruptive,
            patience=vars(cluster.patience),
            intent=vars(intent) | {"roles": dict(intent.roles)},
        )

    def command(self, where: str, argv: Sequence[str], do: Callable[[], CommandResult]) -> CommandResult:
        with self._open().recording("command", where, argv) as entry:
            result = do()
            entry.result(result)
            return result

    def read(self, resource: str, do: Callable[[], bytes]) -> bytes:
        with self._open().recording("read", "", (resource,)) as entry:
            body = do()
            entry.fields["stdout"] = body
            return body

    def running(
        self, where: str, argv: Sequence[str], start: Callable[[], RunningCommand], *, pcap: str = ""
    ) -> RunningCommand:
        entry = self._open().entry("running", where, argv, pcap)
        try:
            return RecordedRun(start(), entry)
        except ClusterError as error:
            entry.failed("start", error)
            entry.write()
            raise

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def verdict(self, test_id: str, claim_id: str, verdict: Mapping[str, Any]) -> None:
        """``claim_id`` is "<lab>/<claim>": the verdict lies beside that lab's recording."""
        lab, slash, _ = claim_id.partition("/")
        line = {"test": test_id, "claim": claim_id, **verdict}
        self._open(lab if slash else None).append(
            VERDICTS,
            json.dumps(line, ensure_ascii=False, default=str).encode(errors="backslashreplace") + b"\n",
        )

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        facts: dict[str, Any] = {
            "labs": {files.directory.name: {"records": files.written} for files in self._labs.values()}
        }
        if not self._joins:
            facts["finished"] = _now()
        if (self.directory / HEADER).exists():  # begun by this process, or by one that joined
            with _locked(self.directory):
                _merge(self.directory, facts)

    def _open(self, lab: str | None = None) -> LabFiles:
        self._begin()
        name = self.lab_name if lab is None else lab
        if name not in self._labs:
            self._labs[name] = LabFiles(self.directory / "labs", name, self.run_id, self._namespace)
        return self._labs[name]

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(self.directory, error) from None
        with _locked(self.directory):
            if self._joins and (self.directory / HEADER).exists():
                _header(self.directory)
                return
            _check_empty(self.directory)
            try:
                (self.directory / "labs").mkdir()
            except OSError as error:
                raise _not_writable(self.directory, error) from None
            _merge(
                self.directory,
                {
                    "format": FORMAT,
                    "pytest_k8snet": __version__,
                    "run_id": self.run_id,
                    "started": self._started,
                    "finished": None,
                    "labs": {},
                },
            )


@dataclass(frozen=True)
class Recording:
    """One lab of a bundle, read back: records by their start."""

    lab: str
    run_id: str
    namespace: str  #: "" where the cluster was not up yet
    directory: Path
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Bundle:
    directory: Path
    header: Mapping[str, Any]
    recordings: Mapping[str, Recording]  #: by lab


def load_bundle(directory: str | os.PathLike[str]) -> Bundle:
    """Read and check a whole bundle. Raises :class:`BundleError`: absent, cut, changed, another format."""
    root = Path(directory)
    header = _header(root)
    missing = [key for key in ("roles", "nodes", "namespace", "runtime", "intent") if key not in header]
    if missing:
        raise BundleError(
            f"{root}: the recorded run ended before its cluster was up (no {missing[0]} in {HEADER})"
        )
    closed: Mapping[str, Mapping[str, int]] = header.get("labs", {})
    if not isinstance(closed, dict) or not all(isinstance(lab, dict) for lab in closed.values()):
        raise BundleError(f"{root / HEADER}: damaged (labs)")
    recordings: dict[str, Recording] = {}
    # Closed labs first: of a lab that two workers ran, the whole recording is the one to judge.
    found = {path.parent.name for path in root.glob(f"labs/*/{COMMANDS}")}
    for name in [*sorted(closed), *sorted(found - set(closed))]:
        recording = _recording(root / "labs" / name, closed.get(name))
        if recording:
            recordings.setdefault(recording.lab, recording)
    return Bundle(root, header, recordings)


def recorded_verdicts(bundle: Bundle) -> dict[str, str]:
    """What was concluded then: the last outcome of each claim by its id, "held", "broken", "inconclusive".

    Raises :class:`BundleError` for a line that is no verdict. Half a line is the last of a run that was
    killed, and passed over; in a lab that was closed it is damage.
    """
    found: dict[str, str] = {}
    for path in sorted(bundle.directory.glob(f"labs/*/{VERDICTS}")):
        *lines, rest = path.read_bytes().split(b"\n")
        if rest and path.parent.name in bundle.header.get("labs", {}):
            raise BundleError(f"{path}: cut in line {len(lines) + 1}")
        for number, line in enumerate(lines, start=1):
            fields = _fields(path, number, line)
            try:
                claim, outcome = fields["claim"], fields["outcome"]
            except KeyError as error:
                raise BundleError(f"{path}: line {number} is no verdict (no {error.args[0]})") from None
            found[str(claim)] = str(outcome)
    return found


def _header(root: Path) -> dict[str, Any]:
    path = root / HEADER
    if not root.is_dir():
        raise BundleError(f"{root}: no such directory; a bundle is made with --k8snet-bundle")
    try:
        header = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{root}: no {HEADER} in it, so not a bundle of --k8snet-bundle") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: not readable as JSON, cut or damaged ({error})") from None
    if not isinstance(header, dict) or "format" not in header:
        raise BundleError(f"{path}: does not say its format, so not a bundle of --k8snet-bundle")
    if header["format"] != FORMAT:
        raise BundleError(
            f"{path}: bundle format {header['format']}, but pytest-k8snet {__version__} reads format {FORMAT}"
        )
    return header


def _recording(directory: Path, closed: Mapping[str, int] | None) -> Recording | None:
    path = directory / COMMANDS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: missing, the bundle is cut ({error.strerror})") from None
    *lines, rest = content.split(b"\n")
    if rest and closed is not None:
        raise BundleError(f"{path}: cut in line {len(lines) + 1}")
    if not lines:
        if closed is None:  # killed while it wrote the first line
            return None
        raise BundleError(f"{path}: empty, the bundle is cut")
    parsed = [_fields(path, number, line) for number, line in enumerate(lines, start=1)]
    try:
        lab, run_id = str(parsed[0]["lab"]), str(parsed[0]["run_id"])
        namespace = str(parsed[0].get("namespace", ""))
        records = [Record.from_fields(fields) for fields in parsed[1:]]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: holds a line that is no record ({error!r})") from None
    if closed is not None and len(records) != closed["records"]:
        raise BundleError(f"{path}: cut, {len(records)} of {closed['records']} records are left")
    for record in records:
        if record.pcap:
            _check_pcap(directory / record.pcap, record)
    records.sort(key=lambda record: record.number)
    return Recording(lab, run_id, namespace, directory, tuple(records))


def _fields(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise BundleError(f"{path}: line {number} is damaged ({error})") from None
    if not isinstance(fields, dict):
        raise BundleError(f"{path}: line {number} is no record")
    return fields


def _check_pcap(path: Path, record: Record) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: missing, the bundle is cut ({error.strerror})") from None
    if len(content) < record.size:
        raise BundleError(f"{path}: cut, {record.size} bytes were written and {len(content)} are left")
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise BundleError(f"{path}: not the capture that was recorded (its SHA-256 differs)")


def _check_empty(directory: Path) -> None:
    try:
        found = sorted(path.name for path in directory.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise _not_writable(directory, error) from None
    if found:
        what = "already holds a bundle" if HEADER in found else f"holds {found[0]!r}"
        raise BundleError(f"{directory}: {what}; name an empty directory for the bundle")


def _not_writable(directory: Path, error: OSError) -> BundleError:
    return BundleError(f"{directory}: no bundle can be written there ({error.strerror})")


def _merge(directory: Path, facts: Mapping[str, Any]) -> None:
    """Replace ``bundle.json`` by itself and ``facts``; the directory is locked."""
    path = directory / HEADER
    header = json.loads(path.read_bytes()) if path.exists() else {}
    for name, fact in facts.items():
        known = header.get(name)
        header[name] = {**known, **fact} if isinstance(known, dict) else fact
    fresh = path.with_suffix(".json.new")
    fresh.write_text(json.dumps(header, indent=2, ensure_ascii=False, default=str) + "\n")
    fresh.replace(path)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Workers of one run change ``bundle.json`` one after the other."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
