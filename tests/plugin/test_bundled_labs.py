"""The labs that travel with the plugin: collected from anywhere, each prepared once."""

from __future__ import annotations

import ast
import importlib
import shutil
from pathlib import Path

import pytest

from pytest_k8snet import collection
from tests.plugin import stand_in
from tests.plugin.conftest import events

SCENARIOS = stand_in.REPOSITORY / "scenarios"
LABS = ("pause", "pod_network", "clusterip", "nodeport")
CLAIMS = {
    "pause": "one-sandbox network-mode same-netns pod-ip veth-pair host-route shared-localhost"
    " both-reachable survives-restart",
    "pod-network": "ippool-mode cidr-agrees route-via-tunnel plain-on-source-veth"
    " encapsulated-on-source-uplink encapsulated-on-target-uplink decapsulated-on-target-veth one-flow"
    " source-kept reply-encapsulated mtu-fits",
    "clusterip": "endpoints vip-on-source-veth dnat-before-uplink rules-lead-to-pod conntrack-agrees"
    " reply-from-vip spreads",
    "nodeport": "kube-proxy-listens arrives-plain dnat-and-forward masqueraded answers-from-node2"
    " every-node rules-conntrack-wire",
}


def test_collected_without_a_path_whatever_the_project_says(
    pytester: pytest.Pytester, stand_ins: None
) -> None:
    pytester.makeini("[pytest]\ntestpaths = mine\n")
    pytester.makepyfile(**{"mine/test_mine": "def test_mine(): pass"})
    result = pytester.runpytest_inprocess("--k8snet", "--collect-only", "-q")
    result.assert_outcomes()
    assert result.ret == 0
    collected = [line for line in result.outlines if "::" in line]
    assert collected == [
        f"scenarios/{lab.replace('-', '_')}/test_{lab.replace('-', '_')}.py::test_{claim.replace('-', '_')}"
        for lab in CLAIMS
        for claim in CLAIMS[lab].split()
    ]
    assert events(pytester) == []


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_run_from_a_directory_without_a_project(
    pytester: pytest.Pytester, stand_ins: None, mode: str
) -> None:
    result = pytester.runpytest_inprocess("--k8snet", f"--import-mode={mode}", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=34)
    assert events(pytester) == [
        "start",
        "apply pause pod-pause",
        "observe_pause pause",
        "restart pause-restart",
        "apply pod-network pod-dest pod-src",
        "observe_pod_network pod-network",
        "apply clusterip pod-src pod-dest svc-clusterip",
        "observe_clusterip clusterip",
        "observe_spread clusterip-spread",
        "apply nodeport pod-dest svc-nodeport",
        "observe_nodeport nodeport",
        "close",
    ]


def test_from_a_virtual_environment_inside_the_project(
    pytester: pytest.Pytester, stand_ins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pytest passes by virtual environments and directories with a leading dot; the labs may lie in one."""
    package = pytester.path / ".venv" / "lib" / "pytest_k8snet"
    shutil.copytree(SCENARIOS, package / "scenarios", ignore=shutil.ignore_patterns("__pycache__"))
    (package.parent.parent / "pyvenv.cfg").touch()
    package.joinpath("__init__.py").touch()
    for path in sorted(package.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setattr(collection, "bundled_labs", lambda: package / "scenarios")
    pytester.makeini("[pytest]\n")
    result = pytester.runpytest_inprocess("--k8snet", "-v", "-k", "one_sandbox")
    result.assert_outcomes(passed=1, deselected=33)
    result.stdout.fnmatch_lines(["scenarios/pause/test_pause.py::test_one_sandbox HELD*"])


def test_found_where_a_wheel_puts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pytest_k8snet"
    for lab in LABS:
        (package / "scenarios" / lab).mkdir(parents=True)
    monkeypatch.setattr(collection, "__file__", str(package / "collection.py"))
    assert collection.bundled_labs() == package / "scenarios"
    shutil.rmtree(package / "scenarios")
    with pytest.raises(pytest.UsageError, match="bundled labs are missing"):
        collection.bundled_labs()


def test_an_id_as_printed_is_an_argument_anywhere(pytester: pytest.Pytester, stand_ins: None) -> None:
    result = pytester.runpytest_inprocess(
        "--k8snet", "-v", "scenarios/pause/test_pause.py::test_pod_ip", "scenarios/nodeport"
    )
    result.assert_outcomes(passed=8)


def test_a_project_with_scenarios_of_its_own_gets_those(pytester: pytest.Pytester, stand_ins: None) -> None:
    pytester.makepyfile(**{"scenarios/test_own": "def test_own(): pass"})
    pytester.runpytest_inprocess("--k8snet", "scenarios").assert_outcomes(passed=1)


@pytest.mark.parametrize("lab", LABS)
def test_claims_are_functions_of_the_lab_s_module(lab: str) -> None:
    """The stand-ins of the other tests would answer to any name."""
    module = importlib.import_module(f"pytest_k8snet.claims.{lab}")
    tree = ast.parse((SCENARIOS / lab / f"test_{lab}.py").read_text())
    asked = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == lab
    }
    assert asked == {name.replace("-", "_") for name in CLAIMS[lab.replace("_", "-")].split()}
    assert not [name for name in asked if not callable(getattr(module, name, None))]


@pytest.mark.parametrize("lab", LABS)
def test_each_claim_says_the_lab_s_sentence(lab: str) -> None:
    tree = ast.parse((SCENARIOS / lab / f"test_{lab}.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions
    assert not [function.name for function in functions if not ast.get_docstring(function)]


def test_not_disruptive_restarts_nothing(pytester: pytest.Pytester, stand_ins: None) -> None:
    result = pytester.runpytest_inprocess("--k8snet", "-m", "not disruptive")
    result.assert_outcomes(passed=32, deselected=2)
    assert not [event for event in events(pytester) if event.startswith(("restart", "observe_spread"))]


def test_a_marker_takes_one_lab(pytester: pytest.Pytester, stand_ins: None) -> None:
    result = pytester.runpytest_inprocess("--k8snet", "-m", "nodeport", "--strict-markers")
    result.assert_outcomes(passed=7, deselected=27)
    assert events(pytester)[1:-1] == ["apply nodeport pod-dest svc-nodeport", "observe_nodeport nodeport"]
