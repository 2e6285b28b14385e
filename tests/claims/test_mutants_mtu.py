"""MTUs, sizes and ICMP codes one unit to either side of what fits."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from pytest_k8snet.claims.ledger import Ledger
from pytest_k8snet.claims.mtu import LARGE, OVERHEAD, arrived, link_fits, tunnel_fits, unfragmented
from pytest_k8snet.claims.verdict import Outcome, Verdict
from pytest_k8snet.evidence.interfaces import Interface
from pytest_k8snet.evidence.observations import PodEvidence, PodNetworkLab
from pytest_k8snet.evidence.packets import IPHeader, Packet
from pytest_k8snet.intent import Intent
from tests.claims import scenes
from tests.claims.judge import assert_broken, assert_held, assert_inconclusive
from tests.claims.scenes import DEST_IP, MASTER, SRC_IP, packets_at, with_point

INTENT = Intent()


def pod(mtu: int) -> PodEvidence:
    """pod-src with another MTU; its node's uplink carries 1500, its tunl0 1480."""
    made = scenes.pod_src()
    inside = tuple(replace(i, mtu=mtu) if i.name == "eth0" else i for i in made.inside.get())
    return replace(made, inside=replace(made.inside, value=inside))


def test_envelopes_add_their_headers() -> None:
    """IPv4 20; IPv4 20 + UDP 8 + VXLAN 8 + Ethernet 14 (RFC 2003; RFC 7348, 5)."""
    assert OVERHEAD == {"ipip": 20, "vxlan": 20 + 8 + 8 + 14, None: 0}
    assert LARGE == 65536


@pytest.mark.parametrize(("kind", "fits"), [("ipip", 1480), ("vxlan", 1450), (None, 1500)])
def test_the_envelope_fits_the_uplink_to_the_byte(kind: str | None, fits: int) -> None:
    assert_held(link_fits(pod(fits), kind))
    verdict = link_fits(pod(fits + 1), kind)
    assert_broken(verdict, f"{fits + 1} + {1500 - fits} = 1501, uplink 1500")
    assert verdict.advice.endswith(f"to at most {fits}")


def test_the_narrowest_tunnel_counts() -> None:
    assert_held(tunnel_fits(pod(1480), "ipip"))
    assert_broken(tunnel_fits(pod(1481), "ipip"), "1481, tunl0 1480")
    made = pod(1480)
    more = (
        *made.node.interfaces.get(),
        Interface(9, "tunl1", 1400, "ipip"),
        Interface(10, "tunl2", 9000, "ipip"),
    )
    node = replace(made.node, interfaces=replace(made.node.interfaces, value=more))
    assert_broken(tunnel_fits(replace(made, node=node), "ipip"), "1480, tunl1 1400")


def with_large(size: int, **changes: object) -> PodNetworkLab:
    lab = scenes.pod_network()
    answer = replace(lab.large.answer.get(), size=size, **changes)  # type: ignore[arg-type]
    return replace(lab, large=replace(lab.large, answer=replace(lab.large.answer, value=answer)))


@pytest.mark.parametrize(("kind", "mtu"), [("vxlan", 1430), ("ipip", 1460), (None, 1500)])
def test_an_ipv6_envelope_is_20_bytes_longer(kind: str | None, mtu: int) -> None:
    pod = scenes.pod_src()
    uplink = replace(pod.node.uplink.get(), ip=ip_address("fd00:219::23"))
    pod = replace(pod, node=replace(pod.node, uplink=replace(pod.node.uplink, value=uplink)))
    for wide in (0, 1):
        eth0 = tuple(replace(i, mtu=mtu + wide) if i.name == "eth0" else i for i in pod.inside.get())
        verdict = link_fits(replace(pod, inside=replace(pod.inside, value=eth0)), kind)
        assert verdict.outcome is (Outcome.BROKEN if wide else Outcome.HELD)


def test_a_large_answer_has_64_kib() -> None:
    assert_held(arrived(with_large(65536), INTENT))
    assert_inconclusive(arrived(with_large(65535), INTENT), "too small to show anything")
    assert_broken(arrived(with_large(65536, error="timed out"), INTENT), "65536 bytes, HTTP 200 (timed out)")
    assert_broken(arrived(with_large(70000, status=500), INTENT), "HTTP 500")


def beside(packet: Packet) -> Verdict:
    """The verdict on pod-src's interface with one packet more in the large answer's capture."""
    lab = scenes.pod_network()
    large = with_point(lab.large, "source-veth", (*packets_at(lab.large, "source-veth"), packet))
    lab = replace(lab, large=large)
    return unfragmented(Ledger.of(large, INTENT).hop("source-veth"), lab, "ipip")


@pytest.mark.parametrize(
    ("code", "asks"),
    [((3, 4), True), ((3, 3), False), ((3, 5), False), ((2, 4), False), ((4, 4), False), ((2, 0), False)],
)
def test_only_type_3_code_4_asks_for_smaller_packets(code: tuple[int, int], asks: bool) -> None:
    header = IPHeader(ip_address(DEST_IP), ip_address(SRC_IP), 1, 64)
    expected = Outcome.BROKEN if asks else Outcome.HELD
    assert beside(Packet(9, 0.0, header, icmp=code)).outcome is expected


@pytest.mark.parametrize(
    ("code", "asks"), [((2, 0), True), ((1, 0), False), ((3, 0), False), ((2, 1), False), ((3, 4), False)]
)
def test_in_ipv6_it_is_type_2_code_0(code: tuple[int, int], asks: bool) -> None:
    lab = scenes.pod_network()
    address = ip_address("fd00::5")
    packet = Packet(9, 0.0, IPHeader(ip_address("fd00::1"), address, 58, 64), icmp=code)
    large = with_point(lab.large, "source-veth", (packet,))
    large = replace(
        large, client_ip=address, target=replace(large.target, pod=replace(large.target.pod, ips=(address,)))
    )
    verdict = unfragmented(Ledger.of(large, INTENT).hop("source-veth"), replace(lab, large=large), "ipip")
    assert verdict.outcome is (Outcome.BROKEN if asks else Outcome.HELD)


@pytest.mark.parametrize(
    ("src", "dst", "counts"), [(SRC_IP, DEST_IP, True), (SRC_IP, MASTER, False), (MASTER, DEST_IP, False)]
)
def test_fragments_count_where_both_ends_are_of_the_lab(src: str, dst: str, counts: bool) -> None:
    for fragment in ({"more_fragments": True}, {"fragment_offset": 8}):
        header = IPHeader(ip_address(src), ip_address(dst), 6, 64, **fragment)
        assert beside(Packet(9, 0.0, header)).outcome is (Outcome.BROKEN if counts else Outcome.HELD)
