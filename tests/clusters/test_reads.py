"""API reads as evidence, on clusters of several ages and makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kube import reads
from pytest_k8snet.clusters.kube.discovery import Kinds
from pytest_k8snet.evidence import objects
from tests.clusters.real import api_of
from tests.fakeapi import Content, FakeCluster

NODES = ("k8s-node1", "k8s-node2")


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


@pytest.fixture
def api(fake: FakeCluster, tmp_path: Path) -> Iterator[Api]:
    with api_of(fake, tmp_path) as api:
        yield api


def read(api: Api, resource: str) -> bytes:
    return reads.read(api, Kinds(api), resource, namespace="default", nodes=NODES)


def test_nodes_are_those_of_the_run_without_what_no_claim_reads(fake: FakeCluster, api: Api) -> None:
    def change(obj: dict[str, Any]) -> None:
        obj["metadata"]["managedFields"] = [{"manager": "kubelet"}]
        obj["metadata"]["annotations"] |= {reads._LAST_APPLIED: "{}", "k3s.io/node-args": '["--token","x"]'}
        obj["status"]["images"] = [{"names": ["nginx"]}]

    fake.store.modify("nodes", "k8s-node1", "", change)
    text = read(api, "nodes")
    for hidden in (b"managedFields", b"last-applied", b"nginx", b"--token"):
        assert hidden not in text
    first, second = objects.parse_nodes(text)
    assert (first.name, second.name) == NODES
    assert first.container_runtime == "docker://20.10.7"
    assert first.annotations["projectcalico.org/IPv4Address"] == "192.168.219.22/24"


def test_pools(api: Api) -> None:
    (pool,) = objects.parse_ippools(read(api, "ippools"))
    assert (pool.cidr, pool.ipip_mode, pool.vxlan_mode) == (ip_network("20.96.0.0/12"), "Always", "Never")


def test_pools_of_calicos_own_api_server(fake: FakeCluster, api: Api) -> None:
    (pool,) = json.loads(read(api, "ippools"))["items"]
    fake.fail("GET", "/apis/crd.projectcalico.org/v1", status=404, times=None)
    v3 = {"resources": [{"name": "ippools", "kind": "IPPool", "namespaced": False}]}
    fake.fail("GET", "/apis/projectcalico.org/v3", status=200, body=v3, times=None)
    listed = {"items": [pool], "metadata": {}}
    fake.fail("GET", "/apis/projectcalico.org/v3/ippools", status=200, body=listed, times=None)
    (same,) = objects.parse_ippools(read(api, "ippools"))
    assert same.name == "default-ipv4-ippool"


def test_a_cluster_without_calico_has_no_pools(tmp_path: Path) -> None:
    with (
        FakeCluster(content=Content(calico=False)) as fake,
        api_of(fake, tmp_path) as api,
        pytest.raises(ClusterError) as raised,
    ):
        read(api, "ippools")
    assert str(raised.value) == (
        "no Calico: the cluster serves ippools neither in crd.projectcalico.org/v1"
        " nor in projectcalico.org/v3"
    )


@pytest.mark.parametrize(("version", "expected"), [("v1.20.8", "v1beta1"), ("v1.34.1", "v1")])
def test_the_version_of_endpointslices(tmp_path: Path, version: str, expected: str) -> None:
    with FakeCluster(version) as fake, api_of(fake, tmp_path) as api:
        path = reads.slices_path(Kinds(api), "default")
        assert path == f"/apis/discovery.k8s.io/{expected}/namespaces/default/endpointslices"
        assert objects.parse_endpointslices(read(api, "endpointslices")) == ()


def test_every_place_that_states_the_pods_range(api: Api) -> None:
    stated = {c.source: str(c.network) for c in objects.parse_cluster_cidrs(read(api, "clustercidrs"))}
    assert stated == {
        "kubeadm-config podSubnet": "20.96.0.0/12",
        "kube-controller-manager --cluster-cidr": "20.96.0.0/12",
        "kube-proxy clusterCIDR": "20.96.0.0/12",
        "node podCIDR of k8s-node1": "20.96.1.0/24",
        "node podCIDR of k8s-node2": "20.96.2.0/24",
    }


def test_services_are_read_whole(fake: FakeCluster, api: Api) -> None:
    spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}], "selector": {"a": "b"}}
    fake.store.create("services", {"metadata": {"name": "s", "namespace": "default"}, "spec": spec})
    (service,) = objects.parse_services(read(api, "services"))
    assert (service.ports[0].node_port, service.selector) == (30080, {"a": "b"})


def test_places_that_are_not_there_state_nothing(tmp_path: Path) -> None:
    content = Content(kubeadm=False, proxy_mode=None, controller_manager=False)
    with FakeCluster(content=content) as fake, api_of(fake, tmp_path) as api:
        for name in NODES:
            fake.store.modify("nodes", name, "", lambda obj: obj.update(spec={}))
        assert json.loads(read(api, "clustercidrs"))["items"] == []


def test_places_that_may_not_be_read_state_nothing(fake: FakeCluster, api: Api) -> None:
    fake.deny("get", "configmaps")
    fake.deny("list", "pods")
    sources = {c.source.split(" of ")[0] for c in objects.parse_cluster_cidrs(read(api, "clustercidrs"))}
    assert sources == {"node podCIDR"}


def test_other_refusals_are_not_passed_over(fake: FakeCluster, api: Api) -> None:
    fake.fail("GET", "/api/v1/namespaces/kube-system/configmaps/*", status=400, message="bad")
    with pytest.raises(ApiRefused, match="bad"):
        read(api, "clustercidrs")
    fake.fail("GET", "/api/v1/namespaces/kube-system/pods", status=400, message="worse")
    with pytest.raises(ApiRefused, match="worse"):
        read(api, "clustercidrs")


def config_map(fake: FakeCluster, name: str, **data: str) -> None:
    fake.store.modify("configmaps", name, "kube-system", lambda obj: obj.update(data=data))


def test_two_families_are_two_places(fake: FakeCluster, api: Api) -> None:
    config_map(
        fake, "kubeadm-config", ClusterConfiguration="networking: {podSubnet: '10.0.0.0/16, fd00::/48'}"
    )
    stated = [c for c in objects.parse_cluster_cidrs(read(api, "clustercidrs")) if "kubeadm" in c.source]
    assert [str(c.network) for c in stated] == ["10.0.0.0/16", "fd00::/48"]


@pytest.mark.parametrize("text", ["", "[]", "networking: x", "networking: {podSubnet: [1]}", "{", "a: b: c"])
def test_a_configuration_that_is_none_states_nothing(fake: FakeCluster, api: Api, text: str) -> None:
    config_map(fake, "kubeadm-config", ClusterConfiguration=text)
    config_map(fake, "kube-proxy")
    assert not [c for c in reads.cluster_cidrs(api, ()) if "manager" not in c[0]]


def test_a_node_of_one_family_before_pod_cidrs(fake: FakeCluster, api: Api) -> None:
    fake.store.modify("nodes", "k8s-node1", "", lambda obj: obj.update(spec={"podCIDR": "20.96.9.0/24"}))
    assert ("node podCIDR of k8s-node1", "20.96.9.0/24") in list(reads.cluster_cidrs(api, NODES))
