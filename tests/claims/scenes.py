"""Whole healthy observations of the four labs, with the document's addresses, and ways to break them.

Every function returns frozen evidence; a broken twin is a ``replace`` of the healthy scene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, TypeVar

from pytest_k8snet.claims.rulewalk import service_chain_name
from pytest_k8snet.evidence.conntrack import Connection, Tuple
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.netfilter import RuleSet, parse_iptables_save
from pytest_k8snet.evidence.objects import Endpoint, IPPool, NodeObject, Pod, Service, ServicePort
from pytest_k8snet.evidence.observations import (
    CapturePoint,
    CaptureRun,
    ClusterCIDR,
    ClusterIPLab,
    Identity,
    NodeEvidence,
    NodePortLab,
    PauseLab,
    PodEvidence,
    PodNetworkLab,
    Request,
    Restart,
    Spread,
    TracedRequest,
    Uplink,
)
from pytest_k8snet.evidence.packets import Capture, IPHeader, Packet, TCPSegment, Tunnel
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.routes import Route
from pytest_k8snet.evidence.sandboxes import Container
from pytest_k8snet.evidence.sockets import Listener

T = TypeVar("T")

MASTER, NODE1, NODE2 = "192.168.219.21", "192.168.219.22", "192.168.219.23"
TUNL = {"k8s-node1": "20.111.156.64", "k8s-node2": "20.109.131.0", "k8s-master": "20.108.82.192"}
PAUSE_IP, SRC_IP, DEST_IP = "20.111.156.71", "20.109.131.5", "20.111.156.72"
VIP, PORT, NODE_PORT = "10.107.94.97", 8080, 31080
SRC_VETH, DEST_VETH, PAUSE_VETH = "calia5814ebbae9", "calib8c6d5407e3", "calid73126c1689"
TOKEN = "k8snet-7f3a-1"
FAILED = "exit status 127: command not found"


def ok(value: T, command: str = "true", node: str = "k8s-node2") -> Reading[T]:
    return Reading(node, command, value)


def failed(command: str = "true", node: str = "k8s-node2") -> Reading[Any]:
    return Reading(node, command, None, FAILED, "install it")


# --- nodes ------------------------------------------------------------------------------------


def interfaces(name: str, underlay: str, *pods: tuple[int, str, int]) -> tuple[Interface, ...]:
    """``pods``: (ifindex, name, netnsid) of the cali* interfaces; their peers all have index 4."""
    return (
        Interface(1, "lo", 65536, up=True, addresses=(ip_interface("127.0.0.1/8"),)),
        Interface(2, "eth0", 1500, up=True, addresses=(ip_interface("10.0.2.15/24"),)),
        Interface(3, "eth1", 1500, up=True, addresses=(ip_interface(f"{underlay}/24"),)),
        Interface(5, "tunl0", 1480, "ipip", True, addresses=(ip_interface(f"{TUNL[name]}/32"),)),
        *(Interface(index, veth, 1480, "veth", True, 4, nsid) for index, veth, nsid in pods),
    )


def route(destination: str, device: str | None, gateway: str | None = None, **more: Any) -> Route:
    return Route(ip_network(destination), device, ip_address(gateway) if gateway else None, **more)


@cache
def rules_of(nat: str, **more: Any) -> RuleSet:
    """Table nat as iptables-save prints it; ``:CHAIN POLICY`` may leave its counters out."""
    lines = [line.strip() for line in nat.strip().splitlines()]
    table = "\n".join(f"{line} [0:0]" if line.startswith(":") else line for line in lines)
    return replace(parse_iptables_save(f"*nat\n{table}\nCOMMIT\n"), **more)


SVC_CLUSTERIP = service_chain_name("default", "svc-clusterip")
SVC_NODEPORT = service_chain_name("default", "svc-nodeport")
SEP_CLUSTERIP, SEP_NODEPORT = "KUBE-SEP-TI7MSPFELKMJQEZV", "KUBE-SEP-Z2MNHJ5OI4BMQIBS"

#: kube-proxy 1.20's nat table beside Calico's, as iptables-save prints it.
NAT = f"""
:PREROUTING ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:KUBE-MARK-MASQ -
:KUBE-NODEPORTS -
:KUBE-POSTROUTING -
:{SEP_CLUSTERIP} -
:{SEP_NODEPORT} -
:KUBE-SERVICES -
:{SVC_CLUSTERIP} -
:{SVC_NODEPORT} -
:cali-PREROUTING -
:cali-fip-dnat -
-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/svc-nodeport" -m tcp --dport 31080 -j KUBE-MARK-MASQ
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/svc-nodeport" -m tcp --dport 31080 -j {SVC_NODEPORT}
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A {SEP_CLUSTERIP} -s 20.111.156.72/32 -m comment --comment "default/svc-clusterip" -j KUBE-MARK-MASQ
-A {SEP_CLUSTERIP} -p tcp -m comment --comment "default/svc-clusterip" -m tcp -j DNAT --to-destination 20.111.156.72:8080
-A {SEP_NODEPORT} -s 20.111.156.72/32 -m comment --comment "default/svc-nodeport" -j KUBE-MARK-MASQ
-A {SEP_NODEPORT} -p tcp -m comment --comment "default/svc-nodeport" -m tcp -j DNAT --to-destination 20.111.156.72:8080
-A KUBE-SERVICES ! -s 20.96.0.0/12 -d 10.107.94.97/32 -p tcp -m tcp --dport 8080 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -d 10.107.94.97/32 -p tcp -m tcp --dport 8080 -j {SVC_CLUSTERIP}
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A {SVC_CLUSTERIP} -m comment --comment "default/svc-clusterip" -j {SEP_CLUSTERIP}
-A {SVC_NODEPORT} -m comment --comment "default/svc-nodeport" -j {SEP_NODEPORT}
-A cali-PREROUTING -m comment --comment "cali:r6XmIziWUJsdOK6Z" -j cali-fip-dnat
"""  # noqa: E501


def node(name: str, underlay: str, *pods: tuple[int, str, int], routes: Sequence[Route] = ()) -> NodeEvidence:
    listener = Listener(ip_address("0.0.0.0"), NODE_PORT, (("kube-proxy", 3426),))
    return NodeEvidence(
        name,
        name.removeprefix("k8s-"),
        ok(Uplink("eth1", ip_address(underlay), 1500), "ip -j addr show", name),
        ok(interfaces(name, underlay, *pods), "ip -j -d addr show", name),
        ok(
            (
                route("0.0.0.0/0", "eth0", "10.0.2.2"),
                route("192.168.219.0/24", "eth1", scope="link"),
                *routes,
            ),
            "ip -j -d route show table all",
            name,
        ),
        ok(rules_of(NAT, backend="legacy"), "iptables-save", name),
        ok(
            (Listener(ip_address("127.0.0.1"), 10249, (("kube-proxy", 3426),)), listener), "ss -H -ltnp", name
        ),
        ok(
            NodeObject(name, (ip_address(underlay),), "v1.20.8", "v1.20.8", "docker://20.10.8"),
            "kubectl get nodes -o json",
            "",
        ),
    )


def master() -> NodeEvidence:
    return node("k8s-master", MASTER)


def node1() -> NodeEvidence:
    return node(
        "k8s-node1",
        NODE1,
        (16, PAUSE_VETH, 0),
        (17, DEST_VETH, 1),
        routes=(
            route(PAUSE_IP, PAUSE_VETH, scope="link"),
            route(DEST_IP, DEST_VETH, scope="link"),
            route("20.109.131.0/26", "tunl0", NODE2, protocol="bird", onlink=True),
        ),
    )


def node2() -> NodeEvidence:
    return node(
        "k8s-node2",
        NODE2,
        (9, SRC_VETH, 0),
        routes=(
            route(SRC_IP, SRC_VETH, scope="link"),
            route("20.111.156.64/26", "tunl0", NODE1, protocol="bird", onlink=True),
        ),
    )


# --- pods -------------------------------------------------------------------------------------


def inside(address: str, peer: int) -> tuple[Interface, ...]:
    return (
        Interface(1, "lo", 65536, up=True, addresses=(ip_interface("127.0.0.1/8"),)),
        Interface(2, "tunl0", 1480, "ipip"),
        Interface(4, "eth0", 1480, "veth", True, peer, 0, addresses=(ip_interface(f"{address}/32"),)),
    )


def pod(name: str, where: NodeEvidence, address: str, peer: int, *names: str, kind: str) -> PodEvidence:
    pause = Container("c2924165ad25" + "0" * 52, "POD", name, "default", True, 100, network_mode="none")
    pause = replace(pause, sandbox_id=pause.id, runtime="docker")
    joined = f"container:{pause.id}"
    containers = [
        Container(
            f"{n}" * 64,
            each,
            name,
            "default",
            False,
            100 + n,
            pause.id,
            network_mode=joined,
            runtime="docker",
        )
        for n, each in enumerate(names, 1)
    ]
    inodes = {1: 4026531992, **{c.pid: 4026532182 for c in (pause, *containers)}}
    made = Pod(
        name, "default", f"uid-{name}", where.name, (ip_address(address),), True, {"type": kind}, names
    )
    return PodEvidence(
        made,
        where,
        ok(inside(address, peer), "nsenter -t 100 -n ip -j -d addr show", where.name),
        ok((pause, *containers), "docker ps --no-trunc", where.name),
        ok(inodes, "stat -Lc %i /proc/PID/ns/net", where.name),
    )


def pod_pause() -> PodEvidence:
    return pod("pod-pause", node1(), PAUSE_IP, 16, "container1", "container2", kind="pause")


def pod_src() -> PodEvidence:
    return pod("pod-src", node2(), SRC_IP, 9, "container", kind="src")


def pod_dest() -> PodEvidence:
    return pod("pod-dest", node1(), DEST_IP, 17, "container", kind="dest")


# --- traffic ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leg:
    """One form of a conversation at a capture point: the request's direction is src -> dst."""

    src: tuple[str, int]
    dst: tuple[str, int]
    ttl: int = 64
    back_ttl: int = 62
    envelope: tuple[Tunnel, ...] = ()
    back_envelope: tuple[Tunnel, ...] = ()
    answer_from: tuple[str, int] | None = None  #: where an answer comes from, if not from dst


