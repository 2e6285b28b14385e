"""How a watch goes: who is started where, when the command runs, and that nobody is left behind."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_k8snet.clusters.base import ClusterError, CommandResult, NodeUnreachable
from pytest_k8snet.clusters.bundle import BundleTape
from pytest_k8snet.clusters.replay import ReplayCluster
from pytest_k8snet.clusters.tape import MemoryTape
from pytest_k8snet.evidence.outage import OutageLab, Watched
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes import outage, watchers
from pytest_k8snet.probes.outage import observe_outage
from tests.clusters.fake import FakeCluster, FakeRun, says
from tests.probes.network import network

EPOCH = 1_700_000_000.0
AHEAD = 0.5  #: seconds of every node's clock


class Machine:
    """Its clock goes on by a hundredth of a second with every look."""

    text = "make upgrade"

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.ran = 0
        self._during = during
        self._time = EPOCH

    def now(self) -> float:
        self._time += 0.01
        return self._time

    @contextmanager
    def beating(self) -> Iterator[Machine]:
        yield self

    def until_now(self) -> Watched:
        return Watched((), (), EPOCH, self._time, 99)

    def run(self, meanwhile: Callable[[], None]) -> tuple[int, str]:
        self.ran += 1
        meanwhile()
        self._during()
        return 0, "upgraded"


def client(argv: Sequence[str]) -> CommandResult:
    """What the program says that was started by ``argv``."""
    words = argv[argv.index("-c") + 7 :]
    lines = [f"a\t{path}\t{kind}\t10.0\t1.0\t0\t" for path in words[::5] for kind in ("new", "held")]
    out = "".join(f"{line}\n" for line in ["start\t1.0\t0.05", *lines, f"end\t99.0\t2\t{len(lines)}\t0"])
    return says(out, "watching\n")


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Clients that answer when they are asked; by stream, what they say in place of "all is well"."""
    said: dict[str, str] = {}

    def catch_up(run: FakeRun, done: Callable[[bytes], bool], timeout: float) -> None:
        lines = run.result.stdout.decode(errors="replace").splitlines()
        streams = ["/".join(line.split("\t")[1:3]) for line in lines if line.startswith("a\t")]
        told = [f"{stream}={said.get(stream, '30/0/1500')}" for stream in streams]
        done(" ".join([f"{EPOCH + AHEAD}", *told]).encode())

    monkeypatch.setattr(FakeRun, "catch_up", catch_up)
    monkeypatch.setattr(MemoryTape, "wait", lambda tape, seconds: None)
    monkeypatch.setattr(BundleTape, "wait", lambda tape, seconds: None)
    monkeypatch.setattr(outage, "LEAD_IN", 0.0)
    monkeypatch.setattr(outage, "LEAD_OUT", 0.0)
    return said


@pytest.fixture
def cluster() -> FakeCluster:
    found = network()
    found.say(".*", "(nsenter -t 721 -n )?python3 -c", client)
    return found


def watch(cluster: FakeCluster, machine: Machine | None = None) -> OutageLab:
    return observe_outage(cluster, Intent(), machine or Machine(), lambda how: None)


def started(cluster: FakeCluster) -> list[tuple[str, str]]:
    """Node and words of each client, its program and its token left out."""
    found = []
    for where, command in cluster.ran(r"(nsenter \S+ \S+ \S+ )?\S+ -c"):
        words = shlex.split(command)
        at = words.index("-c")
        found.append((where, " ".join(words[:at] + words[at + 3 :])))
    return found


def clients(cluster: FakeCluster) -> list[FakeRun]:
    return [run for run in cluster.spawned if "tcpdump" not in run.result.argv]


def test_clients_send_where_the_paths_begin_and_a_control_beats_where_they_end(
    cluster: FakeCluster, calm: dict[str, str]
) -> None:
    machine = Machine()
    lab = watch(cluster, machine)
    assert started(cluster) == [
        (
            "k8s-node2",
            "nsenter -t 721 -n python3 0.05 0.9 5 0.02 pod 20.111.156.72 8080 20100 10 "
            "clusterip 10.107.94.97 8080 20110 10",
        ),
        ("k8s-master", "python3 0.05 0.9 5 0.02 nodeport 192.168.219.23 31080 20120 10"),
        ("k8s-node1", "python3 0.05 0.9 5 0.02"),
    ]
    assert machine.ran == 1
    assert [(path.path, path.client, path.entry.name) for path in lab.paths] == [
        ("pod", "pod-src", "k8s-node2"),
        ("clusterip", "pod-src", "k8s-node2"),
        ("nodeport", "k8s-master", "k8s-node2"),
    ]
    assert [len(path.client_said.get().attempts) for path in lab.paths] == [4, 4, 2]
    assert {place: reading.get().beaten for place, reading in lab.controls} == {"": 99, "k8s-node1": 2}
    assert lab.command.get().tail == "upgraded"
    assert lab.captures[0].id == "client-uplink"
    assert all(run.stopped == 1 for run in cluster.spawned)


