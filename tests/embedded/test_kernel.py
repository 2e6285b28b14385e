"""Choosing a kernel, and saying what is missing."""

from __future__ import annotations

import pytest

from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.embedded import kernel


def test_everything_missing_is_named_at_once_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "program", lambda name: None)
    problems = kernel.missing("uml")
    assert "linux.uml is missing (Debian package user-mode-linux)" in problems
    assert "tcpdump is missing (Debian package tcpdump)" in problems
    assert "crun is missing (Debian package crun)" in problems
    assert len(problems) == len(kernel.PROGRAMS) + 1


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "program", lambda name: None if name == "crun" else f"/usr/bin/{name}")
    assert kernel.missing("namespaces") == ["crun is missing (Debian package crun)"]


def test_another_machine_is_told_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    (problem,) = kernel.missing("uml")
    assert "aarch64" in problem
    assert "modprobe ipip" in problem


def test_another_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert kernel.missing("uml") == ["the reference network needs Linux, this is Darwin"]


def test_auto_falls_back_to_user_mode_linux_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "namespaces_work", lambda: "Error: Unknown device type.")
    chosen, why = kernel.choose("auto")
    assert chosen == "uml"
    assert "Unknown device type" in why


def test_auto_takes_the_hosts_kernel_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "namespaces_work", lambda: "")
    assert kernel.choose("auto")[0] == "namespaces"


def test_what_was_asked_for_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "namespaces_work", lambda: "no ipip")
    with pytest.raises(ClusterError, match="no ipip"):
        kernel.choose("namespaces")


def test_xdist_workers_take_different_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    taken = set()
    for worker in ("gw0", "gw1", "gw2"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        taken.add(kernel.pick_cpu())
    assert len(taken) == 3


def test_a_kernel_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "program", lambda name: "/nowhere/linux.uml")
    with pytest.raises(ClusterError, match=r"could not be started: (?s:.*)/nowhere/linux\.uml"):
        kernel.Kernel("uml")
