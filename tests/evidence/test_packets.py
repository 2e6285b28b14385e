from __future__ import annotations

import struct
from ipaddress import ip_address
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.packets import Capture, IPHeader, Packet, parse_pcap
from tests import wire

CLIENT, SERVER = ("20.109.131.5", 35096), ("20.111.156.72", 8080)
OUTER = ("192.168.219.23", "192.168.219.22")
ETHER = Ether(src=wire.MAC, dst=wire.MAC)  # without addresses scapy would ask the network for them
REQUEST = b"GET /hostname HTTP/1.1\r\nHost: 20.111.156.72:8080\r\nX-K8snet: token-1\r\n\r\n"


#: A VXLAN header (RFC 7348: the I flag, VNI 1) and a frame inside it.
VXLAN = b"\x08\x00\x00\x00\x00\x00\x01\x00"
INSIDE = bytes(ETHER / IP(src=CLIENT[0], dst=SERVER[0]) / TCP(dport=SERVER[1]))


def one(frame: wire.Frame, **options: Any) -> Packet:
    (packet,) = parse_pcap(wire.pcap([frame], **options)).packets
    return packet


def segment(**fields: Any) -> wire.Frame:
    return IP(src=CLIENT[0], dst=SERVER[0]) / TCP(sport=CLIENT[1], dport=SERVER[1], **fields)


@pytest.mark.parametrize("kind", sorted(wire.LINKTYPES))
@pytest.mark.parametrize("tunnel", [None, "ipip", "vxlan"])
def test_a_flow_reads_the_same_on_every_link_and_in_every_tunnel(kind: str, tunnel: str | None) -> None:
    flow = wire.http_flow(CLIENT, SERVER, "token-1", kind=kind, tunnel=tunnel, outer=OUTER, ttl=63)
    packets = parse_pcap(wire.pcap(flow)).packets

    assert [packet.tcp.flags for packet in packets if packet.tcp] == [
        *("S", "SA", "A", "PA", "PA", "A", "FA", "FA", "A")
    ]
    request = packets[3]
    assert (str(request.ip.src), str(request.ip.dst), request.ip.ttl) == (CLIENT[0], SERVER[0], 63)
    assert request.ip.dont_fragment
    assert request.tcp is not None
    assert (request.tcp.sport, request.tcp.dport) == (CLIENT[1], SERVER[1])
    assert (request.tcp.seq, request.tcp.ack) == (1_001, 900_001)
    assert request.tcp.payload == REQUEST
    assert request.number == 4
    assert request.time == pytest.approx(wire.START + 0.0003)
    assert [layer.kind for layer in request.tunnels] == ([tunnel] if tunnel else [])
    assert request.bare == (tunnel is None)
    for layer in request.tunnels:
        assert (str(layer.outer.src), str(layer.outer.dst)) == OUTER
    for layer in packets[4].tunnels:
        assert (str(layer.outer.src), str(layer.outer.dst)) == OUTER[::-1]


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_every_byte_order_and_clock(big_endian: bool, nanoseconds: bool) -> None:
    flow = wire.http_flow(CLIENT, SERVER, "token-1")
    capture = parse_pcap(wire.pcap(flow, big_endian=big_endian, nanoseconds=nanoseconds))
    assert [packet.time for packet in capture.packets] == [
        pytest.approx(wire.START + position * 0.0001, abs=1e-6) for position in range(len(flow))
    ]


def test_vxlan_says_its_network_and_port() -> None:
    (calico,) = one(wire.link(wire.encapsulate(segment(), "vxlan", OUTER))).tunnels
    assert (calico.vni, calico.udp_port) == (4096, 4789)
    (flannel,) = one(wire.link(wire.encapsulate(segment(), "vxlan", OUTER, vni=1, udp_port=8472))).tunnels
    assert (flannel.vni, flannel.udp_port) == (1, 8472)


def test_a_vxlan_header_s_reserved_bits_are_ignored() -> None:
    """RFC 7348, 5: they are to be ignored on receipt."""
    header = b"\xff\xff\xff\xff\xab\xcd\xef\xff"
    (tunnel,) = one(ETHER / IP(dst=OUTER[1]) / wire.UDP(dport=4789) / (header + INSIDE)).tunnels
    assert tunnel.vni == 0xABCDEF


