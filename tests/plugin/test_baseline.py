"""--k8snet-baseline as a part of a pytest session: tests of its own, and every way in which a run can end."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_k8snet import baseline
from pytest_k8snet.evidence.layouts import layout
from pytest_k8snet.meaning.allowances import allowed
from pytest_k8snet.meaning.comparison import Change
from pytest_k8snet.report.account import Account, ToldClaim, ToldLab
from pytest_k8snet.settings import Settings
from tests.matrix.replayed import recorded
from tests.plugin.conftest import lab_file

HEALTHY = Path(__file__).parents[1] / "bundles" / "healthy"
ONE_LAB = ("-k", "pod_network")


@pytest.fixture(autouse=True)
def _quick_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:cacheprovider --color=no")
    layout("inet", "TCP", "urgptr")  # pytester forgets what a run imported: scapy is loaded before, once


@pytest.fixture(scope="module")
def direct_routes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose nodes reached each other's pods past the tunnel."""
    folder = tmp_path_factory.mktemp("runs")
    with tarfile.open(recorded("direct-routes")) as archive:
        archive.extractall(folder, filter="data")
    return folder / "direct-routes"


def run(pytester: pytest.Pytester, *args: str, replay: Path = HEALTHY) -> pytest.RunResult:
    return pytester.runpytest_inprocess(
        "--k8snet",
        f"--k8snet-replay={replay}",
        f"--k8snet-baseline={HEALTHY}",
        "--junitxml=out.xml",
        *args,
        no_reraise_ctrlc=True,
    )


def plugin(pytester: pytest.Pytester, body: str) -> None:
    """The bundled labs see no conftest.py of the tests: -p ends."""
    pytester.makepyfile(ends=f"import pytest, shutil\n{body}")
    pytester.syspathinsert()