def ipip_tunnel(src: str, dst: str) -> Tunnel:
    return Tunnel("ipip", IPHeader(ip_address(src), ip_address(dst), 4, 64))


def vxlan_tunnel(src: str, dst: str, vni: int = 4096) -> Tunnel:
    return Tunnel("vxlan", IPHeader(ip_address(src), ip_address(dst), 17, 64), vni, 4789)


def wrapped(
    leg: Leg, make: Callable[[str, str], Tunnel] = ipip_tunnel, there: str = NODE2, back: str = NODE1
) -> Leg:
    return replace(leg, envelope=(make(there, back),), back_envelope=(make(back, there),))


def segment(
    number: int,
    src: tuple[str, int],
    dst: tuple[str, int],
    flags: str = "PA",
    payload: bytes = b"",
    *,
    seq: int = 1000,
    ttl: int = 64,
    time: float | None = None,
    tunnels: tuple[Tunnel, ...] = (),
) -> Packet:
    header = IPHeader(ip_address(src[0]), ip_address(dst[0]), 6, ttl)
    tcp = TCPSegment(src[1], dst[1], seq, 0, flags, payload)
    return Packet(number, 1000.0 + number / 1000 if time is None else time, header, tunnels, tcp)


def get(path: str = "/hostname", token: str = TOKEN) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: pod-dest\r\nX-K8snet: {token}\r\n\r\n".encode()


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npod-dest"

