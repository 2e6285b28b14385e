"""Two runs of one config mean the same, whatever their addresses, names, hashes, ports and ids are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.objects import ClusterCIDR, IPPool
from pytest_k8snet.evidence.observations import (
    ClusterIPLab,
    NodePortLab,
    PauseLab,
    PodEvidence,
    PodNetworkLab,
)
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.routes import Route
from pytest_k8snet.intent import Intent
from pytest_k8snet.kept import OBSERVERS
from pytest_k8snet.meaning import known
from pytest_k8snet.meaning.comparison import Comparison, Meaning, compare, meaning_of
from pytest_k8snet.meaning.observed import facts_of
from pytest_k8snet.meaning.roles import Roles, shape_of
from tests.claims import modes, scenes
from tests.meaning import runs
from tests.meaning.test_faults import own_words
from tests.meaning.twin import Twin


@cache
def recorded() -> tuple[Intent, dict[str, Any]]:
    return runs.observations(runs.HEALTHY)


def meaning(observation: Any, intent: Intent) -> Meaning:
    return meaning_of(facts_of(observation, intent))


def beside(observation: Any, other: Any, intent: Intent, theirs: Intent) -> Comparison:
    return compare(meaning(observation, intent), meaning(other, theirs), baseline="the other")


def differences(observation: Any, twin: Twin, intent: Intent) -> tuple[object, ...]:
    changed = twin.of(observation)
    assert changed != observation
    found = beside(observation, changed, intent, twin.of(intent))
    assert found.same > 2
    assert not found.left_out
    return found.changes


def test_a_run_beside_itself() -> None:
    found = compare(runs.healthy(), runs.healthy(), baseline="itself")
    assert (found.changes, found.left_out, found.same) == ((), {}, len(runs.healthy()))


@pytest.mark.parametrize("lab", [lab for lab in OBSERVERS if lab != "clusterip-spread"])
def test_a_recorded_run_on_another_machine(lab: str) -> None:
    intent, found = recorded()
    assert differences(found[lab], Twin(), intent) == ()


twins = st.builds(
    Twin,
    pods=st.sampled_from(["10.240.0.0/12", "100.64.0.0/12", "172.16.0.0/12"]),
    services=st.sampled_from(["10.16.0.0/12", "198.16.0.0/12"]),
    nodes=st.sampled_from(["10.77.3.0/24", "203.0.113.0/24"]),
    mask=st.integers(0, 2**20 - 1),
    nodes_mask=st.integers(0, 255),
    namespace=st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5})?", fullmatch=True),
    node_port=st.integers(30000, 32767),
    shift=st.integers(1, 20000),
)


@settings(
    max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(twin=twins)
def test_no_numbering_shows(twin: Twin) -> None:
    intent, found = recorded()
    for lab in ("pause", "clusterip", "nodeport"):
        assert differences(found[lab], twin, intent) == ()


SCENES: dict[str, tuple[Callable[[], Any], Intent]] = {
    "pause": (scenes.pause, Intent()),
    "pod-network": (scenes.pod_network, Intent()),
    "clusterip": (scenes.clusterip, Intent()),
    "nodeport": (scenes.nodeport, Intent()),
}
for mode in modes.MODES:
    SCENES[f"clusterip {mode}"] = (partial(modes.clusterip, mode), Intent(proxy_mode=mode))
    SCENES[f"nodeport {mode}"] = (partial(modes.nodeport, mode), Intent(proxy_mode=mode))


@pytest.mark.parametrize("name", SCENES)
def test_scenes_of_other_runtimes_and_modes(name: str) -> None:
    make, intent = SCENES[name]
    observation = make()
    assert own_words(meaning(observation, intent)) == []
    assert differences(observation, Twin(), intent) == ()


def test_the_shape_of_the_chain_is_that_of_the_mode() -> None:
    told = {
        name: meaning(make(), intent).get("rules/nodeport/node2") for name, (make, intent) in SCENES.items()
    }
    nft, ipvs = told["nodeport nftables"], told["nodeport ipvs"]
    assert nft is not None
    assert ipvs is not None
    assert "goto external-*-svc-nodeport/tcp/" in nft.value
    assert "endpoint-*-svc-nodeport/tcp/__pod-dest:target-port" in nft.value
    assert nft.value.endswith("-> DNAT pod-dest:target-port with probability 1")
    assert "ip_vs TCP node2.uplink:node-port rr" in ipvs.value
    assert "--match-set KUBE-NODE-PORT-TCP" in ipvs.value


def test_an_upgrade_shows_what_it_changed() -> None:
    """kube-proxy from iptables to nftables, nothing else."""
    before, now = meaning(scenes.nodeport(), Intent()), meaning(*_nft())
    ids = {change.id for change in compare(before, now, baseline="x").changes}
    assert {id.split("/")[0] for id in ids} == {"proxy", "rules", "version", "listener"}
    assert {
        "proxy/mode/node2",
        "proxy/back-end/node2",
        "rules/nodeport/node2",
        "version/kube-proxy/node2",
    } <= ids


def _nft() -> tuple[Any, Intent]:
    return modes.nodeport("nftables"), Intent(proxy_mode="nftables")


def test_docker_and_containerd_name_a_namespace_in_their_own_way() -> None:
    docker: PauseLab = scenes.pause()
    assert docker.pod.containers.value is not None

    def by_path(path: str) -> PauseLab:
        listed = tuple(
            replace(each, runtime="cri", network_mode=None, network_namespace=None if each.sandbox else path)
            for each in docker.pod.containers.get()
        )
        return replace(docker, pod=replace(docker.pod, containers=scenes.ok(listed)))

    uuid = "/var/run/netns/cni-5f3ac6de-6cb5-1f7a-9d37-3bd6c0a0a6f4"
    cri_o = uuid.replace("cni-", "")
    other = uuid.replace("5f3a", "0001")
    id = "netns/pod-pause/container1/by"
    assert meaning(docker, Intent())[id].value == "NetworkMode container:(the sandbox)"
    assert meaning(by_path(uuid), Intent())[id].value == "/var/run/netns/cni-*"
    assert meaning(by_path(cri_o), Intent())[id].value == "/var/run/netns/*"
    assert meaning(by_path("/proc/4711/ns/net"), Intent())[id].value == "/proc/*/ns/net"
    assert beside(by_path(uuid), by_path(other), Intent(), Intent()).changes == ()
    changed = {change.id for change in beside(docker, by_path(uuid), Intent(), Intent()).changes}
    assert id in changed
    assert not [each for each in changed if each.endswith("/is")]


def test_vxlan_is_told_with_its_network() -> None:
    lab: PodNetworkLab = scenes.pod_network()
    vxlan = scenes.wrapped(
        scenes.Leg((scenes.SRC_IP, 35096), (scenes.DEST_IP, 8080), 63, 63), scenes.vxlan_tunnel
    )
    request = scenes.with_point(lab.request, "source-uplink", scenes.conversation(vxlan))
    before, now = meaning(lab, Intent()), meaning(replace(lab, request=request), Intent())
    changes = {change.id: change.now for change in compare(before, now, baseline="x").changes}
    assert changes == {
        "encapsulation/pod-network/source-uplink": "VXLAN 4096 port 4789 node2.uplink > node1.uplink",
        "reply/pod-network/source-uplink": "VXLAN 4096 port 4789 node1.uplink > node2.uplink"
        " from pod-dest:target-port",
    }


@pytest.mark.parametrize("lab", OBSERVERS)
def test_a_reading_that_failed_is_unknown_and_nothing_else(lab: str) -> None:
    """Every reading in turn: its facts are unknown or left out, the others are the same."""
    intent, found = recorded()
    before = meaning_of(facts_of(found[lab], intent, lab))
    failed = 0
    for broken in _without_each_reading(found[lab]):
        comparison = compare(before, meaning_of(facts_of(broken, intent, lab)), baseline="x")
        assert [change for change in comparison.changes if not change.unknown] == []
        failed += bool(comparison.changes)
    assert failed


@pytest.mark.parametrize("lab", ["pause", "pod-network", "clusterip", "nodeport"])
def test_a_lab_without_any_reading_is_unknown_and_nothing_else(lab: str) -> None:
    intent, found = recorded()
    before = meaning_of(facts_of(found[lab], intent, lab))
    blind = found[lab]
    readings: dict[int, Reading[Any]] = {}
    _collect(blind, readings)
    while readings:
        blind = _failed(blind, readings.popitem()[1])
        readings = {}
        _collect(blind, readings)
    comparison = compare(before, meaning_of(facts_of(blind, intent, lab)), baseline="x")
    assert [change for change in comparison.changes if not change.unknown] == []
    assert (comparison.same, comparison.left_out) == (0, {})


def _without_each_reading(value: Any) -> list[Any]:
    """``value`` once for each reading in it, with that one failed wherever it stands."""
    readings: dict[int, Reading[Any]] = {}
    _collect(value, readings)
    return [_failed(value, each) for each in readings.values()]


def _collect(value: Any, found: dict[int, Reading[Any]]) -> None:
    if isinstance(value, Reading):
        if not value.failure:
            found[id(value)] = value
    elif isinstance(value, tuple):
        for each in value:
            _collect(each, found)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            _collect(getattr(value, name), found)


def _failed(value: Any, reading: Reading[Any]) -> Any:
    if value is reading:
        return replace(reading, value=None, failure="it did not answer")
    if isinstance(value, tuple):
        return tuple(_failed(each, reading) for each in value)
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, Reading):
        changed = {
            name: _failed(getattr(value, name), reading)
            for name, each in value.__dataclass_fields__.items()
            if each.init
        }
        return replace(value, **changed)
    return value


def test_names_that_hold_a_hash() -> None:
    roles = Roles(
        namespace="team", chains={"HA3OA7QLOYQFHPUY": "svc-clusterip"}, uplinks=frozenset({("n", "ens3")})
    )
    for text, told in (
        ("-j KUBE-EXT-HA3OA7QLOYQFHPUY", "-j KUBE-EXT-(svc-clusterip)"),
        ("-j KUBE-SVC-AAAAAAAAAAAAAAAA", "-j KUBE-SVC-(*)"),
        ('"cali:6gwbT8clXdHdC1b1" -j cali-tw-calia5814ebbae9', '"cali:*" -j cali-tw-*'),
        ("-j cali-nat-outgoing -j cali-fip-dnat", "-j cali-nat-outgoing -j cali-fip-dnat"),
        ("-i calia5814ebbae9 -o ens3", "-i cali* -o uplink"),
        ("external-SE5QIALI-team/svc-nodeport/tcp/", "external-*-svc-nodeport/tcp/"),
        ("endpoint-SE5QIALI-team/a/tcp/__fd00..1/80", "endpoint-*-a/tcp/__an address outside:80"),
        ("masquerade traffic for team/svc-nodeport", "masquerade traffic for svc-nodeport"),
        ("dteam/x team", "dteam/x team"),
    ):
        assert roles.text(text) == told
    assert [roles.device("n", name) for name in ("ens3", "calia5814ebbae9", "veth1a2b3c4", "tunl0")] == [
        "uplink",
        "cali*",
        "veth*",
        "tunl0",
    ]


def test_a_listener_without_a_process_says_nothing() -> None:
    lab = scenes.nodeport()
    listed = tuple(replace(each, processes=()) for each in lab.nodes[1].listeners.get())
    node = replace(lab.nodes[1], listeners=scenes.ok(listed))
    nameless = replace(lab, nodes=(lab.nodes[0], node, lab.nodes[2]))
    (change,) = beside(lab, nameless, Intent(), Intent()).changes
    assert (change.id, change.now) == ("listener/nodeport/node1", "")
    assert change.unknown == "ss names no process that listens on 31080: run it as root"


def test_text_that_looks_like_an_address_stays() -> None:
    roles = Roles(namespace="default")
    for text in ("12:34:56", "999.1.1.1", "v1.20.8", "ee:ee:ee:ee:ee:ee", "default"):
        assert roles.text(text) == text
    assert roles.text("[fd00::1]:80 fd00::/8 10.0.0.1/33 10.0.0.1:99999") == (
        "an address outside:80 a network outside 10.0.0.1/33 an address outside:99999"
    )


def test_a_walk_ends_at_an_endpoint_of_either_family() -> None:
    for address in ("10.1.2.3", "fd00:10:244::5", "fd00:10:244:1:2:3:4:5"):
        ip = ip_address(address)
        roles = Roles(addresses={ip: "pod-dest"}, target_ports=frozenset({8080}))
        text = Walk(((ip, 8080, 1.0),)).text
        assert roles.text(text) == "-> DNAT pod-dest:target-port with probability 1"


def test_a_pod_of_the_hosts_network_takes_no_name_from_its_node() -> None:
    intent, found = runs.observations(runs.HEALTHY)
    lab = found["clusterip"]
    pods = lab.pods.get()
    uplink = lab.source.node.uplink.get().ip
    probe = replace(pods[0], name="k8snet-probe-x7k2p", ips=(uplink,), labels={})
    beside = replace(lab, pods=replace(lab.pods, value=(probe, *pods)))
    assert meaning_of(facts_of(beside, intent, "clusterip")) == meaning_of(facts_of(lab, intent, "clusterip"))


def test_a_pod_of_the_hosts_network_does_not_name_a_node_that_is_not_known() -> None:
    """One that has no part in the lab, or whose uplink was not found."""
    intent, found = recorded()
    lab = found["clusterip"]
    pods = lab.pods.get()
    (uplink,) = _gateways(lab) - {node.uplink.get().ip for node in (lab.source.node, lab.request.target.node)}
    probe = replace(pods[0], name="k8snet-probe-x7k2p", ips=(uplink,), labels={})
    listed = replace(lab, pods=replace(lab.pods, value=(*pods, probe)))
    assert known.of_clusterip(listed, intent).address(uplink) == "an address of the nodes' network"
    other = replace(probe, ips=(pods[0].ips[0] + 9,))
    listed = replace(lab, pods=replace(lab.pods, value=(*pods, other)))
    assert known.of_clusterip(listed, intent).address(other.ips[0]) == "another pod"


def _gateways(lab: ClusterIPLab) -> set[IPAddress]:
    return {
        route.gateway for route in lab.source.node.routes.get() if route.gateway and route.device == "tunl0"
    }


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("veth1a2b3c4d", "vethabcdef12", "veth00000000"), "veth*"),  # bridge, kindnet
        (("lxc1a2b3c4d5e6f", "lxcfeedbeef0000"), "lx*"),  # Cilium; a c is a digit too
        (("enia1b2c3d4e5f", "eni12b2c3d4e5f"), "eni*"),  # the VPC CNI
        (("vxlan.calico",), "vxlan.calico"),
        (("enp0s31f6",), "enp0s31f6"),
    ],
)
def test_a_random_name_is_one_shape_whatever_its_digits(names: tuple[str, ...], told: str) -> None:
    assert {shape_of(name, "cali") for name in names} == {told}


def _with_routes(pod: PodEvidence, *more: Route) -> PodEvidence:
    node = replace(pod.node, routes=replace(pod.node.routes, value=(*pod.node.routes.get(), *more)))
    return replace(pod, node=node)


def _way_to(pod: PodEvidence) -> Route:
    """A borrowed address has a route of its own."""
    alone = ip_network(pod.pod.ips[0])
    return Route(alone, "tunl0", pod.node.uplink.get().ip, protocol="bird", onlink=True)


def test_a_borrowed_address_is_one_of_its_nodes_pods() -> None:
    """Calico's IPAM takes one of another node's block where it has no free block any more."""
    intent, found = recorded()
    lab: PodNetworkLab = found["pod-network"]
    way = _way_to(lab.target)
    borrowed = replace(lab, source=_with_routes(lab.source, way))
    assert beside(lab, borrowed, intent, intent).changes == ()
    elsewhere = replace(lab, source=_with_routes(lab.source, replace(way, protocol="static")))
    (change,) = beside(lab, elsewhere, intent, intent).changes
    assert (change.id, change.now) == (
        "route/node2/pod-dest",
        "the pods of node1 via node1.uplink dev tunl0 proto static onlink",
    )


def test_a_block_is_its_tunnels_nodes_though_a_pod_borrowed_of_it() -> None:
    intent, found = recorded()
    lab: PodNetworkLab = found["pod-network"]
    (block,) = (
        route.destination
        for route in lab.target.node.routes.get()
        if route.device == "tunl0" and lab.source.pod.ips[0] in route.destination
    )
    target = replace(lab.target, pod=replace(lab.target.pod, ips=(block[40],)))
    id = "route/node1/pod-src"
    now = meaning(replace(lab, target=target), intent)[id]
    assert now.value == meaning(lab, intent)[id].value
    assert now.value.startswith("the pods of node2 via node2.uplink")


def _shares(lab: PodNetworkLab, **shares: str) -> PodNetworkLab:
    more = [ClusterCIDR(f"node podCIDR of {node}", ip_network(cidr)) for node, cidr in shares.items()]
    stated = lab.cluster_cidrs
    return replace(lab, cluster_cidrs=replace(stated, value=(*stated.get(), *more)))


def test_nodes_shares_of_the_range_tell_neither_their_number_nor_whom_they_hold_by_chance() -> None:
    intent, found = recorded()
    lab: PodNetworkLab = found["pod-network"]
    name = lab.source.node.name
    two = _shares(lab, **{name: "20.97.1.0/24", "m": "20.97.0.0/24"})
    around = str(ip_network(f"{lab.source.pod.ips[0]}/24", strict=False))
    four = _shares(lab, **{name: around, "m": "20.97.0.0/24", "x": "20.97.2.0/24", "y": "20.97.3.0/24"})
    assert meaning(two, intent)["cidr/node-podCIDR"].value == "lies in the pool's range"
    assert beside(two, four, intent, intent).changes == ()
    apart = _shares(lab, **{name: "10.244.1.0/24", "m": "20.97.0.0/24"})
    (change,) = beside(two, apart, intent, intent).changes
    assert change.now == "is apart from and lies in the pool's range"


def test_pools_of_two_zones_are_told_once_where_they_are_alike() -> None:
    lab: PodNetworkLab = scenes.pod_network()
    (pool,) = lab.pools.get()

    def with_pools(*pools: IPPool) -> PodNetworkLab:
        return replace(lab, pools=replace(lab.pools, value=pools))

    def told(lab: PodNetworkLab) -> dict[str, str]:
        ids = ("pool/mode", "pool/options")
        return {id: meaning(lab, Intent())[id].value for id in ids}

    halves = [replace(pool, name=f"half-{half}", cidr=half) for half in pool.cidr.subnets(6)]
    assert told(with_pools(*halves)) == told(lab)
    disabled = with_pools(replace(pool, disabled=True))
    (change,) = beside(lab, disabled, Intent(), Intent()).changes
    assert (change.id, change.now) == ("pool/options", "natOutgoing true, blockSize 26, disabled")
    elsewhere = with_pools(replace(pool, cidr=ip_network("10.0.0.0/16")))
    assert told(elsewhere)["pool/mode"] == "no pool holds pod-dest\nno pool holds pod-src"


def test_the_sandboxes_image_is_its_name_and_tag() -> None:
    lab: PauseLab = scenes.pause()

    def of(image: str) -> str:
        listed = tuple(replace(each, image=image) for each in lab.pod.containers.get())
        pinned = replace(lab, pod=replace(lab.pod, containers=scenes.ok(listed)))
        return meaning(pinned, Intent())["version/pause/pod-pause"].value

    digest = "sha256:" + "7c" * 32
    assert of("registry.example/pause:3.9") == of(f"mirror.example/k8s/pause:3.9@{digest}") == "pause:3.9"
    assert of(digest) == of("") == "not stated"


def _on_node2(lab: PodNetworkLab, **readings: Any) -> PodNetworkLab:
    node = lab.source.node
    changed = {name: replace(getattr(node, name), value=value) for name, value in readings.items()}
    return replace(lab, source=replace(lab.source, node=replace(node, **changed)))


def _on_the_tunnel(lab: PodNetworkLab, **fields: Any) -> PodNetworkLab:
    routes = lab.source.node.routes.get()
    changed = tuple(replace(each, **fields) if each.device == "tunl0" else each for each in routes)
    return _on_node2(lab, routes=changed)


def _slower_answer(lab: PodNetworkLab) -> PodNetworkLab:
    """One node more on its way back, none on the request's."""
    leg = scenes.Leg((scenes.SRC_IP, 35096), (scenes.DEST_IP, 8080), 64, 61)
    return replace(lab, request=scenes.with_point(lab.request, "source-veth", scenes.conversation(leg)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lab: _on_the_tunnel(lab, metric=1024), {"route/node2/pod-dest"}),
        (lambda lab: _on_the_tunnel(lab, protocol="80"), {"route/node2/pod-dest"}),
        (lambda lab: _on_the_tunnel(lab, onlink=False), {"route/node2/pod-dest"}),
        (
            lambda lab: _on_node2(lab, uplink=replace(lab.source.node.uplink.get(), mtu=9001)),
            {"mtu/node2/uplink"},
        ),
        (
            lambda lab: _on_node2(
                lab, object=replace(lab.source.node.object.get(), container_runtime="containerd://2.1")
            ),
            {"runtime/node2", "version/runtime/node2"},
        ),
        (_slower_answer, {"ttl/pod-network/source-veth/reply"}),
    ],
    ids=["metric", "owner", "onlink", "uplink's MTU", "runtime", "the answer's TTL"],
)
def test_one_thing_that_differs_is_told_alone(
    change: Callable[[PodNetworkLab], PodNetworkLab], told: set[str]
) -> None:
    lab = scenes.pod_network()
    assert {each.id for each in beside(lab, change(lab), Intent(), Intent()).changes} == told


def test_what_kube_proxy_differs_in_is_told_alone() -> None:
    lab: NodePortLab = scenes.nodeport()

    def with_rules(**fields: Any) -> NodePortLab:
        entry = lab.nodes[2]
        entry = replace(entry, rules=replace(entry.rules, value=replace(entry.rules.get(), **fields)))
        return replace(lab, nodes=(*lab.nodes[:2], entry), request=replace(lab.request, entry=entry))

    local = replace(lab.service, value=replace(lab.service.get(), external_traffic_policy="Local"))
    for now, told in (
        (with_rules(backend="legacy"), ""),
        (with_rules(backend="nf_tables"), "proxy/back-end/node2"),
        (with_rules(legacy_present=True), "proxy/back-end/node2"),
        (replace(lab, service=local), "service/svc-nodeport"),
    ):
        changes = {change.id for change in beside(lab, now, Intent(), Intent()).changes}
        assert changes == ({told} if told else set())
