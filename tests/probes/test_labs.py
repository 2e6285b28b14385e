"""What the labs gather from a cluster where everything is as it should be, and how they ask for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest

from pytest_k8snet.clusters.base import ClusterError, CommandResult, Patience
from pytest_k8snet.evidence.observations import Uplink
from pytest_k8snet.intent import Intent
from pytest_k8snet.manifests import Manifest
from pytest_k8snet.probes import labs
from pytest_k8snet.probes.pods import observe_pod
from tests.clusters.fake import FakeCluster, FakeNode, says
from tests.probes.network import (
    DEST,
    OBJECTS,
    PAUSE,
    SRC,
    UNDERLAY,
    VIP,
    curl,
    network,
    pod_object,
    report,
    service_object,
)

INTENT = Intent()


def objects(*items: dict[str, object]) -> bytes:
    return json.dumps({"kind": "List", "items": list(items)}).encode()


@pytest.fixture
def cluster() -> FakeCluster:
    return network()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def test_pause(cluster: FakeCluster) -> None:
    lab = labs.observe_pause(cluster, INTENT)
    assert lab.pod.pod.name == "pod-pause"
    assert lab.pod.node.name == "k8s-node1"
    assert lab.pod.node.role == "node1"
    assert [(c.name, c.pid, c.sandbox) for c in lab.pod.containers.get()] == [
        ("POD", 700, True),
        ("container1", 701, False),
        ("container2", 702, False),
    ]
    assert lab.pod.inodes.get() == {1: 4026531840, 700: PAUSE.inode, 701: PAUSE.inode, 702: PAUSE.inode}
    assert [interface.name for interface in lab.pod.inside.get()] == ["lo", "eth0"]
    assert [request.label for request in lab.siblings] == [
        "container1 -> 127.0.0.1:8080",
        "container2 -> 127.0.0.1:8000",
    ]
    assert [request.label for request in lab.from_other_node] == [
        "k8s-node2 -> pod-pause 20.111.156.71:8000",
        "k8s-node2 -> pod-pause 20.111.156.71:8080",
    ]
    for request in (*lab.siblings, *lab.from_other_node):
        assert request.answer.get().answered
    asked = [(where, command.rpartition(" ")[2]) for where, command in cluster.ran("curl")]
    assert asked == [
        ("pod/pod-pause/container1", "http://127.0.0.1:8080/hostname"),
        ("pod/pod-pause/container2", "http://127.0.0.1:8000/hostname"),
        ("k8s-node2", "http://20.111.156.71:8000/hostname"),
        ("k8s-node2", "http://20.111.156.71:8080/hostname"),
    ]
    assert "kubectl exec -n default pod-pause -c container1 -- curl " in lab.siblings[0].answer.command


def test_what_no_claim_of_the_lab_needs_is_not_asked(cluster: FakeCluster) -> None:
    lab = labs.observe_pause(cluster, INTENT)
    assert not cluster.ran("iptables")
    assert not cluster.ran("ss ")
    assert "not read for this lab" in lab.pod.node.rules.failure
    assert "not read for this lab" in lab.pod.node.listeners.failure


def test_no_command_is_asked_twice(cluster: FakeCluster) -> None:
    for observe in (labs.observe_pause, labs.observe_clusterip, labs.observe_nodeport):
        cluster.commands.clear()
        observe(cluster, INTENT)
        assert len(cluster.commands) == len(set(cluster.commands))


def test_pod_network(cluster: FakeCluster) -> None:
    lab = labs.observe_pod_network(cluster, INTENT)
    request = lab.request
    assert (str(request.client_ip), str(request.asked_ip), request.asked_port) == (SRC.ip, DEST.ip, 8080)
    assert (request.path, request.name) == ("/hostname", "pod-src -> pod-dest:8080/hostname")
    assert [(point.id, point.node.name, point.interface) for point in request.points] == [
        ("source-veth", "k8s-node2", "calia5814ebbae9"),
        ("source-uplink", "k8s-node2", "eth1"),
        ("target-uplink", "k8s-node1", "eth1"),
        ("target-veth", "k8s-node1", "calib8c6d5407e3"),
    ]
    assert all(point.run.get().capture.packets for point in request.points)
    assert request.entry.name == "k8s-node2"
    assert request.answer.get().body == b"pod-dest\n"
    assert (lab.large.path, lab.large.upload, lab.large.answer.get().body) == ("/hostname", True, b"")
    assert lab.large.name == "pod-src -> pod-dest:8080/hostname with a large body"
    (_, command) = cluster.ran("curl")[1]
    assert command.count("--data-binary @/proc/vmstat") == 40
    assert "-X GET -H Expect: " in command
    assert request.token != lab.large.token
    assert lab.to_target.get().device == "tunl0"
    assert str(lab.to_source.get().gateway) == UNDERLAY["k8s-node2"]
    assert lab.pools.get()[0].ipip_mode == "Always"
    assert lab.cluster_cidrs.get()[0].source == "kube-proxy clusterCIDR"
    assert lab.source.inside.get()[1].mtu == 1480
    assert "not read for this lab" in lab.source.inodes.failure


def test_the_reference_network_has_a_large_answer(cluster: FakeCluster) -> None:
    cluster.info = replace(cluster.info, reference=True)
    large = labs.observe_pod_network(cluster, INTENT).large
    assert (large.path, large.upload) == ("/large", False)
    assert (large.answer.get().size, large.answer.get().body) == (131072, b"")
    assert "--data-binary" not in cluster.ran("curl")[1][1]


def test_the_request_carries_its_token_and_passes_no_proxy(cluster: FakeCluster) -> None:
    request = labs.observe_pod_network(cluster, INTENT).request
    (where, command) = cluster.ran("curl")[0]
    assert where == "pod/pod-src/container"
    assert f"'X-K8snet: {request.token}'" in command
    assert "--noproxy '*'" in command


def test_captures_listen_before_the_request_and_end_after_it(cluster: FakeCluster) -> None:
    labs.observe_clusterip(cluster, INTENT)
    names = [command.split()[0] for _, command in cluster.commands]
    first = names.index("tcpdump")
    assert names[first : first + 6] == ["tcpdump"] * 4 + ["curl", "conntrack"]
    assert [run.stopped for run in cluster.spawned] == [1, 1, 1, 1]


def test_clusterip(cluster: FakeCluster) -> None:
    lab = labs.observe_clusterip(cluster, INTENT)
    assert lab.request.asked_ip == ip_address(VIP)
    assert lab.request.name == "pod-src -> svc-clusterip:8080/hostname"
    assert lab.request.target.pod.name == "pod-dest"
    assert lab.service.get().name == "svc-clusterip"
    assert [endpoint.pod for endpoint in lab.endpoints.get()] == ["pod-dest"]
    assert len(lab.pods.get()) == 3
    assert "KUBE-SERVICES" in lab.request.entry.rules.get().tables["nat"]
    (connection,) = lab.request.connections.get()
    assert (str(connection.original.dst), str(connection.reply.src)) == (VIP, DEST.ip)
    assert [where for where, _ in cluster.ran("iptables-save")] == ["k8s-node2"]


def test_nodeport(cluster: FakeCluster) -> None:
    lab = labs.observe_nodeport(cluster, INTENT)
    request = lab.request
    assert (str(request.client_ip), str(request.asked_ip)) == (UNDERLAY["k8s-master"], UNDERLAY["k8s-node2"])
    assert request.name == "k8s-master -> k8s-node2:31080/hostname"
    assert [(point.id, point.node.name) for point in request.points] == [
        ("client-uplink", "k8s-master"),
        ("entry-uplink", "k8s-node2"),
        ("target-uplink", "k8s-node1"),
        ("target-veth", "k8s-node1"),
    ]
    assert [node.role for node in lab.nodes] == ["master", "node1", "node2"]
    assert [(node.role, request.label) for node, request in lab.every_node] == [
        ("master", "k8s-master -> k8s-master 192.168.219.21:31080"),
        ("node1", "k8s-master -> k8s-node1 192.168.219.22:31080"),
        ("node2", "k8s-master -> k8s-node2 192.168.219.23:31080"),
    ]
    assert all(request.answer.get().answered for _, request in lab.every_node)
    assert len(cluster.ran("curl")) == 3, "the traced request is node2's"
    assert all(node.listeners.get()[0].port == 31080 for node in lab.nodes)
    assert lab.service.get().ports[0].node_port == 31080


def test_the_declared_node_port_is_asked(cluster: FakeCluster) -> None:
    assert labs.observe_nodeport(cluster, Intent(node_port=30080)).request.asked_port == 30080


def test_a_refused_connection_is_evidence(cluster: FakeCluster) -> None:
    said = b"\n" + report("http://127.0.0.1:8080/hostname", "", 0, 0, "000", 7, "Failed to connect")
    cluster.say("pod/pod-pause/container1", "curl", says(said, "curl: (7) Failed to connect\n", 7))
    answer = labs.observe_pause(cluster, INTENT).siblings[0].answer.get()
    assert (answer.status, answer.error) == (0, "Failed to connect")


def test_patience_is_the_clusters(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {}
    run = FakeNode._run

    def _run(self: FakeNode, argv: Sequence[str], *, timeout: float, stdin: bytes) -> CommandResult:
        limits[argv[0]] = timeout
        return run(self, argv, timeout=timeout, stdin=stdin)

    monkeypatch.setattr(FakeNode, "_run", _run)
    cluster.patience = Patience(request=2, command=3.0)
    labs.observe_nodeport(cluster, INTENT)
    assert all(" -m 2 " in command for _, command in cluster.ran("curl"))
    assert (limits["curl"], limits["ip"]) == (5.0, 3.0)


def test_a_container_without_curl_is_stood_in_for_by_its_node(cluster: FakeCluster) -> None:
    """In the container's own namespace: the sandbox's may be another."""
    cluster.say("pod/pod-pause/container2", "curl", says(b"", "sh: curl: not found\n", 127))
    cluster.say("k8s-node1", "nsenter -t 702 -n curl", curl)
    answer = labs.observe_pause(cluster, INTENT).siblings[1].answer
    assert answer.get().status == 200
    assert answer.command.startswith("nsenter -t 702 -n curl -s -S ")
    assert answer.node == "k8s-node1"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ('OCI runtime exec failed: exec failed: unable to start container process: exec: "curl": '
         "executable file not found in $PATH: unknown\n", 126),
        ("error executing command in container: exec: executable file `curl` not found in $PATH: "
         "No such file or directory\n", 1),
        ("exec failed: exec: curl: no such file or directory\n", 1),
    ],
)  # fmt: skip
def test_runtimes_say_in_words_that_there_is_no_curl(cluster: FakeCluster, said: str, status: int) -> None:
    cluster.say("k8s-node1", "nsenter -t 701 -n curl", curl)
    for streams in ((b"", said), (said, b"")):  # Docker says it on standard output
        cluster.say("pod/pod-pause/container1", "curl", says(streams[0], streams[1], status))
        assert labs.observe_pause(cluster, INTENT).siblings[0].answer.get().status == 200


def test_an_answer_that_speaks_of_a_missing_program_is_one(cluster: FakeCluster) -> None:
    body = b"executable file not found\n"
    said = body + b"\n" + report("http://127.0.0.1:8080/hostname", "127.0.0.1", 8080, len(body))
    cluster.say("pod/pod-pause/container1", "curl", says(said))
    assert labs.observe_pause(cluster, INTENT).siblings[0].answer.get().body == body


def test_no_curl_anywhere(cluster: FakeCluster) -> None:
    cluster.say("pod/pod-pause/container1", "curl", says(b"", "sh: curl: not found\n", 127))
    missing = "nsenter: failed to execute curl: No such file or directory\n"
    cluster.say("k8s-node1", "nsenter -t 701 -n curl", says(b"", missing, 127))
    answer = labs.observe_pause(cluster, INTENT).siblings[0].answer
    assert (answer.failure, answer.advice) == (
        "curl is not installed on k8s-node1",
        "install curl on k8s-node1",
    )
    cluster.say("k8s-node1", "crun", says("[]"))
    answer = labs.observe_pause(cluster, INTENT).siblings[0].answer
    assert answer.failure == (
        "the container has no curl, and the node can't ask in its place: container container1 does not run"
    )
    assert answer.advice == "see the pod's events"


MANIFEST = Manifest(
    "Pod",
    "pod-dest",
    {"kind": "Pod", "metadata": {"name": "pod-dest", "labels": {"type": "dest"}}, "spec": {"x": [1]}},
    "pods.yaml",
)


def test_spread_adds_two_pods_and_removes_them(cluster: FakeCluster) -> None:
    spread = labs.observe_spread(cluster, INTENT, MANIFEST).get()
    assert len(spread.answers) == labs.SPREAD
    assert spread.endpoints == ("pod-dest",)
    assert cluster.applied == cluster.deleted == ["pod-dest-2", "pod-dest-3"]
    (command,) = cluster.ran("curl")
    assert command[1].count("http://10.107.94.97:8080/hostname") == 40
    assert "'Connection: close'" in command[1]


def test_the_pods_of_spread_are_copies(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[Manifest] = []
    monkeypatch.setattr(cluster, "apply", applied.extend)
    labs.observe_spread(cluster, INTENT, MANIFEST)
    assert [m.body["metadata"] for m in applied] == [
        {"name": "pod-dest-2", "labels": {"type": "dest"}},
        {"name": "pod-dest-3", "labels": {"type": "dest"}},
    ]
    assert MANIFEST.body["metadata"]["name"] == "pod-dest"


def test_the_pods_of_spread_go_whatever_happens(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(manifests: list[Manifest]) -> None:
        raise ClusterError("pod-dest-2 is not ready after 60 s")

    monkeypatch.setattr(cluster, "apply", fails)
    spread = labs.observe_spread(cluster, INTENT, MANIFEST)
    assert spread.failure == "pod-dest-2 is not ready after 60 s"
    assert spread.command == "kubectl apply -f pods.yaml"
    assert cluster.deleted == ["pod-dest-2", "pod-dest-3"]


def test_spread_without_endpoints(cluster: FakeCluster) -> None:
    cluster.objects["endpointslices"] = ClusterError("forbidden")
    assert labs.observe_spread(cluster, INTENT, MANIFEST).failure == "forbidden"


def test_any_pod_may_ask_any(cluster: FakeCluster) -> None:
    request = labs.trace_between(cluster, INTENT, "pod-src", "pod-dest", asked=ip_address(VIP), asked_port=80)
    assert (request.asked_ip, request.asked_port, request.target_port) == (ip_address(VIP), 80, 8080)
    assert request.name == "pod-src -> 10.107.94.97:80/hostname"
    assert request.entry.rules.get().tables["nat"]
    assert "port 80 or port 8080" in cluster.ran("tcpdump")[0][1]
    again = labs.trace_between(cluster, INTENT, "pod-src", "pod-dest", asked=ip_address(VIP), asked_port=80)
    assert again.token == f"{request.token}-2"


@pytest.mark.parametrize(
    ("resource", "body", "complaint"),
    [
        ("pods", ClusterError("connection refused"), "kubectl get pods .*: connection refused"),
        ("pods", objects(), "no pod pod-src in namespace default: was its manifest applied"),
        ("pods", objects(pod_object(SRC)), "no pod pod-dest"),
        ("services", ClusterError("forbidden"), "kubectl get services .*: forbidden"),
        ("services", objects(), "no service svc-clusterip in namespace default"),
        ("services", b"<html>", "kubectl get services .*: unreadable output"),
    ],
)
def test_a_lab_without_its_objects_has_nothing_to_look_at(
    cluster: FakeCluster, resource: str, body: bytes | ClusterError, complaint: str
) -> None:
    cluster.objects[resource] = body
    with pytest.raises(ClusterError, match=complaint):
        labs.observe_clusterip(cluster, INTENT)


def test_a_service_that_cant_be_asked(cluster: FakeCluster) -> None:
    headless = service_object("svc-clusterip", "ClusterIP")
    headless["spec"]["clusterIP"] = "None"
    cluster.objects["services"] = objects(headless)
    with pytest.raises(ClusterError, match="has no cluster IP"):
        labs.observe_clusterip(cluster, INTENT)
    assert "has no cluster IP" in labs.observe_spread(cluster, INTENT, MANIFEST).failure


def test_a_pod_without_an_address(cluster: FakeCluster) -> None:
    pending = pod_object(PAUSE)
    pending["status"] = {"phase": "Pending"}
    cluster.objects["pods"] = objects(pending)
    with pytest.raises(ClusterError, match="pod-pause has no IP"):
        labs.observe_pause(cluster, INTENT)


def test_a_pod_on_a_node_out_of_reach(cluster: FakeCluster) -> None:
    elsewhere = pod_object(PAUSE)
    elsewhere["spec"]["nodeName"] = "k8s-node9"
    cluster.objects["pods"] = objects(elsewhere)
    with pytest.raises(ClusterError, match="pod-pause is on k8s-node9"):
        labs.observe_pause(cluster, INTENT)


def test_one_node_has_no_other() -> None:
    cluster = network()
    cluster.roles = {"node1": "k8s-node1"}
    cluster.nodes = {"k8s-node1": cluster.nodes["k8s-node1"]}
    lab = labs.observe_pause(cluster, INTENT)
    assert lab.from_other_node == ()
    assert len(lab.siblings) == 2
    with pytest.raises(ClusterError, match="no node has the role master: name one with --k8snet-role"):
        labs.observe_nodeport(cluster, INTENT)


def test_a_runtime_that_nothing_reads(cluster: FakeCluster) -> None:
    cluster.runtime = "rkt"
    with pytest.raises(ClusterError, match="runtime 'rkt' on k8s-node1 can't be read"):
        labs.observe_pause(cluster, INTENT)


def test_an_unknown_uplink_leaves_the_other_points(cluster: FakeCluster) -> None:
    lab = labs.observe_pod_network(cluster, Intent(uplink="bond0"))
    assert [bool(point.run.failure) for point in lab.request.points] == [False, True, True, False]
    failed = lab.request.points[1]
    assert failed.interface == failed.pcap == ""
    assert "bond0, is not there on k8s-node2" in failed.run.failure
    assert "k8s-node2 has lo, eth0, eth1, tunl0" in failed.run.advice


def test_a_master_without_an_address_has_nothing_to_ask_from(cluster: FakeCluster) -> None:
    cluster.say("k8s-master", "ip -j -d addr", says("[]"))
    lab = labs.observe_nodeport(cluster, INTENT)
    assert lab.request.client_ip == ip_address(UNDERLAY["k8s-master"]), "its InternalIP stands in"
    cluster.objects["nodes"] = ClusterError("forbidden")
    with pytest.raises(ClusterError, match="no address of k8s-master among the nodes is known: forbidden"):
        labs.observe_nodeport(cluster, INTENT)


def test_uplinks_of_all(cluster: FakeCluster) -> None:
    lab = labs.observe_nodeport(cluster, INTENT)
    assert [node.uplink.get() for node in lab.nodes] == [
        Uplink("eth1", ip_address(address), 1500) for address in UNDERLAY.values()
    ]


def test_a_pod_read_without_its_inside(cluster: FakeCluster) -> None:
    lab = labs.observe_clusterip(cluster, INTENT)
    again = observe_pod(cluster, lab.source.pod, lab.source.node, inside=False, inodes=False)
    assert again == lab.source
    for reading in (again.inside, again.containers, again.inodes):
        assert "not read for this lab" in reading.failure
    assert len(OBJECTS["pods"]) == 3
