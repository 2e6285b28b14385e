"""How sessions end that are interrupted, killed, or asked to leave something; and what is left then."""

from __future__ import annotations

import os
import signal

import pytest

from tests.fakeapi import FakeCluster, creating
from tests.fakeapi.answers import LabAnswers
from tests.fakeapi.faults import Request
from tests.sessions.user import Ended, Session, User


def during(
    user: User, fake: FakeCluster, verb: str, path: str, number: int, *arguments: str, after: int = 0
) -> Ended:
    """A session that gets signal ``number`` (and all that it started) while a request is not answered yet."""
    running: list[Session] = []

    def send(request: Request) -> None:
        while not running:
            os.sched_yield()
        os.killpg(running[0].process.pid, number)

    fake.fail(verb, path, hook=send, after=after)
    running.append(user.start(fake, *arguments))
    return running[0].end()


@pytest.mark.parametrize(
    ("verb", "path", "after"),
    [
        ("POST", "/api/v1/namespaces", 1),
        ("POST", "*/pods", 0),
        ("GET", "*/pods/pod-src/exec", 0),
        ("DELETE", "/api/v1/namespaces/*", 0),
    ],
    ids=["namespace", "lab", "observing", "removing"],
)
def test_interrupted(
    user: User, fake: FakeCluster, answers: LabAnswers, verb: str, path: str, after: int
) -> None:
    ended = during(user, fake, verb, path, signal.SIGINT, "-k", "source_kept", after=after)
    assert ended.status == 2
    assert "KeyboardInterrupt" in ended.out


def test_interrupted_while_pods_are_waited_for(user: User, fake: FakeCluster) -> None:
    fake.kubelet.let("k8snet-probe-*", creating())
    assert during(user, fake, "WATCH", "*/pods", signal.SIGINT).status == 2


def test_interrupted_before_it_began(user: User, fake: FakeCluster) -> None:
    """While it is looked whether the run may start."""
    assert during(user, fake, "GET", "/api/v1/nodes", signal.SIGINT).status == 2


def test_killed(user: User, fake: FakeCluster, answers: LabAnswers) -> None:
    """The next run removes what is left, after saying so: it may hold the NodePort."""
    during(user, fake, "POST", "*/pods", signal.SIGKILL, "-k", "arrives_plain")
    (left,) = [name for name in fake.left() if name.startswith("namespaces/")]
    ended = user.judge(fake, "-k", "arrives_plain")
    assert (ended.status, ended.counts["passed"]) == (0, 1)
    what = f"{left.replace('s/', ' ', 1)}, left by process "
    assert sum(line.startswith(f"k8snet: removing {what}") for line in ended.lines) == 1
    # In the last lines too: with -q, and on xdist's workers, nobody sees a step.
    assert sum(line.startswith("on ") and f"; removed {what}" in line for line in ended.lines) == 1


def test_kept(user: User) -> None:
    with FakeCluster() as fake:
        LabAnswers(fake)
        ended = user.judge(fake, "--k8snet-keep", "-k", "one_sandbox")
        assert ended.status == 0
        (left,) = fake.left()
        name = left.removeprefix("namespaces/")
        assert ended.lines[-1] == (
            f"k8snet: kept as asked: namespace {name}; remove it with `kubectl --context fake delete"
            f" namespace {name}`"
        )
