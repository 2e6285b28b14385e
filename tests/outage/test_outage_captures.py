"""What the captures of an outage watch take, by the machine's own tcpdump, and what is made of their end."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6PacketTooBig

from pytest_k8snet.clusters.base import CommandTimeout, NodeUnreachable, RunningCommand
from pytest_k8snet.evidence.packets import parse_pcap
from pytest_k8snet.evidence.raw_captures import RawCapture
from pytest_k8snet.evidence.reading import NotObserved
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes import outage_captures
from pytest_k8snet.probes.captures import Point
from pytest_k8snet.probes.labs import observe_pod_network
from pytest_k8snet.probes.nodes import observe_node
from pytest_k8snet.probes.outage_captures import SNAPLEN, capturing_outage, outage_filter, points
from tests.clusters.fake import FakeCluster, FakeRun, says
from tests.probes.network import counters, network
from tests.wire import ICMP, IP, TCP, UDP, Frame, IPOption_NOP, IPv6, Raw, encapsulate, link, pcap

PORTS, HELD = (8080, 31080), (20100, 20101, 20102)
CLIENT, SERVER = "20.109.131.5", "20.111.156.72"
CLIENT6, SERVER6 = "fd00:20::5", "fd00:20::72"
OUTER, OUTER6 = ("192.168.219.23", "192.168.219.22"), ("fd00:219::23", "fd00:219::22")


def options(packet: Frame) -> Frame:
    """Eight bytes of options in its IPv4 header."""
    packet.options = [IPOption_NOP()] * 8
    del packet.ihl, packet.len, packet.chksum
    return packet


def bare(packet: Frame) -> Frame:
    return packet


def ipip(packet: Frame) -> Frame:
    return encapsulate(packet, "ipip", OUTER)


def ipip_with_options(packet: Frame) -> Frame:
    return options(encapsulate(packet, "ipip", OUTER))


def vxlan(packet: Frame) -> Frame:
    return encapsulate(packet, "vxlan", OUTER6 if isinstance(packet, IPv6) else OUTER)


def old_vxlan(packet: Frame) -> Frame:
    return encapsulate(packet, "vxlan", OUTER6 if isinstance(packet, IPv6) else OUTER, udp_port=8472)


def around_options(envelope: Callable[[Frame], Frame]) -> Callable[[Frame], Frame]:
    return lambda packet: envelope(options(packet))


FORMS: dict[str, Callable[[Frame], Frame]] = {
    "bare": bare,
    "ipip": ipip,
    "outer-options": ipip_with_options,
    "vxlan": vxlan,
    "old-vxlan": old_vxlan,
    "options": around_options(bare),
    "ipip-inner-options": around_options(ipip),
    "vxlan-inner-options": around_options(vxlan),
}


def tcp(flags: str, sport: int, dport: int, payload: bytes = b"", **fields: Any) -> TCP:
    made = TCP(sport=sport, dport=dport, flags=flags, options=[("NOP", None)] * 12, **fields)
    return made / Raw(payload) if payload else made


GET = b"GET / HTTP/1.1\r\n\r\n"
REFUSED = IP(src=CLIENT, dst=SERVER) / TCP(sport=41000, dport=8080)
TAKEN = {
    "syn": tcp("S", 41000, 8080),
    "syn-with-ecn": tcp("SEC", 41000, 8080),
    "syn-ack": tcp("SA", 8080, 41000),
    "syn-to-the-node-port": tcp("S", 41000, 31080),
    "rst": tcp("R", 41000, 8080),
    "rst-ack": tcp("RA", 31080, 41000),
    "held-syn": tcp("S", 20100, 8080),
    "held-request": tcp("PA", 20100, 8080, GET),
    "held-request-of-the-last": tcp("PA", 20102, 8080, GET),
    "held-answer": tcp("PA", 8080, 20101, b"x"),
    "unreachable": ICMP(type=3, code=1) / REFUSED,
    "time-exceeded": ICMP(type=11) / REFUSED,
}
LEFT = {
    "request-of-a-new-connection": tcp("PA", 41000, 8080, GET),
    "its-answer": tcp("PA", 8080, 41000, GET),
    "acknowledgement": tcp("A", 41000, 8080),
    "end": tcp("FA", 41000, 8080),
    "held-acknowledgement": tcp("A", 20100, 8080),
    "syn-to-another-port": tcp("S", 41000, 443),
    "another-port-s-rst": tcp("RA", 443, 41000),
    "beside-the-held": tcp("PA", 20103, 8080, GET),
    "before-the-held": tcp("PA", 8080, 20099, GET),
    "udp": UDP(sport=8080, dport=20100) / Raw(b"\x02" * 40),
    "echo-request": ICMP(type=8) / Raw(b"x" * 40),
    "echo-reply": ICMP(type=0) / Raw(b"x" * 40),
}


def all_passed(frames: list[Frame], filter: str) -> list[bool]:
    """For each frame whether tcpdump lets it pass: one process for all, told apart by their times."""
    for position, frame in enumerate(frames):
        frame.time = 1_600_000_000 + position
    tcpdump = shutil.which("tcpdump")
    assert tcpdump, ".ci/prepare installs tcpdump"
    done = subprocess.run(
        [tcpdump, "-r", "-", "-w", "-", filter], input=pcap(frames), capture_output=True, timeout=20
    )
    assert done.returncode == 0, done.stderr.decode()
    seen = {round(packet.time) - 1_600_000_000 for packet in parse_pcap(done.stdout).packets}
    return [position in seen for position in range(len(frames))]


@pytest.mark.parametrize("form", FORMS)
def test_what_passes_the_filter(form: str) -> None:
    cases = TAKEN | LEFT
    frames = [link(FORMS[form](IP(src=CLIENT, dst=SERVER) / inner)) for inner in cases.values()]
    passed = dict(zip(cases, all_passed(frames, outage_filter(PORTS, HELD)), strict=True))
    assert passed == {name: name in TAKEN for name in cases}


@pytest.mark.parametrize("form", ["bare", "vxlan", "old-vxlan"])
def test_what_passes_the_filter_of_ipv6(form: str) -> None:
    """ICMPv6: errors are the types below 128; neighbour discovery is not ours."""
    errors = {"unreachable6": ICMPv6DestUnreach(), "too-big": ICMPv6PacketTooBig()}
    others = {"echo-request6": ICMPv6EchoRequest(), "neighbour": ICMPv6ND_NS()}
    cases = {name: inner for name, inner in (TAKEN | LEFT).items() if ICMP not in inner} | errors | others
    frames = [link(FORMS[form](IPv6(src=CLIENT6, dst=SERVER6) / inner)) for inner in cases.values()]
    passed = dict(zip(cases, all_passed(frames, outage_filter(PORTS, HELD, 6)), strict=True))
    assert passed == {name: name in TAKEN or name in errors for name in cases}


def test_a_later_fragment_has_no_header_to_look_at() -> None:
    """What stands where a SYN's flags would is its payload."""
    header = bytes(TAKEN["syn"])
    whole = IP(src=CLIENT, dst=SERVER, proto=6) / Raw(header)
    fragment = IP(src=CLIENT, dst=SERVER, proto=6, frag=185) / Raw(header)
    frames = [
        link(FORMS[form](packet.copy())) for form in ("bare", "ipip", "vxlan") for packet in (whole, fragment)
    ]
    assert all_passed(frames, outage_filter(PORTS, HELD)) == [True, False] * 3