#: What a conversation sends: (to the server?, flags, payload, sequence number).
OPENING = ((True, "S", b"", 999), (False, "SA", b"", 4999), (True, "A", b"", 1000))


def conversation(*legs: Leg, clock: float = 1000.0, payload: bytes | None = None) -> tuple[Packet, ...]:
    """Handshake, request, answer and end as one point sees them, in every leg's form."""
    request = get() if payload is None else payload
    events = (
        *OPENING,
        (True, "PA", request, 1000),
        (False, "PA", ANSWER, 5000),
        (True, "FA", b"", 1000 + len(request)),
        (False, "FA", b"", 5000 + len(ANSWER)),
    )
    return sent(legs, events, clock)


def only_syns(*legs: Leg, clock: float = 1000.0) -> tuple[Packet, ...]:
    """A client that gets no answer: the same SYN three times."""
    return sent(legs, (OPENING[0],) * 3, clock)


def sent(
    legs: Sequence[Leg], events: Iterable[tuple[bool, str, bytes, int]], clock: float
) -> tuple[Packet, ...]:
    packets: list[Packet] = []
    for forth, flags, payload, seq in events:
        for leg in legs if forth else tuple(reversed(legs)):
            ends = (leg.src, leg.dst) if forth else (leg.answer_from or leg.dst, leg.src)
            number = len(packets) + 1
            packets.append(
                segment(
                    number,
                    *ends,
                    flags,
                    payload,
                    seq=seq,
                    ttl=leg.ttl if forth else leg.back_ttl,
                    time=clock + number / 1000,
                    tunnels=leg.envelope if forth else leg.back_envelope,
                )
            )
    return tuple(packets)


