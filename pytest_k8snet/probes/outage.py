"""The outage watch: clients send over every path while somebody's command changes the cluster.

The command runs where pytest runs, by a :class:`Machine` that is handed in. The clients run on the nodes
(``watchers.py``), write down what became of each request, and are read when all is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from pytest_k8snet.clusters.base import Cluster, ClusterError, CommandResult, Deadline, NotRecorded
from pytest_k8snet.evidence import objects, outage
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.observations import NodeEvidence, PodEvidence
from pytest_k8snet.evidence.outage import Alongside, Clock, Command, OutageLab, PathWatched, Watched
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.sandboxes import Container
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes import labs
from pytest_k8snet.probes.commands import derive, read_objects, unreached
from pytest_k8snet.probes.nodes import underlay_address
from pytest_k8snet.probes.outage_captures import OutageCaptures, capturing_outage, points
from pytest_k8snet.probes.pods import (
    container_named,
    find_pod,
    of_process,
    pod_address,
    read_containers,
    read_pods,
)
from pytest_k8snet.probes.watchers import Watcher, Word, watching

WATCH = "pytest --k8snet-watch"  #: as a person would type what runs the command
HERE = "here"  #: where the tape has it
CALM = 1.0  #: seconds in which every path answers all, before the command begins and after it has ended
LEAD_IN = 15.0  #: seconds to wait for that, before
LEAD_OUT = 30.0  #: and after
PAUSE = 0.2  #: seconds between two questions how it goes, while that is waited for
ASKING = 5.0  #: likewise, while the command runs
TAKING_IN = 0.5  #: seconds in which no capture writes as much as a pipe holds

_MOVED = "keep pod-src where it is (cordon, don't drain its node), or watch from another pod's node"


class Heart(Protocol):
    def until_now(self) -> Watched: ...


class Machine(Protocol):
    """The one that runs pytest (``clusters/here.py``)."""

    @property
    def text(self) -> str:
        """The command."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def beating(self) -> AbstractContextManager[Heart]:
        """Beats while the block runs."""

    def run(self, meanwhile: Callable[[], None]) -> tuple[int, str]:
        """The command to its end: exit status and last words. Calls ``meanwhile`` again and again."""


def observe_outage(
    cluster: Cluster, intent: Intent, machine: Machine | None, tell: Callable[[str], None]
) -> OutageLab:
    """Run the machine's command while pod-src asks pod-dest and svc-clusterip, and the master asks node2's
    NodePort (where the cluster has these two). A replay needs no machine. ``tell`` is called with how it
    goes, for a person who waits.

    What can't be watched is not done: when a client can't be started, or a path does not answer, the command
    is not run. Raises ClusterError where there is nothing to ask.
    """
    source, paths = _paths(cluster, intent)
    sandbox = _sandbox_of(cluster, source.pod)
    watchers = _watchers(cluster, source, paths, sandbox)
    nodeport = [path.client_node for path in paths if path.path == "nodeport"]
    places = points(source, paths[0].target, *(nodeport or [source.node]))
    with (
        capturing_outage(
            cluster,
            places if nodeport else places[1:],
            ports={port for path in paths for port in (path.asked_port, path.target_port)},
            held=[port for ports in outage.HELD_PORTS.values() for port in ports],
            version=paths[0].asked_ip.version,
        ) as captured,
        watching(watchers),
    ):
        alongside = _run(cluster, machine, watchers, captured, tell)
    said = {path.path: watcher.said for watcher in watchers for path in watcher.paths}
    if moved := _moved(cluster, source.pod, sandbox):
        left: Reading[Watched] = Reading(source.node.name, watchers[0].command, failure=moved, advice=_MOVED)
        said |= dict.fromkeys((path.path for path in watchers[0].paths), left)
    return OutageLab(
        paths=tuple(replace(path, client_said=said[path.path]) for path in paths),
        command=derive(alongside, lambda kept: kept.command),
        controls=(
            ("", derive(alongside, lambda kept: kept.control)),
            *((watcher.node.name, watcher.said) for watcher in watchers if not watcher.paths),
        ),
        interval=outage.INTERVAL,
        clocks=alongside.value.clocks if alongside.value is not None else (),
        captures=captured.captures,
    )


