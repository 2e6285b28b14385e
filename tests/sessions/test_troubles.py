"""Sessions on a cluster where something fails while it is judged: what can't be known is inconclusive."""

from __future__ import annotations

import pytest

from tests.fakeapi import Content, Exec, FakeCluster, Output, document_nodes
from tests.fakeapi.answers import LabAnswers
from tests.fakeapi.faults import Request
from tests.sessions.user import User


def test_one_worker(user: User) -> None:
    """What needs a second is skipped by name, and a lab that was skipped as a whole is told at the end."""
    with FakeCluster(nodes=document_nodes("docker://20.10.7")[:2]) as fake:
        LabAnswers(fake)
        # Its request comes from another node of the recording's.
        ended = user.judge(fake, "-k", "not both_reachable")
        assert (ended.status, ended.counts) == (0, {"passed": 7, "deselected": 1, "skipped": 26})
        why = "no node for the role node2: k8s-node1 can run the labs' pods, not k8s-master (taint "
        for lab in ("pod-network", "clusterip", "nodeport"):
            (line,) = [line for line in ended.lines if line.startswith(f"lab {lab} was skipped as a whole: ")]
            assert why in line
        assert fake.left() == []


def test_without_calico(user: User) -> None:
    with FakeCluster(content=Content(calico=False)) as fake:
        LabAnswers(fake)
        ended = user.judge(fake, "-k", "pod_network", "-rs")
        assert (ended.status, ended.counts) == (0, {"passed": 9, "skipped": 2, "deselected": 23})
        assert sum("no Calico: the cluster serves no ippools" in line for line in ended.lines) == 2
        assert fake.left() == []


@pytest.mark.parametrize(
    ("program", "lab", "claim"),
    [
        ("tcpdump", "pod_network", "plain_on_source_veth"),
        ("conntrack", "clusterip", "conntrack_agrees"),
        ("docker", "pause", "one_sandbox"),
        ("ss", "nodeport", "kube_proxy_listens"),
    ],
)
def test_a_program_that_no_node_has(
    user: User, fake: FakeCluster, answers: LabAnswers, program: str, lab: str, claim: str
) -> None:
    answers.absent.add(program)
    ended = user.judge(fake, "-k", f"{lab} and {claim}")
    assert ended.status == 1
    (told,) = ended.told
    assert told.startswith(f"INCONCLUSIVE: {lab.replace('_', '-')}/{claim.replace('_', '-')}: ")
    assert f"{program} is not installed on k8s-" in told


def test_a_command_that_hangs(user: User, fake: FakeCluster, answers: LabAnswers) -> None:
    def hang(call: Exec) -> Output:
        call.wait_signal()
        return Output(exit_status=137)

    answers.instead["k8s-node2", "conntrack"] = hang
    ended = user.start(
        fake, "-p", "tests.sessions.impatient", "-k", "conntrack_agrees or vip_on_source_veth"
    ).end()
    assert ended.counts == {"passed": 1, "inconclusive": 1, "deselected": 32}
    (told,) = ended.told
    assert told.startswith("INCONCLUSIVE: clusterip/conntrack-agrees: ")
    assert "did not end within 1.5 s" in told


def test_an_api_that_stumbles_all_the_way(user: User, fake: FakeCluster, answers: LabAnswers) -> None:
    """Streams that break, answers that are lost, too many requests: none of it is seen in the verdicts."""
    fake.fail("WATCH", "*", cut=True, times=3)
    fake.fail("GET", "/api/v1/nodes", status=429, retry_after=0)
    fake.fail("GET", "*/services", status=503)
    fake.fail("POST", "*/pods", lost=True)
    fake.fail("POST", "*/services", reset=True)
    fake.fail("DELETE", "/api/v1/namespaces/*", lost=True)
    ended = user.judge(fake, "-k", "clusterip")
    assert (ended.status, ended.counts) == (0, {"passed": 6, "skipped": 1, "deselected": 27})


def test_connections_that_break_in_the_middle(user: User, fake: FakeCluster, answers: LabAnswers) -> None:
    """Captures ran over them: what they held is not known, and nothing of it counts as held."""
    run = fake.processes.callback
    broken: list[str] = []

    def cut(call: Exec) -> Output | int | None:
        if "curl" in call.argv and "pod-src" in call.pod and not broken:
            broken.append(call.pod)
            fake.break_connections()
        return run(call)

    fake.on_exec(cut)
    ended = user.judge(fake, "-k", "pod_network and (veth or uplink)")
    assert broken
    assert ended.status == 1
    assert ended.counts.get("passed", 0) == 0
    assert all(told.startswith("INCONCLUSIVE: ") for told in ended.told)


def test_an_api_that_goes_away(user: User) -> None:
    """For good, after the first lab: what stays is named, with the command that removes it."""
    with FakeCluster() as fake:
        LabAnswers(fake)
        gone = fake.fail("*", "*", reset=True, times=0)

        def go(request: Request) -> None:
            gone.times = None

        fake.fail("POST", "*/pods", hook=go, after=1)
        impatient = ("-p", "tests.sessions.impatient", "--k8snet-timeout=2")
        ended = user.start(fake, *impatient, "-k", "one_sandbox or ippool_mode").end()
        assert (ended.status, ended.counts) == (1, {"passed": 1, "inconclusive": 1, "deselected": 32})
        (told,) = ended.told
        assert f"kubeconfig context fake: {fake.url} can't be reached: Connection reset by peer" in told
        (left,) = fake.left()
        name = left.removeprefix("namespaces/")
        assert ended.lines[-1].startswith(f"k8snet: could not be removed: namespace {name}: ")
        assert ended.lines[-1].endswith(f"; remove it with `kubectl --context fake delete namespace {name}`")
