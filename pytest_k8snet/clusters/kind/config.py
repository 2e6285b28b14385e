"""kind's configuration for one run: kind-config.yaml with what the intent declares, and our mark (pure)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pytest_k8snet.intent import Intent

#: On disk beside the package in a source tree, in it where it is installed.
_PLACES = (Path(__file__).parents[2] / "kind-config.yaml", Path(__file__).parents[3] / "kind-config.yaml")

#: Below it each node of ours has a mount named as the run that made it. Containers of kind's take no labels
#: of ours, and what tells our cluster from one of the user's with the same name must be there from the first
#: moment on. It is /dev/null: on every machine, and nothing of it stays.
MARKS = "/k8snet/"

#: nftables' kube-proxy answers NodePorts on a node's primary address only (1.31 on), which is kind's eth0.
#: A range of eth1 alone would not do: it is matched against the addresses of kube-proxy's first moment,
#: and eth1 comes later. This one becomes a rule on any local address.
_EVERY_ADDRESS = "kind: KubeProxyConfiguration\nnodePortAddresses: [0.0.0.0/0]\n"


def text(intent: Intent, run: str) -> str:
    """What ``kind create cluster --config`` takes: nodes and network as declared, marked as ``run``'s."""
    config = _shipped()
    config["networking"] |= {
        "kubeProxyMode": intent.proxy_mode,
        "podSubnet": str(intent.pod_cidr),
        "serviceSubnet": str(intent.service_cidr),
    }
    if intent.proxy_mode == "nftables":
        config["kubeadmConfigPatches"] = [*config.get("kubeadmConfigPatches", ()), _EVERY_ADDRESS]
    mark = {"hostPath": "/dev/null", "containerPath": f"{MARKS}{run}", "readOnly": True}
    for node in config["nodes"]:
        node["extraMounts"] = [*node.get("extraMounts", ()), mark]
    return yaml.safe_dump(config, sort_keys=False)


def node_names(cluster: str) -> tuple[str, ...]:
    """kind's names for the nodes of kind-config.yaml (common.MakeNodeNamer): master, node1, node2."""
    counted: dict[str, int] = {}
    names = []
    for node in _shipped()["nodes"]:
        role = node["role"]
        counted[role] = counted.get(role, 0) + 1
        names.append(f"{cluster}-{role}{counted[role] if counted[role] > 1 else ''}")
    return tuple(names)


def marked(container: dict[str, Any]) -> str:
    """The run that made this container (as ``docker inspect`` shows it); "" for one that is not ours."""
    for mount in container.get("Mounts") or ():
        if str(mount.get("Destination", "")).startswith(MARKS):
            return str(mount["Destination"]).removeprefix(MARKS)
    return ""


def _shipped() -> dict[str, Any]:
    path = next(path for path in _PLACES if path.exists())
    read: dict[str, Any] = yaml.safe_load(path.read_text())
    return read
