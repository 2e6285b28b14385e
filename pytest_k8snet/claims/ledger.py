"""The hop ledger: one request, lined up over every point where it was captured.

**What belongs to the request.** Each request carries a unique token. At every point the request is
the first packet per form (envelope and inner addresses) that carries the token in its TCP payload;
later packets of the same form are retransmissions. NAT may change addresses and ports between
points, so the flow's tuples are read from those packets, point by point. A path that is cut sends
no token at all, since TCP's handshake never ends: then the client's first SYN stands in, followed
from point to point by its sequence number.

**Not seen: broken or inconclusive?** A point that does not show the request is

* *inconclusive* if its capture failed, printed no drop counter or dropped packets;
* *inconclusive* if nothing shows that a request was sent: no other point saw it and no answer came;
* *inconclusive* if its capture holds no frame at all (not even ARP) and nothing else proves that it
  could have seen one: either no answer came, or one came but no other point saw the request;
* *broken* otherwise: the request passed elsewhere, or was lost before this point, while a working
  capture looked on. The text says where it was seen.

After a request that got no answer the probes ask controls (:class:`Aftermath`), so that a capture on a
path that is cut holds frames, if it works. They are never taken for the request: they carry other
tokens, and come from addresses of nodes to addresses that the client did not ask.

**What a cut path can't show.** A SYN in the expected form does not refute what is asked about the
request's payload, and a handshake's answer in the expected form does not refute what is asked about
the answer: both are inconclusive. So is a missing answer where nobody saw whether the request reached the
target, because that capture failed; and, for a claim on the answer's form between the nodes, a missing
answer where the request never reached the target.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from pytest_k8snet.claims.matchers import Matcher, describe
from pytest_k8snet.claims.path import expected
from pytest_k8snet.claims.rows import LedgerRow, aligned, rows_of
from pytest_k8snet.claims.verdict import Outcome, Verdict, typed_on
from pytest_k8snet.evidence.observations import CapturePoint, NodeEvidence, TracedRequest
from pytest_k8snet.evidence.packets import Capture, IPAddress, Packet, TCPSegment
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent

#: Where the request is as the client sent it.
CLIENT_POINTS = ("source-veth", "client-uplink")

#: Inner source, source port, destination, destination port.
FlowTuple = tuple[IPAddress, int, IPAddress, int]


@dataclass(frozen=True)
class Ledger:
    """All sightings of one request. Make it with :meth:`of`; ask :meth:`hop` for a point."""

    request: TracedRequest
    intent: Intent
    client_kept: bool = False  #: the service declares externalTrafficPolicy Local

    @classmethod
    def of(cls, request: TracedRequest, intent: Intent, *, client_kept: bool = False) -> Ledger:
        return cls(request, intent, client_kept)

    @cached_property
    def hops(self) -> tuple[Hop, ...]:
        """Every captured point in path order."""
        return tuple(Hop(self, point) for point in self.request.points)

    def hop(self, point_id: str) -> Hop:
        """The hop at one point. Raises NotObserved when the request was not captured there."""
        for hop in self.hops:
            if hop.point.id == point_id:
                return hop
        raise NotObserved(
            f"the request {self.request.name} was not captured at its {point_id}",
            advice="the path has no such point, or its interface was not found",
        )

    @cached_property
    def answered(self) -> bool:
        """The client got its answer. A failed reading is no answer."""
        answer = self.request.answer
        return not answer.failure and answer.value is not None and answer.value.answered

    @cached_property
    def opening(self) -> int | None:
        """Sequence number of the client's first SYN, where the request itself was never sent.

        None where a capture holds the request, and where the client was answered: a request that was
        answered was sent, and not having seen it is no reason to take another connection for it. The
        SYN of a connection that carries something is another request's.
        """
        if self.answered:
            return None
        token = self.request.token.encode()
        captures = [hop.capture for hop in self.hops if hop.readable]
        if any(_carries(packet, token) for capture in captures for packet in capture.packets):
            return None
        used = {
            (packet.ip.src, packet.tcp.sport)
            for capture in captures
            for packet in capture.packets
            if packet.tcp is not None and packet.tcp.payload
        }
        for capture in captures:
            for packet in capture.packets:
                if (
                    packet.tcp is not None
                    and opens(packet.tcp)
                    and (packet.ip.src, packet.tcp.sport) not in used
                    and packet.ip.src == self.request.client_ip
                    and (packet.ip.dst, packet.tcp.dport) == (self.request.asked_ip, self.request.asked_port)
                ):
                    return packet.tcp.seq
        return None

    def is_request(self, packet: Packet) -> bool:
        """The packet carries the token, or is the client's SYN where no token was ever sent."""
        if self.opening is None:
            return _carries(packet, self.request.token.encode())
        return packet.tcp is not None and opens(packet.tcp) and packet.tcp.seq == self.opening

    @cached_property
    def tuples(self) -> frozenset[FlowTuple]:
        """The flow's inner tuples, client to server, as any readable point shows them."""
        sightings = (packet for hop in self.hops if hop.readable for packet in hop.sightings)
        return frozenset(filter(None, map(flow_tuple, sightings)))

    @cached_property
    def rows(self) -> tuple[LedgerRow, ...]:
        """One row a sighting, and one for each point that does not show what is expected there."""
        return rows_of(self)

    def lines(self) -> list[str]:
        """The ledger as plain text with aligned columns, one line a row."""
        return aligned(self.rows)

    @cached_property
    def text(self) -> str:
        return "\n".join([self.request.name, *self.lines()])


