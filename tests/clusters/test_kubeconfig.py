"""The kubeconfig provider from its context to the removal of all it made, against a fake API server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.api.client import Api, ApiUnreachable
from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from pytest_k8snet.clusters.images import Images
from pytest_k8snet.clusters.kube import kubeconfig, namespaces, service_rules, waiting
from pytest_k8snet.evidence import objects
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import Manifest
from tests.clusters.real import asked, command, lab, opened, programs
from tests.fakeapi import Content, Exec, FakeCluster, Output, crash_loop, denied_by, over_quota


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        fake.on_exec(programs({"hostname": lambda call: Output(call.pod.encode())}))
        yield fake


SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TURN", 0.2)
    monkeypatch.setattr(service_rules, "ENDPOINTS", 0.3)
    monkeypatch.setattr(service_rules, "SYNC", 0.3)
    monkeypatch.setattr(service_rules, "LOOK", 0.01)


def own(fake: FakeCluster, kind: str, name: str) -> dict[str, Any]:
    (namespace,) = {path.partition("/")[2] for path in fake.left() if path.startswith("namespaces/")}
    return fake.store.get(kind, name, namespace)


def test_a_whole_run(fake: FakeCluster, tmp_path: Path) -> None:
    steps: list[str] = []
    addresses = (SAMPLES / "ip-addr-node.json").read_bytes()
    fake.on_exec(programs({"hostname": lambda call: Output(call.pod.encode()), "ip": addresses}))
    with opened(fake, tmp_path, steps=steps, intent=Intent(uplink="eth0")) as cluster:
        assert cluster.info.details["uplinks"].startswith("k8s-master eth0 (")
        assert cluster.roles == {"master": "k8s-master", "node1": "k8s-node1", "node2": "k8s-node2"}
        assert cluster.runtimes == dict.fromkeys(cluster.roles.values(), "docker")
        assert cluster.lacks == {}
        assert cluster.info.summary.startswith("context fake, Kubernetes v1.20.8; master k8s-master")
        assert cluster.info.details["calico"] == "v3.20.6"
        assert cluster.namespace == cluster.info.details["namespace"]
        cluster.apply(lab())
        assert cluster.exec("pod-src", "container", "hostname").stdout == b"pod-src"
        assert cluster.node("node1").run("hostname").stdout.startswith(b"k8snet-probe-")
        assert cluster.exec("pod-src", "container", "curl").exit_status == 127
        pods = objects.parse_pods(cluster.get("pods"))
        on = {pod.name: pod.node for pod in pods if pod.namespace == cluster.namespace}
        assert (on["pod-src"], on["pod-dest"], on["pod-pause"]) == ("k8s-node2", "k8s-node1", "k8s-node1")
        assert all(pod.ready for pod in pods)
    assert fake.left() == []
    assert cluster.farewell == ""
    assert steps[0] == "looking at the cluster of context fake"
    assert f"making namespace {cluster.namespace}" in steps
    assert "" in steps
    cluster.close()


def test_what_is_there_already_is_not_made_again(fake: FakeCluster, tmp_path: Path) -> None:
    with opened(fake, tmp_path) as cluster:
        cluster.apply(lab("pod-dest", "svc-clusterip"))
        made = fake.requests("POST", f"/api/v1/namespaces/{cluster.namespace}/pods")
        cluster.apply(lab("pod-dest", "svc-clusterip"))
        assert fake.requests("POST", f"/api/v1/namespaces/{cluster.namespace}/pods") == made == 1
        (other,) = lab("pod-dest")
        body = {**other.body, "metadata": {"name": "pod-dest", "labels": {"type": "other"}}}
        with pytest.raises(
            ClusterError, match=r"^x.yaml: Pod pod-dest exists and differs from pod-dest.yaml$"
        ):
            cluster.apply([replace(other, body=body, source="x.yaml")])
        cluster.delete(lab("pod-dest"))
        assert "pod-dest" not in {pod.name for pod in objects.parse_pods(cluster.get("pods"))}
        cluster.delete(lab("pod-dest"))  # nothing left to do
        cluster.apply(lab("pod-dest"))


def test_the_pods_are_made_for_this_cluster(fake: FakeCluster, tmp_path: Path) -> None:
    images = Images.read(["agnhost"], (), "tools/probe:1")
    with opened(fake, tmp_path, images=images, intent=Intent(node_port=30123)) as cluster:
        cluster.apply(lab("pod-src", "pod-dest", "svc-nodeport"))
        assert own(fake, "pods", "pod-src")["spec"]["containers"][0]["args"][0] == "netexec"
        probe = own(fake, "daemonsets.apps", "k8snet-probe")["spec"]["template"]["spec"]
        assert probe["containers"][0]["image"] == "tools/probe:1"
        assert own(fake, "services", "svc-nodeport")["spec"]["ports"][0]["nodePort"] == 30123
        namespace = fake.store.get("namespaces", cluster.namespace)["metadata"]
        assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def manifest(kind: str, version: str = "v1", name: str = "x", **body: Any) -> Manifest:
    return Manifest(
        kind, name, {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **body}, "my.yaml"
    )


def deployment(replicas: int = 2) -> Manifest:
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
        },
    }
    return manifest("Deployment", "apps/v1", "web", spec=spec)


def test_objects_of_any_kind_in_the_namespace(fake: FakeCluster, tmp_path: Path) -> None:
    with opened(fake, tmp_path) as cluster:
        cluster.apply([manifest("ConfigMap", name="settings", data={"a": "b"})])
        assert own(fake, "configmaps", "settings")["data"] == {"a": "b"}
        with pytest.raises(ClusterError) as raised:
            cluster.apply([manifest("Namespace")])
        assert str(raised.value) == (
            "my.yaml: Namespace x: a Namespace is of the whole cluster,"
            " and labs touch their own namespace only"
        )
        with pytest.raises(ClusterError) as raised:
            cluster.apply([manifest("Widget", "example.com/v1")])
        assert str(raised.value) == (
            "my.yaml: Widget x: the cluster knows no kind Widget in example.com/v1"
            " (kubectl --context fake api-resources lists them)"
        )


def test_preflight_finds_nothing_and_leaves_nothing(fake: FakeCluster, tmp_path: Path) -> None:
    assert kubeconfig.preflight(asked(fake, tmp_path), Intent()) == []
    assert fake.left() == []


def test_preflight_of_a_cluster_that_is_not_there(fake: FakeCluster, tmp_path: Path) -> None:
    (finding,) = kubeconfig.preflight(asked(fake, tmp_path, context="nowhere"), Intent())
    assert "nowhere" in finding
    (finding,) = kubeconfig.preflight(asked(fake, tmp_path, context="other"), Intent())
    assert "127.0.0.1:1 can't be reached" in finding


@pytest.mark.parametrize(
    ("image", "option"),
    [
        ("kubetm/init*", "--k8snet-images agnhost, or with --k8snet-images kubetm/init=OTHER"),
        ("nicolaka/*", "--k8snet-probe-image"),
    ],
)
def test_an_image_that_can_not_be_pulled(fake: FakeCluster, tmp_path: Path, image: str, option: str) -> None:
    fake.kubelet.without_image(image)
    with pytest.raises(ClusterError) as raised, opened(fake, tmp_path) as cluster:
        cluster.apply(lab("pod-src"))
    line = str(raised.value)
    assert image.rstrip("*") in line
    assert "k8s-" in line
    assert "not found" in line
    assert option in line
    assert "\n" not in line
    assert not isinstance(raised.value, CommandTimeout)
    assert fake.left() == []


def test_one_lab_that_fails_does_not_spoil_the_next(fake: FakeCluster, tmp_path: Path) -> None:
    fake.kubelet.let("pod-pause", crash_loop("container1", 3))
    with opened(fake, tmp_path) as cluster:
        for _ in range(2):
            with pytest.raises(ClusterError, match="exit code 3"):
                cluster.apply(lab("pod-pause"))
        cluster.apply(lab("pod-src"))


@pytest.mark.parametrize(
    ("resource", "refused", "said"),
    [
        (
            "pods",
            over_quota(),
            'Pod pod-src: the API refuses it: pods "pod-src" is forbidden: exceeded quota: compute',
        ),
        ("pods", denied_by("policy.example", "no such team"), "no such team"),
    ],
)
def test_a_pod_that_admission_refuses(
    fake: FakeCluster, tmp_path: Path, resource: str, refused: Any, said: str
) -> None:
    with opened(fake, tmp_path) as cluster:
        fake.refuse(resource, refused, "pod-src")
        with pytest.raises(ClusterError) as raised:
            cluster.apply(lab("pod-src"))
    assert said in str(raised.value)
    assert fake.left() == []


def test_a_node_port_that_is_taken(fake: FakeCluster, tmp_path: Path) -> None:
    ports = [{"port": 80, "nodePort": 31080}]
    fake.store.create(
        "services",
        {"metadata": {"name": "other", "namespace": "default"}, "spec": {"type": "NodePort", "ports": ports}},
    )
    with opened(fake, tmp_path) as cluster, pytest.raises(ClusterError) as raised:
        cluster.apply(lab("svc-nodeport"))
    assert "provided port is already allocated" in str(raised.value)
    assert "--k8snet-node-port" in str(raised.value)


def test_a_namespace_that_admission_refuses(fake: FakeCluster, tmp_path: Path) -> None:
    fake.refuse("namespaces", denied_by("policy.example", "namespaces are made by tickets"))
    (finding,) = kubeconfig.preflight(asked(fake, tmp_path), Intent())
    assert "a namespace for the labs: the API refuses it: " in finding
    assert "namespaces are made by tickets" in finding
    with pytest.raises(ClusterError, match="namespaces are made by tickets"):
        opened(fake, tmp_path)
    assert fake.left() == []


def test_an_interrupt_while_it_comes_up_leaves_nothing(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_k8snet.clusters.kube.probe_pods.pods_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(fake, tmp_path)
    assert fake.left() == []


def test_a_namespace_that_is_kept(fake: FakeCluster, tmp_path: Path) -> None:
    with opened(fake, tmp_path, keep=True) as cluster:
        pass
    assert cluster.farewell == (
        f"kept as asked: namespace {cluster.namespace}; remove it with"
        f" `kubectl --context fake delete namespace {cluster.namespace}`"
    )
    with opened(fake, tmp_path) as other:
        assert "leftovers" not in other.info.details
    assert fake.left() == [f"namespaces/{cluster.namespace}"]


def test_a_namespace_that_does_not_go(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "REMOVAL", 0.3)
    with opened(fake, tmp_path) as cluster:
        fake.kubelet.hold_deletions()
    assert cluster.farewell.startswith(
        f"could not be removed: namespace {cluster.namespace}: it is still Terminating: "
    )
    assert cluster.farewell.endswith(f"`kubectl --context fake delete namespace {cluster.namespace}`")


def test_what_could_not_be_removed_stands_with_what_went_wrong(fake: FakeCluster, tmp_path: Path) -> None:
    fake.kubelet.without_image("nicolaka/*")
    fake.fail("DELETE", "/api/v1/namespaces/*", status=403)
    with pytest.raises(
        ClusterError, match=r"--k8snet-probe-image.*; could not be removed: namespace k8snet-"
    ):
        opened(fake, tmp_path)


def interrupted_after(create: Callable[..., Any], path: str) -> Callable[..., Any]:
    """``Api.create``, interrupted where its answer came and nobody has it yet."""

    def create_and_break(api: Api, at: str, *args: Any, **more: Any) -> Any:
        made = create(api, at, *args, **more)
        if at == path:
            raise KeyboardInterrupt
        return made

    return create_and_break


def test_an_interrupt_between_the_namespace_and_its_name_leaves_nothing(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Api, "create", interrupted_after(Api.create, namespaces.NAMESPACES))
    with pytest.raises(KeyboardInterrupt):
        opened(fake, tmp_path)
    assert fake.requests("POST", namespaces.NAMESPACES) == 1
    assert fake.left() == []


def test_an_interrupt_while_a_lab_is_made_leaves_nothing_in_a_given_namespace(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.store.create("namespaces", {"metadata": {"name": "labs"}})
    pods = f"{namespaces.NAMESPACES}/labs/pods"
    cluster = opened(fake, tmp_path, images=Images.read((), ["labs/regcred"], ""))
    with monkeypatch.context() as patched, cluster:
        patched.setattr(Api, "create", interrupted_after(Api.create, pods))
        with pytest.raises(KeyboardInterrupt):
            cluster.apply(lab("pod-dest"))
        assert fake.store.get("pods", "pod-dest", "labs")
    assert fake.store.listed("pods", "labs") == []


def test_an_api_that_is_gone_while_the_cluster_comes_up(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ApiUnreachable and ApiRefused can't be made of a text alone."""
    monkeypatch.setattr(namespaces, "REMOVAL", 0.1)

    def gone(*args: object, **more: object) -> None:
        fake.fail("DELETE", "*", reset=True, times=None)
        raise ApiUnreachable("the API can't be reached", sent=True)

    monkeypatch.setattr("pytest_k8snet.clusters.kube.probe_pods.pods_ready", gone)
    with pytest.raises(ClusterError) as raised:
        opened(fake, tmp_path)
    assert re.match(
        r"the API can't be reached; could not be removed: namespace k8snet-\w+: kubeconfig context fake: .*"
        r"; remove it with `kubectl --context fake delete namespace k8snet-\w+`$",
        str(raised.value),
    )


