"""Reading manifests, and what the reference network says of those it can't do as written."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8snet.embedded import supported
from pytest_k8snet.manifests import Manifest, ManifestError, load, load_all

SCENARIOS = Path(__file__).resolve().parents[1] / "scenarios"

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "pod-src", "labels": {"type": "src"}},
    "spec": {
        "nodeSelector": {"kubernetes.io/hostname": "k8s-node2"},
        "containers": [{"name": "container", "image": "kubetm/init:v1", "ports": [{"containerPort": 8080}]}],
    },
}
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "svc"},
    "spec": {
        "type": "NodePort",
        "selector": {"type": "dest"},
        "ports": [{"port": 8080, "targetPort": 8080, "nodePort": 31080}],
    },
}


def manifest(body: dict[str, Any], source: str = "file.yaml") -> Manifest:
    return Manifest(body["kind"], body["metadata"]["name"], body, source)


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of ``body`` with the value at a dotted path set, or removed where it is ``...``."""
    body = copy.deepcopy(body)
    *steps, last = [int(step) if step.isdigit() else step.replace("|", ".") for step in path.split(".")]
    inner: Any = body
    for step in steps:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return body


def refusal(*manifests: Manifest) -> str:
    with pytest.raises(ManifestError) as caught:
        supported.check(manifests)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_document_s_manifests_are_all_supported() -> None:
    found = load_all(sorted(SCENARIOS.rglob("*.yaml")))
    assert sorted((each.kind, each.name) for each in found) == [
        ("Pod", "pod-dest"),
        ("Pod", "pod-pause"),
        ("Pod", "pod-src"),
        ("Service", "svc-clusterip"),
        ("Service", "svc-nodeport"),
    ]
    supported.check(found)


def test_several_documents_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "both.yaml"
    file.write_text("---\n" + yaml.dump_all([POD, SERVICE], explicit_start=True) + "---\n")
    assert [(each.kind, each.name, each.source) for each in load(file)] == [
        ("Pod", "pod-src", "both.yaml"),
        ("Service", "svc", "both.yaml"),
    ]
    assert load(file, "lab/both.yaml")[0].label == "lab/both.yaml: Pod pod-src"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "m.yaml: holds no object"),
        ("---\n---\n", "m.yaml: holds no object"),
        ("# only a comment\n", "m.yaml: holds no object"),
        ("a: [1\n", "m.yaml: not YAML: line 2, column 1: "),
        ("a: 1\n\tb: 2\n", "m.yaml: not YAML: line 2, column 1: "),
        ("\x00", "m.yaml: not YAML: "),
        ("a: !!python/object/apply:os.system [id]\n", "m.yaml: not YAML: line 1, column 4: "),
        ("kind: Pod\nkind: Service\n", "m.yaml: not YAML: line 2, column 1: key 'kind' stands twice"),
        ("- kind: Pod\n", "m.yaml: an object is a mapping, this is a list"),
        ("just words\n", "m.yaml: an object is a mapping, this is a string"),
        ("42\n", "m.yaml: an object is a mapping, this is 42"),
        ("kind: Pod\nmetadata: {name: x}\n", "m.yaml: an object without apiVersion"),
        ("apiVersion: v1\nmetadata: {name: x}\n", "m.yaml: an object without kind"),
        ("apiVersion: v1\nkind: Pod\n", "m.yaml: Pod without metadata"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}\n", "m.yaml: Pod without metadata.name"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 8}\n", "m.yaml: Pod without metadata.name"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    with pytest.raises(ManifestError) as caught:
        load(file)
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"^gone\.yaml: can't be read: No such file or directory$"):
        load(tmp_path / "gone.yaml")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load(file)
    except ManifestError as error:
        problem = str(error)
    else:
        problem = ""
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.namespace", "default"),
        ("metadata.labels", ...),
        ("spec.containers.0.imagePullPolicy", "IfNotPresent"),
        ("spec.containers.0.image", "kubetm/app"),
        ("spec.containers.0.ports", ...),
        ("spec.containers.0.ports", []),
        ("spec.containers.0.ports.0.protocol", "TCP"),
        ("spec.containers.0.ports.0.name", "http"),
    ],
)
def test_a_pod_as_the_reference_network_has_it(path: str, value: Any) -> None:
    supported.check([manifest(changed(POD, path, value))])


