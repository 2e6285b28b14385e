from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from pytest_k8snet.claims import pause
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.observations import PauseLab, Restart
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.evidence.sandboxes import NODE_NETWORK, PINNED, Container
from pytest_k8snet.intent import Intent
from tests.claims import scenes
from tests.claims.judge import assert_broken, assert_held, assert_inconclusive
from tests.claims.scenes import PAUSE_IP, PAUSE_VETH, failed, ok, route

INTENT = Intent()
V6: IPAddress = ip_address("fd00::47")


def with_pod(lab: PauseLab | None = None, **parts: Any) -> PauseLab:
    lab = lab or scenes.pause()
    return replace(lab, pod=replace(lab.pod, **parts))


def with_node(**parts: Any) -> PauseLab:
    return with_pod(node=replace(scenes.node1(), **parts))


def containers(lab: PauseLab | None = None) -> tuple[Container, ...]:
    return (lab or scenes.pause()).pod.containers.get()


def listing(*changed: Container, lab: PauseLab | None = None) -> PauseLab:
    return with_pod(lab, containers=ok(changed, "docker ps --no-trunc", "k8s-node1"))


def runtime(name: str) -> PauseLab:
    """The lab on a node whose runtime is ``name``, its containers as CRI lists them."""
    node = scenes.node1()
    cri = tuple(
        replace(
            c,
            network_mode=None,
            network_namespace="/var/run/netns/cni-1" if c.sandbox else "/proc/100/ns/net",
            runtime="cri",
        )
        for c in containers()
    )
    lab = with_pod(node=replace(node, object=ok(replace(node.object.get(), container_runtime=name))))
    return listing(*cri, lab=lab)


def inside(*interfaces: Interface) -> PauseLab:
    return with_pod(inside=ok(interfaces, "nsenter -t 100 -n ip -j -d addr show", "k8s-node1"))


LO, TUNL0, ETH0 = scenes.inside(PAUSE_IP, 16)


class TestOneSandbox:
    def test_held(self) -> None:
        assert_held(pause.one_sandbox(scenes.pause(), INTENT))

    def test_a_second_sandbox(self) -> None:
        sandbox, *rest = containers()
        lab = listing(sandbox, replace(sandbox, id="dead" * 16, pid=900), *rest)
        assert_broken(pause.one_sandbox(lab, INTENT), "2 pause containers", "deaddeaddead")

    def test_no_sandbox(self) -> None:
        assert_broken(pause.one_sandbox(listing(*containers()[1:]), INTENT), "no pause container")

    def test_a_sandbox_that_does_not_run(self) -> None:
        sandbox, *rest = containers()
        lab = listing(replace(sandbox, pid=0), *rest)
        assert_broken(pause.one_sandbox(lab, INTENT), "1 pause containers, 0 of them running")

    def test_a_missing_container(self) -> None:
        assert_broken(
            pause.one_sandbox(listing(*containers()[:2]), INTENT), "no running container container2"
        )

    def test_cri_o_may_drop_the_pause_process(self) -> None:
        lab = runtime("cri-o://1.30")
        pinned = tuple(
            replace(c, network_namespace="/var/run/netns/1") for c in containers(lab) if not c.sandbox
        )
        verdict = pause.one_sandbox(listing(*pinned, lab=lab), INTENT)
        assert_held(verdict)
        assert "/var/run/netns/1 stands in" in verdict.seen
        apart = (replace(pinned[0], network_namespace="/var/run/netns/2"), pinned[1])
        assert_broken(pause.one_sandbox(listing(*apart, lab=lab), INTENT), "no pause container")

    def test_nothing_listed(self) -> None:
        assert_inconclusive(pause.one_sandbox(listing(), INTENT), "lists no container of the pod")
        assert_inconclusive(pause.one_sandbox(with_pod(containers=failed()), INTENT), "command not found")


