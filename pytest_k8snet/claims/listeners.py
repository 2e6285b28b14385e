"""Whose a NodePort is on one node: a listening kube-proxy's, or its rules'."""

from __future__ import annotations

import re

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.modes import proxy_mode
from pytest_k8snet.claims.nat import ANY_CLIENT_PORT
from pytest_k8snet.claims.path import underlay
from pytest_k8snet.claims.verdict import Verdict, broken, held, inconclusive, shown_by
from pytest_k8snet.evidence.objects import NodeObject
from pytest_k8snet.evidence.observations import NodeEvidence, NodePortLab
from pytest_k8snet.evidence.sockets import Listener
from pytest_k8snet.intent import Intent

#: Process names that hold kube-proxy's code: its own, and distributions that embed it.
PROXY_PROCESSES = {
    "kube-proxy": "kube-proxy",
    "k3s": "k3s, which embeds kube-proxy",
    "k3s-server": "k3s, which embeds kube-proxy",
    "k3s-agent": "k3s, which embeds kube-proxy",
    "kubelite": "MicroK8s' kubelite, which embeds kube-proxy",
    "kubelet": "a kubelet that embeds kube-proxy",
    "hyperkube": "hyperkube running kube-proxy",
}
#: The last patch release of each minor that opens a socket for every NodePort (kubernetes#108496).
_LAST_WITH_SOCKETS = {(1, 21): 12, (1, 22): 9, (1, 23): 6}


def opens_sockets(version: str) -> bool | None:
    """Whether kube-proxy of this version opens a socket for a NodePort; None when it can't be read.

    ``version`` as the node reports it: "v1.20.8", "v1.23.4+k3s1", "v1.33.0-eks-1234".
    """
    parsed = _parse(version)
    if parsed is None:
        return None
    major, minor, patch = parsed
    if (major, minor) <= (1, 20):
        return True
    return patch <= _LAST_WITH_SOCKETS.get((major, minor), -1)


def _parse(version: str) -> tuple[int, int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def proxy_version(node: NodeObject) -> tuple[str, str]:
    """kube-proxy's version on a node, and words that say where it is not the node's own statement of it.

    Newer clusters leave ``status.nodeInfo.kubeProxyVersion`` empty (KEP-4004). It was the kubelet's version
    all along, so that of the kubelet stands in.
    """
    if node.kube_proxy_version:
        return node.kube_proxy_version, ""
    return node.kubelet_version, " (the kubelet's version: the node states none of kube-proxy)"


def owner_of_port(node: NodeEvidence, lab: NodePortLab, intent: Intent) -> Verdict:
    """One node's verdict, by the reading that fits its kube-proxy."""
    port = lab.request.asked_port
    version, whose = proxy_version(node.object.get())
    listeners = [listener for listener in node.listeners.get() if listener.port == port]
    sockets = opens_sockets(version)
    proxies = [listener for listener in listeners if proxy(listener)]
    if sockets is None:
        reading = "version unknown, a kube-proxy socket is there" if proxies else "version unknown, no socket"
        sockets = bool(proxies)
    elif sockets and not listeners and version.lstrip("v").startswith("1.23."):
        reading, sockets = f"{version}{whose} may open no socket in dual stack", False
    else:
        reading = f"{version}{whose} opens {'a socket' if sockets else 'no socket'}"
    if sockets:
        return _listening(node, listeners, port, reading)
    others = [listener for listener in listeners if listener not in proxies]
    return _claimed(node, lab, intent, others, reading)


def _listening(node: NodeEvidence, listeners: list[Listener], port: int, reading: str) -> Verdict:
    expected = f"kube-proxy listens on {port} on every address of {node.name} ({reading})"
    shown = shown_by(node.listeners)
    seen = "; ".join(map(_words, listeners)) or f"nothing listens on {port}"
    if any(not listener.processes for listener in listeners):
        advice = "run ss -ltnp as root: it names no process otherwise"
        return inconclusive(expected, f"{node.name}: {seen}", advice=advice, **shown)
    wide = [listener for listener in listeners if proxy(listener) and _wide(listener, node)]
    others = [listener for listener in listeners if not proxy(listener)]
    if wide and not others:
        return held(expected, f"{node.name}: {seen}, {proxy(wide[0])} ({reading})", **shown)
    if others:
        seen += ": another process holds the port"
    elif listeners and all(listener.loopback_only for listener in listeners):
        seen += ": on loopback only"
    advice = "see kube-proxy's log for 'can't open port'; free the port, then restart kube-proxy"
    return broken(expected, f"{node.name}: {seen}", advice=advice, **shown)


def _claimed(
    node: NodeEvidence, lab: NodePortLab, intent: Intent, others: list[Listener], reading: str
) -> Verdict:
    """The later reading: the rules claim the port, and no other process listens on it."""
    port, request = lab.request.asked_port, lab.request
    expected = (
        f"{port} belongs to kube-proxy on {node.name}: its rules claim it, no other listens ({reading})"
    )
    if others:
        seen = f"{node.name}: {'; '.join(map(_words, others))}"
        shown = shown_by(node.listeners)
        if all(listener.processes for listener in others):
            advice = "a process outside Kubernetes holds the NodePort: move it or the service's nodePort"
            return broken(expected, seen, advice=advice, **shown)
        return inconclusive(expected, seen, advice="run ss -ltnp as root to see whose it is", **shown)
    uplink = node.uplink.get()
    packet = NewConnection(
        request.client_ip,
        uplink.ip,
        sport=ANY_CLIENT_PORT,
        dport=port,
        in_interface=uplink.interface,
        dst_local=True,
    )
    mode = proxy_mode(intent)
    result = mode.walk(node, packet)
    shown = shown_by(mode.reading(node))
    claims = mode.claim(node, result, port)
    if claims:
        return held(expected, f"{node.name}: {claims} ({reading})", details=result.text, **shown)
    if result.unknown is not None:
        advice = "judge this rule by hand; the walk does not guess"
        return inconclusive(expected, f"{node.name}: {result.unknown}", advice=advice, **shown)
    why = mode.unclaimed(node, uplink.ip, port) or f"the rules of {port} lead to no service"
    advice = "see kube-proxy's log on this node; does it know the service?"
    seen = f"{node.name}: no socket, and {why}"
    return broken(expected, seen, advice=advice, details=result.text, **shown)


def proxy(listener: Listener) -> str:
    """How the listening kube-proxy is called; empty when another process (or none known) listens."""
    for name, _ in listener.processes:
        # netstat cuts the command line: "k3s se" is "k3s server"
        known = PROXY_PROCESSES.get(name.split()[0] if name.split() else "")
        if known:
            return known
    return ""


def _wide(listener: Listener, node: NodeEvidence) -> bool:
    """It listens on every address, or on the node's own (kube-proxy's --nodeport-addresses)."""
    return listener.device is None and (listener.everywhere or listener.address == underlay(node))


def _words(listener: Listener) -> str:
    processes = ", ".join(f"{name} (pid {pid})" for name, pid in listener.processes) or "an unnamed process"
    address = "*" if listener.address is None else str(listener.address)
    return f"{address} port {listener.port} held by {processes}"
