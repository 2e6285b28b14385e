"""The faults as descriptions: each names what is there, and changes it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Any

import pytest

from pytest_k8snet.clusters.base import ClusterError, CommandResult
from pytest_k8snet.embedded import kube_proxy_rules, objects, plans
from pytest_k8snet.embedded.description import DOCUMENT_POD_IPS, Network
from pytest_k8snet.embedded.faults import observer, overlay, sandbox, services
from pytest_k8snet.embedded.faults.catalogue import BY_NAME, FAULTS
from pytest_k8snet.embedded.faults.changes import (
    Change,
    Ends,
    FirstRule,
    Inside,
    Modules,
    On,
    PodWish,
    Proxy,
    ProxyPlan,
    Rules,
    Serves,
    Spoils,
    Tool,
)
from tests.matrix.judge import manifests

CHANGES = [(fault.name, change) for fault in FAULTS for change in fault.changes]


def network() -> Network:
    """The document's network with all its pods and services, and two more pods behind the services."""
    found = Network(IPv4Network("20.96.0.0/12"), IPv4Network("10.96.0.0/12"))
    for manifest in manifests():
        if manifest.kind == "Pod":
            found.pods[manifest.name] = plans.pod(found, manifest)
        else:
            found.services[manifest.name] = plans.service(found, manifest, 31080)
    return found


def of_kind(kind: type[Change]) -> list[Any]:
    return [pytest.param(change, id=name) for name, change in CHANGES if isinstance(change, kind)]


class Reached:
    """Plays the running network: keeps what a change did."""

    def __init__(self, exit_status: int = 0) -> None:
        self.network = network()
        self.done: list[str] = []
        self._exit = exit_status

    def command(self, node: str, argv: Sequence[str]) -> CommandResult:
        self.done.append(f"{node}: {shlex.join(argv)}")
        return CommandResult(tuple(argv), self._exit, stderr=b"RTNETLINK answers: No such process\n")

    def sandbox(self, pod: str) -> tuple[str, int]:
        return self.network.pods[pod].node, {"pod-pause": 11, "pod-dest": 12, "pod-src": 13}[pod]

    def tool(self, node: str, name: str, tool: str, script: bytes = b"") -> None:
        self.done.append(f"{node}: {name} {tool} {script.partition(bytes([10]))[0].decode()}".strip())

    def modules(self, names: Sequence[str]) -> None:
        self.done.append(f"modules {' '.join(names)}")

    def serve(self, node: str, argv: Sequence[str]) -> None:
        self.done.append(f"{node}: serves")

    def quit(self, node: str, argv: Sequence[str]) -> None:
        self.done.append(f"{node}: serves no more")

    def rebuild(self, pod: str) -> None:
        self.done.append(f"rebuilt {pod}")

    def end(self, node: str) -> None:
        self.done.append(f"{node or 'kernel'} ended")


