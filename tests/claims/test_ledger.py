from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.matchers import anywhere, ipip, tcp
from pytest_k8snet.claims.rows import LedgerRow
from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.evidence.observations import TracedRequest
from pytest_k8snet.evidence.packets import Packet
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent
from tests.claims import scenes
from tests.claims.judge import assert_broken, assert_held, assert_inconclusive
from tests.claims.scenes import (
    DEST_IP,
    DEST_VETH,
    MASTER,
    NODE1,
    NODE2,
    NOISE,
    SRC_IP,
    Leg,
    conversation,
    get,
    ipip_tunnel,
    only_syns,
    packets_at,
    pod_request,
    segment,
    with_point,
    wrapped,
)

TO_POD = tcp(dst=(DEST_IP, 8080))
IN_TUNNEL = ipip(NODE2, NODE1) / TO_POD
VETH = Leg((SRC_IP, 35096), (DEST_IP, 8080))
UPLINK = wrapped(replace(VETH, ttl=63, back_ttl=63))


def ledger(request: TracedRequest, intent: Intent | None = None) -> Ledger:
    return Ledger.of(request, intent or Intent())


def silent(request: TracedRequest) -> TracedRequest:
    return replace(request, answer=scenes.ok(scenes.unanswered("http://x/")))


def emptied(request: TracedRequest, *ids: str) -> TracedRequest:
    for each in ids or tuple(point.id for point in request.points):
        request = with_point(request, each, ())
    return request


class TestHop:
    def test_the_request_is_found_by_its_token(self) -> None:
        hop = ledger(pod_request()).hop("source-uplink")
        assert hop.packet.tcp is not None
        assert hop.packet.tcp.payload == get()
        assert len(hop.sightings) == 1
        assert len(hop.flow) == 7
        assert len(hop.replies) == 3

    def test_the_first_of_retransmissions_counts(self) -> None:
        packets = packets_at(pod_request(), "source-veth")
        again = replace(packets[3], number=99, time=2000.0)
        hop = ledger(with_point(pod_request(), "source-veth", (*packets, again))).hop("source-veth")
        assert [packet.number for packet in hop.sightings] == [4]

    def test_both_forms_on_one_uplink_are_sightings_in_order(self) -> None:
        hop = ledger(scenes.nodeport().request).hop("entry-uplink")
        assert [bool(packet.tunnels) for packet in hop.sightings] == [False, True]

    def test_an_echoed_token_is_an_answer(self) -> None:
        packets = packets_at(pod_request(), "source-veth")
        assert packets[4].tcp is not None
        echo = replace(packets[4], tcp=replace(packets[4].tcp, payload=b"HTTP/1.1 200 OK\r\n\r\n" + get()))
        hop = ledger(with_point(pod_request(), "source-veth", (*packets[:4], echo))).hop("source-veth")
        assert [packet.number for packet in hop.sightings] == [4]

    def test_super_frames_are_found_too(self) -> None:
        packets = packets_at(pod_request(), "source-veth")
        assert packets[3].tcp is not None
        merged = replace(packets[3], tcp=replace(packets[3].tcp, payload=get() + b"x" * 60_000))
        hop = ledger(with_point(pod_request(), "source-veth", (merged,))).hop("source-veth")
        assert_held(hop.shows(tcp(payload=b"GET /hostname")))

    def test_a_point_that_was_not_captured(self) -> None:
        with pytest.raises(NotObserved, match="not captured at its entry-uplink"):
            ledger(pod_request()).hop("entry-uplink")

    def test_nothing_seen_raises_when_read(self) -> None:
        hop = ledger(with_point(pod_request(), "target-veth", NOISE)).hop("target-veth")
        with pytest.raises(NotObserved, match="nothing of the request was seen here; 1 packet captured"):
            _ = hop.packet