@dataclass(frozen=True)
class Hop:
    """One point of the path, and what of the request was seen there."""

    ledger: Ledger = field(repr=False, compare=False)
    point: CapturePoint

    @property
    def node(self) -> NodeEvidence:
        return self.point.node

    @property
    def where(self) -> str:
        return f"{self.node.name} {self.point.interface}"

    @property
    def command(self) -> str:
        return typed_on(self.node.name, self.point.run.command)

    @cached_property
    def capture(self) -> Capture:
        """The whole capture. Raises NotObserved when it failed or may have missed packets."""
        run = self.point.run.get()
        if run.dropped is None:
            raise self._missing(
                "the capture printed no counter of dropped packets, so it may be cut",
                "let tcpdump end by SIGINT, so that it flushes its file and prints its counters",
            )
        if run.dropped > 0:
            raise self._missing(
                f"the kernel dropped {run.dropped} packets of the capture", "capture again with less load"
            )
        return run.capture

    @property
    def readable(self) -> bool:
        try:
            return self.capture is not None
        except NotObserved:
            return False

    @cached_property
    def sightings(self) -> tuple[Packet, ...]:
        """The request here, once per form, in capture order. Raises NotObserved like :attr:`capture`."""
        forms: dict[object, Packet] = {}
        answers: set[FlowTuple] = set()
        for packet in self.capture.packets:
            there = flow_tuple(packet)
            if there is None or there in answers or not self.ledger.is_request(packet):
                continue
            src, sport, dst, dport = there
            answers.add((dst, dport, src, sport))  # a server may echo the token
            forms.setdefault(form_of(packet), packet)
        return tuple(forms.values())

    @property
    def packet(self) -> Packet:
        """The first sighting. Raises NotObserved when nothing of the request was seen here."""
        if not self.sightings:
            raise self._missing(f"nothing of the request was seen here; {self._others()}", "")
        return self.sightings[0]

    @cached_property
    def flow(self) -> tuple[Packet, ...]:
        """Every packet here of the request's connection, both directions, in capture order."""
        return tuple(packet for packet in self.capture.packets if self._of_flow(packet))

    @cached_property
    def replies(self) -> tuple[Packet, ...]:
        """Packets to the client's side of the connection, whatever address they claim to come from.

        An answer whose NAT was not undone (or that comes from a stranger) is among them. Where the client
        itself is, those that are addressed to it come first: its node may pass on others, as the router of
        a tunnel, or on the way to a pod that asks itself.
        """
        clients = {(src, sport) for src, sport, _, _ in self.ledger.tuples}
        found = tuple(
            packet
            for packet in self.capture.packets
            if packet.tcp is not None and (packet.ip.dst, packet.tcp.dport) in clients
        )
        if self.point.id not in CLIENT_POINTS:
            return found
        own = tuple(packet for packet in found if packet.ip.dst == self.ledger.request.client_ip)
        return own or tuple(packet for packet in found if packet.bare)

    @property
    def expected(self) -> tuple[Matcher, ...]:
        """What the intent expects here, in order. Raises NotObserved when that can't be told."""
        ledger = self.ledger
        return expected(ledger.request, ledger.intent, self.point.id, client_kept=ledger.client_kept)

    def shows(self, matcher: Matcher) -> Verdict:
        """The request passes here in the form of ``matcher``.

        A SYN that stands in for the request has no payload to show: in the right form it is inconclusive.
        """
        wish = f"{self.where}: {matcher}"
        try:
            sightings = self.sightings
        except NotObserved as missing:
            return self._unobserved(wish, missing)
        for packet in sightings:
            if matcher.matches(packet):
                return self._verdict(Outcome.HELD, wish, f"packet {packet.number}: {describe(packet)}")
        if not sightings:
            return self.absent(wish)
        if unknown := self._cut_unseen(sightings):
            advice = "see whether the target's node is up, and run its capture by hand"
            return self._verdict(Outcome.INCONCLUSIVE, wish, unknown, advice)
        if self.ledger.opening is None:
            return self._differs(wish, matcher, sightings)
        header = replace(matcher, inner=replace(matcher.inner, payload=b""))
        for packet in sightings:
            if header.matches(packet):
                return self._verdict(
                    Outcome.INCONCLUSIVE,
                    wish,
                    f"packet {packet.number}: {describe(packet)}; only SYNs were sent: "
                    "the request itself was never on the wire",
                    "find out where the SYN or its answer is lost: the ledger below shows how far it came",
                )
        return self._differs(wish, header, sightings)

    def _cut_unseen(self, sightings: Iterable[Packet]) -> str:
        """Why a form that is missing beside others that are right tells nothing: no answer came, and the
        target's node could not be observed. Without its ARP answer, nothing is sent on to it."""
        last = self.ledger.hops[-1]
        if self.ledger.answered or last.readable or self.point.node.name == last.node.name:
            return ""
        if not all(any(form.matches(packet) for form in self.expected) for packet in sightings):
            return ""
        return f"only {', '.join(map(describe, sightings))}; {last.where} could not be observed"

    def never_shows(self, matcher: Matcher, control: Matcher | Packet) -> Verdict:
        """No packet of the flow looks like ``matcher``, in a capture that does hold ``control``."""
        wish = f"{self.where}: never {matcher}"
        try:
            flow = self.flow
        except NotObserved as missing:
            return self._unobserved(wish, missing)
        found = [packet for packet in flow if matcher.matches(packet)]
        if found:
            return self._verdict(
                Outcome.BROKEN,
                wish,
                f"{_count(len(found), 'such packet')}, first packet {found[0].number}: {describe(found[0])}",
                "compare the routes and rules of this node with those of a healthy one",
            )
        controls = (
            [packet for packet in flow if control.matches(packet)]
            if isinstance(control, Matcher)
            else [packet for packet in self.capture.packets if packet == control]
        )
        if not controls:
            what = control if isinstance(control, Matcher) else describe(control)
            return self._verdict(
                Outcome.INCONCLUSIVE,
                wish,
                f"none, but the control ({what}) is missing from the same capture too; {self._others()}",
                "an absence counts only beside a packet that proves the capture worked",
            )
        return self._verdict(Outcome.HELD, wish, f"none beside control packet {controls[0].number}")

    def reply_shows(self, matcher: Matcher, *, only: bool = False, where_due: bool = False) -> Verdict:
        """The answer passes here in the form of ``matcher``; with ``only``, in no other form.

        The answer is a packet with payload. SYN/ACK and bare acknowledgements are none: where they are
        all that came back they can refute the form, but not show it. With ``where_due``, a missing answer
        is broken only where one was due: the request reached the target, or the client was answered.
        """
        wish = f"{self.where}: the answer as {matcher}"
        try:
            replies, sightings = self.replies, self.sightings
        except NotObserved as missing:
            return self._unobserved(wish, missing)
        answers = [packet for packet in replies if packet.tcp is not None and packet.tcp.payload]
        strays = [packet for packet in answers or replies if not matcher.matches(packet)]
        good = next((packet for packet in answers or replies if matcher.matches(packet)), None)
        if good is None or (only and strays):
            if strays:
                prefix = "" if answers else "no payload came back, only"
                return self._differs(wish, matcher, strays, prefix)
            return self._unanswered(wish, sightings, where_due=where_due)
        seen = f"packet {good.number}: {describe(good)}"
        if answers:
            return self._verdict(Outcome.HELD, wish, seen)
        if self.ledger.answered:
            return self._verdict(
                Outcome.BROKEN,
                wish,
                f"no payload, although the client got its answer, only {seen}: the answer took another way",
                "ask the target's node for its way back: ip route get CLIENT",
            )
        handshake = good.tcp is not None and "S" in good.tcp.flags
        what = "the handshake's answer" if handshake else "a segment without payload"
        return self._verdict(
            Outcome.INCONCLUSIVE,
            wish,
            f"{seen}: {what} has that form, no payload came back",
            "find out where the request or its answer is lost: the ledger below shows how far it came",
        )

    def _unanswered(self, wish: str, sightings: tuple[Packet, ...], *, where_due: bool) -> Verdict:
        """The verdict on a capture that holds no packet to the client."""
        if not self.ledger.answered:
            last = self.ledger.hops[-1]
            if not last.readable:
                cause = f"whether the request reached the target is unknown: {last.where} was not captured"
                return self._verdict(
                    Outcome.INCONCLUSIVE,
                    wish,
                    f"no answer; {cause}",
                    f"run the capture by hand: {last.command}",
                )
            if where_due and not last.sightings:
                return self._verdict(
                    Outcome.INCONCLUSIVE,
                    wish,
                    f"no answer; the request never reached the target: no answer was due; {self._others()}",
                    "find out where the request is lost: the ledger below shows how far it came",
                )
        if not sightings:
            return self.absent(wish)
        what = "answer, although the client got one" if self.ledger.answered else "answer"
        return self._verdict(
            Outcome.BROKEN,
            wish,
            f"the request (packet {sightings[0].number}), but no {what}; {self._others()}",
            "follow the answer from the target back: ip route get CLIENT, and rp_filter on the way",
        )

    @cached_property
    def absence(self) -> tuple[Outcome, str, str]:
        """What a capture without the request means: outcome, what is seen instead, advice.

        The rule stands at the top of this module. Raises NotObserved like :attr:`capture`.
        """
        capture, answered = self.capture, self.ledger.answered
        elsewhere = [hop.where for hop in self.ledger.hops if hop.readable and hop.sightings]
        seen = f"nothing of the request; {self._others()}"
        if elsewhere:
            seen += f"; it was seen on {', '.join(elsewhere)}"
        seen += "; the client got its answer" if answered else "; no answer came"
        if not elsewhere and not answered:
            advice = "nothing shows that a request was sent: see the client's error"
            return Outcome.INCONCLUSIVE, seen, advice
        if not (capture.packets or capture.not_ip) and not (elsewhere and answered):
            advice = "check that this interface is the right one: ip -d link show"
            return Outcome.INCONCLUSIVE, seen, advice
        lost = "it took another way" if answered else "it was lost before this point"
        advice = "ask the node before this point for its way: ip route get TARGET"
        return Outcome.BROKEN, f"{seen}: {lost}", advice

    def absent(self, wish: str) -> Verdict:
        """The verdict on a capture that does not hold the request."""
        outcome, seen, advice = self.absence
        return self._verdict(outcome, wish, seen, advice)

    def _of_flow(self, packet: Packet) -> bool:
        there = flow_tuple(packet)
        if there is None:
            return False
        src, sport, dst, dport = there
        tuples = self.ledger.tuples
        return there in tuples or (dst, dport, src, sport) in tuples or self.ledger.is_request(packet)

    def _differs(self, wish: str, matcher: Matcher, packets: Iterable[Packet], prefix: str = "") -> Verdict:
        closest = min(packets, key=lambda packet: len(matcher.differences(packet)))
        differences = "; ".join(matcher.differences(closest))
        seen = f"{prefix} packet {closest.number}: {describe(closest)}".strip()
        if differences:
            seen += f" ({differences})"
        if self.ledger.opening is not None:
            seen += "; the connection was never opened, only SYNs were sent"
        return self._verdict(
            Outcome.BROKEN, wish, seen, "the first hop that differs in the ledger below is where to look"
        )

    def _others(self) -> str:
        packets = self.capture.packets
        if not packets:
            return "the capture holds no IP packet"
        forms = list(dict.fromkeys(describe(packet) for packet in packets))
        more = ", ..." if len(forms) > 3 else ""
        return f"{_count(len(packets), 'packet')} captured: {', '.join(forms[:3])}{more}"

    def _missing(self, cause: str, advice: str) -> NotObserved:
        return NotObserved(
            f"{self.where}: {cause}", node=self.node.name, command=self.point.run.command, advice=advice
        )

    def _unobserved(self, wish: str, missing: NotObserved) -> Verdict:
        advice = missing.advice or "run the capture by hand on that node and see what it says"
        return self._verdict(Outcome.INCONCLUSIVE, wish, missing.cause, advice)

    def _verdict(self, outcome: Outcome, wish: str, seen: str, advice: str = "") -> Verdict:
        return Verdict(outcome, wish, seen, self.where, self.command, advice, self.ledger.text)


def flow_tuple(packet: Packet) -> FlowTuple | None:
    """The inner tuple as the packet carries it; None when it is not TCP."""
    if packet.tcp is None:
        return None
    return packet.ip.src, packet.tcp.sport, packet.ip.dst, packet.tcp.dport


def form_of(packet: Packet) -> object:
    """What tells two forms of a request apart: its envelopes and its inner tuple."""
    return tuple((t.kind, t.outer.src, t.outer.dst, t.vni) for t in packet.tunnels), flow_tuple(packet)


def opens(segment: TCPSegment) -> bool:
    """A client's SYN, with or without its ECN flags (RFC 3168, 6.1.1)."""
    return "S" in segment.flags and "A" not in segment.flags


def _carries(packet: Packet, token: bytes) -> bool:
    return packet.tcp is not None and token in packet.tcp.payload


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
