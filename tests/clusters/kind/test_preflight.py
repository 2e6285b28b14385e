"""All that can keep a machine from holding a cluster of ours, each found before anything is made."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.asked import Asked
from pytest_k8snet.clusters.kind import network, preflight
from pytest_k8snet.clusters.kind.host import Route
from pytest_k8snet.clusters.kind.versions import pins
from pytest_k8snet.clusters.kube import heartbeat
from pytest_k8snet.intent import Intent
from tests.clusters.kind import tools
from tests.clusters.kind.machine import SAMPLES, Machine, asked


def found(
    machine: Machine, given: Asked | None = None, intent: Intent | None = None, **routes: str
) -> list[str]:
    """``routes``: device=network."""
    listed = [Route(IPv4Network(ip), device) for device, ip in routes.items()]
    return preflight.findings(
        given or asked(), intent or Intent(), host=machine.kernel, routes=lambda: listed
    )


def only(findings: list[str]) -> str:
    (finding,) = findings
    assert "\n" not in finding
    return finding


@pytest.fixture(autouse=True)
def quick(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.answer_at_once(monkeypatch)


def test_nothing_is_in_the_way_and_nothing_is_changed(machine: Machine) -> None:
    before = machine.state
    assert found(machine, ens3="10.0.2.0/24") == []
    changing = {"create", "rm", "pull", "connect", "run", "delete"}
    assert not [call for call in machine.state["calls"] if changing & set(call)]
    assert machine.state | {"calls": []} == before
    assert machine.left() == []


def test_all_at_once(machine: Machine) -> None:
    machine.file("proc/modules", "")
    machine.file("proc/sys/fs/inotify/max_user_instances", "128\n")
    machine.file("proc/meminfo", "MemAvailable:   1048576 kB\n")
    with machine.changed() as daemon:
        daemon["info"]["CgroupVersion"] = "1"
        daemon["containers"].append(tools.made_node("demo", "control-plane"))
    findings = found(machine, asked(kind_kubectl=Path("/no/kubectl")), ens3="20.0.0.0/8")
    expected = (
        "--kind-kubectl-bin",
        "ipip",
        "inotify",
        "memory",
        "cgroup v1",
        "--cluster-name",
        "--k8snet-pod-cidr",
    )
    assert len(findings) == len(expected)
    assert all(word in finding for word, finding in zip(expected, findings, strict=True))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("lib/modules/6.1.0-37-amd64/modules.builtin", "kernel/net/ipv4/ipip.ko\n"),
        (
            "lib/modules/6.1.0-37-amd64/modules.dep",
            "kernel/net/ipv4/ipip.ko.zst: kernel/net/ipv4/tunnel4.ko.zst\n",
        ),
        ("sys/module/ipip/refcnt", "0"),
        ("sys/class/net/tunl0/mtu", "1480"),
    ],
)
def test_ipip_where_it_is_not_loaded(machine: Machine, path: str, text: str) -> None:
    machine.file("proc/modules", "ipip6 1 0 - Live 0x0\n")
    assert "has no ipip, which the nodes share: `modprobe ipip`" in only(found(machine))
    machine.file(path, text)
    assert found(machine) == []


def test_a_module_on_disk_is_of_no_use_where_none_may_be_loaded(machine: Machine) -> None:
    machine.file("proc/modules", "")
    machine.file("lib/modules/6.1.0-37-amd64/modules.dep", "kernel/net/ipv4/ipip.ko:\n")
    machine.file("proc/sys/kernel/modules_disabled", "1\n")
    assert "has no ipip" in only(found(machine))


@pytest.mark.parametrize(
    ("intent", "module"),
    [
        (Intent(encapsulation="vxlan-always"), "vxlan"),
        (Intent(proxy_mode="ipvs"), "ip_vs"),
        (Intent(proxy_mode="nftables"), "nf_tables"),
        (Intent(encapsulation="none"), ""),
    ],
)
def test_other_intents_need_other_modules(machine: Machine, intent: Intent, module: str) -> None:
    machine.file("proc/modules", "ipip 1 0 - Live 0x0\n" if intent.tunnel == "ipip" else "")
    assert found(machine, intent=intent) == []  # this kernel's modules are not to be seen
    machine.file("lib/modules/6.1.0-37-amd64/modules.dep", "kernel/net/ipv4/ipip.ko:\n")
    findings = found(machine, intent=intent)
    assert findings == [] if not module else f"`modprobe {module}`" in only(findings)


@pytest.mark.parametrize(("name", "least"), [("max_user_instances", 512), ("max_user_watches", 32768)])
def test_inotify(machine: Machine, name: str, least: int) -> None:
    machine.file(f"proc/sys/fs/inotify/{name}", "100\n")
    assert f"fs.inotify.{name} is 100" in only(found(machine))
    assert f"`sysctl fs.inotify.{name}={least}`" in only(found(machine))


def test_memory(machine: Machine) -> None:
    machine.file("proc/meminfo", "MemAvailable: 2097152 kB\n")
    assert only(found(machine)) == "2.0 GiB of memory are available, and three nodes with Calico take 3"


def test_memory_of_a_daemon_in_a_virtual_machine(machine: Machine) -> None:
    """Nothing of this machine's kernel is judged then: the nodes don't share it."""
    with machine.changed() as daemon:
        daemon["info"]["KernelVersion"] = "6.10.14-linuxkit"
    machine.file("proc/modules", "")
    assert found(machine, ens3="20.0.0.0/8") == []
    with machine.changed() as daemon:
        daemon["info"]["MemTotal"] = 2 << 30
    assert only(found(machine)) == "Docker has 2.0 GiB of memory, and three nodes with Calico take 3"


@pytest.mark.parametrize(
    "host", ["tcp://192.0.2.1:2375", "ssh://me@build", "tcp://docker:2375", "tcp://localhost.lan:2375"]
)
@pytest.mark.parametrize("context", [True, False])
def test_a_daemon_on_another_machine(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, host: str, context: bool
) -> None:
    """Its kind publishes the API server there. This machine's kernel is not judged."""
    if context:
        real = tools.docker
        monkeypatch.setattr(
            tools, "docker", lambda daemon, argv: host if argv[0] == "context" else real(daemon, argv)
        )
    else:
        monkeypatch.setenv("DOCKER_HOST", host)
    machine.file("proc/modules", "")
    assert only(found(machine, ens3="20.0.0.0/8")).startswith(
        f"Docker: {host} is another machine, and kind's"
    )


