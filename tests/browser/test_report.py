"""The report of healthy and faulty runs in a real browser: nothing is wrong with it, in any window."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_k8snet.meaning.comparison import Allowed, Change, Comparison
from pytest_k8snet.report.page import render
from pytest_k8snet.report.told import ToldRun
from tests.browser import checks
from tests.browser.visit import DESKTOP, NARROWEST, PHONE, Scheme, Visit, Windows
from tests.report import told_runs

#: After an upgrade: a change of each kind.
COMPARISON = Comparison(
    baseline="before (embedded, recorded 2026-11-20 10:12 UTC)",
    same=41,
    changes=(
        Change("encapsulation/node2/node1", "IPIP node2.uplink > node1.uplink", "none"),
        Change("nat-path/node2", "KUBE-SERVICES -> KUBE-SVC -> KUBE-SEP\nDNAT pod-dest:8080", ""),
        Change("version/kernel", "6.1.55", "6.6.1", allowed="the nodes get a new kernel"),
        Change("mtu/node2/tunnel", "1480", "", unknown="ip link show tunl0 printed nothing"),
    ),
    left_out={"nodeport/*": "the lab was left out of this run"},
    idle=(Allowed("version/kubelet", "the nodes are upgraded"),),
)

RUNS: dict[str, Callable[[], ToldRun]] = {
    "healthy": told_runs.healthy,
    "direct-routes": lambda: told_runs.faulty("direct-routes"),
    "dnat-missing": lambda: told_runs.faulty("dnat-missing"),
    "tcpdump-missing": lambda: told_runs.faulty("tcpdump-missing"),
    "baseline": lambda: replace(told_runs.faulty("direct-routes"), comparison=COMPARISON),
    "200 claims": lambda: told_runs.many(200),
}
Report = Callable[[str], Path]


def fine(findings: list[str]) -> None:
    assert not findings, "\n".join([f"{len(findings)} in all", *findings[:20]])


@pytest.fixture(scope="package")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The page of a run, by its name in :data:`RUNS`."""
    folder = tmp_path_factory.mktemp("reports")

    def written(name: str) -> Path:
        file = folder / f"{name}.html"
        if not file.exists():
            file.write_text(render(RUNS[name]()), encoding="utf-8")
        return file

    return written


@pytest.fixture(autouse=True)
def _silent(windows: Windows) -> Iterator[None]:
    """Whatever a test does with a page: no word on the console, no error, no request to anywhere."""
    yield
    fine(windows.noise())


@pytest.mark.parametrize(
    ("run", "width"),
    [(run, width) for run in RUNS for width in (PHONE, DESKTOP) if (run, width) != ("200 claims", DESKTOP)],
)
def test_every_section_opens_and_all_can_be_read(
    windows: Windows, report: Report, run: str, width: int
) -> None:
    opened = windows.look(report(run), width=width)
    fine(opened.find("overflowing") + opened.find("opening"))
    fine([f"{name}: {line}" for name in checks.SEEN for line in opened.find(name)])
    opened.page.emulate_media(color_scheme="dark")
    fine(opened.find("faint"))


@pytest.mark.parametrize("run", ["dnat-missing", "baseline"])
def test_nothing_is_wider_than_the_narrowest_phone(windows: Windows, report: Report, run: str) -> None:
    opened = windows.look(report(run), width=NARROWEST)
    opened.find("opening")
    fine(opened.find("overflowing") + opened.find("small"))


# Axe looks at a page for seconds: each kind of window once. 200 claims are these ones, repeated.
@pytest.mark.parametrize(
    ("run", "width", "scheme"),
    [
        ("healthy", PHONE, "light"),
        ("dnat-missing", PHONE, "dark"),
        ("tcpdump-missing", DESKTOP, "dark"),
        ("baseline", DESKTOP, "light"),
    ],
)
def test_axe_finds_nothing(windows: Windows, report: Report, run: str, width: int, scheme: Scheme) -> None:
    opened = windows.look(report(run), width=width, scheme=scheme)
    opened.find("opening")
    fine(checks.axe(opened, contrast=False))


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")])
def test_axe_finds_contrast_enough(windows: Windows, report: Report, width: int, scheme: Scheme) -> None:
    fine(checks.axe(windows.look(report("direct-routes"), width=width, scheme=scheme)))


