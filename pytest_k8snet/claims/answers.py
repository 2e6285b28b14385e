"""The answer's way back, lined up over the points of its request's path, from the target to the client.

**What belongs to the answer.** :attr:`~pytest_k8snet.claims.ledger.Hop.replies`: what goes to the client's
side of the connection. At every point the answer is the first packet with payload per form (envelope and
inner addresses). Where no payload came by, the first segment of each form stands in: the handshake's answer,
a refusal, a bare acknowledgement. That the rest of a long answer came by as well is not looked at.

**What it must look like.** The mirror of what the intent expects of the request there, envelope by envelope.
It may also go back to whoever the request came from in truth: where that is not whom the intent expects, the
request was rewritten on its way, and that is no fault of the answer.

**Missing: wrong or not?** As :meth:`~pytest_k8snet.claims.ledger.Hop.reply_shows` judges, so that no row
contradicts a claim. A missing answer is wrong where one was due: the client was answered, or the request
reached the target. It is also wrong where payload came by a point before this one and none came here. Where
the request never reached the target, or nobody saw whether it did, it is a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from pytest_k8snet.claims.ledger import FlowTuple, Hop, Ledger, flow_tuple, form_of
from pytest_k8snet.claims.matchers import Inner, Matcher
from pytest_k8snet.claims.path import expected
from pytest_k8snet.claims.rows import LedgerRow, in_words, lined_up, row_at, unobserved
from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.evidence.packets import IPAddress, Packet
from pytest_k8snet.evidence.reading import NotObserved

_ELSEWHERE = "another answered, or it took another way"


def expected_answer(hop: Hop) -> tuple[Matcher, ...]:
    """The forms in which the answer must show at a point, in order; empty where no answer must come by.

    Raises NotObserved when a node's uplink or interfaces could not be read.
    """
    return tuple(form.meant for form in _forms(hop))


def answer_rows(ledger: Ledger) -> tuple[LedgerRow, ...]:
    """The rows in the order of the answer's way; the first that differs from the intent is marked.

    Empty where no answer was due and nothing of one was seen.
    """
    due = _due(ledger)
    if due is False and not any(hop.readable and hop.replies for hop in ledger.hops):
        return ()
    return lined_up(_rows(ledger, due), back=True)


def _rows(ledger: Ledger, due: bool | None) -> Iterator[tuple[LedgerRow, Packet | None]]:
    seen: Hop | None = None
    full: Hop | None = None
    for hop in reversed(ledger.hops):
        try:
            replies = hop.replies
        except NotObserved as missing:
            yield row_at(hop, note=unobserved(missing)), None
            continue
        passing = _Passing(hop, due, seen, full)
        yield from passing.rows()
        seen = hop if replies else seen
        full = hop if passing.payload else full


@dataclass(frozen=True)
class _Passing:
    """What of the answer came by a point whose capture can be read."""

    hop: Hop
    due: bool | None  #: an answer was due; None: unknown
    seen: Hop | None  #: the last point before this one that showed anything of it
    full: Hop | None  #: the last point before this one that showed payload of it

    @cached_property
    def wanted(self) -> tuple[_Form, ...] | None:
        """None where the intent's expectation can't be told."""
        try:
            return _forms(self.hop)
        except NotObserved:
            return None

    @cached_property
    def payload(self) -> tuple[Packet, ...]:
        return _first_of_each(packet for packet in self.hop.replies if _has_payload(packet))

    @cached_property
    def shown(self) -> tuple[Packet, ...]:
        return self.payload or _first_of_each(self.hop.replies)

    def rows(self) -> Iterator[tuple[LedgerRow, Packet | None]]:
        if not self.shown:
            if self.wanted != ():
                yield self._nothing(), None
            return
        wanted = self.wanted or ()
        missing = [form for form in wanted if not any(map(form.fits, self.shown))]
        late = [self._missing(form, wanted) for form in missing] if len(self.shown) < len(wanted) else []
        if late and missing[0] == wanted[0]:
            yield late.pop(0)
        for packet in self.shown:
            yield self._row(packet), packet
        yield from late

    def _row(self, packet: Packet) -> LedgerRow:
        row = row_at(self.hop, packet, "" if self.payload else self._only(packet))
        return replace(row, expected=self._expected or "no answer") if self._differs(packet) else row

    def _differs(self, packet: Packet) -> bool:
        if self.wanted is None:
            return False
        if not self.wanted:
            return bool(self.payload)  # a node that drops a request may well refuse its connection
        if not any(form.fits(packet) for form in self.wanted):
            return True
        return not self.payload and bool(self.full or self.hop.ledger.answered)

    @property
    def _expected(self) -> str:
        return in_words(form.meant for form in self.wanted or ())

    def _only(self, packet: Packet) -> str:
        """What stands in for the answer, and what became of the answer itself."""
        flags = packet.tcp.flags if packet.tcp is not None else ""
        what = "a segment without payload"
        if "S" in flags:
            what = "the handshake's answer"
        elif "R" in flags:
            what = "a refusal (RST)"
        if self.payload:
            return f"only {what} in this form"
        if self.full:
            return f"only {what}: the payload was seen on {self.full.where} and lost before this point"
        if self.hop.ledger.answered:
            return f"only {what}, although the client got its answer: {_ELSEWHERE}"
        return f"only {what}: no payload came back"

    def _missing(self, form: _Form, wanted: tuple[_Form, ...]) -> tuple[LedgerRow, Packet | None]:
        """One of several forms that are due here is not among those that came by."""
        packet = next(filter(form.fits, self.hop.replies), None)
        row = row_at(self.hop, packet, "not seen here" if packet is None else self._only(packet))
        before = wanted[: wanted.index(form)]
        came = any(earlier.fits(passed) for earlier in before for passed in self.shown)
        return replace(row, expected=str(form.meant) if self.due or came else ""), packet

    def _nothing(self) -> LedgerRow:
        """The row of a point that shows nothing of the answer."""
        why, wrong = self._absence
        row = row_at(self.hop, note=f"nothing of the answer, {why}")
        return replace(row, expected=self._expected) if wrong else row

    @property
    def _absence(self) -> tuple[str, bool]:
        """Why nothing came by, and whether that is wrong."""
        ledger, last = self.hop.ledger, self.hop.ledger.hops[-1]
        if self.due is None and self.seen is None:
            return f"whether the request reached the target is unknown: {last.where} was not captured", False
        if self.due is False:
            return "none was due: the request never reached the target", False
        if not self.hop.sightings and self.hop.absence[0] is not Outcome.BROKEN:
            return "nor of the request, and nothing proves that this capture could have seen it", False
        if ledger.answered:
            return f"although the client got one: {_ELSEWHERE}", True
        if self.seen is not None:
            return f"it was seen on {self.seen.where} and lost before this point", True
        return f"although the request reached {last.where}", True


def _due(ledger: Ledger) -> bool | None:
    """Whether an answer was due; None where nobody saw if the request reached the target."""
    if _refused(ledger) or not ledger.hops:
        return False
    if ledger.answered:
        return True
    last = ledger.hops[-1]
    return bool(last.sightings) if last.readable else None


def _refused(ledger: Ledger) -> bool:
    """The intent has the request dropped on its way (externalTrafficPolicy Local, no endpoint there)."""
    try:
        return not expected(ledger.request, ledger.intent, "target-veth", client_kept=ledger.client_kept)
    except NotObserved:
        return False


@dataclass(frozen=True)
class _Form:
    """One form of the answer that is due at a point."""

    meant: Matcher  #: by the intent
    asked: Matcher  #: to whoever the request came from

    def fits(self, packet: Packet) -> bool:
        return self.meant.matches(packet) or self.asked.matches(packet)


def _forms(hop: Hop) -> tuple[_Form, ...]:
    return () if _refused(hop.ledger) else tuple(_mirrored(form, hop) for form in reversed(hop.expected))


def _mirrored(form: Matcher, hop: Hop) -> _Form:
    """What answers a request of this form: every header turned around."""
    there = form.inner
    askers, port = _askers(there, hop)
    outer = tuple(replace(outer, src=outer.dst, dst=outer.src) for outer in form.outer or ())
    inner = replace(there, src=there.dst, sport=there.dport, dst=askers & there.src or there.src, dport=port)
    meant = replace(form, outer=outer, inner=inner)
    return _Form(meant, replace(meant, inner=replace(inner, dst=askers or there.src)))


def _askers(inner: Inner, hop: Hop) -> tuple[frozenset[IPAddress], int | None]:
    """Who the request to this destination came from, and its port where there is one alone.

    As this point shows it, else any other.
    """
    here = frozenset(filter(None, map(flow_tuple, hop.sightings))) if hop.readable else frozenset()
    tuples = hop.ledger.tuples
    found = _to(inner, here) or _to(inner, tuples)
    ports = {port for _, port in found} or {sport for src, sport, _, _ in tuples if src in inner.src}
    return frozenset(src for src, _ in found), ports.pop() if len(ports) == 1 else None


def _to(inner: Inner, tuples: Iterable[FlowTuple]) -> set[tuple[IPAddress, int]]:
    return {(src, sport) for src, sport, dst, port in tuples if dst in inner.dst and port == inner.dport}


def _first_of_each(packets: Iterable[Packet]) -> tuple[Packet, ...]:
    """The first packet of each form, in capture order."""
    forms: dict[object, Packet] = {}
    for packet in packets:
        forms.setdefault(form_of(packet), packet)
    return tuple(forms.values())


def _has_payload(packet: Packet) -> bool:
    return packet.tcp is not None and bool(packet.tcp.payload)
