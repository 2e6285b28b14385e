"""Calico's manifest as a run needs it: the pool's range and mode, eth1, the images (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.intent import Intent

NAMESPACE = "kube-system"
NODE, CONTROLLERS = "calico-node", "calico-kube-controllers"
_WORKLOADS = ("DaemonSet", "Deployment")
#: Created in this order: what runs comes last.
_ORDER = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "ConfigMap", "ClusterRole")

#: encapsulation -> (CALICO_IPV4POOL_IPIP, CALICO_IPV4POOL_VXLAN), as calico/node's reference has them.
_POOL = {
    "ipip-always": ("Always", "Never"),
    "ipip-cross-subnet": ("CrossSubnet", "Never"),
    "vxlan-always": ("Never", "Always"),
    "vxlan-cross-subnet": ("Never", "CrossSubnet"),
    "none": ("Never", "Never"),
}

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads the CRDs in a tenth of the time

Object = dict[str, Any]


def parse(text: str | bytes, source: str) -> list[Object]:
    """The objects of a manifest. Raises ClusterError, one line that begins with ``source``."""
    try:
        bodies = [body for body in yaml.load_all(text, Loader=_Loader) if body is not None]
    except yaml.YAMLError as error:
        raise ClusterError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    for body in bodies:
        if not isinstance(body, dict) or not (body.get("kind") and (body.get("metadata") or {}).get("name")):
            raise ClusterError(f"{source}: holds something without kind and metadata.name")
    return bodies


def edited(bodies: Sequence[Object], source: str, intent: Intent, uplink: str) -> list[Object]:
    """``bodies`` with the pool, the tunnel and the interface that ``intent`` wants, ready to be created in
    order. They are changed in place.

    Raises ClusterError where what has to be set is not there: another way to install Calico.
    """
    config = _one(bodies, "ConfigMap", "calico-config", source).get("data") or {}
    node = _one(bodies, "DaemonSet", NODE, source)
    _one(bodies, "Deployment", CONTROLLERS, source)
    container = next((each for each in _containers(node) if each["name"] == NODE), None)
    if container is None:
        raise _not_calicos(source, f"no container {NODE} in DaemonSet {NODE}")
    if "calico_backend" not in config:
        raise _not_calicos(source, "no calico_backend in ConfigMap calico-config")
    ipip, vxlan = _POOL[intent.encapsulation]
    _set_env(
        container,
        CALICO_IPV4POOL_CIDR=str(intent.pod_cidr),
        CALICO_IPV4POOL_IPIP=ipip,
        CALICO_IPV4POOL_VXLAN=vxlan,
        IP_AUTODETECTION_METHOD=f"interface={uplink}",
    )
    if intent.proxy_mode == "nftables":
        # The default from 3.32 on is to do as kube-proxy does; before, it is iptables whatever that does.
        _set_env(container, FELIX_NFTABLESMODE="Enabled")
    if intent.tunnel == "vxlan":
        config["calico_backend"] = "vxlan"
        for probe in ("livenessProbe", "readinessProbe"):
            command = container.get(probe, {}).get("exec", {}).get("command")
            if command:
                command[:] = [word for word in command if word not in ("-bird-live", "-bird-ready")]
    # It only gets in the way of drains, and its API moved between the versions.
    wanted = [body for body in bodies if body["kind"] != "PodDisruptionBudget"]
    return sorted(wanted, key=lambda body: _rank(body["kind"]))


def images(bodies: Sequence[Object]) -> list[str]:
    """All images, those of init containers too, each once."""
    return list(dict.fromkeys(str(container["image"]) for container in _all_containers(bodies)))


def with_images(bodies: Sequence[Object], other: Mapping[str, str]) -> None:
    """Replace images in place (``other``: image -> the one that runs). All are pulled where not there yet."""
    for container in _all_containers(bodies):
        container["image"] = other.get(container["image"], container["image"])
        container["imagePullPolicy"] = "IfNotPresent"


def _all_containers(bodies: Sequence[Object]) -> Iterator[Object]:
    for body in bodies:
        if body["kind"] in _WORKLOADS:
            yield from _containers(body)


def _containers(workload: Mapping[str, Any]) -> Iterator[Object]:
    spec = workload["spec"]["template"]["spec"]
    for kind in ("initContainers", "containers"):
        yield from spec.get(kind) or ()


def _set_env(container: Object, **values: str) -> None:
    env = [each for each in container.get("env") or () if each["name"] not in values]
    container["env"] = [*env, *({"name": name, "value": value} for name, value in values.items())]


def _one(bodies: Sequence[Object], kind: str, name: str, source: str) -> Object:
    for body in bodies:
        if body["kind"] == kind and body["metadata"]["name"] == name:
            return body
    raise _not_calicos(source, f"no {kind} {name}")


def _not_calicos(source: str, lacking: str) -> ClusterError:
    return ClusterError(
        f"{source}: {lacking}; --k8snet-calico-manifest takes manifests/calico.yaml of a Calico release,"
        " not the operator's"
    )


def _rank(kind: str) -> int:
    if kind in _WORKLOADS:
        return len(_ORDER) + 1
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)