def test_what_never_came_up_is_not_kept(fake: FakeCluster, tmp_path: Path) -> None:
    fake.kubelet.without_image("nicolaka/*")
    with pytest.raises(ClusterError) as raised:
        opened(fake, tmp_path, keep=True)
    assert "kept" not in str(raised.value)
    assert fake.left() == []


def test_a_namespace_that_was_never_made_is_not_removed(fake: FakeCluster, tmp_path: Path) -> None:
    fake.fail("POST", "/api/v1/namespaces", status=403, message="a ticket is needed")
    with pytest.raises(ClusterError) as raised:
        opened(fake, tmp_path)
    assert re.fullmatch(r"namespace k8snet-\w+: the API refuses it: a ticket is needed", str(raised.value))
    assert not [request for request in fake.faults.log if request.verb == "DELETE"]


def test_a_second_interrupt_leaves_word_of_what_stays(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = opened(fake, tmp_path)

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(namespaces, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cluster.close()
    assert cluster.farewell == (
        f"interrupted: namespace {cluster.namespace}; remove it with"
        f" `kubectl --context fake delete namespace {cluster.namespace}`"
    )
    cluster.close()
    assert (cluster.farewell, fake.left()) == ("", [])


def test_closing_does_not_wait_as_long_as_a_lab_that_broke_off(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = opened(fake, tmp_path)
    cluster.api.deadline = Deadline(600)
    left: list[float] = []
    cluster.ending.callback(lambda: left.append(cluster.api.deadline.left))
    cluster.close()
    assert 0 < left[0] <= 30


def test_a_proxy_mode_other_than_declared(tmp_path: Path) -> None:
    line = (
        "kube-proxy's mode is 'ipvs' (ConfigMap kube-proxy in kube-system), declared is 'iptables':"
        " declare it with --k8snet-proxy-mode ipvs"
    )
    with FakeCluster(content=Content(proxy_mode="ipvs")) as fake:
        assert kubeconfig.preflight(asked(fake, tmp_path), Intent()) == [line]
        with pytest.raises(ClusterError) as raised:
            opened(fake, tmp_path)
        assert str(raised.value) == line
        assert kubeconfig.preflight(asked(fake, tmp_path), Intent(proxy_mode="ipvs")) == []
        assert fake.left() == []


def test_a_proxy_mode_that_only_the_nodes_tell(tmp_path: Path) -> None:
    with FakeCluster("v1.34.1", content=Content(proxy_mode=None)) as fake:
        fake.on_exec(programs({"curl": b"nftables"}))
        with pytest.raises(ClusterError) as raised:
            opened(fake, tmp_path)
        assert "kube-proxy's mode is 'nftables' (by its own word on the nodes), declared is" in str(
            raised.value
        )
        assert fake.left() == []
        with opened(fake, tmp_path, intent=Intent(proxy_mode="nftables")) as cluster:
            assert cluster.info.details["proxy mode"] == "nftables"
            assert cluster.runtimes == dict.fromkeys(cluster.roles.values(), "cri")


def test_a_proxy_mode_that_nobody_tells(tmp_path: Path) -> None:
    with FakeCluster(content=Content(proxy_mode=None)) as fake:
        fake.on_exec(programs({"curl": b"404 page not found"}))
        with opened(fake, tmp_path) as cluster:
            assert cluster.info.details["proxy mode"] == "not stated"


def test_a_cluster_without_calico(tmp_path: Path) -> None:
    with FakeCluster(content=Content(calico=False)) as fake:
        assert kubeconfig.preflight(asked(fake, tmp_path), Intent()) == []
        with opened(fake, tmp_path) as cluster:
            assert cluster.lacks == {
                "calico": "no Calico: the cluster serves no ippools of projectcalico.org"
            }
            with pytest.raises(ClusterError, match="no Calico"):
                cluster.get("ippools")


def test_workloads_are_waited_for(fake: FakeCluster, tmp_path: Path) -> None:
    with opened(fake, tmp_path) as cluster:
        with pytest.raises(CommandTimeout) as raised:  # nothing makes the pods of the fake's Deployments
            cluster.apply([deployment()], timeout=0.5)
        assert "not all pods of Deployment web" in str(raised.value)
        cluster.delete([deployment()])


def test_rules_that_come_late_are_waited_for(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_rules, "SYNC", 5.0)
    looks: list[str] = []
    endpoint = "20.111.156.80"
    fake.kubelet.address("pod-dest", endpoint)
    fake.services.addresses["svc-clusterip"] = "10.107.94.97"

    def rules(call: Exec) -> Output:
        looks.append(call.node)
        late = looks.count(call.node) < 3
        return Output(b"" if late else f"-d 10.107.94.97/32\n--to-destination {endpoint}:8080\n".encode())

    fake.on_exec(programs({"iptables-save": rules}))
    with opened(fake, tmp_path) as cluster:
        cluster.apply(lab("pod-dest", "svc-clusterip"))
        assert sorted(looks) == sorted([*cluster.nodes] * 3)
        fake.on_exec(programs({"iptables-save": b"# empty"}))
        cluster.delete(lab("svc-clusterip"))


def test_rules_that_never_come_are_for_the_claims_and_waited_for_twice(
    fake: FakeCluster, tmp_path: Path
) -> None:
    looks: list[str] = []

    def rules(call: Exec) -> Output:
        looks.append(" ".join(command(call)))
        return Output(b"# none")

    fake.on_exec(programs({"iptables-save": rules}))
    with opened(fake, tmp_path) as cluster:
        cluster.apply(lab("pod-dest", "svc-clusterip"))
        assert "iptables-save -t nat" in looks
        cluster.apply(lab("svc-nodeport"))
        looks.clear()
        cluster.apply(lab("pod-src"))
        assert looks == []


def test_what_is_read_holds_no_environment_and_no_managed_fields(fake: FakeCluster, tmp_path: Path) -> None:
    (source,) = lab("pod-src")
    body = json.loads(json.dumps(source.body))
    body["spec"]["containers"][0]["env"] = [{"name": "TOKEN", "value": "hidden"}]
    body["metadata"]["managedFields"] = [{"manager": "x"}]
    with opened(fake, tmp_path) as cluster:
        cluster.apply([replace(source, body=body)])
        read = cluster.get("pods")
        assert b"hidden" not in read
        assert b"managedFields" not in read
        with pytest.raises(ClusterError, match="'secrets' is not a resource that labs read"):
            cluster.get("secrets")
