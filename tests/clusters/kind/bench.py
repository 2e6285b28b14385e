"""A run of the kind provider on a fake machine and a fake API: what its tests share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from pytest_k8snet.clusters.asked import Asked
from tests.clusters.kind.machine import SAMPLES, Machine, asked
from tests.fakeapi import Content, FakeCluster, FakeNode, resources
from tests.fakeapi.resources import Resource

MANIFEST = SAMPLES / "calico.yaml"
LABS = ["kubetm/app", "kubetm/init", "kubetm/p8000", "kubetm/p8080"]
CALICO = [f"quay.io/calico/{name}:v3.32.1" for name in ("cni", "node", "kube-controllers")]
CONTROLLERS = "calico-kube-controllers-7c5"
#: The nodes of kind's cluster demo: address on eth1, block.
NODES = {
    "demo-control-plane": ("192.168.219.21", "20.108.82.192/26"),
    "demo-worker": ("192.168.219.22", "20.111.156.64/26"),
    "demo-worker2": ("192.168.219.23", "20.109.131.0/26"),
}
#: What kubeadm serves and a run of the labs does not ask for, but Calico's manifest.
CLUSTER_WIDE = (
    ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition"),
    ("rbac.authorization.k8s.io", "clusterroles", "ClusterRole"),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "ClusterRoleBinding"),
)


@contextmanager
def cluster() -> Iterator[FakeCluster]:
    """As kind leaves it, but for Calico's blocks, which are there already, and for what comes of Deployments:
    the fake has no controller for them."""
    nodes = [
        FakeNode(name, address, block, control_plane=name.endswith("plane"))
        for name, (address, block) in NODES.items()
    ]
    served = [
        *resources.standard(34, calico=True),
        *(Resource(group, ("v1",), plural, kind, namespaced=False) for group, plural, kind in CLUSTER_WIDE),
    ]
    content = Content(calico=False, proxy_mode="iptables")
    with (
        mock.patch.object(resources, "standard", return_value=served),
        FakeCluster("v1.34.0", nodes=nodes, content=content) as fake,
    ):
        for name, (_, block) in NODES.items():
            spec = {"cidr": block, "node": name, "state": "confirmed", "deleted": "false"}
            fake.store.create("blockaffinities", {"metadata": {"name": name}, "spec": spec})
        labels = {"k8s-app": "calico-kube-controllers"}
        metadata = {"name": CONTROLLERS, "namespace": "kube-system", "labels": labels}
        containers = [{"name": "calico-kube-controllers", "image": CALICO[2]}]
        fake.store.create("pods", {"metadata": metadata, "spec": {"containers": containers}})
        yield fake


def furnish(machine: Machine, fake: FakeCluster) -> None:
    """Images are there, kind's kubeconfig leads to ``fake``, and tunnels come when they are listened for."""
    config = json.loads(fake.kubeconfig(machine.folder / "fake").read_text())
    for each in (*config["contexts"], *config["clusters"]):
        each["name"] = each["name"].replace("fake", "kind-demo")
    config["contexts"][0]["context"]["cluster"] = "kind-demo"
    with machine.changed() as state:
        state["images"] += [*LABS, *CALICO, given().images.probe_image]
        state["kind"]["kubeconfig"] = json.dumps(config)
        state["becomes"] = {name: settled(name) for name in NODES}


def settled(node: str, **routes: str) -> dict[str, Any]:
    """A node's addresses and routes once Calico is done. ``routes``: of other nodes, another device."""
    address, block = NODES[node]
    return {
        "interfaces": {"eth0": "172.18.0.2", "eth1": address, "tunl0": block.split("/")[0]},
        "routes": [
            {"dst": block, "gateway": address, "dev": routes.get(name, "tunl0"), "flags": ["onlink"]}
            for name, (address, block) in NODES.items()
            if name != node
        ],
    }


def given(**what: Any) -> Asked:
    return asked(**{"calico_manifest": MANIFEST, **what})
