"""Whether two sightings are one packet, forwarded as it must be."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.matchers import describe_envelope
from pytest_k8snet.claims.nat import connection
from pytest_k8snet.claims.path import same_node, underlay_network
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.packets import Packet


def breaks(before: tuple[Hop, Packet], after: tuple[Hop, Packet], ledger: Ledger) -> Iterator[str]:
    """What shows that two neighbouring sightings are not one packet forwarded as it must be."""
    (old_hop, old), (hop, new) = before, after
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
    local = same_node(old_hop.node, hop.node)
    fall = old.ip.ttl - new.ip.ttl
    if local and fall != 1:
        yield f"TTL {old.ip.ttl} became {new.ip.ttl}, one forwarding node takes 1"
    if not local and fall != 0 and (new.tunnels or fall < 0 or _same_wire(old_hop.node, hop.node)):
        yield f"TTL {old.ip.ttl} became {new.ip.ttl} between two uplinks"
    if local and new.time < old.time:
        yield f"seen {old.time - new.time:.6f} s earlier than before it was forwarded"


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
