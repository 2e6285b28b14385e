"""What one traced request looked like at every point of its path, in roles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from pytest_k8snet.claims import nat
from pytest_k8snet.claims.ledger import Hop, Ledger
from pytest_k8snet.claims.path import same_node
from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.evidence.packets import Packet
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.meaning.answers import answer
from pytest_k8snet.meaning.comparison import Fact
from pytest_k8snet.meaning.roles import Roles
from pytest_k8snet.meaning.told import lines, told

#: How far times of two runs may be apart: ten times as long, or half a second. Other machines are slower, and
#: loaded; a SYN that was lost shows, since it comes again after a whole second (RFC 6298, 2.1).
TIMES = (10.0, 500.0)
UNSEEN = "not seen"
_TITLES = {"ipip": "IPIP", "vxlan": "VXLAN"}


def of_request(lab: str, ledger: Ledger, roles: Roles) -> Iterator[Fact]:
    """``path``, ``encapsulation``, ``inner-source``, ``ttl`` and ``reply`` at each point; ``answer``, ``nat``
    and ``time`` of the whole. Where nothing of the request was seen, ``path`` alone says so."""
    yield told(f"answer/{lab}", lambda: answered(ledger))
    first, last = (f"path/{lab}/{ledger.hops[end].point.id}" for end in (0, -1))
    for hop in ledger.hops:
        yield from _at(lab, hop, roles)
        yield from _replies(lab, hop, roles, last)
    yield told(f"nat/{lab}", lambda: _translation(ledger, roles), rests_on=(first, last))
    if ledger.answered:
        rests_on = (f"answer/{lab}", first)
        yield told(f"time/{lab}", lambda: _time(ledger), rests_on=rests_on, bound=TIMES)


def answered(ledger: Ledger) -> str:
    """Raises NotObserved where a missing answer says nothing: nobody watched the end of the path."""
    exchange = ledger.request.answer.get()
    if not exchange.answered:
        watched(ledger)
    return answer(exchange)


def watched(ledger: Ledger) -> None:
    """Raises NotObserved where the last point could not be observed: its node may be gone."""
    last = ledger.hops[-1]
    if not last.readable:
        raise NotObserved(f"no answer came, and {last.where} could not be observed")


def _at(lab: str, hop: Hop, roles: Roles) -> Iterator[Fact]:
    point = hop.point.id
    path = f"path/{lab}/{point}"
    yield told(path, lambda: _path(hop, roles))
    seen = _own(hop, hop.sightings, roles) if hop.readable else []
    if not seen:
        return
    facets: dict[str, Callable[[Packet], str]] = {
        "encapsulation": lambda packet: envelope(packet, roles),
        "inner-source": lambda packet: roles.address(packet.ip.src),
        "ttl": _ttl,
    }
    if point.endswith("veth"):
        del facets["encapsulation"]
    for kind, of in facets.items():
        yield told(f"{kind}/{lab}/{point}", partial(_each, of, seen), rests_on=(path,))


def _ttl(packet: Packet) -> str:
    return str(packet.ip.ttl)


def _each(of: Callable[[Packet], str], packets: Iterable[Packet]) -> str:
    return lines(map(of, packets))


def _own(hop: Hop, packets: Iterable[Packet], roles: Roles) -> list[Packet]:
    """Without those between two other nodes: a switch floods what is for a node that it does not know, and a
    capture is promiscuous."""
    own = f"{roles.node(hop.node.name)}."

    def passes_by(packet: Packet) -> bool:
        outermost = packet.tunnels[0].outer if packet.tunnels else packet.ip
        ends = [roles.addresses.get(end, "") for end in (outermost.src, outermost.dst)]
        return all(end.endswith(".uplink") and not end.startswith(own) for end in ends)

    return [packet for packet in packets if not passes_by(packet)]


def _path(hop: Hop, roles: Roles) -> str:
    """Whom the request was addressed to, in the order of the sightings."""
    sightings, ledger = _own(hop, hop.sightings, roles), hop.ledger
    apart = not same_node(hop.node, ledger.hops[-1].node)
    if apart and not ledger.answered and len(sightings) < len(hop.expected):
        watched(ledger)  # nothing is sent on to a node that does not answer ARP
    if not sightings:
        outcome, seen, _ = hop.absence
        if outcome is Outcome.INCONCLUSIVE:
            raise NotObserved(f"{hop.where}: {seen}")
        return UNSEEN
    return lines(f"to {_end(packet, 'dst', roles)}" for packet in sightings)


def _replies(lab: str, hop: Hop, roles: Roles, target_path: str) -> Iterator[Fact]:
    """The forms in which answers came by, and their TTL. Where none was due, since the request was lost, none
    is missed."""
    id = f"reply/{lab}/{hop.point.id}"
    if not hop.readable:
        yield told(id, lambda: str(hop.capture), rests_on=(f"path/{lab}/{hop.point.id}",))
        return
    last, replies = hop.ledger.hops[-1], _own(hop, hop.replies, roles)
    if replies or hop.ledger.answered or (last.readable and last.sightings):

        def forms() -> str:
            return lines(f"{envelope(each, roles)} from {_end(each, 'src', roles)}" for each in replies)

        yield told(id, lambda: forms() or UNSEEN, rests_on=(target_path,))
    if replies:
        ttl = partial(_each, _ttl, replies)
        yield told(f"ttl/{lab}/{hop.point.id}/reply", ttl, rests_on=(id, target_path))


def envelope(packet: Packet, roles: Roles) -> str:
    """ "IPIP node2.uplink > node1.uplink", "plain"; outermost first."""
    found = []
    for tunnel in packet.tunnels:
        title = _TITLES.get(tunnel.kind, tunnel.kind)
        vni = "" if tunnel.vni is None else f" {tunnel.vni} port {tunnel.udp_port}"
        ends = f"{roles.address(tunnel.outer.src)} > {roles.address(tunnel.outer.dst)}"
        found.append(f"{title}{vni} {ends}")
    return " in ".join(reversed(found)) if found else "plain"


def _end(packet: Packet, end: str, roles: Roles) -> str:
    address = packet.ip.src if end == "src" else packet.ip.dst
    if packet.tcp is None:
        return roles.address(address)
    return roles.end(address, packet.tcp.sport if end == "src" else packet.tcp.dport)


def _translation(ledger: Ledger, roles: Roles) -> str:
    """Both directions of the entry node's conntrack entry."""
    found = nat.connection(ledger)
    if found is None:
        return "not tracked"
    there, back = found.original, found.reply
    return (
        f"{roles.address(there.src)} > {roles.end(there.dst, there.dport)}, "
        f"answered {roles.end(back.src, back.sport)} > {roles.address(back.dst)}"
    )


def _time(ledger: Ledger) -> str:
    """From the client's first packet to the answer's first byte, by one node's clock: the first point's."""
    hop = ledger.hops[0]
    sent = [packet.time for packet in hop.flow]
    came = [packet.time for packet in hop.replies if packet.tcp is not None and packet.tcp.payload]
    if not sent or not came:
        raise NotObserved(f"{hop.where}: request or answer is not in the capture")
    return f"{(min(came) - min(sent)) * 1000:.1f} ms"
