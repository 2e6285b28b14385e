"""Around the tests: switched off, bad input, interrupted, distributed."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_k8snet.clusters import choose, engine
from tests.plugin import stand_in
from tests.plugin.conftest import POD, events, lab_file

HOLDS = "def test_holds(lab, judge): judge(held('a', 'b'))\n"


def test_switched_off_it_imports_nothing_and_adds_no_fixture(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_imports():
            mine = sorted(name for name in sys.modules if name.startswith("pytest_k8snet"))
            assert mine == ["pytest_k8snet", "pytest_k8snet.options", "pytest_k8snet.plugin"]
            assert not {"yaml", "scapy", "rich", "pyroute2"} & set(sys.modules)

        def test_judge(judge):
            pass
        """
    )
    # The plugins that this one is built on import much themselves: without them, to see our own share.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.runpytest_subprocess("-p", "pytest_k8snet.plugin")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E*fixture 'judge' not found"])
    result.stdout.no_fnmatch_line("k8snet:*")


def test_markers_are_known_when_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import pytest\n@pytest.mark.pause\n@pytest.mark.pod_network\n@pytest.mark.clusterip\n"
        "@pytest.mark.nodeport\n@pytest.mark.disruptive\ndef test_marked(): pass"
    )
    pytester.runpytest_inprocess("--strict-markers").assert_outcomes(passed=1)


def test_bad_values_do_not_matter_when_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nk8snet_provider = nonsense\n")
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest_inprocess("--k8snet-provider=kind").assert_outcomes(passed=1)