@pytest.mark.parametrize(
    "host", ["tcp://127.0.0.1:2375", "tcp://localhost:2376/", "tcp://[::1]:2375", "/run/d"]
)
def test_a_daemon_of_this_machine_on_tcp(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert found(machine) == []
    machine.file("proc/modules", "")
    assert "has no ipip" in only(found(machine))


def test_docker_rootless(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["info"]["SecurityOptions"] = ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"]
    assert found(machine) == []
    assert only(found(machine, asked(profile="document"))).startswith(
        "Docker runs rootless, and kind brings up no Kubernetes 1.20 there: 1.22 is the oldest;"
    )


@pytest.mark.parametrize(("free", "images", "needed"), [(5, [], 6), (3, [""], 4), (5, [""], 0)])
def test_disk(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, free: int, images: list[str], needed: int
) -> None:
    usage = shutil.disk_usage(machine.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free << 30))
    with machine.changed() as daemon:
        daemon["images"] = daemon["images"][: len(images)]
    findings = found(machine)
    assert findings == [] if not needed else f"{free}.0 GiB are free in /" in only(findings)
    assert not needed or f"images and nodes take {needed}" in only(findings)


def test_a_docker_root_that_can_not_be_seen(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["info"]["DockerRootDir"] = "/no/such/folder"
    assert found(machine) == []


@pytest.mark.parametrize(
    ("cgroup", "given", "words"),
    [
        ("1", {}, "this machine has cgroup v1, and Kubernetes 1.36 of kindest/node:v1.36.1 needs v2"),
        ("1", {"profile": "document"}, ""),
        ("2", {"profile": "document"}, ""),
        ("", {"kind_image": "kindest/node:v1.34.0"}, ""),
        (
            "2",
            {"kind_image": "kindest/node:v1.18.20", "calico_manifest": SAMPLES / "calico.yaml"},
            "this machine has cgroup v2, and Kubernetes 1.18",
        ),
        ("1", {"kind_image": "registry.local/node:mine"}, ""),
    ],
)
def test_cgroups(machine: Machine, cgroup: str, given: dict[str, Any], words: str) -> None:
    with machine.changed() as daemon:
        daemon["info"]["CgroupVersion"] = cgroup
        daemon["images"].append(given.get("kind_image", ""))
    findings = [finding for finding in found(machine, asked(**given)) if "cgroup" in finding]
    assert words in only(findings) if words else findings == []


def test_windows_containers(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["info"] |= {"OSType": "windows"}
    assert only(found(machine)) == "Docker: it runs Windows containers; kind's nodes are Linux"


def ours(machine: Machine, run: str = "1234abcd", *, owner: Any = None, **more: str) -> None:
    """A cluster demo that a run of ours made, with its network."""
    labels = {
        "io.pytest-k8snet.cluster": "demo",
        "io.pytest-k8snet.run": run,
        "io.pytest-k8snet.owner": json.dumps(heartbeat.owner() if owner is None else owner),
    }
    with machine.changed() as daemon:
        daemon["networks"].append(tools.made_network("kind-k8snet-demo", "192.168.219.0/24", labels | more))
        daemon["containers"].append(tools.made_node("demo", "control-plane", "/k8snet/1234abcd"))


DEAD = heartbeat.owner() | {"pid": 1, "start": "0"}


def test_the_name_of_a_cluster_of_the_users(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["containers"] += [tools.made_node("demo", "control-plane"), tools.made_node("other", "worker")]
    assert only(found(machine)) == (
        "--cluster-name: there is a kind cluster demo already, and it is not ours (demo-control-plane):"
        " choose another name, or remove it with `kind delete cluster --name demo`"
    )


def test_the_name_of_a_run_under_way(machine: Machine) -> None:
    ours(machine)
    finding = only(found(machine))
    assert "--cluster-name: demo is that of a run under way (process " in finding
    assert "`kind delete cluster --name demo && docker network rm kind-k8snet-demo` where you know" in finding


def test_the_name_of_a_kept_cluster(machine: Machine) -> None:
    ours(machine, owner=DEAD, **{"io.pytest-k8snet.kept": "true", "io.pytest-k8snet.kubeconfig": "/k/config"})
    finding = only(found(machine))
    assert "`kind delete cluster --name demo && docker network rm kind-k8snet-demo`" in finding
    assert "--k8snet-kubeconfig /k/config --k8snet-context kind-demo" in finding


@pytest.mark.parametrize("boot", ["", "another-boot"])
def test_a_leftover_is_no_obstacle(machine: Machine, boot: str) -> None:
    """Its process is gone, or the machine was started anew since."""
    namespace = str(DEAD["kernel"]).partition(" ")[2]
    ours(machine, owner=DEAD | ({"kernel": f"{boot} {namespace}"} if boot else {}))
    assert found(machine, net="192.168.219.0/24") == []


def test_another_cluster_under_the_name_of_a_leftover(machine: Machine) -> None:
    ours(machine, run="another", owner=DEAD)
    assert "and it is not ours (demo-control-plane)" in only(found(machine))


@pytest.mark.parametrize("owner", [{"host": "elsewhere", "kernel": "x"}, {}, "nonsense"])
def test_an_owner_that_can_not_be_looked_up_is_alive(machine: Machine, owner: Any) -> None:
    ours(machine, owner=owner)
    assert "a run under way" in only(found(machine))


def test_ranges_that_lead_elsewhere(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["networks"].append(tools.made_network("corp", "10.100.0.0/16"))
        daemon["networks"].append(tools.made_network("none", ""))
    pods, services = found(machine, wg0="20.97.0.0/16", bridge="10.100.0.0/16")
    assert pods == (
        "--k8snet-pod-cidr: 20.96.0.0/12 overlaps the route 20.97.0.0/16 on wg0 (20.97.0.0/16): choose"
        " another range"
    )
    assert services.startswith(
        "--k8snet-service-cidr: 10.96.0.0/12 overlaps Docker network corp (10.100.0.0/16)"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind_name": "Demo_1"}, "--cluster-name: 'Demo_1' can't be a cluster's name"),
        ({"kind_name": "x" * 50}, "can't be a cluster's name: at most 49 small letters"),
        ({"kind_kind": Path("/no/kind")}, "--kind-bin: there is no file /no/kind"),
        ({"kind_kind": Path(__file__)}, f"--kind-bin: {__file__} may not be executed (chmod +x)"),
        ({"kind_kubectl": Path("/no/kubectl")}, "--kind-kubectl-bin: there is no file /no/kubectl"),
        ({"access": "ssh"}, "--k8snet-node-access ssh: kind's nodes are reached by docker exec"),
        (
            {"calico_version": "3.1.0"},
            "--k8snet-calico-version: '3.1.0' is not pinned; choose one of 3.32.1, ",
        ),
        (
            {"calico_version": "v3.21.6"},
            "Calico 3.21.6 needs Kubernetes 1.19 to 1.24, and kindest/node:v1.36.1",
        ),
        (
            {"profile": "document", "calico_version": "3.32.1"},
            "Calico 3.32.1 needs Kubernetes 1.25 or newer, and kindest/node:v1.20.15 has 1.20:"
            " --k8snet-calico-version 3.21.6 fits",
        ),
        ({"calico_manifest": Path("/no/calico.yaml")}, "/no/calico.yaml can't be read: No such file"),
    ],
)
def test_what_was_asked_can_not_be(machine: Machine, given: dict[str, Any], words: str) -> None:
    assert words in only(found(machine, asked(**given)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not YAML: while parsing"),
        ("a: 1", "holds something without kind and metadata.name"),
        (
            "{kind: Installation, metadata: {name: default}}",
            "no ConfigMap calico-config; --k8snet-calico-manifest",
        ),
    ],
)
def test_a_manifest_that_is_not_calicos(machine: Machine, text: str, words: str) -> None:
    path = machine.folder / "mine.yaml"
    path.write_text(text)
    assert only(found(machine, asked(calico_manifest=path))).startswith(
        f"--k8snet-calico-manifest: {path}: {words}"
    )


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"pod_cidr": IPv6Network("fd00::/64")}, "--k8snet-pod-cidr: fd00::/64 is not IPv4"),
        ({"uplink": "ens3"}, "--k8snet-uplink: kind's nodes have eth0 and eth1, and no 'ens3'"),
        ({"interface_prefix": "tap"}, "--k8snet-interface-prefix: Calico's CNI plugin names interfaces"),
        ({"masquerade_all": True}, "--k8snet-masquerade-all: the cluster that is made here"),
    ],
)
def test_what_was_declared_can_not_be(machine: Machine, declared: dict[str, Any], words: str) -> None:
    assert words in only(found(machine, intent=replace(Intent(), **declared)))


