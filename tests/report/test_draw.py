"""Requests drawn from recorded runs: healthy ones, ones that go wrong at a known hop, ones half unseen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8snet.claims import nodeport
from pytest_k8snet.claims.answers import answer_rows, expected_answer
from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.matchers import Matcher
from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.clusters.replay import ReplayCluster
from pytest_k8snet.evidence.conntrack import Connection, parse_conntrack
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.evidence.observations import TracedRequest
from pytest_k8snet.evidence.reading import NotObserved, Reading
from pytest_k8snet.intent import Intent
from pytest_k8snet.report.draw import draw
from pytest_k8snet.report.drawing import CaptureTold, Drawing, Listing, Sighting
from tests.claims import scenes
from tests.matrix.replayed import BUNDLES
from tests.report.told_runs import requests, unpacked


def drawing_of(
    lab: str, request: TracedRequest, intent: Intent, *, bundle: bool, client_kept: bool = False
) -> Drawing:
    return draw(lab, Ledger.of(request, intent, client_kept=client_kept), bundle=bundle)


POD = ("source-veth", "source-uplink", "target-uplink", "target-veth")
NODE = ("client-uplink", "entry-uplink", "target-uplink", "target-veth")

#: Lab -> point of the first wrong hop, by what each fault does to the network.
WRONG: Mapping[str, Mapping[str, str]] = {
    "healthy": {},
    "direct-routes": {
        "pod-network": "source-uplink",
        "clusterip": "source-uplink",
        "nodeport": "entry-uplink",
    },
    "dnat-missing": {"clusterip": "source-uplink"},
    "dnat-to-other-pod": {"clusterip": "source-uplink"},
    "encapsulated-twice": {
        "pod-network": "source-uplink",
        "clusterip": "source-uplink",
        "nodeport": "entry-uplink",
    },
    "nodeport-not-masqueraded": {"nodeport": "entry-uplink"},
    "not-decapsulated": dict.fromkeys(("pod-network", "clusterip", "nodeport"), "target-veth"),
    "pod-traffic-masqueraded": dict.fromkeys(("pod-network", "clusterip"), "source-uplink"),
    "translated-in-the-pod": {"clusterip": "source-veth"},
    # Nothing is wrong with the network: the observer sees only a part of it.
    "agent-dies": {},
    "capture-cut": {},
    "capture-drops": {},
    "conntrack-missing": {},
    "iptables-rubbish": {},
    "tcpdump-missing": {},
    "tcpdump-never-listens": {},
}

POD_REQUESTS = ("hostname@pod-network", "large@pod-network", "hostname@clusterip")
EVERY = (*POD_REQUESTS, "hostname@nodeport")

#: Request -> point where its answer first goes wrong, by what each fault does to the network. A fault that is
#: not named leaves every answer as it must be, or no answer due.
WRONG_BACK: Mapping[str, Mapping[str, str]] = {
    # node1 sends it past its tunnel.
    "direct-reply": dict.fromkeys(EVERY, "target-uplink"),
    "direct-routes": dict.fromkeys(EVERY, "target-uplink"),
    # Masqueraded to node2's own address, to which no tunnel leads back, or not at all.
    "direct-request": {"hostname@nodeport": "target-uplink"},
    "nodeport-not-marked": {"hostname@nodeport": "target-uplink"},
    "nodeport-not-masqueraded": {"hostname@nodeport": "target-uplink"},
    # Through the tunnel, but by way of the master.
    "tunnel-to-other-node": dict.fromkeys(EVERY, "target-uplink"),
    # node1 translates it back already.
    "dnat-on-target-node": {"hostname@clusterip": "target-uplink"},
    # Another pod answers, so nothing leaves pod-dest.
    "dnat-to-other-pod": {"hostname@clusterip": "target-veth"},
    "nodeport-to-other-pod": {"hostname@nodeport": "target-veth"},
    "service-selects-wrong-pods": {"hostname@clusterip": "target-veth"},
    # It comes to node2 as it must; there it is dropped, or not translated back.
    "reply-dropped": dict.fromkeys(POD_REQUESTS, "source-veth") | {"hostname@nodeport": "entry-uplink"},
    "pmtu-black-hole": {"large@pod-network": "source-veth"},
    "not-translated-back": {"hostname@clusterip": "source-veth"},
    # The pod itself translates it back: its host interface shows pod-dest's address.
    "translated-in-the-pod": {"hostname@clusterip": "source-veth"},
}

#: What can't be read under a fault of the observer: points of a pod's request, of a node's, listings of a
#: ClusterIP's request; and words of the reason.
BLIND = {
    "agent-dies": (POD, NODE, ("rules", "conntrack"), "kernel has ended"),
    "capture-cut": (POD[2:], NODE[2:], (), "cut inside"),
    "capture-drops": (POD[:2], NODE[1:2], ("conntrack",), "the kernel dropped"),
    "conntrack-missing": ((), (), ("conntrack",), "conntrack is not installed on k8s-node2"),
    "iptables-rubbish": ((), (), ("rules",), "unreadable output"),
    "tcpdump-missing": (POD[:2], NODE[1:2], ("conntrack",), "tcpdump is not installed on k8s-node2"),
    "tcpdump-never-listens": (POD[2:], NODE[2:], (), "tcpdump was not listening before the request"),
}


@cache
def traced(bundle: str) -> tuple[Intent, tuple[tuple[str, TracedRequest], ...]]:
    with unpacked(bundle) as directory:
        cluster = ReplayCluster(directory)
        return cluster.intent, tuple(requests(cluster))


def drawings(bundle: str, *, kept: bool = True) -> list[Drawing]:
    intent, found = traced(bundle)
    return [drawing_of(lab, request, intent, bundle=kept) for lab, request in found]


def by_name(bundle: str) -> dict[str, Drawing]:
    return {drawing.name.rpartition("/")[2] + "@" + drawing.lab: drawing for drawing in drawings(bundle)}


def listing(drawing: Drawing, what: str) -> Listing:
    (found,) = [one for one in drawing.listings if one.title.startswith(what)]
    return found


@pytest.mark.parametrize("bundle", WRONG)
def test_the_first_wrong_hop_is_where_the_fault_is(bundle: str) -> None:
    intent, found = traced(bundle)
    assert [lab for lab, _ in found] == ["pod-network", "pod-network", "clusterip", "nodeport"]
    for (lab, request), drawing in zip(found, drawings(bundle), strict=True):
        wrong = [sighting.point for sighting in drawing.sightings if sighting.first_difference]
        assert wrong == [point for name, point in WRONG[bundle].items() if name == lab]
        rows = Ledger.of(request, intent).rows
        assert [vars(sighting) for sighting in drawing.sightings] == [vars(row) for row in rows]
        assert [told.point for told in drawing.captures] == list(NODE if lab == "nodeport" else POD)
        again = Drawing.of_plain(json.loads(json.dumps(drawing.plain())))
        assert again == drawing


RECORDED = ("healthy", *sorted(path.name.removesuffix(".tar.xz") for path in BUNDLES.glob("*.tar.xz")))


@pytest.mark.parametrize("bundle", RECORDED)
def test_the_answer_goes_wrong_where_the_fault_is(bundle: str) -> None:
    wrong: dict[str, list[str]] = {}
    for name, drawing in by_name(bundle).items():
        if first := [reply.point for reply in drawing.replies if reply.first_difference]:
            wrong[name] = first
        points = [told.point for told in drawing.captures]
        assert list(dict.fromkeys(reply.point for reply in drawing.replies)) in ([], points[::-1])
        unread = [told.point for told in drawing.captures if told.problem] if drawing.replies else []
        assert [row.point for row in drawing.replies if row.note.startswith("not observed: ")] == unread[::-1]
        # Where nothing of the answer is told, no claim could ask for any.
        assert drawing.replies or not drawing.answered
    assert wrong == {name: [point] for name, point in WRONG_BACK.get(bundle, {}).items()}


def to_anyone(form: Matcher) -> Matcher:
    """As claims ask for an answer: by its envelope and where it comes from."""
    return replace(form, inner=replace(form.inner, dst=frozenset(), dport=None))


def broken(hop: Hop, form: Matcher) -> bool:
    return hop.reply_shows(to_anyone(form), only=True, where_due=True).outcome is Outcome.BROKEN


@pytest.mark.parametrize("bundle", RECORDED)
def test_no_answer_is_drawn_otherwise_than_claims_judge_it(bundle: str) -> None:
    """At points where one form is due. Where full-sized packets vanish, a claim on the form can't tell."""
    intent, found = traced(bundle)
    for lab, request in found:
        ledger = Ledger.of(request, intent)
        wrong = {row.point for row in answer_rows(ledger) if row.differs}
        if (bundle, request.path) == ("pmtu-black-hole", "/large"):
            assert wrong == {"source-veth"}
            continue
        for hop in ledger.hops if lab != "nodeport" else (ledger.hops[0], *ledger.hops[2:]):
            try:
                (form,) = expected_answer(hop)
            except NotObserved:
                assert hop.point.id not in wrong
                continue
            assert broken(hop, form) == (hop.point.id in wrong), hop.where