def usage_error(result: pytest.RunResult) -> str:
    """The one line that a run that could not begin ends with."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in result.errlines if line.strip()]
    assert len(lines) == 1
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    return lines[0].removeprefix("ERROR: ")


@pytest.mark.parametrize("args", [["--k8snet-provider=nonsense"], ["--k8snet-replay=gone"]])
def test_a_bad_value_ends_the_run_with_one_line(
    pytester: pytest.Pytester, stand_ins: None, args: list[str]
) -> None:
    line = usage_error(pytester.runpytest_inprocess("--k8snet", *args))
    assert line.startswith(args[0].split("=")[0] + ": ")
    assert events(pytester) == []


def test_a_bundle_that_can_not_be_written_ends_the_run_before_any_work(
    pytester: pytest.Pytester, my_lab: Path
) -> None:
    lab_file(my_lab, HOLDS)
    result = pytester.runpytest_inprocess("--k8snet", "my_lab", "--k8snet-bundle=/proc/foo")
    assert usage_error(result).startswith("--k8snet-bundle: /proc/foo can't be written to: ")
    result.stdout.no_fnmatch_line("collected*")
    assert events(pytester) == []
    result = pytester.runpytest_inprocess("--k8snet", "my_lab", "--k8snet-bundle=/proc/foo", "--collect-only")
    assert result.ret == 0


@pytest.mark.parametrize("plugin", ["terminal", "terminalreporter"])
def test_without_a_terminal(pytester: pytest.Pytester, plugin: str) -> None:
    healthy = Path(__file__).parents[1] / "bundles" / "healthy"
    result = pytester.runpytest_subprocess(
        "--k8snet", f"--k8snet-replay={healthy}", "--junitxml=out.xml", "-p", f"no:{plugin}", "-k", "pod_ip"
    )
    assert result.ret == pytest.ExitCode.OK
    assert not result.outlines
    assert not result.errlines
    (case,) = ElementTree.parse(pytester.path / "out.xml").iter("testcase")
    assert {p.get("name"): p.get("value") for p in case.iter("property")}["k8snet_verdict"] == "held"


def test_missing_tools_are_named_all_at_once(
    pytester: pytest.Pytester, stand_ins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = ["crun is missing (Debian package crun)", "tcpdump is missing (Debian package tcpdump)"]
    monkeypatch.setattr(choose, "problems", lambda *asked: missing)
    assert usage_error(pytester.runpytest_inprocess("--k8snet")) == f"--k8snet: {'; '.join(missing)}"
    assert pytester.runpytest_inprocess("--k8snet", "--collect-only", "-q").ret == 0


@pytest.mark.parametrize(("asked", "told"), [((), True), (("--k8snet-provider=kind",), False)])
def test_who_asked_for_no_kind_cluster_is_told_of_the_other_way(
    pytester: pytest.Pytester,
    stand_ins: None,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[str, ...],
    told: bool,
) -> None:
    monkeypatch.setattr(engine, "why_silent", lambda: "")
    monkeypatch.setattr(choose, "problems", lambda *asked: ["no ipip"])
    line = usage_error(pytester.runpytest_inprocess("--k8snet", *asked))
    assert line.startswith("--k8snet: no ipip")
    assert ("--k8snet-provider=embedded" in line) is told


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("bad.yaml", "a: [", "bad.yaml: not YAML: line 1, column 5: *"),
        ("bad.yaml", "kind: Pod", "bad.yaml: an object without apiVersion"),
        (
            "bad.yaml",
            POD.replace("pod-mine", "pod-b").replace("      image", "      env: []\n      image"),
            "bad.yaml: Pod pod-b: spec.containers?0?.env: not implemented by the reference network",
        ),
        ("bad.yaml", POD.replace("k8s-node1", "k8s-node9"), "bad.yaml: Pod pod-mine: spec.nodeSelector.*"),
    ],
)
def test_a_bad_manifest_ends_the_run_before_anything_starts(
    pytester: pytest.Pytester, my_lab: Path, name: str, content: str, line: str
) -> None:
    lab_file(my_lab, HOLDS)
    (my_lab / name).write_text(content)
    result = pytester.runpytest_inprocess("--k8snet", "my_lab", "--k8snet-bundle=kept")
    message = usage_error(result)
    pytest.LineMatcher([message]).fnmatch_lines([line])
    assert events(pytester) == []
    assert not (pytester.path / "kept").exists()


def test_manifests_of_deselected_labs_do_not_matter(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, HOLDS)
    other = pytester.mkdir("other")
    lab_file(other, "def test_other(lab, judge): judge(held('a', 'b'))\n")
    (other / "bad.yaml").write_text("a: [")
    pytester.runpytest_inprocess("--k8snet", ".", "-k", "holds").assert_outcomes(passed=1, deselected=1)


def test_manifests_named_by_the_module(pytester: pytest.Pytester, my_lab: Path) -> None:
    other = pytester.mkdir("other")
    lab_file(other, f'K8SNET_MANIFESTS = ["../my_lab/pod-mine.yaml"]\n{HOLDS}')
    pytester.runpytest_inprocess("--k8snet", "other").assert_outcomes(passed=1)
    assert "apply other pod-mine" in events(pytester)
    lab_file(other, f'K8SNET_MANIFESTS = "../my_lab/pod-mine.yaml"\n{HOLDS}')
    line = usage_error(pytester.runpytest_inprocess("--k8snet", "other"))
    assert line == "test_other.py: K8SNET_MANIFESTS is not a list of paths"
    lab_file(other, f'K8SNET_MANIFESTS = ["gone.yaml"]\n{HOLDS}')
    line = usage_error(pytester.runpytest_inprocess("--k8snet", "other"))
    assert line == "gone.yaml: can't be read: No such file or directory"


def test_x_stops_at_the_first_that_is_not_held(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, "def test_a(lab, judge): judge(inconclusive('a', 'b'))\n" + HOLDS)
    result = pytester.runpytest_inprocess("--k8snet", "-x", "my_lab")
    result.stdout.fnmatch_lines(["*stopping after 1 failures*", "*= 1 inconclusive in *"])
    assert events(pytester)[-1] == "close"


def test_no_verdict_no_last_line(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, HOLDS + "def test_plain(): pass\n")
    result = pytester.runpytest_inprocess("--k8snet", "my_lab", "-k", "plain")
    result.stdout.no_fnmatch_line("k8snet: this is a verdict*")
    assert events(pytester) == []


def test_header(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, HOLDS)
    result = pytester.runpytest_inprocess("--k8snet", "my_lab", "--k8snet-bundle=kept")
    result.stdout.fnmatch_lines(
        [
            "k8snet: provider embedded (auto: no --k8snet-context, and *)",
            "k8snet: stand-in (auto)",
            "k8snet: keeping the run in */kept",
        ]
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["fixture", "test"])
def test_an_interrupt_closes_the_cluster(pytester: pytest.Pytester, place: str, sent: signal.Signals) -> None:
    pytester.makeconftest(stand_in.CONFTEST)
    lab = pytester.mkdir("my_lab")
    waits = "open('waiting', 'w'); import time; time.sleep(30)"
    lab_file(
        lab,
        f"""
