"""Each cause is named where its evidence is, on the claim that it breaks, and not in a healthy lab."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from pytest_k8snet.claims import clusterip, nodeport, pause, pod_network
from pytest_k8snet.claims.causes import BETWEEN_NODES, BY_PLACE, DIAGNOSES, TRANSLATION
from pytest_k8snet.claims.causes.traffic import forwarding_off, not_decapsulated, rp_filter_strict
from pytest_k8snet.claims.diagnosis import Cause, cause, explained_by
from pytest_k8snet.claims.verdict import Outcome, Verdict, broken, held, inconclusive
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.netconf import NetConf
from pytest_k8snet.evidence.nftables import parse_table
from pytest_k8snet.evidence.objects import ClusterCIDR
from pytest_k8snet.evidence.observations import Aftermath, NodeEvidence, Request
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.evidence.sockets import Listener
from pytest_k8snet.intent import Intent
from pytest_k8snet.report.verdicts import in_words
from tests.claims import modes, scenes
from tests.claims.scenes import (
    ARRIVAL,
    DEST_IP,
    DEST_VETH,
    MASTER,
    NAT,
    NODE1,
    NODE2,
    NODE_PORT,
    PAUSE_IP,
    PAUSE_VETH,
    SEP_CLUSTERIP,
    SRC_IP,
    SVC_CLUSTERIP,
    TUNL,
    VIP,
    Leg,
    conversation,
    failed,
    ipip_tunnel,
    ok,
    only_syns,
    route,
    rules_of,
    segment,
    with_point,
    wrapped,
)
from tests.evidence.samples import sample

INTENT = Intent()
VETH = Leg((SRC_IP, 35096), (DEST_IP, 8080))
BARE = replace(VETH, ttl=63, back_ttl=63)
UPLINK = wrapped(BARE)

Lab = Any
NOTHING: Mapping[str, Any] = {}
Break = Callable[[], Lab]


# --- changing a lab ---------------------------------------------------------------------------


def everywhere(value: Any, change: Callable[[NodeEvidence], NodeEvidence]) -> Any:
    """``value`` with every node in it changed, however deep it stands."""
    if isinstance(value, NodeEvidence):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        old = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        new = {name: everywhere(each, change) for name, each in old.items()}
        return replace(value, **{name: each for name, each in new.items() if each is not old[name]})
    if (isinstance(value, tuple) and any(map(is_dataclass, value))) or isinstance(value, tuple):
        changed = tuple(everywhere(each, change) for each in value)
        return changed if any(a is not b for a, b in zip(changed, value, strict=True)) else value
    return value


def on(lab: Lab, name: str, **readings: Any) -> Lab:
    """The lab with what one node's commands say replaced: ``routes=(...)``."""

    def change(node: NodeEvidence) -> NodeEvidence:
        if node.name != name:
            return node
        return replace(node, **{key: replace(getattr(node, key), value=v) for key, v in readings.items()})

    return everywhere(lab, change)


def routes(lab: Lab, name: str, without: str = "", *more: Any) -> Lab:
    node = {"k8s-node1": scenes.node1, "k8s-node2": scenes.node2}[name]()
    kept = tuple(r for r in node.routes.get() if str(r.destination) != without)
    return on(lab, name, routes=(*kept, *more))


def tunnel(lab: Lab, name: str, **changes: Any) -> Lab:
    node = {"k8s-node1": scenes.node1, "k8s-node2": scenes.node2}[name]()
    new = tuple(replace(i, **changes) if i.kind == "ipip" else i for i in node.interfaces.get())
    return on(lab, name, interfaces=tuple(i for i in new if i.mtu))


def rules(lab: Lab, name: str, old: str, new: str = "") -> Lab:
    assert old in NAT
    return on(lab, name, rules=rules_of(NAT.replace(old, new)))


def at(lab: Lab, **packets: Any) -> Lab:
    """Other packets at points of the lab's request: ``source_uplink=...``."""
    request = lab.request
    for point, seen in packets.items():
        request = with_point(request, point.replace("_", "-"), seen)
    return replace(lab, request=request)


def netconf(**modes: Any) -> tuple[NetConf, ...]:
    names = ("lo", "eth0", "eth1", "tunl0", scenes.SRC_VETH, DEST_VETH, "all", "default")
    return tuple(NetConf(name, modes.get(f"{name}_forwards", True), modes.get(name, "off")) for name in names)


CONTROL = (segment(1, (TUNL["k8s-node1"], 50000), (DEST_IP, 8080), payload=b"GET / HTTP/1.1\r\n\r\n"),)


