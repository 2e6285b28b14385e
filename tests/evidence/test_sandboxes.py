from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.sandboxes import (
    NODE_NETWORK,
    PINNED,
    Container,
    OciState,
    parse_crictl_inspect,
    parse_crictl_inspectp,
    parse_docker_inspect,
    parse_ids,
    parse_namespace_inodes,
    parse_oci_config,
    parse_oci_list,
    pinned_namespace,
)
from tests.evidence.samples import sample

DOCKER = sample("docker-inspect.json")
SANDBOX = sample("crictl-inspectp.json")
CONTAINER = sample("crictl-inspect-one.json")
PAUSE = "46e9753762937bb6c2538ceb7ab78a4ed17875c9182fdb1ddee6a6b198bad56a"


def changed(text: str, *path: str | int, value: Any = ...) -> str:
    """``text`` with the value at ``path`` replaced, or taken away."""
    document = json.loads(text)
    node = document
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return json.dumps(document)


def test_docker_s_containers() -> None:
    container2, container1, pause = parse_docker_inspect(DOCKER)
    assert container1.network_mode == container2.network_mode == f"container:{PAUSE}"
    assert pause == Container(
        id=PAUSE,
        name="POD",
        pod="pod-pause",
        namespace="default",
        sandbox=True,
        pid=19458,
        sandbox_id=PAUSE,
        pod_uid="a913bcd2-9d8d-449a-95b8-24369415e026",
        image="k8s.gcr.io/pause:3.2",
        network_mode="none",
        runtime="docker",
    )
    assert (container1.name, container1.sandbox, container1.sandbox_id) == ("container1", False, PAUSE)


def test_docker_s_names_stand_in_for_labels() -> None:
    without: list[dict[str, str] | None] = [None, {}]
    for labels in without:
        _, container1, pause = parse_docker_inspect(
            changed(changed(DOCKER, 1, "Config", "Labels", value=labels), 2, "Config", "Labels", value=labels)
        )
        assert (container1.name, container1.pod, container1.sandbox) == ("container1", "pod-pause", False)
        assert container1.namespace == "default"
        assert pause.sandbox
        assert pause.pod_uid == "a913bcd2-9d8d-449a-95b8-24369415e026"


def test_docker_s_other_containers_are_kept_and_dead_ones_are_not() -> None:
    foreign = changed(changed(DOCKER, 2, "Config", "Labels"), 2, "Name", value="/POD")
    stranger = parse_docker_inspect(foreign)[2]
    assert (stranger.name, stranger.pod, stranger.sandbox, stranger.sandbox_id) == ("POD", "", False, "")
    assert len(parse_docker_inspect(changed(DOCKER, 2, "State", "Running", value=False))) == 2
    assert len(parse_docker_inspect(changed(DOCKER, 2, "State", "Restarting", value=True))) == 2
    labels = {"io.kubernetes.pod.name": "pod-pause", "io.kubernetes.container.name": "1st"}
    first = parse_docker_inspect(changed(DOCKER, 1, "Config", "Labels", value=labels))[1]
    assert (first.name, first.sandbox) == ("1st", False)
    assert parse_docker_inspect("[]") == ()


def test_containerd_s_sandbox() -> None:
    (sandbox,) = parse_crictl_inspectp(SANDBOX)
    assert (sandbox.name, sandbox.pod, sandbox.namespace, sandbox.pid) == (
        "POD",
        "pod-pause",
        "default",
        21508,
    )
    assert sandbox.sandbox
    assert sandbox.sandbox_id == sandbox.id
    assert sandbox.network_namespace == "/var/run/netns/cni-c8a8181e-3372-e626-3315-5177037f4ca1"
    assert parse_crictl_inspectp(changed(SANDBOX, "status", "state", value="SANDBOX_NOTREADY")) == ()