@pytest.fixture
def slow(lab):
    if {place == "fixture"}: {waits}
def test_slow(slow, judge): {waits}
""",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--k8snet", "my_lab"],
        cwd=pytester.path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        while not (pytester.path / "waiting").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(sent)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert events(pytester)[-1] == "close"
    assert "KeyboardInterrupt" in output


def test_steps_are_shown_on_a_terminal_and_erased(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(stand_in.CONFTEST)
    lab = pytester.mkdir("my_lab")
    lab_file(lab, HOLDS)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--k8snet", "my_lab"],
        cwd=pytester.path,
        stdout=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # what Linux says at the end of a pseudo-terminal
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    assert process.wait(timeout=20) == 0
    text = shown.decode()
    assert (
        "\n\r\x1b[2K  k8snet: starting embedded (0.0 s)\r\x1b[2K  k8snet: building nodes (0.0 s)"
        in text.replace("\r\n", "\n")
    )
    # Up again and to the end of the line of the tests' letters, where pytest goes on.
    column = len("my_lab/test_my_lab.py ")
    assert f"\r\x1b[2K\x1b[A\x1b[{column}C" in text


def test_distributed_labs_stay_whole(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(stand_in.CONFTEST)
    for name in ("lab_a", "lab_b"):
        directory = pytester.mkdir(name)
        (directory / "pod.yaml").write_text(POD)
        lab_file(
            directory,
            "".join(f"def test_{n}(trace, judge): trace('a', 'b'); judge(held('a', 'b'))\n" for n in range(4))
            + "def test_broken(lab, judge): judge(broken('a', 'b'))\n"
            + "def test_unknown(lab, judge): judge(inconclusive('a', 'b'))\n",
        )
    result = pytester.runpytest_subprocess(
        "--k8snet", "-n2", "-v", "lab_a", "lab_b", "--junitxml=out.xml", "--k8snet-bundle=kept"
    )
    result.assert_outcomes(passed=8, failed=2)
    result.stdout.fnmatch_lines(
        [
            "k8snet: provider embedded*",
            "*INCONCLUSIVE lab_*",
            "INCONCLUSIVE: lab-?/unknown: b",
            "*2 failed, 8 passed, 2 inconclusive in *",
            "k8snet: this is a verdict on the embedded reference network, not on a cluster.",
        ]
    )
    for name in ("lab-a", "lab-b"):
        result.stdout.fnmatch_lines([f"{name}  4 held, 1 broken, 1 inconclusive in *"])
    assert sum(line.startswith("k8snet: provider") for line in result.outlines) == 1
    assert sum(line.startswith("lab-a: a -> b") for line in result.outlines) == 4
    for name in ("lab-a", "lab-b"):
        assert sum(event.startswith(f"apply {name}") for event in events(pytester)) == 1
        assert len((pytester.path / f"kept/labs/{name}/verdicts.jsonl").read_text().splitlines()) == 6
    header = json.loads((pytester.path / "kept/bundle.json").read_text())
    assert header["finished"]
    assert set(header["labs"]) == {"lab-a", "lab-b"}
    starts = events(pytester).count("start")
    assert 1 <= starts <= 2
    assert events(pytester).count("close") == starts
    suite = ElementTree.parse(pytester.path / "out.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors"), suite.get("tests")) == ("4", "0", "12")
    verdicts = [p.get("value", "") for p in suite.iter("property") if p.get("name") == "k8snet_verdict"]
    assert sorted(verdicts) == ["broken"] * 2 + ["held"] * 8 + ["inconclusive"] * 2


def test_a_bad_manifest_ends_a_distributed_run_too(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(stand_in.CONFTEST)
    lab = pytester.mkdir("my_lab")
    lab_file(lab, HOLDS)
    (lab / "bad.yaml").write_text("a: [")
    result = pytester.runpytest_subprocess("--k8snet", "-n2", "my_lab", "--k8snet-bundle=kept")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: bad.yaml: not YAML: line 1, column 5: *"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert events(pytester) == []
    assert not (pytester.path / "kept").exists()
