"""JUnit's file: what it says of each claim, and that those who read it can (tests/samples/junit.xsd)."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
import xmlschema

from tests.matrix.replayed import recorded
from tests.plugin import stand_in
from tests.plugin.conftest import lab_file

SAMPLES = Path(__file__).parents[1] / "samples"
HEALTHY = SAMPLES.parent / "bundles" / "healthy"
SCHEMA = (SAMPLES / "junit.xsd").read_text()
COMMON = xmlschema.XMLSchema10(SCHEMA)
STRICT = xmlschema.XMLSchema10(re.sub(r"<!-- beyond -->.*<!-- /beyond -->", "", SCHEMA, flags=re.DOTALL))

#: Every way a test can end, with what evidence may hold: control characters, no characters, other scripts.
LAB = r'''
import sys

def test_holds(lab, judge):
    """What the lab says,
    on two lines: é <&> "名".

    And more.
    """
    print("printed \x1b[1m")
    judge(held("a", "b"))

def test_breaks(lab, judge):
    seen = "plain ü 名 \ufffe ]]>"
    judge(broken("IPIP <&> \x00\x1b[2J", seen, where="k8s-node2 eth1", details="x\x07\n" * 50))

def test_can_not_tell(lab, judge):
    judge(inconclusive("IPIP", "the kernel dropped 3 packets", where="k8s-node2"))

@pytest.mark.skip(reason="one worker only: \x01 é")
def test_skipped(lab, judge): pass

@pytest.mark.xfail(reason="known \x02")
def test_expected(lab, judge): judge(broken("a", "b"))

def test_plain(): pass

def test_wrong(lab): assert "é\x03" == ""

@pytest.fixture
def untidy(lab):
    yield
    raise RuntimeError("left something \x04")

def test_untidy(untidy, judge): judge(held("a", "b"))
def test_broken_and_untidy(untidy, judge): judge(broken("a", "b"))

@pytest.fixture
def down(lab): raise ClusterError("the agent does not answer")
def test_set_up(down, judge): pass

@pytest.fixture
def bad(lab): raise ValueError("a bug")
def test_error(bad, judge): pass

@pytest.mark.parametrize("value", ["é/[x]\x05"])
def test_each(lab, judge, value): judge(held("a", "b"))
'''


def suite(file: Path) -> Element:
    """The one suite of a file that every reader takes: whole, and without what is beyond the strictest."""
    tree = ElementTree.parse(file)
    COMMON.validate(tree)
    (found,) = ElementTree.parse(file).getroot()
    for case in tree.iter("testcase"):
        for properties in case.findall("properties"):
            case.remove(properties)
    STRICT.validate(tree)
    counts = Counter(outcome(case) for case in found.iter("testcase"))
    assert {name: int(found.get(name, "")) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": counts.total(),
        "failures": counts["failure"],
        "errors": counts["error"],
        "skipped": counts["skipped"],
    }
    return found


def outcome(case: Element) -> str:
    """As GitLab takes it: the first that is there."""
    return next((tag for tag in ("failure", "error", "skipped") if case.find(tag) is not None), "passed")


def properties(element: Element) -> dict[str, str]:
    told = [(str(p.get("name")), str(p.get("value"))) for p in element.iterfind("properties/property")]
    assert len(told) == len(dict(told)), "none is told twice"
    return dict(told)


def test_every_outcome(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, LAB)
    pytester.runpytest_inprocess(
        *("--k8snet", "my_lab", "--k8snet-bundle=kept", "--junitxml=out.xml"),
        *("-W", "error", "-o", "junit_logging=all"),
    )
    found = suite(pytester.path / "out.xml")
    cases: dict[str, list[Element]] = {}
    for case in found.iter("testcase"):
        cases.setdefault(case.get("name", "").partition("[")[0].removeprefix("test_"), []).append(case)
    assert {name: list(map(outcome, each)) for name, each in cases.items()} == {
        "holds": ["passed"],
        "breaks": ["failure"],
        "can_not_tell": ["failure"],
        "skipped": ["skipped"],
        "expected": ["skipped"],
        "plain": ["passed"],
        "wrong": ["failure"],
        "untidy": ["error"],
        "broken_and_untidy": ["failure", "error"],
        "set_up": ["failure"],
        "error": ["error"],
        "each": ["passed"],
    }
    told = {name: properties(each[0]) for name, each in cases.items()}
    assert told["holds"] == {
        "k8snet_claim": "my-lab/holds",
        "k8snet_verdict": "held",
        "k8snet_sentence": 'What the lab says, on two lines: é <&> "名".',
        "k8snet_bundle": "kept/labs/my-lab",
    }
    assert told["plain"] == {}
    assert {
        name: each.get("k8snet_verdict") for name, each in told.items() if name not in ("plain", "wrong")
    } == {
        "holds": "held",
        "breaks": "broken",
        "can_not_tell": "inconclusive",
        "skipped": None,
        "expected": None,
        "untidy": "held",
        "broken_and_untidy": "broken",
        "set_up": "inconclusive",
        "error": None,
        "each": "held",
    }
    # Broken or inconclusive: also in the message, which is what Jenkins and GitLab show.
    for name, word in (("breaks", "BROKEN"), ("can_not_tell", "INCONCLUSIVE"), ("set_up", "INCONCLUSIVE")):
        failure = cases[name][0].find("failure")
        assert failure is not None
        assert failure.get("message", "").startswith(f"{word}: my-lab/{name.replace('_', '-')}: ")
        assert str(failure.text).startswith(f"{word}: ")
    assert "plain ü 名 \\ufffe ]]>" in str(cases["breaks"][0].findtext("failure"))
    assert properties(found) == {
        "k8snet_provider": "embedded",
        "k8snet_subject": "the embedded reference network, not on a cluster",
        "k8snet_cluster": "embedded: a stand-in",
        "k8snet_bundle": "kept",
    }


def test_of_a_distributed_run_too(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(stand_in.CONFTEST)
    lab_file(pytester.mkdir("my_lab"), LAB)
    args = ("--k8snet", "my_lab", "--k8snet-bundle=kept", "--junitxml=out.xml")
    pytester.runpytest_subprocess(*args, "-n2")
    distributed = suite(pytester.path / "out.xml")
    pytester.runpytest_subprocess(*args[:2], "--k8snet-bundle=kept2", args[-1])
    alone = suite(pytester.path / "out.xml")

    def told(found: Element) -> dict[str, list[dict[str, str]]]:
        cases: dict[str, list[dict[str, str]]] = {}
        for case in found.iter("testcase"):
            cases.setdefault(case.get("name", ""), []).append(properties(case))
        return cases

    assert str(told(distributed)) == str(told(alone)).replace("kept2", "kept")
    assert properties(distributed) == {**properties(alone), "k8snet_bundle": "kept"}


def replayed(pytester: pytest.Pytester, *args: str) -> Element:
    with tarfile.open(recorded("direct-routes")) as archive:
        archive.extractall(pytester.path, filter="data")
    pytester.runpytest_inprocess(
        *("--k8snet", "--k8snet-replay=direct-routes", "--junitxml=out.xml", "-p", "no:cacheprovider"), *args
    )
    return suite(pytester.path / "out.xml")


def test_causes_and_nodes(pytester: pytest.Pytester) -> None:
    found = replayed(pytester)
    told = {case["k8snet_claim"]: case for case in map(properties, found.iter("testcase"))}
    route = told["pod-network/route-via-tunnel"]
    assert route["k8snet_cause"] == "route-bypasses-tunnel"
    assert route["k8snet_nodes"] == "k8s-node2"
    assert route["k8snet_bundle"] == "direct-routes/labs/pod-network"
    assert "k8snet_cause" not in told["pod-network/mtu-fits"]  # it can't tell
    assert {case["k8snet_verdict"] for case in told.values() if "k8snet_cause" in case} == {"broken"}
    assert properties(found)["k8snet_replay"] == "direct-routes"
    assert properties(found)["k8snet_subject"].endswith("on the reference network, not on a cluster")


def test_changes_since_a_baseline(pytester: pytest.Pytester) -> None:
    found = replayed(pytester, f"--k8snet-baseline={HEALTHY}", "-m", "pod_network")
    told = [properties(case) for case in found.iter("testcase")]
    changes = [case for case in told if case["k8snet_claim"].startswith("baseline/")]
    assert {case["k8snet_verdict"] for case in changes} >= {"held", "broken"}
    assert all(case["k8snet_sentence"] for case in changes)
    assert properties(found)["k8snet_baseline"] == str(HEALTHY)


def test_without_the_option_there_is_no_file(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, "def test_holds(lab, judge): judge(held('a', 'b'))\n")
    assert pytester.runpytest_inprocess("--k8snet", "my_lab", "-p", "no:junitxml").ret == 0
    assert not list(pytester.path.glob("*.xml"))


# --- the schema can refuse ----------------------------------------------------------------------------------

GOOD = """\
<testsuites><testsuite name="p" tests="1" failures="1" errors="0" skipped="0" time="0.1"
 timestamp="2026-11-23T06:29:46.003312+00:00" hostname="h"><testcase classname="c" name="n" time="0.100">\
<properties><property name="k8snet_claim" value="a/b"/></properties><failure message="m">t</failure>\
</testcase></testsuite></testsuites>"""


def test_the_schema_takes_a_good_file() -> None:
    COMMON.validate(GOOD)
    assert not STRICT.is_valid(GOOD)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(' value="a/b"', ""),
        lambda text: text.replace('failures="1"', 'failures="one"'),
        lambda text: text.replace(' name="n"', ""),
        lambda text: text.replace('time="0.100"', 'time="0,1"'),
        lambda text: text.replace('time="0.100"', 'time="0.1" file="x.py"'),
        lambda text: text.replace("<property ", "<properties ").replace("<properties n", "<claim n"),
        lambda text: text.replace("failure", "inconclusive"),
        lambda text: text.replace("2026-11-23T", "23.11.2026 "),
        lambda text: re.sub(r"(<properties>.*</properties>)(<failure.*</failure>)", r"\2\1", text),
    ],
)
def test_the_schema_refuses(spoil: Callable[[str], str]) -> None:
    spoilt = spoil(GOOD)
    assert spoilt != GOOD
    assert not COMMON.is_valid(spoilt)
