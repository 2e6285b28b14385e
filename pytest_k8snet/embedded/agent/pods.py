"""The node's pods: made, watched and restarted, as a kubelet with Calico's CNI plugin leaves them."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from pytest_k8snet.embedded.agent import containers
from pytest_k8snet.embedded.agent.children import Reaper
from pytest_k8snet.embedded.agent.links import CALICO_MAC, Links, plain_wire, sandbox_links, sysctl


@dataclass
class RunningPod:
    wish: dict[str, Any]
    sandboxes: list[str] = field(default_factory=list)  #: ids of the pause containers; the first one is used
    sandbox_pid: int = 0
    ids: dict[str, str] = field(default_factory=dict)  #: container name -> id
    attempts: dict[str, int] = field(default_factory=dict)


class Pods:
    """All pods of one node."""

    def __init__(self, reaper: Reaper, links: Links) -> None:
        self._reaper = reaper
        self._links = links
        self._pods: dict[str, RunningPod] = {}

    def add(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Make the pod and wait until it takes connections; id and pid of its sandbox.

        ``wish``: name, namespace, uid, addresses (CIDRs), mtu, veth, routes, sandboxes (how many), containers
        (name, image, argv, network, network_again), pause (image, argv), ready (address and port of what
        must take connections). Raises OSError with the words of what failed.
        """
        pod = RunningPod(wish)
        self._pods[wish["name"]] = pod
        for number in range(wish["sandboxes"]):
            pod.sandboxes.append(containers.container_id(wish, "POD", number))
        pause = wish["pause"]
        for identifier in reversed(pod.sandboxes):
            specification = containers.config(wish, "POD", pause["argv"], pause["image"], identifier, None)
            pod.sandbox_pid = containers.run(self._reaper, identifier, specification)
        self._connect(pod)
        for container in wish["containers"]:
            self._start(pod, container)
        self._wait_ready(pod, timeout=wish.get("timeout", 20.0))
        return {"sandbox": pod.sandboxes[0], "pid": pod.sandbox_pid}

    def delete(self, name: str) -> None:
        pod = self._pods.pop(name)
        # The link first: it would go by itself a moment after the sandbox, and nobody could say when.
        if self._links.exists(pod.wish["veth"]):
            self._links.delete(pod.wish["veth"])
        for identifier in (*pod.ids.values(), *pod.sandboxes):
            containers.remove(self._reaper, identifier)

    def container(self, pod: str, name: str) -> str:
        """Id of a running container. KeyError if there is none."""
        return self._pods[pod].ids[name]

    def _connect(self, pod: RunningPod) -> None:
        wish = pod.wish
        self._links.veth(wish["veth"], "eth0", pod.sandbox_pid, wish["mtu"])
        sandbox_links(pod.sandbox_pid, wish["addresses"], wish["mtu"])
        plain_wire(wish["veth"])
        self._links.up(wish["veth"], mac=CALICO_MAC)
        # The node answers ARP for 169.254.1.1 (and everything else) on the pod's link: Calico's way.
        sysctl(f"net/ipv4/conf/{wish['veth']}/proxy_arp", 1)
        sysctl(f"net/ipv4/neigh/{wish['veth']}/proxy_delay", 0)
        for route in wish["routes"]:
            self._links.route(route)

    def _start(self, pod: RunningPod, container: dict[str, Any]) -> None:
        name = container["name"]
        attempt = pod.attempts.get(name, -1) + 1
        pod.attempts[name] = attempt
        identifier = containers.container_id(pod.wish, name, attempt)
        specification = containers.config(
            pod.wish,
            name,
            container["argv"],
            container["image"],
            pod.sandboxes[0],
            pod.sandbox_pid,
            container["network" if attempt == 0 else "network_again"],
        )
        pid = containers.run(self._reaper, identifier, specification)
        pod.ids[name] = identifier
        self._reaper.watch(pid, lambda _: self._restart(pod, container, identifier))

    def _restart(self, pod: RunningPod, container: dict[str, Any], identifier: str) -> None:
        """restartPolicy Always: a container that ended comes back in the same sandbox."""
        if self._pods.get(pod.wish["name"]) is not pod:
            return
        del pod.ids[container["name"]]
        containers.remove(self._reaper, identifier)
        # Without its sandbox it can't: it stays away, as one that a kubelet backs off from.
        with contextlib.suppress(OSError):
            self._start(pod, container)

    def _wait_ready(self, pod: RunningPod, timeout: float) -> None:
        """A TCP readiness probe from the node, as a kubelet makes it."""
        deadline = time.monotonic() + timeout
        for address, port in pod.wish["ready"]:
            while True:
                try:
                    socket.create_connection((address, port), timeout=1).close()
                    break
                except OSError as error:
                    if time.monotonic() >= deadline:
                        raise OSError(
                            f"pod {pod.wish['name']} does not take connections on {address}:{port} "
                            f"after {timeout:.0f} s: {error}"
                        ) from error
                    time.sleep(0.02)
