"""The lab of the watch in a pytest run: when it is collected, where it stands, what a replay says of it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.outage.record import NAME, RECORDED
from tests.test_healthy_bundle import HEALTHY

BRIEF = ("--k8snet", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--color=no")
LABS = ["pause", "pod_network", "clusterip", "nodeport"]

Collected = Callable[..., list[str]]


@pytest.fixture
def collected(pytester: pytest.Pytester) -> Collected:
    """The labs in the order in which they would run."""

    def labs(*args: str) -> list[str]:
        result = pytester.runpytest_inprocess(*BRIEF, "--collect-only", "-q", *args)
        assert result.ret == 0
        return list(dict.fromkeys(line.split("/")[1] for line in result.outlines if "::" in line))

    return labs


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    with tarfile.open(RECORDED) as archive:
        archive.extractall(folder, filter="data")
    return folder / NAME


def test_without_a_command_there_is_nothing_to_watch(collected: Collected) -> None:
    assert collected("--k8snet-provider=embedded") == LABS
    assert collected("--k8snet-provider=embedded", "scenarios") == sorted(LABS)
    assert collected(f"--k8snet-replay={HEALTHY}") == LABS


def test_the_watch_comes_before_the_labs_that_judge_what_it_changed(
    collected: Collected, pytester: pytest.Pytester
) -> None:
    command = ("--k8snet-provider=embedded", "--k8snet-watch=make upgrade")
    assert collected(*command) == ["outage", *LABS]
    assert collected(*command, "scenarios") == ["outage", *sorted(LABS)]
    assert collected(*command, "scenarios/nodeport") == ["outage", "nodeport"]
    assert collected(*command, "scenarios/outage/test_outage.py::test_measured") == ["outage"]
    assert collected(*command, "-m", "outage") == ["outage"]


def test_a_command_that_would_not_run_is_refused(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(
        *BRIEF,
        "--k8snet-provider=embedded",
        "--collect-only",
        "--k8snet-watch=make upgrade",
        "-k",
        "one_flow",
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --k8snet-watch: no test of scenarios/outage is selected, so the command would not run"]
    )


REFUSED = "ERROR: --k8snet-watch: no test of scenarios/outage is selected, so the command would not run"


@pytest.mark.parametrize("args", [("--deselect=scenarios/outage",), ("--lf",)])
def test_nor_is_it_left_out_by_what_comes_last(pytester: pytest.Pytester, args: tuple[str, ...]) -> None:
    failed_before(pytester, "scenarios/pause/test_pause.py::test_one_sandbox")
    result = pytester.runpytest_inprocess(
        "--k8snet", "--k8snet-provider=embedded", "--collect-only", "--k8snet-watch=make upgrade", *args
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([REFUSED])


def test_nor_is_it_run_after_a_lab_that_failed_before(pytester: pytest.Pytester) -> None:
    failed_before(pytester, "scenarios/pause/test_pause.py::test_one_sandbox")
    result = pytester.runpytest_inprocess(
        "--k8snet",
        "--k8snet-provider=embedded",
        "--collect-only",
        "-q",
        "--k8snet-watch=make upgrade",
        "--ff",
    )
    assert "outage" in next(line for line in result.outlines if "::" in line)


def failed_before(pytester: pytest.Pytester, test: str) -> None:
    failed = pytester.path / ".pytest_cache" / "v" / "cache" / "lastfailed"
    failed.parent.mkdir(parents=True)
    failed.write_text(json.dumps({test: True}))


def test_a_lab_of_the_users_own_is_skipped_where_nothing_is_watched(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_mine(outage_lab): pass")
    result = pytester.runpytest_inprocess(*BRIEF, f"--k8snet-replay={HEALTHY}", "-rs", ".")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*nothing to watch: --k8snet-watch COMMAND *"])


def test_a_recorded_watch_is_judged_again(collected: Collected, recorded: Path) -> None:
    assert collected(f"--k8snet-replay={recorded}") == ["outage", *LABS]


def replay(pytester: pytest.Pytester, bundle: Path, *args: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(
        *BRIEF, f"--k8snet-replay={bundle}", "-v", "-rs", "scenarios/outage", *args
    )


def test_with_a_budget_each_path_is_a_claim(pytester: pytest.Pytester, recorded: Path) -> None:
    result = replay(pytester, recorded, "--k8snet-outage-budget-ms=200")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_outage.py::test_measured HELD*",
            "*test_outage.py::test_pod HELD*",
            "*test_outage.py::test_clusterip BROKEN*",
            "*test_outage.py::test_nodeport HELD*",
            "*BROKEN: outage/clusterip: new connections: * lost (no answer in 0.9 s), longest gap *",
            "*path * connections * requests * lost * longest gap*",
            "*SYNs of the gap were seen on k8s-node2 cali* and not on k8s-node2 eth1: lost inside k8s-node2",
        ]
    )


def test_without_a_budget_what_was_measured_is_told(pytester: pytest.Pytester, recorded: Path) -> None:
    result = replay(pytester, recorded)
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(
        ["SKIPPED*no budget (k8snet_outage_budget_ms); measured: new connections: * lost*"]
    )


def test_a_wide_budget_holds(pytester: pytest.Pytester, recorded: Path) -> None:
    replay(pytester, recorded, "--k8snet-outage-budget-ms=500").assert_outcomes(passed=4)


def test_a_bundle_without_the_watch_has_nothing_to_say(pytester: pytest.Pytester) -> None:
    result = replay(pytester, HEALTHY)
    result.assert_outcomes(skipped=4)
    result.stdout.fnmatch_lines(["SKIPPED*nothing to watch: --k8snet-watch COMMAND *"])


def test_a_client_that_was_cut_leaves_its_paths_open(
    pytester: pytest.Pytester, recorded: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "cut"
    with tarfile.open(RECORDED) as archive:
        archive.extractall(bundle, filter="data")
    file = bundle / NAME / "labs" / "outage" / "commands.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    for record in records:
        if "outage_client.py" in record.get("argv", ()) and "clusterip" in record["argv"]:
            record["stdout"] = record["stdout"][: len(record["stdout"]) // 2]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    result = replay(pytester, bundle / NAME, "--k8snet-outage-budget-ms=200")
    result.stdout.fnmatch_lines(
        [
            "*test_outage.py::test_measured INCONCLUSIVE*",
            "*test_outage.py::test_pod INCONCLUSIVE*",
            "*test_outage.py::test_clusterip INCONCLUSIVE*",
            "*test_outage.py::test_nodeport HELD*",
        ]
    )
