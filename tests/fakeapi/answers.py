"""What nodes and containers of a healthy network answer to the labs: recorded once, told again.

The recordings are of the reference network, so a real kernel's: the bundle of a healthy run, and (beside
this file) the pod network lab asked as real clusters are asked, with a large request instead of a large
answer. What depends on names that a run makes is adapted: run ids in requests and captures (both have the
same length), the namespace; kube-proxy's rules are rendered from what the fake API holds, and containers are
shown as the node's runtime shows them.
"""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_k8snet.clusters.bundle import Recording, load_bundle
from pytest_k8snet.clusters.records import Record
from pytest_k8snet.evidence.sandboxes import Container
from tests.fakeapi import rules, runtimes
from tests.fakeapi.execution import Exec, Output
from tests.fakeapi.shells import Program, Shell

if TYPE_CHECKING:
    from tests.fakeapi.cluster import FakeCluster

_HEALTHY = Path(__file__).parents[1] / "bundles" / "healthy"
_UPLOAD = Path(__file__).parent / "upload"
#: What only nodes have, and what only the probe's image has.
_ON_NODES = frozenset(("kill", "iptables-legacy-save"))
_IN_PROBES = frozenset(("tcpdump", "conntrack"))
_EVERYWHERE = frozenset(("sh", "ip", "ss", "stat", "cat", "curl", "nsenter", "iptables-save"))
_HEADER = "X-K8snet: "
_LEGACY = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n"


