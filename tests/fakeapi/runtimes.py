"""A recorded node's containers as Docker and crictl would print them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_k8snet.evidence.sandboxes import Container, parse_oci_config, parse_oci_list
from pytest_k8snet.probes.oci import documents


def containers(listed: bytes, configs: bytes) -> list[Container]:
    """From ``crun list`` and the ``config.json`` of each that runs."""
    running = [state for state in parse_oci_list(listed) if state.status == "running"]
    return [
        parse_oci_config(state, config) for state, config in zip(running, documents(configs), strict=True)
    ]


def docker(argv: Sequence[str], found: Iterable[Container]) -> str | None:
    """``docker ps -q`` and ``docker inspect``; None for anything else."""
    match argv[1:]:
        case ["ps", "-q", *options]:
            return "".join(f"{one.id}\n" for one in found if _labelled(options, _labels(one)))
        case ["inspect", *ids]:
            return json.dumps([_docker(one) for one in found if one.id in ids], indent=4) + "\n"
    return None


def crictl(argv: Sequence[str], found: Iterable[Container]) -> str | None:
    """``crictl pods|ps -q``, ``inspectp`` and ``inspect``; None for anything else."""
    match argv[1:]:
        case ["pods" | "ps", "-q", *options]:
            wanted = [one for one in found if one.sandbox == (argv[1] == "pods")]
            return "".join(f"{one.id}\n" for one in wanted if _labelled(options, _labels(one)))
        case ["inspectp" | "inspect", *ids]:
            described = [_cri(one) for one in found if one.id in ids]
            return "\n".join(json.dumps(one, indent=2) for one in described) + "\n"
    return None


def _labels(container: Container) -> dict[str, str]:
    return {
        "io.kubernetes.container.name": container.name,
        "io.kubernetes.pod.name": container.pod,
        "io.kubernetes.pod.namespace": container.namespace,
        "io.kubernetes.pod.uid": container.pod_uid,
    }


def _labelled(options: Sequence[str], labels: dict[str, str]) -> bool:
    wanted = [option.removeprefix("label=") for option in options if option.count("=") in (1, 2)]
    return all(labels.get(name) == value for name, _, value in (one.partition("=") for one in wanted))


def _docker(container: Container) -> dict[str, Any]:
    """As dockershim has its containers made."""
    kind = "podsandbox" if container.sandbox else "container"
    labels = _labels(container) | {"io.kubernetes.docker.type": kind}
    if not container.sandbox:
        labels["io.kubernetes.sandbox.id"] = container.sandbox_id
    parts = ("k8s", container.name, container.pod, container.namespace, container.pod_uid, "0")
    mode = "none" if container.sandbox else f"container:{container.sandbox_id}"
    return {
        "Id": container.id,
        "Name": f"/{'_'.join(parts)}",
        "State": {"Status": "running", "Running": True, "Pid": container.pid},
        "Config": {"Image": container.image, "Labels": labels},
        "HostConfig": {"NetworkMode": mode},
    }


def _cri(container: Container) -> dict[str, Any]:
    path = {"path": container.network_namespace} if container.network_namespace else {}
    info: dict[str, Any] = {
        "pid": container.pid,
        "image": container.image,
        "runtimeSpec": {"linux": {"namespaces": [{"type": "network", **path}]}},
    }
    if container.sandbox:
        metadata = {"name": container.pod, "namespace": container.namespace, "uid": container.pod_uid}
        state = "SANDBOX_READY"
    else:
        metadata = {"name": container.name}
        state = "CONTAINER_RUNNING"
        info["sandboxID"] = container.sandbox_id
    status = {"id": container.id, "metadata": metadata, "state": state, "labels": _labels(container)}
    return {"status": status | {"image": {"image": container.image}}, "info": info}
