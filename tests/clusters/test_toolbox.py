"""Where a node's programs run: places of canned programs, and one real shell for the sockets of runtimes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_k8snet.clusters.base import ClusterError, CommandResult, Node
from pytest_k8snet.clusters.ways import remote
from pytest_k8snet.clusters.ways.local import LocalAccess
from pytest_k8snet.clusters.ways.remote import Access, NoShell, Process
from pytest_k8snet.clusters.ways.toolbox import HOST, PREPARE, SOCKETS, ToolNode, programs
from tests.clusters.fake import FakeCluster
from tests.clusters.test_remote import Scripted


class Place(Access):
    """Has ``programs``, each of which says where it ran; with ``shell`` False, not even a shell."""

    def __init__(self, place: str, *programs: str, shell: bool = True) -> None:
        self.place = place
        self.programs = programs
        self.shell = shell
        self.asked: list[str] = []
        self.closed = 0
        self.processes: list[Scripted] = []

    def start(self, argv: Sequence[str], *, stdin: bytes = b"") -> Process:
        command = list(argv[4:])
        self.asked.append(" ".join(command))
        self.processes.append(self._process(command))
        return self.processes[-1]

    def close(self) -> None:
        self.closed += 1

    def _process(self, command: list[str]) -> Scripted:
        if not self.shell:
            return Scripted([b"nsenter: failed to execute sh: No such file or directory"], 127)
        announced = b"k8snet-pid 71\n"
        needed = command[4:] if command[:2] == ["sh", "-c"] else programs(command)
        missing = [program for program in needed if program not in self.programs]
        if missing:
            return Scripted([announced, f"{self.place}: {missing[0]}: not found\n".encode()], 127)
        said = f"listening at {self.place}\n".encode()
        return Scripted([announced, said], None if command[0] == "tcpdump" else 0)


def node(here: Access, host: Access | None = None, tools: Callable[[], Access] | None = None) -> ToolNode:
    return ToolNode(FakeCluster(), "k8s-node1", here=here, host=host, tools=tools)


def where(node: Node, *argv: str) -> str:
    """The place that answered."""
    result = node.run(*argv)
    assert (result.exit_status, result.argv) == (0, argv)
    return result.stderr.decode().split()[-1]


def test_network_tools_here_and_the_rest_on_the_host() -> None:
    here, host = Place("pod", "ip", "crictl", "cat", "sh"), Place("host", "ip", "crictl", "cat", "sh")
    both = node(here, host)
    assert where(both, "ip", "addr") == "pod"
    assert where(both, "crictl", "pods") == "host"
    assert where(both, "cat", "/etc/os-release") == "host"
    assert where(both, "sh", "-c", "true") == "host"
    assert where(node(here), "crictl", "pods") == "pod"


def test_a_program_that_is_elsewhere_is_asked_for_there_from_then_on() -> None:
    here, host = Place("pod", "crictl"), Place("host", "iptables-legacy-save")
    both = node(here, host)
    for _ in range(2):
        assert where(both, "iptables-legacy-save") == "host"
        assert where(both, "crictl", "pods") == "pod"
    assert here.asked == ["iptables-legacy-save", "crictl pods", "crictl pods"]
    assert host.asked == ["iptables-legacy-save", "crictl pods", "iptables-legacy-save"]


def test_a_program_inside_nsenter_is_looked_for_too() -> None:
    here, host = Place("pod", "nsenter", "ip"), Place("host", "nsenter", "ip", "netstat")
    both = node(here, host)
    assert where(both, "nsenter", "-t", "71", "-n", "ip", "addr") == "pod"
    assert where(both, "nsenter", "-t", "71", "-n", "netstat") == "host"
    assert where(both, "nsenter", "-t", "72", "-n", "ip", "addr") == "pod"


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("ip addr", ("ip",)),
        ("nsenter -t 71 -n ip addr", ("nsenter", "ip")),
        ("nsenter --target 71 --net -- ip addr", ("nsenter", "ip")),
        ("nsenter --target=71 -n", ("nsenter",)),
        ("nsenter -t", ("nsenter",)),
    ],
)
def test_programs_of_a_command(command: str, needed: tuple[str, ...]) -> None:
    assert programs(command.split()) == needed


def test_a_program_that_is_nowhere() -> None:
    here, host = Place("pod"), Place("host")
    both = node(here, host)
    for _ in range(2):
        said = b"pod: netstat: not found\n"
        assert both.run("netstat", "-ltnp") == CommandResult(("netstat", "-ltnp"), 127, b"", said)
    assert both.run("docker", "ps").stderr == b"host: docker: not found\n"
    assert both.run("docker", "ps").stderr == b"host: docker: not found\n"
    assert host.asked == ["netstat -ltnp", "docker ps", "docker ps"]


def test_a_shell_s_127_is_its_own() -> None:
    here, host = Place("pod", "sh"), Place("host", "sh")
    assert node(here, host).run("sh", "-c", "command -v x", "sh", "x").exit_status == 127
    assert (here.asked, host.asked) == ([], ["sh -c command -v x sh x"])


def test_a_host_without_a_shell() -> None:
    here, host = Place("pod", "crictl"), Place("host", shell=False)
    both = node(here, host)
    assert where(both, "crictl", "pods") == "pod"
    assert both.run("docker", "ps").stderr == b"pod: docker: not found\n"
    both.spawn("tcpdump").stop()
    with pytest.raises(NoShell, match=r"^host has no shell `sh`, by which commands are started: its last"):
        node(host).run("crictl", "pods")


def test_tools_are_made_when_they_are_needed_and_once() -> None:
    here, tools = Place("node", "ip"), Place("tools", "conntrack", "tcpdump", "crictl")
    made: list[Place] = []

    def make() -> Place:
        made.append(tools)
        return tools

    kind = node(here, tools=make)
    assert where(kind, "ip", "addr") == "node"
    assert kind.run("crictl", "pods").exit_status == 127  # the runtime is not asked from there
    assert made == []
    assert where(kind, "conntrack", "-L") == "tools"
    kind.spawn("tcpdump", "-i", "eth1").wait_for(b"listening at tools", 5)
    assert made == [tools]
    tools.processes[-1].status = 0
    kind.close()
    assert (here.closed, tools.closed) == (1, 1)


def test_tools_that_can_not_be_had_are_asked_for_once() -> None:
    asked: list[str] = []

    def make() -> Access:
        asked.append("pull")
        raise ClusterError("image netshoot can't be pulled")

    kind = node(Place("node"), tools=make)
    for _ in range(2):
        with pytest.raises(ClusterError, match="image netshoot can't be pulled"):
            kind.run("conntrack", "-L")
        with pytest.raises(ClusterError, match="image netshoot can't be pulled"):
            kind.spawn("tcpdump")
    assert asked == ["pull"]


def test_a_capture_where_tcpdump_is() -> None:
    here, host = Place("pod"), Place("host", "tcpdump")
    both = node(here, host)
    for _ in range(2):
        both.spawn("tcpdump", "-i", "eth1").wait_for(b"listening at host", 5)
    assert [command.split()[0] for command in (*here.asked, *host.asked)] == [
        "sh",
        "sh",
        "tcpdump",
        "tcpdump",
    ]


def test_a_capture_without_tcpdump() -> None:
    here, host = Place("pod"), Place("host")
    both = node(here, host)
    for _ in range(2):
        result = both.spawn("tcpdump", "-i", "eth1").stop()
        assert (result.exit_status, result.stderr) == (127, b"pod: tcpdump: not found\n")
    assert len(host.asked) == 1


def test_closing_ends_what_was_not_stopped() -> None:
    here = Place("pod", "tcpdump")
    both = node(here)
    stopped, left = both.spawn("tcpdump", "-i", "eth0"), both.spawn("tcpdump", "-i", "eth1")
    for process in here.processes:
        process.status = 0
    stopped.stop()
    third = both.spawn("tcpdump", "-i", "eth2")
    here.processes[-1].status = 0
    assert len(both._running) == 2  # what was stopped is not kept
    assert {left, third} == set(both._running)
    both.close()
    both.close()
    assert all(process.closed for process in here.processes)


def test_the_way_to_the_host_is_nsenter_into_all_namespaces_of_process_1() -> None:
    assert " ".join(HOST) == "nsenter -t 1 -m -u -i -n -p --"


@pytest.fixture
def crictl(tmp_path: Path) -> str:
    """What is put before crictl, with all paths below ``tmp_path``."""
    script = PREPARE["crictl"]
    assert all(path.startswith(("/run/", "/var/")) for path in SOCKETS)
    for folder in ("/run/", "/var/", "/etc/"):
        script = script.replace(f" {folder}", f" {tmp_path}{folder}")
    return script


def endpoints(script: str, prefix: Sequence[str] = ()) -> list[str]:
    ask = ("sh", "-c", 'echo "$CONTAINER_RUNTIME_ENDPOINT|$CONTAINERD_ADDRESS"')
    said = remote.run(LocalAccess("k8s-node1", prefix), ask, timeout=20, prepare=script)
    assert said.stderr == b""
    return said.stdout.decode().strip().split("|")


def listen(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    # By its name alone: a path of more than 107 characters can't be bound.
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    return str(path)


def test_the_kubelet_s_runtime_comes_before_docker_s(crictl: str, tmp_path: Path) -> None:
    assert endpoints(crictl) == ["", ""]
    for path in reversed(SOCKETS):
        listening = listen(Path(f"{tmp_path}{path}"))
        assert endpoints(crictl) == [f"unix://{listening}", listening]


def test_what_the_node_s_administrator_configured_stands(crictl: str, tmp_path: Path) -> None:
    listening = listen(tmp_path / "run/containerd/containerd.sock")
    assert endpoints(crictl, ("env", "CONTAINER_RUNTIME_ENDPOINT=unix:///mine")) == ["unix:///mine", ""]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/crictl.yaml").touch()
    assert endpoints(crictl) == ["", listening]