def unanswered(lab: Lab, on_node1: Mapping[str, Any] = {}, on_node2: Mapping[str, Any] = {}) -> Lab:
    """The lab's request without an answer, and what was asked after it."""
    asked = ok(scenes.answered(f"http://{DEST_IP}:8080/hostname"), "curl", "k8s-node1")
    refused = ok(scenes.unanswered(f"http://{NODE1}:8080/hostname", "refused"), "curl", "k8s-node2")
    after = Aftermath(
        Request("k8s-node1 -> pod-dest", asked),
        Request("k8s-node2 -> k8s-node1", refused),
        {
            "k8s-node1": ok(netconf(**on_node1), "ip -j -4 netconf show", "k8s-node1"),
            "k8s-node2": ok(netconf(**on_node2), "ip -j -4 netconf show", "k8s-node2"),
        },
    )
    answer = ok(scenes.unanswered(lab.request.answer.get().url), "curl", "pod-src")
    return replace(lab, request=replace(lab.request, answer=answer, aftermath=after))


def swallowed(**asked: Any) -> Lab:
    """pod-src's SYNs arrive on node1's uplink in their envelope, and never on pod-dest's interface."""
    lab = at(
        scenes.pod_network(),
        source_veth=only_syns(VETH),
        source_uplink=only_syns(UPLINK),
        target_uplink=only_syns(UPLINK, clock=90.0),
        target_veth=CONTROL,
    )
    return unanswered(lab, **asked)


# --- one lab per cause ------------------------------------------------------------------------


def inodes(container2: int) -> Lab:
    lab = scenes.pause()
    new = {**lab.pod.inodes.get(), 102: container2}
    return replace(lab, pod=replace(lab.pod, inodes=ok(new, "stat -Lc")))


