"""The embedded provider: the document's three machines in one real Linux kernel.

A reference network for the labs and the test bench of the claims. It runs the real ipip driver, real
netfilter rules with kube-proxy's names and real containers, and it never pretends to be Kubernetes:
its objects are its own description in Kubernetes' JSON, its verdict is not one on a cluster.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pytest_k8snet.clusters.base import (
    Cluster,
    ClusterError,
    ClusterInfo,
    CommandResult,
    Node,
    RunningCommand,
)
from pytest_k8snet.clusters.tape import Tape
from pytest_k8snet.embedded import description, kernel, kube_proxy_rules
from pytest_k8snet.embedded.client import Client
from pytest_k8snet.embedded.description import Network, PodPlan, ServicePlan
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import Manifest

#: The proxy whose rules and listeners the reference network has, as a node would state it.
KUBE_PROXY_VERSION = "v1.20.0+k8snet-reference"


def describe(asked: str) -> str:
    """How the kernel will be had, for the header: known before anything starts."""
    chosen, why = kernel.choose(asked)
    name = "User-Mode Linux" if chosen == "uml" else "namespaces of the host's kernel"
    return f"reference network in {name} ({why})"


def preflight(asked: str) -> list[str]:
    """What is missing to start, one sentence each; [] when nothing is."""
    chosen, _ = kernel.choose(asked)
    return kernel.missing(chosen)


class EmbeddedNode(Node):
    """A network namespace that plays one of the document's machines."""

    cluster: EmbeddedCluster

    def _run(self, argv: Sequence[str], *, timeout: float, stdin: bytes) -> CommandResult:
        return self.cluster.client.run(self.name, argv, timeout=timeout, stdin=stdin)

    def _spawn(self, argv: Sequence[str]) -> RunningCommand:
        return self.cluster.client.spawn(self.name, argv)


