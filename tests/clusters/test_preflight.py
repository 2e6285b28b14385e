"""What is found of a cluster before a run, and what keeps a run from starting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.images import Images
from pytest_k8snet.clusters.kube import kubeconfig
from pytest_k8snet.clusters.kube.discovery import Kinds
from pytest_k8snet.clusters.kube.preflight import proxy_mode, survey
from pytest_k8snet.intent import Intent
from tests.clusters.real import api_of, asked
from tests.fakeapi import Content, FakeCluster, FakeNode

INTENT = Intent()


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


def findings(
    fake: FakeCluster, folder: Path, intent: Intent = INTENT, access: str = "probe", given: str = ""
) -> list[str]:
    images = Images.read((), [f"{given}/regcred"] if given else [], "")
    return kubeconfig.preflight(asked(fake, folder, access=access, images=images), intent)


def test_all_that_is_not_allowed_is_said_at_once(fake: FakeCluster, tmp_path: Path) -> None:
    for verb, resource in (
        ("create", "namespaces"),
        ("delete", "namespaces"),
        ("get", "pods/exec"),
        ("create", "daemonsets.apps"),
        ("list", "ippools.crd.projectcalico.org"),
    ):
        fake.deny(verb, resource)
    (line,) = findings(fake, tmp_path)
    assert line == (
        "context fake may not get pods/exec; create,delete namespaces; create daemonsets.apps;"
        " list ippools.crd.projectcalico.org; docs/rbac.yaml of pytest-k8snet grants what a run needs"
    )


def test_with_ssh_no_daemon_sets_are_needed(fake: FakeCluster, tmp_path: Path) -> None:
    fake.deny("*", "daemonsets.apps")
    assert findings(fake, tmp_path, access="ssh") == []


def test_in_a_given_namespace_no_namespaces_are_needed(fake: FakeCluster, tmp_path: Path) -> None:
    fake.store.create("namespaces", {"metadata": {"name": "labs"}})
    fake.deny("*", "namespaces")
    assert findings(fake, tmp_path, given="labs") == []
    fake.deny("create", "configmaps")
    (line,) = findings(fake, tmp_path, given="labs")
    assert line.startswith("context fake may not create configmaps; ")


def test_several_findings_stand_together(fake: FakeCluster, tmp_path: Path) -> None:
    fake.deny("create", "pods")
    lines = findings(fake, tmp_path, Intent(proxy_mode="nftables"))
    assert len(lines) == 2
    assert lines[1].startswith("kube-proxy's mode is 'iptables'")


def test_nodes_that_may_not_be_listed(fake: FakeCluster, tmp_path: Path) -> None:
    fake.deny("list", "nodes")
    lines = findings(fake, tmp_path)
    assert lines[0].startswith("context fake may not list nodes; ")


def test_calicos_own_api_server_is_asked_for_where_there_are_no_crds(
    fake: FakeCluster, tmp_path: Path
) -> None:
    fake.fail("GET", "/apis/crd.projectcalico.org/v1", status=404, times=None)
    v3 = {"resources": [{"name": "ippools", "kind": "IPPool", "namespaced": False}]}
    fake.fail("GET", "/apis/projectcalico.org/v3", status=200, body=v3, times=None)
    fake.deny("list", "ippools.projectcalico.org")
    (line,) = findings(fake, tmp_path)
    assert line.startswith("context fake may not list ippools.projectcalico.org; ")


def test_a_version_that_may_not_be_read(fake: FakeCluster, tmp_path: Path) -> None:
    fake.fail("GET", "/version", status=403, times=None)
    with api_of(fake, tmp_path) as api:
        assert survey(api, Kinds(api), INTENT).version == "of unknown version"
    fake.faults.clear()
    with api_of(fake, tmp_path) as api:
        fake.fail("GET", "/version", status=404)
        with pytest.raises(ClusterError):
            survey(api, Kinds(api), INTENT)


def test_a_cluster_that_is_too_old(tmp_path: Path) -> None:
    with FakeCluster("v1.18.9") as fake:
        (line,) = findings(fake, tmp_path)
    assert line == (
        "context fake: Kubernetes v1.18.9 is older than 1.19, the oldest that the labs can be run on"
    )


def test_a_cluster_where_no_pod_can_run(tmp_path: Path) -> None:
    nodes = [
        FakeNode("cp", "192.168.219.21", "20.108.82.192/26", control_plane=True),
        FakeNode("w", "192.168.219.22", "20.111.156.64/26", unschedulable=True),
    ]
    with FakeCluster("v1.30.1", nodes=nodes) as fake:
        (line,) = findings(fake, tmp_path)
    assert line.startswith(
        "context fake: no node for the role node1: none can run the labs' pods, not cp (taint "
    )
    assert "w (it is cordoned" in line


def test_one_worker_is_no_finding_but_said(tmp_path: Path) -> None:
    nodes = [
        FakeNode("cp", "192.168.219.21", "20.108.82.192/26", control_plane=True),
        FakeNode("w", "192.168.219.22", "20.111.156.64/26"),
    ]
    with FakeCluster("v1.30.1", nodes=nodes) as fake:
        assert findings(fake, tmp_path) == []
        with api_of(fake, tmp_path) as api:
            assert set(survey(api, Kinds(api), INTENT).lacks) == {"node2"}


def test_a_role_on_a_node_that_is_not_there(fake: FakeCluster, tmp_path: Path) -> None:
    (line,) = findings(fake, tmp_path, Intent(roles={"node1": "w7"}))
    assert line == (
        "--k8snet-role node1=w7: the cluster has no node 'w7', it has k8s-master, k8s-node1, k8s-node2"
    )


def test_a_runtime_that_no_probe_knows(tmp_path: Path) -> None:
    nodes = [FakeNode("w", "192.168.219.22", "20.111.156.64/26", runtime="rkt://1.30")]
    with FakeCluster(nodes=nodes) as fake:
        (line,) = findings(fake, tmp_path)
    assert line == (
        "context fake: node w runs containers with 'rkt://1.30', and the probes know"
        " docker, containerd, cri-o only; name another node with --k8snet-role"
    )


@pytest.mark.parametrize(
    ("runtime", "probe"),
    [("docker://20.10.7", "docker"), ("containerd://2.1.4", "cri"), ("cri-o://1.34.0", "cri")],
)
def test_the_runtime_of_each_node(tmp_path: Path, runtime: str, probe: str) -> None:
    nodes = [
        FakeNode("a", "192.168.219.22", "20.111.156.64/26", runtime=runtime),
        FakeNode("b", "192.168.219.23", "20.109.131.0/26"),
    ]
    with FakeCluster("v1.34.1", nodes=nodes) as fake, api_of(fake, tmp_path) as api:
        seen = survey(api, Kinds(api), INTENT)
    assert seen.runtimes == {"a": probe, "b": "cri"}
    assert seen.details["runtimes"] == f"a {runtime}, b containerd://1.6.20"


@pytest.mark.parametrize(
    ("content", "calico"),
    [
        (Content(), "v3.20.6"),
        (Content(operator=True), "v3.20.6"),
        (Content(calico=False), ""),
    ],
)
def test_calico_is_found_however_it_was_installed(tmp_path: Path, content: Content, calico: str) -> None:
    with FakeCluster("v1.30.1", content=content) as fake, api_of(fake, tmp_path) as api:
        seen = survey(api, Kinds(api), INTENT)
    assert seen.calico == calico
    assert ("calico" in seen.lacks) == (not calico)


def test_calico_whose_daemon_set_may_not_be_read(fake: FakeCluster, tmp_path: Path) -> None:
    fake.fail("GET", "/apis/apps/v1/namespaces/*/daemonsets/calico-node", status=403, times=None)
    assert findings(fake, tmp_path) == []
    with api_of(fake, tmp_path) as api:
        assert survey(api, Kinds(api), INTENT).calico == "found"


@pytest.mark.parametrize(
    ("mode", "seen"), [("", "iptables"), ("ipvs", "ipvs"), ("nftables", "nftables"), (None, "")]
)
def test_the_proxy_mode_of_the_config_map(tmp_path: Path, mode: str | None, seen: str) -> None:
    with FakeCluster(content=Content(proxy_mode=mode)) as fake, api_of(fake, tmp_path) as api:
        assert proxy_mode(api) == seen


def test_a_proxy_mode_that_may_not_be_read_is_not_stated(fake: FakeCluster, tmp_path: Path) -> None:
    fake.deny("get", "configmaps")
    assert findings(fake, tmp_path) == []
    with api_of(fake, tmp_path) as api:
        assert survey(api, Kinds(api), INTENT).details["proxy mode"] == "not stated"


def test_an_admission_webhook_that_can_not_be_run_dry_is_not_asked(fake: FakeCluster, tmp_path: Path) -> None:
    why = "admission webhook x does not support dry run"
    fake.fail("POST", "/api/v1/namespaces", status=400, message=why)
    assert findings(fake, tmp_path) == []


def test_a_given_namespace_that_is_not_there(fake: FakeCluster, tmp_path: Path) -> None:
    fake.fail(
        "GET", "/api/v1/namespaces/labs/serviceaccounts", status=404, message='namespaces "labs" not found'
    )
    (line,) = findings(fake, tmp_path, given="labs")
    assert line == 'namespace labs of the pull secret: the API refuses it: namespaces "labs" not found'


def test_an_aggregated_api_that_is_away_is_as_good_as_none(fake: FakeCluster, tmp_path: Path) -> None:
    fake.fail("GET", "/apis/crd.projectcalico.org/v1", status=403)
    with api_of(fake, tmp_path) as api, pytest.raises(ClusterError):
        Kinds(api).has("/apis/crd.projectcalico.org/v1", "ippools")
    fake.fail("GET", "/apis/metrics.example/v1", status=503, times=None)
    with api_of(fake, tmp_path, seconds=0.1) as api:
        assert Kinds(api).served("/apis/metrics.example/v1") == []


def test_the_server_is_not_asked_twice_for_the_same_group(fake: FakeCluster, tmp_path: Path) -> None:
    with api_of(fake, tmp_path) as api:
        kinds = Kinds(api)
        for _ in range(3):
            assert kinds.has("/apis/apps/v1", "daemonsets")
    assert fake.requests("GET", "/apis/apps/v1") == 1


def test_whoever_is_not_connected_is_told_why(tmp_path: Path) -> None:
    with FakeCluster() as fake:
        wrong = asked(fake, tmp_path)
        fake.kubeconfig(tmp_path / "kubeconfig", token="wrong")
        (line,) = kubeconfig.preflight(wrong, INTENT)
        assert "\n" not in line
        assert "Traceback" not in line