class TestNetworkMode:
    def test_docker(self) -> None:
        assert_held(pause.network_mode(scenes.pause(), INTENT))

    def test_a_container_outside_the_pods_network(self) -> None:
        *rest, last = containers()
        lab = listing(*rest, replace(last, network_mode="host"))
        assert_broken(pause.network_mode(lab, INTENT), "container2: host")

    def test_a_sandbox_without_cni(self) -> None:
        sandbox, *rest = containers()
        lab = listing(replace(sandbox, network_mode="host"), *rest)
        assert_broken(pause.network_mode(lab, INTENT), '"host"')

    def test_a_cri_sandbox_in_the_nodes_network(self) -> None:
        lab = runtime("containerd://1.6.20")
        sandbox, *rest = containers(lab)
        lab = listing(replace(sandbox, network_namespace=NODE_NETWORK), *rest, lab=lab)
        assert_broken(pause.network_mode(lab, INTENT), "names no network namespace")

    def test_the_path_of_the_pause_process(self) -> None:
        assert_held(pause.network_mode(runtime("containerd://1.6.20"), INTENT))

    def test_the_path_of_the_sandbox_itself(self) -> None:
        lab = runtime("containerd://1.6.20")
        sandbox, *rest = containers(lab)
        named = [replace(c, network_namespace="/run/netns/cni-1") for c in rest]
        lab = with_pod(listing(sandbox, *named, lab=lab), inodes=failed())
        assert_held(pause.network_mode(lab, INTENT))

    def test_other_paths_are_compared_by_inode(self) -> None:
        lab = runtime("containerd://1.6.20")
        sandbox, one, two = containers(lab)
        for path in ("/proc/101/ns/net", "/run/netns/other", None):
            changed = listing(sandbox, replace(one, network_namespace=path), two, lab=lab)
            assert_held(pause.network_mode(changed, INTENT))
            apart = with_pod(changed, inodes=ok({**scenes.pause().pod.inodes.get(), 101: 7}))
            assert_broken(pause.network_mode(apart, INTENT), "container1", "net:[7]")
            assert_inconclusive(pause.network_mode(with_pod(changed, inodes=failed()), INTENT))
            unread = with_pod(changed, inodes=ok({1: 4026531992, 100: 4026532182}))
            assert_inconclusive(pause.network_mode(unread, INTENT), "namespace of pid 101 was not read")

    def test_an_oci_container_that_makes_its_own(self) -> None:
        sandbox, *rest = containers()
        own = [replace(c, network_mode=None, network_namespace=None, runtime="oci") for c in rest]
        assert_broken(pause.network_mode(listing(sandbox, *own), INTENT), "container1 names no path")

    def test_of_two_sandboxes_the_one_that_is_named(self) -> None:
        sandbox, *rest = containers()
        lab = listing(replace(sandbox, id="dead" * 16), sandbox, *rest)
        assert_held(pause.network_mode(lab, INTENT))

    def test_no_sandbox(self) -> None:
        assert_broken(pause.network_mode(listing(*containers()[1:]), INTENT), "no pause container to join")
        lab = runtime("cri-o://1.30")
        pinned = [replace(c, network_namespace="/var/run/netns/1") for c in containers(lab)[1:]]
        assert_held(pause.network_mode(listing(*pinned, lab=lab), INTENT))

    def test_nothing_but_a_sandbox(self) -> None:
        assert_inconclusive(pause.network_mode(listing(containers()[0]), INTENT), "but its sandbox")


