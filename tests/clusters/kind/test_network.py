"""The second Docker network: which range, whose it is, what it gives the nodes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kind import network
from pytest_k8snet.clusters.kind.daemon import inspected
from pytest_k8snet.clusters.kind.host import Host, Route, routes
from tests.clusters.kind import tools
from tests.clusters.kind.machine import Machine

RANGE = IPv4Network("192.168.219.0/24")
NODES = ("demo-control-plane", "demo-worker", "demo-worker2")


@pytest.fixture(autouse=True)
def quick(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.answer_at_once(monkeypatch)


def made(keep: bool = False) -> network.Underlay:
    return network.create("demo", "1234abcd", RANGE, kubeconfig=Path("/k/config"), keep=keep)


def with_nodes(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["networks"].append(tools.made_network("kind", "172.18.0.0/16"))
        daemon["containers"] += [
            tools.made_node("demo", role, "/k8snet/1234abcd")
            for role in ("control-plane", "worker", "worker2")
        ]


def test_the_documents_range_or_the_next_free_one(machine: Machine) -> None:
    pods = IPv4Network("20.96.0.0/12")
    assert network.free_range(network.taken([], [pods])) == RANGE
    with machine.changed() as daemon:
        daemon["networks"].append(tools.made_network("lab", "192.168.219.128/25"))
    route = Route(IPv4Network("192.168.220.0/22"), "vboxnet0")
    assert network.free_range(network.taken([route], [pods])) == IPv4Network("192.168.224.0/24")


def test_no_range_is_free() -> None:
    private = [IPv4Network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
    with pytest.raises(
        ClusterError, match=r"^no range is free .* from 192.168.219.0/24 to 10.219.255.0/24; `docker"
    ):
        network.free_range(private)


def test_a_network_says_whose_it_is() -> None:
    underlay = made()
    assert network.ours() == [underlay]
    assert underlay.name == "kind-k8snet-demo"
    assert (underlay.kept, underlay.abandoned) == (False, False)
    assert underlay.kubeconfig == Path("/k/config")
    assert "process " in underlay.owner
    with pytest.raises(ClusterError, match=r"network with name kind-k8snet-demo already exists$"):
        made()


def test_a_kept_one() -> None:
    made(keep=True)
    (underlay,) = network.ours()
    assert underlay.kept
    assert underlay.removal == "kind delete cluster --name demo && docker network rm kind-k8snet-demo"


def test_a_kept_one_of_a_kind_that_was_downloaded(machine: Machine) -> None:
    (machine.programs / "kind").unlink()
    assert made().removal == (
        "docker rm -f -v $(docker ps -aq --filter label=io.x-k8s.kind.cluster=demo)"
        " && docker network rm kind-k8snet-demo"
    )


def test_the_name_comes_after_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker takes the default route from the first."""
    monkeypatch.setenv("KIND_EXPERIMENTAL_DOCKER_NETWORK", "zoo")
    assert made().name > "zoo"


def test_each_node_gets_the_documents_address(machine: Machine) -> None:
    with_nodes(machine)
    assert network.connect(made(), NODES) == {
        "demo-control-plane": IPv4Address("192.168.219.21"),
        "demo-worker": IPv4Address("192.168.219.22"),
        "demo-worker2": IPv4Address("192.168.219.23"),
    }


def test_another_interface_came(machine: Machine) -> None:
    with_nodes(machine)
    with machine.changed() as daemon:
        daemon["uplink"] = "eth2"
    with pytest.raises(ClusterError) as error:
        network.connect(made(), NODES)
    assert str(error.value) == (
        "demo-control-plane: 192.168.219.21 should be on eth1, and is on eth2"
        " (docker exec demo-control-plane ip addr)"
    )


def test_the_default_route_moved(machine: Machine) -> None:
    with_nodes(machine)
    with machine.changed() as daemon:
        daemon["default_route"] = "eth1"
    with pytest.raises(
        ClusterError, match="the default route should stay on eth0 when eth1 comes, and is on eth1"
    ):
        network.connect(made(), NODES)


def test_removed_with_whatever_is_on_it(machine: Machine) -> None:
    with_nodes(machine)
    underlay = made()
    network.connect(underlay, NODES)
    network.remove(underlay)
    network.remove(underlay)
    assert machine.left() == [*NODES, "kind"]


def test_kinds_network_goes_where_it_came_with_ours(machine: Machine) -> None:
    underlay = made()
    with_nodes(machine)
    network.remove(underlay)
    assert machine.left() == list(NODES)


def test_only_marked_nodes_are_ours(machine: Machine) -> None:
    with_nodes(machine)
    underlay = made()
    with machine.changed() as daemon:
        daemon["containers"][1]["Mounts"] = []
    assert network.nodes_of(underlay) == ["demo-control-plane", "demo-worker2"]


def test_what_docker_says_that_is_no_json(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with machine.changed() as daemon:
        daemon["silent"] = "Cannot connect to the Docker daemon"
    with pytest.raises(
        ClusterError, match=r"^`docker network inspect`: Cannot connect to the Docker daemon$"
    ):
        inspected("network", "x")
    with pytest.raises(ClusterError, match=r"^`docker network ls -q`: Cannot connect to the Docker daemon$"):
        list(network.docker_networks())


def test_routes(machine: Machine) -> None:
    with machine.changed() as daemon:
        daemon["routes"] += [{"dst": "10.0.2.0/24", "dev": "ens3"}, {"dst": "10.9.9.9", "dev": "wg0"}]
    assert [str(route) for route in routes()] == ["10.0.2.0/24 on ens3", "10.9.9.9/32 on wg0"]
    (machine.programs / "ip").unlink()
    assert routes() == []


def test_a_kernel_without_these_files(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert (host.module("ipip"), host.setting("fs/inotify/x"), host.memory(), host.disk("/no")) == (
        "",
        None,
        None,
        None,
    )
