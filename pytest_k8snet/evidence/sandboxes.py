"""Containers and sandboxes as the node's runtime lists them: OCI state, Docker, CRI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pytest_k8snet.evidence import jsontree
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.jsontree import Tree
from pytest_k8snet.evidence.lines import lines

WHAT_DOCKER = "docker inspect"
WHAT_INSPECTP = "crictl inspectp"
WHAT_INSPECT = "crictl inspect"
WHAT_LIST = "crun list --format json"
WHAT_CONFIG = "config.json"
WHAT_INODES = "stat -Lc '%n %i'"
WHAT_IDS = "list of ids"
SANDBOX = "POD"  #: the name the kubelet gives to a pod's sandbox among Docker's containers
NODE_NETWORK = "/proc/1/ns/net"  #: where a runtime spec without a network namespace leads: to the node's own
_DOCKER_NAME = re.compile(r"/?k8s_(?P<name>[^_]+)_(?P<pod>[^_]+)_(?P<namespace>[^_]+)_(?P<uid>[^_]+)_\d+")
_ID = re.compile(r"[0-9a-f]{64}")
_INODE = re.compile(r"(?P<path>/\S+) (?P<inode>[0-9]{1,20})")
_PROCESS = re.compile(r"/proc/(?P<pid>[0-9]{1,10})/ns/net")
PINNED = 0  #: stands for a sandbox without a process among the pids of :func:`parse_namespace_inodes`


@dataclass(frozen=True, slots=True)
class Container:
    """One running container. ``sandbox`` marks the pause container of its pod."""

    id: str
    name: str  #: the container's name in the pod's spec; "POD" for the sandbox
    pod: str
    namespace: str
    sandbox: bool
    pid: int
    sandbox_id: str = ""  #: id of the sandbox it belongs to (its own id for a sandbox)
    pod_uid: str = ""
    image: str = ""
    network_mode: str | None = None  #: Docker's HostConfig.NetworkMode: "container:<id>", "none", "host"
    #: OCI linux.namespaces[type=network].path, or NODE_NETWORK where the spec names no network namespace;
    #: None where it makes its own (and where the runtime does not show its spec: Docker, some crictl)
    network_namespace: str | None = None
    runtime: str = ""  #: "docker", "cri", "oci"


@dataclass(frozen=True, slots=True)
class OciState:
    """One entry of ``crun list`` (or ``runc list``): a container whatever its status."""

    id: str
    pid: int  #: 0 when it is not running
    status: str  #: "created", "running", "paused", "stopped"
    bundle: str  #: directory with config.json


def parse_ids(text: str | bytes) -> tuple[str, ...]:
    """What ``docker ps -q --no-trunc`` and crictl's ``-q`` print: one whole id a line. Raises ParseError."""
    found = tuple(lines(text))
    for line in found:
        if not _ID.fullmatch(line):
            raise ParseError(WHAT_IDS, "expected 64 hexadecimal digits", line)
    return found


def parse_docker_inspect(text: str | bytes) -> tuple[Container, ...]:
    """The running containers of ``docker inspect ID...`` (dockershim, cri-dockerd), in its order.

    A container that the kubelet did not make has pod and namespace "". Raises ParseError.
    """
    listed = jsontree.parse(WHAT_DOCKER, text).items()
    return tuple(_docker(entry) for entry in listed if _runs(entry["State"]))


def _runs(state: Tree) -> bool:
    # While Docker restarts a container by its own policy, it calls it running, with pid 0.
    return state["Running"].flag() and not state.flag_or("Restarting", False)


