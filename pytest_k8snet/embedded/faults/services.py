"""Faults of labs 3 and 4: selectors, kube-proxy's rules, connection tracking, the NodePort's sockets."""

from __future__ import annotations

from pytest_k8snet.embedded.faults.changes import (
    Describes,
    Fault,
    FirstRule,
    Inside,
    Modules,
    On,
    Proxy,
    ProxyPlan,
    Rules,
    Selects,
    Serves,
    Tool,
)
from pytest_k8snet.embedded.faults.places import (
    CLUSTER_IP,
    DEST_IP,
    EVERY_NODE,
    MASTER,
    MASTER_IP,
    NODE1,
    NODE1_IP,
    NODE2,
    NODE2_IP,
    PAUSE_IP,
    SOURCE_IP,
)

_CLUSTERIP, _NODEPORT = '"default/svc-clusterip', '"default/svc-nodeport'  #: as their rules' comments begin

_UNTRACKED = f"PREROUTING -i tunl0 -s {DEST_IP} -d {SOURCE_IP} -j CT --notrack"

#: Answers every request on the NodePort, under kube-proxy's name.
_STRANGER = """
import socket, sys
open("/proc/self/comm", "w").write("kube-proxy")
server = socket.create_server(("0.0.0.0", 31080))
sys.stderr.write("ready\\n"); sys.stderr.flush()
while True:
    connection, _ = server.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nhello\\n")
    connection.close()
"""


def _elsewhere(service: str, pod_ip: str) -> Rules:
    """A service's DNAT on node2 to another pod."""
    pattern = rf"^(-A KUBE-SEP-.*{service}\".* -j DNAT --to-destination )\S+$"
    return Rules((NODE2,), pattern, rf"\g<1>{pod_ip}:8080", service.removeprefix('"default/'))


CLUSTERIP = (
    Fault(
        "service-selects-nothing",
        "svc-clusterip selects no pod",
        (Selects("svc-clusterip", {"type": "nobody"}),),
    ),
    Fault(
        "service-selects-wrong-pods",
        "svc-clusterip selects pod-src instead of pod-dest",
        (Selects("svc-clusterip", {"type": "src"}),),
    ),
    Fault(
        "endpoint-not-ready",
        "pod-dest runs and is not ready: its services have no endpoint",
        (Describes({"not_ready": ("pod-dest", "pod-dest-2", "pod-dest-3")}),),
    ),
    Fault(
        "service-rules-missing",
        "node2 has no rule that leads to svc-clusterip",
        (Rules((NODE2,), rf"^-A KUBE-SERVICES .*{_CLUSTERIP} .*\n", service="svc-clusterip"),),
    ),
    Fault(
        "translated-in-the-pod",
        "a sidecar in pod-src translates svc-clusterip before it leaves the pod",
        (
            Inside(
                "pod-src",
                (
                    f"iptables-legacy -t nat -A OUTPUT -d {CLUSTER_IP} -p tcp --dport 8080 "
                    f"-j DNAT --to-destination {DEST_IP}:8080",
                ),
            ),
        ),
    ),
    Fault(
        "dnat-missing",
        "node2's rules of svc-clusterip translate nothing",
        (Rules((NODE2,), rf"^-A KUBE-SEP-.*{_CLUSTERIP}\".* -j DNAT .*\n", service="svc-clusterip"),),
    ),
    Fault(
        "dnat-to-other-pod",
        "node2's rules lead svc-clusterip to pod-pause",
        (_elsewhere(_CLUSTERIP, PAUSE_IP),),
    ),
    Fault(
        "dnat-on-target-node",
        "node2 sends the service's IP through the tunnel, and node1 translates it",
        (
            Rules((NODE2,), rf"^-A KUBE-SERVICES .*{_CLUSTERIP} .*\n", service="svc-clusterip"),
            On(
                NODE2,
                (f"ip route add {CLUSTER_IP}/32 via {NODE1_IP} dev tunl0 onlink",),
                (f"ip route del {CLUSTER_IP}/32",),
            ),
        ),
    ),
    Fault(
        "rules-shadowed",
        "a rule before kube-proxy's translates svc-clusterip on node2",
        (
            FirstRule(
                NODE2,
                f"-A PREROUTING -s {SOURCE_IP}/32 -d {CLUSTER_IP}/32 -p tcp -m tcp --dport 8080 "
                f"-j DNAT --to-destination {DEST_IP}:8080",
            ),
        ),
    ),
    Fault(
        "unknown-match",
        "a rule before kube-proxy's asks for something that the rule walk does not know",
        (FirstRule(NODE2, "-A PREROUTING -p tcp -m conntrack --ctorigdst 198.51.100.1 -j ACCEPT"),),
    ),
    Fault(
        "not-translated-back",
        "node2 exempts pod-dest's answers to pod-src from connection tracking",
        (
            Modules(("iptable_raw", "xt_CT")),
            # Half-tracked connections between the pods themselves would be dropped as invalid.
            Rules((NODE2,), r"^-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n"),
            On(
                NODE2,
                (f"iptables-legacy -t raw -I {_UNTRACKED}",),
                (f"iptables-legacy -t raw -D {_UNTRACKED}",),
            ),
        ),
    ),
    Fault(
        "conntrack-flushed",
        "node2's connection tracking is flushed before it is read",
        (Tool(NODE2, "conntrack", 'PATH=${PATH#*:}; conntrack -F 2>/dev/null; exec conntrack "$@"'),),
    ),
    Fault(
        "endpoint-starved",
        "of several endpoints of svc-clusterip the first is never chosen",
        (
            Rules(
                EVERY_NODE,
                rf"^(-A KUBE-SVC-.*{_CLUSTERIP}\" .*--probability )0\.33333333333 ",
                r"\g<1>0.00000000000 ",
                service="svc-clusterip",
            ),
        ),
    ),
)

