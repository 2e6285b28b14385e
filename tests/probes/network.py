"""The document's three machines as canned answers, in the formats their commands print."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pytest_k8snet.clusters.base import CommandResult
from pytest_k8snet.clusters.tape import Tape
from pytest_k8snet.probes.requests import REPORT
from tests.clusters.fake import FakeCluster, says
from tests.wire import http_flow, pcap

UNDERLAY = {"k8s-master": "192.168.219.21", "k8s-node1": "192.168.219.22", "k8s-node2": "192.168.219.23"}
VIP = "10.107.94.97"
NODE_PORT = 31080


class P:
    """A pod of the labs: where it is, its address, its veth and the pids of its containers."""

    def __init__(self, name: str, node: str, ip: str, veth: str, index: int, pids: dict[str, int]) -> None:
        self.name, self.node, self.ip, self.veth, self.index, self.pids = name, node, ip, veth, index, pids
        self.inode = 4026532000 + index


PODS = [
    P(
        "pod-pause",
        "k8s-node1",
        "20.111.156.71",
        "calid73126c1689",
        16,
        {"POD": 700, "container1": 701, "container2": 702},
    ),
    P("pod-dest", "k8s-node1", "20.111.156.72", "calib8c6d5407e3", 17, {"POD": 710, "container": 711}),
    P("pod-src", "k8s-node2", "20.109.131.5", "calia5814ebbae9", 18, {"POD": 720, "container": 721}),
]
PAUSE, DEST, SRC = PODS


def network(tape: Tape | None = None) -> FakeCluster:
    """All labs applied, everything as it should be. Say something else to break it."""
    cluster = FakeCluster(tape)
    for node, address in UNDERLAY.items():
        local = [pod for pod in PODS if pod.node == node]
        cluster.say(node, "ip -j -d addr show", says(json.dumps(node_addresses(address, local))))
        cluster.say(node, "ip -j -d route show table all", says(json.dumps(node_routes(address, local))))
        cluster.say(node, "ip -j -4 netconf show", says(json.dumps(netconf(local))))
        cluster.say(node, "iptables-save", says(RULES))
        cluster.say(node, "ss -H -ltnp", says(LISTENERS))
        cluster.say(node, "conntrack -L", says(CONNECTION, "conntrack v1.4.7 (conntrack-tools): 1 flow\n"))
        cluster.say(node, "crun --root /run/crun list", says(json.dumps(states(local))))
        cluster.say(node, "cat /run/k8snet/.*config.json", configurations)
        cluster.say(node, "stat -Lc", inodes)
        cluster.say(node, "kill -KILL", says())
        for pod in local:
            inside = says(json.dumps(pod_addresses(pod)))
            for pid in pod.pids.values():
                cluster.say(node, f"nsenter -t {pid} -n ip -j -d addr show", inside)
    cluster.say(
        "k8s-node1", "ip -j -d route get", says(json.dumps([route_get(SRC.ip, UNDERLAY["k8s-node2"])]))
    )
    cluster.say(
        "k8s-node2", "ip -j -d route get", says(json.dumps([route_get(DEST.ip, UNDERLAY["k8s-node1"])]))
    )
    cluster.say(".*", "curl", curl)
    cluster.say(".*", "tcpdump", tcpdump)
    cluster.objects = {
        name: json.dumps({"kind": "List", "items": items}).encode() for name, items in OBJECTS.items()
    }
    return cluster


def link(index: int, name: str, address: str, length: int, **more: Any) -> dict[str, Any]:
    addresses = []
    if address:
        scope = "host" if name == "lo" else "global"
        addresses = [{"family": "inet", "local": address, "prefixlen": length, "scope": scope}]
    fields = {
        "ifindex": index,
        "ifname": name,
        "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"],
        "mtu": 1500,
        "operstate": "UP",
        "link_type": "ether",
        "address": f"08:00:27:c0:02:{index:02x}",
        "addr_info": addresses,
    }
    return fields | more


def node_addresses(address: str, local: Sequence[P]) -> list[dict[str, Any]]:
    return [
        link(1, "lo", "127.0.0.1", 8, flags=["LOOPBACK", "UP", "LOWER_UP"], mtu=65536, link_type="loopback"),
        link(2, "eth0", "10.0.2.15", 24),
        link(3, "eth1", address, 24),
        link(
            4,
            "tunl0",
            f"20.96.0.{address[-1]}",
            32,
            mtu=1480,
            link_type="ipip",
            linkinfo={"info_kind": "ipip"},
        ),
        *(
            link(
                pod.index,
                pod.veth,
                "",
                0,
                mtu=1480,
                link_index=4,
                link_netnsid=pod.index - 16,
                linkinfo={"info_kind": "veth"},
            )
            for pod in local
        ),
    ]


def pod_addresses(pod: P) -> list[dict[str, Any]]:
    return [
        link(1, "lo", "127.0.0.1", 8, flags=["LOOPBACK", "UP", "LOWER_UP"], mtu=65536, link_type="loopback"),
        link(
            4,
            "eth0",
            pod.ip,
            32,
            mtu=1480,
            link_index=pod.index,
            link_netnsid=0,
            linkinfo={"info_kind": "veth"},
        ),
    ]


def route(destination: str, device: str, **more: Any) -> dict[str, Any]:
    fields = {
        "type": "unicast",
        "dst": destination,
        "dev": device,
        "protocol": "bird",
        "scope": "link",
        "flags": [],
    }
    return fields | more


def node_routes(address: str, local: Sequence[P]) -> list[dict[str, Any]]:
    return [
        route("default", "eth0", gateway="10.0.2.2", protocol="boot", scope="global"),
        route("192.168.219.0/24", "eth1", protocol="kernel", prefsrc=address),
        *(route(pod.ip, pod.veth, protocol="boot") for pod in local),
        route(address, "eth1", type="local", table="local", protocol="kernel", scope="host"),
    ]


def route_get(destination: str, gateway: str) -> dict[str, Any]:
    return {
        "type": "unicast",
        "dst": destination,
        "gateway": gateway,
        "dev": "tunl0",
        "prefsrc": "20.96.0.1",
        "flags": ["onlink"],
        "uid": 0,
        "cache": [],
    }


def netconf(local: Sequence[P], **rp_filter: str) -> list[dict[str, Any]]:
    """``rp_filter``: the mode of the interfaces where it is not "off"."""
    names = ["lo", "eth0", "eth1", "tunl0", *(pod.veth for pod in local), "all", "default"]
    return [
        {"family": "inet", "interface": name, "forwarding": True, "rp_filter": rp_filter.get(name, "off")}
        for name in names
    ]


def refused(argv: Sequence[str]) -> CommandResult:
    """A curl whose requests are all refused."""
    said = b""
    for url in (word for word in argv if word.startswith("http://")):
        said += b"\n" + report(url, "", 0, 0, "000", 7, "Couldn't connect to server")
    return says(said, "curl: (7) Couldn't connect to server\n", 7)


def container_id(pod: P, name: str) -> str:
    return f"{pod.name}.{name}".replace(".POD", "")


def states(local: Sequence[P], **pids: int) -> list[dict[str, Any]]:
    return [
        {
            "id": container_id(pod, name),
            "pid": pids.get(name, pid),
            "status": "running",
            "bundle": f"/run/k8snet/{container_id(pod, name)}",
            "created": "2026-11-22T20:38:03.405762432Z",
            "owner": "root",
        }
        for pod in local
        for name, pid in pod.pids.items()
    ]


def configuration(pod: P, name: str) -> dict[str, Any]:
    sandbox = name == "POD"
    network = (
        {"type": "network"} if sandbox else {"type": "network", "path": f"/proc/{pod.pids['POD']}/ns/net"}
    )
    annotations = {
        "io.kubernetes.cri.container-type": "sandbox" if sandbox else "container",
        "io.kubernetes.cri.sandbox-id": container_id(pod, "POD"),
        "io.kubernetes.cri.sandbox-name": pod.name,
        "io.kubernetes.cri.sandbox-namespace": "default",
        "io.kubernetes.cri.sandbox-uid": f"uid-{pod.name}",
        "io.kubernetes.cri.image-name": "pause:3.2" if sandbox else "kubetm/app",
    }
    if not sandbox:
        annotations["io.kubernetes.cri.container-name"] = name
    return {"ociVersion": "1.0.2", "linux": {"namespaces": [network]}, "annotations": annotations}


def configurations(argv: Sequence[str]) -> CommandResult:
    known = {
        f"/run/k8snet/{container_id(p, name)}/config.json": configuration(p, name)
        for p in PODS
        for name in p.pids
    }
    return says("".join(json.dumps(known[path]) for path in argv[1:] if path in known))


def inodes(argv: Sequence[str]) -> CommandResult:
    own = {str(pid): pod.inode for pod in PODS for pid in pod.pids.values()}
    return says("".join(f"{path} {own.get(path.split('/')[2], 4026531840)}\n" for path in argv[3:]))


def curl(argv: Sequence[str]) -> CommandResult:
    """An answer per URL, each with its report."""
    said = b""
    for url in (word for word in argv if word.startswith("http://")):
        host, port = re.fullmatch(r"http://([\d.]+):(\d+)/.*", url).groups()  # type: ignore[union-attr]
        body = b"x" * 131072 if url.endswith("/large") else b"pod-dest\n"
        said += (b"" if "/dev/null" in argv else body) + b"\n" + report(url, host, int(port), len(body))
    return says(said)


def report(
    url: str, host: str, port: int, size: int, status: str = "200", code: int = 0, error: str = ""
) -> bytes:
    fields = {
        "http_code": status,
        "exitcode": code,
        "errormsg": error,
        "url_effective": url,
        "size_download": size,
        "local_ip": "20.109.131.5",
        "local_port": 35096,
        "remote_ip": host,
        "remote_port": port,
    }
    said = REPORT.removeprefix("\n")
    for name, value in fields.items():
        said = said.replace(f"%{{{name}}}", str(value))
    return said.encode()


#: What every capture point of these tests sees: a flow. Which one matters to claims, not to probes.
FLOW = http_flow((SRC.ip, 35096), (DEST.ip, 8080), "token")


def counters(captured: int, dropped: int = 0) -> str:
    return (
        "tcpdump: listening on eth1, link-type EN10MB (Ethernet), snapshot length 262144 bytes\n"
        f"{captured} packets captured\n{captured} packets received by filter\n"
        f"{dropped} packets dropped by kernel\n"
    )


def tcpdump(argv: Sequence[str]) -> CommandResult:
    return says(pcap(FLOW), counters(len(FLOW)))


LISTENERS = 'LISTEN 0      4096     0.0.0.0:31080 0.0.0.0:* users:(("kube-proxy",pid=3426,fd=11)) \n'

NETSTAT = """\
Active Internet connections (only servers)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
tcp        0      0 0.0.0.0:31080           0.0.0.0:*               LISTEN      3426/kube-proxy
"""

RULES = """\
# Generated by iptables-save v1.8.9 (nf_tables) on Sun Nov 22 20:39:50 2026
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.107.94.97/32 -p tcp -m tcp --dport 8080 -j KUBE-SVC-AAAAAAAAAAAAAAAA
COMMIT
# Completed on Sun Nov 22 20:39:50 2026
"""

NO_RULES = """\
# Generated by iptables-save v1.8.9 (nf_tables) on Sun Nov 22 20:39:50 2026
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
# Completed on Sun Nov 22 20:39:50 2026
"""

CONNECTION = (
    f"tcp      6 119 TIME_WAIT src={SRC.ip} dst={VIP} sport=50354 dport=8080 "
    f"src={DEST.ip} dst={SRC.ip} sport=8080 dport=50354 [ASSURED] mark=0 use=1\n"
)

NF_CONNTRACK = (
    f"ipv4     2 tcp      6 119 TIME_WAIT src={SRC.ip} dst={VIP} sport=50354 dport=8080 "
    f"src={DEST.ip} dst={SRC.ip} sport=8080 dport=50354 [ASSURED] mark=0 zone=0 use=2\n"
    "ipv4     2 tcp      6 102 TIME_WAIT src=127.0.0.1 dst=127.0.0.1 sport=49364 dport=6443 "
    "src=127.0.0.1 dst=127.0.0.1 sport=6443 dport=49364 [ASSURED] mark=0 zone=0 use=2\n"
)


def pod_object(pod: P) -> dict[str, Any]:
    names = [name for name in pod.pids if name != "POD"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "namespace": "default",
            "uid": f"uid-{pod.name}",
            "labels": {"type": pod.name.removeprefix("pod-")},
        },
        "spec": {
            "nodeName": pod.node,
            "containers": [{"name": name, "image": "kubetm/app"} for name in names],
        },
        "status": {
            "phase": "Running",
            "podIP": pod.ip,
            "podIPs": [{"ip": pod.ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def service_object(name: str, kind: str, **port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "type": kind,
            "clusterIP": VIP,
            "selector": {"type": "dest"},
            "ports": [{"port": 8080, "targetPort": 8080, "protocol": "TCP", **port}],
        },
    }


def slice_object(service: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-x",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [DEST.ip],
                "conditions": {"ready": True},
                "nodeName": DEST.node,
                "targetRef": {"kind": "Pod", "name": DEST.name, "namespace": "default"},
            }
        ],
    }


def node_object(name: str, **annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"podCIDR": "20.96.0.0/12"},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": UNDERLAY[name]},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "kubeletVersion": "v1.20.8",
                "kubeProxyVersion": "v1.20.8",
                "containerRuntimeVersion": "docker://20.10.8",
            },
        },
    }


OBJECTS: dict[str, list[dict[str, Any]]] = {
    "pods": [pod_object(pod) for pod in PODS],
    "services": [
        service_object("svc-clusterip", "ClusterIP"),
        service_object("svc-nodeport", "NodePort", nodePort=NODE_PORT),
    ],
    "endpointslices": [slice_object("svc-clusterip"), slice_object("svc-nodeport")],
    "nodes": [node_object(name) for name in UNDERLAY],
    "ippools": [
        {
            "apiVersion": "crd.projectcalico.org/v1",
            "kind": "IPPool",
            "metadata": {"name": "default-ipv4-ippool"},
            "spec": {"cidr": "20.96.0.0/12", "ipipMode": "Always", "vxlanMode": "Never", "natOutgoing": True},
        }
    ],
    "clustercidrs": [{"source": "kube-proxy clusterCIDR", "cidr": "20.96.0.0/12"}],
}
