"""Sessions on a cluster that exists which must not start: one line, exit status 4, nothing made."""

from __future__ import annotations

import pytest

from tests.fakeapi import Content, FakeCluster, FakeNode
from tests.sessions.user import User


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--k8snet-provider=kubeconfig"],
            "--k8snet-provider: name the cluster with --k8snet-context NAME: the current context is never"
            " taken",
        ),
        (
            ["--k8snet-kubeconfig=config"],
            "--k8snet-kubeconfig: name the cluster with --k8snet-context NAME: the current context is never"
            " taken",
        ),
        (
            ["--k8snet-kubeconfig=config", "--k8snet-context=staging"],
            "kubeconfig config has no context staging; it has fake, other",
        ),
        (
            ["--k8snet-kubeconfig=config", "--k8snet-context=other"],
            "kubeconfig context other: http://127.0.0.1:1 can't be reached: Connection refused",
        ),
        (
            ["--k8snet-kubeconfig=stale", "--k8snet-context=fake"],
            "the credentials of kubeconfig context fake are refused by URL: Unauthorized",
        ),
        (
            ["--k8snet-kubeconfig=nothing", "--k8snet-context=fake"],
            "--k8snet-kubeconfig: 'nothing' is not a file",
        ),
    ],
    ids=["no context", "a file only", "wrong", "unreachable", "unauthorized", "no file"],
)
def test_a_context(user: User, fake: FakeCluster, arguments: list[str], line: str) -> None:
    fake.kubeconfig(user.folder / "config")
    fake.kubeconfig(user.folder / "stale", token="of-yesterday")
    said = user.run(*arguments).refused
    assert said.replace(fake.url, "URL").replace(f"{user.folder}/", "") == line
    assert fake.requests("POST", "/api/v1/namespaces") == 0


def test_all_that_is_forbidden_at_once(user: User, fake: FakeCluster) -> None:
    for verb, resource in (("create", "pods/exec"), ("create", "daemonsets.apps"), ("*", "services")):
        fake.deny(verb, resource)
    said = user.judge(fake).refused
    assert said.startswith("context fake may not create pods/exec; create,delete,")
    assert said.endswith(
        "list services; create daemonsets.apps; docs/rbac.yaml of pytest-k8snet grants what a run needs"
    )


def test_another_proxy_mode_than_declared(user: User) -> None:
    with FakeCluster(content=Content(proxy_mode="ipvs")) as fake:
        assert user.judge(fake).refused == (
            "kube-proxy's mode is 'ipvs' (ConfigMap kube-proxy in kube-system), declared is 'iptables':"
            " declare it with --k8snet-proxy-mode ipvs"
        )
        assert fake.left() == []


def test_no_node_for_pods(user: User) -> None:
    node = FakeNode("alone", "192.168.219.21", "20.108.82.192/26", control_plane=True)
    with FakeCluster(nodes=[node]) as fake:
        assert user.judge(fake).refused.startswith("context fake: no node for the role node1: none can run")
        assert fake.left() == []
