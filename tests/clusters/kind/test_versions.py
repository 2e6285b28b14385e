"""Pins, profiles, and kind's configuration."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_k8snet.clusters.kind import config
from pytest_k8snet.clusters.kind.versions import kubernetes_of, number, pins, versions
from pytest_k8snet.intent import Intent
from tests.clusters.kind.machine import NODE_IMAGE, asked

SHA256 = re.compile("[0-9a-f]{64}")


def test_every_pin_is_whole() -> None:
    pinned = pins()
    assert set(pinned.kind_sha256) == {"amd64", "arm64"}
    assert all(SHA256.fullmatch(each) for each in pinned.kind_sha256.values())
    assert pinned.kind == max(pinned.node_images, key=number)
    for image in pinned.node_images.values():
        assert SHA256.fullmatch(image.partition("@sha256:")[2])
    assert list(pinned.calico) == sorted(pinned.calico, key=number, reverse=True)
    for version, pin in pinned.calico.items():
        assert SHA256.fullmatch(pin.sha256)
        assert f"/projectcalico/calico/v{version}/" in pin.url
        assert all(image.endswith(f":v{version}") for image in pin.images.values())
    for profile in pinned.profiles.values():
        assert profile["calico"] in pinned.calico
    assert pinned.profiles["current"]["calico"] == next(iter(pinned.calico))


def test_current() -> None:
    found = versions(asked(), pins().kind)
    assert found.node_image == NODE_IMAGE
    assert found.kubernetes == kubernetes_of(NODE_IMAGE)
    assert found.calico is next(iter(pins().calico.values()))
    assert found.calico.fits(found.kubernetes or (0, 0))


def test_document() -> None:
    found = versions(asked(profile="document"), "0.27.0")
    assert found.kubernetes == (1, 20)
    assert found.node_image.startswith("kindest/node:v1.20.15@sha256:")
    assert found.calico is not None
    assert found.calico.version == "3.21.6"
    assert found.calico.fits((1, 20))


def test_what_is_asked_for_wins() -> None:
    found = versions(asked(profile="document", kind_image="mine:v1.31.4", calico_version="v3.30.7"), "0.27.0")
    assert (found.node_image, found.kubernetes) == ("mine:v1.31.4", (1, 31))
    assert found.calico is not None
    assert found.calico.version == "3.30.7"
    mine = Path("calico.yaml")
    found = versions(asked(calico_manifest=mine), "0.27.0")
    assert (found.calico, found.calico_manifest) == (None, mine)


def test_an_unknown_kind_takes_its_own_image() -> None:
    found = versions(asked(), "0.99.0")
    assert (found.node_image, found.kubernetes) == ("", None)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("kindest/node:v1.36.1@sha256:00", (1, 36)),
        ("localhost:5000/node:1.20.15", (1, 20)),
        ("kindest/node:v1.36.0-rc.1", (1, 36)),
        ("kindest/node:latest", None),
        ("kindest/node@sha256:1234", None),
    ],
)
def test_kubernetes_of(image: str, version: tuple[int, int] | None) -> None:
    assert kubernetes_of(image) == version


def test_number() -> None:
    assert number("v0.32.0-alpha+1234") == (0, 32, 0)


def written(intent: Intent) -> Any:
    return yaml.safe_load(config.text(intent, "1234abcd"))


def test_kinds_configuration_is_the_document() -> None:
    shipped = yaml.safe_load((Path(__file__).parents[3] / "kind-config.yaml").read_text())
    found = written(Intent())
    assert (
        found["networking"]
        == shipped["networking"]
        == {
            "disableDefaultCNI": True,
            "kubeProxyMode": "iptables",
            "podSubnet": "20.96.0.0/12",
            "serviceSubnet": "10.96.0.0/12",
        }
    )
    assert "kubeadmConfigPatches" not in found
    assert [node["role"] for node in found["nodes"]] == ["control-plane", "worker", "worker"]
    mark = {"hostPath": "/dev/null", "containerPath": "/k8snet/1234abcd", "readOnly": True}
    assert all(node["extraMounts"] == [mark] for node in found["nodes"])


def test_kinds_configuration_as_declared() -> None:
    found = written(Intent(pod_cidr=IPv4Network("10.244.0.0/16"), proxy_mode="nftables"))
    assert found["networking"]["podSubnet"] == "10.244.0.0/16"
    assert found["networking"]["kubeProxyMode"] == "nftables"
    (patch,) = found["kubeadmConfigPatches"]
    assert yaml.safe_load(patch) == {"kind": "KubeProxyConfiguration", "nodePortAddresses": ["0.0.0.0/0"]}


def test_node_names() -> None:
    assert config.node_names("demo") == ("demo-control-plane", "demo-worker", "demo-worker2")
