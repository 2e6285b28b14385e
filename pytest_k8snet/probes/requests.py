"""HTTP requests by curl, from a pod or from a node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_k8snet.clusters.base import Cluster, ClusterError, CommandResult, Node, Patience
from pytest_k8snet.evidence import http
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.probes.commands import NOT_FOUND, derive, failed, unreached
from pytest_k8snet.probes.pods import container_named, of_process, read_containers

HEADER = "X-K8snet"  #: names the request, in its bytes: how a flow is known on every wire
#: The part of curl's ``%{json}`` report that :func:`http.parse_curl` reads, asked for field by field: the
#: whole of it holds curl's version, for which libldap looks up the machine's own name, and where DNS does
#: not answer curl then takes seconds to end (curl 7.88 of Debian 12: 6.4 s). Variables of curl 7.29, but for
#: exitcode and errormsg (7.75): an older curl writes nothing for them, and complains on standard error.
REPORT = "\n{" + ",".join(
    (
        '"http_code":%{http_code}',
        '"exitcode":%{exitcode}',
        '"errormsg":"%{errormsg}"',
        '"url_effective":"%{url_effective}"',
        '"size_download":%{size_download}',
        '"local_ip":"%{local_ip}"',
        '"local_port":%{local_port}',
        '"remote_ip":"%{remote_ip}"',
        '"remote_port":%{remote_port}}',
    )
)
#: A request body for :func:`ask`, read by curl's own container whatever its image holds, again and again:
#: 70 to 200 KB in all. More than claims/mtu.py asks for, and less than the 256 KiB that Go's HTTP server
#: (agnhost's) reads of a body that nobody asked for.
BODY, TIMES = "/proc/vmstat", 40
#: What starts a program says so when it is not there: runc, crun, CRI-O, Docker; some with status 126 or 1.
_NO_PROGRAM = re.compile(
    rb"[^\n]*(?:executable file (?:`[^`]*` )?not found|curl\S* no such file)", re.IGNORECASE
)

FAIL_EARLY = "--fail-early"  #: curl 7.52
UNKNOWN_OPTION = 2  #: curl's exit status


@dataclass(frozen=True)
class Client:
    """Who asks: a container of a pod, or a node. ``prefix`` is how a person would get there."""

    name: str
    node: str
    prefix: str
    patience: Patience
    run: Callable[[Sequence[str], float], CommandResult]
    #: how the node asks in its place, for a container without curl
    stand_in: Callable[[], Reading[Client]] | None = None


def from_node(node: Node) -> Client:
    return Client(
        node.name,
        node.name,
        "",
        node.cluster.patience,
        lambda argv, timeout: node.run(*argv, timeout=timeout),
    )


def from_pod(cluster: Cluster, pod: Pod, container: str = "") -> Client:
    """``container`` is the pod's first one unless named.

    Where it has no curl (its image may have no shell even), the request is made by the node's curl, in the
    network namespace of the container's own process; its command says so.
    """
    container = container or (pod.containers[0] if pod.containers else "")
    return Client(
        pod.name,
        pod.node,
        f"kubectl exec -n {pod.namespace} {pod.name} -c {container} -- ",
        cluster.patience,
        lambda argv, timeout: cluster.exec(pod.name, container, *argv, timeout=timeout),
        lambda: _from_namespace(cluster, pod, container),
    )


def _from_namespace(cluster: Cluster, pod: Pod, container: str) -> Reading[Client]:
    """The node as client, in the network namespace of ``container`` (the sandbox's may be another)."""
    node = cluster.nodes[pod.node]

    def client(pid: int) -> Client:
        inside = ("nsenter", *of_process(pid))
        return Client(
            pod.name,
            pod.node,
            f"{shlex.join(inside)} ",
            cluster.patience,
            lambda argv, timeout: node.run(*inside, *argv, timeout=timeout),
        )

    listed = read_containers(cluster, node, pod)
    return derive(listed, lambda found: client(container_named(found, container).pid))


def url(address: IPAddress, port: int, path: str) -> str:
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{host}:{port}{path}"


def ask(
    client: Client, target: str, token: str, *, discard: bool = False, upload: bool = False
) -> Reading[Exchange]:
    """One request. A connection that fails is evidence (``Exchange.status`` 0); a curl that is missing or
    says nothing is a failed reading. ``discard`` throws the body away, keeping its size. ``upload`` sends a
    large body along with the GET, which whatever answers a GET takes, and most leave alone."""
    # No "Expect: 100-continue": the body follows at once, as a large answer would.
    body = ("-X", "GET", "-H", "Expect:", *("--data-binary", f"@{BODY}") * TIMES) if upload else ()
    return derive(_curl(client, [target], token, discard=discard, options=body), _only)


def ask_often(client: Client, target: str, token: str, times: int) -> Reading[tuple[Exchange, ...]]:
    """``times`` requests in turn, each on a connection of its own; ends at the first that fails (curl before
    7.52, which has no --fail-early, at the last)."""
    options = (FAIL_EARLY, "-H", "Connection: close")
    return _curl(client, [target] * times, token, options=options)


def _curl(
    client: Client,
    targets: Sequence[str],
    token: str,
    *,
    discard: bool = False,
    options: Sequence[str] = (),
) -> Reading[tuple[Exchange, ...]]:
    output = "/dev/null" if discard else "-"
    argv = (
        *("curl", "-s", "-S", "-m", str(client.patience.request), "-g", "--noproxy", "*"),
        *(option for _ in targets for option in ("-o", output)),
        *("-H", f"{HEADER}: {token}", *options, "-w", REPORT, *targets),
    )
    command = client.prefix + shlex.join(argv)
    try:
        # One request that gets no answer ends it (--fail-early); the others take half a second at most.
        limit = client.patience.request + client.patience.command + 0.5 * (len(targets) - 1)
        result = client.run(argv, limit)
    except ClusterError as error:
        return unreached(client.node, command, error)
    if client.stand_in and _not_there(result):
        other = client.stand_in()
        if other.value is not None and not other.failure:
            return _curl(other.value, targets, token, discard=discard, options=options)
        return Reading(
            client.node,
            command,
            failure=f"the container has no curl, and the node can't ask in its place: {other.failure}",
            advice=other.advice,
        )
    if result.exit_status == UNKNOWN_OPTION and FAIL_EARLY.encode() in result.stderr:
        left = [option for option in options if option != FAIL_EARLY]
        return _curl(client, targets, token, discard=discard, options=left)
    # curl's own errors (7: refused, 28: time-out) come with its report; a report tells them from the errors
    # of what should have started curl.
    if result.exit_status and (result.exit_status == NOT_FOUND or not result.stdout.strip()):
        return failed(client.node, command, result)
    return derive(
        Reading(client.node, command, result.stdout),
        lambda said: http.parse_curl(said, result.exit_status, result.stderr),
    )


def _not_there(result: CommandResult) -> bool:
    """No curl was started, for want of one. Docker (dockershim too) says so on the standard output."""
    said = result.stdout + result.stderr
    return result.exit_status == NOT_FOUND or (result.exit_status != 0 and bool(_NO_PROGRAM.match(said)))


def _only(exchanges: tuple[Exchange, ...]) -> Exchange:
    if len(exchanges) != 1:
        raise NotObserved(f"curl reported {len(exchanges)} requests where one was made")
    return exchanges[0]
