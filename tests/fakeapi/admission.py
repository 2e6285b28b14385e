"""What happens to an object before it is kept: defaults, allocated addresses and ports, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from ipaddress import ip_network

from tests.fakeapi import statuses
from tests.fakeapi.resources import Resource
from tests.fakeapi.statuses import Json, Refused
from tests.fakeapi.store import Store

_ENFORCE = "pod-security.kubernetes.io/enforce"


class Defaults:
    """What the API server adds to objects of Kubernetes 1.``minor``."""

    def __init__(self, minor: int) -> None:
        self._minor = minor

    def __call__(self, resource: Resource, obj: Json) -> None:
        if resource.key == "namespaces":
            obj["status"] = {"phase": "Active"}
            obj["spec"] = {"finalizers": ["kubernetes"]}
            if self._minor >= 21:
                meta = obj["metadata"]
                meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
        elif resource.key == "pods":
            self._pod(obj)
        elif resource.key in ("daemonsets.apps", "deployments.apps"):
            obj.setdefault("status", {})

    def _pod(self, pod: Json) -> None:
        spec = pod["spec"]
        for name, value in (
            ("restartPolicy", "Always"),
            ("dnsPolicy", "ClusterFirst"),
            ("schedulerName", "default-scheduler"),
            ("serviceAccountName", "default"),
            ("terminationGracePeriodSeconds", 30),
        ):
            spec.setdefault(name, value)
        for container in spec["containers"]:
            latest = ":" not in container["image"].split("/")[-1] or container["image"].endswith(":latest")
            container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
        pod["status"] = {"phase": "Pending", "qosClass": "BestEffort"}


class Services:
    """Gives services their ClusterIP and NodePorts."""

    def __init__(self, store: Store, cidr: str, minor: int) -> None:
        self._store = store
        self._cidr = ip_network(cidr)
        self._minor = minor
        self.addresses: dict[str, str] = {}  #: what a service of this name gets

    def __call__(self, resource: Resource, obj: Json) -> None:
        if resource.key != "services":
            return
        name, spec = obj["metadata"]["name"], obj["spec"]
        others = self._store.listed("services")
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        taken = {other["spec"].get("clusterIP") for other in others}
        asked = spec.get("clusterIP") or self.addresses.get(name, "")
        if asked and asked != "None" and asked in taken:
            raise self._taken(name, asked)
        if asked != "None":
            held = taken | set(self.addresses.values())
            spec["clusterIP"] = asked or next(
                str(address) for address in self._cidr.hosts() if str(address) not in held
            )
            spec["clusterIPs"] = [spec["clusterIP"]]
        used = {port.get("nodePort") for other in others for port in other["spec"].get("ports") or []}
        for number, port in enumerate(spec.get("ports") or []):
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port["port"])
            if spec["type"] in ("NodePort", "LoadBalancer"):
                field = f"spec.ports[{number}].nodePort"
                given = port.get("nodePort") or next(one for one in range(30000, 32768) if one not in used)
                if given in used:
                    raise statuses.invalid(
                        "Service", name, field, given, "provided port is already allocated"
                    )
                if not 30000 <= given <= 32767:
                    why = "provided port is not in the valid range. The range of valid ports is 30000-32767"
                    raise statuses.invalid("Service", name, field, given, why)
                port["nodePort"] = given
                used.add(given)
        obj.setdefault("status", {"loadBalancer": {}})

    def _taken(self, name: str, address: str) -> Refused:
        if self._minor < 20:
            return statuses.invalid(
                "Service", name, "spec.clusterIP", address, "provided IP is already allocated"
            )
        why = f"failed to allocate IP {address}: provided IP is already allocated"
        if self._minor == 20:
            why = f"failed to allocated ip:{address} with error:provided IP is already allocated"
        return statuses.invalid("Service", name, "spec.clusterIPs", [address], why)


class PodSecurity:
    """The admission plugin of 1.23 and later, as far as the plugin's own pods may hurt it.

    ``default`` is what namespaces without a label enforce (the AdmissionConfiguration's), except the
    system's own.
    """

    def __init__(self, store: Store, default: str) -> None:
        self._store = store
        self._default = default

    def __call__(self, resource: Resource, obj: Json) -> None:
        if resource.key != "pods":
            return
        labels = self._store.get("namespaces", obj["metadata"]["namespace"])["metadata"].get("labels") or {}
        exempt = obj["metadata"]["namespace"] in ("kube-system", "calico-system")
        level = labels.get(_ENFORCE, "privileged" if exempt else self._default)
        found = (
            [] if level == "privileged" else list(violations(obj["spec"], restricted=level == "restricted"))
        )
        if found:
            version = labels.get(f"{_ENFORCE}-version", "latest")
            why = f'violates PodSecurity "{level}:{version}": {", ".join(found)}'
            raise statuses.forbidden("", "pods", obj["metadata"]["name"], why)


def violations(spec: Json, *, restricted: bool) -> Iterable[str]:
    """What of a pod's spec the levels "baseline" and "restricted" forbid, in the plugin's words."""
    host = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if host:
        yield f"host namespaces ({', '.join(f'{name}=true' for name in host)})"
    paths = [volume["name"] for volume in spec.get("volumes") or [] if "hostPath" in volume]
    if paths:
        yield f"hostPath volumes ({_named('volume', paths)})"
    containers = spec["containers"]

    def those(allowed: Callable[[Json], bool]) -> str:
        return _named(
            "container", [one["name"] for one in containers if not allowed(one.get("securityContext") or {})]
        )

    privileged = those(lambda context: not context.get("privileged"))
    if privileged:
        yield f"privileged ({privileged} must not set securityContext.privileged=true)"
    if not restricted:
        return
    escalating = those(lambda context: context.get("allowPrivilegeEscalation") is False)
    if escalating:
        yield (
            f"allowPrivilegeEscalation != false ({escalating} must set "
            "securityContext.allowPrivilegeEscalation=false)"
        )
    capable = those(lambda context: "ALL" in (context.get("capabilities") or {}).get("drop", []))
    if capable:
        yield f'unrestricted capabilities ({capable} must set securityContext.capabilities.drop=["ALL"])'
    if paths:
        yield f'restricted volume types ({_named("volume", paths)} uses restricted volume type "hostPath")'
    whole = spec.get("securityContext") or {}
    root = those(lambda context: bool(context.get("runAsNonRoot") or whole.get("runAsNonRoot")))
    if root:
        yield f"runAsNonRoot != true (pod or {root} must set securityContext.runAsNonRoot=true)"
    unconfined = those(lambda context: bool(context.get("seccompProfile") or whole.get("seccompProfile")))
    if unconfined:
        yield (
            f"seccompProfile (pod or {unconfined} must set securityContext.seccompProfile.type to "
            '"RuntimeDefault" or "Localhost")'
        )


class Refusals:
    """Refusals that a test told: webhooks, quotas."""

    def __init__(self) -> None:
        self._told: list[tuple[str, str, Callable[[Json], Refused]]] = []

    def tell(self, resource: str, name: str, refused: Callable[[Json], Refused]) -> None:
        """Objects of ``resource`` whose name fits the pattern ``name`` are refused."""
        self._told.append((resource, name, refused))

    def clear(self) -> None:
        self._told.clear()

    def __call__(self, resource: Resource, obj: Json) -> None:
        for key, pattern, refused in self._told:
            if key == resource.key and fnmatchcase(obj["metadata"]["name"], pattern):
                raise refused(obj)


def over_quota(
    resource: str = "pods", quota: str = "compute", what: str = "pods"
) -> Callable[[Json], Refused]:
    why = f"exceeded quota: {quota}, requested: {what}=1, used: {what}=3, limited: {what}=3"
    return lambda obj: statuses.forbidden("", resource, obj["metadata"]["name"], why)


def denied_by(webhook: str, why: str) -> Callable[[Json], Refused]:
    return lambda obj: statuses.webhook_denied(webhook, why)


def _named(what: str, names: list[str]) -> str:
    """'container "a"', 'containers "a", "b"', "" for none."""
    return f"{what}{'s' * (len(names) > 1)} " + ", ".join(f'"{name}"' for name in names) if names else ""
