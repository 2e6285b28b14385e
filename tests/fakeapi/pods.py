"""The subresources of a pod that are streams: its log, and exec."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from tests.fakeapi import statuses, websockets
from tests.fakeapi.execution import Exec, Processes
from tests.fakeapi.faults import Request
from tests.fakeapi.resources import Target
from tests.fakeapi.statuses import Json
from tests.fakeapi.store import Store
from tests.fakeapi.wire import Exchange

_WAITING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
    "CreateContainerConfigError": "CreateContainerConfigError",
}


def log(
    store: Store,
    logs: dict[tuple[str, str, str], bytes],
    exchange: Exchange,
    request: Request,
    target: Target,
) -> None:
    pod = store.get("pods", target.name, target.namespace)
    container = _container(pod, request)
    waiting = _state(pod, container).get("waiting")
    if waiting:
        why = _WAITING.get(waiting["reason"], waiting["reason"])
        raise statuses.bad_request(
            f'container "{container}" in pod "{target.name}" is waiting to start: {why}'
        )
    kept = logs.get((target.namespace, target.name, container), b"")
    exchange.reply_raw(200, kept, "text/plain")


def execute(
    store: Store, processes: Processes, minor: int, exchange: Exchange, request: Request, target: Target
) -> None:
    """Upgrade to a websocket and run the process; returns when client or process is gone."""
    pod = store.get("pods", target.name, target.namespace)
    container = _container(pod, request)
    pairs = parse_qsl(urlsplit(exchange.path).query, keep_blank_values=True)
    argv = tuple(value for key, value in pairs if key == "command")
    if not argv:
        raise statuses.bad_request("you must specify at least 1 command for the container")
    node = pod["spec"].get("nodeName", "")
    if not node:
        raise statuses.bad_request(f"pod {target.name} does not have a host assigned")
    if not websockets.asks(exchange):
        raise statuses.bad_request("Upgrade request required")
    # From 1.30 the API server speaks the websocket and SPDY to the kubelet, before that the kubelet itself.
    translated = minor >= 30
    protocol = websockets.choose(exchange, translated)
    running = "running" in _state(pod, container)
    refusal = f'container not found ("{container}")'
    if not running and not translated:
        return exchange.reply_raw(500, f"{refusal}\n".encode(), "text/plain; charset=utf-8")
    channels = websockets.Channels(exchange, protocol)
    if not running:
        message = f"Internal error occurred: unable to upgrade connection: {refusal}"
        channels.status(statuses.failure(500, message))
        return channels.close()
    runtime = store.get("nodes", node)["status"]["nodeInfo"]["containerRuntimeVersion"]
    streams = frozenset(
        name for name in ("stdin", "stdout", "stderr") if dict(pairs).get(name) in ("true", "True", "1")
    )
    call = Exec(
        namespace=target.namespace,
        pod=target.name,
        container=container,
        argv=argv,
        node=node,
        runtime=runtime.split(":")[0],
        streams=streams,
        translated=translated,
        channels=channels,
    )
    return processes.run(call)


def _container(pod: Json, request: Request) -> str:
    """The one that the request names, or the pod's only one. Raises a 400."""
    name = pod["metadata"]["name"]
    names = [container["name"] for container in pod["spec"]["containers"]]
    asked = request.query.get("container", "")
    if not asked and len(names) > 1:
        raise statuses.bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
        )
    if asked and asked not in names:
        raise statuses.bad_request(f"container {asked} is not valid for pod {name}")
    return asked or names[0]


def _state(pod: Json, container: str) -> Json:
    for status in pod.get("status", {}).get("containerStatuses") or []:
        if status["name"] == container:
            found: Json = status["state"]
            return found
    return {}
