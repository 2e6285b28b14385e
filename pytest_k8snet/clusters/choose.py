"""Which provider serves a run, why, and how its cluster is opened."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_k8snet.clusters import engine
from pytest_k8snet.clusters.asked import Asked
from pytest_k8snet.intent import Intent

if TYPE_CHECKING:
    from pytest_k8snet.clusters.base import Cluster

PROVIDERS = ("auto", "kind", "kubeconfig", "embedded", "replay")
REAL = ("kind", "kubeconfig")  #: those whose verdict is one on a Kubernetes cluster
KERNELS = ("auto", "namespaces", "uml")
UPLINK = "eth1"  #: the reference network's, as the document's
_HOST_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  #: one label of RFC 1123


class NotOffered(ValueError):
    """The provider asked for can't serve this run: one line that says why. ``setting`` is at fault."""

    def __init__(self, problem: str, setting: str = "provider") -> None:
        super().__init__(problem)
        self.setting = setting


def one_of(value: object, what: str, known: Sequence[str]) -> str:
    """ "'x' is not a provider; choose one of auto, embedded"."""
    return f"{value!r} is not {what}; choose one of {', '.join(known)}"


def provider(asked: str, replay: Path | None, real: Asked) -> tuple[str, str]:
    """The provider that serves the run and why, in words for the header (docs/architecture.md, "Providers").

    A provider named by the user never falls back to another one. Raises :class:`NotOffered`.
    """
    named = "context" if real.context else "kubeconfig" if real.kubeconfig else ""
    if asked == "replay" and replay is None:
        raise NotOffered("provider 'replay' needs a bundle: --k8snet-replay DIR")
    if asked not in ("auto", "replay") and replay is not None:
        raise NotOffered(f"provider {asked!r} replays nothing; leave it or --k8snet-replay out")
    if replay is not None:
        if named:
            raise NotOffered("a replay reaches no cluster; leave it or --k8snet-replay out", named)
        return "replay", f"bundle {replay}"
    if asked == "kubeconfig" or (asked == "auto" and named):
        if not real.context:
            raise NotOffered(
                "name the cluster with --k8snet-context NAME: the current context is never taken",
                named or "provider",
            )
        return "kubeconfig", f"context {real.context}"
    if asked in ("embedded", "kind"):
        return asked, "as asked"
    silent = engine.why_silent()
    if silent:
        return "embedded", f"auto: no --k8snet-context, and {silent}"
    return "kind", "auto: no --k8snet-context, and a Docker daemon answers"


def beyond_the_reference_network(intent: Intent) -> Iterator[tuple[str, str]]:
    """What ``intent`` declares that the reference network can't be: (field of Intent, one line)."""
    from pytest_k8snet.embedded.description import NODES, nodes_within

    this = "the reference network"
    if intent.encapsulation != "ipip-always":
        yield "encapsulation", f"{intent.encapsulation!r}: {this} has 'ipip-always' only"
    if intent.proxy_mode != "iptables":
        yield "proxy_mode", f"{intent.proxy_mode!r}: {this} has 'iptables' only"
    if isinstance(intent.pod_cidr, IPv4Network):
        try:
            nodes_within(intent.pod_cidr)
        except ValueError as error:
            yield "pod_cidr", f"{this} has a block of pods on each node, and {error}"
    else:
        yield "pod_cidr", f"'{intent.pod_cidr}': {this} is IPv4 only"
    if intent.service_cidr.version != 4 or intent.service_cidr.prefixlen > 24:
        yield "service_cidr", f"'{intent.service_cidr}': {this} needs an IPv4 range of /24 or more"
    if len(intent.interface_prefix) > 4:
        yield "interface_prefix", f"{intent.interface_prefix!r}: {this} takes 4 letters, a digest follows"
    if intent.uplink not in (None, UPLINK):
        yield "uplink", f"{intent.uplink!r}: the uplink of {this} is {UPLINK!r}"
    names = {node.role: node.name for node in NODES} | dict(intent.roles)
    for role, name in intent.roles.items():
        if not _HOST_NAME.fullmatch(name):
            yield "roles", f"'{role}={name}': {name!r} can't be a host's name"
        if list(names.values()).count(name) > 1:
            yield "roles", f"'{role}={name}': another node of {this} has that name"


