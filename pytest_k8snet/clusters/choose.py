"""Which provider serves a run, why, and how its cluster is opened."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_k8snet.intent import Intent

if TYPE_CHECKING:
    from pytest_k8snet.clusters.base import Cluster

PROVIDERS = ("auto", "embedded", "replay", "kind", "kubeconfig")
KERNELS = ("auto", "namespaces", "uml")
UPLINK = "eth1"  #: the reference network's, as the document's


class NotOffered(ValueError):
    """The provider asked for can't serve this run: one line that says why."""


def provider(asked: str, replay: Path | None) -> tuple[str, str]:
    """The provider ("embedded" or "replay") and why, in words for the header.

    A provider named by the user never falls back to another one. Raises :class:`NotOffered`.
    """
    if asked in ("kind", "kubeconfig"):
        raise NotOffered(f"provider {asked!r} is not in this version yet")
    if asked == "replay" and replay is None:
        raise NotOffered("provider 'replay' needs a bundle: --k8snet-replay DIR")
    if asked == "embedded" and replay is not None:
        raise NotOffered("provider 'embedded' replays nothing; leave it or --k8snet-replay out")
    if replay is not None:
        return "replay", f"bundle {replay}"
    if asked == "embedded":
        return "embedded", "as asked"
    return "embedded", "auto: kind and kubeconfig are not in this version yet"


def beyond_the_reference_network(intent: Intent) -> Iterator[tuple[str, str]]:
    """What ``intent`` declares that the reference network can't be: (field of Intent, one line)."""
    from pytest_k8snet.embedded.description import NODES

    this = "the reference network"
    if intent.encapsulation != "ipip-always":
        yield "encapsulation", f"{intent.encapsulation!r}: {this} has 'ipip-always' only"
    if intent.proxy_mode != "iptables":
        yield "proxy_mode", f"{intent.proxy_mode!r}: {this} has 'iptables' only"
    for node in NODES:
        if intent.pod_cidr.version != 4 or not node.block.subnet_of(intent.pod_cidr):
            yield "pod_cidr", f"'{intent.pod_cidr}': {this} has pods in {node.block} on {node.name}"
    if intent.service_cidr.version != 4 or intent.service_cidr.prefixlen > 24:
        yield "service_cidr", f"'{intent.service_cidr}': {this} needs an IPv4 range of /24 or more"
    if len(intent.interface_prefix) > 4:
        yield "interface_prefix", f"{intent.interface_prefix!r}: {this} takes 4 letters, a digest follows"
    if intent.uplink not in (None, UPLINK):
        yield "uplink", f"{intent.uplink!r}: the uplink of {this} is {UPLINK!r}"
    names = {node.role: node.name for node in NODES}
    for role, name in intent.roles.items():
        if name != names[role]:
            yield "roles", f"'{role}={name}': the {role} of {this} is {names[role]!r}"


def problems_with_faults(names: Sequence[str], provider: str, intent: Intent) -> Iterator[str]:
    """Why the reference network can't have these faults, one line each."""
    if not names:
        return
    from pytest_k8snet.embedded.faults.catalogue import BY_NAME

    if provider != "embedded":
        yield f"{names[0]!r}: provider {provider!r} can't be wrong on purpose, the reference network can"
    for number, name in enumerate(names):
        if name not in BY_NAME:
            close = difflib.get_close_matches(name, BY_NAME, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            yield f"{name!r} is not a fault{meant} (--k8snet-fault=list prints them)"
        elif name in names[:number]:
            yield f"{name!r} is given twice"
    document = Intent()
    for name in ("interface_prefix", "node_port", "pod_cidr", "service_cidr"):
        if getattr(intent, name) != getattr(document, name):
            option = name.replace("_", "-")
            yield f"the faults are made for the document's names and addresses: leave --k8snet-{option} out"


def problems(provider: str, kernel: str) -> list[str]:
    """What this machine lacks to run ``provider``: missing tools with their Debian packages."""
    if provider != "embedded":
        return []
    from pytest_k8snet.clusters.base import ClusterError
    from pytest_k8snet.clusters.embedded import preflight

    try:
        return preflight(kernel)
    except ClusterError as error:
        return [str(error)]


def kernel_in_words(kernel: str) -> str:
    """Which way to a kernel the embedded provider will take, for the header."""
    from pytest_k8snet.clusters.embedded import describe

    return describe(kernel)


def open_cluster(
    provider: str,
    *,
    intent: Intent,
    kernel: str = "auto",
    bundle: Path | None = None,
    join: bool = False,
    replay: Path | None = None,
    faults: Sequence[str] = (),
    progress: Callable[[str], None],
) -> Cluster:
    """A cluster that is up. ``join``: the bundle was begun by another process of this run. ``faults``: names
    from :mod:`pytest_k8snet.embedded.faults.catalogue`.

    Raises :class:`~pytest_k8snet.clusters.base.ClusterError`.
    """
    if provider == "replay":
        from pytest_k8snet.clusters.replay import ReplayCluster

        assert replay is not None, "settings.read() lets no replay through without its bundle"
        return ReplayCluster(replay)

    from pytest_k8snet.clusters.bundle import BundleTape
    from pytest_k8snet.clusters.embedded import EmbeddedCluster
    from pytest_k8snet.clusters.tape import MemoryTape
    from pytest_k8snet.embedded.faults.catalogue import BY_NAME

    tape = MemoryTape() if bundle is None else BundleTape(bundle, join=join)
    try:
        cluster = EmbeddedCluster.start(
            tape=tape,
            intent=intent,
            kernel_kind=kernel,
            faults=[BY_NAME[name] for name in faults],
            progress=progress,
        )
    except BaseException:
        tape.close()
        raise
    if isinstance(tape, BundleTape):
        tape.describe_cluster(cluster, intent)
    return cluster


def verdict_on(provider: str, replay: Path | None, faults: Sequence[str] = ()) -> str:
    """What the verdicts of such a run are about, for its last line."""
    if replay is None:
        wrong = f" with {in_words(faults)}" if faults else ""
        return (
            f"the embedded reference network{wrong}, not on a cluster" if provider == "embedded" else provider
        )
    header = json.loads((replay / "bundle.json").read_bytes())
    started = str(header.get("started", "")).replace("T", " ")[:16]
    what = ", on the reference network, not on a cluster" if header.get("reference") else ""
    return f"a run of provider {header.get('provider')}, recorded {started} UTC{what}"


def in_words(faults: Sequence[str]) -> str:
    """ "fault direct-routes", "faults direct-routes and pool-never"."""
    return f"fault{'s' if len(faults) > 1 else ''} {' and '.join(faults)}"