def test_the_answer_of_a_healthy_run_at_every_point() -> None:
    for name, drawing in by_name("healthy").items():
        way = ["target-veth", "target-uplink", "source-uplink", "source-veth"]
        if name == "hostname@nodeport":
            way = ["target-veth", "target-uplink", "entry-uplink", "entry-uplink", "client-uplink"]
        assert [reply.point for reply in drawing.replies] == way
        assert all(reply.number and not reply.note and not reply.expected for reply in drawing.replies)
        there, back = drawing.sightings[0].inner, drawing.replies[-1].inner
        assert back.split(" -> ") == there.split(" -> ")[::-1]
    source = drawn_reply("healthy", "hostname@clusterip", "source-veth")
    assert source.changes[1].startswith("un-DNAT 20.111.156.72:8080 -> 10.107.94.97:8080")


def drawn_reply(bundle: str, name: str, point: str) -> Sighting:
    return next(reply for reply in by_name(bundle)[name].replies if reply.point == point)


def test_an_answer_gone_wrong_says_how() -> None:
    direct = drawn_reply("direct-reply", "hostname@pod-network", "target-uplink")
    assert (direct.outer, direct.inner[:18]) == ("", "20.111.156.72:8080")
    assert direct.expected.startswith(
        "IPIP 192.168.219.22 -> 192.168.219.23 around TCP 20.111.156.72:8080 -> "
    )
    hole = drawn_reply("pmtu-black-hole", "large@pod-network", "source-veth")
    assert hole.note.endswith("the payload was seen on k8s-node2 eth1 and lost before this point")
    dropped = drawn_reply("reply-dropped", "hostname@clusterip", "source-veth")
    assert dropped.number is None
    assert dropped.note.endswith("it was seen on k8s-node2 eth1 and lost before this point")
    untranslated = drawn_reply("not-translated-back", "hostname@clusterip", "source-veth")
    assert untranslated.expected.startswith("plain TCP 10.107.94.97:8080 -> ")
    # pod-dest never got the request: an answer was due nowhere.
    assert by_name("dnat-missing")["hostname@clusterip"].replies == ()