class TestShows:
    def test_the_expected_form(self) -> None:
        verdict = ledger(pod_request()).hop("source-uplink").shows(IN_TUNNEL)
        assert_held(verdict)
        assert "source-uplink" in verdict.details

    def test_another_form(self) -> None:
        request = with_point(pod_request(), "source-uplink", conversation(replace(VETH, ttl=63)))
        verdict = ledger(request).hop("source-uplink").shows(IN_TUNNEL)
        assert_broken(verdict, "bare, without encapsulation", SRC_IP)
        assert verdict.where == "k8s-node2 eth1"
        assert "tcpdump -nn -U -i eth1" in verdict.command
        assert "<-- first hop that differs" in verdict.details

    def test_a_failed_capture(self) -> None:
        request = with_point(pod_request(), "source-uplink", run=scenes.failed("tcpdump"))
        hop = ledger(request).hop("source-uplink")
        for verdict in (
            hop.shows(IN_TUNNEL),
            hop.never_shows(TO_POD, control=IN_TUNNEL),
            hop.reply_shows(IN_TUNNEL),
        ):
            assert_inconclusive(verdict, "command not found")

    @pytest.mark.parametrize(
        ("dropped", "cause"), [(None, "no counter of dropped"), (3, "dropped 3 packets")]
    )
    def test_an_incomplete_capture(self, dropped: int | None, cause: str) -> None:
        request = with_point(pod_request(), "source-uplink", dropped=dropped)
        assert_inconclusive(ledger(request).hop("source-uplink").shows(IN_TUNNEL), cause)

    def test_a_capture_that_failed_without_advice_gets_some(self) -> None:
        bare = replace(scenes.failed("tcpdump"), advice="")
        assert_inconclusive(
            ledger(with_point(pod_request(), "source-uplink", run=bare)).hop("source-uplink").shows(TO_POD)
        )


class TestAbsence:
    """The rule at the top of the ledger module."""

    def test_another_way_was_taken(self) -> None:
        request = with_point(pod_request(), "source-uplink", NOISE)
        verdict = ledger(request).hop("source-uplink").shows(IN_TUNNEL)
        assert_broken(verdict, "it took another way", "k8s-node1 eth1", "the client got its answer", MASTER)

    def test_an_answer_and_another_sighting_prove_it_for_an_empty_capture_too(self) -> None:
        verdict = ledger(emptied(pod_request(), "source-uplink")).hop("source-uplink").shows(IN_TUNNEL)
        assert_broken(verdict, "the capture holds no IP packet", "it took another way")

    def test_lost_before_this_point(self) -> None:
        request = with_point(silent(pod_request()), "target-veth", NOISE)
        verdict = ledger(request).hop("target-veth").shows(TO_POD)
        assert_broken(verdict, "lost before this point", "it was seen on k8s-node2 calia5814ebbae9")

    def test_an_empty_capture_without_control_can_not_tell(self) -> None:
        request = emptied(silent(pod_request()), "target-veth")
        assert_inconclusive(ledger(request).hop("target-veth").shows(TO_POD), "no answer came")

    def test_arp_is_a_control(self) -> None:
        request = with_point(silent(pod_request()), "target-veth", (), not_ip=2)
        assert_broken(ledger(request).hop("target-veth").shows(TO_POD), "lost before this point")

    def test_no_request_at_all(self) -> None:
        request = silent(pod_request())
        for point in request.points:
            request = with_point(request, point.id, NOISE)
        assert_inconclusive(ledger(request).hop("source-veth").shows(TO_POD), "nothing of the request")

    def test_answered_but_no_capture_saw_anything(self) -> None:
        assert_inconclusive(ledger(emptied(pod_request())).hop("source-veth").shows(TO_POD))

    def test_many_other_packets_are_cut_short(self) -> None:
        noise = tuple(segment(n, (MASTER, n), (NODE2, 22)) for n in range(1, 9))
        request = with_point(pod_request(), "source-uplink", noise)
        verdict = ledger(request).hop("source-uplink").shows(IN_TUNNEL)
        assert_broken(verdict, "8 packets captured:", ", ...")