def test_a_doubled_tunnel_shows_both() -> None:
    once = wire.encapsulate(segment(), "ipip", ("20.109.131.0", "20.111.156.64"))
    packet = one(wire.link(wire.encapsulate(once, "ipip", OUTER)))
    assert [str(tunnel.outer.dst) for tunnel in packet.tunnels] == [OUTER[1], "20.111.156.64"]
    assert str(packet.ip.dst) == SERVER[0]
    mixed = wire.encapsulate(wire.encapsulate(segment(), "ipip", OUTER), "vxlan", OUTER)
    assert [tunnel.kind for tunnel in one(wire.link(mixed)).tunnels] == ["vxlan", "ipip"]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xf7" + VXLAN[1:] + INSIDE, id="no I flag"),
        pytest.param(VXLAN[:4], id="half a VXLAN header"),
        pytest.param(VXLAN[:7], id="a VXLAN header short of one byte"),
    ],
)
def test_udp_to_the_vxlan_port_is_not_always_vxlan(payload: bytes) -> None:
    packet = one(ETHER / IP(src=OUTER[0], dst=OUTER[1]) / wire.UDP(dport=4789) / payload)
    assert packet.bare
    assert packet.ip.protocol == 17


@pytest.mark.parametrize(
    ("protocol", "content"),
    [
        pytest.param(17, bytes(wire.UDP(dport=4788)) + VXLAN + INSIDE, id="another UDP port"),
        pytest.param(17, bytes(wire.UDP(dport=53)) + VXLAN + INSIDE, id="DNS"),
        pytest.param(6, bytes(TCP(dport=4789, dataofs=5))[:8] + VXLAN + INSIDE, id="TCP to that port"),
        pytest.param(132, bytes(wire.UDP(dport=4789)) + VXLAN + INSIDE, id="SCTP to that port"),
        pytest.param(17, bytes(wire.UDP(dport=4789))[:4], id="a UDP header that is not whole"),
    ],
)
def test_only_udp_to_the_vxlan_ports_is_vxlan(protocol: int, content: bytes) -> None:
    packet = one(ETHER / IP(src=OUTER[0], dst=OUTER[1], proto=protocol) / content)
    assert packet.bare
    assert (str(packet.ip.dst), packet.ip.protocol) == (OUTER[1], protocol)


@pytest.mark.parametrize("protocol", [0, 2, 5, 7, 17, 50, 58, 132])
def test_only_tcp_is_read_as_tcp_and_only_icmp_as_icmp(protocol: int) -> None:
    packet = one(ETHER / IP(dst=SERVER[0], proto=protocol) / bytes(TCP(dport=8080) / REQUEST))
    assert (packet.tcp, packet.icmp) == (None, None)


@pytest.mark.parametrize(
    ("content", "icmp"), [(b"", None), (b"\x03", None), (b"\x03\x04", (3, 4)), (b"\x03\x04\x00", (3, 4))]
)
def test_icmp_is_read_where_its_type_and_code_are_there(content: bytes, icmp: tuple[int, int] | None) -> None:
    assert one(ETHER / IP(dst=CLIENT[0], proto=1) / content).icmp == icmp
    assert one(ETHER / wire.IPv6(nh=58) / content).icmp == icmp
    assert one(ETHER / wire.IPv6(nh=1) / content).icmp is None


@pytest.mark.parametrize("type", [3, 11])
def test_what_an_icmp_error_quotes(type: int) -> None:
    """A router quotes the header and eight bytes of what it dropped (RFC 792), often more (RFC 1812)."""
    dropped = wire.IP(src=CLIENT[0], dst=SERVER[0], proto=4, len=1500) / b"\x45\x00\x05\xc8\x00\x00\x00\x00"
    quoted = one(
        ETHER / wire.IP(src="10.0.0.1", proto=1) / bytes([type, 4, 0, 0, 0, 0, 5, 120]) / dropped
    ).quoted
    assert quoted is not None
    assert (str(quoted.src), str(quoted.dst), quoted.protocol, quoted.length) == (
        CLIENT[0],
        SERVER[0],
        4,
        1500,
    )


@pytest.mark.parametrize(
    "content", [b"\x03\x04", b"\x03\x04" + bytes(6), b"\x03\x04" + bytes(6) + b"\x45\x00"]
)
def test_an_icmp_error_that_quotes_nothing_readable(content: bytes) -> None:
    packet = one(ETHER / wire.IP(proto=1) / content)
    assert (packet.icmp, packet.quoted) == ((3, 4), None)


