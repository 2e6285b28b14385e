"""Containers and sandboxes as the node's runtime lists them: OCI state, Docker, CRI."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Container:
    """One running container. ``sandbox`` marks the pause container of its pod."""

    id: str
    name: str  #: the container's name in the pod's spec; "POD" for the sandbox
    pod: str
    namespace: str
    sandbox: bool
    pid: int
    sandbox_id: str = ""  #: id of the sandbox it belongs to (its own id for a sandbox)
    pod_uid: str = ""
    image: str = ""
    network_mode: str | None = None  #: Docker's HostConfig.NetworkMode: "container:<id>", "none", "host"
    network_namespace: str | None = (
        None  #: OCI linux.namespaces[type=network].path; None where it makes its own
    )
    runtime: str = ""  #: "docker", "cri", "oci"
