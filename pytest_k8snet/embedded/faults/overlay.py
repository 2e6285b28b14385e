"""Faults of lab 2: the pool, the routes between the nodes, the tunnel and what fits into it."""

from __future__ import annotations

from ipaddress import IPv4Network

from pytest_k8snet.embedded.faults.changes import (
    Change,
    Describes,
    Fault,
    FirstRule,
    Inside,
    Modules,
    On,
    PodWish,
    Spoils,
)
from pytest_k8snet.embedded.faults.places import (
    DEST_IP,
    MASTER_BLOCK,
    MASTER_IP,
    NODE1,
    NODE1_BLOCK,
    NODE1_IP,
    NODE2,
    NODE2_BLOCK,
    NODE2_IP,
    SOURCE_IP,
    SOURCE_VETH,
    TO_NODE1,
    TO_NODE2,
)

#: The way to the other node's pods without the tunnel.
_DIRECT_TO_NODE1 = On(
    NODE2,
    (f"ip route replace {NODE1_BLOCK} via {NODE1_IP} dev eth1 proto bird",),
    (f"ip route replace {TO_NODE1}",),
)
_DIRECT_TO_NODE2 = On(
    NODE1,
    (f"ip route replace {NODE2_BLOCK} via {NODE2_IP} dev eth1 proto bird",),
    (f"ip route replace {TO_NODE2}",),
)
_LARGE_PODS = tuple(PodWish(pod, {"mtu": 1500}) for pod in ("pod-src", "pod-dest"))
#: A pod remembers for ten minutes what ICMP told it of a path's MTU (net.ipv4.route.mtu_expires).
_FORGETFUL = tuple(Spoils(pod) for pod in ("pod-src", "pod-dest"))


def _mangle(node: str, rule: str, *modules: str) -> tuple[Change, ...]:
    """A rule before all others of table mangle; kube-proxy leaves that table alone."""
    return Modules(("iptable_mangle", *modules)), On(
        node, (f"iptables-legacy -t mangle -I {rule}",), (f"iptables-legacy -t mangle -D {rule}",)
    )


def _tunnels(value: int, back: int = 1480) -> tuple[On, ...]:
    return tuple(
        On(node, (f"ip link set tunl0 mtu {value}",), (f"ip link set tunl0 mtu {back}",))
        for node in (NODE1, NODE2)
    )


def _setting(node: str, key: str, value: int, back: int) -> On:
    write = f"sh -c 'echo {{}} > /proc/sys/net/ipv4/conf/{key}'"
    return On(node, (write.format(value),), (write.format(back),))