def told(pytester: pytest.Pytester) -> dict[str, str]:
    """What the JUnit file says of each test of the baseline."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(pytester.path / "out.xml").iter("testcase"):
        properties = {p.get("name"): p.get("value", "") for p in case.iter("property")}
        if properties.get("k8snet_claim", "").startswith("baseline/"):
            assert properties["k8snet_claim"] not in found
            found[properties["k8snet_claim"]] = properties["k8snet_verdict"]
            message = "".join(failure.get("message", "") for failure in case.iter("failure"))
            assert bool(message) == (properties["k8snet_verdict"] != "held")
    return found


def test_a_run_that_means_the_same_passes_and_says_so(pytester: pytest.Pytester) -> None:
    result = run(pytester, "-v")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=35)
    assert told(pytester) == {"baseline/compared": "held"}
    result.stdout.fnmatch_lines(["baseline/compared HELD *100%*", "*no difference*"])


def test_each_unexpected_change_fails_as_a_test_of_its_own(
    pytester: pytest.Pytester, direct_routes: Path
) -> None:
    result = run(pytester, *ONE_LAB, "-p", "no:cacheprovider", replay=direct_routes)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = told(pytester)
    assert found["baseline/compared"] == "held"
    assert found["baseline/encapsulation/pod-network/source-uplink"] == "broken"
    assert found["baseline/verdict/pod-network/encapsulated-on-source-uplink"] == "broken"
    assert found["baseline/verdict/pod-network/mtu-fits"] == "inconclusive"
    result.stdout.fnmatch_lines(
        [
            "BROKEN: baseline/encapsulation/pod-network/source-uplink: plain",
            "  expected  IPIP node2.uplink > node1.uplink",
            "  seen      plain",
            "  where     since healthy (embedded, recorded 20??-??-?? ??:?? UTC)",
            "  next      find out what changed it; *add to k8snet_baseline_allow in pytest.ini:",
            "            encapsulation/pod-network/source-uplink: WHY IT IS EXPECTED",
        ],
        consecutive=False,
    )


def test_what_is_allowed_is_listed_and_fails_nothing(pytester: pytest.Pytester, direct_routes: Path) -> None:
    pytester.makeini(
        """
        [pytest]
        k8snet_baseline_allow =
            route/*: the nodes share a network now
            encapsulation/*: the nodes share a network now
            reply/*: the nodes share a network now
            mode/pool: never so far
        """
    )
    result = run(pytester, "-k", "plain_on_source_veth", replay=direct_routes)
    assert told(pytester) == {"baseline/compared": "held"}
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines_random(["*the nodes share a network now*", "*mode/pool*"])


def test_the_claims_alone_decide_where_every_change_is_allowed(
    pytester: pytest.Pytester, direct_routes: Path
) -> None:
    result = run(pytester, *ONE_LAB, "--k8snet-baseline-allow=*: all new", replay=direct_routes)
    # Whether the claim that can't tell changed is unknown, whatever was allowed.
    assert told(pytester) == {
        "baseline/compared": "held",
        "baseline/verdict/pod-network/mtu-fits": "inconclusive",
    }
    result.assert_outcomes(passed=6 + 1, failed=4)


def test_the_line_to_allow_a_change_names_the_ini_file(
    pytester: pytest.Pytester, direct_routes: Path
) -> None:
    pytester.makefile(".toml", pyproject="[tool.pytest.ini_options]\n")
    result = run(pytester, "-k", "plain_on_source_veth", replay=direct_routes)
    result.stdout.fnmatch_lines(["*k8snet_baseline_allow in pyproject.toml:", "*: WHY IT IS EXPECTED"])


def test_labs_that_were_deselected_are_left_out(pytester: pytest.Pytester) -> None:
    result = run(pytester, "-v", "-k", "pod_ip or pair")
    assert result.ret == pytest.ExitCode.OK
    assert told(pytester) == {"baseline/compared": "held"}
    for lab in ("pod-network", "clusterip", "nodeport"):
        assert f"lab/{lab}" in result.stdout.str()


def test_a_run_without_any_fact_is_inconclusive(pytester: pytest.Pytester) -> None:
    lab = pytester.mkdir("my_lab")
    lab_file(lab, "def test_mine(judge, k8snet_cluster):\n    judge(held('a', 'b'))\n")
    result = run(pytester, str(lab))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    assert told(pytester) == {"baseline/compared": "inconclusive"}
    result.stdout.fnmatch_lines(["INCONCLUSIVE: baseline/compared: nothing could be compared: *not run*"])


def test_nothing_selected_is_not_a_good_comparison(pytester: pytest.Pytester) -> None:
    result = run(pytester, "-k", "nothing_of_that_name")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert told(pytester) == {"baseline/compared": "inconclusive"}
    result.stdout.no_fnmatch_line("*no difference*")


def test_collect_only_compares_nothing(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    assert "baseline" not in result.stdout.str()


def test_x_ends_at_the_first_change(pytester: pytest.Pytester, direct_routes: Path) -> None:
    result = run(pytester, "-x", "-k", "plain_on_source_veth", replay=direct_routes)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = told(pytester)
    assert list(found.values()) == ["held", "broken"]
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])


def test_x_at_a_claim_cuts_the_comparison_short(pytester: pytest.Pytester, direct_routes: Path) -> None:
    result = run(pytester, "-x", replay=direct_routes)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert told(pytester) == {"baseline/compared": "inconclusive"}
    result.stdout.fnmatch_lines(
        [
            "INCONCLUSIVE: baseline/compared: * the run was cut short (stopping after 1 failures)",
            "*stopping after 1 failures*",
        ]
    )


def test_stepwise_goes_on_at_the_claim_that_stopped_it(
    pytester: pytest.Pytester, direct_routes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--sw and --lf can't collect a test of the baseline: they remember none."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest --color=no")
    claims = ("-k", "plain_on_source_veth or encapsulated_on_source_uplink", "--sw")
    assert run(pytester, *claims, replay=direct_routes).ret == pytest.ExitCode.INTERRUPTED
    again = run(pytester, *claims, "-v", replay=direct_routes)
    again.stdout.fnmatch_lines(["*test_encapsulated_on_source_uplink BROKEN *"])
    again.stdout.no_fnmatch_line("*test_plain_on_source_veth HELD *")
    failed = (pytester.path / ".pytest_cache/v/cache/lastfailed").read_text()
    assert "test_encapsulated_on_source_uplink" in failed
    assert "baseline/" not in failed


def test_of_a_claim_that_was_judged_again_the_last_verdict_counts() -> None:
    """pytest-rerunfailures; the kept run's are read likewise."""
    account = Account()
    account.labs["pause"] = ToldLab(
        "pause",
        [
            ToldClaim("a.py::test", "pause/pod-ip", "", outcome, judged={"outcome": outcome})
            for outcome in ("inconclusive", "held")
        ],
    )
    account.meaning.append({"id": "mtu/node1/uplink", "value": "1500", "labs": ["pause"]})
    settings = Settings(baseline=HEALTHY)
    found = baseline.Baseline(settings, None, account)._meaning()  # type: ignore[arg-type]
    assert found["verdict/pause/pod-ip"].value == "held"


def test_the_line_to_allow_a_change_covers_it_whatever_its_id_holds() -> None:
    """Ids of parametrized claims: a colon would end the glob."""
    change = Change("verdict/my_lab/claim[10.0.0.1:80-*]", "held", "broken")
    line = baseline.allowing(change.id)
    assert line == "verdict/my_lab/claim[[]10.0.0.1?80-[*]]: WHY IT IS EXPECTED"
    (allowance,) = allowed([line])
    assert allowance.covers(change.id)
    assert not allowance.covers("verdict/my_lab/claim[10.0.0.1:80-b]")


@pytest.mark.parametrize(
    ("end", "status"),
    [("raise KeyboardInterrupt", pytest.ExitCode.INTERRUPTED), ("pytest.exit('enough', returncode=7)", 7)],
)
def test_after_an_interrupt_nothing_is_begun(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, end: str, status: int
) -> None:
    monkeypatch.setattr(baseline, "read", pytest.fail)
    plugin(pytester, f"def pytest_runtest_setup(item):\n    if 'veth' in item.name:\n        {end}\n")
    result = run(pytester, "-k", "pause", "-p", "ends")
    assert result.ret == status
    assert told(pytester) == {"baseline/compared": "inconclusive"}
    assert "nothing was compared: the run was cut short (" in (pytester.path / "out.xml").read_text()


def test_workers_bring_their_facts_to_the_controller(pytester: pytest.Pytester, direct_routes: Path) -> None:
    result = run(pytester, "-n", "2", "-k", "clusterip or nodeport", replay=direct_routes)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = told(pytester)
    assert found["baseline/compared"] == "held"
    assert found["baseline/encapsulation/clusterip/source-uplink"] == "broken"
    assert found["baseline/inner-source/nodeport/target-veth"] == "broken"


def test_it_needs_no_terminal(
    pytester: pytest.Pytester, direct_routes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:cacheprovider")  # nobody knows --color
    result = run(pytester, "-p", "no:terminal", "-k", "plain_on_source_veth", replay=direct_routes)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert told(pytester)["baseline/encapsulation/pod-network/source-uplink"] == "broken"


def test_a_baseline_that_goes_during_the_run_is_inconclusive(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(HEALTHY, kept)
    plugin(
        pytester, f"def pytest_runtest_teardown():\n    shutil.rmtree({str(kept)!r}, ignore_errors=True)\n"
    )
    result = run(pytester, "-k", "pod_ip", "-p", "ends", f"--k8snet-baseline={kept}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert told(pytester) == {"baseline/compared": "inconclusive"}
    result.stdout.fnmatch_lines(["INCONCLUSIVE: baseline/compared: *kept: no such directory*"])


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (shutil.rmtree, "*kept: no such directory; a bundle is made with --k8snet-bundle"),
        (lambda kept: (kept / "bundle.json").unlink(), "*kept: no bundle.json in it, so not a bundle *"),
        (
            lambda kept: (kept / "bundle.json").write_text('{"format": 99}'),
            "*bundle.json: bundle format 99, but pytest-k8snet * reads format 1",
        ),
        (
            lambda kept: (kept / "bundle.json").write_text('{"format": 1}'),
            "*kept: the recorded run ended before its cluster was up (no roles in bundle.json)",
        ),
        (
            lambda kept: (kept / "labs/pause/verdicts.jsonl").write_text("{}\n"),
            "*verdicts.jsonl: line 1 is no verdict (no claim)",
        ),
    ],
)
def test_a_baseline_that_is_no_bundle_is_refused_before_anything_starts(
    pytester: pytest.Pytester, tmp_path: Path, spoil: Callable[[Path], object], line: str
) -> None:
    kept = shutil.copytree(HEALTHY, tmp_path / "kept")
    spoil(kept)
    result = run(pytester, f"--k8snet-baseline={kept}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --k8snet-baseline: {line}"])
    assert len([told for told in result.errlines if told]) == 1
    assert "scenarios" not in result.stdout.str()