class TestNeverShows:
    def test_an_absence_beside_its_control(self) -> None:
        hop = ledger(pod_request()).hop("source-uplink")
        assert_held(hop.never_shows(TO_POD, control=IN_TUNNEL))
        assert_held(hop.never_shows(TO_POD, control=hop.packet))

    def test_the_forbidden_form(self) -> None:
        packets = (*packets_at(pod_request(), "source-uplink"), replace(conversation(VETH)[3], number=8))
        hop = ledger(with_point(pod_request(), "source-uplink", packets)).hop("source-uplink")
        assert_broken(hop.never_shows(TO_POD, control=IN_TUNNEL), "1 such packet", "packet 8")

    def test_without_control(self) -> None:
        hop = ledger(with_point(pod_request(), "source-uplink", NOISE)).hop("source-uplink")
        assert_inconclusive(hop.never_shows(TO_POD, control=IN_TUNNEL), "control (IPIP")
        stranger = segment(1, (MASTER, 1), (NODE1, 2))
        assert_inconclusive(hop.never_shows(TO_POD, control=stranger), f"control (TCP {MASTER}:1")

    def test_other_flows_do_not_count(self) -> None:
        other = segment(8, (MASTER, 50000), (DEST_IP, 8080))
        packets = (*packets_at(pod_request(), "source-uplink"), other, scenes_ping())
        hop = ledger(with_point(pod_request(), "source-uplink", packets)).hop("source-uplink")
        assert_held(hop.never_shows(TO_POD, control=IN_TUNNEL))


def scenes_ping() -> Packet:
    return replace(segment(9, (SRC_IP, 1), (DEST_IP, 1)), tcp=None, icmp=(8, 0))


class TestReplies:
    BACK = ipip(NODE1, NODE2) / tcp(src=(DEST_IP, 8080))

    def test_the_answer_in_the_expected_form(self) -> None:
        assert_held(ledger(pod_request()).hop("source-uplink").reply_shows(self.BACK, only=True))

    def test_the_answer_in_another_form(self) -> None:
        bypass = replace(UPLINK, back_envelope=())
        request = with_point(pod_request(), "source-uplink", conversation(bypass))
        verdict = ledger(request).hop("source-uplink").reply_shows(self.BACK)
        assert_broken(verdict, "bare, without encapsulation")

    def test_only_means_only(self) -> None:
        packets = packets_at(pod_request(), "source-uplink")
        stray = replace(packets[4], number=8, tunnels=())
        hop = ledger(with_point(pod_request(), "source-uplink", (*packets, stray))).hop("source-uplink")
        assert_held(hop.reply_shows(self.BACK))
        assert_broken(hop.reply_shows(self.BACK, only=True), "packet 8")

    def test_an_answer_from_a_stranger(self) -> None:
        stranger = replace(VETH, answer_from=("20.111.156.99", 8080))
        request = with_point(pod_request(), "source-veth", conversation(stranger))
        verdict = ledger(request).hop("source-veth").reply_shows(tcp(src=(DEST_IP, 8080)))
        assert_broken(verdict, "source 20.111.156.99 instead of")

    def test_no_answer_although_the_client_got_one(self) -> None:
        packets = tuple(
            p for p in packets_at(pod_request(), "source-uplink") if p.ip.dst == ip_address(DEST_IP)
        )
        hop = ledger(with_point(pod_request(), "source-uplink", packets)).hop("source-uplink")
        assert_broken(hop.reply_shows(self.BACK), "no answer, although the client got one")

    def test_no_answer(self) -> None:
        request = with_point(silent(pod_request()), "source-uplink", conversation(UPLINK)[:4:3])
        assert_broken(ledger(request).hop("source-uplink").reply_shows(self.BACK), "but no answer;")

    def test_no_payload(self) -> None:
        request = with_point(silent(pod_request()), "source-uplink", conversation(UPLINK)[:4])
        verdict = ledger(request).hop("source-uplink").reply_shows(self.BACK)
        assert_inconclusive(verdict, "packet 2", "the handshake's answer has that form, no payload came back")
        packets = conversation(UPLINK)
        acknowledged = with_point(request, "source-uplink", (packets[3], replace(packets[1], number=8)))
        assert_inconclusive(ledger(acknowledged).hop("source-uplink").reply_shows(self.BACK), "packet 8")
        reset = segment(2, (DEST_IP, 8080), (SRC_IP, 35096), "RA", tunnels=(ipip_tunnel(NODE1, NODE2),))
        refused = with_point(request, "source-uplink", (packets[3], reset))
        verdict = ledger(refused).hop("source-uplink").reply_shows(self.BACK)
        assert_inconclusive(verdict, "a segment without payload has that form")

    def test_a_handshake_in_another_form(self) -> None:
        bare = replace(UPLINK, back_envelope=())
        request = with_point(silent(pod_request()), "source-uplink", conversation(bare)[:4])
        verdict = ledger(request).hop("source-uplink").reply_shows(self.BACK)
        assert_broken(verdict, "no payload came back, only packet 2", "bare, without encapsulation")

    def test_only_one_handshake_in_another_form(self) -> None:
        """What is shown is the packet that differs, not the one that does not."""
        packets = conversation(UPLINK)[:4]
        stray = replace(packets[1], number=8, tunnels=())
        request = with_point(silent(pod_request()), "source-uplink", (*packets, stray))
        hop = ledger(request).hop("source-uplink")
        assert_broken(hop.reply_shows(self.BACK, only=True), "only packet 8", "bare, without encapsulation")
        assert_inconclusive(hop.reply_shows(self.BACK), "packet 2")

    def test_the_payload_came_another_way(self) -> None:
        request = with_point(pod_request(), "source-uplink", conversation(UPLINK)[:4])
        verdict = ledger(request).hop("source-uplink").reply_shows(self.BACK)
        assert_broken(verdict, "no payload, although the client got its answer, only packet 2")

    def test_neither_request_nor_answer(self) -> None:
        hop = ledger(with_point(pod_request(), "source-uplink", NOISE)).hop("source-uplink")
        assert_broken(hop.reply_shows(self.BACK), "it took another way")