def _docker(entry: Tree) -> Container:
    labels = entry["Config"].texts_or_none("Labels")
    by_name = _DOCKER_NAME.fullmatch(entry["Name"].text())
    said = by_name.groupdict() if by_name else {"name": entry["Name"].text().lstrip("/")}
    name = labels.get("io.kubernetes.container.name", said["name"])
    sandbox = name == SANDBOX and (by_name is not None or "io.kubernetes.pod.name" in labels)
    own_id = entry["Id"].text()
    return Container(
        id=own_id,
        name=name,
        pod=labels.get("io.kubernetes.pod.name", said.get("pod", "")),
        namespace=labels.get("io.kubernetes.pod.namespace", said.get("namespace", "")),
        sandbox=sandbox,
        pid=entry["State"]["Pid"].integer(),
        sandbox_id=own_id if sandbox else labels.get("io.kubernetes.sandbox.id", ""),
        pod_uid=labels.get("io.kubernetes.pod.uid", said.get("uid", "")),
        image=entry["Config"].text_or("Image", ""),
        network_mode=entry["HostConfig"]["NetworkMode"].text(),
        runtime="docker",
    )


def parse_crictl_inspectp(text: str | bytes) -> tuple[Container, ...]:
    """The ready sandboxes of ``crictl inspectp ID...`` as containers called "POD".

    ``pid`` is 0 where CRI-O dropped the pause process (drop_infra_ctr): its verbose half then has neither
    pid nor image (``createSandboxInfo``; in CRI-O before 1.22 no runtimeSpec either). Raises ParseError.
    """
    return tuple(
        _cri_sandbox(entry)
        for entry in _crictl(WHAT_INSPECTP, text)
        if entry["status"]["state"].text() == "SANDBOX_READY"
    )


def parse_crictl_inspect(text: str | bytes) -> tuple[Container, ...]:
    """The running containers of ``crictl inspect ID...``. Raises ParseError.

    ``sandbox_id`` and ``network_namespace`` come from the verbose half, which some versions leave
    out: they are then "" and None.
    """
    return tuple(
        _cri_container(entry)
        for entry in _crictl(WHAT_INSPECT, text)
        if entry["status"]["state"].text() == "CONTAINER_RUNNING"
    )


def _crictl(what: str, text: str | bytes) -> Iterator[Tree]:
    """crictl prints an object for one id; for several, objects in a row or, since 1.31, a list."""
    documents = jsontree.parse_all(what, text)
    if not documents:
        raise ParseError(what, "nothing was printed")
    for document in documents:
        yield from document.items() if isinstance(document.value, list) else (document,)


def _cri_sandbox(entry: Tree) -> Container:
    status, info = entry["status"], entry["info"]
    metadata = status["metadata"]
    dropped = not info.get("pid") and not info.get("image")
    return Container(
        id=status["id"].text(),
        name=SANDBOX,
        pod=metadata["name"].text(),
        namespace=metadata["namespace"].text(),
        sandbox=True,
        pid=0 if dropped else info["pid"].integer(),
        sandbox_id=status["id"].text(),
        pod_uid=metadata.text_or("uid", ""),
        image=info.text_or("image", ""),
        network_namespace=_network_namespace(info.get("runtimeSpec")),
        runtime="cri",
    )


def _cri_container(entry: Tree) -> Container:
    status, info = entry["status"], entry["info"]
    labels = status.texts_or_none("labels")
    image = status.dig("image", "image")
    return Container(
        id=status["id"].text(),
        name=status["metadata"]["name"].text(),
        pod=labels.get("io.kubernetes.pod.name", ""),
        namespace=labels.get("io.kubernetes.pod.namespace", ""),
        sandbox=False,
        pid=info["pid"].integer(),
        sandbox_id=info.text_or("sandboxID", ""),
        pod_uid=labels.get("io.kubernetes.pod.uid", ""),
        image=image.text() if image else "",
        network_namespace=_network_namespace(info.get("runtimeSpec")),
        runtime="cri",
    )


def _network_namespace(spec: Tree | None) -> str | None:
    """The path of ``linux.namespaces[type=network]`` (OCI runtime spec, config-linux.md, "Namespaces").

    None where the spec is not there, or has the container make a namespace of its own (no path).
    """
    if spec is None:
        return None
    linux = spec.get("linux")
    for namespace in linux.items_of("namespaces") if linux else ():
        if namespace["type"].text() == "network":
            return namespace.text_or("path", "") or None
    return NODE_NETWORK


