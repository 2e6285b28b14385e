"""Containers, namespaces and restarts of a pod."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.objects import Pod
from pytest_k8snet.evidence.observations import PodEvidence
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes import labs, restarts
from pytest_k8snet.probes.oci import documents, read_all
from pytest_k8snet.probes.pods import pod_address
from pytest_k8snet.probes.restarts import restart_container
from tests.clusters.fake import FakeCluster, says
from tests.probes.network import PAUSE, SRC, configuration, network, node_addresses, pod_addresses, states

NODE = "k8s-node1"
INTENT = Intent()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return network()


def observed(cluster: FakeCluster) -> PodEvidence:
    return labs.observe_pause(cluster, INTENT).pod


def listing(*entries: dict[str, Any]) -> Any:
    return says(json.dumps(entries))


def changed(name: str, **fields: Any) -> dict[str, Any]:
    (state,) = (entry for entry in states([PAUSE]) if entry["id"].endswith(name))
    return state | fields


def test_only_running_containers_of_the_pod_count(cluster: FakeCluster) -> None:
    entries = states([PAUSE, SRC])
    entries[1]["status"] = "stopped"
    cluster.say(NODE, "crun", listing(*entries))
    assert [container.id for container in observed(cluster).containers.get()] == [
        "pod-pause",
        "pod-pause.container2",
    ]


def test_their_configurations_are_read_by_one_command(cluster: FakeCluster) -> None:
    containers = read_all(cluster.nodes[NODE])
    assert len(cluster.ran("cat")) == 1
    assert len(containers.get()) == 5
    assert containers.get()[1].network_namespace == "/proc/700/ns/net"
    assert containers.command == "crun --root /run/crun list --format json"


def test_no_containers_is_an_answer(cluster: FakeCluster) -> None:
    cluster.say(NODE, "crun", says("[]"))
    pod = observed(cluster)
    assert pod.containers.get() == ()
    assert "no running sandbox (pause container) of pod pod-pause" in pod.inside.failure


def test_a_container_that_ended_meanwhile(cluster: FakeCluster) -> None:
    cluster.say(NODE, "cat", says(json.dumps(configuration(PAUSE, "POD"))))
    containers = read_all(cluster.nodes[NODE])
    assert containers.failure == "5 containers run, 1 configurations were read"
    assert "run it again" in containers.advice


@pytest.mark.parametrize(
    ("command", "answer", "failure"),
    [
        ("crun", says("", "crun: not found\n", 127), "crun is not installed on k8s-node1"),
        (
            "crun",
            says("", "open /run/crun: denied\n", 1),
            "`crun` exited with status 1: open /run/crun: denied",
        ),
        ("crun", says("{}"), "unreadable output: "),
        ("cat", says("", "cat: x: No such file\n", 1), "`cat` exited with status 1: cat: x: No such file"),
        ("cat", says("{} ["), "unreadable output: config.json: not JSON"),
    ],
)
def test_a_listing_that_fails_fails_all_that_needs_it(
    cluster: FakeCluster, command: str, answer: Any, failure: str
) -> None:
    cluster.say(NODE, command, answer)
    pod = observed(cluster)
    for reading in (pod.containers, pod.inside, pod.inodes):
        assert reading.failure.startswith(failure)
        assert reading.advice


def test_documents_one_after_the_other() -> None:
    assert documents(b'{"a": "}{"}\n {"b": 1}{}') == ('{"a": "}{"}', '{"b": 1}', "{}")
    assert documents(b" \n") == ()
    with pytest.raises(ParseError):
        documents(b'{"a": 1} }')


def test_the_inside_is_that_of_the_sandbox_in_use(cluster: FakeCluster) -> None:
    """A second sandbox, listed first, has no containers."""
    stray = changed("pod-pause", id="stray", pid=799)
    cluster.say(NODE, "crun", listing(stray, *states([PAUSE])))
    inside = observed(cluster).inside
    assert inside.get()[1].name == "eth0"
    assert inside.command == "nsenter -t 700 -n ip -j -d addr show"


def test_a_sandbox_that_no_container_belongs_to(cluster: FakeCluster) -> None:
    cluster.say(NODE, "crun", listing(changed("pod-pause")))
    assert observed(cluster).inside.get()[1].name == "eth0"


def test_what_nsenter_could_not_start_is_named(cluster: FakeCluster) -> None:
    said = "nsenter: failed to execute ip: No such file or directory\n"
    cluster.say(NODE, "nsenter", says("", said, 127))
    inside = observed(cluster).inside
    assert (inside.failure, inside.advice) == (
        "ip is not installed on k8s-node1",
        "install iproute2 on k8s-node1",
    )


def test_a_process_that_is_gone(cluster: FakeCluster) -> None:
    cluster.say(NODE, "stat", says("/proc/1/ns/net 1\n", "stat: cannot statx '/proc/702/ns/net'\n", 1))
    assert "cannot statx '/proc/702/ns/net'" in observed(cluster).inodes.failure


def restarting(cluster: FakeCluster, *listings: Any) -> None:
    cluster.say(NODE, "crun", listing(*states([PAUSE])), *listings)
    cluster.say(NODE, "nsenter -t 902", says(json.dumps(pod_addresses(PAUSE))))
    cluster.say(NODE, "stat -Lc '%n %i' /proc/1/ns/net /proc/902", says(f"/proc/902/ns/net {PAUSE.inode}\n"))


def test_a_restart_that_keeps_all(cluster: FakeCluster) -> None:
    without = [entry for entry in states([PAUSE]) if not entry["id"].endswith("container2")]
    restarting(
        cluster, listing(*states([PAUSE])), listing(*without), listing(*states([PAUSE], container2=902))
    )
    restart = restart_container(cluster, INTENT).get()
    assert cluster.ran("kill") == [(NODE, "kill -KILL 702")]
    before, after = restart.before, restart.after
    assert (before.pid, after.pid) == (702, 902)
    assert before.inode == after.inode == PAUSE.inode
    assert [str(ip) for ip in before.ips] == [str(ip) for ip in after.ips] == [PAUSE.ip]
    assert before.host_interface == after.host_interface == PAUSE.veth


def test_a_restart_in_another_namespace_is_seen(cluster: FakeCluster) -> None:
    restarting(cluster, listing(*states([PAUSE], container2=902)))
    cluster.say(NODE, "nsenter -t 902", says("[]"))
    cluster.say(NODE, "stat -Lc '%n %i' /proc/1/ns/net /proc/902", says("/proc/902/ns/net 77\n"))
    after = restart_container(cluster, INTENT).get().after
    assert (after.inode, after.ips, after.host_interface) == (77, (), "")


def test_a_restart_with_another_veth_is_seen(cluster: FakeCluster) -> None:
    restarting(cluster, listing(*states([PAUSE], container2=902)))
    fresh = node_addresses("192.168.219.22", [PAUSE])
    fresh[-1] |= {"ifname": "calinew"}
    cluster.say(
        NODE,
        "ip -j -d addr",
        says(json.dumps(node_addresses("192.168.219.22", [PAUSE]))),
        says(json.dumps(fresh)),
    )
    assert restart_container(cluster, INTENT).get().after.host_interface == "calinew"


def test_a_container_that_stays_away(cluster: FakeCluster) -> None:
    without = [entry for entry in states([PAUSE]) if not entry["id"].endswith("container2")]
    restarting(cluster, listing(*without))
    restart = restart_container(cluster, INTENT)
    assert restart.failure == (
        "container2 was killed and did not run again within 60 looks at the runtime; "
        "the others are: POD, container1"
    )
    assert "back-off" in restart.advice
    assert len(cluster.ran("crun")) == 1 + 15 / restarts.PAUSE


def test_the_listings_failure_is_told_where_nothing_came_back(cluster: FakeCluster) -> None:
    restarting(cluster, says("", "crun: crashed\n", 1))
    assert "crun: crashed" in restart_container(cluster, INTENT).failure


@pytest.mark.parametrize(
    ("command", "answer", "failure"),
    [
        ("crun", says("", "crun: not found\n", 127), "crun is not installed on k8s-node1"),
        ("crun", listing(changed("pod-pause")), "container container2 does not run"),
        (
            "kill",
            says("", "kill: No such process\n", 1),
            "`kill` exited with status 1: kill: No such process",
        ),
        (
            "nsenter -t 702",
            says("", "nsenter: denied\n", 1),
            "`nsenter` exited with status 1: nsenter: denied",
        ),
        (
            "nsenter -t 902",
            says("", "nsenter: denied\n", 1),
            "`nsenter` exited with status 1: nsenter: denied",
        ),
    ],
)
def test_a_restart_that_could_not_be_observed(
    cluster: FakeCluster, command: str, answer: Any, failure: str
) -> None:
    restarting(cluster, listing(*states([PAUSE], container2=902)))
    cluster.say(NODE, command, answer)
    restart = restart_container(cluster, INTENT)
    assert restart.failure == failure
    assert restart.advice


def test_a_restart_of_no_pod(cluster: FakeCluster) -> None:
    with pytest.raises(ClusterError, match="no pod pod-gone"):
        restart_container(cluster, INTENT, pod="pod-gone")


def test_a_pod_is_asked_by_its_address_of_the_family_that_is_asked() -> None:
    pod = Pod(
        "pod-dest", "default", "uid", "k8s-node1", (ip_address("20.1.1.1"), ip_address("fd00::1")), True
    )
    assert str(pod_address(pod)) == "20.1.1.1"
    assert str(pod_address(pod, ip_address("fd00:10:96::a"))) == "fd00::1"
    assert str(pod_address(replace(pod, ips=pod.ips[:1]), ip_address("fd00:10:96::a"))) == "20.1.1.1"