def containers(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Lab:
    lab = scenes.pause()
    new = change(lab.pod.containers.get())
    return replace(lab, pod=replace(lab.pod, containers=ok(new, "docker ps")))


def eth0(*addresses: str, name: str = "eth0") -> Lab:
    lab = scenes.pause()
    given = tuple(map(ip_interface, addresses))
    new = tuple(
        replace(i, addresses=given, name=name) if i.name == "eth0" else i for i in lab.pod.inside.get()
    )
    return replace(lab, pod=replace(lab.pod, inside=ok(new, "nsenter ip -j -d addr")))


def pod_ip_on_node() -> Lab:
    lab = eth0()
    held = (
        *lab.pod.node.interfaces.get(),
        Interface(30, "dummy0", 1500, addresses=(ip_interface(f"{PAUSE_IP}/32"),)),
    )
    return on(lab, "k8s-node1", interfaces=held)


def pause_route(*more: Any) -> Lab:
    return routes(scenes.pause(), "k8s-node1", f"{PAUSE_IP}/32", *more)


def deaf() -> Lab:
    lab = scenes.pause()
    words = "Failed to connect to 127.0.0.1 port 8080 after 0 ms: Couldn't connect to server"
    silent = ok(scenes.unanswered("http://127.0.0.1:8080/", words), "curl", "pod-pause/container1")
    first = replace(lab.siblings[0], answer=silent)
    return replace(lab, siblings=(first, *lab.siblings[1:]))


def outside() -> Any:
    reading = scenes.restart()
    found = reading.get()
    return replace(reading, value=replace(found, after=replace(found.after, inode=7)))


def pools(**changes: Any) -> Lab:
    lab = scenes.pod_network()
    (pool,) = lab.pools.get()
    return replace(lab, pools=replace(lab.pools, value=(replace(pool, **changes),)))


def cidrs(source: str, network: str) -> Lab:
    lab = scenes.pod_network()
    stated = ClusterCIDR(source, ip_network(network))
    return replace(lab, cluster_cidrs=replace(lab.cluster_cidrs, value=(stated,)))


def chosen(lab: Lab | None = None, **ways: Any) -> Lab:
    lab = lab or scenes.pod_network()
    return replace(lab, **{name: replace(getattr(lab, name), value=way) for name, way in ways.items()})


def no_block() -> Lab:
    return chosen(
        routes(scenes.pod_network(), "k8s-node2", "20.111.156.64/26"),
        to_target=route(DEST_IP, "eth0", "10.0.2.2"),
    )


def tunnel_down() -> Lab:
    """The kernel took the routes over it away."""
    lab = chosen(
        routes(scenes.pod_network(), "k8s-node1", "20.109.131.0/26"),
        to_source=route(SRC_IP, "eth0", "10.0.2.2"),
    )
    return tunnel(lab, "k8s-node1", up=False)


def bare() -> Lab:
    """A direct route on node2: the request crosses bare."""
    return at(
        chosen(to_target=route(DEST_IP, "eth1", NODE1)),
        source_uplink=conversation(replace(UPLINK, envelope=())),
        target_uplink=conversation(replace(UPLINK, envelope=()), clock=90.0),
    )


def to_master() -> Lab:
    return at(
        scenes.pod_network(),
        source_uplink=conversation(replace(UPLINK, envelope=(ipip_tunnel(NODE2, MASTER),))),
    )


def twice() -> Lab:
    double = (ipip_tunnel(NODE2, NODE1), ipip_tunnel(NODE2, NODE1))
    return at(scenes.pod_network(), source_uplink=conversation(replace(UPLINK, envelope=double)))


def bare_reply() -> Lab:
    leg = replace(UPLINK, back_envelope=())
    return at(
        scenes.pod_network(), source_uplink=conversation(leg), target_uplink=conversation(leg, clock=90.0)
    )


def reverse_elsewhere(**modes: str) -> Lab:
    """node1 answers by eth1 what it takes in by tunl0."""
    return chosen(swallowed(on_node1=modes), to_source=route(SRC_IP, "eth1", NODE2))


def dropped_in_forward() -> Lab:
    lab = swallowed()
    return at(lab, source_uplink=CONTROL, target_uplink=CONTROL)


def unreturned() -> Lab:
    """Every handshake's answer comes back to node2's uplink, and none to pod-src."""
    behind = Leg((SRC_IP, 54176), (DEST_IP, 8080), 63, 63)
    half = scenes.OPENING[:2]
    lab = at(
        scenes.clusterip(),
        source_veth=only_syns(Leg((SRC_IP, 54176), (VIP, 8080))),
        source_uplink=scenes.sent((wrapped(behind),), half, 1000.0),
        target_uplink=scenes.sent((wrapped(behind),), half, 90.0),
        target_veth=scenes.sent((replace(behind, ttl=62, back_ttl=64),), half, 90.0),
    )
    return unanswered(lab)


def masqueraded() -> Lab:
    leg = replace(VETH, src=(TUNL["k8s-node2"], 35096), ttl=62)
    return at(scenes.pod_network(), target_veth=conversation(leg, clock=90.0002))


def taken_for_an_outsider() -> Lab:
    lab = rules(scenes.clusterip(), "k8s-node2", VIP_JUMP, OUTSIDER + VIP_JUMP)
    leg = Leg((TUNL["k8s-node2"], 54176), (DEST_IP, 8080), 63, 63)
    return at(lab, source_uplink=conversation(wrapped(leg)))


def mtu(pod: int) -> Lab:
    lab = scenes.pod_network()
    new = tuple(replace(i, mtu=pod) if i.name == "eth0" else i for i in lab.target.inside.get())
    return replace(lab, target=replace(lab.target, inside=replace(lab.target.inside, value=new)))


def stalled() -> Lab:
    lab = scenes.pod_network()
    error = "Operation timed out after 5001 milliseconds with 1180 out of 131072 bytes received"
    answer = ok(replace(scenes.answered("http://x/large", b"", 1180), error=error), "curl", "pod-src")
    return replace(lab, large=replace(lab.large, answer=answer))


def service(lab: Lab, **changes: Any) -> Lab:
    return replace(lab, service=replace(lab.service, value=replace(lab.service.get(), **changes)))


def vip_on_wire() -> Lab:
    leg = wrapped(Leg((SRC_IP, 54176), (VIP, 8080), 63, 63))
    return at(
        scenes.clusterip(), source_uplink=conversation(leg), target_uplink=conversation(leg, clock=90.0)
    )


def from_pod_itself(lab: Lab, point: str, leg: Leg) -> Lab:
    return at(lab, **{point: conversation(replace(leg, answer_from=(DEST_IP, 8080)))})


def listener(address: str = "0.0.0.0", process: str = "kube-proxy") -> Lab:
    return on(
        scenes.nodeport(),
        "k8s-node1",
        listeners=(Listener(ip_address(address), NODE_PORT, ((process, 99),)),),
    )


def kept_source(lab: Lab | None = None) -> Lab:
    kept = wrapped(Leg((MASTER, 43758), (DEST_IP, 8080), 63, 63))
    return at(lab or scenes.nodeport(), entry_uplink=conversation(ARRIVAL, kept))


def strange_body() -> Lab:
    lab = scenes.nodeport()
    node, request = lab.every_node[1]
    answer = ok(scenes.answered(f"http://{NODE1}:31080/", b"nginx"), "curl", "k8s-master")
    asked = (lab.every_node[0], (node, replace(request, answer=answer)), lab.every_node[2])
    return replace(lab, every_node=asked)


def unclaimed() -> Lab:
    lab = rules(scenes.nodeport(), "k8s-node1", f"{MASQ}\n{JUMP}\n")
    refused = ok(scenes.unanswered(f"http://{NODE1}:31080/hostname", "refused"), "curl", "k8s-master")
    asked = tuple(
        (node, replace(request, answer=refused) if node.name == "k8s-node1" else request)
        for node, request in lab.every_node
    )
    return replace(lab, every_node=asked)


MASQ = '-A KUBE-NODEPORTS -p tcp -m comment --comment "default/svc-nodeport" -m tcp --dport 31080 -j KUBE-MARK-MASQ'  # noqa: E501
JUMP = f'-A KUBE-NODEPORTS -p tcp -m comment --comment "default/svc-nodeport" -m tcp --dport 31080 -j {scenes.SVC_NODEPORT}'  # noqa: E501
TO_DEST = f'-A {SEP_CLUSTERIP} -p tcp -m comment --comment "default/svc-clusterip" -m tcp -j DNAT --to-destination 20.111.156.72:8080'  # noqa: E501
OUTSIDER = (
    "-A KUBE-SERVICES ! -s 10.244.0.0/16 -d 10.107.94.97/32 -p tcp -m tcp --dport 8080 -j KUBE-MARK-MASQ\n"
)
PORTALS = '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
VIP_JUMP = f"-A KUBE-SERVICES -d 10.107.94.97/32 -p tcp -m tcp --dport 8080 -j {SVC_CLUSTERIP}"

#: (diagnosis, what breaks, the claim that then names it, what its words hold)
CASES: list[tuple[str, Break, Callable[..., Verdict], str]] = [
    (
        "container-in-node-netns",
        lambda: inodes(container2=4026531992),
        pause.same_netns,
        "container2 (pid 102) runs in net:[4026531992]",
    ),
    (
        "container-in-own-netns",
        lambda: inodes(container2=7),
        pause.same_netns,
        "container2 (pid 102) runs in net:[7]",
    ),
    (
        "leftover-sandbox",
        lambda: containers(lambda c: (*c, replace(c[0], id="f" * 64, pid=900))),
        pause.one_sandbox,
        "no container joined POD ffffffffffff",
    ),
    (
        "sandbox-missing",
        lambda: containers(lambda c: c[1:]),
        pause.one_sandbox,
        "without a running pause container",
    ),
    ("pod-ip-on-node", pod_ip_on_node, pause.pod_ip, f"dummy0 of k8s-node1 holds {PAUSE_IP}"),
    ("pod-without-address", eth0, pause.pod_ip, "eth0 of pod-pause has no address"),
    ("pod-ip-prefix", lambda: eth0(f"{PAUSE_IP}/24"), pause.pod_ip, f"holds {PAUSE_IP}/24 instead of /32"),
    (
        "eth0-missing",
        lambda: eth0(f"{PAUSE_IP}/32", name="eth7"),
        pause.veth_pair,
        "has lo, tunl0, eth7 and no eth0",
    ),
    (
        "host-route-missing",
        pause_route,
        pause.host_route,
        f"has no route to {PAUSE_IP} alone; a packet for it takes 0.0.0.0/0",
    ),
    (
        "host-route-elsewhere",
        lambda: pause_route(route(PAUSE_IP, DEST_VETH, scope="link")),
        pause.host_route,
        f"routes {PAUSE_IP} by dev {DEST_VETH}; its eth0 pairs with {PAUSE_VETH}",
    ),
    (
        "host-route-twice",
        lambda: pause_route(
            route(PAUSE_IP, PAUSE_VETH, scope="link"), route(PAUSE_IP, DEST_VETH, protocol="boot")
        ),
        pause.host_route,
        f"dev {DEST_VETH} proto boot",
    ),
    (
        "container-not-listening",
        deaf,
        pause.shared_localhost,
        "nothing listens on port 8080 inside pod-pause",
    ),
    (
        "restarted-outside-sandbox",
        outside,
        pause.survives_restart,
        "runs in net:[7], not in net:[4026532182]",
    ),
    (
        "pool-mode",
        lambda: pools(ipip_mode="CrossSubnet"),
        pod_network.ippool_mode,
        "says ipipMode CrossSubnet, vxlanMode Never; declared is ipip-always",
    ),
    (
        "pool-cidr",
        lambda: cidrs("kubeadm-config podSubnet", "10.244.0.0/16"),
        pod_network.cidr_agrees,
        "kubeadm-config podSubnet is 10.244.0.0/16",
    ),
    (
        "pool-cidr",
        lambda: pools(cidr=ip_network("10.0.0.0/8")),
        pod_network.ippool_mode,
        f"no pool holds {SRC_IP}",
    ),
    (
        "cluster-cidr-misses-pods",
        lambda: cidrs("kube-proxy clusterCIDR", "10.244.0.0/16"),
        pod_network.cidr_agrees,
        "kube-proxy takes 20.109.131.5 and 20.111.156.72 for a client",
    ),
    (
        "policy-route",
        lambda: chosen(to_source=route(SRC_IP, "eth1", NODE2, table="100")),
        pod_network.route_via_tunnel,
        "by table 100",
    ),
    (
        "no-route-to-block",
        no_block,
        pod_network.route_via_tunnel,
        "via 10.0.2.2 dev eth0: it has no route to the block of k8s-node1",
    ),
    (
        "no-route-to-block",
        tunnel_down,
        pod_network.route_via_tunnel,
        "no route to the block of k8s-node2; its tunl0 is down",
    ),
    (
        "route-bypasses-tunnel",
        bare,
        pod_network.route_via_tunnel,
        f"via {NODE1} dev eth1, past its ipip tunnel",
    ),
    ("route-bypasses-tunnel", bare, pod_network.encapsulated_on_source_uplink, "past its ipip tunnel"),
    (
        "tunnel-to-other-node",
        to_master,
        pod_network.encapsulated_on_source_uplink,
        f"the envelope goes IPIP {NODE2} -> {MASTER}",
    ),
    (
        "tunnel-to-other-node",
        lambda: chosen(to_target=route(DEST_IP, "tunl0", MASTER)),
        pod_network.route_via_tunnel,
        f"via {MASTER} dev tunl0; k8s-node1 is {NODE1}",
    ),
    ("encapsulated-twice", twice, pod_network.encapsulated_on_source_uplink, "around IPIP"),
    (
        "reply-bypasses-tunnel",
        bare_reply,
        pod_network.reply_encapsulated,
        f"of the answer to {SRC_IP} is bare",
    ),
    (
        "forwarding-off",
        lambda: swallowed(on_node1={"tunl0_forwards": False}),
        pod_network.decapsulated_on_target_veth,
        "k8s-node1 does not forward what comes in by tunl0",
    ),
    (
        "rp-filter-strict",
        lambda: reverse_elsewhere(all="strict"),
        pod_network.decapsulated_on_target_veth,
        "in by tunl0, where rp_filter is strict, and would answer it by eth1",
    ),
    (
        "not-decapsulated",
        lambda: tunnel(swallowed(), "k8s-node1", up=False),
        pod_network.decapsulated_on_target_veth,
        "tunl0 of k8s-node1 is down",
    ),
    (
        "not-decapsulated",
        lambda: tunnel(swallowed(), "k8s-node1", mtu=0),
        pod_network.decapsulated_on_target_veth,
        "k8s-node1 has no ipip interface",
    ),
    (
        "lost-on-node",
        swallowed,
        pod_network.decapsulated_on_target_veth,
        f"k8s-node1 takes it in by eth1, and sends nothing by k8s-node1 {DEST_VETH}",
    ),
    (
        "no-service-rules",
        lambda: rules(scenes.nodeport(), "k8s-node2", f"{MASQ}\n{JUMP}\n"),
        nodeport.rules_conntrack_wire,
        "no rule of k8s-node2's nat table jumps to",
    ),
    (
        "translated-in-the-pod",
        lambda: at(scenes.clusterip(), source_veth=conversation(Leg((SRC_IP, 54176), (DEST_IP, 8080)))),
        clusterip.vip_on_source_veth,
        f"TCP {SRC_IP}:54176 -> {DEST_IP}:8080; {VIP}:8080 was asked",
    ),
    (
        "lost-on-node",
        dropped_in_forward,
        pod_network.encapsulated_on_source_uplink,
        f"k8s-node2 takes it in by {scenes.SRC_VETH}, and sends nothing by k8s-node2 eth1",
    ),
    (
        "answer-lost-on-node",
        unreturned,
        clusterip.reply_from_vip,
        f"coming in, and k8s-node2 {scenes.SRC_VETH} no answer",
    ),
    ("pod-traffic-masqueraded", masqueraded, pod_network.source_kept, f"{SRC_IP} became {TUNL['k8s-node2']}"),
    (
        "ttl-rewritten",
        lambda: at(scenes.pod_network(), target_veth=conversation(replace(VETH, ttl=9), clock=90.0002)),
        pod_network.one_flow,
        "TTL 63 became 9",
    ),
    (
        "mtu-too-large",
        lambda: mtu(1500),
        pod_network.mtu_fits,
        "has MTU 1500, 1520 with its envelope; eth1 of k8s-node1 has 1500",
    ),
    (
        "tunnel-mtu-too-small",
        lambda: tunnel(scenes.pod_network(), "k8s-node1", mtu=1400),
        pod_network.mtu_fits,
        "tunl0 of k8s-node1 has MTU 1400",
    ),
    ("pmtu-black-hole", stalled, pod_network.mtu_fits, "of the large answer 1180 bytes came"),
    (
        "selector-mismatch",
        lambda: replace(service(scenes.clusterip(), selector={"type": "src"}), endpoints=ok((), "kubectl")),
        clusterip.endpoints,
        "selects type: src: pod-src instead of pod-dest",
    ),
    (
        "selector-mismatch",
        lambda: replace(service(scenes.nodeport(), selector={}), endpoints=ok((), "kubectl")),
        nodeport.rules_conntrack_wire,
        "selects nothing: no pod instead of pod-dest",
    ),
    (
        "no-endpoints",
        lambda: replace(scenes.clusterip(), endpoints=ok((), "kubectl")),
        clusterip.endpoints,
        "default/svc-clusterip has no ready endpoint",
    ),
    (
        "no-service-rules",
        lambda: rules(scenes.clusterip(), "k8s-node2", VIP_JUMP),
        clusterip.rules_lead_to_pod,
        f"no rule of k8s-node2's nat table jumps to {SVC_CLUSTERIP}",
    ),
    (
        "no-service-rules",
        lambda: on(scenes.clusterip(), "k8s-node2", rules=rules_of(":PREROUTING ACCEPT")),
        clusterip.rules_lead_to_pod,
        f"has no chain {SVC_CLUSTERIP} of default/svc-clusterip",
    ),
    (
        "rules-lead-elsewhere",
        lambda: rules(scenes.clusterip(), "k8s-node2", TO_DEST, TO_DEST.replace("156.72", "156.71")),
        clusterip.rules_lead_to_pod,
        "lead to 20.111.156.71:8080",
    ),
    (
        "rules-translate-nothing",
        lambda: rules(scenes.clusterip(), "k8s-node2", f"{TO_DEST}\n"),
        clusterip.rules_lead_to_pod,
        "k8s-node2's rules of svc-clusterip end in policy ACCEPT, and translate nothing",
    ),
    (
        "cluster-cidr-misses-pods",
        taken_for_an_outsider,
        clusterip.dnat_before_uplink,
        f"k8s-node2's rules mark {SRC_IP} for masquerading: it is not in 10.244.0.0/16",
    ),
    (
        "rules-shadowed",
        lambda: rules(
            scenes.clusterip(),
            "k8s-node2",
            PORTALS,
            f"-A PREROUTING -d {VIP}/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 20.111.156.72:8080\n{PORTALS}",  # noqa: E501
        ),
        clusterip.rules_lead_to_pod,
        f"translates it by `-A PREROUTING -d {VIP}/32",
    ),
    (
        "translated-on-other-node",
        vip_on_wire,
        clusterip.dnat_before_uplink,
        f"{VIP} is still the destination on k8s-node2 eth1",
    ),
    (
        "not-translated-back",
        lambda: from_pod_itself(scenes.clusterip(), "source_veth", Leg((SRC_IP, 54176), (VIP, 8080))),
        clusterip.reply_from_vip,
        f"answers from {DEST_IP}:8080 instead of {VIP}:8080",
    ),
    (
        "not-translated-back",
        lambda: from_pod_itself(scenes.nodeport(), "client_uplink", ARRIVAL),
        nodeport.answers_from_node2,
        f"instead of {NODE2}:31080",
    ),
    (
        "nothing-listens",
        lambda: on(scenes.nodeport(), "k8s-node1", listeners=()),
        nodeport.kube_proxy_listens,
        "nothing listens on 31080 on k8s-node1",
    ),
    (
        "port-held-by-other",
        lambda: listener(process="nginx"),
        nodeport.kube_proxy_listens,
        "nginx (pid 99) holds 31080 on k8s-node1",
    ),
    (
        "loopback-only",
        lambda: listener("127.0.0.1"),
        nodeport.kube_proxy_listens,
        "kube-proxy holds 31080 on 127.0.0.1 only, on k8s-node1",
    ),
    (
        "nodeport-rules-missing",
        unclaimed,
        nodeport.every_node,
        "no rule of KUBE-NODEPORTS claims 31080 on k8s-node1",
    ),
    (
        "masquerade-missing",
        kept_source,
        nodeport.masqueraded,
        f"forwards IPIP {NODE2} -> {NODE1} around TCP {MASTER}:43758 -> {DEST_IP}:8080: KUBE-POSTROUTING lets it pass",  # noqa: E501
    ),
    (
        "masquerade-missing",
        lambda: kept_source(rules(scenes.nodeport(), "k8s-node2", MASQ)),
        nodeport.masqueraded,
        "no rule marks it",
    ),
    (
        "stranger-answers",
        strange_body,
        nodeport.every_node,
        "k8s-node1 answers 'nginx', which names none of pod-dest",
    ),
]


def judged(claim: Callable[..., Verdict], lab: Lab) -> Verdict:
    return claim(lab) if claim is pause.survives_restart else claim(lab, INTENT)


@pytest.mark.parametrize(
    ("id", "lab", "claim", "words"), CASES, ids=[f"{n}-{c[0]}" for n, c in enumerate(CASES)]
)
def test_a_broken_claim_names_its_cause(
    id: str, lab: Break, claim: Callable[..., Verdict], words: str
) -> None:
    verdict = judged(claim, lab())
    assert verdict.outcome is Outcome.BROKEN, verdict.seen
    assert verdict.diagnosis == id, f"{verdict.cause} ({verdict.seen})"
    assert words in verdict.cause
    assert verdict.advice == DIAGNOSES[id].remedy


def test_a_starved_endpoint() -> None:
    verdict = clusterip.spreads(scenes.clusterip(), scenes.spread(20, 20, 0))
    assert (verdict.outcome, verdict.diagnosis) == (Outcome.BROKEN, "endpoint-starved")
    assert verdict.cause == f"pod-dest-3 got none of 40 connections to {VIP}"


def test_every_cause_has_its_case() -> None:
    assert {case[0] for case in CASES} | {"endpoint-starved"} == DIAGNOSES.keys()


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{c[0]}" for n, c in enumerate(CASES)])
def test_no_cause_in_a_healthy_lab(case: tuple[str, Break, Callable[..., Verdict], str]) -> None:
    id, lab, claim, _ = case
    healthy = {
        "PauseLab": scenes.pause,
        "PodNetworkLab": scenes.pod_network,
        "ClusterIPLab": scenes.clusterip,
        "NodePortLab": scenes.nodeport,
        "Reading": scenes.restart,
    }[type(lab()).__name__]()
    args = (healthy,) if claim is pause.survives_restart else (healthy, INTENT)
    assert DIAGNOSES[id].found(*args) == ""
    assert (judged(claim, healthy).outcome, judged(claim, healthy).cause) == (Outcome.HELD, "")


@pytest.mark.parametrize(("cidr", "named"), [("10.240.0.0", True), ("20.96.0.0", False)])
def test_nftables_that_take_a_pod_for_an_outsider(cidr: str, named: bool) -> None:
    table = parse_table(sample("nft-kube-proxy-1.33.json").replace('"20.96.0.0"', f'"{cidr}"'))

    def with_table(node: NodeEvidence) -> NodeEvidence:
        return replace(node, nftables=replace(node.nftables, value=table))

    leg = Leg((TUNL["k8s-node2"], 54176), (DEST_IP, 8080), 63, 63)
    lab = at(modes.clusterip("nftables", with_table), source_uplink=conversation(wrapped(leg)))
    verdict = clusterip.dnat_before_uplink(lab, replace(INTENT, proxy_mode="nftables"))
    assert verdict.outcome is Outcome.BROKEN
    assert (verdict.diagnosis == "cluster-cidr-misses-pods") is named


def test_no_starved_endpoint_where_all_answer() -> None:
    starved = DIAGNOSES["endpoint-starved"]
    assert starved.found(scenes.clusterip(), scenes.spread(14, 13, 13)) == ""


@pytest.mark.parametrize("lab", [scenes.pod_network, scenes.clusterip, scenes.nodeport])
@pytest.mark.parametrize("each", BETWEEN_NODES, ids=lambda each: each.id)
def test_nothing_is_wrong_between_healthy_nodes(each: Cause, lab: Break) -> None:
    assert each.found(lab(), INTENT) == ""
    assert each.found(unanswered(lab()), INTENT) == "", "though no answer came"


@pytest.mark.parametrize("lab", [scenes.clusterip, scenes.nodeport])
@pytest.mark.parametrize("each", TRANSLATION, ids=lambda each: each.id)
def test_nothing_is_wrong_with_a_healthy_service(each: Cause, lab: Break) -> None:
    assert each.found(lab(), INTENT) == ""


def test_what_was_not_read_shows_no_cause() -> None:
    lab = swallowed(on_node1={"tunl0": "strict", "tunl0_forwards": False})
    unread = replace(lab.request, aftermath=None)
    for each in (rp_filter_strict, forwarding_off):
        assert each.found(replace(lab, request=unread), INTENT) == ""
    blind = everywhere(lab, lambda node: replace(node, interfaces=failed("ip addr", node.name)))
    assert not_decapsulated.found(blind, INTENT) == ""


@pytest.mark.parametrize("modes", [{}, {"tunl0": "loose", "all": "strict"}, {"eth1": "strict"}])
def test_another_rp_filter_lets_it_pass(modes: dict[str, str]) -> None:
    verdict = pod_network.decapsulated_on_target_veth(reverse_elsewhere(**modes), INTENT)
    assert verdict.diagnosis == "route-bypasses-tunnel"


def test_a_control_is_never_taken_for_the_request() -> None:
    """Its segments are in the capture of the veth, and the request is still lost before it."""
    verdict = pod_network.decapsulated_on_target_veth(swallowed(), INTENT)
    assert verdict.outcome is Outcome.BROKEN
    assert "lost before this point" in verdict.seen
    without = at(swallowed(), target_veth=())
    assert pod_network.decapsulated_on_target_veth(without, INTENT).outcome is Outcome.INCONCLUSIVE


def test_forwarding_off_in_the_kernels_own_words() -> None:
    lab = chosen(
        swallowed(on_node2={f"{scenes.SRC_VETH}_forwards": False}),
        to_target=route(DEST_IP, None, type="unreachable"),
    )
    verdict = pod_network.route_via_tunnel(lab, INTENT)
    assert (verdict.outcome, verdict.diagnosis) == (Outcome.BROKEN, "forwarding-off")


# --- the machinery ----------------------------------------------------------------------------


@cause(symptom="s", evidence="e", remedy="do this")
def a_cause(lab: str) -> str | None:
    """The cause.

    In words.
    """
    if lab == "unread":
        raise NotObserved("not read")
    return "seen" if lab == "bad" else None


def test_a_cause_is_its_function() -> None:
    assert (a_cause.id, a_cause.cause, a_cause.remedy) == ("a-cause", "The cause. In words.", "do this")
    assert [a_cause.found(lab) for lab in ("bad", "good", "unread")] == ["seen", "", ""]


@pytest.mark.parametrize(
    ("verdict", "lab", "diagnosis"),
    [
        (broken("e", "s", advice="a"), "bad", "a-cause"),
        (broken("e", "s", advice="a"), "good", ""),
        (broken("e", "s", advice="a"), "unread", ""),
        (inconclusive("e", "s", advice="a"), "bad", ""),
        (held("e", "s"), "bad", ""),
    ],
)
def test_only_a_broken_verdict_is_explained(verdict: Verdict, lab: str, diagnosis: str) -> None:
    @explained_by(replace(a_cause, id="other", shown=lambda lab: None), a_cause)
    def judge(lab: str) -> Verdict:
        """The sentence."""
        return verdict

    found = judge(lab)
    assert (found.diagnosis, bool(found.cause)) == (diagnosis, bool(diagnosis))
    assert replace(found, cause="", diagnosis="", advice=verdict.advice) == verdict
    assert found.advice == ("do this" if diagnosis else verdict.advice)
    assert judge.__doc__ == "The sentence."


def test_the_text_of_a_broken_claim_has_its_cause() -> None:
    explained = replace(broken("e", "s", advice="a"), cause="in words", diagnosis="a-cause")
    assert "\n  seen      s\n  cause     in words (a-cause)\n" in in_words("lab/claim", explained)
    assert "cause" not in in_words("lab/claim", broken("e", "s"))


def test_a_cause_is_written_for_a_table() -> None:
    for each in DIAGNOSES.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", each.id)
        for text in (each.symptom, each.evidence, each.cause, each.remedy):
            assert text, each.id
            assert "|" not in text, each.id
            assert "\n" not in text, each.id
        assert each.cause.endswith((".", ")."))
    assert sum(map(len, BY_PLACE.values())) == len(DIAGNOSES)
