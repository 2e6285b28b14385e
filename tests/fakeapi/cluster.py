"""A cluster for tests: a real HTTP API on loopback, with nothing but Python behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.fakeapi import admission, resources
from tests.fakeapi.content import Content, FakeNode, document_nodes, fill
from tests.fakeapi.controllers import Controllers
from tests.fakeapi.execution import Callback, Processes
from tests.fakeapi.faults import Fault, Faults
from tests.fakeapi.kubelet import Kubelet
from tests.fakeapi.server import ApiServer
from tests.fakeapi.statuses import Json, Refused
from tests.fakeapi.store import Store

_TOKEN = "fake-token"


class FakeCluster:
    """A context manager; inside it the API answers, after it no thread and no socket is left.

    ``nodes`` default to the document's three; ``Content`` says what else differs. ``pod_security`` is the
    level that namespaces without a label enforce. ::

        with FakeCluster() as fake:
            api = Api.connect(fake.kubeconfig(tmp_path / "kubeconfig"), "fake")
            fake.fail("GET", "/api/v1/nodes", status=503, times=2)
    """

    def __init__(
        self,
        version: str = "v1.20.8",
        *,
        nodes: Sequence[FakeNode] | None = None,
        content: Content = Content(),  # noqa: B008 - frozen
        pod_security: str = "privileged",
        user: str = "kubernetes-admin",
    ) -> None:
        self.version = version
        self.content = content
        self.minor = int(version.split(".")[1])
        self._nodes = _nodes_of_the_time(self.minor) if nodes is None else nodes
        self.table = resources.Table(resources.standard(self.minor, calico=content.calico))
        self.store = Store(self.table)
        self.faults = Faults()
        self.processes = Processes()
        self.kubelet = Kubelet(self.store, self._nodes, self.minor, self.processes.end_pod)
        self.refusals = admission.Refusals()
        self.services = admission.Services(self.store, content.service_cidr, self.minor)
        self.store.admission += [self.refusals, admission.Defaults(self.minor), self.services]
        if self.minor >= 23:
            self.store.admission.append(admission.PodSecurity(self.store, pod_security))
        self.controllers = Controllers(self.store, self.kubelet, self.minor)
        fill(self.store, self._nodes, version, content)
        self._own = {namespace["metadata"]["name"] for namespace in self.store.listed("namespaces")}
        self.server = ApiServer(
            self.store, self.faults, self.processes, version=version, token=_TOKEN, user=user
        )

    # What tests say

    def fail(self, verb: str, path: str, **how: Any) -> Fault:
        """See :class:`~tests.fakeapi.faults.Fault`. "WATCH" is the verb of a watch; patterns are fine."""
        return self.faults.tell(Fault(verb, path, **how))

    def deny(self, verb: str, resource: str) -> None:
        """RBAC: ``verb`` on "pods", "pods/exec", "daemonsets.apps", "namespaces"...; "*" as either."""
        self.server.denied.add((verb, resource))

    def break_connections(self) -> None:
        """Cut all connections there are, in the middle of whatever they carry."""
        self.server.break_connections()

    def refuse(self, resource: str, refused: Callable[[Json], Refused], name: str = "*") -> None:
        """Admission: see :func:`~tests.fakeapi.admission.over_quota` and ``denied_by``."""
        self.refusals.tell(resource, name, refused)

    def on_exec(self, callback: Callback) -> None:
        """``callback`` makes each process that exec starts: see :class:`~tests.fakeapi.execution.Exec`."""
        self.processes.callback = callback

    def log(self, namespace: str, pod: str, container: str, content: bytes) -> None:
        self.server.logs[(namespace, pod, container)] = content

    def hold(self) -> threading.Event:
        """For ``fail(..., hold=fake.hold())``: requests wait until it is set; the fake's end sets it."""
        return threading.Event()

    # What tests read

    @property
    def url(self) -> str:
        host, port = self.server.server_address[:2]
        return f"http://{host!s}:{port}"

    def requests(self, verb: str, path: str) -> int:
        """How many requests of this verb and path there were."""
        return self.faults.requests[(verb, path)]

    def kubeconfig(self, path: Path, *, token: str = _TOKEN) -> Path:
        """Write a kubeconfig: contexts "fake" and "other" (current: "other", whose server is not there)."""
        clusters = {"fake": self.url, "other": "http://127.0.0.1:1"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "other",
            "clusters": [{"name": name, "cluster": {"server": url}} for name, url in clusters.items()],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "admin"}} for name in clusters],
            "users": [{"name": "admin", "user": {"token": token}}],
        }
        path.write_text(json.dumps(config, indent=2))  # YAML is a superset
        return path

    def left(self) -> list[str]:
        """What a run left behind: "namespaces/k8snet-x", "processes/4001"; [] is what tests want."""
        own = {namespace["metadata"]["name"] for namespace in self.store.listed("namespaces")} - self._own
        running = [f"processes/{call.pid} {' '.join(call.argv)}" for call in self.processes.running]
        return [f"namespaces/{name}" for name in sorted(own)] + running

    # Life

    def start(self) -> None:
        self.controllers.start()
        self.server.start()

    def close(self) -> None:
        self.server.close()
        self.controllers.join()

    def __enter__(self) -> FakeCluster:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _nodes_of_the_time(minor: int) -> tuple[FakeNode, ...]:
    """The document's nodes, with the runtime of the time: Docker until dockershim was removed in 1.24."""
    return document_nodes("docker://20.10.7" if minor < 24 else "containerd://1.7.27")