NOISE = (segment(1, (MASTER, 6443), (NODE2, 51234), "A"),)


def point(
    id: str, where: NodeEvidence, interface: str, packets: tuple[Packet, ...], *, dropped: int | None = 0
) -> CapturePoint:
    command = f"tcpdump -nn -U -i {interface} -w -"
    return CapturePoint(id, where, interface, ok(CaptureRun(Capture(packets), dropped), command, where.name))


def answered(url: str, body: bytes = b"pod-dest", size: int = 0) -> Exchange:
    return Exchange(url, 200, body, size or len(body))


def unanswered(url: str, error: str = "curl: (28) timed out") -> Exchange:
    return Exchange(url, 0, error=error)


def tracked(original: tuple[str, int, str, int], reply: tuple[str, int, str, int]) -> Connection:
    a, b = original, reply
    return Connection(
        "tcp",
        Tuple(ip_address(a[0]), ip_address(a[2]), a[1], a[3]),
        Tuple(ip_address(b[0]), ip_address(b[2]), b[1], b[3]),
        "TIME_WAIT",
        frozenset({"ASSURED"}),
    )


OTHER_CONNECTION = tracked((NODE2, 47604, MASTER, 6443), (MASTER, 6443, NODE2, 47604))


def listed(*entries: Connection) -> Reading[tuple[Connection, ...]]:
    """A conntrack listing that holds another connection too."""
    return ok((OTHER_CONNECTION, *entries), "conntrack -L")


def with_point(
    request: TracedRequest, id: str, packets: tuple[Packet, ...] | None = None, **more: Any
) -> TracedRequest:
    """The request with another capture at one point: other ``packets``, or ``dropped``, or ``run``."""

    def changed(old: CapturePoint) -> CapturePoint:
        if old.id != id:
            return old
        if "run" in more:
            return replace(old, run=more["run"])
        run = old.run.get()
        capture = run.capture if packets is None else Capture(packets, more.get("not_ip", 0))
        return replace(old, run=replace(old.run, value=CaptureRun(capture, more.get("dropped", run.dropped))))

    return replace(request, points=tuple(map(changed, request.points)))


def packets_at(request: TracedRequest, id: str) -> tuple[Packet, ...]:
    return next(p for p in request.points if p.id == id).run.get().capture.packets