class TestSameNetns:
    def test_held(self) -> None:
        assert_held(pause.same_netns(scenes.pause(), INTENT))

    def test_a_container_in_another(self) -> None:
        lab = with_pod(inodes=ok({**scenes.pause().pod.inodes.get(), 102: 7}, "stat", "k8s-node1"))
        assert_broken(pause.same_netns(lab, INTENT), "container2 is not in POD's", "net:[7]")

    def test_a_container_in_the_nodes(self) -> None:
        lab = with_pod(inodes=ok({**scenes.pause().pod.inodes.get(), 102: 4026531992}, "stat", "k8s-node1"))
        assert_broken(pause.same_netns(lab, INTENT), "container2 is in the node's own namespace")

    def test_all_in_the_nodes(self) -> None:
        lab = with_pod(inodes=ok(dict.fromkeys((1, 100, 101, 102), 5), "stat", "k8s-node1"))
        assert_broken(pause.same_netns(lab, INTENT), "POD is in the node's own namespace")

    def test_without_a_pause_process(self) -> None:
        sandbox, *rest = containers()
        for gone in (rest, [replace(sandbox, pid=0), *rest]):
            verdict = pause.same_netns(listing(*gone), INTENT)
            assert_inconclusive(verdict, "no pause container runs", "container1 (pid 101)")

    def test_without_a_pause_process_a_stranger_is_one_still(self) -> None:
        lab = with_pod(listing(*containers()[1:]), inodes=ok({1: 5, 101: 6, 102: 7}, "stat", "k8s-node1"))
        assert_broken(pause.same_netns(lab, INTENT), "container2 is not in container1's")

    def test_a_pinned_namespace_stands_in(self) -> None:
        for name in ("cri-o://1.30", "containerd://1.6.20"):
            lab = runtime(name)
            inodes = ok({1: 5, PINNED: 6, 101: 6, 102: 6}, "stat", "k8s-node1")
            pinned = [replace(c, network_namespace="/var/run/netns/1") for c in containers(lab)[1:]]
            lab = with_pod(listing(*pinned, lab=lab), inodes=inodes)
            verdict = pause.same_netns(lab, INTENT)
            if name.startswith("cri-o"):
                assert_held(verdict)
                assert "pinned at /var/run/netns/1, net:[6], stands in" in verdict.seen
            else:
                assert_inconclusive(verdict, "no pause container runs")

    @pytest.mark.parametrize("path", ["/proc/100/ns/net", "/proc/1/ns/net"])
    def test_a_process_pins_nothing(self, path: str) -> None:
        lab = runtime("cri-o://1.30")
        lab = listing(*(replace(c, network_namespace=path) for c in containers(lab)[1:]), lab=lab)
        assert_inconclusive(pause.same_netns(lab, INTENT), "no pause container runs")
        assert_broken(pause.one_sandbox(lab, INTENT), "no pause container")
        assert_broken(pause.network_mode(lab, INTENT), "no pause container to join")

    @pytest.mark.parametrize("inodes", [failed(), ok({1: 5, 100: 6, 101: 6}), ok({100: 6, 101: 6, 102: 6})])
    def test_unread(self, inodes: Reading[Any]) -> None:
        assert_inconclusive(pause.same_netns(with_pod(inodes=inodes), INTENT))

    def test_nothing_but_a_sandbox(self) -> None:
        assert_inconclusive(pause.same_netns(listing(containers()[0]), INTENT), "but its sandbox")