@pytest.mark.parametrize("bundle", BLIND)
def test_what_was_not_seen_is_drawn_with_its_reason(bundle: str) -> None:
    from_pod, from_node, listings, words = BLIND[bundle]
    for drawing in drawings(bundle):
        unread = {told.point: told for told in drawing.captures if told.problem}
        assert tuple(unread) == (from_pod if drawing.client_is_pod else from_node)
        assert all(words in told.problem for told in unread.values())
        unseen = [row for row in drawing.sightings if row.note.startswith("not observed: ")]
        assert [row.point for row in unseen] == list(unread)
        if drawing.lab == "clusterip":
            silent = [one for one in drawing.listings if one.problem]
            assert [one.title.split()[0] for one in silent] == list(listings)
            assert all(words in one.problem and not one.lines for one in silent)


def test_a_healthy_run() -> None:
    drawn = by_name("healthy")
    assert list(drawn) == [
        "hostname@pod-network",
        "large@pod-network",
        "hostname@clusterip",
        "hostname@nodeport",
    ]
    for drawing in drawn.values():
        assert (drawing.answered, drawing.tunnel) == (True, "ipip")
        assert (drawing.target, drawing.target_node, drawing.entry_node) == (
            "pod-dest",
            "k8s-node1",
            "k8s-node2",
        )
        assert not any(told.problem for told in drawing.captures)
        assert not any(told.problem for told in drawing.listings)
        assert all(told.dropped == 0 and told.packets for told in drawing.captures)
        assert {(told.node, told.interface) for told in drawing.captures} >= {("k8s-node1", "eth1")}
    assert drawn["large@pod-network"].answer == "200, 131072 bytes"
    pod, service, port = (drawn[f"hostname@{lab}"] for lab in ("pod-network", "clusterip", "nodeport"))
    assert (pod.client, pod.client_is_pod, pod.client_node) == ("pod-src", True, "k8s-node2")
    assert (port.client, port.client_is_pod, port.client_node) == ("k8s-master", False, "k8s-master")
    assert (pod.asked, pod.service) == ("20.111.156.72:8080", "")
    assert (service.asked, service.service) == ("10.107.94.97:8080", "svc-clusterip")
    assert (port.asked, port.service) == ("192.168.219.23:31080", "k8s-node2:31080")


