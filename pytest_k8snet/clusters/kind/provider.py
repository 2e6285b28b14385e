"""The kind provider: the document's three machines, made for a run and removed with it."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from pytest_k8snet.clusters.api.client import Api
from pytest_k8snet.clusters.asked import Asked
from pytest_k8snet.clusters.base import ClusterError, Deadline, Node
from pytest_k8snet.clusters.kind import (
    calico,
    config,
    downloads,
    network,
    node_images,
    rollout,
)
from pytest_k8snet.clusters.kind import preflight as looking
from pytest_k8snet.clusters.kind.daemon import docker, node_containers
from pytest_k8snet.clusters.kind.host import routes
from pytest_k8snet.clusters.kind.kind_tool import Kind
from pytest_k8snet.clusters.kind.versions import Versions, versions
from pytest_k8snet.clusters.kube.kubernetes_cluster import KubernetesCluster
from pytest_k8snet.clusters.tape import Tape
from pytest_k8snet.clusters.ways.docker import CaptureContainer, access, remove_leftovers
from pytest_k8snet.clusters.ways.toolbox import ToolNode
from pytest_k8snet.intent import Intent

REMOVAL = 180.0  #: seconds for a cluster to be removed; three containers take about ten

Progress = Callable[[str], None]


def preflight(asked: Asked, intent: Intent) -> list[str]:
    """Why a run may not start, one line each; [] when it may. Changes nothing."""
    return looking.findings(asked, intent)


def open_cluster(
    *, tape: Tape, intent: Intent, asked: Asked, progress: Progress, join: Path | None = None
) -> KindKubernetes:
    """A cluster that is up, with a namespace of ours. Raises ClusterError, one line; nothing is left then.

    ``join``: the kubeconfig of a cluster that another process of this run made (:func:`create`). It stays
    when this one is closed.
    """
    machines = None if join is not None else create(intent=intent, asked=asked, progress=progress)
    kubeconfig = join or asked_kubeconfig(asked)
    try:
        cluster = KindKubernetes.open(
            lambda: Api.connect(kubeconfig, f"kind-{asked.kind.name}"),
            tape=tape,
            intent=intent,
            asked=asked,
            progress=progress,
            provider="kind",
            reach=_reach,
        )
    except BaseException:
        if machines is not None:
            machines.close(progress)
        raise
    cluster.machines = machines
    cluster.kubeconfig = kubeconfig
    return cluster


def create(*, intent: Intent, asked: Asked, progress: Progress) -> Machines:
    """Make the three machines with Calico between them, and nothing on them yet.

    Raises ClusterError, one line. After that, and after KeyboardInterrupt, nothing of it is left.
    """
    deadline = Deadline(asked.timeout)
    try:
        return _create(intent, asked, progress, deadline)
    finally:
        progress("")


@dataclass
class Machines:
    """kind's cluster, its second network and the folder of this run. :meth:`close` removes all three."""

    kind: Kind
    underlay: network.Underlay
    folder: tempfile.TemporaryDirectory[str]

    @property
    def kubeconfig(self) -> Path:
        return self.kind.kubeconfig

    def close(self, progress: Progress = lambda step: None) -> str:
        """What stays, and how to remove it; "" when nothing does. Idempotent; raises no ClusterError."""
        if self.underlay.kept:
            self.folder.cleanup()
            return (
                f"kept as asked: kind cluster {self.kind.name} (kubeconfig {self.kubeconfig}); remove it with"
                f" `{self.underlay.removal}`"
            )
        progress(f"removing kind cluster {self.kind.name}")
        try:
            _remove(self.kind, self.underlay)
        except ClusterError as error:
            return (
                f"could not be removed: kind cluster {self.kind.name}: {error}; remove it with"
                f" `{self.underlay.removal}`"
            )
        finally:
            self.folder.cleanup()
            progress("")
        return ""


class KindKubernetes(KubernetesCluster):
    """Its nodes are containers on this machine: commands by docker exec, captures from a container beside."""

    machines: Machines | None = None  #: None: made by another process of this run
    kubeconfig: Path  #: what another process joins it by

    def close(self) -> None:
        kept = self.machines is None or self.machines.underlay.kept
        if not kept:
            self.place.kept = True  # the namespace goes with the cluster
        try:
            super().close()
        finally:
            if self.machines is not None:
                stays, self.machines = self.machines.close(self.progress), None
                self.farewell = "; ".join(filter(None, [self.farewell if kept else "", stays]))


def asked_kubeconfig(asked: Asked) -> Path:
    """Where kind writes it: ``--kubeconfig``, else where pytest-kind has it."""
    if asked.kind.kubeconfig is not None:
        return asked.kind.kubeconfig.absolute()
    return Path.cwd() / ".pytest-kind" / asked.kind.name / "kubeconfig"


