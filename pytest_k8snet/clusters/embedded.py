"""The embedded provider: the document's three machines in one real Linux kernel.

A reference network for the labs and the test bench of the claims. It runs the real ipip driver, real
netfilter rules with kube-proxy's names and real containers, and it never pretends to be Kubernetes:
its objects are its own description in Kubernetes' JSON, its verdict is not one on a cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
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
from pytest_k8snet.clusters.bundle import BundleTape
from pytest_k8snet.clusters.tape import Tape
from pytest_k8snet.embedded import description, kernel, kube_proxy_rules, objects, plans
from pytest_k8snet.embedded.client import Client
from pytest_k8snet.embedded.description import Network
from pytest_k8snet.embedded.faults.changes import Change, Fault, ProxyPlan
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import Manifest


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
        self.cluster.before(self.name, argv)
        return self.cluster.client.run(self.name, argv, timeout=timeout, stdin=stdin)

    def _spawn(self, argv: Sequence[str]) -> RunningCommand:
        self.cluster.before(self.name, argv)
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
        self.info = self._healthy = info
        self._intent = intent
        self._manifests: dict[tuple[str, str], Manifest] = {}
        self._faults: list[Fault] = []  #: in force
        #: Their changes that are still to be done: the pods or services that they need are not there.
        self._waiting: list[tuple[Fault, Change]] = []
        self._built: dict[str, dict[str, Any]] = {}  #: the wish of each pod that runs
        self._sandboxes: dict[str, tuple[str, int]] = {}  #: node and process of each
        self._proxies: dict[str, tuple[int, ProxyPlan, tuple[int, ...]]] = {}
        self._rules: dict[str, str] = {}
        self._served: dict[tuple[str, tuple[str, ...]], RunningCommand] = {}
        self.roles = {node.role: node.name for node in network.nodes}
        self.nodes = {node.name: EmbeddedNode(self, node.name) for node in network.nodes}

    @classmethod
    def start(
        cls,
        *,
        tape: Tape,
        intent: Intent,
        kernel_kind: str = "auto",
        faults: Sequence[Fault] = (),
        underlay: IPv4Network = description.DOCUMENT_UNDERLAY,
        progress: Callable[[str], None] = lambda step: None,
    ) -> EmbeddedCluster:
        """Boot and build, with ``faults`` in force from the start; the nodes' addresses are in ``underlay``.

        ClusterError with one clear line when that fails; nothing is left behind then.
        """
        chosen, why = kernel.choose(kernel_kind)
        problems = kernel.missing(chosen)
        if problems:
            raise ClusterError("; ".join(problems))
        network = Network(
            intent.pod_cidr,  # type: ignore[arg-type]
            intent.service_cidr,  # type: ignore[arg-type]
            intent.interface_prefix,
            underlay=underlay,
            names=intent.roles,
        )
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
            cluster._reconcile()
            for fault in faults:
                cluster.inject(fault)
            return cluster
        except BaseException as error:
            client.close()
            if isinstance(error, ClusterError) and client.console:
                raise type(error)(f"{error}; the kernel's last words: {client.console[-300:]}") from error
            raise

    def apply(self, manifests: Sequence[Manifest], timeout: float = 60.0) -> None:
        for manifest in manifests:
            known = self._manifests.get((manifest.kind, manifest.name))
            if known is not None:
                if known.body != manifest.body:
                    raise ClusterError(
                        f"{manifest.source}: {manifest.kind} {manifest.name} exists and differs"
                    )
                continue
            if manifest.kind == "Pod":
                self.network.pods[manifest.name] = plans.pod(self.network, manifest)
                try:
                    self._build_pods(timeout)
                except BaseException:
                    del self.network.pods[manifest.name]
                    raise
            else:
                self.network.services[manifest.name] = plans.service(
                    self.network, manifest, self._intent.node_port
                )
            self._manifests[manifest.kind, manifest.name] = manifest
        self._reconcile(timeout)

    def delete(self, manifests: Sequence[Manifest], timeout: float = 30.0) -> None:
        for manifest in manifests:
            if self._manifests.pop((manifest.kind, manifest.name), None) is None:
                continue
            if manifest.kind == "Pod":
                self.network.pods.pop(manifest.name)
            else:
                del self.network.services[manifest.name]
        self._reconcile(timeout)

    def close(self) -> None:
        self.client.close()

    def inject(self, fault: Fault) -> None:
        """Put ``fault`` in force: at once, or when the pods that it is about are there.

        ClusterError when it can't be made.
        """
        self._faults.append(fault)
        self._waiting += [(fault, change) for change in fault.changes]
        self._reconcile()

    def repair(self, fault: Fault) -> None:
        """Take ``fault`` back: the network is again as it was meant to be."""
        self._faults.remove(fault)
        for change in reversed(fault.changes):
            if (fault, change) in self._waiting:
                self._waiting.remove((fault, change))
            else:
                change.undo(self)
        self._reconcile()

    def _changes(self) -> Iterator[tuple[Fault, Change]]:
        """Every change of the faults in force, in the order in which they were injected."""
        for fault in self._faults:
            for change in fault.changes:
                yield fault, change

    def _described(self) -> ClusterInfo:
        if not self._faults:
            return self._healthy
        names = ", ".join(fault.name for fault in self._faults)
        summary = f"{self._healthy.summary}, wrong on purpose: {names}"
        there = self.network.pods.keys() | self.network.services.keys()
        waiting = {
            f"{fault.name} waits for {need}"
            for fault, change in self._waiting
            for need in change.required() - there
        }
        told = ", ".join(sorted(waiting))
        return replace(
            self._healthy,
            summary=f"{summary} ({told})" if told else summary,
            details={**self._healthy.details, "faults": names, "not in force": told},
        )

    def before(self, node: str, argv: Sequence[str]) -> None:
        """A probe is about to run ``argv`` on ``node``."""
        for _, change in self._changes():
            change.before(node, argv[0], self)

    def command(self, node: str, argv: Sequence[str]) -> CommandResult:
        return self.client.run(node, argv, timeout=15)

    def sandbox(self, pod: str) -> tuple[str, int]:
        return self._sandboxes[pod]

    def tool(self, node: str, name: str, tool: str, script: bytes = b"") -> None:
        self.client.ask("tool", node=node, name=name, tool=tool, body=script)

    def modules(self, names: Sequence[str]) -> None:
        self.client.ask("modules", names=names)

    def serve(self, node: str, argv: Sequence[str]) -> None:
        command = self.client.spawn(node, argv)
        self._served[node, tuple(argv)] = command
        command.wait_for(b"ready", timeout=10)

    def quit(self, node: str, argv: Sequence[str]) -> None:
        self._served.pop((node, tuple(argv))).stop()

    def rebuild(self, pod: str) -> None:
        self._remove(pod, timeout=30)  # what builds it again is the reconciliation that follows

    def end(self, node: str) -> None:
        with contextlib.suppress(ClusterError):  # it is gone before it can answer
            if node:
                self.client.ask("end", node=node)
            else:
                self.client.ask("end")

    def _faulty(self) -> Network:
        """The network as the faults in force describe it."""
        network = self.network
        for _, change in self._changes():
            network = change.network(network)
        return network

    def _reconcile(self, timeout: float = 60.0) -> None:
        """Make the kernel what the description and the faults say: pods, kube-proxy's work, then the rest.

        Endpoints go before their pods, as in a cluster.
        """
        self._build_pods(timeout)
        self._sync_kube_proxy()
        for pod in [pod for pod in self._built if pod not in self.network.pods]:
            self._remove(pod, timeout)
        there = self.network.pods.keys() | self.network.services.keys()
        for fault, change in [each for each in self._waiting if each[1].required() <= there]:
            self._waiting.remove((fault, change))
            change.do(self)
        self.info = self._described()
        if self._faults and self.network.pods and isinstance(self.tape, BundleTape):
            self.tape.describe_cluster(self, self._intent)  # which faults are in force changes as pods come

    def _build_pods(self, timeout: float) -> None:
        for plan in self.network.pods.values():
            wish = self.network.pod_request(plan)
            for _, change in self._changes():
                wish = change.pod(wish)
            if self._built.get(plan.name) != wish:
                self._remove(plan.name, timeout)
                made = self.client.ask("pod", node=plan.node, pod=wish, timeout=timeout)
                self._built[plan.name] = wish
                self._sandboxes[plan.name] = (plan.node, made["pid"])

    def _remove(self, pod: str, timeout: float) -> None:
        if pod in self._built:
            del self._built[pod]
            # What was done about this pod goes with it, and is done again when it is back.
            self._waiting += [
                each for each in self._changes() if pod in each[1].required() and each not in self._waiting
            ]
            self.client.ask("delete", node=self._sandboxes.pop(pod)[0], pod=pod, timeout=timeout)

    def _sync_kube_proxy(self) -> None:
        """What kube-proxy does after a change: rules on every node, sockets for the NodePorts."""
        network = self._faulty()
        meant = kube_proxy_rules.render(network, masquerade_all=self._intent.masquerade_all)
        ports = tuple(
            sorted(
                port[3]
                for service in network.services.values()
                for port in service.ports
                if port[3] is not None
            )
        )
        for node in network.nodes:
            rules = meant
            proxy: ProxyPlan | None = ProxyPlan()
            for _, change in self._changes():
                rules, proxy = change.rules(node.name, rules), change.proxy(node.name, proxy)
            if rules != self._rules.get(node.name):
                self.client.ask(
                    "rules", node=node.name, restore="iptables-legacy-restore", body=rules.encode()
                )
                self._rules[node.name] = rules
            self._hold(node.name, ports, proxy)

    def _hold(self, node: str, ports: tuple[int, ...], proxy: ProxyPlan | None) -> None:
        now = self._proxies.get(node)
        if now is not None and now[1:] != (proxy, ports):
            self.client.ask("release", node=node, pid=now[0])
            del self._proxies[node]
        if proxy is not None and ports and node not in self._proxies:
            pid = self.client.ask("hold", node=node, ports=ports, name=proxy.name, address=proxy.address)
            self._proxies[node] = (pid, proxy, ports)

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
            items = objects.listed(self._faulty(), resource)
        except KeyError:
            raise ClusterError(f"the reference network has no {resource}") from None
        return json.dumps({"kind": "List", "apiVersion": "v1", "items": items}).encode()