def test_the_rules_are_walked_from_where_the_request_comes_in() -> None:
    drawn = by_name("healthy")
    assert [one.title for one in drawn["hostname@pod-network"].listings] == ["conntrack of k8s-node2"]
    walked = listing(drawn["hostname@clusterip"], "rules of k8s-node2")
    assert walked.command == "iptables-legacy-save  (on k8s-node2)"
    chains = [line.rpartition(" ")[2] for line in walked.lines[:-2]]
    assert (chains[0], chains[1][:9], chains[2][:9]) == ("KUBE-SERVICES", "KUBE-SVC-", "KUBE-SEP-")
    assert walked.lines[-1] == "-> DNAT 20.111.156.72:8080 with probability 1"
    walked = listing(drawn["hostname@nodeport"], "rules of k8s-node2")
    assert any("-j KUBE-NODEPORTS" in line for line in walked.lines)
    assert walked.lines[-1] == "-> DNAT 20.111.156.72:8080 with probability 1"
    # No lab reads them for a request straight to a pod; where they were read all the same, they are shown.
    asked = replace(scenes.pod_request(), entry=scenes.clusterip().request.entry)
    walked = listing(drawing_of("mine", asked, Intent(), bundle=False), "rules")
    assert (walked.problem, walked.lines[-1]) == ("", "-> policy ACCEPT")
    # Rules without an end in DNAT are no problem of the reading.
    walked = listing(by_name("dnat-missing")["hostname@clusterip"], "rules")
    assert (walked.lines[-1], walked.problem) == ("-> policy ACCEPT", "")


def entries(drawing: Drawing) -> tuple[Connection, ...]:
    lines = listing(drawing, "conntrack").lines
    return parse_conntrack("".join(line.replace("tcp ", "tcp      6 119 ", 1) + "\n" for line in lines))