class TestNeverOpened:
    """A path that is cut: the client's SYNs are all there is."""

    @pytest.fixture
    def cut(self) -> TracedRequest:
        request = silent(pod_request())
        request = with_point(request, "source-veth", only_syns(VETH))
        request = with_point(request, "source-uplink", only_syns(UPLINK))
        request = with_point(request, "target-uplink", NOISE)
        return with_point(request, "target-veth", ())

    def test_the_syn_stands_in(self, cut: TracedRequest) -> None:
        book = ledger(cut)
        assert_held(book.hop("source-veth").shows(TO_POD))
        assert_held(book.hop("source-uplink").shows(IN_TUNNEL))
        assert_broken(book.hop("target-uplink").shows(IN_TUNNEL), "lost before this point")
        assert_inconclusive(book.hop("target-veth").shows(TO_POD))

    def test_a_syn_may_offer_ecn(self, cut: TracedRequest) -> None:
        packets = [replace(p, tcp=replace(p.tcp, flags="SEC")) for p in only_syns(VETH) if p.tcp]
        assert_held(ledger(with_point(cut, "source-veth", tuple(packets))).hop("source-veth").shows(TO_POD))

    def test_the_get_was_never_sent(self, cut: TracedRequest) -> None:
        verdict = ledger(cut).hop("source-veth").shows(tcp(payload=b"GET /hostname"))
        assert_inconclusive(verdict, "only SYNs were sent: the request itself was never on the wire")
        assert "payload without" not in verdict.seen

    def test_a_syn_in_another_form(self, cut: TracedRequest) -> None:
        wanted = tcp(dst=(DEST_IP, 8080), payload=b"GET /hostname")
        verdict = ledger(cut).hop("source-uplink").shows(wanted)
        assert_broken(verdict, "encapsulated (IPIP", "only SYNs were sent")
        assert "payload without" not in verdict.seen

    def test_no_answer(self, cut: TracedRequest) -> None:
        assert_broken(ledger(cut).hop("source-veth").reply_shows(anywhere(tcp())), "but no answer")

    @pytest.mark.parametrize("point", ["source-uplink", "target-uplink"])
    def test_no_answer_was_due(self, cut: TracedRequest, point: str) -> None:
        verdict = ledger(cut).hop(point).reply_shows(anywhere(tcp()), where_due=True)
        assert_inconclusive(verdict, "the request never reached the target: no answer was due")

    def test_whether_an_answer_was_due_is_unknown(self, cut: TracedRequest) -> None:
        blind = with_point(cut, "target-veth", run=scenes.failed("tcpdump"))
        verdict = ledger(blind).hop("source-uplink").reply_shows(anywhere(tcp()), where_due=True)
        assert_inconclusive(verdict, "whether the request reached the target is unknown")

    def test_an_answer_was_due(self, cut: TracedRequest) -> None:
        reached = with_point(cut, "target-veth", only_syns(VETH))
        hop = ledger(reached).hop("source-uplink")
        assert_broken(hop.reply_shows(anywhere(tcp()), where_due=True), "but no answer")

    def test_a_syn_to_elsewhere_is_not_ours(self, cut: TracedRequest) -> None:
        other = only_syns(replace(VETH, dst=(DEST_IP, 9)))
        for point in cut.points:
            cut = with_point(cut, point.id, other)
        assert ledger(cut).opening is None

    def test_an_answered_request_has_no_stand_in(self, cut: TracedRequest) -> None:
        answered = replace(cut, answer=pod_request().answer)
        assert ledger(answered).opening is None
        assert_broken(ledger(answered).hop("target-uplink").shows(IN_TUNNEL))

    def test_the_syn_of_another_request_is_not_ours(self, cut: TracedRequest) -> None:
        """Requests that share one set of captures: the first went through, the second was never seen."""
        shared = replace(silent(pod_request()), token="k8snet-7f3a-large")
        book = ledger(shared)
        assert book.opening is None
        assert not any(hop.sightings for hop in book.hops)


