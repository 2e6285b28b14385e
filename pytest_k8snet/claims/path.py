"""What the declared intent expects to see at each point of a request's path."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from pytest_k8snet.claims.matchers import CALICO_VNI, Matcher, ipip, plain, tcp, vxlan
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.observations import NodeEvidence, TracedRequest
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent


def pod_ip(pod: Pod, like: IPAddress) -> IPAddress:
    """The pod's address of the family of ``like``. Raises NotObserved when it has none."""
    for address in pod.ips:
        if address.version == like.version:
            return address
    raise NotObserved(
        f"pod {pod.namespace}/{pod.name} has no IPv{like.version} address in its status",
        command=f"kubectl -n {pod.namespace} get pod {pod.name} -o jsonpath={{.status.podIPs}}",
        advice="wait until the pod is ready, or request it by an address of a family that it has",
    )


def target(request: TracedRequest) -> tuple[IPAddress, int]:
    """The endpoint that must answer: pod-dest's address and port."""
    return pod_ip(request.target.pod, request.client_ip), request.target_port


def underlay(node: NodeEvidence) -> IPAddress:
    """The node's address between nodes. Raises NotObserved when its uplink was not found."""
    return node.uplink.get().ip


def same_node(a: NodeEvidence, b: NodeEvidence) -> bool:
    return a.name == b.name


def underlay_network(node: NodeEvidence) -> IPv4Network | IPv6Network:
    """The prefix of the node's uplink. Raises NotObserved when the interfaces could not be read."""
    uplink = node.uplink.get()
    for interface in node.interfaces.get():
        for address in interface.addresses:
            if address.ip == uplink.ip:
                return ip_network(address, strict=False)
    raise NotObserved(
        f"no interface of {node.name} holds its uplink address {uplink.ip}",
        node=node.name,
        command=node.interfaces.command,
        advice="name the uplink with k8snet_uplink",
    )


def encapsulation(intent: Intent, a: NodeEvidence, b: NodeEvidence) -> str | None:
    """ "ipip", "vxlan" or None: what the wire from ``a`` to ``b`` must show.

    The cross-subnet modes encapsulate only between nodes whose uplinks are in different prefixes
    (Calico: "ipipMode: CrossSubnet").
    """
    if intent.encapsulation.endswith("-cross-subnet") and underlay_network(a) == underlay_network(b):
        return None
    return intent.tunnel


def envelope(intent: Intent, a: NodeEvidence, b: NodeEvidence) -> Matcher:
    """The envelope of packets from node ``a`` to node ``b``: IPIP, VXLAN, or :data:`plain`."""
    kind = encapsulation(intent, a, b)
    if kind == "ipip":
        return ipip(underlay(a), underlay(b))
    if kind == "vxlan":
        return vxlan(underlay(a), underlay(b), vni=CALICO_VNI)
    return plain


def own_addresses(node: NodeEvidence, version: int) -> frozenset[IPAddress]:
    """Every address that the node itself holds, of one IP version, loopback left out."""
    return frozenset(
        address.ip
        for interface in node.interfaces.get()
        for address in interface.addresses
        if address.version == version and not address.ip.is_loopback
    )


def masquerade_sources(
    intent: Intent, entry: NodeEvidence, goal: NodeEvidence, version: int = 4
) -> frozenset[IPAddress]:
    """The addresses that MASQUERADE on ``entry`` may pick for packets to ``goal``.

    MASQUERADE takes the address of the interface that a packet leaves through: tunl0's or
    vxlan.calico's when it is encapsulated, the uplink's when it is not. A cali* interface has no
    address, so for a pod on the node itself the kernel picks any of the node's own.
    """
    if same_node(entry, goal):
        return own_addresses(entry, version)
    kind = encapsulation(intent, entry, goal)
    if kind is None:
        return frozenset({underlay(entry)})
    addresses = frozenset(
        address.ip
        for interface in entry.interfaces.get()
        if interface.kind == kind
        for address in interface.addresses
        if address.version == version
    )
    if not addresses:
        raise NotObserved(
            f"{entry.name} has no {kind} interface with an IPv{version} address",
            node=entry.name,
            command=entry.interfaces.command,
            advice="check that calico-node runs there and that the declared encapsulation is the real one",
        )
    return addresses


def expected(
    request: TracedRequest, intent: Intent, point_id: str, *, client_kept: bool = False
) -> tuple[Matcher, ...]:
    """The forms in which the request must show at a point, in order; empty where it must not come by.

    ``client_kept``: the service declares externalTrafficPolicy Local, so NodePort traffic keeps the
    client's address. Raises NotObserved when a node's uplink or interfaces could not be read.
    """
    asked = tcp(src=request.client_ip, dst=(request.asked_ip, request.asked_port))
    if point_id in ("source-veth", "client-uplink"):
        return (asked,)
    entry, goal = request.entry, request.target.node
    if client_kept and not same_node(entry, goal):
        return (asked,) if point_id == "entry-uplink" else ()  # dropped on the entry node
    translated = tcp(src=sources(request, intent, client_kept), dst=target(request))
    if point_id == "target-veth":
        return (translated,)
    forward = () if same_node(entry, goal) else (envelope(intent, entry, goal) / translated,)
    if point_id == "entry-uplink":
        return (asked, *forward)
    return forward


def sources(request: TracedRequest, intent: Intent, client_kept: bool) -> frozenset[IPAddress]:
    entry, goal = request.entry, request.target.node
    client = frozenset({request.client_ip})
    by_node_port = any(point.id == "entry-uplink" for point in request.points)
    if by_node_port and not client_kept:
        return masquerade_sources(intent, entry, goal, request.client_ip.version)
    if intent.masquerade_all:
        return client | masquerade_sources(intent, entry, goal, request.client_ip.version)
    return client
