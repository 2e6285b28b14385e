"""The HTTP side of the fake: connections, discovery, authorization, routing."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading

from tests.fakeapi import pods, statuses, verbs
from tests.fakeapi.execution import Processes
from tests.fakeapi.faults import Fault, Faults, Request
from tests.fakeapi.resources import Target, Unknown
from tests.fakeapi.statuses import Json, Refused
from tests.fakeapi.store import Store
from tests.fakeapi.watches import Watch
from tests.fakeapi.wire import Exchange

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class ApiServer(socketserver.ThreadingTCPServer):
    """Serves ``store``. All its threads have ended when :meth:`close` returns."""

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self,
        store: Store,
        faults: Faults,
        processes: Processes,
        *,
        version: str,
        token: str,
        user: str,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.store = store
        self.faults = faults
        self.processes = processes
        self.version = version
        self.minor = int(version.split(".")[1])
        self.user = user
        self.denied: set[tuple[str, str]] = set()
        self.logs: dict[tuple[str, str, str], bytes] = {}
        self.closing = False
        self._token = token
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept, name="fake API server")

    def start(self) -> None:
        self._acceptor.start()

    def close(self) -> None:
        self.closing = True
        for hold in self.faults.held():
            hold.set()
        self.store.close()
        # Closing alone does not wake a thread that waits in accept().
        self.socket.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self.processes.end()
        self.break_connections()
        self.server_close()  # joins the threads of all connections
        self.processes.join()

    def break_connections(self) -> None:
        """Cut all connections there are: watches, streams and idle ones."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        with self._lock:
            self._connections.add(request)
        try:
            if not self.closing:
                super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.discard(request)
            request.close()

    def handle_error(self, request: object, client_address: object) -> None:
        # A mistake in the fake is no answer of a server: pytest reports what a thread raises.
        raise

    def _accept(self) -> None:
        while not self.closing:
            try:
                connection, address = self.get_request()
            except OSError:  # the listening socket was shut down
                continue
            self.process_request(connection, address)

    # Routing

    def answer(self, exchange: Exchange, request: Request, fault: Fault | None) -> None:
        """Raises :class:`Refused` and :class:`Unknown` for what has no better answer."""
        if request.path == "/version":
            return exchange.reply(200, _version(self.version))
        if request.path in ("/healthz", "/livez", "/readyz"):
            return exchange.reply_raw(200, b"ok", "text/plain; charset=utf-8")
        if self._token and request.headers.get("Authorization", "") != f"Bearer {self._token}":
            raise Refused(401, "Unauthorized")
        if request.path == _REVIEWS and request.verb == "POST":
            return exchange.reply(201, self._review(request.body))
        discovered = self._discovered(request.path)
        if discovered:
            return exchange.reply(200, discovered)
        target = self.store.table.target(request.path)
        self._authorize(request, target)
        return self._route(exchange, request, target, fault)

    def _route(self, exchange: Exchange, request: Request, target: Target, fault: Fault | None) -> None:
        match request.verb, bool(target.name), target.subresource:
            case "WATCH", False, "":
                return Watch(self.store, exchange, request, target, fault).serve()
            case "GET" | "POST", True, "exec" if target.resource.key == "pods":
                return pods.execute(self.store, self.processes, self.minor, exchange, request, target)
            case "GET", True, "log" if target.resource.key == "pods":
                return pods.log(self.store, self.logs, exchange, request, target)
            case "PATCH" | "GET", True, "scale":
                verb = verbs.scale
            case "GET", False, "":
                verb = verbs.list_
            case "GET", True, "" | "status":
                verb = verbs.get
            case "POST", False, "":
                verb = verbs.create
            case "PUT", True, "" | "status":
                verb = verbs.update
            case "PATCH", True, "" | "status":
                verb = verbs.patch
            case "DELETE", True, "":
                verb = verbs.delete
            case "DELETE", False, "":
                verb = verbs.delete_collection
            case _, _, "":
                message = "the server does not allow this method on the requested resource"
                raise Refused(405, message, reason="MethodNotAllowed")
            case _:
                raise Unknown(request.path)
        return verb(self.store, exchange, request, target)

    def _discovered(self, path: str) -> Json | None:
        table = self.store.table
        match path.rstrip("/").split("/"):
            case ["", "api"]:
                return {"kind": "APIVersions", "versions": ["v1"]}
            case ["", "apis"]:
                return table.groups()
            case ["", "apis", group]:
                return table.group(group)
            case ["", "api", version]:
                return table.version("", version)
            case ["", "apis", group, version]:
                return table.version(group, version)
        return None

    # Authorization

    def allows(self, verb: str, resource: str) -> bool:
        """``resource`` as "pods", "pods/exec", "daemonsets.apps"."""
        return not self.denied & {(verb, resource), (verb, "*"), ("*", resource), ("*", "*")}

    def _authorize(self, request: Request, target: Target) -> None:
        group, name = target.resource.group, target.resource.plural
        if target.subresource:
            name += f"/{target.subresource}"
        for verb in self._verbs(request, target):
            if not self.allows(verb, f"{name}.{group}" if group else name):
                raise statuses.rbac(self.user, verb, group, name, target.namespace, target.name)

    def _verbs(self, request: Request, target: Target) -> list[str]:
        match request.verb:
            case "GET" if target.subresource == "exec" and self.minor >= 35:
                # AuthorizePodWebsocketUpgradeCreatePermission, on by default since 1.35.
                return ["get", "create"]
            case "GET":
                return ["get" if target.name else "list"]
            case "DELETE":
                return ["delete" if target.name else "deletecollection"]
        return [{"POST": "create", "PUT": "update", "PATCH": "patch", "WATCH": "watch"}[request.verb]]

    def _review(self, body: Json) -> Json:
        spec = body.get("spec") or {}
        asked = spec.get("resourceAttributes") or {}
        name = asked.get("resource", "")
        if asked.get("subresource"):
            name += f"/{asked['subresource']}"
        if asked.get("group"):
            name += f".{asked['group']}"
        return {
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {"creationTimestamp": None},
            "spec": spec,
            "status": {"allowed": self.allows(asked.get("verb", ""), name)},
        }


def _version(version: str) -> Json:
    major, minor, *_ = version.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": version,
        "gitCommit": "0" * 40,
        "gitTreeState": "clean",
        "buildDate": "2021-06-16T12:53:07Z",
        "goVersion": "go1.15.13",
        "compiler": "gc",
        "platform": "linux/amd64",
    }