class TestRows:
    def marked(self, book: Ledger) -> LedgerRow:
        (row,) = (row for row in book.rows if row.first_difference)
        return row

    def test_a_healthy_request_has_no_mark(self) -> None:
        for request in (pod_request(), scenes.clusterip().request, scenes.nodeport().request):
            book = ledger(request)
            assert not any(row.differs for row in book.rows)
            assert "<--" not in book.text

    def test_changes_since_the_hop_before(self) -> None:
        changes = {row.point: row.changes for row in ledger(scenes.clusterip().request).rows}
        assert changes["source-veth"] == ("sent",)
        assert changes["source-uplink"] == (
            "encapsulated",
            f"DNAT 10.107.94.97:8080 -> {DEST_IP}:8080",
            "TTL -1",
        )
        assert changes["target-uplink"] == ("unchanged",)
        assert changes["target-veth"] == ("decapsulated", "TTL -1")

    def test_source_nat_is_named(self) -> None:
        rows = ledger(scenes.nodeport().request).rows
        assert "SNAT 192.168.219.21:43758 -> 20.109.131.0:43371" in rows[2].changes

    def test_columns_are_aligned(self) -> None:
        head, *lines = ledger(pod_request()).lines()
        assert len(lines) == 4
        assert {line[head.index("interface") - 2 :][:2] for line in lines} == {"  "}

    def test_the_first_hop_that_differs(self) -> None:
        request = with_point(pod_request(), "source-uplink", conversation(replace(VETH, ttl=63)))
        request = with_point(request, "target-uplink", conversation(replace(VETH, ttl=63)))
        book = ledger(request)
        assert self.marked(book).point == "source-uplink"
        assert f"<-- first hop that differs: expected IPIP {NODE2} -> {NODE1}" in book.text
        assert "<-- differs too" in book.text

    def test_a_hop_that_saw_nothing(self) -> None:
        row = self.marked(ledger(with_point(pod_request(), "target-uplink", NOISE)))
        assert (row.point, row.number) == ("target-uplink", None)
        assert "it took another way" in row.note

    def test_a_form_that_is_missing(self) -> None:
        lab = scenes.nodeport()
        request = with_point(lab.request, "entry-uplink", conversation(scenes.ARRIVAL))
        row = self.marked(ledger(request))
        assert (row.point, row.note) == ("entry-uplink", "not seen here")
        assert "IPIP" in row.expected

    def test_a_frame_that_a_bridge_sent_to_all_is_no_difference(self) -> None:
        request = scenes.nodeport().request
        asked = packets_at(request, "client-uplink")
        meant_for_node1 = packets_at(request, "target-uplink")
        rows = ledger(with_point(request, "client-uplink", (*asked, *meant_for_node1))).rows
        flooded = next(row for row in rows if row.note)
        assert (flooded.point, flooded.note) == ("client-uplink", "flooded: meant for k8s-node2 eth1")
        assert not any(row.differs for row in rows)

    def test_a_bare_copy_beside_the_envelope_is_one(self) -> None:
        bare = conversation(replace(VETH, ttl=63))
        request = pod_request()
        both = (*bare, *packets_at(request, "source-uplink"))
        assert self.marked(ledger(with_point(request, "source-uplink", both))).outer == ""

    def test_an_envelope_where_the_asked_form_is_missing_is_one(self) -> None:
        request = scenes.nodeport().request
        only = with_point(request, "client-uplink", packets_at(request, "target-uplink"))
        assert self.marked(ledger(only)).point == "client-uplink"

    def test_envelopes_that_change_or_nest(self) -> None:
        wrong = wrapped(replace(VETH, ttl=63), there=NODE2, back=MASTER)
        twice = replace(UPLINK, envelope=(ipip_tunnel(NODE2, NODE1),) * 2)
        request = with_point(pod_request(), "target-uplink", conversation(wrong))
        assert "envelope changed" in ledger(request).text
        request = with_point(pod_request(), "target-uplink", conversation(twice))
        assert "encapsulated twice" in ledger(request).text

    def test_what_can_not_be_read_is_no_difference(self) -> None:
        request = with_point(pod_request(), "source-uplink", run=scenes.failed("tcpdump"))
        request = emptied(silent(request), "target-veth")
        rows = {row.point: row for row in ledger(request).rows}
        assert rows["source-uplink"].note == "not observed: exit status 127: command not found"
        assert not any(row.differs for row in rows.values())

    def test_without_uplinks_nothing_can_be_expected(self) -> None:
        node = replace(scenes.node2(), uplink=scenes.failed("ip addr"))
        request = with_point(replace(pod_request(), entry=node), "source-uplink", NOISE)
        row = next(row for row in ledger(request).rows if row.point == "source-uplink")
        assert not row.differs
        assert "it took another way" in row.note

    def test_an_endpoint_on_the_entry_node_needs_no_uplink(self) -> None:
        here = replace(scenes.pod_dest(), node=scenes.node2())
        request = with_point(replace(scenes.nodeport().request, target=here), "target-uplink", ())
        request = with_point(request, "entry-uplink", conversation(scenes.ARRIVAL))
        assert not any(row.differs for row in ledger(request).rows)
        book = ledger(replace(scenes.nodeport().request, target=here))
        assert "expected nothing of this request" in book.text

    def test_a_kept_client_is_dropped_on_a_node_without_endpoint(self) -> None:
        request = with_point(scenes.nodeport().request, "entry-uplink", conversation(scenes.ARRIVAL))
        request = emptied(request, "target-uplink", "target-veth")
        assert not any(row.differs for row in Ledger.of(request, Intent(), client_kept=True).rows)


