"""A real Kubernetes cluster behind its API: what kubeconfig and kind have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from pytest_k8snet.clusters.api.client import Api, ApiRefused
from pytest_k8snet.clusters.api.execution import PodAccess
from pytest_k8snet.clusters.asked import Asked
from pytest_k8snet.clusters.base import (
    Cluster,
    ClusterError,
    ClusterInfo,
    CommandResult,
    Deadline,
    Node,
)
from pytest_k8snet.clusters.kube import reads, service_rules
from pytest_k8snet.clusters.kube.discovery import Kinds
from pytest_k8snet.clusters.kube.namespaces import NAMESPACES, RunNamespace, remove_object, sweep
from pytest_k8snet.clusters.kube.preflight import Survey, check_proxy_mode, survey
from pytest_k8snet.clusters.kube.waiting import Pods, pods_gone, pods_path, pods_ready, refusal
from pytest_k8snet.clusters.kube.workloads import MADE_BY, PART, RUN, Site, made, made_by, pods_expected
from pytest_k8snet.clusters.tape import MemoryTape, Tape
from pytest_k8snet.clusters.ways import remote
from pytest_k8snet.intent import PROXY_MODES, Intent
from pytest_k8snet.manifests import Manifest
from pytest_k8snet.probes.nodes import observe_node, read_node_objects

LATE = 2  #: times that a node's rules are waited for in vain: there may be no kube-proxy
READING = 30.0  #: seconds of retries for one API read
CLOSING = 30.0  #: seconds of retries for what goes before the namespace does
#: kube-proxy tells its mode on each node (metricsBindAddress, on loopback by default); k3s's too.
PROXY_MODE = ("curl", "-s", "-m", "3", "http://127.0.0.1:10249/proxyMode")

#: How a provider reaches the nodes of ``cluster.site.roles``: by name. The namespace is there already. What
#: has to be closed goes to ``cluster.ending``.
Reach = Callable[["KubernetesCluster", Deadline], Mapping[str, Node]]


@dataclass
class _Applied:
    manifest: Manifest
    path: str  #: of its collection
    made: Mapping[str, Any]  #: as the API answered it
    settled: bool = False  #: its pods were Ready, its endpoints and rules in place


class KubernetesCluster(Cluster):
    """Made by :meth:`open`. All that it makes is in one namespace and carries the run's label."""

    runtime = "cri"

    def __init__(
        self,
        api: Api,
        *,
        tape: Tape,
        intent: Intent,
        asked: Asked,
        progress: Callable[[str], None],
        seen: Survey,
        provider: str,
    ) -> None:
        self.api = api
        self.tape = tape
        self.asked = asked
        self.progress = progress
        self.intent = intent
        self.kinds = Kinds(api)
        self.place = RunNamespace(api, tape.run_id, given=asked.images.namespace, keep=asked.keep)
        self.namespace = self.place.name
        self.site = Site(self.place.name, tape.run_id, seen.roles, asked.images, intent.node_port)
        self.roles = seen.roles.nodes
        self.nodes = {}
        self.ending = ExitStack()  #: what reaching the nodes opened
        self.runtimes = seen.runtimes
        self.lacks = seen.lacks
        self.info = ClusterInfo(
            provider,
            f"context {api.context}, Kubernetes {seen.version}; {seen.roles.text}",
            details={**seen.details, "namespace": self.namespace},
        )
        self._proxy_mode = seen.proxy_mode
        self._applied: dict[tuple[str, str], _Applied] = {}
        self._addresses: set[str] = set()  #: in kube-proxy's rules by what was applied last
        self._late: Counter[str] = Counter()  #: node -> how often its rules did not come true in time
        self._closed = False

    @classmethod
    def open(
        cls,
        connect: Callable[[], Api],
        *,
        tape: Tape,
        intent: Intent,
        asked: Asked,
        progress: Callable[[str], None],
        provider: str,
        reach: Reach,
    ) -> Self:
        """Look at the cluster, remove what killed runs left, make a namespace, reach the nodes.

        ``connect`` makes one Api after the other: the heartbeat has its own. Raises ClusterError, one line;
        nothing is left behind then, nor after KeyboardInterrupt.
        """
        api = connect()
        api.deadline = deadline = Deadline(asked.timeout)
        try:
            progress(f"looking at the cluster of context {api.context}")
            seen = survey(api, Kinds(api), intent)
            check_proxy_mode(seen.proxy_mode, "ConfigMap kube-proxy in kube-system", intent)
            removed = [] if asked.images.namespace else sweep(api, progress, deadline)
            cluster = cls(
                api, tape=tape, intent=intent, asked=asked, progress=progress, seen=seen, provider=provider
            )
        except BaseException:
            api.close()
            raise
        try:
            if removed:
                cluster._note("leftovers", "; ".join(removed))
                # Also where nobody sees progress: with -q, and in pytest-xdist's workers.
                cluster.info = replace(cluster.info, summary="; ".join([cluster.info.summary, *removed]))
            cluster.place.open(connect, progress, deadline)
            progress(f"reaching {', '.join(cluster.roles.values())}")
            cluster.nodes = reach(cluster, deadline)
            cluster._ask_nodes_for_proxy_mode()
            cluster._find_uplinks()
        except BaseException as error:
            cluster.place.kept = False  # what never came up is not kept, whatever was asked for
            cluster.close()
            if cluster.farewell and isinstance(error, ClusterError):
                raise ClusterError(f"{error}; {cluster.farewell}") from error
            raise
        finally:
            progress("")
        return cluster

    def apply(self, manifests: Sequence[Manifest], timeout: float | None = None) -> None:
        """See :meth:`Cluster.apply`; ``timeout`` is what was asked for (``--k8snet-timeout``) unless given.

        Raises ClusterError, one line, within seconds of knowing that a pod won't become ready.
        """
        self.api.deadline = deadline = Deadline(self.asked.timeout if timeout is None else timeout)
        entries = [self._create(manifest) for manifest in manifests]
        unsettled = [entry for entry in entries if not entry.settled]
        if unsettled:
            self._wait_for_pods([entry.manifest for entry in unsettled], deadline)
            self._wait_for_services(deadline)
            for entry in unsettled:
                entry.settled = True

    def delete(self, manifests: Sequence[Manifest], timeout: float = 30.0) -> None:
        self.api.deadline = deadline = Deadline(timeout)
        removed = []
        for manifest in manifests:
            entry = self._applied.pop((manifest.kind, manifest.name), None)
            if entry is not None:
                remove_object(self.api, entry.path, entry.made)
                removed.append(manifest)
        if removed:
            belongs = _belongs_to(removed)
            pods_gone(
                self.api,
                self.namespace,
                lambda pods: ", ".join(name for name, pod in pods.items() if belongs(pod)),
                deadline,
            )
            self._wait_for_services(deadline)

    def close(self) -> None:
        """Remove all that is ours and wait until it is gone; :attr:`farewell` says what stays. Idempotent."""
        if self._closed:
            return
        self.api.deadline = Deadline(CLOSING)  # that of a lab that broke off may be minutes away
        if not self.place.kept:  # a namespace takes Kubernetes 10 to 30 seconds
            self.progress(f"removing {self.place.what}")
        if self.asked.images.namespace and not self.place.kept:
            # Of any kind; by their label the usual ones are found, and those of an interrupted moment.
            with suppress(ClusterError):
                for entry in self._applied.values():
                    remove_object(self.api, entry.path, entry.made)
        try:
            self.ending.close()
        finally:
            self.farewell = f"interrupted: {self.place.stays}"
            self.farewell = self.place.close()
            self.progress("")
        self.api.close()
        self._closed = True

    def _get(self, resource: str) -> bytes:
        self.api.deadline = Deadline(READING)
        return reads.read(self.api, self.kinds, resource, namespace=self.namespace, nodes=self.nodes)

    def _exec(self, pod: str, container: str, argv: Sequence[str], *, timeout: float) -> CommandResult:
        place = f"pod {pod}, container {container}"
        access = PodAccess(self.api, self.namespace, pod, container, place=place)
        return remote.run(access, argv, timeout=timeout)

    def _create(self, manifest: Manifest) -> _Applied:
        key = (manifest.kind, manifest.name)
        known = self._applied.get(key)
        if known is not None:
            if known.manifest.body != manifest.body:
                raise ClusterError(f"{manifest.label} exists and differs from {known.manifest.source}")
            return known
        path = self.kinds.collection(manifest, self.namespace)
        body = made(manifest, self.site)
        try:
            answer = self.api.create(path, body)
        except ApiRefused as error:
            if error.reason == "AlreadyExists":
                kubectl = f"kubectl --context {self.api.context} -n {self.namespace}"
                raise ClusterError(
                    f"{manifest.label} exists in namespace {self.namespace} and is not of this run"
                    f" ({kubectl} get {manifest.kind} {manifest.name})"
                ) from None
            raise refusal(manifest.label, error) from None
        self._applied[key] = entry = _Applied(manifest, path, answer)
        return entry

    def _wait_for_pods(self, manifests: Sequence[Manifest], deadline: Deadline) -> None:
        belongs = _belongs_to(manifests)
        if not any(manifest.kind == "Pod" or pods_expected(manifest) for manifest in manifests):
            return

        def missing(pods: Pods) -> str:
            away = [m.name for m in manifests if m.kind == "Pod" and m.name not in pods]
            short = [
                f"{m.kind} {m.name}"
                for m in manifests
                if sum(_made_by(pod) == made_by(m) for pod in pods.values()) < (pods_expected(m) or 0)
            ]
            words = [f"no pod {name}" for name in away] + [f"not all pods of {what}" for what in short]
            return ", ".join(words)

        pods_ready(
            self.api,
            self.namespace,
            selector=f"{RUN}={self.site.run},{PART}=lab",
            relevant=belongs,
            missing=missing,
            makers=[manifest.name for manifest in manifests],
            deadline=deadline,
            progress=self.progress,
        )

    def _wait_for_services(self, deadline: Deadline) -> None:
        """Until slices name the ready pods and the nodes' rules hold both; see :mod:`service_rules`."""
        names = {name for kind, name in self._applied if kind == "Service"}
        if not names and not self._addresses:
            return
        self.progress("waiting for endpoints and kube-proxy's rules")
        place = f"{NAMESPACES}/{self.namespace}"
        listed = self.api.listed(f"{place}/services")["items"]
        services = [service for service in listed if service["metadata"]["name"] in names]
        pods = self.api.listed(pods_path(self.namespace))["items"]
        slices = service_rules.endpoints_agree(
            self.api,
            reads.slices_path(self.kinds, self.namespace),
            service_rules.behind(services, pods),
            deadline,
        )
        now = service_rules.addresses(services, slices)
        late = service_rules.rules_agree(
            [node for node in self.nodes.values() if self._late[node.name] < LATE],
            self._proxy_mode or self.intent.proxy_mode,
            present=now,
            absent=self._addresses - now,
            wait=self.tape.wait,
            deadline=deadline,
        )
        self._late.update(late)
        self._addresses = now

    def _ask_nodes_for_proxy_mode(self) -> None:
        """Where no ConfigMap states it, kube-proxy does. Raises ClusterError where another is declared."""
        for node in self.nodes.values():
            if self._proxy_mode:
                break
            with suppress(ClusterError):
                said = node._run(PROXY_MODE, timeout=10.0, stdin=b"").stdout.decode(errors="replace").strip()
                if said in PROXY_MODES:
                    self._proxy_mode = said
                    self._note("proxy mode", said)
        check_proxy_mode(self._proxy_mode, "by its own word on the nodes", self.intent)

    def _find_uplinks(self) -> None:
        """For the run's header: what is not found is told by the claims that need it."""
        found = []
        tape, self.tape = self.tape, MemoryTape()  # a bundle begins when the cluster is up
        try:
            listed = read_node_objects(self)
            for node in self.nodes.values():
                seen = observe_node(
                    self, node, self.intent, rules=False, listeners=False, node_objects=listed
                )
                uplink = seen.uplink.value
                words = f"{uplink.interface} ({uplink.ip})" if uplink else "not found"
                found.append(f"{node.name} {words}")
        finally:
            self.tape = tape
        self._note("uplinks", ", ".join(found))

    def _note(self, what: str, said: str) -> None:
        if said:
            self.info = replace(self.info, details={**self.info.details, what: said})


def _belongs_to(manifests: Sequence[Manifest]) -> Callable[[Mapping[str, Any]], bool]:
    names = {manifest.name for manifest in manifests if manifest.kind == "Pod"}
    makers = {made_by(manifest) for manifest in manifests if pods_expected(manifest)}
    return lambda pod: pod["metadata"]["name"] in names or _made_by(pod) in makers


def _made_by(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(MADE_BY, ""))