def test_while_the_command_runs_clients_are_asked_and_captures_read(
    cluster: FakeCluster, calm: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "ASKING", 0.0)
    monkeypatch.setattr(outage, "TAKING_IN", 0.0)
    read, told = Counter[str](), list[str]()
    monkeypatch.setattr(FakeRun, "drain", lambda run: read.update([run.result.argv[0]]))
    before: list[int] = []

    def lose() -> None:
        before.append(read["tcpdump"])
        calm["nodeport/new"] = "40/2/0"

    class Long(Machine):
        def run(self, meanwhile: Callable[[], None]) -> tuple[int, str]:
            lose()
            meanwhile()
            return 0, ""

    observe_outage(cluster, Intent(), Long(), told.append)
    assert read["tcpdump"] >= before[0] + 5  # one at each point
    assert told == ["", "2 requests lost", "waiting until every path answers again"]


def test_an_answer_that_came_too_late_is_taken_in_before_the_next_question(
    cluster: FakeCluster, calm: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    asked = FakeRun.catch_up
    monkeypatch.setattr(FakeRun, "drain", lambda run: done.append("drained"))

    def catch_up(run: FakeRun, done_with: Callable[[bytes], bool], timeout: float) -> None:
        if "tcpdump" not in run.result.argv:
            assert done[-1] == "drained"
            done.append("asked")
        asked(run, done_with, timeout)

    monkeypatch.setattr(FakeRun, "catch_up", catch_up)
    watch(cluster)
    assert done.count("asked") >= 6


def test_clocks_are_compared_by_the_question_that_was_answered_soonest(
    cluster: FakeCluster, calm: dict[str, str]
) -> None:
    clocks = {clock.place: clock for clock in watch(cluster).clocks}
    assert clocks.keys() == {"k8s-node2", "k8s-master", "k8s-node1"}
    # Asked before the command and after it, an answer took a hundredth of a second each time.
    for number, clock in enumerate(clocks.values()):
        assert clock.error == pytest.approx(0.005, abs=1e-4)
        assert clock.offset == pytest.approx(AHEAD - 0.015 - number * 0.02, abs=1e-4)


@pytest.mark.parametrize("python", ["/usr/libexec/platform-python", "/run/k8snet/python"])
def test_python_is_looked_for_where_it_may_be(
    cluster: FakeCluster, calm: dict[str, str], python: str
) -> None:
    cluster.say("k8s-master", "python3 -c", says(b"", b"sh: python3: not found\n", 127))
    cluster.say("k8s-master", f"{python} -c", client)
    lab = watch(cluster)
    assert lab.paths[2].client_said.command.startswith(f"{python} outage_client.py ")
    assert lab.paths[2].client_said.get().attempts
    assert lab.command.get().exit_status == 0


def test_without_python_the_command_is_not_run(cluster: FakeCluster, calm: dict[str, str]) -> None:
    nsenter = "nsenter: failed to execute python3: No such file or directory\n"
    cluster.say(
        "k8s-node2", "nsenter -t 721 -n", says(b"", nsenter.replace("python3", "/run/k8snet/python"), 127)
    )
    machine = Machine()
    lab = watch(cluster, machine)
    assert machine.ran == 0
    missing = "there is no python3 on k8s-node2, which the client is written in"
    assert lab.paths[0].client_said.failure == missing
    assert lab.command.failure == f"the command was not run: the client on k8s-node2 does not run: {missing}"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("nsenter: failed to execute python3: No such file or directory\n", 1),  # an old util-linux
        ("nsenter: failed to execute python3: No such file or directory\n", 127),
        ("nsenter: can't execute 'python3': No such file or directory\n", 127),  # BusyBox
    ],
)
def test_python_is_looked_for_through_any_nsenter(
    cluster: FakeCluster, calm: dict[str, str], words: str, status: int
) -> None:
    cluster.say("k8s-node2", "nsenter -t 721 -n python3", says(b"", words.encode(), status))
    cluster.say("k8s-node2", "nsenter -t 721 -n /usr/libexec/platform-python", client)
    lab = watch(cluster)
    assert "/usr/libexec/platform-python" in lab.paths[0].client_said.command
    assert lab.paths[0].client_said.get().attempts


def test_where_nsenter_is_missing_nobody_blames_python(cluster: FakeCluster, calm: dict[str, str]) -> None:
    cluster.say("k8s-node2", "nsenter -t 721 -n", says(b"", b"sh: nsenter: not found\n", 127))
    assert watch(cluster).paths[0].client_said.failure == "nsenter is not installed on k8s-node2"


@pytest.mark.parametrize("says_it", ["30/3/400", "0/0/0", ""])
def test_the_command_is_not_run_over_a_path_that_does_not_answer(
    cluster: FakeCluster, calm: dict[str, str], says_it: str
) -> None:
    calm["clusterip/held"] = says_it
    machine = Machine()
    lab = watch(cluster, machine)
    assert machine.ran == 0
    path = "clusterip" if says_it else "pod"  # a client that says nothing legible has not one calm stream
    assert f"not run: path {path} did not answer all requests for 1 s before it" in lab.command.failure
    assert all(run.stopped == 1 for run in cluster.spawned)


