"""Which manifests the reference network implements. Whatever it does not, it names: nothing is ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

from pytest_k8snet.embedded import description
from pytest_k8snet.intent import DOCUMENT_SERVICE_CIDR
from pytest_k8snet.manifests import Manifest, ManifestError

NODES = tuple(node.name for node in description.NODES)
IMAGES = tuple(description.IMAGE_PORTS)
NODE_PORTS = range(30000, 32768)
HOSTNAME = "kubernetes.io/hostname"
NOT_IMPLEMENTED = "not implemented by the reference network"

# RFC 1123 label. Kubernetes allows dots in pods' names too; names of hosts and files are made of them here.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# IANA_SVC_NAME, what a named port must look like.
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")


def check(
    manifests: Iterable[Manifest],
    nodes: Sequence[str] = NODES,
    service_cidr: IPv4Network | IPv6Network = DOCUMENT_SERVICE_CIDR,
) -> None:
    """Raise :class:`ManifestError` for the first thing that a reference network can't do as written.

    ``manifests`` are all objects of a run: labs share the network, so names and node ports must
    agree between them. A selector that matches nothing is no error: the claims find it broken.
    """
    seen: dict[tuple[str, str], Manifest] = {}
    for manifest in manifests:
        twin = seen.setdefault((manifest.kind, manifest.name), manifest)
        if twin is manifest:
            _checker(manifest)(manifest, nodes)
        elif twin.body != manifest.body:
            raise ManifestError(f"{manifest.label}: another one of that name stands in {twin.source}")
    services = [manifest for manifest in seen.values() if manifest.kind == "Service"]
    pods = [manifest for manifest in seen.values() if manifest.kind == "Pod"]
    _no_address_twice(services)
    for service in services:
        _cluster_ip(service, service_cidr)
        _target_ports_exist(service, pods)


def _checker(manifest: Manifest) -> Callable[[Manifest, Sequence[str]], None]:
    try:
        checker = {"Pod": _pod, "Service": _service}[manifest.kind]
    except KeyError:
        raise ManifestError(f"{manifest.label}: kind {manifest.kind}: {NOT_IMPLEMENTED}") from None
    if manifest.body["apiVersion"] != "v1":
        raise ManifestError(
            f"{manifest.label}: apiVersion: {manifest.body['apiVersion']!r} is not 'v1', the version of"
            f" a {manifest.kind}"
        )
    return checker


class _Part:
    """One mapping of a manifest and the path that leads to it; every key must be asked for by name."""

    def __init__(self, manifest: Manifest, value: object, path: str, known: Iterable[str]) -> None:
        self.manifest = manifest
        self.path = path
        if not isinstance(value, dict):
            raise self.error("", "is not a mapping" if value is not None else "is missing")
        self.value: Mapping[str, Any] = value
        for key in value:
            if key not in known:
                raise self.error(key, NOT_IMPLEMENTED)

    def error(self, key: object, problem: str) -> ManifestError:
        path = ".".join(str(step) for step in (self.path, key) if step != "")
        return ManifestError(f"{self.manifest.label}: {path}: {problem}")

    def part(self, key: str, known: Iterable[str]) -> _Part:
        return _Part(self.manifest, self.value.get(key), self._under(key), known)

    def parts(self, key: str, known: Iterable[str], *, required: bool) -> list[_Part]:
        values = self.value.get(key)
        if values is None or values == []:
            if required:
                raise self.error(key, "is missing")
            return []
        if not isinstance(values, list):
            raise self.error(key, "is not a list")
        return [
            _Part(self.manifest, value, f"{self._under(key)}[{index}]", known)
            for index, value in enumerate(values)
        ]

    def one_of(self, key: str, allowed: Sequence[str], *, default: str) -> str:
        value = self.value.get(key, default)
        if value not in allowed:
            raise self.error(key, f"{value!r}: {NOT_IMPLEMENTED} (it has {', '.join(allowed)})")
        return str(value)

    def port(self, key: str, *, default: object = None) -> int:
        value = self.value.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
            raise self.error(key, f"{value!r} is not a port (1-65535)")
        return value

    def name(self, key: str = "name") -> str:
        value = self.value.get(key)
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self.error(key, f"{value!r} is not a name (lower case, digits, '-')")
        return value

    def port_name(self) -> str:
        value = self.value.get("name", "")
        if value != "" and not (isinstance(value, str) and _PORT_NAME.fullmatch(value)):
            raise self.error("name", f"{value!r} is not a port's name (15 lower-case letters, digits, '-')")
        return str(value)

    def labels(self, key: str) -> None:
        value = self.value.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, "is not a mapping")
        for label, text in value.items():
            if not isinstance(label, str) or not isinstance(text, str):
                raise self.error(key, f"{label}: {text!r} is not a string (quote it)")

    def _under(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _top(manifest: Manifest) -> _Part:
    top = _Part(manifest, manifest.body, "", ("apiVersion", "kind", "metadata", "spec"))
    metadata = top.part("metadata", ("name", "namespace", "labels"))
    metadata.name()
    metadata.one_of("namespace", ("default",), default="default")
    metadata.labels("labels")
    return top


def _pod(manifest: Manifest, nodes: Sequence[str]) -> None:
    spec = _top(manifest).part("spec", ("nodeSelector", "containers"))
    if "nodeSelector" not in spec.value:
        raise spec.error(
            "nodeSelector", f"is missing: the reference network has no scheduler and needs {HOSTNAME}"
        )
    selector = spec.part("nodeSelector", (HOSTNAME,))
    node = selector.value.get(HOSTNAME)
    if node is None:
        raise selector.error(HOSTNAME, "is missing: the reference network has no scheduler and needs it")
    if node not in nodes:
        raise selector.error(HOSTNAME, f"there is no node {node!r}; the nodes are {', '.join(nodes)}")
    names: set[str] = set()
    ports: set[int] = set()
    for container in spec.parts("containers", ("name", "image", "imagePullPolicy", "ports"), required=True):
        name = container.name()
        if name in names:
            raise container.error("name", f"{name!r} is taken by another container of the pod")
        names.add(name)
        image = container.value.get("image")
        if not isinstance(image, str) or _untagged(image) not in IMAGES:
            raise container.error("image", f"{image!r}: {NOT_IMPLEMENTED} (it has {', '.join(IMAGES)})")
        container.one_of("imagePullPolicy", ("IfNotPresent", "Always", "Never"), default="Always")
        for port in container.parts("ports", ("name", "containerPort", "protocol"), required=False):
            port.port_name()
            port.one_of("protocol", ("TCP",), default="TCP")
            number = port.port("containerPort")
            if number in ports:
                raise port.error("containerPort", f"{number} is taken: containers of a pod share its ports")
            ports.add(number)


def _untagged(image: str) -> str:
    """``registry/name:tag`` without its tag; a colon before the last slash belongs to the registry."""
    head, slash, last = image.rpartition("/")
    return head + slash + last.partition(":")[0]


def _service(manifest: Manifest, nodes: Sequence[str]) -> None:
    spec = _top(manifest).part("spec", ("selector", "ports", "type", "clusterIP"))
    spec.labels("selector")
    if not spec.value.get("selector"):
        raise spec.error("selector", f"is missing: a service without one is {NOT_IMPLEMENTED}")
    kind = spec.one_of("type", ("ClusterIP", "NodePort"), default="ClusterIP")
    numbers: set[int] = set()
    names: set[str] = set()
    ports = spec.parts("ports", ("name", "port", "targetPort", "nodePort", "protocol"), required=True)
    for port in ports:
        name = port.port_name()
        if len(ports) > 1 and (not name or name in names):
            raise port.error("name", "each port of a service with several needs a name of its own")
        names.add(name)
        port.one_of("protocol", ("TCP",), default="TCP")
        number = port.port("port")
        if number in numbers:
            raise port.error("port", f"{number} stands twice")
        numbers.add(number)
        if not isinstance(port.value.get("targetPort"), str):
            port.port("targetPort", default=number)
        if "nodePort" in port.value:
            if kind != "NodePort":
                raise port.error("nodePort", f"a service of type {kind} has none")
            if port.port("nodePort") not in NODE_PORTS:
                raise port.error(
                    "nodePort",
                    f"{port.value['nodePort']} is not in {NODE_PORTS.start}-{NODE_PORTS.stop - 1}",
                )


def _cluster_ip(service: Manifest, service_cidr: IPv4Network | IPv6Network) -> None:
    value = service.body["spec"].get("clusterIP")
    if value is None:
        return
    path = f"{service.label}: spec.clusterIP"
    try:
        address = IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise ManifestError(f"{path}: {value!r}: {NOT_IMPLEMENTED} (it has IPv4 addresses)") from None
    if address not in service_cidr:
        raise ManifestError(f"{path}: {address} is not in the services' range {service_cidr}")


def _no_address_twice(services: Iterable[Manifest]) -> None:
    node_ports: dict[int, Manifest] = {}
    addresses: dict[str, Manifest] = {}
    for service in services:
        spec = service.body["spec"]
        for index, port in enumerate(spec["ports"]):
            number = port.get("nodePort")
            if number is not None and (holder := node_ports.setdefault(number, service)) is not service:
                raise ManifestError(
                    f"{service.label}: spec.ports[{index}].nodePort: {number} is taken by {holder.label}"
                )
        address = spec.get("clusterIP")
        if address is not None and (holder := addresses.setdefault(address, service)) is not service:
            raise ManifestError(f"{service.label}: spec.clusterIP: {address} is taken by {holder.label}")


def _target_ports_exist(service: Manifest, pods: Iterable[Manifest]) -> None:
    """A named targetPort must be the name of a port of each pod that the service selects."""
    spec = service.body["spec"]
    for index, port in enumerate(spec["ports"]):
        wanted = port.get("targetPort")
        if not isinstance(wanted, str):
            continue
        for pod in pods:
            labels = pod.body["metadata"].get("labels", {})
            if not spec["selector"].items() <= labels.items():
                continue
            names = {
                port.get("name")
                for container in pod.body["spec"]["containers"]
                for port in container.get("ports", ())
            }
            if wanted not in names:
                raise ManifestError(
                    f"{service.label}: spec.ports[{index}].targetPort: pod {pod.name} has no port"
                    f" named {wanted!r}"
                )
