"""Watches of the document's three machines with hand-made captures: what each point shows of each attempt.

>>> lab = watch("pod", [Trip(0.0, reach=2)])    # one attempt whose SYN got as far as the second step
>>> where_lost(lab, "pod", GAP, GAP + 0.3)[0].kind
'lost'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address
from typing import Any

from pytest_k8snet.evidence.outage import HELD_PORTS, Attempt, Command, OutageLab, PathWatched, Watched
from pytest_k8snet.evidence.raw_captures import RawCapture
from pytest_k8snet.evidence.reading import Reading
from tests.claims.scenes import (
    DEST_IP,
    DEST_VETH,
    MASTER,
    NODE1,
    NODE2,
    NODE_PORT,
    PORT,
    SRC_IP,
    SRC_VETH,
    TUNL,
    VIP,
    master,
    ok,
    pod_dest,
    pod_src,
)
from tests.wire import ICMP, TCP, Frame, Raw, encapsulate, ip, link, pcap

GAP = 1_600_000_100.0  #: when it began, by the client's clock
END = GAP + 0.3
NODE1_AHEAD, NODE2_AHEAD = 1.4, -0.7  #: seconds by which their clocks differ from another node's client
INTERFACES = {
    "client-uplink": ("k8s-master", "eth1"),
    "source-veth": ("k8s-node2", SRC_VETH),
    "source-uplink": ("k8s-node2", "eth1"),
    "target-uplink": ("k8s-node1", "eth1"),
    "target-veth": ("k8s-node1", DEST_VETH),
}
End = tuple[str, int]


@dataclass(frozen=True)
class Leg:
    """A step of a path: the SYN's own addresses there, 0 for the client's port, and its envelope."""

    point: str
    src: End
    dst: End
    tunnel: str | None = None
    toward: str = NODE1  #: where its envelope leads
    ahead: float = 0.0  #: seconds by which its clock is ahead of the client's


def legs(path: str, tunnel: str | None = "ipip", ahead: float = NODE1_AHEAD) -> list[Leg]:
    pod: End = (DEST_IP, PORT)
    if path == "nodeport":
        asked: End = (NODE2, NODE_PORT)
        come, gone = (MASTER, 0), (TUNL["k8s-node2"], 0)
        return [
            Leg("client-uplink", come, asked),
            Leg("source-uplink", come, asked, ahead=NODE2_AHEAD),
            Leg("source-uplink", gone, pod, tunnel, ahead=NODE2_AHEAD),
            Leg("target-uplink", gone, pod, tunnel, ahead=ahead),
            Leg("target-veth", gone, pod, ahead=ahead),
        ]
    asked = pod if path == "pod" else (VIP, PORT)
    return [
        Leg("source-veth", (SRC_IP, 0), asked),
        Leg("source-uplink", (SRC_IP, 0), pod, tunnel),
        Leg("target-uplink", (SRC_IP, 0), pod, tunnel, ahead=ahead),
        Leg("target-veth", (SRC_IP, 0), pod, ahead=ahead),
    ]


@dataclass(frozen=True)
class Trip:
    """One attempt: ``at`` seconds after the gap began, its SYN seen at the first ``reach`` steps, its SYN/ACK
    back to step ``back`` (0 is the client). The client says that it was lost unless ``took`` seconds."""

    at: float
    reach: int = 99
    back: int | None = None
    took: float | None = None
    resets: tuple[int, ...] = ()  #: steps that show a RST
    error: tuple[int, str, tuple[int, int]] | None = None  #: step, who says so, ICMP type and code
    skip: tuple[int, ...] = ()  #: steps that miss the SYN, though it came by
    times: int = 1  #: of the SYN, one second apart
    said: bool = True
    instead: tuple[tuple[int, Leg], ...] = ()  #: steps where it looked otherwise
    answer_from: End | None = None  #: at the client, if not from where it asked
    unseen_back: tuple[int, ...] = ()  #: steps that miss the SYN/ACK, though it came by
    ident: int | None = None  #: of its IP header
    aborted: bool = False  #: the client takes it back at once, by a RST that acknowledges nothing


def healthy(at: float) -> Trip:
    return Trip(at, back=0, took=0.0013)


def around(*trips: Trip) -> list[Trip]:
    """Four healthy attempts before the gap and four after it."""
    before = [healthy(-0.225 + position * 0.05) for position in range(4)]
    return [*before, *trips, *(healthy(0.325 + position * 0.05) for position in range(4))]


def gap(**how: Any) -> list[Trip]:
    """Six equal attempts in the gap, healthy ones around it."""
    return around(*(Trip(0.02 + position * 0.05, **how) for position in range(6)))


def watch(
    path: str,
    trips: Sequence[Trip],
    *,
    tunnel: str | None = "ipip",
    flaws: Mapping[str, str] | None = None,
    failed: Iterable[str] = (),
    ports: bool = True,
    held: Mapping[int, Sequence[Frame]] | None = None,
    ahead: float = NODE1_AHEAD,
) -> OutageLab:
    """``flaws``: by point, why its capture is not whole; ``failed``: points without a capture; ``ports``:
    whether the client knew its own; ``held``: more frames by step; ``ahead``: node1's clock."""
    way = legs(path, tunnel, ahead)
    frames: dict[str, list[Frame]] = {point: [] for point in INTERFACES}
    for number, trip in enumerate(trips):
        for step, leg in enumerate(way):
            frames[leg.point] += _frames(trip, step, dict(trip.instead).get(step, leg), number)
    for step, more in (held or {}).items():
        frames[way[step].point] += more
    captures = tuple(
        _capture(point, frames[point], (flaws or {}).get(point, ""), point in failed) for point in INTERFACES
    )
    said = tuple(
        Attempt(
            path,
            "new",
            GAP + trip.at - 0.0004,
            trip.took,
            40_000 + number if ports else 0,
            "" if trip.took else "no answer within 0.9 s",
        )
        for number, trip in enumerate(trips)
        if trip.said
    )
    return OutageLab(
        paths=(watched(path, said),),
        command=Reading("", "true", Command("true", 0, GAP - 1, GAP + 1)),
        controls=(),
        interval=0.05,
        captures=captures,
    )