class LabAnswers:
    """Makes a fake cluster's nodes and pods answer labs 1 to 4 as those of a healthy network do. ::

        with FakeCluster() as fake:
            answers = LabAnswers(fake)
            ...
            assert answers.unknown == []

    For one run at a time. ``unknown`` lists the questions that had no answer; each was answered with exit
    status 1. ``instead`` is what a test would have a program say: by place ("k8s-node2",
    "pod/pod-src/container") and name; a function is given the process. ``absent``: programs that are nowhere.
    """

    def __init__(self, fake: FakeCluster) -> None:
        self._fake = fake
        self._recordings = dict(load_bundle(_HEALTHY).recordings) | dict(load_bundle(_UPLOAD).recordings)
        self._run_id = ""  #: the run's own, once it made a request
        self._asked = ""  #: the lab of the last request
        self._killed = False
        self.unknown: list[str] = []
        self.instead: dict[tuple[str, str], Output | Callable[[Exec], Output]] = {}
        self.absent: set[str] = set()
        for pod, address in _addresses(self._recordings.values(), "pods"):
            fake.kubelet.address(pod, address)
        fake.services.addresses.update(_addresses(self._recordings.values(), "services"))
        fake.on_exec(Shell(fake.processes, self._has, self._run))

    def _has(self, program: Program, name: str) -> bool:
        if name in self.absent:
            return False
        if self._where(program).startswith("pod/"):
            return name in ("sh", "cat", "curl")
        if name in ("docker", "crictl"):
            return program.on_host and (name == "docker") == (program.call.runtime == "docker")
        return name in (_ON_NODES if program.on_host else _IN_PROBES) | _EVERYWHERE

    def _run(self, program: Program) -> Output:
        argv, where = program.argv, self._where(program)
        if (where, argv[0]) in self.instead:
            said = self.instead[(where, argv[0])]
            return said if isinstance(said, Output) else said(program.call)
        match argv[0]:
            case "tcpdump":
                return self._capture(program)
            case "curl":
                return self._request(where, argv)
            case "docker" | "crictl":
                return self._runtime(where, argv)
            case "iptables-save" | "iptables-legacy-save" | "ip6tables-save":
                return self._rules(argv)
            case "kill":
                return self._kill(where, argv)
        record = self._recorded("command", where, lambda asked: asked == argv)
        return self._told(record) if record else self._not_known(where, argv)

    def _where(self, program: Program) -> str:
        """As bundles name it: a node for pods that share its network, else the container."""
        call = program.call
        pod = self._fake.store.get("pods", call.pod, call.namespace)
        shares = program.on_host or pod["spec"].get("hostNetwork")
        return call.node if shares else f"pod/{call.pod}/{call.container}"

    # Which recording

    def _labs(self) -> list[list[Record]]:
        """The records of each lab, those first that show the network as it is now."""
        there = {
            obj["metadata"]["name"] for kind in ("pods", "services") for obj in self._fake.store.listed(kind)
        }
        now = next((lab for lab, sign in _SIGNS.items() if sign in there), "pause")
        order = [now, *(lab for lab in self._recordings if lab != now)]
        parts = {lab: list(recording.records) for lab, recording in self._recordings.items()}
        restart = parts["pause-restart"]
        kill = next(number for number, record in enumerate(restart) if record.argv[0] == "kill")
        parts["pause-restart"] = restart[kill + 1 :] if self._killed else restart[:kill]
        if now == "pause" and self._killed:
            order.insert(0, "pause-restart")
        return [parts[lab] for lab in order]

    def _recorded(self, kind: str, where: str, fits: Callable[[tuple[str, ...]], bool]) -> Record | None:
        for records in self._labs():
            for record in records:
                if (record.kind, record.where) == (kind, where) and fits(record.argv):
                    return record
        return None

    def _told(self, record: Record) -> Output:
        stdout = record.stdout
        if record.argv[0] == "ss" and self._fake.minor > 20:
            # What kube-proxy does up to 1.20 and was recorded; later versions open no socket.
            stdout = b"".join(line for line in stdout.splitlines(True) if b'"kube-proxy"' not in line)
        return Output(stdout, record.stderr, record.exit_status)

    def _not_known(self, where: str, argv: tuple[str, ...]) -> Output:
        self.unknown.append(f"{where}: {shlex.join(argv)}")
        return Output(stderr=f"{argv[0]}: nothing recorded\n".encode(), exit_status=1)

    # Requests and captures

    def _request(self, where: str, argv: tuple[str, ...]) -> Output:
        if argv[-1].endswith(":10249/proxyMode"):
            return Output(b"iptables")
        token = _token(argv)
        run_id, _, rest = token.partition("-")
        found = self._recorded(
            "command", where, lambda asked: asked[0] == "curl" and _question(asked) == (rest, *_urls(argv))
        )
        if found is None:
            return self._not_known(where, argv)
        self._run_id = run_id
        self._asked = next(lab for lab, one in self._recordings.items() if found in one.records)
        return self._told(found)

    def _capture(self, program: Program) -> Output:
        call, argv = program.call, program.argv
        where = self._where(program)
        call.stderr(
            f"tcpdump: listening on {argv[2]}, link-type EN10MB (Ethernet), "
            "snapshot length 262144 bytes\n".encode()
        )
        while True:
            number = call.wait_signal()
            if number == signal.SIGKILL:
                return Output(exit_status=137)
            # Only now is it known which request was captured.
            found = self._captured(where, argv)
            if found is None:
                return self._not_known(where, argv)
            record, content = found
            if number != signal.SIGUSR1:
                _, _, counters = record.stderr.partition(b"\n")
                return Output(content, counters)
            counted = ", ".join(record.stderr.decode().splitlines()[1:])
            call.stderr(f"tcpdump: {counted}\n".encode())

    def _captured(self, where: str, argv: tuple[str, ...]) -> tuple[Record, bytes] | None:
        """The capture at the same interface in the lab of the last request, its tokens those of this run."""
        recording = self._recordings.get(self._asked)
        for record in recording.records if recording else ():
            if (record.kind, record.where, record.argv[:3]) == ("running", where, argv[:3]):
                assert recording
                content = (recording.directory / record.pcap).read_bytes()
                return record, content.replace(recording.run_id.encode(), self._run_id.encode())
        return None

    # Containers

    def _runtime(self, where: str, argv: tuple[str, ...]) -> Output:
        """Of the first recording that shows what is asked for."""
        tell = runtimes.docker if argv[0] == "docker" else runtimes.crictl
        said: str | None = None
        for records in self._labs():
            said = tell(argv, [self._renamed(one) for one in _containers(records, where)])
            if said is None:
                return self._not_known(where, argv)
            if said.strip() not in ("", "[]"):
                break
        return Output((said or "").encode())

    def _renamed(self, container: Container) -> Container:
        """With namespace and uid that the pod has here."""
        for pod in self._fake.store.listed("pods"):
            if pod["metadata"]["name"] == container.pod:
                meta = pod["metadata"]
                return replace(container, namespace=meta["namespace"], pod_uid=meta["uid"])
        return container

    def _kill(self, where: str, argv: tuple[str, ...]) -> Output:
        if not any(
            record.question == ("command", where, argv)
            for record in self._recordings["pause-restart"].records
        ):
            return self._not_known(where, argv)
        self._killed = True
        for pod in self._fake.store.listed("pods"):
            if pod["metadata"]["name"] == "pod-pause":
                self._fake.kubelet.restart(pod["metadata"]["namespace"], "pod-pause", "container2")
        return Output()

    # Rules

    def _rules(self, argv: tuple[str, ...]) -> Output:
        """kube-proxy uses the legacy back end, as most clusters of 1.20 do."""
        if argv[0] == "iptables-save":
            return Output(_LEGACY.encode())
        if argv[0] == "ip6tables-save":
            return Output()
        table = argv[2] if argv[1:2] == ("-t",) else ""
        content = self._fake.content
        return Output(
            rules.rendered(self._fake.store, content.pod_cidr, content.service_cidr, table).encode()
        )


#: What is there since a lab, the latest first.
_SIGNS = {
    "nodeport": "svc-nodeport",
    "clusterip-spread": "pod-dest-2",
    "clusterip": "svc-clusterip",
    "pod-network": "pod-src",
}


def _addresses(recordings: Iterable[Recording], resource: str) -> Iterator[tuple[str, str]]:
    """(name, address) of all recorded pods or services."""
    for recording in recordings:
        for record in recording.records:
            if (record.kind, record.argv) == ("read", (resource,)):
                for item in json.loads(record.stdout)["items"]:
                    address = item["status"]["podIP"] if resource == "pods" else item["spec"]["clusterIP"]
                    yield item["metadata"]["name"], address


def _containers(records: list[Record], node: str) -> list[Container]:
    asked = [record for record in records if record.where == node and record.argv[0] in ("crun", "cat")]
    for listed, configs in pairwise(asked):
        if (listed.argv[0], configs.argv[0]) == ("crun", "cat"):
            return runtimes.containers(listed.stdout, configs.stdout)
    return []


def _token(argv: Sequence[str]) -> str:
    return next((word.removeprefix(_HEADER) for word in argv if word.startswith(_HEADER)), "")


def _urls(argv: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in argv if word.startswith("http://"))


def _question(argv: Sequence[str]) -> tuple[str, ...]:
    """What makes a request the same in another run."""
    return _token(argv).partition("-")[2], *_urls(argv)
