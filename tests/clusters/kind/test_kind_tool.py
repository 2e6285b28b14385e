"""kind behind pytest-kind's KindCluster: its words, its end, its traces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from pytest_k8snet.clusters.kind import config
from pytest_k8snet.clusters.kind.kind_tool import Kind, KindFailed, in_one_line
from pytest_k8snet.intent import Intent
from tests.clusters.kind.machine import SAMPLES, Machine

NO_IMAGE = (SAMPLES / "kind-no-image.txt").read_text()
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: kind-demo
clusters: [{name: kind-demo, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: kind-demo, context: {cluster: kind-demo, user: kind-demo}}]
users: [{name: kind-demo, user: {token: none}}]
"""


@pytest.fixture
def kind(machine: Machine) -> Kind:
    with machine.changed() as daemon:
        daemon["kind"]["kubeconfig"] = KUBECONFIG
    folder = machine.folder / "run"
    folder.mkdir()
    (folder / "kind-config.yaml").write_text(config.text(Intent(), "1234abcd"))
    kubeconfig = Path.cwd() / ".pytest-kind" / "demo" / "kubeconfig"
    return Kind("demo", machine.programs / "kind", folder, kubeconfig, "kindest/node:v1.32.2")


def create(kind: Kind, deadline: float = 20.0) -> list[str]:
    steps: list[str] = []
    kind.create(kind.folder / "kind-config.yaml", Deadline(deadline), steps.append)
    return steps


def test_created_and_deleted_without_a_trace(machine: Machine, kind: Kind) -> None:
    assert create(kind) == ["kind: Preparing nodes", ""]
    assert machine.calls("kind", "create") == [
        [
            *("kind", "create", "cluster", "--name=demo", f"--kubeconfig={kind.kubeconfig}"),
            *("--image=kindest/node:v1.32.2", "--config", str(kind.folder / "kind-config.yaml")),
        ]
    ]
    assert kind.kubeconfig.read_text() == KUBECONFIG
    kind.delete(Deadline(20.0))
    assert machine.left() == ["kind"]
    assert [path.name for path in kind.folder.iterdir()] == ["kind-config.yaml"]


def test_what_was_there_before_stays(machine: Machine, kind: Kind) -> None:
    """Downloads of pytest-kind's, and a kubeconfig that kind adds a context to."""
    kind.kubeconfig.parent.mkdir(parents=True)
    (kind.kubeconfig.parent / "kind-v0.17.0").write_text("")
    kind.kubeconfig.write_text("{}")
    create(kind)
    kind.delete(Deadline(20.0))
    assert machine.left() == [
        "kind",
        ".pytest-kind",
        *(f".pytest-kind/demo{f}" for f in ("", "/kind-v0.17.0", "/kubeconfig")),
    ]


def test_the_reason_in_kinds_own_words(machine: Machine, kind: Kind) -> None:
    with machine.changed() as daemon:
        daemon["kind"]["create"] = NO_IMAGE
    with pytest.raises(KindFailed) as error:
        create(kind)
    assert str(error.value) == (
        'kind create: failed to create cluster: failed to pull image "kindest/node:v1.32.2": command "docker'
        ' pull kindest/node:v1.32.2" failed with error: exit status 1: Error response from daemon: Get'
        ' "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on 10.0.0.53:53: dial udp'
        " 10.0.0.53:53: connect: network is unreachable; `docker pull` or `docker load` it, or name another"
        " with --kind-image"
    )
    assert "✗ Ensuring node image" in error.value.details
    kind.forget()
    assert machine.left() == []


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ('ERROR: failed to create cluster: node(s) already exist for a cluster with the name "demo"\n', None),
        (
            'ERROR: failed to create cluster: command "docker run" failed with error: exit status 125\n'
            "Command Output: 0123\ndocker: Error response from daemon: Bind for 127.0.0.1:6443 failed: port"
            " is already allocated\n\nStack Trace:\nsigs.k8s.io/kind/pkg/errors.New\n",
            'failed to create cluster: command "docker run" failed with error: exit status 125: docker: Error'
            " response from daemon: Bind for 127.0.0.1:6443 failed: port is already allocated",
        ),
        ("panic: something\n\n", "panic: something"),
        ("", "it said nothing"),
        (
            'ERROR: failed to create cluster: command "docker run --name demo-worker --hostname demo-worker'
            ' --label io.x-k8s.kind.role=worker --privileged kindest/node:v1" failed with error: exit status'
            " 125\n"
            "Command Output: 0123456789ab\n"
            "docker: Error response from daemon: no space left on device.\n"
            "\n"
            "Run 'docker run --help' for more information\n",
            'failed to create cluster: command "docker run --name demo-worker ..." failed with error: exit'
            " status 125: docker: Error response from daemon: no space left on device.",
        ),
        (
            "ERROR: failed to create cluster: failed to init node with kubeadm: exit status 1\n"
            "Command Output: I1122 10:00:00.000000 initconfiguration.go:261] loading configuration\n"
            "couldn't initialize a Kubernetes cluster\n"
            "k8s.io/kubernetes/cmd/kubeadm/app/cmd/phases/init.runWaitControlPlanePhase\n"
            "\tcmd/kubeadm/app/cmd/phases/init/waitcontrolplane.go:112\n"
            "error execution phase wait-control-plane\n"
            "k8s.io/kubernetes/cmd/kubeadm/app/cmd/phases/workflow.(*Runner).Run.func1\n"
            "\tcmd/kubeadm/app/cmd/phases/workflow/runner.go:260\n"
            "main.main\n"
            "\tcmd/kubeadm/kubeadm.go:25\n"
            "runtime.goexit\n"
            "\t/usr/local/go/src/runtime/asm_amd64.s:1650\n",
            "failed to create cluster: failed to init node with kubeadm: exit status 1: error execution phase"
            " wait-control-plane",
        ),
    ],
)
def test_in_one_line(said: str, line: str | None) -> None:
    assert in_one_line(said) == (line or said.strip().removeprefix("ERROR: "))


def test_it_does_not_end_in_time(machine: Machine, kind: Kind) -> None:
    fifo = machine.folder / "never"
    script = "#!/bin/sh\necho ' • Starting control-plane 🕹️  ...' >&2\nread word < {0}\n"
    os.mkfifo(fifo)
    kind.binary = machine.program("slow", script.format(fifo))
    with pytest.raises(CommandTimeout) as error:
        create(kind, deadline=0.2)
    assert str(error.value) == (
        "kind create did not end in the time it was given (--k8snet-timeout); its last words: • Starting"
        " control-plane 🕹️  ..."
    )


def test_a_kind_that_can_not_be_started(machine: Machine, kind: Kind) -> None:
    kind.binary = machine.program("broken", "#!/no/such/interpreter\n")
    with pytest.raises(KindFailed, match=r"^kind create: .*exec: .*/broken: not found$"):
        create(kind)


def test_a_folder_that_can_not_be_written_to(kind: Kind) -> None:
    Path(".pytest-kind").write_text("a file")
    with pytest.raises(ClusterError, match=r"^kind create: \.pytest-kind/demo: Not a directory$"):
        create(kind)


def test_images(machine: Machine, kind: Kind) -> None:
    create(kind)
    kind.load("kubetm/app", Deadline(20.0))
    archive = machine.folder / "image.tar"
    archive.write_text("an archive")
    kind.load_archive(archive, Deadline(20.0))
    assert machine.state["loaded"] == [["docker-image", "kubetm/app"], ["image-archive", "an archive"]]
