from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from pytest_k8snet.evidence import objects, observations
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.objects import ClusterCIDR, Endpoint, IPPool, NodeObject, Service, ServicePort
from tests.evidence.samples import sample


def items(*entries: dict[str, Any], **metadata: str) -> str:
    return json.dumps({"kind": "List", "metadata": metadata, "items": entries})


def edited(name: str, position: int, change: Callable[[Any], object]) -> str:
    document = json.loads(sample(name))
    change(document["items"][position])
    return json.dumps(document)


def pod(name: str = "docker-pods.json", change: Callable[[Any], object] = lambda _: None) -> objects.Pod:
    return objects.parse_pods(edited(name, 0, change))[0]


def test_pods() -> None:
    found = pod()
    assert (found.name, found.namespace, found.node, found.ready) == (
        "pod-pause",
        "default",
        "k8s-node1",
        True,
    )
    assert found.uid == "a913bcd2-9d8d-449a-95b8-24369415e026"
    assert found.ips == (ip_address("20.111.156.66"),)
    assert found.labels == {"type": "dest"}
    assert found.containers == ("container1", "container2")
    assert pod("containerd-pods.json").ips == (ip_address("20.111.156.67"),)


def test_pods_that_are_not_ready() -> None:
    def unready(entry: Any) -> None:
        for condition in entry["status"]["conditions"]:
            condition["status"] = "False"

    assert not pod(change=unready).ready
    assert not pod(change=lambda entry: entry["status"].pop("conditions")).ready
    assert not pod(
        change=lambda entry: entry["metadata"].update(deletionTimestamp="2026-11-22T20:41:37Z")
    ).ready


def test_pods_by_their_age() -> None:
    def pending(entry: Any) -> None:
        del entry["status"], entry["spec"]["nodeName"]

    waiting = pod(change=pending)
    assert (waiting.ips, waiting.node, waiting.ready) == ((), "", False)
    old = pod(change=lambda entry: entry["status"].pop("podIPs"))
    assert old.ips == (ip_address("20.111.156.66"),)
    unassigned = pod(change=lambda entry: [entry["status"].pop(key) for key in ("podIPs", "podIP")])
    assert unassigned.ips == ()
    dual = pod(change=lambda entry: entry["status"]["podIPs"].append({"ip": "fd00::7"}))
    assert dual.ips == (ip_address("20.111.156.66"), ip_address("fd00::7"))


def test_services() -> None:
    kubernetes, node_port = objects.parse_services(sample("docker-services.json"))
    assert node_port == Service(
        name="svc-nodeport",
        namespace="default",
        type="NodePort",
        cluster_ip=ip_address("10.109.75.208"),
        ports=(ServicePort(8080, 8080, node_port=31080),),
        selector={"type": "dest"},
    )
    assert (kubernetes.ports[0].name, kubernetes.selector) == ("https", {})
    assert len(objects.parse_services(sample("containerd-services.json").encode())) == 2


def test_services_of_other_kinds() -> None:
    metadata = {"name": "s", "namespace": "default"}
    ports = [{"port": 80, "targetPort": "http"}, {"port": 53, "protocol": "UDP"}]
    headless = {"clusterIP": "None", "ports": ports, "externalTrafficPolicy": "Local"}
    external = {"type": "ExternalName"}
    first, second = objects.parse_services(
        items({"metadata": metadata, "spec": headless}, {"metadata": metadata, "spec": external})
    )
    assert (first.cluster_ip, first.type, first.external_traffic_policy) == (None, "ClusterIP", "Local")
    assert first.ports == (ServicePort(80, "http"), ServicePort(53, 53, protocol="UDP"))
    assert (second.cluster_ip, second.ports) == (None, ())


def test_endpoint_slices() -> None:
    assert objects.parse_endpointslices(sample("docker-endpointslices.json"))[1] == Endpoint(
        service="svc-nodeport",
        namespace="default",
        ip=ip_address("20.111.156.66"),
        port=8080,
        pod="pod-pause",
        node="k8s-node1",
    )
    assert len(objects.parse_endpointslices(sample("containerd-endpointslices.json"))) == 2


def slices(kind: str = "IPv4", ports: Any = ({"port": 8080},), **endpoint: Any) -> str:
    metadata = {"name": "x", "namespace": "default"}
    entry = {"addresses": ["20.111.156.72"], **endpoint}
    return items({"metadata": metadata, "addressType": kind, "ports": ports, "endpoints": [entry]})