def test_containerd_s_containers() -> None:
    container2, container1 = parse_crictl_inspect(sample("crictl-inspect.json"))
    assert (container1,) == parse_crictl_inspect(CONTAINER)
    assert container1.sandbox_id == container2.sandbox_id == parse_crictl_inspectp(SANDBOX)[0].id
    assert container1.network_namespace == "/proc/21508/ns/net"
    assert (container1.pod, container1.namespace, container1.name) == ("pod-pause", "default", "container1")
    assert container1.image == "docker.io/kubetm/app:1"
    assert parse_crictl_inspect(f"[{CONTAINER}, {CONTAINER}]") == (container1, container1)
    assert not container1.sandbox
    for state in ("CONTAINER_CREATED", "CONTAINER_EXITED", "CONTAINER_UNKNOWN"):
        assert parse_crictl_inspect(changed(CONTAINER, "status", "state", value=state)) == ()


@pytest.mark.parametrize("spec", [True, False])
def test_cri_o_s_sandbox_without_a_process(spec: bool) -> None:
    """CRI-O 1.22 and later keep the runtimeSpec of a dropped pause container, older ones nothing."""
    path = "/var/run/netns/f3cf"
    linux = {"linux": {"namespaces": [{"type": "network", "path": path}]}}
    (sandbox,) = parse_crictl_inspectp(changed(SANDBOX, "info", value={"runtimeSpec": linux} if spec else {}))
    assert (sandbox.pid, sandbox.sandbox) == (0, True)
    assert sandbox.network_namespace == (path if spec else None)


def test_where_cri_o_pins_a_namespace() -> None:
    (running,) = parse_crictl_inspectp(SANDBOX)
    (container,) = parse_crictl_inspect(CONTAINER)
    dropped = replace(running, pid=0, network_namespace="/run/netns/1")
    ours = [replace(container, id=c, network_namespace="/run/netns/2") for c in "ab"]
    assert pinned_namespace([dropped, *ours]) == "/run/netns/1"
    assert pinned_namespace([replace(dropped, network_namespace=None), *ours]) == "/run/netns/2"
    assert pinned_namespace(ours) == "/run/netns/2"
    assert pinned_namespace([*ours, replace(container, network_namespace="/run/netns/3")]) is None
    assert pinned_namespace([running, *ours]) is None, "a process holds it"
    assert pinned_namespace([replace(dropped, network_namespace=NODE_NETWORK), *ours]) is None
    assert pinned_namespace([replace(dropped, network_namespace=None), container]) is None
    assert pinned_namespace([]) is None


def test_ids() -> None:
    assert parse_ids(f"{PAUSE}\n") == (PAUSE,)
    assert parse_ids(b"\n") == ()
    for text in (PAUSE[:12], f"{PAUSE}\nPOD ID"):
        with pytest.raises(ParseError, match="64 hexadecimal digits"):
            parse_ids(text)


def test_what_some_versions_of_crictl_leave_out() -> None:
    (container,) = parse_crictl_inspect(changed(CONTAINER, "info", value={"pid": 7}))
    assert (container.pid, container.sandbox_id, container.network_namespace) == (7, "", None)
    (container,) = parse_crictl_inspect(changed(CONTAINER, "status", "image"))
    assert container.image == ""


@pytest.mark.parametrize(
    ("linux", "path"),
    [
        ({"namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/9/ns/net"}]}, "/proc/9/ns/net"),
        ({"namespaces": [{"type": "network"}]}, None),
        ({"namespaces": [{"type": "network", "path": ""}]}, None),
        ({"namespaces": [{"type": "pid"}]}, NODE_NETWORK),
        ({}, NODE_NETWORK),
        (None, NODE_NETWORK),
    ],
)
def test_the_network_namespace_of_a_runtime_spec(linux: Any, path: str | None) -> None:
    (container,) = parse_crictl_inspect(changed(CONTAINER, "info", "runtimeSpec", "linux", value=linux))
    assert container.network_namespace == path


STATE = OciState("c1", 42, "running", "/run/k8snet/c1")
ANNOTATIONS = {
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.container-name": "container1",
    "io.kubernetes.cri.sandbox-id": "p1",
    "io.kubernetes.cri.sandbox-name": "pod-pause",
    "io.kubernetes.cri.sandbox-namespace": "default",
    "io.kubernetes.cri.sandbox-uid": "u1",
    "io.kubernetes.cri.image-name": "kubetm/p8000",
}
LINUX = {"namespaces": [{"type": "network", "path": "/proc/41/ns/net"}]}