def test_an_echo_quotes_nothing() -> None:
    inner = bytes(wire.IP(src=CLIENT[0], dst=SERVER[0]))
    assert one(ETHER / wire.IP(proto=1) / (b"\x08" + bytes(7) + inner)).quoted is None
    assert one(ETHER / wire.IPv6(nh=58) / (b"\x80" + bytes(7) + inner)).quoted is None
    inner = bytes(wire.IPv6(src="fd00::1", dst="fd00::2"))
    quoted = one(ETHER / wire.IPv6(nh=58) / (b"\x02" + bytes(7) + inner)).quoted
    assert quoted is not None
    assert str(quoted.dst) == "fd00::2"


def test_arp_inside_vxlan_leaves_the_outer_packet() -> None:
    frame = ETHER / IP(dst=OUTER[1]) / wire.UDP(dport=4789) / wire.VXLAN(flags="Instance") / ETHER
    packet = one(frame / wire.ARP())
    assert packet.bare
    assert str(packet.ip.dst) == OUTER[1]


def test_ipv6_with_extension_headers_and_fragments() -> None:
    from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment

    base = wire.IPv6(src="fd00::1", dst="fd00::2", hlim=63)
    packet = one(ETHER / base / IPv6ExtHdrDestOpt() / TCP(dport=8080, flags="S"))
    assert (packet.ip.src, packet.ip.ttl, packet.ip.protocol) == (ip_address("fd00::1"), 63, 6)
    assert packet.tcp is not None
    assert packet.tcp.dport == 8080

    later = one(ETHER / base / IPv6ExtHdrFragment(id=7, offset=3, nh=6, m=1) / bytes(24))
    assert (later.ip.fragment_offset, later.ip.more_fragments, later.ip.ident) == (24, True, 7)
    assert later.tcp is None

    ended = one(ETHER / wire.IPv6(src="fd00::1", dst="fd00::2", nh=60) / bytes([6, 0]) / bytes(6))
    assert (ended.ip.protocol, ended.tcp) == (6, None)

    error = one(ETHER / wire.IPv6(src="fd00::1", dst="fd00::2", nh=58) / b"\x02\x00" / bytes(6))
    assert error.icmp == (2, 0)


@pytest.mark.parametrize("header", [0, 43, 60])
@pytest.mark.parametrize("words", [0, 1, 3])
def test_ipv6_extension_headers_are_stepped_over(header: int, words: int) -> None:
    """RFC 8200, 4.2: their length is in units of 8 bytes, the first one not counted."""
    extension = bytes([6, words]) + b"\xff" * (6 + 8 * words)
    packet = one(ETHER / wire.IPv6(nh=header) / (extension + bytes(TCP(dport=8080) / REQUEST)))
    assert packet.tcp is not None
    assert (packet.tcp.dport, packet.tcp.payload) == (8080, REQUEST)


@pytest.mark.parametrize("protocol", [1, 42, 50, 59, 61])
def test_other_ipv6_headers_are_what_the_packet_is(protocol: int) -> None:
    packet = one(ETHER / wire.IPv6(nh=protocol) / (bytes([6, 0]) + bytes(6) + bytes(TCP())))
    assert (packet.ip.protocol, packet.tcp, packet.icmp) == (protocol, None, None)


def test_an_ipv6_header_without_extensions_says_no_more() -> None:
    packet = one(ETHER / wire.IPv6(src="fd00::1", dst="fd00::2", hlim=63) / TCP() / b"body")
    assert packet.ip == IPHeader(ip_address("fd00::1"), ip_address("fd00::2"), 6, 63, length=64)
    assert not packet.ip.fragment
    assert not packet.ip.dont_fragment


@pytest.mark.parametrize("kept", [0, 1, 4, 7])
def test_an_ipv6_extension_header_that_is_not_whole_is_not_read(kept: int) -> None:
    packet = one(ETHER / wire.IPv6(nh=60) / (bytes([6, 0]) + bytes(6))[:kept])
    assert (packet.ip.protocol, packet.tcp, packet.ip.length) == (60, None, 40 + kept)


def test_a_later_ipv6_fragment_holds_no_headers() -> None:
    from scapy.layers.inet6 import IPv6ExtHdrFragment

    looks_like_one = bytes([6, 0]) + bytes(6) + bytes(TCP(dport=8080) / REQUEST)
    for position, protocol in ((0, 6), (3, 60)):
        fragment = IPv6ExtHdrFragment(offset=position, m=1, nh=60)
        packet = one(ETHER / wire.IPv6() / fragment / looks_like_one)
        assert (packet.ip.protocol, packet.tcp is None) == (protocol, position > 0)


