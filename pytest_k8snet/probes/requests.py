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

HEADER = "X-K8snet"  #: names the request, in its bytes: how a flow is known on every wire
#: The part of curl's ``%{json}`` report that :func:`http.parse_curl` reads, asked for field by field: the
#: whole of it holds curl's version, for which libldap looks up the machine's own name, and where DNS does
#: not answer curl then takes seconds to end (curl 7.88 of Debian 12: 6.4 s). Variables of curl 7.75.
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
#: curl writes the status with three digits; JSON knows no 000.
_NO_STATUS = re.compile(rb'(?<=\n\{"http_code":)000(?=,"exitcode":)')


@dataclass(frozen=True)
class Client:
    """Who asks: a container of a pod, or a node. ``prefix`` is how a person would get there."""

    name: str
    node: str
    prefix: str
    patience: Patience
    run: Callable[[Sequence[str], float], CommandResult]


def from_node(node: Node) -> Client:
    return Client(
        node.name,
        node.name,
        "",
        node.cluster.patience,
        lambda argv, timeout: node.run(*argv, timeout=timeout),
    )


def from_pod(cluster: Cluster, pod: Pod, container: str = "") -> Client:
    """``container`` is the pod's first one unless named."""
    container = container or (pod.containers[0] if pod.containers else "")
    return Client(
        pod.name,
        pod.node,
        f"kubectl exec -n {pod.namespace} {pod.name} -c {container} -- ",
        cluster.patience,
        lambda argv, timeout: cluster.exec(pod.name, container, *argv, timeout=timeout),
    )


def url(address: IPAddress, port: int, path: str) -> str:
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{host}:{port}{path}"


def ask(client: Client, target: str, token: str, *, discard: bool = False) -> Reading[Exchange]:
    """One request. A connection that fails is evidence (``Exchange.status`` 0); a curl that is missing or
    says nothing is a failed reading. ``discard`` throws the body away, keeping its size."""
    return derive(_curl(client, [target], token, discard=discard), _only)


def ask_often(client: Client, target: str, token: str, times: int) -> Reading[tuple[Exchange, ...]]:
    """``times`` requests in turn, each on a connection of its own; ends at the first that fails."""
    options = ("--fail-early", "-H", "Connection: close")
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
    # curl's own errors (7: refused, 28: time-out) come with its report; a report tells them from the errors
    # of what should have started curl.
    if result.exit_status and (result.exit_status == NOT_FOUND or not result.stdout.strip()):
        return failed(client.node, command, result)
    return derive(Reading(client.node, command, _NO_STATUS.sub(b"0", result.stdout)), http.parse_curl)


def _only(exchanges: tuple[Exchange, ...]) -> Exchange:
    if len(exchanges) != 1:
        raise NotObserved(f"curl reported {len(exchanges)} requests where one was made")
    return exchanges[0]