NOT = "not implemented by the reference network"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("apiVersion", "v2", "apiVersion: 'v2' is not 'v1'"),
        ("status", {}, f"status: {NOT}"),
        ("metadata.annotations", {}, f"metadata.annotations: {NOT}"),
        ("metadata.namespace", "kube-system", "metadata.namespace: 'kube-system': " + NOT),
        ("metadata.labels", ["a"], "metadata.labels: is not a mapping"),
        ("metadata.labels.type", 3, "metadata.labels: type: 3 is not a string"),
        ("spec", ..., "spec: is missing"),
        ("spec", "text", "spec: is not a mapping"),
        ("spec.hostNetwork", True, f"spec.hostNetwork: {NOT}"),
        ("spec.initContainers", [], f"spec.initContainers: {NOT}"),
        ("spec.nodeSelector", ..., "spec.nodeSelector: is missing: the reference network has no scheduler"),
        ("spec.nodeSelector", {}, "spec.nodeSelector.kubernetes.io/hostname: is missing"),
        ("spec.nodeSelector.disk", "ssd", f"spec.nodeSelector.disk: {NOT}"),
        (
            "spec.nodeSelector.kubernetes|io/hostname",
            "k8s-node3",
            "spec.nodeSelector.kubernetes.io/hostname: there is no node 'k8s-node3';"
            " the nodes are k8s-master, k8s-node1, k8s-node2",
        ),
        ("spec.containers", ..., "spec.containers: is missing"),
        ("spec.containers", {}, "spec.containers: is not a list"),
        ("spec.containers.0", "c", "spec.containers[0]: is not a mapping"),
        ("spec.containers.0.env", [], f"spec.containers[0].env: {NOT}"),
        ("spec.containers.0.name", "Bad_Name", "spec.containers[0].name: 'Bad_Name' is not a name"),
        ("spec.containers.0.name", ..., "spec.containers[0].name: None is not a name"),
        ("spec.containers.0.image", "nginx", "spec.containers[0].image: 'nginx': " + NOT),
        ("spec.containers.0.image", "host:5000/kubetm/app", "spec.containers[0].image: 'host:5000/"),
        ("spec.containers.0.imagePullPolicy", "Sometimes", "spec.containers[0].imagePullPolicy: 'Sometimes'"),
        ("spec.containers.0.ports.0.hostPort", 80, f"spec.containers[0].ports[0].hostPort: {NOT}"),
        ("spec.containers.0.ports.0.protocol", "UDP", "spec.containers[0].ports[0].protocol: 'UDP'"),
        ("spec.containers.0.ports.0.containerPort", ..., "containerPort: is missing"),
        ("spec.containers.0.ports.0.containerPort", "8080", "containerPort: '8080' is not a port"),
        ("spec.containers.0.ports.0.containerPort", 0, "containerPort: 0 is not a port"),
        ("spec.containers.0.ports.0.containerPort", 65536, "containerPort: 65536 is not a port"),
        ("spec.containers.0.ports.0.containerPort", True, "containerPort: True is not a port"),
        ("spec.containers.0.ports.0.name", "Much-Too-Long-A-Name", "ports[0].name: "),
    ],
)
def test_a_pod_beyond_the_reference_network(path: str, value: Any, problem: str) -> None:
    message = refusal(manifest(changed(POD, path, value)))
    assert message.startswith("file.yaml: Pod pod-src: ")
    assert problem in message


