"""What the documents say is so: tables as the code has them, examples that run, names that exist."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from pytest_k8snet import options
from pytest_k8snet.claims.catalogue import CATALOGUE
from pytest_k8snet.claims.causes import DIAGNOSES
from pytest_k8snet.embedded import kernel, supported
from pytest_k8snet.embedded.faults.catalogue import FAULTS
from pytest_k8snet.manifests import load
from tests.matrix.replayed import recorded

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
BUNDLE = ROOT / "tests" / "bundles" / "healthy"

#: Where a name in backticks may start from: the repository, or the package.
BASES = (ROOT, ROOT / "pytest_k8snet")
FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|md|toml|yaml)|(?:[\w.-]+/)+)`")


def marked(name: str) -> str:
    """The text between ``<!-- name ... -->`` and ``<!-- /name -->`` of the README."""
    found = re.search(rf"<!-- {name}\b[^>]*-->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    assert found is not None, f"README.md has no part marked {name}"
    return found[1].strip()


def fenced(text: str) -> list[str]:
    """The fenced code blocks, their language dropped."""
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def example_files() -> dict[str, str]:
    """The README's example: file name -> contents, from each block under a line that names it."""
    return dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", README, re.DOTALL | re.MULTILINE))


def unlike_in_numbers(text: str) -> str:
    """Without what differs from run to run: client's ports (and so columns' widths), packets' numbers."""
    text = re.sub(r"(?<=20\.109\.131\.5:)\d+", "PORT", text)
    return re.sub(r" +", " ", re.sub(r"\bpacket \d+", "packet N", text)).strip()


def headings(document: str) -> set[str]:
    """The anchors that a Markdown page gives its headings."""
    titles = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def lies_in(document: Path, target: str) -> bool:
    """Whether a relative link of ``document`` leads to a file, and to a heading where it names one."""
    path, _, anchor = target.partition("#")
    file = (document.parent / path) if path else document
    return file.exists() and (not anchor or anchor in headings(file.read_text()))


def test_the_table_of_claims_is_the_catalogue() -> None:
    lines = ["| claim | what it says |", "|---|---|"]
    lines += [f"| `{claim.id}` | {claim.sentence} |" for claim in CATALOGUE]
    assert marked("claims") == "\n".join(lines)
    assert f"{len(CATALOGUE)} claims" in README.partition("## ")[0]


def test_the_table_of_options_names_every_option() -> None:
    lines = [
        "| option | ini key | |",
        "|---|---|---|",
        "| `--k8snet` | | switch the plugin on; without a path the bundled labs are run |",
    ]
    for setting in options.SETTINGS:
        option = f"{setting.option} {setting.metavar}".strip()
        key = f"`{setting.key}`" if setting.ini else ""
        lines.append(f"| `{option}` | {key} | {setting.help} |")
    assert marked("options") == "\n".join(lines)


@pytest.fixture
def example(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The README's files, written where pytest is going to run."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:cacheprovider --color=no")
    files = example_files()
    assert sorted(files) == ["pod_network/pods.yaml", "pod_network/test_my_claims.py"]
    for name, content in files.items():
        file = pytester.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    return pytester


def test_the_example_says_what_the_readme_says(example: pytest.Pytester) -> None:
    result = example.runpytest_inprocess("--k8snet", "--k8snet-replay", str(BUNDLE), "pod_network")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    (said,) = fenced(marked("failure"))
    assert unlike_in_numbers(said) in unlike_in_numbers(result.stdout.str())


def test_the_fault_does_what_the_readme_says(pytester: pytest.Pytester) -> None:
    with tarfile.open(recorded("direct-routes")) as archive:
        archive.extractall(pytester.path, filter="data")
    result = pytester.runpytest_inprocess("--k8snet", "--k8snet-replay=direct-routes", "--color=no")
    assert result.parseoutcomes() == {"passed": 26, "failed": 7, "inconclusive": 1}
    assert "and seven claims are broken" in README
    (said,) = fenced(marked("fault"))
    assert said in result.stdout.str()


def test_the_faults_are_counted() -> None:
    assert f"prints the {len(FAULTS)} of\n" in (ROOT / "CHANGELOG.md").read_text()
    assert f"{len(DIAGNOSES)} diagnoses" in (ROOT / "CHANGELOG.md").read_text()


def test_the_example_fits_the_reference_network(example: pytest.Pytester) -> None:
    found = load(example.path / "pod_network" / "pods.yaml")
    bundled = [load(path)[0] for path in sorted((ROOT / "scenarios" / "pod_network").glob("*.yaml"))]
    assert len(found) == 2
    supported.check([*found, *bundled])  # side by side with the bundled labs, too


def run_with_volumes(example: pytest.Pytester) -> pytest.RunResult:
    pods = example.path / "pod_network" / "pods.yaml"
    pods.write_text(pods.read_text().replace("spec:\n", "spec:\n  volumes: []\n", 1))
    return example.runpytest_inprocess("--k8snet", "pod_network")


def run_in_another_lab(example: pytest.Pytester) -> pytest.RunResult:
    (example.path / "pod_network").rename(example.path / "my_lab")
    (example.path / "kept").symlink_to(BUNDLE)
    return example.runpytest_inprocess("--k8snet", "--k8snet-replay", "kept", "my_lab")


TROUBLES = {
    "is missing (Debian package": lambda example: example.runpytest_inprocess("--k8snet"),
    "can't carry the network": lambda example: example.runpytest_inprocess(
        "--k8snet", "--k8snet-kernel=namespaces"
    ),
    "not implemented by": run_with_volumes,
    "fixture 'pod_network_lab' not found": lambda example: example.runpytest_inprocess("pod_network"),
    "holds nothing of": run_in_another_lab,
}


@pytest.mark.parametrize("what", TROUBLES)
def test_the_messages_of_the_troubleshooting_are_printed(
    what: str, example: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with the machine that the message speaks of: one without those programs, one without ipip."""
    absent = ("crun", "tcpdump") if what.startswith("is missing") else ()
    monkeypatch.setattr(kernel, "program", lambda name: None if name in absent else f"/usr/bin/{name}")
    monkeypatch.setattr(kernel, "namespaces_work", lambda: "its ipip module is not loaded (modprobe ipip)")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (told,) = [block.strip() for block in fenced(README.partition("## Troubleshooting")[2]) if what in block]
    result = TROUBLES[what](example)
    said = (result.stdout.str() + result.stderr.str()).replace(str(example.path), "...")
    assert re.sub(r" +", " ", told) in re.sub(r" +", " ", said)


def test_every_debian_package_is_named() -> None:
    requirements = README.partition("## Requirements")[2].partition("\n## ")[0]
    packages = {*kernel.PROGRAMS.values(), kernel.UML_PACKAGE}
    assert packages <= set(re.findall(r"`([\w-]+)`", requirements))
    assert str(kernel.UML_MEMORY).removesuffix("M") in requirements


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for file in DOCUMENTS for name in re.findall(r"(?:`|^)make (\w+)", file.read_text(), re.M)}
    assert named
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    assert [t for t in targets if not t.startswith("https://") and not lies_in(document, t)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document: Path) -> None:
    mine = {*example_files(), "bundle.json", "path/"}
    named = [name for name in FILE.findall(document.read_text()) if name not in mine]
    assert [name for name in named if not any((base / name).exists() for base in BASES)] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# The `one` & only\n")
    assert lies_in(page, "#the-one--only")
    assert lies_in(page, "page.md#the-one--only")
    assert not lies_in(page, "#another")
    assert not lies_in(page, "gone.md")