def test_a_filter_without_held_connections() -> None:
    frames = [link(IP(src=CLIENT, dst=SERVER) / TAKEN[name]) for name in ("syn", "held-request", "held-syn")]
    assert all_passed(frames, outage_filter(PORTS, ())) == [True, False, True]


@pytest.mark.parametrize("version", [4, 6])
def test_the_kernel_takes_the_filter(version: int) -> None:
    """All clients' ports, compiled: the kernel's limit is 4096 instructions (BPF_MAXINSNS)."""
    asked = outage_filter(range(8080, 8100, 2), range(20100, 20130), version)
    done = subprocess.run(["tcpdump", "-y", "EN10MB", "-ddd", asked], capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout.split()[0]) < 1000


@pytest.mark.parametrize("name", ["syn", "held-request", "unreachable"])
@pytest.mark.parametrize("form", [form for form in FORMS if form != "vxlan-inner-options"])
def test_the_snaplen_keeps_what_the_ledger_asks(form: str, name: str) -> None:
    """A client's kernel sends no IPv4 options, in VXLAN least of all."""
    frame = link(FORMS[form](IP(src=CLIENT, dst=SERVER) / TAKEN[name]))
    frame.time = 0.0
    (packet,) = parse_pcap(pcap([frame], snaplen=SNAPLEN[4])).packets
    if name == "unreachable":
        assert (packet.icmp, packet.quoted and str(packet.quoted.dst)) == ((3, 1), SERVER)
    else:
        assert packet.tcp is not None
        assert packet.tcp.dport == 8080


# --- the captures themselves -------------------------------------------------------------------

FLOW = [link(IP(src=CLIENT, dst=SERVER) / TAKEN[name]) for name in ("syn", "syn-ack")]
for _frame in FLOW:
    _frame.time = 1_600_000_000.0
WHOLE = pcap(FLOW)
NODE = "k8s-node2"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.fixture
def cluster() -> FakeCluster:
    made = network()
    made.say(".*", "tcpdump", says(WHOLE, counters(2)))
    return made


def observed(cluster: FakeCluster) -> tuple[Point, ...]:
    lab = observe_pod_network(cluster, Intent())
    return points(lab.source, lab.target, observe_node(cluster, cluster.nodes["k8s-master"], Intent()))


def captures(cluster: FakeCluster) -> dict[str, RawCapture]:
    where = observed(cluster)
    with capturing_outage(cluster, where, ports=PORTS, held=HELD) as seen:
        assert [*seen.captures] == []
    return {capture.id: capture for capture in seen.captures}