def _paths(cluster: Cluster, intent: Intent) -> tuple[PodEvidence, list[PathWatched]]:
    """pod-src, and the paths to watch, in the order of :data:`outage.PATHS`."""
    pods = read_pods(cluster)
    services = read_objects(cluster, "services", objects.parse_services)
    nodes = labs.LabNodes(cluster, intent)
    source, target = labs.pods_of(cluster, nodes, (labs.SOURCE, labs.TARGET), pods, inside=False)
    clusterip = labs.find_service(cluster, labs.CLUSTERIP, services)
    if clusterip.cluster_ip is None:
        raise ClusterError(f"service {labs.CLUSTERIP} has no cluster IP: it can't be asked")

    def path(
        name: str, client: NodeEvidence, entry: NodeEvidence, asked: IPAddress, port: int, target_port: int
    ) -> PathWatched:
        inside = name != "nodeport"
        return PathWatched(
            path=name,
            client=source.pod.name if inside else client.name,
            client_node=client,
            client_ip=pod_address(source.pod, asked) if inside else underlay_address(client),
            asked_ip=asked,
            asked_port=port,
            target=target,
            target_port=target_port,
            client_said=Reading(client.name, "", failure="the client was not started"),
            entry=entry,
        )

    paths = [
        path("pod", source.node, source.node, pod_address(target.pod), labs.PORT, labs.PORT),
        path(
            "clusterip",
            source.node,
            source.node,
            clusterip.cluster_ip,
            clusterip.ports[0].port,
            labs.target_port_of(clusterip),
        ),
    ]
    if {"master", "node2"} <= cluster.roles.keys():
        service = labs.find_service(cluster, labs.NODEPORT, services)
        master, entry = nodes.role("master"), nodes.role("node2")
        address, port = underlay_address(entry), intent.node_port
        paths.append(path("nodeport", master, entry, address, port, labs.target_port_of(service)))
    return source, paths


def _watchers(
    cluster: Cluster, source: PodEvidence, paths: Sequence[PathWatched], sandbox: Reading[Container]
) -> list[Watcher]:
    """Who sends: pod-src over its paths, first; the master over its own; and a control on each other node."""
    token = cluster.tape.token("watch")
    inside = derive(sandbox, lambda container: ("nsenter", *of_process(container.pid)))
    node: Reading[tuple[str, ...]] = Reading("", "", ())
    asking = {"": paths[:2]} | {path.client_node.name: paths[2:] for path in paths[2:]}
    watchers = [
        Watcher(cluster, cluster.nodes[name or source.node.name], node if name else inside, token, asked)
        for name, asked in asking.items()
    ]
    watched = {watcher.node.name for watcher in watchers}
    others = dict.fromkeys(place.name for path in paths for place in (path.entry, path.target.node))
    controls = [name for name in others if name not in watched]
    return watchers + [Watcher(cluster, cluster.nodes[name], node, token, ()) for name in controls]


def _run(
    cluster: Cluster,
    machine: Machine | None,
    watchers: Sequence[Watcher],
    captured: OutageCaptures,
    tell: Callable[[str], None],
) -> Reading[Alongside]:
    """The command, between two calm moments; a replay reads what was kept of it."""

    def run() -> CommandResult:
        assert machine is not None, "a replay reached past its tape"
        kept = _Watch(cluster, machine, watchers, captured, tell).run()
        # The text stands in what was kept, not in the question: a replay is not told it.
        return CommandResult((WATCH,), kept.command.exit_status, kept.written())

    try:
        result = cluster.tape.command(HERE, (WATCH,), run)
    except NotRecorded as error:
        return unreached("", WATCH, error)
    except ClusterError as error:
        advice = "mend that first: what it did while the command ran would tell nothing"
        return Reading("", WATCH, failure=f"the command was not run: {error}", advice=advice)
    return derive(Reading("", WATCH, result.stdout), outage.parse_alongside)