def watched(path: str, said: tuple[Attempt, ...]) -> PathWatched:
    asked = {"pod": (DEST_IP, PORT), "clusterip": (VIP, PORT), "nodeport": (NODE2, NODE_PORT)}[path]
    by_port = path == "nodeport"
    return PathWatched(
        path=path,
        client="k8s-master" if by_port else "pod-src",
        client_node=master() if by_port else pod_src().node,
        client_ip=ip_address(MASTER if by_port else SRC_IP),
        asked_ip=ip_address(asked[0]),
        asked_port=asked[1],
        target=pod_dest(),
        target_port=PORT,
        client_said=ok(Watched(said, ())),
        entry=pod_src().node,
    )


def number_of(trip: int) -> int:
    """The sequence number of a trip's SYN. What acknowledges the first of the gap wraps around to 0."""
    return (2**32 - 1 + (trip - 4) * 1_000_003) % 2**32


def at(frame: Frame, leg: Leg, seconds: float, step: int, *, back: bool = False) -> Frame:
    """``frame`` (from its IP header on) in the leg's envelope, by the clock of the leg's node."""
    outer = (leg.toward, NODE2) if back else (NODE2, leg.toward)
    frame.time = 0.0
    made = Raw(bytes(link(encapsulate(frame, leg.tunnel, outer))))  # built once, not for each capture
    made.time = GAP + seconds + leg.ahead + step * 0.0001
    return made


@cache
def _frames(trip: Trip, step: int, leg: Leg, number: int) -> list[Frame]:
    port, start = 40_000 + number, number_of(number)
    answer_from = trip.answer_from if step == 0 and trip.answer_from else leg.dst
    back = ip(answer_from[0], leg.src[0])
    answering: dict[str, Any] = {"sport": answer_from[1], "dport": port, "ack": (start + 1) % 2**32}
    header = ip(leg.src[0], leg.dst[0], id=7_000 + number if trip.ident is None else trip.ident)
    syn = header / TCP(sport=port, dport=leg.dst[1], seq=start, flags="S")
    found = []
    if step < trip.reach and step not in trip.skip:
        found += [at(syn.copy(), leg, trip.at + again, step) for again in range(trip.times)]
    if trip.back is not None and step >= trip.back and step not in trip.unseen_back:
        found.append(at(back / TCP(**answering, flags="SA"), leg, trip.at + 0.001, -step, back=True))
    if trip.aborted and step == 0:
        found.append(at(header / TCP(sport=port, dport=leg.dst[1], flags="R"), leg, trip.at + 0.002, step))
    if step in trip.resets:
        found.append(at(back / TCP(**answering, flags="RA"), leg, trip.at + 0.001, -step, back=True))
    if trip.error and trip.error[0] == step:
        _, address, (kind, code) = trip.error
        error = ip(address, leg.src[0]) / ICMP(type=kind, code=code) / Raw(bytes(syn)[:28])
        found.append(at(error, replace(leg, tunnel=None), trip.at + 0.001, -step))
    return found


def _capture(point: str, frames: list[Frame], flaw: str, failed: bool) -> RawCapture:
    node, interface = INTERFACES[point]
    command = f"tcpdump -i {interface}"
    listed = sorted(frames, key=lambda frame: float(frame.time))
    content = (
        Reading[bytes](node, command, failure="tcpdump is not installed on " + node)
        if failed
        else Reading(node, command, pcap(listed, snaplen=112))
    )
    return RawCapture(point, node, interface, content, "" if failed else flaw)


def segment(
    path: str,
    step: int,
    seconds: float,
    seq: int,
    *,
    answer: bool = False,
    ack: int = 1,
    port: int = 0,
    flags: str = "PA",
) -> Frame:
    """What the path's held connection carries, at one step."""
    leg = legs(path)[step]
    port = port or HELD_PORTS[path][0]
    ends = (leg.dst, (leg.src[0], port)) if answer else ((leg.src[0], port), leg.dst)
    (src, sport), (dst, dport) = ends
    tcp = TCP(sport=sport, dport=dport, seq=seq, ack=ack, flags=flags) / Raw(b"x" * 60)
    return at(ip(src, dst) / tcp, leg, seconds, -step if answer else step, back=answer)
