"""The probe pods: what they may see, where they are, and how a node is reached by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.images import Images
from pytest_k8snet.clusters.kube import kubeconfig, waiting
from pytest_k8snet.clusters.kube.probe_pods import daemon_set
from pytest_k8snet.clusters.kube.roles import Roles
from pytest_k8snet.clusters.kube.workloads import Site
from pytest_k8snet.clusters.ways.local import LocalAccess
from tests.clusters.real import command, opened, programs
from tests.fakeapi import Exec, FakeCluster, FakeNode, Output, denied_by, document_nodes, over_quota

SITE = Site(
    "k8snet-abc", "run1", Roles({"node1": "a", "node2": "b"}), Images.read((), ["regcred"], "my/tools:1")
)


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TURN", 0.2)


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        fake.on_exec(programs({}))
        yield fake


def test_the_daemon_set_sees_the_node_and_touches_nothing() -> None:
    body = daemon_set(SITE, ["a", "b"])
    pod = body["spec"]["template"]
    spec = pod["spec"]
    assert (spec["hostNetwork"], spec["hostPID"]) == (True, True)
    assert spec["automountServiceAccountToken"] is False
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["dnsPolicy"] == "Default"
    assert spec["imagePullSecrets"] == [{"name": "regcred"}]
    assert "volumes" not in spec
    (container,) = spec["containers"]
    assert container["image"] == "my/tools:1"
    assert container["securityContext"]["privileged"] is True
    assert container["command"][0] == "sleep"
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert [term["matchFields"][0]["values"] for term in terms] == [["a"], ["b"]]
    assert body["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "pytest-k8snet"


def test_without_pull_secrets_none_are_named() -> None:
    body = daemon_set(Site("n", "r", SITE.roles, Images()), ["a"])
    assert "imagePullSecrets" not in body["spec"]["template"]["spec"]


def test_only_nodes_with_a_role_get_a_pod(tmp_path: Path) -> None:
    nodes = [FakeNode(f"n{n}", f"192.168.219.{n}", f"20.111.15{n}.0/26") for n in range(1, 6)]
    with FakeCluster(nodes=nodes) as fake:
        fake.on_exec(programs({"hostname": lambda call: Output(call.node.encode())}))
        with opened(fake, tmp_path) as cluster:
            assert sorted(cluster.nodes) == ["n1", "n2", "n3"]
            pods = fake.store.listed("pods", cluster.namespace)
            assert sorted(pod["spec"]["nodeName"] for pod in pods) == ["n1", "n2", "n3"]
            for name, node in cluster.nodes.items():
                assert node.run("hostname").stdout.decode() == name


def test_what_the_image_lacks_is_looked_for_on_the_host(fake: FakeCluster, tmp_path: Path) -> None:
    def start(call: Exec) -> Output:
        call.stderr(b"k8snet-pid %d\n" % call.pid)
        if call.argv[0] == "nsenter" and command(call)[0] == "iptables-legacy-save":
            return Output(b"*nat\n")
        return Output(stderr=b"not found\n", exit_status=127)

    fake.on_exec(start)
    with opened(fake, tmp_path) as cluster:
        node = cluster.node("node1")
        assert node.run("iptables-legacy-save").stdout == b"*nat\n"
        assert node.run("no-such-tool").exit_status == 127


def test_a_daemon_set_that_is_refused(fake: FakeCluster, tmp_path: Path) -> None:
    fake.refuse("daemonsets.apps", over_quota("daemonsets"))
    with pytest.raises(ClusterError, match=r"^DaemonSet k8snet-probe: the API refuses it: .*exceeded quota"):
        opened(fake, tmp_path)
    assert fake.left() == []


def test_our_namespace_admits_privileged_pods_whatever_the_cluster_does(tmp_path: Path) -> None:
    with FakeCluster("v1.34.1", pod_security="restricted") as fake:
        fake.on_exec(programs({}))
        opened(fake, tmp_path).close()
        assert fake.left() == []


def test_pods_that_the_controller_may_not_make(fake: FakeCluster, tmp_path: Path) -> None:
    fake.refuse("pods", denied_by("policy.example", "privileged pods need a ticket"))
    with pytest.raises(ClusterError) as raised:
        opened(fake, tmp_path)
    assert "no probe pod on k8s-master, k8s-node1, k8s-node2 yet" in str(raised.value)
    assert "FailedCreate: Error creating: " in str(raised.value)
    assert "privileged pods need a ticket" in str(raised.value)
    assert fake.left() == []


class SshHere(LocalAccess):
    """A way to this machine that notes how it was asked for."""

    asked: ClassVar[list[tuple[Any, ...]]] = []
    closed: ClassVar[set[str]] = set()

    def __init__(
        self, name: str, address: str, *, boot_id: str, config: Path | None, identity: Path | None, extra: str
    ) -> None:
        super().__init__(name, ())
        self.asked.append((name, address, bool(boot_id), config, identity, extra))

    def close(self) -> None:
        self.closed.add(self.place)


def test_nodes_by_ssh_need_no_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_k8snet.clusters.ways.ssh.SshAccess", SshHere)
    monkeypatch.setattr(kubeconfig, "probe_pods", None)
    config, key = tmp_path / "ssh_config", tmp_path / "key"
    spare = FakeNode("k8s-node3", "192.168.219.24", "20.111.157.64/26", ready=False)
    with (
        FakeCluster(nodes=[*document_nodes(), spare]) as fake,
        opened(
            fake, tmp_path, access="ssh", ssh_config=config, ssh_identity=key, ssh_extra="-J jump"
        ) as cluster,
    ):
        assert cluster.node("node2").run("echo", "hi").stdout == b"hi\n"
        assert fake.store.listed("daemonsets.apps", cluster.namespace) == []
    assert sorted(SshHere.asked) == [
        ("k8s-master", "192.168.219.21", True, config, key, "-J jump"),
        ("k8s-node1", "192.168.219.22", True, config, key, "-J jump"),
        ("k8s-node2", "192.168.219.23", True, config, key, "-J jump"),
    ]
    assert SshHere.closed == {"k8s-master", "k8s-node1", "k8s-node2"}