def test_a_picture_says_in_text_what_it_shows(windows: Windows, report: Report) -> None:
    opened = windows.look(report("dnat-missing"))
    pictures = [re.sub(r"\s", "", picture) for picture in opened.page.locator("svg").all_text_contents()]
    drawings = [drawing for lab in RUNS["dnat-missing"]().labs for drawing in lab.drawings]
    assert drawings
    for drawing in drawings:
        told = [drawing.client, drawing.target]
        for sighting in drawing.sightings:
            told += [sighting.point, sighting.node, sighting.interface]
            if sighting.number is not None:
                told += re.findall(r"[\d.]+(?::\d+)?", f"{sighting.outer} {sighting.inner}")
        missing = [[part for part in told if part not in picture] for picture in pictures]
        assert [] in missing, (drawing.name, min(missing, key=len))


def test_the_first_wrong_hop_is_told_in_words(windows: Windows, report: Report) -> None:
    opened = windows.look(report("direct-routes"))
    wrong = [
        sighting
        for lab in RUNS["direct-routes"]().labs
        for drawing in lab.drawings
        for sighting in drawing.sightings
        if sighting.first_difference
    ]
    flags = opened.page.locator("svg[role=img] text", has_text=re.compile("first wrong hop", re.IGNORECASE))
    assert flags.count() == len(wrong) > 0


def test_keyboard_reaches_everything(windows: Windows, report: Report) -> None:
    fine(checks.walked(windows.look(report("dnat-missing"))))


def test_commands_are_copied(windows: Windows, report: Report) -> None:
    opened = windows.look(report("dnat-missing"), width=PHONE)
    opened.find("opening")
    fine(checks.copied(opened))


@pytest.mark.parametrize(
    "without",
    [
        "Object.defineProperty(navigator, 'clipboard', { value: undefined })",
        "navigator.clipboard.writeText = () => Promise.reject(new DOMException('', 'NotAllowedError'))",
    ],
    ids=["missing", "refused"],
)
def test_commands_are_copied_without_the_clipboard_api(
    windows: Windows, report: Report, without: str
) -> None:
    fine(checks.copied(windows.look(report("dnat-missing"), before=without), most=1))


def anchors(opened: Visit) -> list[str]:
    found: list[str] = opened.page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(link => decodeURIComponent(link.hash.slice(1)))"
    )
    return found


def test_links_lead_to_open_sections(windows: Windows, report: Report) -> None:
    opened = windows.look(report("direct-routes"), width=PHONE)
    claims = [claim.claim for lab in RUNS["direct-routes"]().labs for claim in lab.claims]
    links = [anchor for anchor in anchors(opened) if anchor not in ("main", *claims)]
    assert links
    fine(checks.led(opened, [*dict.fromkeys(links), *claims]))


@pytest.mark.parametrize("scripts", [True, False])
def test_an_address_with_a_claim_leads_to_it(windows: Windows, report: Report, scripts: bool) -> None:
    claim = "#nodeport/answers-from-node2"
    opened = windows.look(report("healthy"), anchor=claim, java_script_enabled=scripts)
    fine(opened.find("arrived"))


def test_on_paper_all_of_it_is_there(windows: Windows, report: Report) -> None:
    fine(checks.unprinted(windows.look(report("baseline"), scheme="dark")))


def test_without_script_all_of_it_is_there(windows: Windows, report: Report) -> None:
    fine(checks.unscripted(windows.look(report("dnat-missing"))))


def test_claims_are_found_by_their_words(windows: Windows, report: Report) -> None:
    opened = windows.look(report("dnat-missing"))
    shown = opened.page.locator("details.claim:visible")
    every = shown.count()
    opened.page.get_by_role("searchbox").fill("nodeport DNAT")
    texts = [text.casefold() for text in shown.all_text_contents()]
    assert 0 < len(texts) < every
    assert all("nodeport" in text and "dnat" in text for text in texts)
    assert opened.page.locator("#filtered").inner_text() == f"{len(texts)} of {every} claims"
    opened.page.get_by_role("searchbox").fill("")
    assert shown.count() == every
