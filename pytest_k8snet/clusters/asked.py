"""What a run asks of a real cluster, checked for its form; the providers check it against the world."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pytest_k8snet.clusters.images import Images

ACCESSES = ("probe", "ssh")  #: ways to a node of a cluster that exists
PROFILES = ("current", "document")


@dataclass(frozen=True)
class KindOptions:
    """pytest-kind's own options, as it parsed them."""

    name: str = "pytest-kind"  #: --cluster-name
    keep: bool = False  #: --keep-cluster
    kubeconfig: Path | None = None  #: --kubeconfig: where kind is to write it
    image: str = ""  #: --kind-image: of the nodes
    kind: Path | None = None  #: --kind-bin
    kubectl: Path | None = None  #: --kind-kubectl-bin


@dataclass(frozen=True)
class Asked:
    """Options of the providers kind and kubeconfig. Empty: not given."""

    context: str = ""
    kubeconfig: Path | None = None
    access: str = "probe"  #: one of ACCESSES
    ssh_config: Path | None = None  #: ssh_config(5) for access "ssh", as testinfra's --ssh-config names it
    ssh_identity: Path | None = None  #: testinfra's --ssh-identity-file
    ssh_extra: str = ""  #: testinfra's --ssh-extra-args
    images: Images = field(default_factory=Images)
    keep: bool = False
    timeout: float = 600.0  #: seconds for all of bringing up, and for all of applying a lab
    profile: str = "current"  #: one of PROFILES
    calico_version: str = ""
    calico_manifest: Path | None = None
    kind: KindOptions = field(default_factory=KindOptions)