def parse_oci_list(text: str | bytes) -> tuple[OciState, ...]:
    """Every container of ``crun list --format json`` (runc prints ``null`` for none). Raises ParseError."""
    listed = jsontree.parse(WHAT_LIST, text)
    entries: Iterable[Tree] = () if listed.value is None else listed.items()
    return tuple(
        OciState(entry["id"].text(), entry["pid"].integer(), entry["status"].text(), entry["bundle"].text())
        for entry in entries
    )


def parse_oci_config(state: OciState, text: str | bytes) -> Container:
    """The container of ``state`` by its bundle's config.json and the annotations that containerd writes
    there (``io.kubernetes.cri.*``). Raises ParseError, also for annotations that are not there."""
    config = jsontree.parse(WHAT_CONFIG, text)
    annotations = config.texts_or_none("annotations")
    prefix = "io.kubernetes.cri."
    kind = _annotation(annotations, prefix + "container-type")
    if kind not in ("sandbox", "container"):
        raise ParseError(WHAT_CONFIG, f"container-type is sandbox or container, not {kind!r}")
    sandbox = kind == "sandbox"
    return Container(
        id=state.id,
        name=SANDBOX if sandbox else _annotation(annotations, prefix + "container-name"),
        pod=_annotation(annotations, prefix + "sandbox-name"),
        namespace=_annotation(annotations, prefix + "sandbox-namespace"),
        sandbox=sandbox,
        pid=state.pid,
        sandbox_id=_annotation(annotations, prefix + "sandbox-id"),
        pod_uid=annotations.get(prefix + "sandbox-uid", ""),
        image=annotations.get(prefix + "image-name", ""),
        network_namespace=_network_namespace(config),
        runtime="oci",
    )


def _annotation(annotations: Mapping[str, str], key: str) -> str:
    if key not in annotations:
        raise ParseError(WHAT_CONFIG, f"no annotation {key}", json.dumps(dict(annotations)))
    return annotations[key]


def pinned_namespace(containers: Iterable[Container]) -> str | None:
    """Where the network namespace of a pod is pinned whose sandbox has no process: CRI-O's drop_infra_ctr.

    The sandbox's own spec names the path; where it is not shown, the one path that all containers name.
    None beside a sandbox that runs, and for a path below /proc: that is a process's namespace
    (:data:`NODE_NETWORK`: the node's own), which pins nothing.
    """
    containers = tuple(containers)
    sandboxes = [container for container in containers if container.sandbox]
    if any(sandbox.pid > 0 for sandbox in sandboxes):
        return None
    naming = [sandbox for sandbox in sandboxes if sandbox.network_namespace]
    naming = naming or [container for container in containers if not container.sandbox]
    paths = {container.network_namespace for container in naming}
    path = paths.pop() if len(paths) == 1 else None
    return None if path is None or path.startswith("/proc/") else path


def parse_namespace_inodes(text: str | bytes, pinned: str = "") -> dict[int, int]:
    """pid -> inode of its network namespace, from ``stat -Lc '%n %i' /proc/PID/ns/net...``.

    The namespace at the path ``pinned`` has the key :data:`PINNED`. A process that ended has no line (stat
    says so on its standard error). Raises ParseError, also for output without any line.
    """
    inodes: dict[int, int] = {}
    for line in lines(text):
        match = _INODE.fullmatch(line)
        process = _PROCESS.fullmatch(match["path"]) if match else None
        if match is None or (process is None and match["path"] != pinned):
            raise ParseError(WHAT_INODES, "unknown line", line)
        inodes[int(process["pid"]) if process else PINNED] = int(match["inode"])
    if not inodes:
        raise ParseError(WHAT_INODES, "nothing was printed")
    return inodes