class TestDroppedPause:
    """CRI-O with drop_infra_ctr: the sandbox is listed, without a process."""

    PATH = "/var/run/netns/f3cf"

    def lab(self, *, spec: bool = True, second: str = PATH, **inodes: int) -> PauseLab:
        lab = runtime("cri-o://1.30.0")
        sandbox, one, two = containers(lab)
        found = {"1": 5, str(PINNED): 6, "101": 6, "102": 6} | {k.strip("_"): v for k, v in inodes.items()}
        listed = listing(
            replace(sandbox, pid=0, network_namespace=self.PATH if spec else None),
            replace(one, network_namespace=self.PATH),
            replace(two, network_namespace=second),
            lab=lab,
        )
        return with_pod(listed, inodes=ok({int(k): v for k, v in found.items()}, "stat", "k8s-node1"))

    @pytest.mark.parametrize("spec", [True, False])
    def test_held(self, spec: bool) -> None:
        lab = self.lab(spec=spec)
        for claim in (pause.one_sandbox, pause.network_mode, pause.same_netns):
            verdict = claim(lab, INTENT)
            assert_held(verdict)
            assert "CRI-O" in verdict.seen, "what stands in for the pause process is said"

    def test_a_container_in_another_namespace(self) -> None:
        lab = self.lab(second="/var/run/netns/other", _102=7)
        assert_held(pause.one_sandbox(lab, INTENT))
        assert_broken(pause.network_mode(lab, INTENT), "container2", "net:[7]", "pinned namespace net:[6]")
        assert_broken(pause.same_netns(lab, INTENT), "container2 is not in the pinned namespace")

    def test_all_containers_in_another_namespace(self) -> None:
        lab = self.lab(_101=7, _102=7)
        assert_broken(pause.same_netns(lab, INTENT), "container1 is not in the pinned namespace")

    def test_all_in_the_nodes(self) -> None:
        assert_broken(pause.same_netns(self.lab(_0=5, _101=5, _102=5), INTENT), "node's own namespace")

    def test_host_network(self) -> None:
        lab = self.lab(_0=5, _101=5, _102=5)
        host = [replace(c, network_namespace=NODE_NETWORK) for c in containers(lab)]
        lab = listing(*host, lab=lab)
        assert_broken(pause.one_sandbox(lab, INTENT), "0 of them running")
        assert_broken(pause.network_mode(lab, INTENT), "names no network namespace")

    def test_two_of_them(self) -> None:
        lab = self.lab()
        sandbox, *rest = containers(lab)
        for path in (self.PATH, "/run/netns/2"):
            other = replace(sandbox, id="dead" * 16, network_namespace=path)
            assert_broken(pause.one_sandbox(listing(sandbox, other, *rest, lab=lab), INTENT), "2 pause")

    def test_a_namespace_that_was_not_read(self) -> None:
        lab = with_pod(self.lab(second="/other"), inodes=ok({1: 5, 101: 6, 102: 6}, "stat", "k8s-node1"))
        for claim in (pause.network_mode, pause.same_netns):
            assert_inconclusive(claim(lab, INTENT), "pinned for it was not read")

    def test_containerd_drops_none(self) -> None:
        lab = self.lab()
        node = replace(lab.pod.node, object=scenes.node1().object)
        lab = with_pod(lab, node=node)
        assert_broken(pause.one_sandbox(lab, INTENT), "0 of them running")
        assert_inconclusive(pause.same_netns(lab, INTENT), "no pause container runs")


class TestPodIP:
    def test_held(self) -> None:
        assert_held(pause.pod_ip(scenes.pause(), INTENT))

    def test_link_local_addresses_do_not_count(self) -> None:
        fe80 = replace(ETH0, addresses=(*ETH0.addresses, ip_interface("fe80::1/64")))
        assert_held(pause.pod_ip(inside(LO, fe80), INTENT))

    def test_dual_stack(self) -> None:
        pod = replace(scenes.pod_pause().pod, ips=(ip_address(PAUSE_IP), V6))
        both = replace(ETH0, addresses=(*ETH0.addresses, ip_interface(f"{V6}/128")))
        assert_held(pause.pod_ip(with_pod(inside(LO, both), pod=pod), INTENT))
        assert_broken(pause.pod_ip(with_pod(inside(LO, ETH0), pod=pod), INTENT), f"eth0 {PAUSE_IP}/32")

    @pytest.mark.parametrize(
        ("interfaces", "culprit"),
        [
            ((LO, replace(ETH0, addresses=())), "no address at all"),
            ((LO,), "no address at all"),
            ((LO, replace(ETH0, addresses=(ip_interface(f"{PAUSE_IP}/24"),))), f"{PAUSE_IP}/24"),
            ((LO, replace(ETH0, addresses=(*ETH0.addresses, ip_interface("10.1.1.1/32")))), "10.1.1.1/32"),
            ((LO, replace(ETH0, name="net1"), replace(ETH0, addresses=())), f"net1 {PAUSE_IP}/32"),
            ((LO, ETH0, replace(TUNL0, addresses=(ip_interface("10.1.1.1/32"),))), "tunl0 10.1.1.1/32"),
        ],
    )
    def test_broken(self, interfaces: tuple[Interface, ...], culprit: str) -> None:
        assert_broken(pause.pod_ip(inside(*interfaces), INTENT), culprit)

    def test_on_the_node_instead(self) -> None:
        lab = inside(LO, replace(ETH0, addresses=()))
        node = scenes.node1()
        held_by = (*node.interfaces.get(), replace(ETH0, name="dummy0"))
        lab = with_pod(lab, node=replace(node, interfaces=ok(held_by)))
        assert_broken(pause.pod_ip(lab, INTENT), "k8s-node1 itself holds the pod's IP on dummy0")

    def test_unread(self) -> None:
        assert_inconclusive(pause.pod_ip(with_pod(inside=failed()), INTENT))
        assert_inconclusive(pause.pod_ip(inside(), INTENT), "not even lo")
        bare = replace(scenes.pod_pause().pod, ips=())
        assert_inconclusive(pause.pod_ip(with_pod(pod=bare), INTENT), "no IP in its status")