def problems_with_faults(names: Sequence[str], provider: str, intent: Intent) -> Iterator[str]:
    """Why the reference network can't have these faults, one line each."""
    if not names:
        return
    from pytest_k8snet.embedded.description import NODES
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
    document = Intent(roles={node.role: node.name for node in NODES if node.role in intent.roles})
    for name in ("interface_prefix", "node_port", "pod_cidr", "roles", "service_cidr"):
        if getattr(intent, name) != getattr(document, name):
            option = "role" if name == "roles" else name.replace("_", "-")
            yield f"the faults are made for the document's names and addresses: leave --k8snet-{option} out"


def problems(provider: str, kernel: str, asked: Asked, intent: Intent) -> list[str]:
    """Why ``provider`` can't serve this run, all that was found at once, a line each: tools that this machine
    lacks (with their Debian packages), a cluster that can't be reached or may not be used."""
    from pytest_k8snet.clusters.base import ClusterError

    try:
        if provider == "embedded":
            from pytest_k8snet.clusters import embedded

            return embedded.preflight(kernel)
        if provider == "kind":
            from pytest_k8snet.clusters.kind import provider as kind

            return kind.preflight(asked, intent)
        if provider == "kubeconfig":
            from pytest_k8snet.clusters.kube import kubeconfig

            return kubeconfig.preflight(asked, intent)
    except ClusterError as error:
        return [str(error)]
    return []


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
    asked: Asked | None = None,
    shared: Path | None = None,
    disruptive: bool = True,
    progress: Callable[[str], None],
) -> Cluster:
    """A cluster that is up. ``join``: the bundle was begun by another process of this run. ``faults``: names
    from :mod:`pytest_k8snet.embedded.faults.catalogue`. ``shared``: kubeconfig of the kind cluster that
    another process of this run made and will remove.

    Raises :class:`~pytest_k8snet.clusters.base.ClusterError`.
    """
    if provider == "replay":
        from pytest_k8snet.clusters.replay import ReplayCluster

        assert replay is not None, "settings.read() lets no replay through without its bundle"
        return ReplayCluster(replay)

    from pytest_k8snet.clusters.bundle import BundleTape
    from pytest_k8snet.clusters.tape import MemoryTape

    tape = MemoryTape() if bundle is None else BundleTape(bundle, join=join)
    asked = asked or Asked()
    cluster: Cluster
    try:
        if provider == "kind":
            from pytest_k8snet.clusters.kind import provider as kind

            cluster = kind.open_cluster(tape=tape, intent=intent, asked=asked, progress=progress, join=shared)
        elif provider == "kubeconfig":
            from pytest_k8snet.clusters.kube import kubeconfig

            cluster = kubeconfig.open_cluster(tape=tape, intent=intent, asked=asked, progress=progress)
        else:
            from pytest_k8snet.clusters.embedded import EmbeddedCluster
            from pytest_k8snet.embedded.faults.catalogue import BY_NAME

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
    cluster.disruptive = disruptive
    if isinstance(tape, BundleTape):
        tape.describe_cluster(cluster, intent)
    return cluster


def recorded(replay: Path) -> dict[str, Any]:
    """The header of a bundle that was found to be whole."""
    header: dict[str, Any] = json.loads((replay / "bundle.json").read_bytes())
    return header


def verdict_on(provider: str, replay: Path | None, faults: Sequence[str] = (), context: str = "") -> str:
    """What the verdicts of such a run are about, for its last line."""
    if replay is not None:
        header = recorded(replay)
        started = str(header.get("started", "")).replace("T", " ")[:16]
        what = ", on the reference network, not on a cluster" if header.get("reference") else ""
        return f"a run of provider {header.get('provider')}, recorded {started} UTC{what}"
    if provider == "embedded":
        wrong = f" with {in_words(faults)}" if faults else ""
        return f"the embedded reference network{wrong}, not on a cluster"
    if provider == "kubeconfig":
        return f"the cluster of context {context}"
    return "a kind cluster made for this run"


def in_words(faults: Sequence[str]) -> str:
    """ "fault direct-routes", "faults direct-routes and pool-never"."""
    return f"fault{'s' if len(faults) > 1 else ''} {' and '.join(faults)}"