def test_endpoint_slices_of_other_versions() -> None:
    (own,) = objects.parse_endpointslices(slices(nodeName="k8s-node1", targetRef=None, conditions={}))
    assert (own.service, own.pod, own.node, own.ready) == ("", "", "k8s-node1", True)
    (unready,) = objects.parse_endpointslices(slices(conditions={"ready": False}))
    assert not unready.ready
    assert objects.parse_endpointslices(slices("FQDN", addresses=["example.org"])) == ()
    assert objects.parse_endpointslices(slices(ports=None)) == ()
    with pytest.raises(ParseError, match="no 'port'"):
        objects.parse_endpointslices(slices(ports=[{"name": "any"}]))


def test_ippools() -> None:
    document = {
        "metadata": {"name": "default-ipv4-ippool"},
        "spec": {
            "cidr": "20.96.0.0/12",
            "ipipMode": "Always",
            "vxlanMode": "Never",
            "natOutgoing": True,
            "blockSize": 26,
            "nodeSelector": "all()",
        },
    }
    bare = {"metadata": {"name": "bare"}, "spec": {"cidr": "fd00::/48", "ipipMode": "", "disabled": True}}
    old = {"metadata": {"name": "old"}, "spec": {"cidr": "20.96.0.0/12"}}
    assert objects.parse_ippools(items(document, bare, old)) == (
        IPPool("default-ipv4-ippool", ip_network("20.96.0.0/12"), ipip_mode="Always", nat_outgoing=True),
        IPPool("bare", ip_network("fd00::/48"), block_size=122, disabled=True),
        IPPool("old", ip_network("20.96.0.0/12"), ipip_mode="Never", vxlan_mode="Never", block_size=26),
    )


def test_nodes() -> None:
    (node,) = objects.parse_nodes(sample("docker-nodes.json"))
    assert node == NodeObject(
        name="k8s-node1",
        internal_ips=(ip_address("192.0.2.2"),),
        kubelet_version="v1.20.8+k3s1",
        kube_proxy_version="v1.20.8+k3s1",
        container_runtime="docker://20.10.24+dfsg1",
        annotations=node.annotations,
        pod_cidrs=(ip_network("20.96.0.0/24"),),
    )
    assert "k3s.io/node-args" in node.annotations
    (other,) = objects.parse_nodes(sample("containerd-nodes.json"))
    assert other.container_runtime == "containerd://1.6.20"


def test_nodes_with_less() -> None:
    (old,) = objects.parse_nodes(edited("docker-nodes.json", 0, lambda entry: entry["spec"].pop("podCIDRs")))
    assert old.pod_cidrs == (ip_network("20.96.0.0/24"),)
    (calico,) = objects.parse_nodes(edited("docker-nodes.json", 0, lambda entry: entry.pop("spec")))
    assert calico.pod_cidrs == ()


def test_cluster_cidrs() -> None:
    text = items({"source": "kube-proxy clusterCIDR", "cidr": "20.96.0.0/12"})
    assert objects.parse_cluster_cidrs(text) == (
        ClusterCIDR("kube-proxy clusterCIDR", ip_network("20.96.0.0/12")),
    )
    assert observations.ClusterCIDR is ClusterCIDR


PARSERS: list[Callable[[str], tuple[object, ...]]] = [
    objects.parse_pods,
    objects.parse_services,
    objects.parse_endpointslices,
    objects.parse_ippools,
    objects.parse_nodes,
    objects.parse_cluster_cidrs,
]


@pytest.mark.parametrize("parse", PARSERS)
def test_lists(parse: Callable[[str], tuple[object, ...]]) -> None:
    assert parse(items()) == ()
    for text, problem in [
        ("", "found 0"),
        ('{"items": [', "cut"),
        ('{"kind": "Status", "message": "forbidden"}', "no 'items'"),
        ('{"items": {}}', "expected a list"),
        (items({"metadata": 1}), "at .*items"),
        (items(**{"continue": "eyJ2Ijoib"}), "only a page of the list"),
    ]:
        with pytest.raises(ParseError, match=problem):
            parse(text)
    assert parse(items(**{"continue": ""})) == ()


@pytest.mark.parametrize(
    ("parse", "name"),
    [
        (objects.parse_pods, "docker-pods.json"),
        (objects.parse_services, "docker-services.json"),
        (objects.parse_endpointslices, "docker-endpointslices.json"),
        (objects.parse_nodes, "docker-nodes.json"),
    ],
)
def test_objects_without_their_names(parse: Callable[[str], tuple[object, ...]], name: str) -> None:
    with pytest.raises(ParseError, match="no 'metadata'"):
        parse(edited(name, 0, lambda entry: entry.pop("metadata")))