FAULTS = (
    Fault("pool-never", "the pool says Ipipmode Never", (Describes({"pool_modes": ("Never", "Never")}),)),
    Fault(
        "pool-cross-subnet",
        "the pool says Ipipmode CrossSubnet",
        (Describes({"pool_modes": ("CrossSubnet", "Never")}),),
    ),
    Fault("pool-vxlan", "the pool says Vxlanmode Always", (Describes({"pool_modes": ("Never", "Always")}),)),
    Fault(
        "pool-cidr-differs",
        "the pool is 20.96.0.0/11, the cluster's pod CIDR 20.96.0.0/12",
        (Describes({"pool_cidr": IPv4Network("20.96.0.0/11")}),),
    ),
    Fault(
        "cluster-cidr-misses-pods",
        "kube-proxy's clusterCIDR 10.244.0.0/16 does not contain the pods",
        (Describes({"cluster_cidr": IPv4Network("10.244.0.0/16")}),),
    ),
    Fault(
        "direct-routes",
        "both nodes route to each other's pods over the uplink: traffic works, bare",
        (_DIRECT_TO_NODE1, _DIRECT_TO_NODE2),
    ),
    Fault(
        "direct-request",
        "node2 routes to node1's pods over the uplink, the answer uses the tunnel",
        (_DIRECT_TO_NODE1,),
    ),
    Fault(
        "direct-reply",
        "node1 routes the answer over the uplink, the request uses the tunnel",
        (_DIRECT_TO_NODE2,),
    ),
    Fault(
        "policy-route",
        "a policy rule on node2 sends what comes from pod-src over the uplink",
        (
            On(
                NODE2,
                (
                    f"ip route add {NODE1_BLOCK} via {NODE1_IP} dev eth1 table 100",
                    f"ip rule add from {SOURCE_IP} table 100",
                ),
                (f"ip rule del from {SOURCE_IP} table 100", "ip route flush table 100"),
            ),
        ),
    ),
    Fault(
        "no-route-to-block",
        "node2 has no route to node1's block: BGP is down",
        (On(NODE2, (f"ip route del {NODE1_BLOCK}",), (f"ip route add {TO_NODE1}",)),),
    ),
    Fault(
        "encapsulated-twice",
        "node2 puts its tunnel's packets into a second tunnel to node1",
        (
            On(
                NODE2,
                (
                    f"ip link add tunl1 type ipip local {NODE2_IP} remote {NODE1_IP} dev eth1",
                    "ip link set tunl1 up",
                    f"ip route add {NODE1_IP}/32 dev tunl1 src {NODE2_IP}",
                ),
                ("ip link del tunl1",),
            ),
        ),
    ),
    Fault(
        "tunnel-to-other-node",
        "both nodes' tunnels lead to the master, which passes packets on to the other node",
        tuple(
            On(
                node,
                (f"ip route replace {block} via {MASTER_IP} dev tunl0 proto bird onlink",),
                (f"ip route replace {back}",),
            )
            for node, block, back in ((NODE2, NODE1_BLOCK, TO_NODE1), (NODE1, NODE2_BLOCK, TO_NODE2))
        ),
    ),
    Fault(
        "not-decapsulated",
        "node1 drops IPIP before its tunnel takes it",
        _mangle(NODE1, "INPUT -p 4 -j DROP"),
    ),
    Fault(
        "tunnel-down",
        "node1's tunnel is down",
        (
            On(
                NODE1,
                ("ip link set tunl0 down",),
                (
                    "ip link set tunl0 up",
                    f"ip route add {TO_NODE2}",
                    f"ip route add {MASTER_BLOCK} via {MASTER_IP} dev tunl0 proto bird onlink",
                ),
            ),
        ),
    ),
    Fault(
        "forwarding-off",
        "node1 does not forward what comes out of its tunnel",
        (_setting(NODE1, "tunl0/forwarding", 0, 1),),
    ),
    Fault(
        "rp-filter-strict",
        "node1 has rp_filter strict on tunl0 and its way back over the uplink",
        (_DIRECT_TO_NODE2, _setting(NODE1, "tunl0/rp_filter", 1, 0)),
    ),
    Fault(
        "pod-traffic-masqueraded",
        "node2 masquerades what pod-src sends through the tunnel",
        (FirstRule(NODE2, f"-A POSTROUTING -s {SOURCE_IP}/32 -o tunl0 -j MASQUERADE"),),
    ),
    Fault(
        "second-pod-ip",
        "pod-src sends from a second IP that its status does not name",
        (
            Inside(
                "pod-src",
                (
                    "ip addr add 20.109.131.61/32 dev eth0",
                    "ip route change default via 169.254.1.1 dev eth0 src 20.109.131.61",
                ),
            ),
            On(
                NODE2,
                (f"ip route add 20.109.131.61/32 dev {SOURCE_VETH} scope link",),
                ("ip route flush 20.109.131.61/32",),
                ("pod-src",),
            ),
        ),
    ),
    Fault(
        "request-dropped",
        "node2 drops what pod-src sends to other nodes",
        _mangle(NODE2, f"FORWARD -s {SOURCE_IP} -o tunl0 -j DROP"),
    ),
    Fault(
        "reply-dropped",
        "node2 drops pod-dest's answers when they come out of the tunnel",
        _mangle(NODE2, f"PREROUTING -i tunl0 -s {DEST_IP} -j DROP"),
    ),
    Fault(
        "mtu-too-large",
        "pods and tunnels have MTU 1500 and nobody forbids fragments: full-sized packets cross in two",
        (
            *_LARGE_PODS,
            *_tunnels(1500),
            *(
                Inside(pod, ("sh -c 'echo 1 > /proc/sys/net/ipv4/ip_no_pmtu_disc'",))
                for pod in ("pod-src", "pod-dest")
            ),
        ),
    ),
    Fault("pod-mtu-over-tunnel", "pods have MTU 1500, the tunnels 1480", (*_LARGE_PODS, *_FORGETFUL)),
    Fault("tunnel-mtu-too-small", "the tunnels have MTU 1300, the pods 1440", (*_tunnels(1300), *_FORGETFUL)),
    Fault(
        "pmtu-black-hole",
        "node2 loses every packet above 1400 bytes that comes through the tunnel",
        _mangle(NODE2, "PREROUTING -i eth1 -p 4 -m length --length 1400:65535 -j DROP", "xt_length"),
    ),
    Fault(
        "ttl-rewritten",
        "node2 sets the TTL of what pod-src sends to 40",
        _mangle(NODE2, f"FORWARD -s {SOURCE_IP} -o tunl0 -j TTL --ttl-set 40", "xt_HL"),
    ),
)
