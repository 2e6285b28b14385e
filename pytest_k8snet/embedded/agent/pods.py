"""The node's pods: made, watched and restarted, as a kubelet with Calico's CNI plugin leaves them."""

from __future__ import annotations

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
    sandbox: str = ""  #: id of the pause container
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
        """Make the pod and wait until each of its ports takes connections; ids and pids of what runs.

        ``wish``: name, namespace, uid, addresses (CIDRs), mtu, veth, routes, containers (name, image,
        argv, ports), pause (image, argv). Raises OSError with the words of what failed.
        """
        pod = RunningPod(wish)
        self._pods[wish["name"]] = pod
        pod.sandbox = containers.container_id(wish, "POD", 0)
        pause = wish["pause"]
        specification = containers.config(wish, "POD", pause["argv"], pause["image"], pod.sandbox, None)
        pod.sandbox_pid = containers.run(self._reaper, pod.sandbox, specification)
        self._connect(pod)
        for container in wish["containers"]:
            self._start(pod, container)
        self._wait_ready(pod, timeout=wish.get("timeout", 20.0))
        return {"sandbox": pod.sandbox, "containers": pod.ids}

    def delete(self, name: str) -> None:
        pod = self._pods.pop(name)
        # The link first: it would go by itself a moment after the sandbox, and nobody could say when.
        self._links.delete(pod.wish["veth"])
        for identifier in (*pod.ids.values(), pod.sandbox):
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
            pod.wish, name, container["argv"], container["image"], pod.sandbox, pod.sandbox_pid
        )
        pid = containers.run(self._reaper, identifier, specification)
        pod.ids[name] = identifier
        self._reaper.watch(pid, lambda _: self._restart(pod, container, identifier))

    def _restart(self, pod: RunningPod, container: dict[str, Any], identifier: str) -> None:
        """restartPolicy Always: a container that ended comes back in the same sandbox."""
        if self._pods.get(pod.wish["name"]) is not pod:
            return
        containers.remove(self._reaper, identifier)
        self._start(pod, container)

    def _wait_ready(self, pod: RunningPod, timeout: float) -> None:
        """A TCP readiness probe from the node, as a kubelet makes it."""
        deadline = time.monotonic() + timeout
        address = pod.wish["addresses"][0].partition("/")[0]
        for container in pod.wish["containers"]:
            for port in container["ports"]:
                while True:
                    try:
                        socket.create_connection((address, port), timeout=1).close()
                        break
                    except OSError as error:
                        if time.monotonic() >= deadline:
                            raise OSError(
                                f"pod {pod.wish['name']}: container {container['name']} does not take "
                                f"connections on {address}:{port} after {timeout:.0f} s: {error}"
                            ) from error
                        time.sleep(0.02)