def test_each_point_of_the_three_paths_once(cluster: FakeCluster) -> None:
    found = captures(cluster)
    assert {name: capture.where for name, capture in found.items()} == {
        "client-uplink": "k8s-master eth1",
        "source-veth": "k8s-node2 calia5814ebbae9",
        "source-uplink": "k8s-node2 eth1",
        "target-uplink": "k8s-node1 eth1",
        "target-veth": "k8s-node1 calib8c6d5407e3",
    }
    assert all(not capture.flaw and capture.content.get() == WHOLE for capture in found.values())
    assert found["source-veth"].pcap == "outage-source-veth.pcap"


def test_what_tcpdump_is_asked(cluster: FakeCluster) -> None:
    """Not -U, not --immediate-mode: it shares a CPU with clients whose time is measured."""
    command = captures(cluster)["source-uplink"].content.command
    assert command.startswith("tcpdump -i eth1 -p -nn -s 112 -c 1500000 -Z root -w - '((ip[6:2] & 0x1fff = 0")


def test_a_window_of_a_capture(cluster: FakeCluster) -> None:
    capture = captures(cluster)["source-veth"]
    assert len(capture.between(1_600_000_000, 1_600_000_001).packets) == 2
    assert capture.between(1_600_000_001, 1_600_000_002).packets == ()


@pytest.mark.parametrize(
    ("answer", "flaw"),
    [
        pytest.param(says(WHOLE, counters(2, dropped=3)), "the kernel dropped 3 of its packets", id="drops"),
        pytest.param(says(WHOLE, "tcpdump: listening on eth1\n"), "tcpdump: no line says", id="no-counters"),
        pytest.param(says(WHOLE[:-5], counters(2)), "pcap: cut inside packet 2", id="cut-in-a-packet"),
        pytest.param(
            says(WHOLE, counters(4)),
            "it is cut: tcpdump captured 4 packets and 2 arrived",
            id="cut-between-packets",
        ),
        pytest.param(
            says(WHOLE, "tcpdump: pcap_loop: The interface disappeared\n" + counters(2), 1),
            "tcpdump: the capture ended by itself (near 'tcpdump: pcap_loop: The interface disappeared')",
            id="interface-gone",
        ),
        pytest.param(says(WHOLE, counters(2), 137), "tcpdump exited with status 137", id="killed"),
    ],
)
def test_what_a_flawed_capture_shows_still_counts(cluster: FakeCluster, answer: Any, flaw: str) -> None:
    """Its silence does not: a point that saw a packet saw it, whatever came later."""
    cluster.say(NODE, "tcpdump -i eth1", answer)
    capture = captures(cluster)["source-uplink"]
    assert capture.flaw.startswith(flaw)
    assert capture.between(0, 2e9).packets
    assert captures(cluster)["target-uplink"].flaw == "", "the other points go on"


def test_a_capture_that_reached_its_limit(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage_captures, "LIMIT", 2)
    assert captures(cluster)["source-uplink"].flaw == "it ended after 2 packets"
    monkeypatch.setattr(outage_captures, "LIMIT", 3)
    assert captures(cluster)["source-uplink"].flaw == ""


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        pytest.param(
            says(b"", "sh: 1: tcpdump: not found\n", 127), f"tcpdump is not installed on {NODE}", id="missing"
        ),
        pytest.param(NodeUnreachable("k8s-node2 is gone"), "k8s-node2 is gone", id="node-gone"),
    ],
)
def test_a_point_without_a_capture_says_why(cluster: FakeCluster, answer: Any, failure: str) -> None:
    cluster.say(NODE, "tcpdump -i eth1", answer)
    capture = captures(cluster)["source-uplink"]
    assert capture.content.failure == failure
    with pytest.raises(NotObserved, match=failure):
        capture.between(0, 2e9)


def test_one_that_listened_too_late_is_flawed(cluster: FakeCluster) -> None:
    where = observed(cluster)
    cluster.not_listening[NODE] = CommandTimeout("tcpdump said nothing for 10 s")
    with capturing_outage(cluster, where, ports=PORTS, held=HELD) as seen:
        pass
    late = {capture.id: capture.flaw for capture in seen.captures if capture.flaw}
    assert late == dict.fromkeys(
        ("source-veth", "source-uplink"),
        "tcpdump was not listening before the request: tcpdump said nothing for 10 s",
    )


def test_captures_end_when_the_watch_is_interrupted(cluster: FakeCluster) -> None:
    where = observed(cluster)
    before = len(cluster.spawned)
    with pytest.raises(KeyboardInterrupt), capturing_outage(cluster, where, ports=PORTS, held=HELD):
        raise KeyboardInterrupt
    assert [run.stopped for run in cluster.spawned[before:]] == [1] * 5


def test_whoever_waits_takes_in_what_they_wrote(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running command's output is read by whoever asks for it: nobody else empties its pipe."""
    drained: list[RunningCommand] = []
    monkeypatch.setattr(FakeRun, "drain", lambda run: drained.append(run))
    where = observed(cluster)
    before = len(cluster.spawned)
    cluster.say("k8s-master", "tcpdump", NodeUnreachable("gone"))
    with capturing_outage(cluster, where, ports=PORTS, held=HELD) as seen:
        seen.take_in()
        assert drained == cluster.spawned[before:]
        assert len(drained) == 4
