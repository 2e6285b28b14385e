"""Sessions on a cluster that refuses, or can't run, what a run makes: the reason once, in its own words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fakeapi import FakeCluster, Unschedulable, denied_by, over_quota
from tests.fakeapi.answers import LabAnswers
from tests.sessions.user import User

pytestmark = pytest.mark.usefixtures("answers")

ENDS = "k8snet: without its cluster the run ends here"
PROBES, PODS = "k8snet-probe-*", "pod-*"
TOO_BIG = "0/3 nodes are available: 3 Insufficient cpu."


def no_probe_image(fake: FakeCluster) -> None:
    fake.kubelet.without_image("nicolaka/netshoot:*")


def no_room_for_probes(fake: FakeCluster) -> None:
    fake.kubelet.let(PROBES, Unschedulable(TOO_BIG))


def quota_for_probes(fake: FakeCluster) -> None:
    fake.refuse("pods", over_quota(), PROBES)


def namespace_refused(fake: FakeCluster) -> None:
    fake.refuse("namespaces", denied_by("names.example.com", "ask the platform team"))


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (
            no_probe_image,
            (
                "container probe on k8s-",
                "can't be had",
                "not found",
                "name another with --k8snet-probe-image",
            ),
        ),
        (no_room_for_probes, ("pod k8snet-probe-", f"is Pending, no node takes it: {TOO_BIG}")),
        (quota_for_probes, ("no probe pod on k8s-master, k8s-node1, k8s-node2", "exceeded quota: compute")),
    ],
)
def test_the_way_to_the_nodes(
    user: User, fake: FakeCluster, trouble: Callable[[FakeCluster], None], words: tuple[str, ...]
) -> None:
    """Without it no lab can be judged: it is told once, and nothing else is tried."""
    trouble(fake)
    ended = user.judge(fake)
    assert (ended.status, ended.counts) == (1, {"inconclusive": 1})
    (told,) = ended.told
    assert [word for word in words if word not in told] == []
    assert sum(ENDS in line for line in ended.lines) == 1


def test_a_namespace_that_admission_refuses_is_known_before(user: User, fake: FakeCluster) -> None:
    namespace_refused(fake)
    said = user.judge(fake).refused
    assert 'webhook "names.example.com" denied the request: ask the platform team' in said


def no_image(fake: FakeCluster) -> None:
    fake.kubelet.without_image("kubetm/p8000")


def no_room(fake: FakeCluster) -> None:
    fake.kubelet.let(PODS, Unschedulable(TOO_BIG))


def quota(fake: FakeCluster) -> None:
    fake.refuse("pods", over_quota(), PODS)


def webhook(fake: FakeCluster) -> None:
    fake.refuse("pods", denied_by("images.example.com", "no image without a digest"), PODS)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (
            no_image,
            (
                "pod pod-pause, container container1 on k8s-node1: image kubetm/p8000 can't be had",
                "replace it with --k8snet-images agnhost",
            ),
        ),
        (no_room, (f"pod pod-pause is Pending, no node takes it: {TOO_BIG}",)),
        (quota, ("Pod pod-pause: ", "exceeded quota: compute, requested: pods=1")),
        (webhook, ('webhook "images.example.com" denied the request: no image without a digest',)),
    ],
)
def test_a_lab(
    user: User, fake: FakeCluster, trouble: Callable[[FakeCluster], None], words: tuple[str, ...]
) -> None:
    """All its claims are inconclusive for one reason, which is told once."""
    trouble(fake)
    ended = user.judge(fake, "-k", "one_sandbox or same_netns or pod_ip")
    assert (ended.status, ended.counts) == (1, {"deselected": 31, "inconclusive": 3})
    (told,) = ended.told
    assert told.startswith("INCONCLUSIVE: pause/one-sandbox: ")
    assert [word for word in words if word not in told] == []
    assert "The same of test_same_netns, test_pod_ip" in ended.lines


def test_one_lab_that_can_not_be_had_leaves_the_others(user: User, fake: FakeCluster) -> None:
    no_image(fake)
    ended = user.judge(fake, "-k", "one_sandbox or ippool_mode")
    assert ended.counts == {"deselected": 32, "inconclusive": 1, "passed": 1}
    assert ended.status == 1


def test_a_node_port_that_is_taken(user: User, fake: FakeCluster) -> None:
    spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 31080}]}
    fake.store.create("services", {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    (told,) = user.judge(fake, "-k", "arrives_plain").told
    assert "spec.ports[0].nodePort: Invalid value: 31080: provided port is already allocated" in told
    assert "--k8snet-node-port" in told


def test_pod_security_is_told_by_the_namespace_that_it_is_meant(user: User) -> None:
    """The namespace's label lets the probe pods in wherever clusters restrict namespaces without one."""
    with FakeCluster("v1.34.2", pod_security="restricted") as fake:
        LabAnswers(fake)
        assert user.judge(fake, "-k", "one_sandbox").status == 0
        assert fake.left() == []


def test_pod_security_that_overrides_the_label(user: User, fake: FakeCluster) -> None:
    """As a policy engine that sets labels anew does."""
    with FakeCluster("v1.34.2") as fake:
        LabAnswers(fake)

        def label(resource: object, obj: dict[str, dict[str, dict[str, str]]]) -> None:
            labels = obj["metadata"].get("labels", {})
            if "pod-security.kubernetes.io/enforce" in labels:
                labels["pod-security.kubernetes.io/enforce"] = "baseline"

        fake.store.admission.insert(0, label)
        ended = user.judge(fake, "-k", "one_sandbox")
        (told,) = ended.told
        assert 'violates PodSecurity "baseline:latest": host namespaces' in told
        assert fake.left() == []
