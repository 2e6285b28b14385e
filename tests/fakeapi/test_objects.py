"""Objects through the real client, refusals with the messages of the real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.fakeapi import Content, FakeCluster, crash_loop, denied_by, over_quota
from tests.fakeapi.conftest import Connect, get


def pod(name: str = "pod-src", **spec: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "container", "image": "kubetm/init"}]} | spec
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"type": "dest"}, "ports": [{"port": 8080}]} | spec,
    }


def refusal(error: pytest.ExceptionInfo[ApiException]) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(error.value.body or b"")
    assert (body["kind"], body["code"]) == ("Status", error.value.status)
    return body


def test_a_kubeadm_cluster_with_calico_is_there(core: Any) -> None:
    nodes = core.list_node().items
    assert [node.metadata.name for node in nodes] == ["k8s-master", "k8s-node1", "k8s-node2"]
    assert nodes[0].spec.taints[0].key == "node-role.kubernetes.io/master"
    assert nodes[1].status.node_info.container_runtime_version == "docker://20.10.7"
    assert nodes[1].metadata.annotations["projectcalico.org/IPv4Address"] == "192.168.219.22/24"
    pods = core.list_namespaced_pod("kube-system").items
    assert {pod.status.phase for pod in pods} == {"Running"}
    assert sum(pod.metadata.name.startswith("calico-node-") for pod in pods) == 3


def test_a_pod_comes_up_where_its_selector_says_and_goes(fake: FakeCluster, core: Any) -> None:
    fake.kubelet.address("pod-src", "20.109.131.5")
    core.create_namespaced_pod("default", pod(nodeSelector={"kubernetes.io/hostname": "k8s-node2"}))
    fake.controllers.settle()
    found = core.read_namespaced_pod("pod-src", "default")
    assert (found.spec.node_name, found.status.pod_ip) == ("k8s-node2", "20.109.131.5")
    assert found.status.container_statuses[0].container_id.startswith("docker://")
    core.delete_namespaced_pod("pod-src", "default")
    fake.controllers.settle()
    with pytest.raises(ApiException) as error:
        core.read_namespaced_pod("pod-src", "default")
    assert refusal(error)["message"] == 'pods "pod-src" not found'
    assert refusal(error)["details"] == {"name": "pod-src", "kind": "pods"}


def test_selectors_and_pages(core: Any) -> None:
    on_node1 = core.list_pod_for_all_namespaces(field_selector="spec.nodeName=k8s-node1")
    assert {item.spec.node_name for item in on_node1.items} == {"k8s-node1"}
    calico = core.list_pod_for_all_namespaces(label_selector="k8s-app in (calico-node,x),!nothing")
    assert len(calico.items) == 3
    first = core.list_node(limit=2)
    assert first.metadata.remaining_item_count == 1
    second = core.list_node(limit=2, _continue=first.metadata._continue)
    assert [node.metadata.name for node in second.items] == ["k8s-node2"]


def test_the_second_page_is_refused_when_it_is_too_late(fake: FakeCluster, core: Any) -> None:
    first = core.list_node(limit=1)
    fake.store.compact()
    with pytest.raises(ApiException) as error:
        core.list_node(limit=1, _continue=first.metadata._continue)
    assert (refusal(error)["code"], refusal(error)["reason"]) == (410, "Expired")


def test_names_are_taken_once(core: Any) -> None:
    core.create_namespaced_pod("default", pod())
    with pytest.raises(ApiException) as error:
        core.create_namespaced_pod("default", pod())
    assert refusal(error)["message"] == 'pods "pod-src" already exists'
    assert (refusal(error)["code"], refusal(error)["reason"]) == (409, "AlreadyExists")


def test_a_namespace_must_be_there_and_not_be_going(fake: FakeCluster, core: Any) -> None:
    with pytest.raises(ApiException) as error:
        core.create_namespaced_pod("k8snet-x", pod())
    assert refusal(error)["message"] == 'namespaces "k8snet-x" not found'
    core.create_namespace({"metadata": {"name": "k8snet-x"}})
    core.create_namespaced_pod("k8snet-x", pod())
    fake.controllers.settle()
    fake.kubelet.hold_deletions()
    core.delete_namespace("k8snet-x")
    assert core.read_namespace("k8snet-x").status.phase == "Terminating"
    with pytest.raises(ApiException) as error:
        core.create_namespaced_pod("k8snet-x", pod("other"))
    assert (
        "unable to create new content in namespace k8snet-x because it is being terminated"
        in (refusal(error)["message"])
    )
    assert fake.left() == ["namespaces/k8snet-x"]
    fake.kubelet.release_deletions()
    fake.controllers.settle()
    assert fake.left() == []


def test_a_node_port_is_taken_once(fake: FakeCluster, core: Any) -> None:
    wish = {"type": "NodePort", "ports": [{"port": 8080, "nodePort": 31080}]}
    made = core.create_namespaced_service("default", service("svc-nodeport", **wish))
    assert made.spec.cluster_ip.startswith("10.96.")
    with pytest.raises(ApiException) as error:
        core.create_namespaced_service("default", service("another", **wish))
    assert error.value.status == 422
    assert refusal(error)["message"] == (
        'Service "another" is invalid: spec.ports[0].nodePort: Invalid value: 31080: '
        "provided port is already allocated"
    )


def test_slices_follow_ready_pods(fake: FakeCluster, core: Any) -> None:
    core.create_namespaced_service("default", service("svc-clusterip"))
    for name, ready in (("pod-dest", True), ("pod-late", False)):
        if not ready:
            fake.kubelet.let(name, crash_loop("container"))
        core.create_namespaced_pod(
            "default", pod(name) | {"metadata": {"name": name, "labels": {"type": "dest"}}}
        )
    fake.controllers.settle()
    # Kubernetes 1.20 serves v1beta1 only, whose endpoints name the node in their topology.
    _, found = get(fake, "/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices")
    (slice_,) = json.loads(found)["items"]
    readiness = [endpoint["conditions"]["ready"] for endpoint in slice_["endpoints"]]
    assert readiness == [True, False]
    assert slice_["endpoints"][0]["topology"]["kubernetes.io/hostname"].startswith("k8s-node")
    assert get(fake, "/apis/discovery.k8s.io/v1/endpointslices") == (404, b"404 page not found\n")


def test_what_may_not_be_done(fake: FakeCluster, connect: Connect) -> None:
    fake.deny("create", "pods/exec")
    fake.deny("list", "nodes")
    api = connect(fake)
    review: Any = client.AuthorizationV1Api(api).create_self_subject_access_review

    def allowed(**attributes: str) -> bool:
        answer: bool = review({"spec": {"resourceAttributes": attributes}}).status.allowed
        return answer

    assert not allowed(verb="create", resource="pods", subresource="exec")
    assert allowed(verb="create", resource="pods")
    with pytest.raises(ApiException) as error:
        client.CoreV1Api(api).list_node()
    assert refusal(error)["message"] == (
        'nodes is forbidden: User "kubernetes-admin" cannot list resource "nodes" in API group "" '
        "at the cluster scope"
    )


def test_quotas_and_webhooks_refuse(fake: FakeCluster, core: Any) -> None:
    fake.refuse("pods", over_quota(), "pod-src")
    fake.refuse("pods", denied_by("policy.example.org", "no pods today"), "pod-dest")
    with pytest.raises(ApiException) as error:
        core.create_namespaced_pod("default", pod())
    assert (
        'pods "pod-src" is forbidden: exceeded quota: compute, requested: pods=1' in refusal(error)["message"]
    )
    with pytest.raises(ApiException) as error:
        core.create_namespaced_pod("default", pod("pod-dest"))
    assert (
        refusal(error)["message"]
        == 'admission webhook "policy.example.org" denied the request: no pods today'
    )


def test_pod_security_refuses_what_reaches_the_host(connect: Connect) -> None:
    with FakeCluster("v1.34.2", pod_security="restricted") as fake:
        core: Any = client.CoreV1Api(connect(fake))
        privileged = {"name": "probe", "image": "x", "securityContext": {"privileged": True}}
        wish = pod("probe", hostNetwork=True, hostPID=True, containers=[privileged])
        with pytest.raises(ApiException) as error:
            core.create_namespaced_pod("default", wish)
        assert refusal(error)["message"].startswith(
            'pods "probe" is forbidden: violates PodSecurity "restricted:latest": host namespaces '
            '(hostNetwork=true, hostPID=true), privileged (container "probe" must not set '
            "securityContext.privileged=true), allowPrivilegeEscalation != false"
        )
        enforced = {"pod-security.kubernetes.io/enforce": "privileged"}
        core.create_namespace({"metadata": {"name": "k8snet-x", "labels": enforced}})
        core.create_namespaced_pod("k8snet-x", wish)


def test_the_token_counts(fake: FakeCluster) -> None:
    status, body = get(fake, "/api/v1/nodes", token="another")
    assert (status, json.loads(body)["message"]) == (401, "Unauthorized")


def test_without_calico_its_group_is_not_served() -> None:
    with FakeCluster(content=Content(calico=False)) as fake:
        assert get(fake, "/apis/crd.projectcalico.org/v1/ippools")[0] == 404
    with FakeCluster(content=Content(ipip_mode="CrossSubnet")) as fake:
        _, pools = get(fake, "/apis/crd.projectcalico.org/v1/ippools")
        assert json.loads(pools)["items"][0]["spec"]["ipipMode"] == "CrossSubnet"


def test_discovery_names_what_is_served(fake: FakeCluster) -> None:
    groups = {group["name"] for group in json.loads(get(fake, "/apis")[1])["groups"]}
    assert {"apps", "discovery.k8s.io", "crd.projectcalico.org"} <= groups
    served = {resource["name"] for resource in json.loads(get(fake, "/api/v1")[1])["resources"]}
    assert {"pods", "pods/exec", "nodes"} <= served
    assert json.loads(get(fake, "/version")[1])["gitVersion"] == "v1.20.8"
