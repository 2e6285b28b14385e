"""Faults of lab 1: the pause container, the namespace it holds, and the pod's way onto the node."""

from __future__ import annotations

from pytest_k8snet.embedded.description import APP, PYTHON
from pytest_k8snet.embedded.faults.changes import Fault, Inside, On, PodWish, Spoils
from pytest_k8snet.embedded.faults.places import DEST_VETH, NODE1, PAUSE_IP, PAUSE_VETH

_READY_ON_8000 = {"ready": [[PAUSE_IP, 8000]]}
_ROUTE = f"{PAUSE_IP}/32 dev {PAUSE_VETH} scope link proto boot"

FAULTS = (
    Fault(
        "container-in-node-netns",
        "container2 of pod-pause runs in its node's own network namespace",
        (PodWish("pod-pause", _READY_ON_8000, "container2", {"network": "node", "network_again": "node"}),),
    ),
    Fault(
        "container-in-own-netns",
        "container2 of pod-pause has a network namespace of its own",
        (PodWish("pod-pause", _READY_ON_8000, "container2", {"network": "own", "network_again": "own"}),),
    ),
    Fault(
        "second-sandbox",
        "a second pause container of pod-pause still runs",
        (PodWish("pod-pause", {"sandboxes": 2}),),
    ),
    Fault(
        "sandbox-killed",
        "the pause container of pod-pause was killed, its containers run on",
        (Inside("pod-pause", ("kill -KILL {PID}",), of="pod-pause"),),
    ),
    Fault(
        "pod-ip-missing",
        "eth0 of pod-pause has no address",
        (PodWish("pod-pause", {"addresses": [], "ready": []}),),
    ),
    Fault(
        "pod-ip-on-node",
        "the IP of pod-pause sits on its node instead of in the pod",
        (
            PodWish("pod-pause", {"addresses": [], "ready": []}),
            On(NODE1, (f"ip addr add {PAUSE_IP}/32 dev lo",), (f"ip addr del {PAUSE_IP}/32 dev lo",)),
        ),
    ),
    Fault(
        "pod-ip-prefix",
        "the IP of pod-pause has the block's prefix length instead of /32",
        (PodWish("pod-pause", {"addresses": [f"{PAUSE_IP}/26"]}),),
    ),
    Fault(
        "veth-in-other-pod",
        "the pod's end of pod-pause's veth pair is in the namespace of pod-dest",
        (Inside("pod-pause", ("ip link set eth0 netns {PID} name eth9",), of="pod-dest"),),
    ),
    Fault(
        "host-route-missing",
        "node1 has no route to the IP of pod-pause",
        (On(NODE1, (f"ip route del {_ROUTE}",), (f"ip route add {_ROUTE}",), ("pod-pause",)),),
    ),
    Fault(
        "host-route-elsewhere",
        "node1's route to the IP of pod-pause points at pod-dest's interface",
        (
            On(
                NODE1,
                (f"ip route replace {_ROUTE.replace(PAUSE_VETH, DEST_VETH)}",),
                (f"ip route replace {_ROUTE}",),
                ("pod-pause", "pod-dest"),
            ),
        ),
    ),
    Fault(
        "host-route-twice",
        "node1 has a second route to the IP of pod-pause, over its uplink",
        (
            On(
                NODE1,
                (f"ip route add {PAUSE_IP}/32 dev eth1 scope link metric 50",),
                (f"ip route del {PAUSE_IP}/32 dev eth1 scope link metric 50",),
                ("pod-pause",),
            ),
        ),
    ),
    Fault(
        "container-on-another-port",
        "container2 of pod-pause listens on 9090 instead of 8080",
        (PodWish("pod-pause", _READY_ON_8000, "container2", {"argv": [PYTHON, "-I", "-S", APP, "9090"]}),),
    ),
    Fault(
        "restarted-in-another-netns",
        "container2 of pod-pause comes back from its restart in a namespace of its own",
        (
            PodWish("pod-pause", container="container2", container_fields={"network_again": "own"}),
            Spoils("pod-pause"),
        ),
    ),
)