def test_the_conntrack_entry_is_this_request_s() -> None:
    intent, found = traced("healthy")
    for lab, request in found:
        drawing = drawing_of(lab, request, intent, bundle=False)
        (entry,) = entries(drawing)
        assert entry in request.connections.get()
        sent = entry.original
        assert drawing.sightings[0].inner == f"{sent.src}:{sent.sport} -> {sent.dst}:{sent.dport}"
    small, large = (entries(drawing) for drawing in drawings("healthy")[:2])
    assert small != large  # both stand in the one listing
    (unanswered,) = entries(by_name("dnat-missing")["hostname@clusterip"])
    assert (unanswered.state, list(unanswered.flags)) == ("SYN_SENT", ["UNREPLIED"])
    (line,) = listing(by_name("dnat-missing")["hostname@clusterip"], "conntrack").lines
    assert line.count("[UNREPLIED]") == 1


def test_a_listing_without_this_request_says_so() -> None:
    request = scenes.clusterip().request
    stranger = scenes.listed(
        scenes.tracked((scenes.SRC_IP, 1, scenes.VIP, 8080), (scenes.DEST_IP, 8080, scenes.SRC_IP, 1))
    )
    drawing = drawing_of("clusterip", replace(request, connections=stranger), Intent(), bundle=False)
    told = listing(drawing, "conntrack of k8s-node2")
    assert (told.lines, told.problem) == (
        (),
        "conntrack lists connections to 10.107.94.97:8080, but not this request's: flushed or never made",
    )
    assert not listing(drawing_of("clusterip", request, Intent(), bundle=False), "conntrack").problem


def test_captures_are_named_where_they_are_kept() -> None:
    kept, gone = drawings("healthy"), drawings("healthy", kept=False)
    assert [told.pcap for told in kept[2].captures] == [f"clusterip-request-{point}.pcap" for point in POD]
    assert {told.pcap for drawing in gone for told in drawing.captures} == {""}
    assert kept[2].captures[0].command.startswith("tcpdump -i cali")


def test_a_capture_is_counted_as_wireshark_does() -> None:
    request = scenes.pod_request()
    point = request.points[0]
    run = point.run.get()
    with_arp = replace(run, capture=replace(run.capture, not_ip=3))
    for reading, packets in (
        (replace(point.run, value=with_arp), len(run.capture.packets) + 3),
        (replace(point.run, value=run, failure="cut"), None),  # a failure wins
    ):
        changed = replace(request, points=(replace(point, run=reading), *request.points[1:]))
        told = drawing_of("pod-network", changed, Intent(), bundle=False).captures[0]
        assert (told.packets, told.problem) == (packets, reading.failure)


@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_the_expectation_is_the_claims_own(policy: str) -> None:
    """externalTrafficPolicy Local, and no endpoint on node2: what goes on from there is wrong."""
    lab = scenes.nodeport()
    service = scenes.service("svc-nodeport", "NodePort", external_traffic_policy=policy)
    lab = replace(lab, service=replace(lab.service, value=service))
    drawing = drawing_of("nodeport", lab.request, Intent(), bundle=False, client_kept=policy == "Local")
    wrong = [(row.point, bool(row.outer)) for row in drawing.sightings if row.first_difference]
    assert wrong == ([("entry-uplink", True)] if policy == "Local" else [])
    held = nodeport.dnat_and_forward(lab, Intent()).held
    assert held is not bool(wrong)


ANSWERS: list[tuple[Reading[Exchange], bool, str]] = [
    (scenes.ok(Exchange("http://x/", 200, b"y", 1)), True, "200, 1 byte"),
    (scenes.ok(Exchange("http://x/", 503, b"no endpoints", 12)), False, "503, 12 bytes"),
    (
        scenes.ok(Exchange("http://x/", 200, b"half", 4, error="timed out after 2000 ms")),
        False,
        "200, 4 bytes: timed out after 2000 ms",
    ),
    (scenes.ok(Exchange("http://x/", 0, error="Connection refused")), False, "Connection refused"),
    (Reading("k8s-node2", "curl", failure="curl is not installed"), False, "curl is not installed"),
    (Reading("k8s-node2", "curl"), False, "the probe brought back nothing"),
]