def pod_request(**more: Any) -> TracedRequest:
    """pod-src -> pod-dest:8080/hostname through the tunnel; clocks of the two nodes differ by hours."""
    source, goal = pod_src(), pod_dest()
    veth = Leg((SRC_IP, 35096), (DEST_IP, PORT), 64, 62)
    uplink = wrapped(replace(veth, ttl=63, back_ttl=63))
    made = TracedRequest(
        "pod-src -> pod-dest:8080/hostname",
        TOKEN,
        "/hostname",
        ip_address(SRC_IP),
        ip_address(DEST_IP),
        PORT,
        goal,
        PORT,
        ok(answered(f"http://{DEST_IP}:8080/hostname"), "curl", "pod-src"),
        (
            point("source-veth", source.node, SRC_VETH, conversation(veth)),
            point("source-uplink", source.node, "eth1", conversation(uplink, clock=1000.0002)),
            point("target-uplink", goal.node, "eth1", conversation(uplink, clock=90.0)),
            point(
                "target-veth",
                goal.node,
                DEST_VETH,
                conversation(replace(veth, ttl=62, back_ttl=64), clock=90.0002),
            ),
        ),
        source.node,
        listed(tracked((SRC_IP, 35096, DEST_IP, PORT), (DEST_IP, PORT, SRC_IP, 35096))),
    )
    return replace(made, **more)


def pod_network() -> PodNetworkLab:
    request = pod_request()
    large = replace(
        request,
        name="pod-src -> pod-dest:8080/large",
        answer=ok(answered(f"http://{DEST_IP}:8080/large", b"", 200_000), "curl -o /dev/null", "pod-src"),
    )
    pool = IPPool("default-ipv4-ippool", ip_network("20.96.0.0/12"), "Always", "Never", True)
    return PodNetworkLab(
        pod_src(),
        request.target,
        request,
        large,
        ok(route(DEST_IP, "tunl0", NODE1), f"ip -j -d route get {DEST_IP}"),
        ok(route(SRC_IP, "tunl0", NODE2), f"ip -j -d route get {SRC_IP}", "k8s-node1"),
        ok((pool,), "kubectl get ippools.crd.projectcalico.org -o json", ""),
        ok(
            (
                ClusterCIDR("kubeadm-config podSubnet", ip_network("20.96.0.0/12")),
                ClusterCIDR("kube-proxy clusterCIDR", ip_network("20.96.0.0/12")),
                ClusterCIDR("node podCIDR of k8s-node1", ip_network("20.96.1.0/24")),
            ),
            "kubectl cluster-info dump",
            "",
        ),
    )


def service(name: str, kind: str, **more: Any) -> Service:
    port = ServicePort(PORT, PORT, NODE_PORT if kind == "NodePort" else None)
    return replace(Service(name, "default", kind, ip_address(VIP), (port,), {"type": "dest"}), **more)


def endpoint(name: str, address: str = DEST_IP, **more: Any) -> Endpoint:
    return replace(
        Endpoint(name, "default", ip_address(address), PORT, True, "pod-dest", "k8s-node1"), **more
    )


def clusterip() -> ClusterIPLab:
    source = pod_src()
    veth = Leg((SRC_IP, 54176), (VIP, PORT), 64, 62)
    behind = Leg((SRC_IP, 54176), (DEST_IP, PORT), 63, 63)
    request = pod_request(
        name="pod-src -> svc-clusterip:8080/hostname",
        asked_ip=ip_address(VIP),
        answer=ok(answered(f"http://{VIP}:8080/hostname"), "curl", "pod-src"),
        connections=listed(tracked((SRC_IP, 54176, VIP, PORT), (DEST_IP, PORT, SRC_IP, 54176))),
    )
    request = with_point(request, "source-veth", conversation(veth))
    request = with_point(request, "source-uplink", conversation(wrapped(behind)))
    request = with_point(request, "target-uplink", conversation(wrapped(behind), clock=90.0))
    request = with_point(
        request, "target-veth", conversation(replace(behind, ttl=62, back_ttl=64), clock=90.0)
    )
    return ClusterIPLab(
        source,
        request,
        ok(service("svc-clusterip", "ClusterIP"), "kubectl get services -o json", ""),
        ok((endpoint("svc-clusterip"), endpoint("svc-nodeport")), "kubectl get endpointslices -o json", ""),
        ok((source.pod, pod_dest().pod, pod_pause().pod), "kubectl get pods -o json", ""),
    )


