"""Where the document's faults happen: the names and addresses of its nodes and pods."""

from __future__ import annotations

from pytest_k8snet.embedded.description import DOCUMENT_CLUSTER_IPS, DOCUMENT_POD_IPS, NODES, veth_name

MASTER, NODE1, NODE2 = (node.name for node in NODES)
EVERY_NODE = (MASTER, NODE1, NODE2)
MASTER_IP, NODE1_IP, NODE2_IP = (str(node.eth1) for node in NODES)
MASTER_BLOCK, NODE1_BLOCK, NODE2_BLOCK = (str(node.block) for node in NODES)

PAUSE_IP, DEST_IP, SOURCE_IP = (str(DOCUMENT_POD_IPS[pod]) for pod in ("pod-pause", "pod-dest", "pod-src"))
PAUSE_VETH, DEST_VETH, SOURCE_VETH = (
    veth_name("default", pod) for pod in ("pod-pause", "pod-dest", "pod-src")
)
CLUSTER_IP = str(DOCUMENT_CLUSTER_IPS["svc-clusterip"])

#: Routes to the other node's block, as Calico's BIRD makes them.
TO_NODE1 = f"{NODE1_BLOCK} via {NODE1_IP} dev tunl0 proto bird onlink"
TO_NODE2 = f"{NODE2_BLOCK} via {NODE2_IP} dev tunl0 proto bird onlink"
