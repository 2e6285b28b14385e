"""Calico's manifest as a run changes it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kind import calico
from pytest_k8snet.intent import Intent
from tests.clusters.kind.machine import SAMPLES


def shipped() -> list[Any]:
    return calico.parse((SAMPLES / "calico.yaml").read_bytes(), "calico.yaml")


def edited(intent: Intent | None = None) -> list[Any]:
    return calico.edited(shipped(), "calico.yaml", intent or Intent(), "eth1")


def one(bodies: list[Any], kind: str) -> Any:
    (found,) = [body for body in bodies if body["kind"] == kind]
    return found


def container(bodies: list[Any]) -> Any:
    return one(bodies, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]


def env(bodies: list[Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container(bodies)["env"]}


def test_what_the_document_declares() -> None:
    found = env(edited())
    assert found["CALICO_IPV4POOL_CIDR"] == "20.96.0.0/12"
    assert (found["CALICO_IPV4POOL_IPIP"], found["CALICO_IPV4POOL_VXLAN"]) == ("Always", "Never")
    assert found["IP_AUTODETECTION_METHOD"] == "interface=eth1"
    assert found["IP"] == "autodetect"
    assert "FELIX_NFTABLESMODE" not in found
    names = [each["name"] for each in container(edited())["env"]]
    assert len(names) == len(set(names))
    assert one(edited(), "ConfigMap")["data"]["calico_backend"] == "bird"


@pytest.mark.parametrize(
    ("encapsulation", "ipip", "vxlan", "backend"),
    [
        ("ipip-always", "Always", "Never", "bird"),
        ("ipip-cross-subnet", "CrossSubnet", "Never", "bird"),
        ("vxlan-always", "Never", "Always", "vxlan"),
        ("vxlan-cross-subnet", "Never", "CrossSubnet", "vxlan"),
        ("none", "Never", "Never", "bird"),
    ],
)
def test_modes(encapsulation: str, ipip: str, vxlan: str, backend: str) -> None:
    bodies = edited(Intent(encapsulation=encapsulation))
    found = env(bodies)
    assert (found["CALICO_IPV4POOL_IPIP"], found["CALICO_IPV4POOL_VXLAN"]) == (ipip, vxlan)
    assert one(bodies, "ConfigMap")["data"]["calico_backend"] == backend
    commands = [container(bodies)[probe]["exec"]["command"] for probe in ("livenessProbe", "readinessProbe")]
    bird = [word for command in commands for word in command if "bird" in word]
    assert bird == (["-bird-live", "-bird-ready"] if backend == "bird" else [])
    assert all("-felix" in " ".join(command) for command in commands)


def test_nftables_is_said_to_felix() -> None:
    assert env(edited(Intent(proxy_mode="nftables")))["FELIX_NFTABLESMODE"] == "Enabled"


def test_the_order_of_creation_and_what_is_left_out() -> None:
    assert [body["kind"] for body in edited()] == [
        "CustomResourceDefinition",
        "ServiceAccount",
        "ConfigMap",
        "ClusterRole",
        "ClusterRoleBinding",
        "DaemonSet",
        "Deployment",
    ]


def test_images() -> None:
    bodies = edited()
    calico.with_images(bodies, {"quay.io/calico/node:v3.32.1": "mirror/node:1"})
    assert calico.images(bodies) == [
        "quay.io/calico/cni:v3.32.1",
        "mirror/node:1",
        "quay.io/calico/kube-controllers:v3.32.1",
    ]
    assert container(bodies)["imagePullPolicy"] == "IfNotPresent"


def without(kind: str) -> Callable[[list[Any]], list[Any]]:
    return lambda bodies: [body for body in bodies if body["kind"] != kind]


def renamed(bodies: list[Any]) -> list[Any]:
    container(bodies)["name"] = "other"
    return bodies


def no_backend(bodies: list[Any]) -> list[Any]:
    del one(bodies, "ConfigMap")["data"]
    return bodies


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (without("DaemonSet"), "no DaemonSet calico-node"),
        (without("Deployment"), "no Deployment calico-kube-controllers"),
        (without("ConfigMap"), "no ConfigMap calico-config"),
        (renamed, "no container calico-node in DaemonSet calico-node"),
        (no_backend, "no calico_backend in ConfigMap calico-config"),
    ],
)
def test_another_way_to_install_calico(broken: Callable[[list[Any]], list[Any]], words: str) -> None:
    with pytest.raises(ClusterError, match=f"^mine.yaml: {words}; --k8snet-calico-manifest takes"):
        calico.edited(broken(copy.deepcopy(shipped())), "mine.yaml", Intent(), "eth1")