def test_there_are_enough_and_each_has_a_name_and_a_sentence_of_its_own() -> None:
    assert len(FAULTS) >= 40
    assert len(BY_NAME) == len({fault.sentence for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert fault.name == fault.name.lower().replace("_", "-").replace(" ", "-")
        assert len(fault.sentence) < 110
        assert not fault.sentence.endswith(".")


def test_each_lab_and_the_observer_has_faults() -> None:
    assert all(len(part.FAULTS) > 10 for part in (sandbox, overlay, services, observer))


@pytest.mark.parametrize("change", of_kind(Rules) + of_kind(FirstRule))
def test_rules_are_changed_on_the_nodes_that_are_named_only(change: Rules | FirstRule) -> None:
    found = network()
    pod_dest = next(manifest for manifest in manifests() if manifest.name == "pod-dest")
    for number in (2, 3):  # endpoint-starved is about several endpoints
        found.pods[f"pod-dest-{number}"] = plans.pod(found, pod_dest)
    text = kube_proxy_rules.render(found)
    nodes = change.nodes if isinstance(change, Rules) else (change.node,)
    for node in found.nodes:
        assert (change.rules(node.name, text) != text) == (node.name in nodes)


def test_a_first_rule_comes_before_its_chain_s_others() -> None:
    rule = "-A POSTROUTING -j MASQUERADE"
    lines = FirstRule("k8s-node2", rule).rules("k8s-node2", kube_proxy_rules.render(network())).splitlines()
    assert lines.index(rule) > lines.index("*nat")
    assert lines.index(rule) < min(
        number for number, line in enumerate(lines) if line.startswith("-A POSTROUTING") and line != rule
    )
    assert lines.count(rule) == 1


@pytest.mark.parametrize("change", of_kind(PodWish))
def test_a_pod_is_wished_otherwise_and_the_others_are_not(change: PodWish) -> None:
    found = network()
    for pod in found.pods.values():
        wish = found.pod_request(pod)
        assert (change.pod(wish) != wish) == (pod.name == change.name)
        assert wish == found.pod_request(pod), "the wish itself was changed"


@pytest.mark.parametrize("name", ["pool-never", "pool-cidr-differs", "cluster-cidr-misses-pods"])
def test_a_description_changes_what_is_listed_and_not_itself(name: str) -> None:
    healthy = network()
    wrong = BY_NAME[name].changes[0].network(healthy)
    lists = ("ippools", "clustercidrs")
    assert [objects.listed(wrong, which) for which in lists] != [
        objects.listed(healthy, which) for which in lists
    ]
    assert healthy == network()


def test_a_selector_changes_the_endpoints_once_the_service_is_there() -> None:
    (change,) = BY_NAME["service-selects-wrong-pods"].changes
    found = network()
    service = change.network(found).services["svc-clusterip"]
    assert [pod.name for pod in found.endpoints(service)] == ["pod-src"]
    del found.services["svc-clusterip"]
    assert change.network(found) is found


@pytest.mark.parametrize("change", of_kind(Proxy))
def test_kube_proxy_holds_the_port_otherwise_on_one_node(change: Proxy) -> None:
    plans_by_node = {node.name: change.proxy(node.name, ProxyPlan()) for node in network().nodes}
    assert [node for node, plan in plans_by_node.items() if plan != ProxyPlan()] == [change.node]


@pytest.mark.parametrize("change", of_kind(On))
def test_what_is_done_on_a_node_is_taken_back(change: On) -> None:
    reached = Reached()
    change.do(reached)
    assert len(reached.done) == len(change.commands)
    change.undo(reached)
    assert len(reached.done) > len(change.commands)
    assert all(line.startswith(f"{change.node}: ") for line in reached.done)


@pytest.mark.parametrize("change", of_kind(Inside))
def test_what_is_done_in_a_pod_is_done_in_its_namespace_and_ends_with_it(change: Inside) -> None:
    reached = Reached()
    assert change.required() <= set(DOCUMENT_POD_IPS)
    change.do(reached)
    node, pid = reached.sandbox(change.name)
    assert all(line.startswith(f"{node}: nsenter -t {pid} -n ") for line in reached.done)
    assert "{" not in "".join(reached.done)
    change.undo(reached)
    assert reached.done[-1] == f"rebuilt {change.name}"


def test_the_other_changes_are_done_and_undone() -> None:
    reached = Reached()
    for change in (
        Tool("k8s-node1", "ss"),
        Tool("k8s-node1", "ss", "exit 1"),
        Tool("k8s-node1", "ss", "#!/usr/bin/perl\nexit 1"),
        Serves("k8s-node1", "pass"),
        Modules(("xt_HL",)),
        Spoils("pod-src"),
    ):
        change.do(reached)
        change.undo(reached)
    assert reached.done == [
        "k8s-node1: ss missing #!/bin/sh",
        "k8s-node1: ss own",
        "k8s-node1: ss script #!/bin/sh",
        "k8s-node1: ss own",
        "k8s-node1: ss script #!/usr/bin/perl",
        "k8s-node1: ss own",
        "k8s-node1: serves",
        "k8s-node1: serves no more",
        "modules xt_HL",
        "rebuilt pod-src",
    ]


def test_an_end_comes_just_before_its_program_on_its_node() -> None:
    reached = Reached()
    change = Ends("k8s-node1", "k8s-node2", "tcpdump")
    change.before("k8s-node1", "tcpdump", reached)
    change.before("k8s-node2", "ip", reached)
    assert reached.done == []
    change.before("k8s-node2", "tcpdump", reached)
    assert reached.done == ["k8s-node1 ended"]


def test_after_an_end_a_kernel_is_of_no_use_any_more() -> None:
    assert {fault.name for fault in FAULTS if fault.last} == {"node-gone", "agent-dies"}


def test_a_fault_that_can_not_be_made_says_which_command_failed_and_why() -> None:
    with pytest.raises(
        ClusterError, match=r"`ip route del .*` on k8s-node2: RTNETLINK answers: No such process"
    ):
        BY_NAME["no-route-to-block"].changes[0].do(Reached(exit_status=2))


def test_a_change_waits_for_all_its_pods() -> None:
    (change,) = BY_NAME["host-route-elsewhere"].changes
    assert change.required() == {"pod-pause", "pod-dest"}
    assert On("k8s-node1", ("true",)).required() == frozenset()