class TestVethPair:
    def test_held(self) -> None:
        assert_held(pause.veth_pair(scenes.pause(), INTENT))

    def host(self, *, drop: bool = False, **changes: Any) -> PauseLab:
        kept = []
        for interface in scenes.node1().interfaces.get():
            if interface.name != PAUSE_VETH:
                kept.append(interface)
            elif not drop:
                kept.append(replace(interface, **changes))
        return with_node(interfaces=ok(tuple(kept), "ip -j -d addr show", "k8s-node1"))

    def test_netkit(self) -> None:
        assert_held(pause.veth_pair(self.host(kind="netkit"), INTENT))

    @pytest.mark.parametrize(
        ("changes", "culprit"),
        [
            ({"drop": True}, "no interface with index 16 on k8s-node1"),
            ({"peer_netnsid": None}, "no interface with index 16 on k8s-node1"),
            ({"peer_index": 7}, f"{PAUSE_VETH} (index 16) pairs with if7, eth0 has index 4"),
            ({"name": "veth12"}, "veth12, whose name does not begin with cali"),
            ({"kind": "bridge"}, "is a bridge interface"),
            ({"kind": None}, "is a hardware interface"),
            ({"peer_netnsid": 1}, f"{PAUSE_VETH} and calib8c6d5407e3 both claim the same peer"),
        ],
    )
    def test_broken(self, changes: dict[str, Any], culprit: str) -> None:
        assert_broken(pause.veth_pair(self.host(**changes), INTENT), culprit)

    def test_eth0_pairs_with_nothing(self) -> None:
        lab = inside(LO, replace(ETH0, peer_netnsid=None))
        assert_broken(pause.veth_pair(lab, INTENT), "no interface with index 16")
        assert_broken(pause.veth_pair(inside(LO), INTENT), "no interface with index None")

    def test_unread(self) -> None:
        assert_inconclusive(pause.veth_pair(with_node(interfaces=failed()), INTENT))
        assert_inconclusive(pause.veth_pair(with_pod(inside=failed()), INTENT))


class TestHostRoute:
    GOOD = route(PAUSE_IP, PAUSE_VETH, scope="link")

    def routes(self, *routes: Any) -> PauseLab:
        default = route("0.0.0.0/0", "eth0", "10.0.2.2")
        return with_node(routes=ok((default, *routes), "ip -j -d route show table all", "k8s-node1"))

    def test_held(self) -> None:
        assert_held(pause.host_route(scenes.pause(), INTENT))
        assert_held(pause.host_route(self.routes(replace(self.GOOD, metric=1024, protocol="80")), INTENT))

    def test_dual_stack(self) -> None:
        pod = replace(scenes.pod_pause().pod, ips=(ip_address(PAUSE_IP), V6))
        lab = self.routes(self.GOOD, route(f"{V6}/128", PAUSE_VETH))
        assert_held(pause.host_route(with_pod(lab, pod=pod), INTENT))
        assert_broken(
            pause.host_route(with_pod(self.routes(self.GOOD), pod=pod), INTENT), f"no route to {V6}"
        )

    @pytest.mark.parametrize(
        ("routes", "culprit"),
        [
            ((), f"no route to {PAUSE_IP}/32"),
            ((replace(GOOD, device="calib8c6d5407e3"),), "dev calib8c6d5407e3"),
            ((GOOD, replace(GOOD, device="calib8c6d5407e3")), "dev calib8c6d5407e3"),
            ((GOOD, replace(GOOD, table="100", device="eth1")), "table 100"),
            ((replace(GOOD, scope="global"),), "scope global"),
            ((replace(GOOD, gateway=ip_address("10.0.2.2")),), "via 10.0.2.2"),
            ((replace(GOOD, device=None, type="blackhole"),), "blackhole"),
            ((GOOD, replace(GOOD, type="local", table="local", device="lo")), "local 20.111.156.71/32"),
        ],
    )
    def test_broken(self, routes: tuple[Any, ...], culprit: str) -> None:
        assert_broken(pause.host_route(self.routes(*routes), INTENT), culprit)

    def test_no_host_end(self) -> None:
        verdict = pause.host_route(inside(LO), INTENT)
        assert_broken(verdict, PAUSE_VETH)
        assert "was not found" in verdict.expected

    def test_unread(self) -> None:
        assert_inconclusive(pause.host_route(with_node(routes=failed()), INTENT))
        assert_inconclusive(pause.host_route(with_node(routes=ok(())), INTENT), "no route at all")


