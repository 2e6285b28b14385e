"""The page needs nothing but itself, its links lead somewhere, and no evidence in it counts as ours."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import pairwise
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from pytest_k8snet.report.page import render
from pytest_k8snet.report.page.contents import LOOKS
from tests.report.pages import RUNS, claim, html, tree, with_claims
from tests.report.reading import read


def test_nothing_in_the_evidence_becomes_markup() -> None:
    page = html("poisoned")
    ours, theirs = tree("direct-routes"), tree("poisoned")
    assert len(list(theirs.each("script", "style"))) == 2
    assert {element.tag for element in theirs.each()} <= {
        *(element.tag for element in ours.each()),
        *("strong", "br"),
    }
    for element in theirs.each():
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
    assert page.count("&lt;img src=x onerror=alert(2)&gt;") > 500


def test_what_can_not_be_shown_is_made_visible() -> None:
    page = html("poisoned")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", page)
    assert "\u2400\u241b[31m&lt;U+202E&gt;\ufffd&amp;amp;" in page
    page.encode("utf-8")


def test_the_pictures_of_hostile_evidence_are_well_formed_and_in_their_place() -> None:
    page = html("poisoned")
    pictures = re.findall(r'<svg class="path" role="img".*?</svg>', page, re.DOTALL)
    assert len(pictures) == 8
    for picture in pictures:
        assert ElementTree.fromstring(picture).attrib["viewBox"].startswith("0 0 340 ")


@pytest.mark.parametrize("name", ["healthy", "direct-routes", "poisoned"])
def test_the_policy_lets_nothing_in_but_the_pages_own_style_and_script(name: str) -> None:
    page = tree(name)
    (policy,) = (meta["content"] for meta in page.each("meta") if "http-equiv" in meta.attributes)
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    (script,), (style,) = page.each("script"), page.each("style")
    assert directives == {
        "default-src": "'none'",
        "script-src": source(script.text),
        "style-src": source(style.text),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    first = [element.tag for element in next(page.each("head")).each()][:3]
    assert first == ["meta", "meta", "meta"]


def source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@pytest.mark.parametrize("name", RUNS)
def test_no_element_refers_to_anything_outside(name: str) -> None:
    page = tree(name)
    names = {"src", "srcset", "href", "xlink:href", "action", "formaction", "data", "poster", "background"}
    found = {value for element in page.each() for name, value in element.attributes.items() if name in names}
    assert found
    assert {value for value in found if not value.startswith("#")} == {"data:,"}
    (style,), (script,) = page.each("style"), page.each("script")
    assert not re.search(r"url\(|@import|@font-face", style.text)
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|WebSocket|eval|innerHTML)\b", script.text)


# Ids, links, headings.


@pytest.mark.parametrize("name", [*RUNS, "poisoned", "many"])
def test_ids_are_unique_and_every_link_leads_to_one(name: str) -> None:
    page = tree(name)
    ids = [element["id"] for element in page.each() if "id" in element.attributes]
    assert len(ids) == len(set(ids)) > 0
    assert not [anchor for anchor in ids if re.search(r"\s", anchor)]
    links = {unquote(link["href"].removeprefix("#")) for link in page.each("a", "use")}
    assert links <= set(ids)
    labels = [element.attributes.get("aria-labelledby", "") for element in page.each()]
    assert {anchor for label in labels for anchor in label.split()} <= set(ids)


def test_two_tests_of_one_claim_get_two_anchors() -> None:
    page = read(render(with_claims(claim("held"), claim("broken"))))
    assert "held" in page.by_id("lab/one").within("details").words
    assert "broken" in page.by_id("lab/one~2").within("details").words


@pytest.mark.parametrize("name", [*RUNS, "many"])
def test_headings_skip_no_level(name: str) -> None:
    page = tree(name)
    levels = [int(heading.tag[1]) for heading in page.each("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(heading.words for heading in page.each("h1", "h2", "h3", "h4"))


@pytest.mark.parametrize("name", RUNS)
def test_what_scrolls_can_be_reached_by_key_and_has_a_name(name: str) -> None:
    page = tree(name)
    scrolling = [*page.each("pre"), *page.of("scroll")]
    assert scrolling
    for element in scrolling:
        assert (element["tabindex"], element["role"], bool(element["aria-label"])) == ("0", "group", True)


@pytest.mark.parametrize("name", RUNS)
def test_each_look_has_a_shape_of_its_own_and_its_word_beside_it(name: str) -> None:
    page = tree(name)
    symbols = {
        symbol["id"]: [dict(part.attributes) for part in symbol.each()] for symbol in page.each("symbol")
    }
    assert set(symbols) == {f"mark-{look}" for look in LOOKS.values()}
    assert len({str(parts) for parts in symbols.values()}) == len(symbols)
    for details in page.of("claim"):
        assert details.of("word")[0].text in LOOKS
