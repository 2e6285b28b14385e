"""A node of a real cluster: its programs are looked for in two or three places that all are that node.

``here`` is where commands go: the probe pod, the kind node's container, the ssh session. ``host`` is the
node's own file system where ``here`` has another: the same by nsenter. ``tools`` is a container that shares
the node's namespaces and is made when something is found nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from pytest_k8snet.clusters.base import Cluster, ClusterError, CommandResult, Deadline, Node, RunningCommand
from pytest_k8snet.clusters.ways import remote
from pytest_k8snet.clusters.ways.remote import Access, NoShell, RemoteCommand

#: To be put before a command of a privileged pod with ``hostPID`` (the prefix of ``host``): process 1 is the
#: node's own. All of its namespaces, or systemctl and crictl would look for their sockets in the pod.
HOST = ("nsenter", "-t", "1", "-m", "-u", "-i", "-n", "-p", "--")

RUNTIMES = frozenset(("docker", "crictl", "ctr", "nerdctl", "podman", "runc", "crun"))
#: Looked for on the host first: runtimes and services, which another place could at best have clients of, and
#: what reads files, which are the node's own there.
HOST_PROGRAMS = RUNTIMES | {
    *("systemctl", "journalctl", "sh", "bash", "cat", "ls", "readlink", "stat", "test", "find", "grep"),
    *("head", "tail", "hostname", "uname"),
}
#: Exit status 127 of these is that of a program in what they were given.
SHELLS = frozenset(("sh", "bash"))
NOT_FOUND = 127  #: POSIX 2.8.2

#: The socket of the kubelet's runtime, for clients that are not configured. crictl tries four that it knows,
#: dockershim's first, seconds each; ctr knows one. A machine with several runtimes has containerd's for
#: Docker's sake: k3s and RKE2, k0s, MicroK8s and CRI-O come before it.
SOCKETS = (
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/crio/crio.sock",
    "/run/containerd/containerd.sock",
    "/run/cri-dockerd.sock",
)
_FIND_SOCKET = (
    'if [ -z "$CONTAINER_RUNTIME_ENDPOINT$CONTAINERD_ADDRESS$CRI_CONFIG_FILE" ]; then for socket in '
    + " ".join(SOCKETS)
    + "; do if [ -S $socket ]; then CONTAINERD_ADDRESS=$socket; export CONTAINERD_ADDRESS; "
    "[ -e /etc/crictl.yaml ] || { CONTAINER_RUNTIME_ENDPOINT=unix://$socket; "
    "export CONTAINER_RUNTIME_ENDPOINT; }; break; fi; done; fi; "
)
PREPARE = dict.fromkeys(("crictl", "ctr", "nerdctl"), _FIND_SOCKET)


class ToolNode(Node):
    """See the module. What is recorded is the plain command, wherever it ran.

    A program that is nowhere is exit status 127, in the words of the first place that has a shell. ``tools``
    is asked for once, since that may take minutes: its ClusterError is that of each command that needs it.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        *,
        here: Access,
        host: Access | None = None,
        tools: Callable[[], Access] | None = None,
    ) -> None:
        super().__init__(cluster, name)
        self._here = here
        self._host = host
        self._make_tools = tools
        self._tools: Access | ClusterError | None = None
        self._found: dict[tuple[str, ...], Access] = {}  #: the place of all programs of a command
        self._missing: set[tuple[str, ...]] = set()  #: those that are nowhere
        self._running: list[RemoteCommand] = []

    def close(self) -> None:
        """End what was spawned and never stopped (an interrupt may come between), then the ways there.

        Idempotent.
        """
        while self._running:
            self._running.pop().release()
        for access in (self._here, self._host, self._tools):
            if isinstance(access, Access):
                access.close()

    def _run(self, argv: Sequence[str], *, timeout: float, stdin: bytes) -> CommandResult:
        deadline = Deadline(timeout)
        needed = programs(argv)
        results: list[CommandResult] = []
        no_shells: list[NoShell] = []
        for place in self._places(needed):
            try:
                result = remote.run(
                    place, argv, timeout=deadline.left, stdin=stdin, prepare=PREPARE.get(argv[0], "")
                )
            except NoShell as missing:
                no_shells.append(missing)
                continue
            if result.exit_status != NOT_FOUND or argv[0] in SHELLS:
                self._found[needed] = place
                return result
            results.append(result)
        self._missing.add(needed)
        if not results:
            raise no_shells[0]
        return results[0]

    def _spawn(self, argv: Sequence[str]) -> RunningCommand:
        self._running = [command for command in self._running if not command.released]
        place = self._place_of(programs(argv))
        command = remote.spawn(place, argv, prepare=PREPARE.get(argv[0], ""))
        self._running.append(command)
        return command

    def _place_of(self, needed: tuple[str, ...]) -> Access:
        """Where all of ``needed`` are; the first place where they are nowhere, which then says so itself."""
        look = ("sh", "-c", 'for program; do command -v "$program" || exit; done', "sh", *needed)
        if needed not in self._found and needed not in self._missing:
            for place in self._places(needed):
                with suppress(NoShell):
                    if not remote.run(place, look, timeout=self.cluster.patience.command).exit_status:
                        self._found[needed] = place
                        return place
            self._missing.add(needed)
        return next(self._places(needed))

    def _places(self, needed: tuple[str, ...]) -> Iterator[Access]:
        """Where to look for ``needed``, in order; the one place once that is known."""
        if needed in self._found:
            yield self._found[needed]
            return
        order = [self._here] if self._host is None else [self._here, self._host]
        if needed[0] in HOST_PROGRAMS:
            order.reverse()
        if needed in self._missing:
            yield order[0]
            return
        yield from order
        # A container of tools has no runtime to ask, and files of its own.
        if self._make_tools is not None and needed[0] not in HOST_PROGRAMS:
            if self._tools is None:
                try:
                    self._tools = self._make_tools()
                except ClusterError as error:
                    self._tools = error
            if isinstance(self._tools, ClusterError):
                raise self._tools
            yield self._tools


def programs(argv: Sequence[str]) -> tuple[str, ...]:
    """The programs that a command needs: its own, and for ``nsenter -t PID -n PROGRAM ...`` also that one."""
    if argv[0] != "nsenter":
        return (argv[0],)
    rest = iter(argv[1:])
    for word in rest:
        if word in ("-t", "--target"):
            next(rest, None)
        elif not word.startswith("-"):
            return ("nsenter", word)
    return ("nsenter",)