class TestRequests:
    def sibling(self, number: int, exchange: Exchange | None) -> PauseLab:
        lab = scenes.pause()
        changed = list(lab.siblings)
        answer = failed("curl") if exchange is None else replace(changed[number].answer, value=exchange)
        changed[number] = replace(changed[number], answer=answer)
        return replace(lab, siblings=tuple(changed))

    def test_siblings_answer(self) -> None:
        assert_held(pause.shared_localhost(scenes.pause(), INTENT))

    def test_a_sibling_is_silent(self) -> None:
        silent = scenes.unanswered("http://127.0.0.1:8000/", "curl: (7) connection refused")
        assert_broken(
            pause.shared_localhost(self.sibling(1, silent), INTENT), "127.0.0.1:8000", "connection refused"
        )

    def test_a_sibling_answers_with_an_error(self) -> None:
        error = Exchange("http://127.0.0.1:8000/", 500)
        assert_broken(pause.shared_localhost(self.sibling(1, error), INTENT), "HTTP 500")

    STRANGERS = (b"", b"pod-dest\n", b"Hostname : pod-pause-2\n", b"my-pod-pause", b"pod-pause.other")

    @pytest.mark.parametrize("body", STRANGERS)
    def test_a_stranger_answers_for_a_sibling(self, body: bytes) -> None:
        stranger = scenes.answered("http://127.0.0.1:8000/", body)
        verdict = pause.shared_localhost(self.sibling(1, stranger), INTENT)
        assert_broken(verdict, "127.0.0.1:8000", f"a stranger answered: {body.decode().strip()!r}")

    @pytest.mark.parametrize("body", STRANGERS)
    def test_a_stranger_answers_on_the_pods_ip(self, body: bytes) -> None:
        lab = scenes.pause()
        stranger = scenes.answered(f"http://{PAUSE_IP}:8080/", body)
        last = replace(lab.from_other_node[1], answer=ok(stranger, "curl", "k8s-node2"))
        verdict = pause.both_reachable(replace(lab, from_other_node=(lab.from_other_node[0], last)), INTENT)
        assert_broken(verdict, f"{PAUSE_IP}:8080", f"a stranger answered: {body.decode().strip()!r}")

    @pytest.mark.parametrize("body", [b"pod-pause", b"Hostname: pod-pause.", b"<b>pod-pause</b>"])
    def test_the_pod_names_itself(self, body: bytes) -> None:
        own = scenes.answered("http://127.0.0.1:8000/", body)
        assert_held(pause.shared_localhost(self.sibling(1, own), INTENT))

    def test_a_long_name_is_cut_as_the_kubelet_cuts_it(self) -> None:
        lab = scenes.pause()
        pod = replace(lab.pod.pod, name="p" * 62 + "-" + "q" * 9)
        own = scenes.answered("http://127.0.0.1:8000/", b"Hostname : " + b"p" * 62)
        answers = tuple(replace(r, answer=replace(r.answer, value=own)) for r in lab.siblings)
        assert_held(pause.shared_localhost(replace(with_pod(lab, pod=pod), siblings=answers), INTENT))

    def test_siblings_that_were_not_asked(self) -> None:
        lab = scenes.pause()
        one_way = replace(lab, siblings=lab.siblings[:1])
        assert_inconclusive(pause.shared_localhost(one_way, INTENT), "container1 -> 127.0.0.1:8080")
        assert_inconclusive(pause.shared_localhost(replace(lab, siblings=()), INTENT), "none")
        elsewhere = self.sibling(0, scenes.answered(f"http://{PAUSE_IP}:8080/"))
        assert_inconclusive(pause.shared_localhost(elsewhere, INTENT), f"asked {PAUSE_IP}")
        named = self.sibling(0, scenes.answered("http://nowhere:8080/"))
        assert_inconclusive(pause.shared_localhost(named, INTENT), "asked nowhere")
        assert_inconclusive(pause.shared_localhost(self.sibling(0, None), INTENT), "command not found")

    def test_both_ports_answer(self) -> None:
        assert_held(pause.both_reachable(scenes.pause(), INTENT))

    def test_a_port_is_silent(self) -> None:
        lab = scenes.pause()
        silent = scenes.unanswered(f"http://{PAUSE_IP}:8080/", "")
        last = replace(lab.from_other_node[1], answer=ok(silent, "curl", "k8s-node2"))
        lab = replace(lab, from_other_node=(lab.from_other_node[0], last))
        assert_broken(pause.both_reachable(lab, INTENT), f"{PAUSE_IP}:8080", "no reason given")

    def test_ports_that_were_not_asked(self) -> None:
        lab = scenes.pause()
        for requests in (lab.from_other_node[:1], lab.siblings):
            assert_inconclusive(
                pause.both_reachable(replace(lab, from_other_node=requests), INTENT), "requested:"
            )

    def test_no_other_node(self) -> None:
        verdict = pause.both_reachable(replace(scenes.pause(), from_other_node=()), INTENT)
        assert_inconclusive(verdict, "knows no node but k8s-node1", "none to ask from")
        assert verdict.advice == "name another node with --k8snet-role"


