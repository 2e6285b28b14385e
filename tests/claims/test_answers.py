"""The answer's way back: as the intent wants it, gone wrong at one point, half seen, and not due at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_interface
from typing import Any

import pytest

from pytest_k8snet.claims.answers import answer_rows, expected_answer
from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.rows import LedgerRow
from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.netfilter import RuleSet
from pytest_k8snet.evidence.observations import TracedRequest
from pytest_k8snet.evidence.packets import Packet, Tunnel
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent
from tests.claims import modes, scenes
from tests.claims.scenes import (
    ARRIVAL,
    DEST_IP,
    MASTER,
    NODE1,
    NODE2,
    NOISE,
    ONWARD,
    OPENING,
    PORT,
    SRC_IP,
    TUNL,
    VIP,
    Leg,
    conversation,
    failed,
    ipip_tunnel,
    ok,
    only_syns,
    sent,
    unanswered,
    vxlan_tunnel,
    with_point,
    wrapped,
)

ALWAYS, VXLAN, NONE = Intent(), Intent("vxlan-always"), Intent("none")
VETH = Leg((SRC_IP, 35096), (DEST_IP, PORT), 64, 62)
UPLINK = wrapped(replace(VETH, ttl=63, back_ttl=63))
POD_WAY = ["target-veth", "target-uplink", "source-uplink", "source-veth"]
NODE_WAY = ["target-veth", "target-uplink", "entry-uplink", "entry-uplink", "client-uplink"]
TO_POD, TO_NODE = f"{DEST_IP}:{PORT} -> {SRC_IP}", f"{DEST_IP}:{PORT} -> {TUNL['k8s-node2']}:43371"
BY_NODE = f"{NODE2}:31080 -> {MASTER}:43758"
TUNNEL_BACK = f"IPIP {NODE1} -> {NODE2}"
SILENT = ok(unanswered(f"http://{DEST_IP}:8080/hostname"), "curl", "pod-src")
HANDSHAKE = OPENING[:2]


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A tree of evidence with ``change`` made to each of its parts, innermost first."""
    if isinstance(value, RuleSet):
        return value
    if isinstance(value, tuple | frozenset):
        return type(value)(mapped(part, change) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {each.name: mapped(getattr(value, each.name), change) for each in dataclasses.fields(value)}
        return change(replace(value, **parts))
    return change(value)


def as_vxlan(part: Any) -> Any:
    if isinstance(part, Tunnel):
        return vxlan_tunnel(str(part.outer.src), str(part.outer.dst))
    return replace(part, kind="vxlan") if isinstance(part, Interface) and part.kind == "ipip" else part


def as_plain(part: Any) -> Any:
    """Without a tunnel, what node2 masquerades has the address of its uplink."""
    if part == ip_address(TUNL["k8s-node2"]):
        return ip_address(NODE2)
    return replace(part, tunnels=()) if isinstance(part, Packet) else part


def as_ipv6(part: Any) -> Any:
    if isinstance(part, IPv4Interface):
        return ip_interface(f"fd00::{part.ip}/120")
    return ip_address(f"fd00::{part}") if isinstance(part, IPv4Address) else part


def answered_back(request: TracedRequest, intent: Intent = ALWAYS, **more: Any) -> tuple[LedgerRow, ...]:
    return answer_rows(Ledger.of(request, intent, **more))


def forms(rows: Sequence[LedgerRow]) -> list[str]:
    return [f"{row.outer} around {row.inner}" if row.outer else row.inner for row in rows]


def marked(rows: Sequence[LedgerRow]) -> list[str]:
    """Where the first difference is, and where else the answer differs; at most one is the first."""
    first = [row for row in rows if row.first_difference]
    assert first == [row for row in rows if row.differs][:1]
    return [row.point for row in rows if row.differs]


# --- healthy ------------------------------------------------------------------------------------


def test_from_pod_to_pod() -> None:
    rows = answered_back(scenes.pod_request())
    assert [row.point for row in rows] == POD_WAY
    assert forms(rows) == [
        f"{TO_POD}:35096",
        f"{TUNNEL_BACK} around {TO_POD}:35096",
        f"{TUNNEL_BACK} around {TO_POD}:35096",
        f"{TO_POD}:35096",
    ]
    assert [row.changes for row in rows] == [
        ("sent",),
        ("encapsulated", "TTL -1"),
        ("unchanged",),
        ("decapsulated", "TTL -1"),
    ]
    assert [row.number for row in rows] == [5] * 4  # the answer itself, not the handshake's
    assert not any(row.note or row.expected for row in rows)


def test_from_a_service() -> None:
    rows = answered_back(scenes.clusterip().request)
    assert rows[-1].inner == f"{VIP}:{PORT} -> {SRC_IP}:54176"
    assert rows[-1].changes == ("decapsulated", f"un-DNAT {DEST_IP}:{PORT} -> {VIP}:{PORT}", "TTL -1")


def test_through_the_node_that_was_asked() -> None:
    rows = answered_back(scenes.nodeport().request)
    assert [row.point for row in rows] == NODE_WAY
    assert forms(rows)[2:] == [f"{TUNNEL_BACK} around {TO_NODE}", BY_NODE, BY_NODE]
    assert rows[3].changes == (
        "decapsulated",
        f"un-DNAT {DEST_IP}:{PORT} -> {NODE2}:31080",
        f"un-SNAT {TUNL['k8s-node2']}:43371 -> {MASTER}:43758",
        "TTL -2",
    )


SCENES: dict[str, Callable[[], TracedRequest]] = {
    "pod": scenes.pod_request,
    "clusterip": lambda: scenes.clusterip().request,
    "nodeport": lambda: scenes.nodeport().request,
    "clusterip, nftables": lambda: modes.clusterip("nftables").request,
    "nodeport, nftables": lambda: modes.nodeport("nftables").request,
    "clusterip, ipvs": lambda: modes.clusterip("ipvs").request,
    "nodeport, ipvs": lambda: modes.nodeport("ipvs").request,
}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize(
    ("intent", "made", "others"),
    [(ALWAYS, None, NONE), (VXLAN, as_vxlan, NONE), (NONE, as_plain, ALWAYS)],
    ids=["ipip", "vxlan", "none"],
)
def test_a_healthy_answer_differs_nowhere(
    name: str, ipv6: bool, intent: Intent, made: Callable[[Any], Any] | None, others: Intent
) -> None:
    request = SCENES[name]()
    for change in (made, as_ipv6 if ipv6 else None):
        request = mapped(request, change) if change else request
    assert request.client_ip.version == (6 if ipv6 else 4)
    rows = answered_back(request, intent)
    assert [row.point for row in rows] == (NODE_WAY if name.startswith("nodeport") else POD_WAY)
    assert not any(row.note or row.expected for row in rows)
    assert all(row.number == 5 or row.point == "entry-uplink" for row in rows)
    # The twin: the same packets where another envelope is meant.
    assert marked(answered_back(request, others))[:2] == [rows[1].point, rows[2].point]


def test_what_is_expected() -> None:
    def words(request: TracedRequest, point: str) -> list[str]:
        return [str(form) for form in expected_answer(Ledger.of(request, ALWAYS).hop(point))]

    pod, node = scenes.pod_request(), scenes.nodeport().request
    assert words(pod, "source-veth") == words(pod, "target-veth") == [f"plain TCP {TO_POD}:35096"]
    assert words(pod, "target-uplink") == [f"{TUNNEL_BACK} around TCP {TO_POD}:35096"]
    assert words(node, "entry-uplink") == [f"{TUNNEL_BACK} around TCP {TO_NODE}", f"plain TCP {BY_NODE}"]
    # Nobody saw the request where it was translated: its port there is not known, nor which address it had.
    unseen = node
    for point in ("entry-uplink", "target-uplink", "target-veth"):
        unseen = with_point(unseen, point, NOISE)
    assert words(unseen, "target-veth") == [f"plain TCP {DEST_IP}:{PORT} -> {TUNL['k8s-node2']}"]
    blind = replace(node, entry=replace(node.entry, interfaces=failed()))
    with pytest.raises(NotObserved):
        words(blind, "entry-uplink")


def test_the_address_that_was_masqueraded_to_counts_among_several() -> None:
    """For an endpoint on its own node MASQUERADE picks any of the node's addresses: the flow says which."""
    lab = scenes.nodeport()
    goal = replace(lab.request.target, node=lab.request.entry)
    inside = Leg((NODE2, 43371), (DEST_IP, PORT), 63, 64)
    request = replace(
        lab.request,
        target=goal,
        points=(
            lab.request.points[0],
            scenes.point("entry-uplink", goal.node, "eth1", conversation(ARRIVAL)),
            scenes.point("target-veth", goal.node, scenes.DEST_VETH, conversation(inside)),
        ),
    )
    rows = answered_back(request)
    assert [row.point for row in rows] == ["target-veth", "entry-uplink", "client-uplink"]
    assert marked(rows) == []
    (form,) = expected_answer(Ledger.of(request, ALWAYS).hop("target-veth"))
    assert str(form) == f"plain TCP {DEST_IP}:{PORT} -> {NODE2}:43371"


# --- gone wrong ---------------------------------------------------------------------------------


def test_beside_the_tunnel() -> None:
    """As the fault direct-reply: bare between the nodes, in both captures."""
    direct, request = conversation(replace(UPLINK, back_envelope=())), scenes.pod_request()
    for point in ("target-uplink", "source-uplink"):
        request = with_point(request, point, direct)
    rows = answered_back(request)
    assert marked(rows) == ["target-uplink", "source-uplink"]
    assert rows[1].expected == f"{TUNNEL_BACK} around TCP {TO_POD}:35096"


def test_a_part_of_it_beside_the_tunnel() -> None:
    """One form beside the other: the wrong one is marked, the right one is not."""
    mixed = (*conversation(UPLINK), *conversation(replace(UPLINK, back_envelope=())))
    rows = answered_back(with_point(scenes.pod_request(), "target-uplink", mixed))
    assert [(row.point, bool(row.outer), row.differs) for row in rows[:3]] == [
        ("target-veth", False, False),
        ("target-uplink", True, False),
        ("target-uplink", False, True),
    ]


def test_not_translated_back() -> None:
    behind = Leg((SRC_IP, 54176), (VIP, PORT), answer_from=(DEST_IP, PORT))
    rows = answered_back(with_point(scenes.clusterip().request, "source-veth", conversation(behind)))
    assert marked(rows) == ["source-veth"]
    assert rows[-1].expected == f"plain TCP {VIP}:{PORT} -> {SRC_IP}:54176"


def test_translated_in_the_pod() -> None:
    """The host interface shows the request translated already, and the answer not yet translated back."""
    inside = conversation(Leg((SRC_IP, 54176), (DEST_IP, PORT)))
    rows = answered_back(with_point(scenes.clusterip().request, "source-veth", inside))
    assert (marked(rows), rows[-1].expected) == (["source-veth"], f"plain TCP {VIP}:{PORT} -> {SRC_IP}:54176")


def back_to(packets: Sequence[Packet], src: str, port: int) -> tuple[Packet, ...]:
    """Bare packets from ``src`` go to node2's tunnel address instead: masquerading was not undone."""
    return tuple(
        replace(
            packet,
            ip=replace(packet.ip, dst=ip_address(TUNL["k8s-node2"])),
            tcp=packet.tcp and replace(packet.tcp, dport=port),
        )
        if packet.bare and packet.ip.src == ip_address(src)
        else packet
        for packet in packets
    )


def test_masquerading_that_is_not_undone() -> None:
    entry = back_to(conversation(ARRIVAL, ONWARD), NODE2, 43371)
    rows = answered_back(with_point(scenes.nodeport().request, "entry-uplink", entry))
    assert marked(rows) == ["entry-uplink"]
    assert rows[3].inner == f"{NODE2}:31080 -> {TUNL['k8s-node2']}:43371"
    # To the pod that asks itself, too: what goes to the node's own address is not for it.
    uplink = conversation(replace(UPLINK, src=(TUNL["k8s-node2"], 35096)))
    request = with_point(scenes.pod_request(), "source-uplink", uplink)
    veth = back_to(conversation(VETH), DEST_IP, 35096)
    rows = answered_back(with_point(request, "source-veth", veth))
    assert marked(rows) == ["source-veth"]


def test_to_whoever_the_request_came_from() -> None:
    """The request was masqueraded on its way: its own fault. The answer goes back as it must."""
    tunnel = TUNL["k8s-node2"]
    request = with_point(
        scenes.pod_request(), "target-veth", conversation(replace(VETH, src=(tunnel, 35096)))
    )
    for point in ("target-uplink", "source-uplink"):
        request = with_point(request, point, conversation(replace(UPLINK, src=(tunnel, 35096))))
    rows = answered_back(request)
    assert marked(rows) == []
    assert rows[-1].changes == ("decapsulated", f"un-SNAT {tunnel}:35096 -> {SRC_IP}:35096", "TTL -1")
    # Also by a point that did not see the request itself.
    both = scenes.packets_at(request, "target-uplink")
    back = tuple(packet for packet in both if packet.ip.src == ip_address(DEST_IP))
    assert marked(answered_back(with_point(request, "target-uplink", back))) == []
    # Where it does go wrong, what is meant is told: the tunnel's own address never was.
    rows = answered_back(
        with_point(
            request,
            "target-uplink",
            conversation(replace(UPLINK, src=(tunnel, 35096), back_envelope=())),
        )
    )
    assert (marked(rows), rows[1].expected) == (
        ["target-uplink"],
        f"{TUNNEL_BACK} around TCP {TO_POD}:35096",
    )


def lost_behind(request: TracedRequest, *points: str) -> TracedRequest:
    """Only the handshake's answer came by these points."""
    for point in points:
        leg = VETH if point.endswith("veth") else UPLINK
        events = (*OPENING, (True, "PA", scenes.get(), 1000))
        request = with_point(request, point, sent((leg,), events, 1000.0))
    return request


def test_payload_that_vanishes() -> None:
    """As the fault pmtu-black-hole: the handshake passes, full-sized packets don't."""
    request = lost_behind(scenes.pod_request(answer=SILENT), "source-veth")
    rows = answered_back(request)
    assert marked(rows) == ["source-veth"]
    assert rows[-1].number == 2
    assert rows[-1].note == (
        "only the handshake's answer: the payload was seen on k8s-node2 eth1 and lost before this point"
    )
    # Where the client was answered all the same, it came another way, as reply_shows judges.
    rows = answered_back(lost_behind(scenes.pod_request(), *reversed(POD_WAY)))
    assert marked(rows) == POD_WAY
    assert "although the client got its answer" in rows[0].note


def test_a_handshake_alone_refutes_nothing() -> None:
    rows = answered_back(lost_behind(scenes.pod_request(answer=SILENT), *POD_WAY))
    assert marked(rows) == []
    assert {row.note for row in rows} == {"only the handshake's answer: no payload came back"}


@pytest.mark.parametrize(("flags", "what"), [("RA", "a refusal (RST)"), ("A", "a segment without payload")])
def test_what_stands_in_for_the_answer_is_named(flags: str, what: str) -> None:
    events = (OPENING[0], (False, flags, b"", 0))
    request = scenes.pod_request(answer=SILENT)
    for point in POD_WAY:
        request = with_point(
            request, point, sent((VETH if point.endswith("veth") else UPLINK,), events, 1000.0)
        )
    assert {row.note for row in answered_back(request)} == {f"only {what}: no payload came back"}


def dropped_at(*points: str) -> TracedRequest:
    """Every point shows the client's SYN, all but ``points`` the answer to it."""
    request = scenes.pod_request(answer=SILENT)
    for point in POD_WAY:
        leg = VETH if point.endswith("veth") else UPLINK
        shown = only_syns(leg) if point in points else sent((leg,), HANDSHAKE, 1000.0)
        request = with_point(request, point, shown)
    return request


def test_an_answer_that_is_lost() -> None:
    rows = answered_back(dropped_at("source-veth"))
    assert marked(rows) == ["source-veth"]
    assert rows[-1].note == (
        "nothing of the answer, it was seen on k8s-node2 eth1 and lost before this point"
    )
    rows = answered_back(dropped_at(*POD_WAY))
    assert marked(rows) == POD_WAY
    assert rows[0].note == "nothing of the answer, although the request reached k8s-node1 calib8c6d5407e3"


def test_lost_inside_the_node_that_was_asked() -> None:
    lab = scenes.nodeport()
    request = replace(lab.request, answer=SILENT)
    half = (*only_syns(ARRIVAL), *sent((ONWARD,), HANDSHAKE, 1001.0))
    request = with_point(request, "client-uplink", only_syns(ARRIVAL))
    request = with_point(request, "entry-uplink", half)
    request = with_point(request, "target-uplink", sent((ONWARD,), HANDSHAKE, 90.0))
    veth = replace(ONWARD, envelope=(), back_envelope=())
    request = with_point(request, "target-veth", sent((veth,), HANDSHAKE, 90.0))
    rows = answered_back(request)
    assert [(row.point, row.number is None) for row in rows] == [
        *((point, False) for point in NODE_WAY[:3]),
        ("entry-uplink", True),
        ("client-uplink", True),
    ]
    assert marked(rows) == ["entry-uplink", "client-uplink"]
    assert (rows[3].note, rows[3].expected) == ("not seen here", f"plain TCP {BY_NODE}")
    # It came to the node and did not leave it: that needs no word of the target's node.
    for point in ("target-uplink", "target-veth"):
        request = with_point(request, point, run=failed())
    assert marked(answered_back(request)) == ["entry-uplink", "client-uplink"]


def test_payload_that_is_lost_inside_the_node_that_was_asked() -> None:
    request = replace(scenes.nodeport().request, answer=SILENT)
    events = (*OPENING, (True, "PA", scenes.get(), 1000))
    rest = sent((ONWARD,), ((False, "PA", scenes.ANSWER, 5000),), 1001.0)
    request = with_point(request, "entry-uplink", (*sent((ARRIVAL, ONWARD), events, 1000.0), *rest))
    request = with_point(request, "client-uplink", sent((ARRIVAL,), events, 500.0))
    rows = answered_back(request)
    assert marked(rows) == ["entry-uplink", "client-uplink"]
    assert rows[3].note == "only the handshake's answer in this form"
    assert rows[3].inner == BY_NODE


def test_another_answers() -> None:
    """The client was answered, pod-dest was never asked: something on the entry node answers on the port."""
    request = scenes.nodeport().request
    for point in ("target-veth", "target-uplink"):
        request = with_point(request, point, NOISE)
    rows = answered_back(with_point(request, "entry-uplink", conversation(ARRIVAL)))
    assert marked(rows) == NODE_WAY[:3]
    assert rows[0].note == (
        "nothing of the answer, although the client got one: another answered, or it took another way"
    )
    assert [(row.note, row.inner) for row in rows[2:]] == [
        ("not seen here", ""),
        ("", BY_NODE),
        ("", BY_NODE),
    ]


# --- not due, not seen --------------------------------------------------------------------------


def test_no_answer_is_due_where_the_request_never_arrived() -> None:
    request = scenes.pod_request(answer=SILENT)
    request = with_point(request, "source-veth", only_syns(VETH))
    for point in POD_WAY[:-1]:
        request = with_point(request, point, NOISE)
    assert answered_back(request) == ()
    assert answered_back(replace(request, points=())) == ()
    # Somebody did answer: that is shown, and marks nothing at the points that it never came by.
    request = with_point(request, "source-veth", sent((VETH,), HANDSHAKE, 1000.0))
    rows = answered_back(request)
    assert marked(rows) == []
    assert [row.number for row in rows] == [None, None, None, 2]
    assert rows[0].note == "nothing of the answer, none was due: the request never reached the target"


def test_a_missing_answer_tells_nothing_where_the_target_was_not_captured() -> None:
    blind = with_point(dropped_at(*POD_WAY), "target-veth", run=failed())
    rows = answered_back(blind)
    assert marked(rows) == []
    assert rows[0].note == f"not observed: {scenes.FAILED}"
    assert rows[1].note.startswith("nothing of the answer, whether the request reached the target is unknown")
    # But an answer that passed one point and not the next was lost between them.
    rows = answered_back(with_point(dropped_at("source-veth"), "target-veth", run=failed()))
    assert marked(rows) == ["source-veth"]


@pytest.mark.parametrize("point", POD_WAY)
def test_a_blind_point_says_so_and_marks_nothing(point: str) -> None:
    for dropped in (
        with_point(scenes.pod_request(), point, run=failed()),
        with_point(scenes.pod_request(), point, dropped=3),
        with_point(scenes.pod_request(), point, dropped=None),
    ):
        rows = answered_back(dropped)
        assert marked(rows) == []
        assert [row.point for row in rows if row.note.startswith("not observed: ")] == [point]
        assert [row.point for row in rows if row.number is None] == [point]


def test_an_empty_capture_proves_nothing() -> None:
    """The request was seen nowhere: whether a capture that holds no frame could see anything is unknown."""
    request = scenes.pod_request()
    for point in POD_WAY:
        request = with_point(request, point, ())
    rows = answered_back(request)
    assert marked(rows) == []
    assert {row.note for row in rows} == {
        "nothing of the answer, nor of the request, and nothing proves that this capture could have seen it"
    }


def test_nothing_is_marked_where_the_expectation_can_not_be_told() -> None:
    request = scenes.nodeport().request
    blind = replace(request.entry, uplink=failed(), interfaces=failed())
    points = tuple(
        replace(point, node=blind) if point.node.name == blind.name else point for point in request.points
    )
    rows = answered_back(replace(request, entry=blind, points=points))
    assert [row.point for row in rows] == NODE_WAY
    assert marked(rows) == []
    missing = with_point(replace(request, entry=blind, points=points), "target-veth", NOISE)
    assert marked(answered_back(missing)) == []


def test_an_endpoint_that_the_entry_node_may_not_ask() -> None:
    """externalTrafficPolicy Local without an endpoint on the entry node: no answer is right."""
    request = scenes.nodeport().request
    rows = answered_back(request, client_kept=True)
    assert marked(rows) == NODE_WAY
    assert {row.expected for row in rows} == {"no answer"}
    silent = replace(request, answer=SILENT)
    for point in NODE_WAY[:3]:
        silent = with_point(silent, point, NOISE)
    silent = with_point(silent, "entry-uplink", only_syns(ARRIVAL))
    silent = with_point(silent, "client-uplink", only_syns(ARRIVAL))
    assert answered_back(silent, client_kept=True) == ()
    assert answered_back(with_point(silent, "target-veth", run=failed()), client_kept=True) == ()
    refused = sent((ARRIVAL,), (OPENING[0], (False, "RA", b"", 0)), 500.0)
    rows = answered_back(with_point(silent, "client-uplink", refused), client_kept=True)
    assert [(row.point, row.note, row.expected) for row in rows] == [
        ("client-uplink", "only a refusal (RST): no payload came back", "")
    ]


# --- beside the claims --------------------------------------------------------------------------


def twins() -> dict[str, TracedRequest]:
    pod = scenes.pod_request()
    stray = replace(UPLINK, back_envelope=(ipip_tunnel(NODE1, MASTER),))
    return {
        "healthy": pod,
        "direct": with_point(pod, "target-uplink", conversation(replace(UPLINK, back_envelope=()))),
        "elsewhere": with_point(pod, "source-uplink", conversation(stray)),
        "gone": with_point(pod, "source-uplink", conversation(UPLINK)[::2]),
        "vanished": with_point(pod, "source-uplink", NOISE),
        "empty": with_point(pod, "source-uplink", ()),
        "lost": dropped_at("source-uplink", "source-veth"),
        "silent": dropped_at(*POD_WAY),
        "handshake": lost_behind(pod, "target-uplink"),
        "blind": with_point(dropped_at(*POD_WAY), "target-veth", run=failed()),
    }


@pytest.mark.parametrize("name", twins())
def test_it_agrees_with_what_claims_judge(name: str) -> None:
    """A point is marked exactly where a claim on the answer's form there is broken."""
    ledger = Ledger.of(twins()[name], ALWAYS)
    wrong = marked(answer_rows(ledger))
    for hop in ledger.hops:
        (form,) = expected_answer(hop)
        judged = hop.reply_shows(form, only=True, where_due=True)
        assert (judged.outcome is Outcome.BROKEN) == (hop.point.id in wrong), (hop.where, judged.seen)
