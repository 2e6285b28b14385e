"""Requests on the page: pictures, ledgers, listings, captures, and which of them come first."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from pytest_k8snet.report.page import render
from tests.report.pages import (
    FAULTS,
    RUNS,
    bare,
    drawings,
    html,
    ledger_of,
    legs,
    picture_of,
    plain,
    requests,
    run_of,
    tree,
)
from tests.report.reading import read
from tests.report.told_runs import faulty, healthy


@pytest.mark.parametrize("name", RUNS)
def test_ledgers_are_tables_of_as_many_bodies_as_sightings(name: str) -> None:
    page = tree(name)
    assert len(page.of("ledger")) == len(list(legs(run_of(name)))) > 0
    for request, leg in legs(run_of(name)):
        table = ledger_of(page, request, leg)
        (header,) = next(table.each("thead")).each("tr")
        assert {cell["scope"] for cell in header.each("th")} == {"col"}
        bodies = list(table.each("tbody"))
        assert len(bodies) == len(leg.told.sightings)
        for body, sighting in zip(bodies, leg.told.sightings, strict=True):
            (point,) = body.each("th")
            assert point["scope"] == "row"
            for row in body.each("tr"):
                columns = sum(int(cell.attributes.get("colspan", "1")) for cell in row.each("th", "td"))
                assert columns == len(list(header.each("th")))
            for value in (
                *(sighting.point, sighting.node, sighting.interface, sighting.outer, sighting.inner),
                *(sighting.note, sighting.expected, *sighting.changes),
            ):
                assert plain(value) in plain(body.text)


@pytest.mark.parametrize("name", RUNS)
def test_pictures_are_well_formed_and_hold_each_header(name: str) -> None:
    page = html(name)
    found = re.findall(r'<svg class="path" role="img".*?</svg>', page, re.DOTALL)
    pictures = {svg.attrib["aria-labelledby"]: svg for svg in map(ElementTree.fromstring, found)}
    assert len(pictures) == len(found) == len(list(legs(run_of(name))))
    for request, leg in legs(run_of(name)):
        picture = pictures[f"{leg.anchor}~title {leg.anchor}~what"]
        labels = plain("".join("".join(label.itertext()) for label in picture.iter("text")))
        for sighting in leg.told.sightings:
            for header in (sighting.inner, *sighting.outer.split(" around ")):
                assert plain(header) in labels
            if sighting.ttl is not None:
                assert f"TTL{sighting.ttl}" in labels
        assert ("FIRSTWRONGHOP" in labels) == (leg.first_wrong is not None)
        assert (plain(request.told.answer) in labels) == (leg is request.there)
        named = picture.attrib["aria-labelledby"].split()
        assert [part.attrib["id"] for part in picture if part.tag in ("title", "desc")] == named
        assert all("".join(part.itertext()).strip() for part in picture if part.tag in ("title", "desc"))


def test_nat_and_envelopes_are_marked_where_they_happen() -> None:
    (drawing,) = (one for one in drawings(healthy()) if one.lab == "nodeport")
    page = tree("healthy")
    picture = next(svg for svg in page.by_id("nodeport-request-1").each("svg") if "path" in svg.looks)
    labels = [label.text for label in picture.each("text")]
    order = [
        labels.index(label) for label in ("entry-uplink", "DNAT", "SNAT", "encapsulated", "decapsulated")
    ]
    assert order == sorted(order)
    assert labels[labels.index("DNAT") + 1] == drawing.asked
    assert labels.index("decapsulated") < labels.index("target-veth")


@pytest.mark.parametrize("name", FAULTS)
def test_the_first_wrong_hop_is_marked_exactly_once_in_picture_and_table(name: str) -> None:
    page = tree(name)
    found = 0
    for request, leg in legs(faulty(name)):
        wrong = [row for row in leg.told.sightings if row.first_difference]
        picture, table = picture_of(page, leg), ledger_of(page, request, leg)
        assert [label.text for label in picture.of("flag")] == ["FIRST WRONG HOP"] * len(wrong)
        assert len([mark for mark in picture.of("wrong") if mark.tag == "g"]) == len(wrong)
        rows = table.of("first-wrong")
        assert [next(row.each("th")).words.split()[0] for row in rows] == [row.point for row in wrong]
        found += len(wrong)
    wrong_requests = [request for request in requests(faulty(name)) if request.first_wrong]
    assert found == len(wrong_requests)
    assert bool(found) == (name != "tcpdump-missing")


def test_where_the_answer_goes_wrong_its_way_back_is_open_and_told_in_a_sentence() -> None:
    page = tree("direct-reply")
    for request in requests(faulty("direct-reply")):
        body = page.by_id(request.anchor)
        (back,) = body.of("back")
        assert "open" in back.attributes
        assert request.in_short == (
            "The request was seen as expected at every point. The answer went wrong at target-uplink"
            " (k8s-node1 eth1)."
        )
        assert body.words.startswith(request.in_short)
        expected, seen = [value.text for value in body.of("in-short")[0].each("dd")]
        assert (expected[:5], seen[:6]) == ("IPIP ", "plain ")
        wrong = body.within("details")
        assert "first wrong hop: target-uplink (k8s-node1 eth1) on the answer's way back" in wrong.words


@pytest.mark.parametrize("name", ["healthy", "direct-routes"])
def test_where_the_answer_is_not_the_first_to_go_wrong_its_way_back_is_closed(name: str) -> None:
    backs = tree(name).of("back")
    assert len(backs) == 4
    assert not [back for back in backs if "open" in back.attributes]


def test_listings_and_captures_with_their_commands_and_files() -> None:
    page = tree("healthy")
    for number, drawing in enumerate((one for one in drawings(healthy()) if one.lab == "clusterip"), 1):
        body = page.by_id(f"clusterip-request-{number}")
        commands = [code.text for command in body.of("command") for code in command.each("code")]
        assert len(drawing.listings) == 2
        assert len(drawing.captures) == 4
        for shown in (*drawing.listings, *drawing.captures):
            assert shown.command.partition("  (on ")[0] in commands
        for listing in drawing.listings:
            assert "\n".join(listing.lines) in [pre.text for pre in body.each("pre")]
        for capture in drawing.captures:
            assert capture.pcap
            assert capture.pcap in [code.text for code in body.each("code")]
            assert f"{capture.packets} packets, {capture.dropped} dropped" in body.words


def test_where_the_drawings_are_missing_the_ledgers_stand_as_text() -> None:
    labs = tuple(replace(lab, drawings=[]) for lab in healthy().labs)
    page = read(render(replace(healthy(), labs=labs)))
    assert not [svg for svg in page.each("svg") if svg.attributes.get("role") == "img"]
    ledgers = [ledger for lab in labs for ledger in lab.ledgers]
    assert set(ledgers) <= {pre.text for pre in page.each("pre")}
    assert len(ledgers) == 4


def test_of_many_requests_those_with_nothing_to_see_are_closed() -> None:
    page = tree("many")
    shown = list(requests(run_of("many")))
    assert len(shown) > 12
    for request in shown:
        details = page.by_id(request.anchor).within("details")
        if request.first_wrong is None:
            assert ("open" in details.attributes) == (request.look != "good")
    wrong = [details for details in page.by_id("not-held").of("request") if "open" in details.attributes]
    assert len(wrong) == 4
    assert all("open" in details.attributes for details in tree("healthy").of("request"))


def test_a_file_that_a_failed_capture_left_empty_is_not_named() -> None:
    (lab,) = (lab for lab in healthy().labs if lab.name == "clusterip")
    (drawing,) = lab.drawings
    broken, *others = drawing.captures
    for packets, named in ((0, False), (None, False), (3, True)):
        capture = replace(broken, packets=packets, problem="no such device")
        told = replace(drawing, captures=(capture, *others))
        page = read(render(bare(labs=(replace(lab, drawings=[told]),))))
        assert (broken.pcap in [code.text for code in page.each("code")]) == named


def test_what_a_seen_packet_leaves_to_be_said_stands_below_it() -> None:
    (lab,) = (lab for lab in healthy().labs if lab.name == "clusterip")
    (drawing,) = lab.drawings
    *before, last = drawing.replies
    noted = replace(last, note="only the handshake's answer", expected="plain", first_difference=True)
    told = replace(drawing, replies=(*before, noted))
    page = read(render(bare(labs=(replace(lab, drawings=[told]),))))
    (back,) = page.of("back")
    assert "only the handshake's answer" in back.of("first-wrong")[0].words
    assert "only the handshake's answer" in [text.text for text in back.each("text")]
    assert "(only the handshake's answer)" in page.of("in-short")[0].words