@pytest.mark.parametrize(("answer", "answered", "words"), ANSWERS)
def test_the_answer_in_words(answer: Reading[Exchange], answered: bool, words: str) -> None:
    drawing = drawing_of("pod-network", scenes.pod_request(answer=answer), Intent(), bundle=False)
    assert (drawing.answered, drawing.answer) == (answered, words)


def test_a_service_asked_by_its_address_alone() -> None:
    """As the trace fixture asks it."""
    request = replace(scenes.clusterip().request, name="pod-src -> 10.107.94.97:8080/hostname")
    assert drawing_of("mine", request, Intent(), bundle=False).service == "10.107.94.97"
    assert drawing_of("mine", replace(request, name="mine"), Intent(), bundle=False).service == "10.107.94.97"
    large = replace(scenes.clusterip().request, upload=True)
    large = replace(large, name=f"{large.name} with a large body")
    assert drawing_of("mine", large, Intent(), bundle=False).service == "svc-clusterip"


def blind_twins() -> Iterator[tuple[str, TracedRequest]]:
    failed: Any = scenes.failed()
    for lab in (scenes.pod_network(), scenes.clusterip(), scenes.nodeport()):
        request = lab.request
        name = type(lab).__name__
        yield f"{name} without points", replace(request, points=())
        entry = replace(
            request.entry, interfaces=failed, uplink=failed, rules=failed, routes=failed, object=failed
        )
        points = tuple(replace(point, node=entry, interface="", run=failed) for point in request.points)
        yield f"{name} blind", replace(request, entry=entry, points=points, connections=failed, answer=failed)
        pod = replace(request.target.pod, ips=(ip_address("fd00::1"),))
        yield f"{name} other family", replace(request, target=replace(request.target, pod=pod))


@pytest.mark.parametrize("request_", [pytest.param(twin, id=name) for name, twin in blind_twins()])
@pytest.mark.parametrize("encapsulation", ["ipip-always", "ipip-cross-subnet", "none"])
@pytest.mark.parametrize("mode", ["iptables", "nftables", "ipvs"])
def test_nothing_that_is_missing_raises(request_: TracedRequest, encapsulation: str, mode: str) -> None:
    drawing = drawing_of("x", request_, Intent(encapsulation=encapsulation, proxy_mode=mode), bundle=True)
    assert drawing.listings
    told = (*drawing.sightings, *drawing.replies)
    assert not [row for row in told if row.first_difference and row.number is None]


def test_the_tunnel_that_is_meant() -> None:
    request = scenes.pod_request()
    for encapsulation, tunnel in (("ipip-always", "ipip"), ("vxlan-always", "vxlan"), ("none", "")):
        assert drawing_of("x", request, Intent(encapsulation=encapsulation), bundle=False).tunnel == tunnel
    assert drawing_of("x", request, Intent(encapsulation="ipip-cross-subnet"), bundle=False).tunnel == ""
    local = replace(request, entry=request.target.node)
    assert drawing_of("x", local, Intent(), bundle=False).tunnel == ""


words = st.text(max_size=12)
sightings = st.builds(
    Sighting,
    time=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    changes=st.lists(words, max_size=3).map(tuple),
)
drawn = st.builds(
    Drawing,
    sightings=st.lists(sightings, max_size=3).map(tuple),
    captures=st.lists(st.builds(CaptureTold), max_size=2).map(tuple),
    listings=st.lists(st.builds(Listing, lines=st.lists(words).map(tuple)), max_size=2).map(tuple),
    replies=st.lists(sightings, max_size=3).map(tuple),
)


@given(drawn)
def test_a_drawing_survives_the_way_through_json(drawing: Drawing) -> None:
    assert Drawing.of_plain(json.loads(json.dumps(drawing.plain()))) == drawing
    assert Drawing.of_plain(drawing.plain()) == drawing