ARRIVAL = Leg((MASTER, 43758), (NODE2, NODE_PORT), 64, 61)
ONWARD = wrapped(Leg((TUNL["k8s-node2"], 43371), (DEST_IP, PORT), 63, 63))


def nodeport() -> NodePortLab:
    nodes = (master(), node1(), node2())
    goal = pod_dest()
    request = TracedRequest(
        "k8s-master -> k8s-node2:31080/hostname",
        TOKEN,
        "/hostname",
        ip_address(MASTER),
        ip_address(NODE2),
        NODE_PORT,
        goal,
        PORT,
        ok(answered(f"http://{NODE2}:31080/hostname"), "curl", "k8s-master"),
        (
            point("client-uplink", nodes[0], "eth1", conversation(ARRIVAL, clock=500.0)),
            point("entry-uplink", nodes[2], "eth1", conversation(ARRIVAL, ONWARD)),
            point("target-uplink", nodes[1], "eth1", conversation(ONWARD, clock=90.0)),
            point(
                "target-veth",
                nodes[1],
                DEST_VETH,
                conversation(Leg((TUNL["k8s-node2"], 43371), (DEST_IP, PORT), 62, 64), clock=90.0002),
            ),
        ),
        nodes[2],
        listed(tracked((MASTER, 43758, NODE2, NODE_PORT), (DEST_IP, PORT, TUNL["k8s-node2"], 43371))),
    )
    return NodePortLab(
        request,
        nodes,
        ok(service("svc-nodeport", "NodePort"), "kubectl get services -o json", ""),
        ok((endpoint("svc-nodeport"),), "kubectl get endpointslices -o json", ""),
        tuple(
            (
                each,
                Request(
                    f"k8s-master -> {each.name}:31080",
                    ok(answered(f"http://{ip}:31080/"), "curl", "k8s-master"),
                ),
            )
            for each, ip in zip(nodes, (MASTER, NODE1, NODE2), strict=True)
        ),
    )


def pause() -> PauseLab:
    def asked(label: str, url: str, by: str) -> Request:
        return Request(label, ok(answered(url, b"Hostname : pod-pause\n"), f"curl {url}", by))

    return PauseLab(
        pod_pause(),
        (
            asked("container1 -> 127.0.0.1:8080", "http://127.0.0.1:8080/", "pod-pause/container1"),
            asked("container2 -> 127.0.0.1:8000", "http://127.0.0.1:8000/", "pod-pause/container2"),
        ),
        (
            asked(f"k8s-node2 -> {PAUSE_IP}:8000", f"http://{PAUSE_IP}:8000/", "k8s-node2"),
            asked(f"k8s-node2 -> {PAUSE_IP}:8080", f"http://{PAUSE_IP}:8080/", "k8s-node2"),
        ),
    )


def restart() -> Reading[Restart]:
    before = Identity("a" * 64, 102, 4026532182, (ip_address(PAUSE_IP),), PAUSE_VETH)
    return ok(Restart(before, replace(before, container="b" * 64, pid=205)), "kill 102", "k8s-node1")


def spread(*hits: int) -> Reading[Spread]:
    """Answers of three endpoints, as often as ``hits`` says."""
    names = ("pod-dest", "pod-dest-2", "pod-dest-3")
    bodies = [name for name, number in zip(names, hits, strict=True) for _ in range(number)]
    answers = tuple(
        answered(f"http://{VIP}:8080/hostname", f"Hostname: {body}\n".encode()) for body in bodies
    )
    return ok(Spread(names, answers), "curl", "pod-src")