NODEPORT = (
    Fault("nodeport-not-held", "nothing listens on 31080 on node1", (Proxy(NODE1, None, "svc-nodeport"),)),
    Fault(
        "nodeport-held-by-other",
        "another process than kube-proxy holds 31080 on node1",
        (Proxy(NODE1, ProxyPlan(name="nginx"), "svc-nodeport"),),
    ),
    Fault(
        "nodeport-on-loopback",
        "kube-proxy holds 31080 on node1's loopback only",
        (Proxy(NODE1, ProxyPlan(address="127.0.0.1"), "svc-nodeport"),),
    ),
    Fault(
        "nodeport-rules-missing",
        "node1 has no rules for the NodePort",
        (Rules((NODE1,), r"^-A KUBE-NODEPORTS .*\n", service="svc-nodeport"),),
    ),
    Fault(
        "nodeport-rules-missing-on-entry",
        "node2, which is asked, has no rules for the NodePort",
        (Rules((NODE2,), r"^-A KUBE-NODEPORTS .*\n", service="svc-nodeport"),),
    ),
    Fault(
        "nodeport-not-marked",
        "node2 does not mark NodePort traffic for masquerading",
        (Rules((NODE2,), r"^-A KUBE-NODEPORTS .* -j KUBE-MARK-MASQ\n", service="svc-nodeport"),),
    ),
    Fault(
        "nodeport-not-masqueraded",
        "node2 marks NodePort traffic, and no rule masquerades it",
        (Rules((NODE2,), r"^-A KUBE-POSTROUTING .* -j MASQUERADE.*\n"),),
    ),
    Fault(
        "nodeport-through-tunnel",
        "the master sends what it asks of node2 through a tunnel of its own",
        (
            On(
                MASTER,
                (
                    f"ip link add tunl1 type ipip local {MASTER_IP} remote {NODE2_IP} dev eth1",
                    "ip link set tunl1 up",
                    f"ip route add {NODE2_IP}/32 dev tunl1 src {MASTER_IP}",
                ),
                ("ip link del tunl1",),
            ),
        ),
    ),
    Fault(
        "nodeport-to-other-pod",
        "node2's rules lead the NodePort to pod-pause",
        (_elsewhere(_NODEPORT, PAUSE_IP),),
    ),
    Fault(
        "nodeport-stranger",
        "on node1 kube-proxy and its rules are gone, and a stranger of its name answers 31080",
        (
            Rules((NODE1,), r"^-A KUBE-NODEPORTS .*\n", service="svc-nodeport"),
            Proxy(NODE1, None, "svc-nodeport"),
            Serves(NODE1, _STRANGER),
        ),
    ),
)
FAULTS = (*CLUSTERIP, *NODEPORT)