ADDRESSES = st.sampled_from([SRC_IP, DEST_IP, NODE1, NODE2, MASTER])
PORTS = st.sampled_from([35096, 8080, 22])
PACKETS = st.builds(
    segment,
    st.integers(1, 99),
    st.tuples(ADDRESSES, PORTS),
    st.tuples(ADDRESSES, PORTS),
    st.sampled_from(["S", "SA", "A", "PA", "R"]),
    st.sampled_from([b"", get(), b"HTTP/1.1 200 OK"]),
    ttl=st.integers(1, 255),
    tunnels=st.lists(st.builds(ipip_tunnel, ADDRESSES, ADDRESSES), max_size=2).map(tuple),
) | st.just(scenes_ping())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(PACKETS, max_size=6), min_size=4, max_size=4), st.booleans())
def test_a_ledger_raises_nothing_but_not_observed(captures: list[list[Packet]], answered: bool) -> None:
    request = pod_request() if answered else silent(pod_request())
    for point, packets in zip(request.points, captures, strict=True):
        request = with_point(request, point.id, tuple(packets))
    book = ledger(request)
    assert book.text
    for hop in book.hops:
        assert isinstance(hop.shows(IN_TUNNEL).outcome, Outcome)
        assert isinstance(hop.never_shows(TO_POD, control=IN_TUNNEL).outcome, Outcome)
        assert isinstance(hop.reply_shows(IN_TUNNEL, only=True).outcome, Outcome)
        if hop.shows(IN_TUNNEL).held:
            assert any(IN_TUNNEL.matches(packet) for packet in hop.capture.packets)
    assert sum(row.first_difference for row in book.rows) <= 1
    assert book.hop("target-veth").point.interface == DEST_VETH
