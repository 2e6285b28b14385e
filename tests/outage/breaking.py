"""One path of the reference network broken for a moment, and for how long it really was (no test itself).

node2 marks the packets of that path where they come in, before DNAT makes three paths one; that changes
nothing. Then a policy rule sends what is marked into a black hole, and is taken back: one netlink message
each, by one process on that node, which prints when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_k8snet.claims.outage_gaps import Timeline, controls
from pytest_k8snet.clusters.embedded import EmbeddedCluster
from pytest_k8snet.clusters.here import Here
from pytest_k8snet.clusters.tape import Tape
from pytest_k8snet.embedded.description import PYTHON
from pytest_k8snet.evidence.outage import KINDS, PATHS, OutageLab
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import load
from pytest_k8snet.probes.outage import observe_outage
from tests.matrix.judge import SCENARIOS

MARK = 0x100000  #: none of kube-proxy's or Calico's
NODE = "k8s-node2"
#: What each path's packets are addressed to where they come in on that node.
ASKED = {
    "pod": ("20.111.156.72", 8080),
    "clusterip": ("10.107.94.97", 8080),
    "nodeport": ("192.168.219.23", 31080),
}
FILES = (
    "pod_network/pod-src.yaml",
    "pod_network/pod-dest.yaml",
    "clusterip/svc-clusterip.yaml",
    "nodeport/svc-nodeport.yaml",
)

#: Seconds to wait and to break. struct fib_rule_hdr and its attributes: linux/fib_rules.h, linux/rtnetlink.h.
SCRIPT = """
import socket, struct, sys, time
ADD, DELETE, REQUEST_ACK_CREATE, BLACKHOLE, PRIORITY, FWMARK, FWMASK = 32, 33, 0x405, 6, 6, 10, 16
wait, seconds, mark = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
body = struct.pack("8BI", socket.AF_INET, 0, 0, 0, 0, 0, 0, BLACKHOLE, 0)
for kind, value in ((PRIORITY, 1), (FWMARK, mark), (FWMASK, mark)):
    body += struct.pack("HHI", 8, kind, value)
def rule(kind):
    netlink.send(struct.pack("IHHII", 16 + len(body), kind, REQUEST_ACK_CREATE, 1, 0) + body)
    error = struct.unpack_from("i", netlink.recv(4096), 16)[0]
    if error:
        sys.exit("netlink: %d" % error)
time.sleep(wait)
rule(ADD)
broken = time.time()
try:
    time.sleep(seconds)
    mended = time.time()
finally:
    rule(DELETE)
print("%.6f %.6f" % (broken, mended))
"""


class Breaking(Here):
    """Breaks what is marked for ``seconds``, in place of a command."""

    def __init__(self, cluster: EmbeddedCluster, seconds: float) -> None:
        super().__init__(f"break a path for {seconds} s")
        self.really = 0.0  #: seconds for which it was broken, by the node's clock
        self._cluster = cluster
        self._seconds = seconds

    def run(self, meanwhile: Callable[[], None]) -> tuple[int, str]:
        argv = (PYTHON, "-I", "-S", "-c", SCRIPT, "1", str(self._seconds), str(MARK))
        result = self._cluster.command(NODE, argv)
        said = (result.stdout or result.stderr).decode()
        if result.exit_status == 0:
            broken, mended = map(float, said.split())
            self.really = mended - broken
        return result.exit_status, said


@dataclass(frozen=True)
class Measured:
    path: str
    really: float  #: seconds for which it was broken
    lab: OutageLab

    @property
    def gap(self) -> float:
        """Seconds of the longest gap of new connections over the broken path."""
        longest = Timeline(self.lab, self.path).stretch("new").longest
        return longest.seconds if longest else 0.0

    @property
    def lost_elsewhere(self) -> int:
        """Requests lost over the other paths, and on every held connection."""
        streams = {(path, kind) for path in PATHS for kind in KINDS} - {(self.path, "new")}
        return sum(Timeline(self.lab, path).stretch(kind).lost for path, kind in streams)

    @property
    def stalled(self) -> float:
        """Seconds of the longest stall of a machine that took part."""
        nodes = ("", "k8s-master", "k8s-node1", "k8s-node2")
        beats = [beat for node in nodes for said in controls(self.lab, node) for beat in said.get().beats]
        return max((beat.late for beat in beats), default=0.0)


def measure(cluster: EmbeddedCluster, path: str, seconds: float) -> Measured:
    """Break ``path`` alone for ``seconds`` while all paths are watched."""
    mark(cluster, *ASKED[path])
    breaking = Breaking(cluster, seconds)
    lab = observe_outage(cluster, Intent(), breaking, lambda how: None)
    return Measured(path, breaking.really, lab)


@contextmanager
def network(tape: Tape) -> Iterator[EmbeddedCluster]:
    """The reference network with the objects of the watch."""
    cluster = EmbeddedCluster.start(tape=tape, intent=Intent())
    with cluster:
        cluster.apply([manifest for file in FILES for manifest in load(SCENARIOS / file)])
        yield cluster


def mark(cluster: EmbeddedCluster, address: str, port: int) -> None:
    """Let node2 mark all that comes in for ``address:port``, and nothing else."""
    cluster.modules(["iptable_mangle"])
    table = ("iptables-legacy", "-t", "mangle")
    chain = ("PREROUTING", "-d", address, "-p", "tcp", "--dport", str(port))
    for argv in ((*table, "-F"), (*table, "-A", *chain, "-j", "MARK", "--or-mark", str(MARK))):
        result = cluster.command(NODE, argv)
        assert result.exit_status == 0, result.stderr.decode()