def test_ipv6_says_its_length_without_its_header() -> None:
    """RFC 8200, 3; 0 stands for a send over 64 KiB that the kernel had not cut yet (RFC 2675)."""
    inside = bytes(TCP(flags="A"))
    padded = bytes(ETHER / wire.IPv6(plen=20) / inside) + b"\xaa" * 6
    assert one(padded).tcp == one(padded[:-6]).tcp
    assert one(padded).ip.length == 60
    uncut = one(ETHER / wire.IPv6(plen=0, nh=6) / (inside + b"x" * 100))
    assert uncut.tcp is not None
    assert (uncut.ip.length, len(uncut.tcp.payload)) == (160, 100)


def test_vlan_tags_are_taken_off() -> None:
    tags = wire.Dot1Q(vlan=7) / wire.Dot1Q(vlan=8)
    assert one(ETHER / tags / segment(flags="S")).tcp is not None


@pytest.mark.parametrize("tag", [0x8100, 0x88A8, 0x9100])
def test_every_kind_of_vlan_tag(tag: int) -> None:
    macs = bytes(ETHER)[:12]
    tagged = macs + struct.pack(">HHH", tag, 7, 0x0800) + bytes(segment(flags="S"))
    assert one(tagged, linktype=1).tcp is not None
    for other in (tag - 1, tag + 1):
        unknown = macs + struct.pack(">HHH", other, 7, 0x0800) + bytes(segment(flags="S"))
        assert parse_pcap(wire.pcap([unknown], linktype=1)).not_ip == 1


def test_frames_that_are_no_ip_are_counted() -> None:
    stp = b"\x01\x80\xc2\x00\x00\x00" + bytes(6) + b"\x00\x26" + bytes(38)
    frames = [ETHER / wire.ARP(), stp, ETHER / segment()]
    capture = parse_pcap(wire.pcap(frames, linktype=1))
    assert (len(capture.packets), capture.not_ip) == (1, 2)
    assert capture.packets[0].number == 3
    assert parse_pcap(wire.pcap([wire.CookedLinux(proto=0x0806) / wire.ARP()])).not_ip == 1
    for nothing in (b"", b"\x00\x01", b"\x50" + bytes(39), b"\x70" + bytes(39)):
        assert parse_pcap(wire.pcap([nothing], linktype=101)).not_ip == 1


@pytest.mark.parametrize(
    ("header", "linktype", "size"), [(wire.CookedLinux, 113, 16), (wire.CookedLinuxV2, 276, 20)]
)
def test_a_cooked_header_is_there_in_full_or_it_is_cut(header: Any, linktype: int, size: int) -> None:
    arp, ipv4 = bytes(header(proto=0x0806)), bytes(header(proto=0x0800))
    assert len(arp) == len(ipv4) == size
    assert parse_pcap(wire.pcap([arp], linktype=linktype)) == Capture((), 1)
    for kept in range(size):
        with pytest.raises(ParseError, match="the cooked link header is cut"):
            parse_pcap(wire.pcap([ipv4[:kept]], linktype=linktype))
    with pytest.raises(ParseError, match="the IP header is cut"):
        parse_pcap(wire.pcap([ipv4], linktype=linktype))


def test_raw_ip_is_of_either_version() -> None:
    assert one(segment()).ip.dst == ip_address(SERVER[0])
    assert one(wire.IPv6(src="fd00::1", dst="fd00::2") / TCP()).ip.dst == ip_address("fd00::2")


def test_an_empty_capture_is_a_capture() -> None:
    assert parse_pcap(wire.pcap([])) == Capture(())
    assert Capture(()).not_ip == 0


def test_padding_is_not_payload() -> None:
    frame = wire.Ether(dst=wire.MAC, src=wire.MAC) / segment(flags="A")
    padded = bytes(frame) + b"\xaa" * 20
    packet = one(padded)
    assert packet.tcp is not None
    assert packet.tcp.payload == b""
    assert packet.ip.length == 40


def test_a_large_send_that_the_kernel_had_not_cut_yet() -> None:
    raw = bytearray(bytes(segment(flags="A") / (b"x" * 100)))
    raw[2:4] = b"\x00\x00"  # a GSO packet over 64 KiB has no length that fits
    packet = one(bytes(raw), linktype=101)
    assert packet.tcp is not None
    assert len(packet.tcp.payload) == 100


