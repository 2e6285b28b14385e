"""A healthy run on real packets, judged again: as what it was, as what it was not, and with holes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_k8snet.claims.catalogue import CATALOGUE
from pytest_k8snet.claims.verdict import Outcome, Verdict
from pytest_k8snet.clusters.bundle import Bundle, Recording, load_bundle
from pytest_k8snet.clusters.replay import ReplayCluster, ReplayTape
from pytest_k8snet.evidence.layouts import layout
from tests.matrix import judge

ROOT = Path(__file__).parent.parent
HEALTHY = ROOT / "tests" / "bundles" / "healthy"
LABS = sorted(path.parent.name for path in HEALTHY.glob("labs/*/commands.jsonl"))
ALL = {claim.id for claim in CATALOGUE}


@pytest.fixture(autouse=True)
def _quick_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:cacheprovider --color=no")
    layout("inet", "TCP", "urgptr")  # pytester forgets what a run imported: scapy is loaded before, once


def replay(pytester: pytest.Pytester, *args: str, bundle: Path = HEALTHY) -> pytest.RunResult:
    return pytester.runpytest_inprocess(
        "--k8snet", "--k8snet-provider=replay", f"--k8snet-replay={bundle}", "--junitxml=out.xml", *args
    )


def verdicts(pytester: pytest.Pytester) -> dict[str, str]:
    """What the JUnit file says of each claim."""
    found = {}
    for case in ElementTree.parse(pytester.path / "out.xml").iter("testcase"):
        properties = {p.get("name"): p.get("value", "") for p in case.iter("property")}
        found[properties["k8snet_claim"]] = properties["k8snet_verdict"]
        headline = "".join(failure.get("message", "") for failure in case.iter("failure"))
        word = properties["k8snet_verdict"].upper()
        assert headline.startswith(f"{word}: " if word != "HELD" else "")
        assert not list(case.iter("error"))
    return found


def of(outcome: str, found: Mapping[str, str]) -> set[str]:
    return {claim for claim, verdict in found.items() if verdict == outcome}


def test_every_claim_holds_again(pytester: pytest.Pytester) -> None:
    result = replay(pytester)
    result.assert_outcomes(passed=len(CATALOGUE))
    assert verdicts(pytester) == dict.fromkeys(ALL, "held")
    lines = [line for path in HEALTHY.glob("labs/*/verdicts.jsonl") for line in path.read_text().splitlines()]
    assert {line["claim"]: line["outcome"] for line in map(json.loads, lines)} == verdicts(pytester)
    result.stdout.fnmatch_lines(
        [
            f"k8snet: provider replay (bundle {HEALTHY})",
            "on replay of reference network in *, recorded 20??-??-?? ??:?? UTC",
            "k8snet: this is a verdict on a run of provider embedded, recorded 20*, on the reference network,"
            " not on a cluster.",
        ]
    )


ENCAPSULATED = {
    "pod-network/ippool-mode",
    "pod-network/route-via-tunnel",
    "pod-network/encapsulated-on-source-uplink",
    "pod-network/encapsulated-on-target-uplink",
    "pod-network/reply-encapsulated",
    "clusterip/dnat-before-uplink",
    "nodeport/dnat-and-forward",
    "nodeport/masqueraded",
}


@pytest.mark.parametrize(
    ("intent", "broken", "inconclusive"),
    [
        ("encapsulation=none", ENCAPSULATED, set()),
        ("encapsulation=ipip-cross-subnet", ENCAPSULATED, set()),
        ("pod-cidr=10.244.0.0/16", {"pod-network/cidr-agrees"}, set()),
        ("interface-prefix=veth", {"pause/veth-pair"}, set()),
        ("proxy-mode=ipvs", set(), {"clusterip/rules-lead-to-pod", "nodeport/rules-conntrack-wire"}),
        ("uplink=eth1", set(), set()),
    ],
)
def test_judged_as_another_cluster(
    pytester: pytest.Pytester, intent: str, broken: set[str], inconclusive: set[str]
) -> None:
    result = replay(pytester, f"--k8snet-{intent}")
    found = verdicts(pytester)
    assert (of("broken", found), of("inconclusive", found)) == (broken, inconclusive)
    assert of("held", found) == ALL - broken - inconclusive
    result.assert_outcomes(passed=len(ALL) - len(broken) - len(inconclusive), failed=len(broken))
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if broken | inconclusive else pytest.ExitCode.OK)


def test_vxlan_is_not_ipip(pytester: pytest.Pytester) -> None:
    replay(pytester, "--k8snet-encapsulation=vxlan-always")
    found = verdicts(pytester)
    # The large answer did not come through the tunnel that was meant: nothing shows that it would fit.
    assert of("broken", found) | of("inconclusive", found) == ENCAPSULATED | {"pod-network/mtu-fits"}
    assert "pod-network/encapsulated-on-source-uplink" in of("broken", found)


def test_the_ledger_stands_in_the_text(pytester: pytest.Pytester) -> None:
    """The labs were made with IPIP; meant to go without, each hop says where it differs."""
    result = replay(pytester, "--k8snet-encapsulation=none", "-k", "encapsulated_on_source_uplink")
    result.stdout.re_match_lines(
        [
            r"BROKEN: pod-network/encapsulated-on-source-uplink: packet \d+: IPIP 192\.168\.219\.23 ->",
            r"  expected  k8s-node2 eth1: plain TCP -> 20\.111\.156\.\d+:8080$",
            r"  where     k8s-node2 eth1",
            r"  command   tcpdump -i eth1 .*\(on k8s-node2\)",
            r"source-veth +k8s-node2 +cali\w+ +- +20\.109\.131\.\d+:\d+ -> 20\.111\.156\.\d+:8080 +64 +sent$",
            r"source-uplink +k8s-node2 +eth1 +IPIP .* <-- first hop that differs: expected plain TCP",
            r"target-uplink +k8s-node1 +eth1 +IPIP .* <-- differs too",
            r"target-veth +k8s-node1 +cali\w+ +- .*decapsulated, TTL -1$",
        ]
    )


def test_labs_alone_and_on_workers(pytester: pytest.Pytester) -> None:
    replay(pytester, "-m", "clusterip and not disruptive", "-q").assert_outcomes(passed=6, deselected=28)
    replay(pytester, "-k", "survives_restart").assert_outcomes(passed=1, deselected=33)
    assert replay(pytester, "--collect-only", "-q").ret == 0
    args = ("--k8snet", f"--k8snet-replay={HEALTHY}", "-n2", "--junitxml=out.xml")
    pytester.runpytest_subprocess(*args).assert_outcomes(passed=len(CATALOGUE))
    assert verdicts(pytester) == dict.fromkeys(ALL, "held")


def refused(pytester: pytest.Pytester, bundle: Path, *args: str) -> str:
    result = replay(pytester, *args, bundle=bundle)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "collected" not in result.stdout.str()
    (line,) = filter(None, result.errlines)
    return line


def test_what_can_not_be_replayed_is_refused(pytester: pytest.Pytester) -> None:
    bundle = pytester.path / "copy"
    shutil.copytree(HEALTHY, bundle)
    header = bundle / "bundle.json"
    kept = header.read_text()
    for damaged, line in (
        (
            kept.replace('"format": 1', '"format": 99'),
            "*bundle format 99, but pytest-k8snet * reads format 1",
        ),
        (kept[:-9], "*bundle.json: not readable as JSON, cut or damaged*"),
        (json.dumps({**json.loads(kept), "roles": 3}), "*bundle.json is damaged*"),
    ):
        header.write_text(damaged)
        pytest.LineMatcher([refused(pytester, bundle)]).fnmatch_lines([f"ERROR: --k8snet-replay: {line}"])
    header.write_text(kept)
    (bundle / "labs/clusterip/commands.jsonl").unlink()
    assert "commands.jsonl: missing, the bundle is cut" in refused(pytester, bundle)
    assert "no such directory" in refused(pytester, pytester.path / "nowhere")


def test_roles_of_another_run_are_refused(pytester: pytest.Pytester) -> None:
    replay(pytester, "--k8snet-role=node1=k8s-node1", "-k", "pod_ip").assert_outcomes(passed=1, deselected=33)
    line = refused(pytester, HEALTHY, "--k8snet-role=node1=k8s-node2")
    assert line.startswith("ERROR: --k8snet-role: 'node1=k8s-node2': the node1 of the run in ")
    assert line.endswith(" was 'k8s-node1'")


@pytest.mark.parametrize(
    ("header", "skipped"),
    [
        ({"disruptive": False}, {"pause/survives-restart", "clusterip/spreads"}),
        ({"lacks": {"calico": "no IPPool"}}, {"pod-network/ippool-mode", "pod-network/cidr-agrees"}),
    ],
)
def test_what_the_run_left_out_is_left_out_again(
    pytester: pytest.Pytester, header: dict[str, object], skipped: set[str]
) -> None:
    bundle = pytester.path / "copy"
    shutil.copytree(HEALTHY, bundle)
    file = bundle / "bundle.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | header))
    result = replay(pytester, bundle=bundle)
    result.assert_outcomes(passed=len(CATALOGUE) - len(skipped), skipped=len(skipped))
    cases = ElementTree.parse(pytester.path / "out.xml").iter("testcase")
    named = {case.get("name", "") for case in cases if list(case.iter("skipped"))}
    assert named == {f"test_{claim.partition('/')[2].replace('-', '_')}" for claim in skipped}


CONNTRACK = {"clusterip/conntrack-agrees", "clusterip/rules-lead-to-pod"}  #: what rests on that listing


def test_a_hole_in_the_bundle_is_named(pytester: pytest.Pytester) -> None:
    bundle = pytester.path / "copy"
    shutil.copytree(HEALTHY, bundle)
    commands = bundle / "labs/clusterip/commands.jsonl"
    lines = commands.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"conntrack"' not in line]
    commands.write_bytes(b"".join(kept))
    header = json.loads((bundle / "bundle.json").read_text())
    header["labs"]["clusterip"]["records"] -= len(lines) - len(kept)
    (bundle / "bundle.json").write_text(json.dumps(header))
    result = replay(pytester, bundle=bundle)
    assert of("inconclusive", verdicts(pytester)) == CONNTRACK
    assert of("held", verdicts(pytester)) == ALL - CONNTRACK
    result.stdout.fnmatch_lines(
        [
            "INCONCLUSIVE: clusterip/conntrack-agrees: the bundle * holds nothing of `conntrack -L *",
            "  command   conntrack -L *(on k8s-node2)",
            "  next      record the run again with --k8snet-bundle",
        ]
    )


def judged(lab: str, bundle: Bundle) -> dict[str, Verdict]:
    """The claims that rest on one lab's recording."""
    cluster = ReplayCluster(HEALTHY)
    cluster.tape = ReplayTape(bundle)
    return judge.verdicts(cluster, cluster.intent, (lab,))