def _create(intent: Intent, asked: Asked, progress: Progress, deadline: Deadline) -> Machines:
    name, run = asked.kind.name, secrets.token_hex(4)
    binary = downloads.kind(asked.kind, progress)
    _sweep(binary, progress)
    try:
        wanted = versions(asked, downloads.version_of(binary))
    except ValueError as error:
        raise ClusterError(str(error)) from None
    bodies, images = _prepared(wanted, intent, asked, progress, deadline)
    if taken := node_containers(name):
        raise ClusterError(f"--cluster-name: there is a kind cluster {name} already ({', '.join(taken)})")
    folder = tempfile.TemporaryDirectory(prefix="k8snet-kind-")
    kind = Kind(
        name, binary, Path(folder.name), asked_kubeconfig(asked), wanted.node_image, asked.kind.kubectl
    )
    try:
        progress("making the nodes' second network")
        underlay = _underlay(kind, run, intent, keep=asked.kind.keep or asked.keep)
    except BaseException:
        folder.cleanup()
        raise
    try:
        configuration = Path(folder.name) / "kind-config.yaml"
        configuration.write_text(config.text(intent, run))
        kind.create(configuration, deadline, progress)
        nodes = config.node_names(name)
        progress(f"connecting the nodes to {underlay.subnet}")
        network.connect(underlay, nodes)
        node_images.load(kind, images, deadline, progress)
        with Api.connect(kind.kubeconfig, f"kind-{name}") as api:
            api.deadline = deadline
            rollout.create(api, bodies, progress)
            rollout.wait(api, nodes, intent, deadline, progress)
    except BaseException as error:
        # What never came up is not kept, whatever was asked for.
        stays = Machines(kind, replace(underlay, kept=False), folder).close(progress)
        if stays and isinstance(error, ClusterError):
            raise ClusterError(f"{error}; {stays}") from error
        raise
    return Machines(kind, underlay, folder)


def _underlay(kind: Kind, run: str, intent: Intent, *, keep: bool) -> network.Underlay:
    ranges = [each for each in (intent.pod_cidr, intent.service_cidr) if isinstance(each, IPv4Network)]
    for last in (False, False, True):
        subnet = network.free_range(network.taken(routes(), ranges))
        try:
            return network.create(kind.name, run, subnet, kubeconfig=kind.kubeconfig, keep=keep)
        except ClusterError as error:
            if "already exists" in str(error):
                raise ClusterError(
                    f"--cluster-name: another run takes {kind.name} at this moment: choose another name"
                ) from None
            # "Pool overlaps with other one on this address space": another run was faster.
            if last or "overlaps" not in str(error):
                raise
    raise AssertionError("the last try returns or raises")


def _prepared(
    wanted: Versions, intent: Intent, asked: Asked, progress: Progress, deadline: Deadline
) -> tuple[list[calico.Object], list[str]]:
    """Calico's objects and the images for the nodes. All that may need a network, before anything is made."""
    if wanted.node_image:
        node_images.pull([wanted.node_image], deadline, progress, "name another with --kind-image")
    pin = wanted.calico
    if pin is None:
        assert wanted.calico_manifest is not None
        source, path = str(wanted.calico_manifest), wanted.calico_manifest
    else:
        source = f"Calico {pin.version}'s manifest"
        path = downloads.download(
            pin.url, pin.sha256, f"calico-{pin.version}.yaml", what=source, progress=progress
        )
    try:
        bodies = calico.parse(path.read_bytes(), source)
    except OSError as error:
        raise ClusterError(f"--k8snet-calico-manifest: {path} can't be read: {error.strerror}") from None
    bodies = calico.edited(bodies, source, intent, intent.uplink or network.UPLINK)
    calico.with_images(bodies, pin.images if pin else {})
    calicos = calico.images(bodies)
    node_images.pull(calicos, deadline, progress, "name a manifest with others with --k8snet-calico-manifest")
    labs = node_images.of_labs(asked.images)
    node_images.pull(labs, deadline, progress, "replace it with --k8snet-images agnhost or IMAGE=OTHER")
    node_images.pull([asked.images.probe_image], deadline, progress, "name another with --k8snet-probe-image")
    return bodies, [*calicos, *labs]


def _reach(cluster: KubernetesCluster, deadline: Deadline) -> Mapping[str, Node]:
    nodes: dict[str, Node] = {}
    for name in cluster.roles.values():
        tools = partial(
            CaptureContainer,
            name,
            cluster.asked.images.probe_image,
            run_id=cluster.tape.run_id,
            progress=cluster.progress,
        )
        nodes[name] = node = ToolNode(cluster, name, here=access(name), tools=tools)
        cluster.ending.callback(node.close)
    return nodes


def _sweep(binary: Path, progress: Progress) -> None:
    """Remove what killed runs left, whatever their clusters' names. Raises ClusterError, one line."""
    remove_leftovers()
    for underlay in network.ours():
        if not underlay.abandoned:
            continue
        progress(
            f"removing kind cluster {underlay.cluster}, left by a run that was killed ({underlay.owner})"
        )
        with tempfile.TemporaryDirectory(prefix="k8snet-kind-") as folder:
            kubeconfig = underlay.kubeconfig
            if not kubeconfig.exists():  # kind would make its folder anew, to lock it
                kubeconfig = Path(folder) / "kubeconfig"
            kind = Kind(underlay.cluster, binary, Path(folder), kubeconfig)
            _remove(kind, underlay)
        # It was the dead run's, so it was not noted as made by this one.
        if underlay.kubeconfig.parent.parent.name == ".pytest-kind":
            underlay.kubeconfig.unlink(missing_ok=True)
            for path in (underlay.kubeconfig.parent, underlay.kubeconfig.parent.parent):
                with suppress(OSError):
                    path.rmdir()


def _remove(kind: Kind, underlay: network.Underlay) -> None:
    """The nodes with our mark, then the network: while that is there, a later run knows whose they are."""
    deadline = Deadline(REMOVAL)
    if network.nodes_of(underlay):
        kind.delete(deadline)
    # An interrupted kind may have left a docker that still made a node.
    for name in network.nodes_of(underlay):
        docker("rm", "-f", "-v", name)
    kind.forget()
    network.remove(underlay)