def test_fragments_after_the_first_have_no_tcp() -> None:
    first = one(ETHER / IP(dst=SERVER[0], flags="MF", id=9) / TCP(dport=8080) / bytes(4))
    assert first.ip.fragment
    assert first.tcp is not None
    for position in (1, 3, 8191):  # in units of 8 bytes (RFC 791, 3.1)
        later = one(ETHER / IP(dst=SERVER[0], frag=position, id=9, proto=6) / bytes(TCP() / REQUEST))
        assert (later.ip.fragment_offset, later.ip.ident, later.tcp) == (8 * position, 9, None)
        assert later.ip.fragment
    assert not one(ETHER / IP(dst=SERVER[0], flags="DF") / TCP()).ip.fragment


@pytest.mark.parametrize("version", [0, 3, 5, 7, 15])
def test_ip_is_of_version_4_or_6(version: int) -> None:
    with pytest.raises(ParseError, match=f"IP version {version}"):
        one(ETHER / IP(version=version) / TCP())


def test_a_header_with_nothing_behind_it() -> None:
    packet = one(ETHER / IP(dst=SERVER[0], proto=6))
    assert (packet.ip.length, packet.tcp) == (20, None)


@pytest.mark.parametrize(
    ("flags", "dont_fragment", "more_fragments"),
    [("", False, False), ("MF", False, True), ("DF", True, False), ("evil", False, False)],
)
def test_the_flags_of_ipv4(flags: str, dont_fragment: bool, more_fragments: bool) -> None:
    header = one(ETHER / IP(dst=SERVER[0], flags=flags) / TCP()).ip
    assert (header.dont_fragment, header.more_fragments) == (dont_fragment, more_fragments)


def test_a_packet_is_shown_without_what_it_carries() -> None:
    packet = one(ETHER / segment(flags="PA") / REQUEST)
    assert packet.tcp is not None
    assert packet.tcp.payload == REQUEST
    assert "GET" not in repr(packet)


def test_fragments_of_a_tunnel() -> None:
    later = one(ETHER / IP(src=OUTER[0], dst=OUTER[1], frag=3, proto=4) / bytes(40))
    assert later.bare
    assert later.ip.protocol == 4
    for payload, protocol in ((bytes(segment())[:8], 4), (bytes(wire.UDP(dport=4789) / wire.VXLAN()), 17)):
        first = one(ETHER / IP(dst=OUTER[1], flags="MF", proto=protocol) / payload)
        assert first.bare
        assert first.ip.more_fragments


def test_a_snaplen_leaves_what_it_leaves() -> None:
    flow = wire.http_flow(CLIENT, SERVER, "token-1")[3:4]
    assert one(flow[0], snaplen=100).tcp.payload == REQUEST[: 100 - 14 - 20 - 32]  # type: ignore[union-attr]
    short = one(flow[0], snaplen=14 + 20 + 10)
    assert (str(short.ip.dst), short.tcp) == (SERVER[0], None)


@pytest.mark.parametrize("snaplen", [10, 14, 20, 14 + 20 + 10])
def test_a_snaplen_that_hides_an_address_is_an_error(snaplen: int) -> None:
    flow = wire.http_flow(CLIENT, SERVER, "token-1", tunnel="ipip")
    with pytest.raises(ParseError, match=f"packet 1: .* cut: only {snaplen} of"):
        parse_pcap(wire.pcap(flow, snaplen=snaplen))


@pytest.mark.parametrize(
    ("frame", "linktype"),
    [
        (wire.Ether(src=wire.MAC, dst=wire.MAC, type=0x0800), 1),
        (b"\x00" * 13, 1),
        (wire.CookedLinux(proto=0x0800), 113),
        (b"\x00" * 15, 113),
        (ETHER / IP(version=5) / TCP(), 1),
        (ETHER / IP(ihl=4) / TCP(), 1),
        (ETHER / IP(len=19) / TCP(), 1),
        (wire.Ether(src=wire.MAC, dst=wire.MAC, type=0x86DD) / bytes(wire.IPv6())[:39], 1),
        (ETHER / IP(proto=4) / b"\x00", 1),
        (ETHER / IP() / wire.UDP(dport=4789) / wire.VXLAN(flags="Instance") / b"\x00", 1),
    ],
)
def test_headers_that_say_impossible_things_are_errors(frame: wire.Frame | bytes, linktype: int) -> None:
    with pytest.raises(ParseError, match="packet 1: ") as caught:
        parse_pcap(wire.pcap([bytes(frame)], linktype=linktype))
    assert "were captured" not in str(caught.value), "the frame is whole: no snaplen is to blame"