@pytest.mark.parametrize("second", [{"name": "container"}, {"ports": [{"containerPort": 8080}]}])
def test_containers_of_a_pod_share_names_and_ports(second: dict[str, Any]) -> None:
    body = copy.deepcopy(POD)
    body["spec"]["containers"].append({"name": "other", "image": "kubetm/app", **second})
    assert "taken" in refusal(manifest(body))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.selector.type", "nobody"),  # selects nothing: the claims find that broken
        ("spec.ports.0.targetPort", ...),
        ("spec.ports.0.targetPort", "http"),
        ("spec.ports.0.nodePort", ...),
        ("spec.ports.0.name", "http"),
        ("spec.clusterIP", "10.107.94.97"),
    ],
)
def test_a_service_as_the_reference_network_has_it(path: str, value: Any) -> None:
    supported.check([manifest(changed(SERVICE, path, value))])


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("apiVersion", "v1beta1", "apiVersion: 'v1beta1' is not 'v1'"),
        ("spec.type", "LoadBalancer", "spec.type: 'LoadBalancer': " + NOT),
        ("spec.type", "ClusterIP", "spec.ports[0].nodePort: a service of type ClusterIP has none"),
        ("spec.type", ..., "spec.ports[0].nodePort: a service of type ClusterIP has none"),
        ("spec.sessionAffinity", "ClientIP", f"spec.sessionAffinity: {NOT}"),
        ("spec.externalTrafficPolicy", "Local", f"spec.externalTrafficPolicy: {NOT}"),
        ("spec.selector", ..., "spec.selector: is missing"),
        ("spec.selector.type", 1, "spec.selector: type: 1 is not a string"),
        ("spec.ports", ..., "spec.ports: is missing"),
        ("spec.ports", [], "spec.ports: is missing"),
        ("spec.ports.0.port", ..., "spec.ports[0].port: is missing"),
        ("spec.ports.0.protocol", "SCTP", "spec.ports[0].protocol: 'SCTP'"),
        ("spec.ports.0.targetPort", 70000, "spec.ports[0].targetPort: 70000 is not a port"),
        ("spec.ports.0.nodePort", 29999, "spec.ports[0].nodePort: 29999 is not in 30000-32767"),
        ("spec.ports.0.nodePort", 32768, "spec.ports[0].nodePort: 32768 is not in 30000-32767"),
        ("spec.ports.0.appProtocol", "http", f"spec.ports[0].appProtocol: {NOT}"),
        ("spec.clusterIP", "None", "spec.clusterIP: 'None': " + NOT),
        ("spec.clusterIP", "192.0.2.1", "spec.clusterIP: 192.0.2.1 is not in the services' range"),
    ],
)
def test_a_service_beyond_the_reference_network(path: str, value: Any, problem: str) -> None:
    message = refusal(manifest(changed(SERVICE, path, value)))
    assert message.startswith("file.yaml: Service svc: ")
    assert problem in message


@pytest.mark.parametrize(
    ("ports", "problem"),
    [
        ([{"port": 1, "name": "a"}, {"port": 2}], "spec.ports[1].name: each port"),
        ([{"port": 1, "name": "a"}, {"port": 2, "name": "a"}], "spec.ports[1].name: each port"),
        ([{"port": 1, "name": "a"}, {"port": 1, "name": "b"}], "spec.ports[1].port: 1 stands twice"),
    ],
)
def test_ports_of_a_service_are_told_apart(ports: list[dict[str, Any]], problem: str) -> None:
    assert problem in refusal(manifest(changed(SERVICE, "spec.ports", ports)))


def test_an_unknown_kind() -> None:
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
    assert refusal(manifest(body)) == f"file.yaml: Deployment d: kind Deployment: {NOT}"


def test_the_same_object_twice_is_one_and_another_of_its_name_is_refused() -> None:
    supported.check([manifest(POD, "a.yaml"), manifest(copy.deepcopy(POD), "b.yaml")])
    other = changed(POD, "metadata.labels.type", "other")
    assert refusal(manifest(POD, "a.yaml"), manifest(other, "b.yaml")) == (
        "b.yaml: Pod pod-src: another one of that name stands in a.yaml"
    )


def test_a_node_port_and_an_address_have_one_holder() -> None:
    other = changed(SERVICE, "metadata.name", "svc-2")
    assert refusal(manifest(SERVICE, "a.yaml"), manifest(other, "b.yaml")) == (
        "b.yaml: Service svc-2: spec.ports[0].nodePort: 31080 is taken by a.yaml: Service svc"
    )
    body = changed(changed(SERVICE, "spec.type", "ClusterIP"), "spec.ports.0.nodePort", ...)
    body["spec"]["clusterIP"] = "10.107.94.97"
    twin = changed(body, "metadata.name", "svc-2")
    assert "spec.clusterIP: 10.107.94.97 is taken by" in refusal(manifest(body), manifest(twin))


def test_a_named_target_port_must_be_there() -> None:
    service = changed(changed(SERVICE, "spec.ports.0.targetPort", "http"), "spec.selector.type", "src")
    assert refusal(manifest(POD), manifest(service)).endswith(
        "spec.ports[0].targetPort: pod pod-src has no port named 'http'"
    )
    named = changed(POD, "spec.containers.0.ports.0.name", "http")
    supported.check([manifest(named), manifest(service)])