class _Watch:
    """The command's turn, while the clients send."""

    def __init__(
        self,
        cluster: Cluster,
        machine: Machine,
        watchers: Sequence[Watcher],
        captured: OutageCaptures,
        tell: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._machine = machine
        self._watchers = watchers
        self._captured = captured
        self._tell = tell
        self._clocks: dict[str, Clock] = {}  #: by node: of all questions the one that was answered soonest
        self._asking, self._taking_in = Deadline(ASKING), Deadline(TAKING_IN)

    def run(self) -> Alongside:
        """Raises ClusterError where the command is not run, naming who does not watch or answer."""
        machine = self._machine
        with machine.beating() as heart:
            self._begin()
            self._tell("")
            began = machine.now()
            status, tail = machine.run(self._meanwhile)
            ended = machine.now()
            self._tell("waiting until every path answers again")
            self._cluster.tape.wait(CALM)
            self._troubled(LEAD_OUT)
            command = Command(machine.text, status, began, ended, tail)
            return Alongside(command, heart.until_now(), tuple(self._clocks.values()))

    def _begin(self) -> None:
        for watcher in self._watchers:
            if watcher.said.failure:
                raise ClusterError(f"the client on {watcher.node.name} does not run: {watcher.said.failure}")
        self._cluster.tape.wait(CALM)
        if stream := self._troubled(LEAD_IN):
            path, _, kind = stream.partition("/")
            raise ClusterError(
                f"path {path} did not answer all requests for {CALM:g} s before it ({kind} connections)"
            )

    def _meanwhile(self) -> None:
        if not self._taking_in.left:
            self._captured.take_in()
            self._taking_in = Deadline(TAKING_IN)
        if not self._asking.left:
            lost = sum(word.lost for word in self._ask())
            self._tell(f"{lost} requests lost")
            self._asking = Deadline(ASKING)

    def _troubled(self, seconds: float) -> str:
        """Wait until all streams are calm: "", or the first that is not after ``seconds``, as PATH/KIND."""
        deadline = Deadline(seconds)
        paths = [path.path for watcher in self._watchers for path in watcher.paths]
        streams = [f"{path}/{kind}" for path in paths for kind in outage.KINDS]
        while True:
            calm = {word.stream for word in self._ask() if word.calm >= CALM}
            troubled = [stream for stream in streams if stream not in calm]
            if not troubled or not deadline.left:
                return troubled[0] if troubled else ""
            self._cluster.tape.wait(PAUSE)

    def _ask(self) -> list[Word]:
        """What each stream of each watcher came to so far; one that does not answer says nothing."""
        words: list[Word] = []
        self._captured.take_in()
        for watcher in self._watchers:
            asked = self._machine.now()
            progress = watcher.ask()
            answered = self._machine.now()
            if progress is not None:
                name, error = watcher.node.name, (answered - asked) / 2
                if name not in self._clocks or error < self._clocks[name].error:
                    self._clocks[name] = Clock(name, progress.now - (asked + answered) / 2, error)
                words += progress.words
        return words


def _sandbox_of(cluster: Cluster, pod: Pod) -> Reading[Container]:
    """The first container of a pod: its process is in the pod's network namespace."""
    listed = read_containers(cluster, cluster.nodes[pod.node], pod)
    return derive(listed, lambda found: container_named(found, pod.containers[0]))


def _moved(cluster: Cluster, pod: Pod, before: Reading[Container]) -> str:
    """Why the client in ``pod`` sent from a namespace that is nobody's any more; "" where it did not."""
    if before.value is None:
        return ""
    try:
        now = find_pod(cluster, pod.name, read_pods(cluster))
    except ClusterError as error:
        return f"pod-src was there when the watch began, and is not at its end: {error}"
    if now.node != pod.node or now.uid != pod.uid:
        return f"pod {pod.name} was made anew while it sent: its client went on in the old one's namespace"
    after = _sandbox_of(cluster, now)
    if after.value is not None and after.value.sandbox_id != before.value.sandbox_id:
        return (
            f"pod {pod.name} got a new sandbox while it sent: its client went on in the old one's namespace"
        )
    return ""