def test_nftables_needs_newer_ones(machine: Machine) -> None:
    intent = Intent(proxy_mode="nftables")
    kubernetes, calico = found(machine, asked(profile="document"), intent)
    assert "needs Kubernetes 1.31, and kindest/node:v1.20.15 has 1.20" in kubernetes
    assert calico.startswith("Calico 3.21.6 knows no --k8snet-proxy-mode nftables: 3.29 is the oldest")


def test_an_old_kind(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["kind"]["version"] = "kind version 0.17.0"
    assert only(found(machine)).startswith(
        "kind 0.17.0 is too old: 0.20.0 is the oldest; take it off PATH and"
    )


@pytest.mark.parametrize(
    ("kind", "image", "oldest"),
    [
        ("0.31.0", "kindest/node:v1.36.1", "0.32.0"),
        ("0.32.0", "kindest/node:v1.36.1", ""),
        ("0.26.0", "kindest/node:v1.33.4", "0.27.0"),
        ("0.26.0", "kindest/node:v1.32.0", ""),
    ],
)
def test_a_node_image_that_is_too_new_for_this_kind(
    machine: Machine, kind: str, image: str, oldest: str
) -> None:
    """GitHub's runners, say, have a kind on PATH that is not the newest."""
    with machine.changed() as daemon:
        daemon["kind"]["version"] = f"kind version {kind}"
        daemon["images"].append(image)
    findings = found(machine, asked(kind_image=image))
    if not oldest:
        assert findings == []
        return
    kubernetes = ".".join(image.partition(":v")[2].split(".")[:2])
    assert only(findings).startswith(
        f"kind {kind} is too old for Kubernetes {kubernetes} of {image}: {oldest} is the oldest; take it off"
    )


def test_no_kind_for_another_system(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.programs / "kind").unlink()
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert only(found(machine)).startswith(
        "kind is pinned for Linux, and this machine runs Darwin: install kind"
    )


def test_no_kind_at_hand_and_none_to_be_had(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.programs / "kind").unlink()
    assert found(machine) == []
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert only(found(machine)) == (
        "kind is pinned for amd64 and arm64, and this machine is riscv64: build kind for it and"
        " put it on PATH"
    )


def test_an_older_kind_takes_its_own_node_image(machine: Machine) -> None:
    """One that was made for a newer kind may not come up."""
    with machine.changed() as daemon:
        daemon["kind"]["version"] = "kind version 0.27.0"
        daemon["info"]["CgroupVersion"] = "1"
    assert found(machine) == []
    assert pins().node_images["0.27.0"].startswith("kindest/node:v1.32.2@sha256:")


def test_a_network_of_ours_whose_labels_are_not_all_there(machine: Machine) -> None:
    with machine.changed() as daemon:
        labels = {network.CLUSTER_LABEL: "demo"}
        daemon["networks"].append(tools.made_network("odd", "", labels))
    (odd,) = network.ours()
    assert odd.subnet is None
    assert network.nodes_of(odd) == []
    assert odd.kubeconfig == machine.folder / "work" / ".pytest-kind" / "demo" / "kubeconfig"


def test_docker_in_a_context_of_before_there_were_any(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(daemon: Any, argv: list[str]) -> str:
        raise tools.Refusal("docker: 'context' is not a docker command.")

    real = tools.docker
    monkeypatch.setattr(
        tools, "docker", lambda daemon, argv: (none if argv[0] == "context" else real)(daemon, argv)
    )
    assert found(machine) == []


def test_docker_says_no_json(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tools.docker
    monkeypatch.setattr(
        tools, "docker", lambda daemon, argv: "oops" if argv[0] == "info" else real(daemon, argv)
    )
    assert only(found(machine)).startswith("Docker: Expecting value")