@pytest.mark.parametrize("lab", LABS)
def test_no_hole_in_the_bundle_breaks_a_claim(lab: str) -> None:
    """Whichever answer is missing: a claim holds without it, or can't tell and names what is missing."""
    bundle = load_bundle(HEALTHY)
    whole = bundle.recordings[lab]
    assert {verdict.outcome for verdict in judged(lab, bundle).values()} == {Outcome.HELD}
    undecided = 0
    # The last of equal questions: without an earlier one its answers would move up.
    for missing in {record.question: record for record in whole.records}.values():
        holed: Recording = replace(whole, records=tuple(r for r in whole.records if r is not missing))
        found = judged(lab, replace(bundle, recordings={**bundle.recordings, lab: holed}))
        assert not [verdict for verdict in found.values() if verdict.outcome is Outcome.BROKEN]
        unknown = [verdict for verdict in found.values() if verdict.outcome is Outcome.INCONCLUSIVE]
        undecided += bool(unknown)
        for verdict in unknown:
            assert re.search(r"the bundle .* holds (nothing|only \d+) of ", verdict.seen), verdict
    assert undecided > len(whole.records) / 3


def test_it_names_no_path_of_the_machine_that_recorded_it() -> None:
    for path in HEALTHY.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not re.search(rb"/(root|home|work|tmp|Users|site-packages|\.venv)/", content), path


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in HEALTHY.rglob("*") if path.is_file()) < 1_000_000