def test_icmp_and_an_impossible_tcp_header() -> None:
    needed = one(ETHER / IP(dst=CLIENT[0]) / wire.ICMP(type=3, code=4))
    assert needed.icmp == (3, 4)
    assert one(ETHER / IP(dst=CLIENT[0]) / TCP(dataofs=4)).tcp is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "pcapng"),
        (b"#!/bin/sh\n" + bytes(40), "magic"),
        (wire.pcap([])[:20], "cut inside the file header"),
        (wire.pcap([], linktype=147), "link type 147"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 1, 0, 0, 0, 65535, 1), r"version 1\.0"),
        (wire.pcap([]) + struct.pack("<IIII", 1, 2_000_000, 0, 0), "impossible"),
        (wire.pcap([]) + struct.pack("<IIII", 1, 0, 300_000, 300_000), "impossible"),
        (wire.pcap([]) + struct.pack("<IIII", 1, 0, 20, 10) + bytes(20), "impossible"),
    ],
)
def test_files_that_are_no_whole_pcap(content: bytes, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_pcap(content)


FLOW = wire.http_flow(CLIENT, SERVER, "token-1", tunnel="vxlan")
FILE = wire.pcap(FLOW)
ENDS = list(accumulate((16 + len(bytes(frame)) for frame in FLOW), initial=24))


@given(cut=st.integers(0, len(FILE) - 1))
def test_a_file_cut_anywhere_but_between_packets_is_an_error(cut: int) -> None:
    if cut in ENDS:
        assert len(parse_pcap(FILE[:cut]).packets) == ENDS.index(cut)
    else:
        with pytest.raises(ParseError):
            parse_pcap(FILE[:cut])


@given(position=st.integers(0, len(FILE) - 1), value=st.binary(min_size=1, max_size=8))
def test_a_damaged_file_gives_packets_or_a_parse_error(position: int, value: bytes) -> None:
    damaged = FILE[:position] + value + FILE[position + len(value) :]
    try:
        parse_pcap(damaged)
    except ParseError:
        return


@given(st.sampled_from([1, 101, 113, 276]), st.lists(st.binary(max_size=120), max_size=4))
@settings(max_examples=200)
def test_arbitrary_frames_give_packets_or_a_parse_error(linktype: int, frames: list[bytes]) -> None:
    try:
        capture = parse_pcap(wire.pcap(frames, linktype=linktype))
    except ParseError:
        return
    assert len(capture.packets) + capture.not_ip == len(frames)


@st.composite
def stacks(draw: st.DrawFn) -> wire.Frame:
    """TCP in one to three IPv4 headers, options and fields at random."""
    address = st.ip_addresses(v=4).map(str)
    frame: wire.Frame = TCP(
        sport=draw(st.integers(0, 65535)),
        dport=draw(st.integers(0, 65535)),
        seq=draw(st.integers(0, 2**32 - 1)),
        ack=draw(st.integers(0, 2**32 - 1)),
        flags=draw(st.integers(0, 0x1FF)),
        options=[("NOP", None)] * draw(st.integers(0, 8)),
    ) / draw(st.binary(max_size=40))
    for _ in range(draw(st.integers(1, 3))):
        frame = (
            IP(
                src=draw(address),
                dst=draw(address),
                ttl=draw(st.integers(0, 255)),
                id=draw(st.integers(0, 65535)),
                flags=draw(st.sampled_from(["", "DF"])),
                options=[wire.IPOption_NOP()] * draw(st.integers(0, 4)),
            )
            / frame
        )
    return Ether(src=wire.MAC, dst=wire.MAC) / frame


@given(stacks())
def test_what_is_read_is_what_scapy_dissects(frame: wire.Frame) -> None:
    packet = one(bytes(frame))
    oracle = Ether(bytes(frame))
    headers = []
    layer = oracle.payload
    while isinstance(layer, IP):
        headers.append(layer)
        layer = layer.payload
    for ours, theirs in zip([*(t.outer for t in packet.tunnels), packet.ip], headers, strict=True):
        assert (str(ours.src), str(ours.dst), ours.ttl, ours.ident, ours.protocol, ours.length) == (
            *(theirs.src, theirs.dst, theirs.ttl, theirs.id, theirs.proto, theirs.len),
        )
        assert ours.dont_fragment == ("DF" in theirs.flags)
    assert packet.tcp is not None
    assert (packet.tcp.sport, packet.tcp.dport, packet.tcp.seq, packet.tcp.ack, packet.tcp.flags) == (
        *(layer.sport, layer.dport, layer.seq, layer.ack, str(layer.flags)),
    )
    assert packet.tcp.payload == bytes(layer.payload)
