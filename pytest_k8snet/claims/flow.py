"""Whether two sightings are one packet, forwarded as it must be, and whether their times can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.matchers import describe_envelope
from pytest_k8snet.claims.nat import connection
from pytest_k8snet.claims.path import same_node, underlay_network
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.packets import Packet

Sighting = tuple[Hop, Packet]

#: Seconds that frames of one capture may stand out of order: each is stamped by the CPU that takes it in, and
#: one that is stamped first may be written second.
STAMPING = 0.001
#: Seconds between two sightings of one packet on one node that no forwarding explains: a router that held a
#: packet for a whole second would have to take it off the TTL (RFC 791, 3.2; RFC 1812, 5.3.1).
HELD_UP = 1.0
#: Seconds of silence inside a connection that no request of a lab outlasts: curl gives up long before.
SILENCE = 60.0


def breaks(before: Sighting, after: Sighting, ledger: Ledger) -> Iterator[str]:
    """What shows, apart from times, that two neighbouring sightings are not one packet forwarded as it
    must be."""
    old, new = before[1], after[1]
    assert old.tcp is not None
    assert new.tcp is not None
    if len(new.tunnels) > 1:
        yield f"encapsulated {len(new.tunnels)} times: {describe_envelope(new)}"
    if not same_bytes(old, new):
        yield f"TCP sequence {old.tcp.seq} became {new.tcp.seq}, or the payload changed"
    ports, before_ports = (new.tcp.sport, new.tcp.dport), (old.tcp.sport, old.tcp.dport)
    if ports != before_ports:
        entry = connection(ledger)
        if entry is None or ports != (entry.reply.dport, entry.reply.sport):
            yield f"ports {before_ports} became {ports}, which conntrack does not record"
    if change := ttl_change(before, after):
        yield change


def ttl_change(before: Sighting, after: Sighting) -> str:
    """How the TTL fell otherwise than forwarding makes it fall, in words; empty where it fell as it must."""
    (old_hop, old), (hop, new) = before, after
    fall = old.ip.ttl - new.ip.ttl
    if same_node(old_hop.node, hop.node):
        if fall == 1:
            return ""
        return f"TTL {old.ip.ttl} became {new.ip.ttl}, one forwarding node takes 1"
    if fall == 0 or not (new.tunnels or fall < 0 or _same_wire(old_hop.node, hop.node)):
        return ""
    return f"TTL {old.ip.ttl} became {new.ip.ttl} between two uplinks"


def disorder(before: Sighting, after: Sighting) -> str:
    """That a packet left its node before it came, in words; empty where the order is right or can't be told:
    clocks differ between nodes."""
    (old_hop, old), (hop, new) = before, after
    if not same_node(old_hop.node, hop.node) or new.time >= old.time:
        return ""
    return f"seen {old.time - new.time:.6f} s earlier than before it was forwarded"


def clock_jump(sightings: Sequence[Sighting], *, disordered: bool) -> tuple[Hop, str] | None:
    """Where a node's clock was set while it captured, and by how much; None where nothing shows that.

    Small steps back count only where they explain that the order of the sightings is wrong (``disordered``).
    """
    least = STAMPING if disordered else HELD_UP
    for hop, _ in sightings:
        steps = [new.time - old.time for old, new in pairwise(hop.capture.packets)]
        back = min(steps, default=0.0)
        if back < -least:
            return hop, f"the clock of {hop.node.name} jumped back by {-back:.3f} s during the capture"
        ahead = max((new.time - old.time for old, new in pairwise(hop.flow)), default=0.0)
        if ahead > SILENCE:
            return hop, f"the clock of {hop.node.name} jumped ahead by {ahead:.3f} s during the capture"
    for (old_hop, old), (hop, new) in pairwise(sightings):
        apart = new.time - old.time
        if same_node(old_hop.node, hop.node) and abs(apart) > HELD_UP:
            way = "ahead" if apart > 0 else "back"
            return hop, f"the clock of {hop.node.name} jumped {way} by {abs(apart):.3f} s during the capture"
    return None


def _same_wire(a: NodeEvidence, b: NodeEvidence) -> bool:
    return underlay_network(a) == underlay_network(b)


def same_bytes(a: Packet, b: Packet) -> bool:
    """Both carry the same bytes of the stream where they overlap (GSO may merge segments in one)."""
    assert a.tcp is not None
    assert b.tcp is not None
    shift = (b.tcp.seq - a.tcp.seq) % 2**32
    if shift > 2**31:
        return same_bytes(b, a)
    left = a.tcp.payload[shift:]
    length = min(len(left), len(b.tcp.payload))
    return length > 0 and left[:length] == b.tcp.payload[:length]