def config(**changes: str | None) -> str:
    annotations = {**ANNOTATIONS, **{f"io.kubernetes.cri.{key}": value for key, value in changes.items()}}
    kept = {key: value for key, value in annotations.items() if value is not None}
    return json.dumps({"ociVersion": "1.0.2", "annotations": kept, "linux": LINUX})


def test_oci_containers() -> None:
    container = parse_oci_config(STATE, config())
    assert container == Container(
        id="c1",
        name="container1",
        pod="pod-pause",
        namespace="default",
        sandbox=False,
        pid=42,
        sandbox_id="p1",
        pod_uid="u1",
        image="kubetm/p8000",
        network_namespace="/proc/41/ns/net",
        runtime="oci",
    )
    pause = parse_oci_config(STATE, config(**{"container-type": "sandbox", "container-name": None}))
    assert (pause.name, pause.sandbox) == ("POD", True)


def test_oci_lists() -> None:
    entry = {"id": "c1", "pid": 42, "status": "running", "bundle": "/run/k8snet/c1", "owner": "root"}
    assert parse_oci_list(json.dumps([entry])) == (STATE,)
    assert parse_oci_list("[\n\n]\n") == ()
    assert parse_oci_list("null") == ()
    with pytest.raises(ParseError, match="no 'bundle'"):
        parse_oci_list(changed(json.dumps([entry]), 0, "bundle"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "no annotation io.kubernetes.cri.container-type"),
        (config(**{"container-type": "pod"}), "sandbox or container, not 'pod'"),
        (config(**{"container-name": None}), "no annotation io.kubernetes.cri.container-name"),
        (config(**{"sandbox-name": None}), "no annotation io.kubernetes.cri.sandbox-name"),
        (config()[:-1], "cut"),
    ],
)
def test_configs_that_say_too_little(text: str, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_oci_config(STATE, text)


@pytest.mark.parametrize(
    "text", [changed(DOCKER, 0, "State"), changed(DOCKER, 0, "HostConfig"), DOCKER[:-9], "", "{}"]
)
def test_output_that_is_not_docker_s(text: str) -> None:
    with pytest.raises(ParseError, match="docker inspect"):
        parse_docker_inspect(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        SANDBOX[:-9],
        changed(SANDBOX, "info"),
        changed(SANDBOX, "info", "pid"),
        changed(SANDBOX, "info", "pid", value="21508"),
        changed(SANDBOX, "status", "metadata", "namespace"),
        changed(SANDBOX, "status", "state"),
    ],
)
def test_output_that_is_not_crictl_inspectp_s(text: str) -> None:
    with pytest.raises(ParseError, match="crictl inspectp"):
        parse_crictl_inspectp(text)


@pytest.mark.parametrize(
    "text", ["", CONTAINER + "{", changed(CONTAINER, "info", "pid"), changed(CONTAINER, "status", "id")]
)
def test_output_that_is_not_crictl_inspect_s(text: str) -> None:
    with pytest.raises(ParseError, match="crictl inspect:"):
        parse_crictl_inspect(text)


def test_inodes() -> None:
    text = "/proc/1/ns/net 4026531840\n/proc/19458/ns/net 4026532182\n"
    assert parse_namespace_inodes(text) == {1: 4026531840, 19458: 4026532182}
    pinned = "/var/run/netns/f3cf"
    assert parse_namespace_inodes(f"/proc/1/ns/net 5\n{pinned} 7\n", pinned) == {1: 5, PINNED: 7}
    with pytest.raises(ParseError, match="unknown line"):
        parse_namespace_inodes(f"{pinned}1 7\n", pinned)


@pytest.mark.parametrize(
    "text", ["", "\n", "/proc/1/ns/net", "/proc/self/ns/net 1", "stat: cannot statx '/proc/9'"]
)
def test_output_that_is_not_stat_s(text: str) -> None:
    with pytest.raises(ParseError, match="stat"):
        parse_namespace_inodes(text)