class TestSurvivesRestart:
    def changed(self, **changes: Any) -> Reading[Restart]:
        reading = scenes.restart()
        value = reading.get()
        return replace(reading, value=replace(value, after=replace(value.after, **changes)))

    def test_held(self) -> None:
        assert_held(pause.survives_restart(scenes.restart()))

    @pytest.mark.parametrize(
        ("changes", "culprit"),
        [
            ({"inode": 7}, "namespace net:[4026532182] became net:[7]"),
            ({"ips": (ip_address("20.111.156.99"),)}, f"IP {PAUSE_IP} became 20.111.156.99"),
            ({"host_interface": "cali9"}, f"interface {PAUSE_VETH} became cali9"),
        ],
    )
    def test_broken(self, changes: dict[str, Any], culprit: str) -> None:
        assert_broken(pause.survives_restart(self.changed(**changes)), culprit)

    @pytest.mark.parametrize(
        ("lost", "what"),
        [
            ({"ips": ()}, "no address already before"),
            ({"host_interface": ""}, "no interface on the node already before"),
            ({"ips": (), "host_interface": ""}, "no address and no interface on the node"),
        ],
    )
    def test_nothing_equals_nothing(self, lost: dict[str, Any], what: str) -> None:
        reading = scenes.restart()
        both = Restart(replace(reading.get().before, **lost), replace(reading.get().after, **lost))
        assert_inconclusive(pause.survives_restart(replace(reading, value=both)), what)
        assert_broken(pause.survives_restart(self.changed(**lost)), "became")

    def test_not_restarted(self) -> None:
        before = scenes.restart().get().before
        unchanged = self.changed(container=before.container, pid=before.pid)
        assert_inconclusive(pause.survives_restart(unchanged), "was not restarted")
        assert_inconclusive(pause.survives_restart(failed("kill")), "command not found")