def test_an_interrupt_leaves_nobody_behind(cluster: FakeCluster, calm: dict[str, str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(cluster, Machine(interrupt))
    assert len(clients(cluster)) == 3
    assert all(run.stopped == 1 for run in cluster.spawned)


def test_a_client_whose_connection_broke_said_nothing(
    cluster: FakeCluster, calm: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FakeRun.stop

    def stop(run: FakeRun, timeout: float = 10.0) -> CommandResult:
        result = whole(run, timeout)
        if "nodeport" in result.argv:
            raise NodeUnreachable("the way to k8s-master broke")
        return result

    monkeypatch.setattr(FakeRun, "stop", stop)
    lab = watch(cluster)
    said = lab.paths[2].client_said
    assert said.failure == "the way to k8s-master broke"
    assert "--k8snet-node-access=ssh" in said.advice
    assert not lab.paths[0].client_said.failure


@pytest.mark.parametrize(
    ("result", "failure"),
    [
        (says("start\t1.0\t0.05\n", "watching\n"), "unreadable output: outage client: it is cut"),
        (says("", "watching\nKilled\n", 137), "exited with status 137: Killed"),
    ],
)
def test_a_client_that_ended_otherwise_is_not_read(
    cluster: FakeCluster, calm: dict[str, str], result: CommandResult, failure: str
) -> None:
    cluster.say("k8s-node1", "python3 -c", result)
    control = dict(watch(cluster).controls)["k8s-node1"]
    assert failure in control.failure


def test_a_pod_that_was_made_anew_was_not_watched(cluster: FakeCluster, calm: dict[str, str]) -> None:
    def replaced() -> None:
        pods = cluster.objects["pods"]
        assert isinstance(pods, bytes)
        cluster.objects["pods"] = pods.replace(b'"uid": "', b'"uid": "f')

    lab = watch(cluster, Machine(replaced))
    assert "pod pod-src was made anew while it sent" in lab.paths[0].client_said.failure
    assert lab.paths[1].client_said.failure
    assert not lab.paths[2].client_said.failure


def test_a_pod_that_is_gone_was_not_watched(cluster: FakeCluster, calm: dict[str, str]) -> None:
    def gone() -> None:
        cluster.objects["pods"] = b'{"kind": "List", "apiVersion": "v1", "items": []}'

    assert "is not at its end" in watch(cluster, Machine(gone)).paths[0].client_said.failure


def test_without_a_master_two_paths_are_left(cluster: FakeCluster, calm: dict[str, str]) -> None:
    cluster.roles = {role: name for role, name in cluster.roles.items() if role != "master"}
    lab = watch(cluster)
    assert [path.path for path in lab.paths] == ["pod", "clusterip"]
    assert "client-uplink" not in {capture.id for capture in lab.captures}
    assert [where for where, _ in started(cluster)] == ["k8s-node2", "k8s-node1"]


def test_what_was_watched_is_read_again_from_its_bundle(
    cluster: FakeCluster, calm: dict[str, str], tmp_path: Path
) -> None:
    tape = BundleTape(tmp_path / "kept")
    cluster.tape = tape
    tape.describe_cluster(cluster, Intent())
    with cluster.lab("outage"):
        lab = watch(cluster)
    tape.close()
    again = ReplayCluster(tmp_path / "kept")
    with again.lab("outage"):
        replayed = observe_outage(again, Intent(), None, lambda how: None)
    assert replace(replayed, captures=()) == replace(lab, captures=())
    assert [capture.content for capture in replayed.captures] == [capture.content for capture in lab.captures]
    kept = (tmp_path / "kept" / "labs" / "outage" / "commands.jsonl").read_text()
    assert '"python3", "outage_client.py", ' in kept
    assert "import selectors" not in kept


def test_a_command_that_was_not_run_is_not_run_in_the_replay_either(
    cluster: FakeCluster, calm: dict[str, str], tmp_path: Path
) -> None:
    calm["pod/new"] = "30/30/0"
    tape = BundleTape(tmp_path / "kept")
    cluster.tape = tape
    tape.describe_cluster(cluster, Intent())
    with cluster.lab("outage"):
        lab = watch(cluster)
    tape.close()
    again = ReplayCluster(tmp_path / "kept")
    with again.lab("outage"):
        assert observe_outage(again, Intent(), None, lambda how: None).command == lab.command


def test_a_service_without_an_address_can_not_be_asked(cluster: FakeCluster, calm: dict[str, str]) -> None:
    services = cluster.objects["services"]
    assert isinstance(services, bytes)
    cluster.objects["services"] = services.replace(b"10.107.94.97", b"None")
    with pytest.raises(ClusterError, match="svc-clusterip has no cluster IP"):
        watch(cluster)


def test_the_program_that_is_sent_is_the_one_beside() -> None:
    assert watchers.PROGRAM in {path.name for path in Path(watchers.__file__).parent.iterdir()}
