"""The document's manifests as they are made on a real cluster."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.images import AGNHOST, Images
from pytest_k8snet.clusters.kube.roles import Roles
from pytest_k8snet.clusters.kube.workloads import (
    MADE_BY,
    NO_MESH_ANNOTATIONS,
    NO_MESH_LABELS,
    Site,
    made,
    made_by,
    pods_expected,
)
from pytest_k8snet.manifests import Manifest, load

ROLES = Roles(
    {"master": "m", "node1": "w1", "node2": "w2.example"},
    {"master": "m", "node1": "w1", "node2": "w2"},
    {},
)
SITE = Site("k8snet-abc", "run1", ROLES, Images())
HOSTNAME = "kubernetes.io/hostname"
SCENARIOS = Path(__file__).parents[2] / "scenarios"


def manifest(text: str) -> Manifest:
    body = yaml.safe_load(text)
    return Manifest(body["kind"], body["metadata"]["name"], body, "my.yaml")


def bundled(name: str) -> Manifest:
    (path,) = SCENARIOS.rglob(name)
    return load(path)[0]


DEPLOYMENT = manifest("""
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
""")


def test_the_documents_pod_lands_on_the_real_node_in_our_namespace() -> None:
    source = bundled("pod-src.yaml")
    before = copy.deepcopy(source.body)
    body = made(source, SITE)
    assert source.body == before
    assert body["metadata"] == {
        "name": "pod-src",
        "namespace": "k8snet-abc",
        "labels": {
            "type": "src",
            "app.kubernetes.io/managed-by": "pytest-k8snet",
            "k8snet.dev/run": "run1",
            "k8snet.dev/part": "lab",
            **NO_MESH_LABELS,
        },
        "annotations": NO_MESH_ANNOTATIONS,
    }
    spec = body["spec"]
    assert spec["nodeSelector"] == {HOSTNAME: "w2"}
    assert spec["terminationGracePeriodSeconds"] == 1
    assert spec["automountServiceAccountToken"] is False
    assert spec["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert "affinity" not in spec
    assert "imagePullSecrets" not in spec


def test_meshes_are_kept_out_of_the_pods_unless_a_manifest_wants_one() -> None:
    template = made(DEPLOYMENT, SITE)["spec"]["template"]["metadata"]
    assert template["labels"].items() >= NO_MESH_LABELS.items()
    assert template["annotations"] == NO_MESH_ANNOTATIONS
    body = copy.deepcopy(dict(DEPLOYMENT.body))
    body["spec"]["template"]["metadata"]["labels"]["sidecar.istio.io/inject"] = "true"
    body["spec"]["template"]["metadata"]["annotations"] = {"linkerd.io/inject": "enabled"}
    wanted = made(replace(DEPLOYMENT, body=body), SITE)["spec"]["template"]["metadata"]
    assert wanted["labels"]["sidecar.istio.io/inject"] == "true"
    assert wanted["annotations"]["linkerd.io/inject"] == "enabled"
    assert "annotations" not in made(bundled("svc-nodeport.yaml"), SITE)["metadata"]


def test_images_and_pull_secrets_go_into_every_container() -> None:
    site = Site("k8snet-abc", "run1", ROLES, Images.read(["agnhost"], ["regcred"], ""))
    spec = made(bundled("pod-pause.yaml"), site)["spec"]
    assert [container["image"] for container in spec["containers"]] == [AGNHOST] * 2
    assert [container["args"][1] for container in spec["containers"]] == [
        "--http-port=8000",
        "--http-port=8080",
    ]
    assert spec["imagePullSecrets"] == [{"name": "regcred"}]


def test_the_node_port_is_the_declared_one() -> None:
    service = bundled("svc-nodeport.yaml")
    assert made(service, SITE)["spec"]["ports"][0]["nodePort"] == 31080
    site = Site("k8snet-abc", "run1", ROLES, Images(), node_port=30123)
    assert made(service, site)["spec"]["ports"][0]["nodePort"] == 30123
    assert "nodePort" not in made(bundled("svc-clusterip.yaml"), site)["spec"]["ports"][0]


def test_a_node_port_of_the_users_own_stays() -> None:
    body: dict[str, Any] = {"spec": {"ports": [{"port": 80, "nodePort": 31081}]}}
    own = manifest(yaml.safe_dump({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, **body}))
    site = Site("k8snet-abc", "run1", ROLES, Images(), node_port=30123)
    assert made(own, site)["spec"]["ports"][0]["nodePort"] == 31081


def test_a_workloads_pods_are_labelled_and_kept_on_observed_nodes() -> None:
    template = made(DEPLOYMENT, SITE)["spec"]["template"]
    assert template["metadata"]["labels"]["app"] == "web"
    assert template["metadata"]["labels"][MADE_BY] == "deployment.web" == made_by(DEPLOYMENT)
    terms = template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [term["matchFields"][0]["values"] for term in terms["nodeSelectorTerms"]] == [
        ["w1"],
        ["w2.example"],
    ]


@pytest.mark.parametrize(
    "placed",
    [{"nodeName": "elsewhere"}, {"nodeSelector": {"disk": "ssd"}}, {"affinity": {"nodeAffinity": {}}}],
)
def test_a_pod_that_chooses_its_node_keeps_it(placed: dict[str, Any]) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}], **placed},
    }
    spec = made(Manifest("Pod", "p", body, "my.yaml"), SITE)["spec"]
    assert {key: spec[key] for key in placed} == placed
    assert "affinity" not in spec or "affinity" in placed


def test_a_cron_jobs_pods_are_found_and_other_kinds_are_left_as_they_are() -> None:
    job = manifest("""
apiVersion: batch/v1
kind: CronJob
metadata: {name: c}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: kubetm/app}]}}}}}
""")
    inner = made(job, SITE)["spec"]["jobTemplate"]["spec"]["template"]
    assert inner["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    other = manifest("{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: b}}")
    assert made(other, SITE)["data"] == {"a": "b"}
    own = manifest(
        "{apiVersion: x/v1, kind: Policy, metadata: {name: c}, spec: {template: {spec: {rules: []}}}}"
    )
    assert made(own, SITE)["spec"] == {"template": {"spec": {"rules": []}}}


def test_another_namespace_is_refused() -> None:
    own = manifest("{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: default}}")
    with pytest.raises(ClusterError) as raised:
        made(own, SITE)
    assert str(raised.value) == (
        "my.yaml: ConfigMap c: names namespace 'default', and labs touch their own only;"
        " leave metadata.namespace out"
    )


def test_a_role_that_no_node_plays_is_refused() -> None:
    site = Site(
        "k8snet-abc", "run1", Roles({"node1": "a"}, {"node1": "a"}, {"node2": "no node for it"}), Images()
    )
    with pytest.raises(ClusterError, match=r"^pod-src.yaml: Pod pod-src: no node for it$"):
        made(bundled("pod-src.yaml"), site)


def test_how_many_pods_are_waited_for() -> None:
    assert pods_expected(DEPLOYMENT) == 3
    assert (
        pods_expected(manifest("{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: s}, spec: {}}"))
        == 1
    )
    assert (
        pods_expected(manifest("{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: s}, spec: {}}")) == 1
    )
    assert pods_expected(manifest("{apiVersion: batch/v1, kind: Job, metadata: {name: s}, spec: {}}")) is None


def test_a_label_value_is_short_and_ends_well() -> None:
    name = made_by(Manifest("Deployment", "a" * 51 + ".b" * 20, {}, "x"))
    assert len(name) <= 63
    assert name[-1].isalnum()