class EmbeddedCluster(Cluster):
    """See the module. Made by :meth:`start`."""

    runtime = "oci"

    def __init__(
        self, client: Client, tape: Tape, network: Network, info: ClusterInfo, intent: Intent
    ) -> None:
        self.client = client
        self.tape = tape
        self.network = network
        self.info = info
        self._intent = intent
        self._containers: dict[tuple[str, str], str] = {}
        self._manifests: dict[tuple[str, str], Manifest] = {}
        self._proxies: dict[str, int] = {}
        self._held: list[int] = []
        self._rules = b""
        self.roles = {node.role: node.name for node in network.nodes}
        self.nodes = {node.name: EmbeddedNode(self, node.name) for node in network.nodes}

    @classmethod
    def start(
        cls,
        *,
        tape: Tape,
        intent: Intent,
        kernel_kind: str = "auto",
        progress: Callable[[str], None] = lambda step: None,
    ) -> EmbeddedCluster:
        """Boot and build. ClusterError with one clear line when that fails; nothing is left behind then."""
        chosen, why = kernel.choose(kernel_kind)
        problems = kernel.missing(chosen)
        if problems:
            raise ClusterError("; ".join(problems))
        network = Network(intent.pod_cidr, intent.service_cidr, intent.interface_prefix)  # type: ignore[arg-type]
        progress("boot User-Mode Linux" if chosen == "uml" else "make namespaces")
        began = time.monotonic()
        client = Client(kernel.Kernel(chosen))
        try:
            ready = client.wait_ready(timeout=60)
            booted = time.monotonic()
            progress("build nodes, links and tunnels")
            client.ask("nodes", nodes=[network.node_request(node) for node in network.nodes])
            programs = {
                description.PYTHON: os.path.realpath(sys.executable),
                description.APP: str(Path(description.__file__).resolve().parent / "app.py"),
            }
            for node in network.nodes:
                client.ask("configure", node=node.name, programs=programs, **network.node_request(node))
            release = ready["kernel"]
            place = f"User-Mode Linux {release}" if chosen == "uml" else f"namespaces of Linux {release}"
            info = ClusterInfo(
                provider="embedded",
                summary=f"reference network in {place}",
                reference=True,
                details={
                    "kernel": release,
                    "kind": chosen,
                    "why": why,
                    "boot_seconds": f"{booted - began:.2f}",
                    "build_seconds": f"{time.monotonic() - booted:.2f}",
                },
            )
            cluster = cls(client, tape, network, info, intent)
            cluster._sync_rules()
            return cluster
        except BaseException as error:
            client.close()
            if isinstance(error, ClusterError) and client.console:
                raise type(error)(f"{error}; the kernel's last words: {client.console[-300:]}") from error
            raise

    def apply(self, manifests: Sequence[Manifest], timeout: float = 60.0) -> None:
        for manifest in manifests:
            namespace = manifest.body["metadata"].get("namespace", "default")
            known = self._manifests.get((manifest.kind, manifest.name))
            if known is not None:
                if known.body != manifest.body:
                    raise ClusterError(
                        f"{manifest.source}: {manifest.kind} {manifest.name} exists and differs"
                    )
                continue
            if manifest.kind == "Pod":
                self._add_pod(manifest, namespace, timeout)
            else:
                self.network.services[manifest.name] = self._plan_service(manifest, namespace)
            self._manifests[manifest.kind, manifest.name] = manifest
        self._sync_rules()

    def delete(self, manifests: Sequence[Manifest], timeout: float = 30.0) -> None:
        going: list[PodPlan] = []
        for manifest in manifests:
            if self._manifests.pop((manifest.kind, manifest.name), None) is None:
                continue
            if manifest.kind == "Pod":
                going.append(self.network.pods.pop(manifest.name))
            else:
                del self.network.services[manifest.name]
        self._sync_rules()  # endpoints go before their pods, as in a cluster
        for plan in going:
            self.client.ask("delete", node=plan.node, pod=plan.name, timeout=timeout)

    def close(self) -> None:
        self.client.close()

    def _add_pod(self, manifest: Manifest, namespace: str, timeout: float) -> None:
        spec = manifest.body["spec"]
        node = self.network.node(spec["nodeSelector"]["kubernetes.io/hostname"])
        plan = PodPlan(
            name=manifest.name,
            namespace=namespace,
            node=node.name,
            ip=self.network.free_pod_ip(manifest.name, node),
            labels=dict(manifest.body["metadata"].get("labels", {})),
            containers=tuple((container["name"], container["image"]) for container in spec["containers"]),
            interface_prefix=self.network.interface_prefix,
        )
        wish = self.network.pod_request(plan)
        self.client.ask("pod", node=node.name, pod=wish, timeout=timeout)
        self.network.pods[plan.name] = plan

    def _plan_service(self, manifest: Manifest, namespace: str) -> ServicePlan:
        spec = manifest.body["spec"]
        asked = spec.get("clusterIP")
        return ServicePlan(
            name=manifest.name,
            namespace=namespace,
            type=spec.get("type", "ClusterIP"),
            cluster_ip=IPv4Address(asked) if asked else self.network.free_cluster_ip(manifest.name),
            selector=dict(spec.get("selector", {})),
            ports=tuple(
                (
                    port.get("name", ""),
                    int(port["port"]),
                    port.get("targetPort", port["port"]),
                    int(port["nodePort"])
                    if "nodePort" in port
                    else (self._intent.node_port if spec.get("type") == "NodePort" else None),
                )
                for port in spec["ports"]
            ),
        )

    def _sync_rules(self) -> None:
        """What kube-proxy does after a change: rules on every node, sockets for the NodePorts."""
        rules = kube_proxy_rules.render(self.network, masquerade_all=self._intent.masquerade_all).encode()
        if rules == self._rules:
            return
        ports = sorted(
            port[3]
            for service in self.network.services.values()
            for port in service.ports
            if port[3] is not None
        )
        for node in self.network.nodes:
            self.client.ask("rules", node=node.name, restore="iptables-legacy-restore", body=rules)
            if ports != self._held:
                if node.name in self._proxies:
                    self.client.ask("release", node=node.name, pid=self._proxies.pop(node.name))
                self._proxies[node.name] = self.client.ask(
                    "hold", node=node.name, ports=ports, name="kube-proxy"
                )
        self._held, self._rules = ports, rules

    def _exec(self, pod: str, container: str, argv: Sequence[str], *, timeout: float) -> CommandResult:
        plan = self.network.pods.get(pod)
        if plan is None:
            raise ClusterError(f"there is no pod {pod}")
        identifier = self.client.ask("container", node=plan.node, pod=pod, container=container)
        result = self.client.run(
            plan.node, ["crun", "--root", "/run/crun", "exec", identifier, *argv], timeout=timeout
        )
        return CommandResult(tuple(argv), result.exit_status, result.stdout, result.stderr)

    def _get(self, resource: str) -> bytes:
        try:
            items = getattr(self, f"_list_{resource}")()
        except AttributeError:
            raise ClusterError(f"the reference network has no {resource}") from None
        return json.dumps({"kind": "List", "apiVersion": "v1", "items": items}).encode()

    def _list_nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "kind": "Node",
                "metadata": {
                    "name": node.name,
                    "annotations": {"projectcalico.org/IPv4Address": f"{node.eth1}/24"},
                },
                "spec": {},
                "status": {
                    "addresses": [
                        {"type": "InternalIP", "address": str(node.eth1)},
                        {"type": "Hostname", "address": node.name},
                    ],
                    "nodeInfo": {
                        "kubeletVersion": "",
                        "kubeProxyVersion": KUBE_PROXY_VERSION,
                        "containerRuntimeVersion": "crun://",
                    },
                },
            }
            for node in self.network.nodes
        ]

    def _list_pods(self) -> list[dict[str, Any]]:
        return [
            {
                "kind": "Pod",
                "metadata": {
                    "name": pod.name,
                    "namespace": pod.namespace,
                    "uid": pod.uid,
                    "labels": dict(pod.labels),
                },
                "spec": {
                    "nodeName": pod.node,
                    "containers": [{"name": name, "image": image} for name, image in pod.containers],
                },
                "status": {
                    "phase": "Running",
                    "podIP": str(pod.ip),
                    "podIPs": [{"ip": str(pod.ip)}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
            for pod in self.network.pods.values()
        ]

    def _list_services(self) -> list[dict[str, Any]]:
        return [
            {
                "kind": "Service",
                "metadata": {"name": service.name, "namespace": service.namespace},
                "spec": {
                    "type": service.type,
                    "clusterIP": str(service.cluster_ip),
                    "selector": dict(service.selector),
                    "ports": [
                        {
                            "port": port,
                            "targetPort": target,
                            "protocol": "TCP",
                            **({"name": name} if name else {}),
                            **({"nodePort": node_port} if node_port is not None else {}),
                        }
                        for name, port, target, node_port in service.ports
                    ],
                },
            }
            for service in self.network.services.values()
        ]

    def _list_endpointslices(self) -> list[dict[str, Any]]:
        return [
            {
                "kind": "EndpointSlice",
                "apiVersion": "discovery.k8s.io/v1",
                "metadata": {
                    "name": service.name,
                    "namespace": service.namespace,
                    "labels": {"kubernetes.io/service-name": service.name},
                },
                "addressType": "IPv4",
                "ports": [
                    {
                        "name": name,
                        "protocol": "TCP",
                        "port": kube_proxy_rules.target_port(
                            target, next((pod.containers for pod in self.network.endpoints(service)), ())
                        ),
                    }
                    for name, _, target, _ in service.ports
                    if isinstance(target, int) or self.network.endpoints(service)
                ],
                "endpoints": [
                    {
                        "addresses": [str(pod.ip)],
                        "conditions": {"ready": True},
                        "nodeName": pod.node,
                        "targetRef": {"kind": "Pod", "name": pod.name, "namespace": pod.namespace},
                    }
                    for pod in self.network.endpoints(service)
                ],
            }
            for service in self.network.services.values()
        ]

    def _list_ippools(self) -> list[dict[str, Any]]:
        return [
            {
                "kind": "IPPool",
                "apiVersion": "crd.projectcalico.org/v1",
                "metadata": {"name": "default-ipv4-ippool"},
                "spec": {
                    "cidr": str(self.network.pod_cidr),
                    "ipipMode": "Always",
                    "vxlanMode": "Never",
                    "natOutgoing": False,
                    "blockSize": 26,
                },
            }
        ]

    def _list_clustercidrs(self) -> list[dict[str, Any]]:
        return [{"source": "kube-proxy clusterCIDR", "cidr": str(self.network.pod_cidr)}]
