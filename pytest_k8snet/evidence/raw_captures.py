"""Captures that are too long to decode whole: the pcap file is kept, and read only around a moment."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8snet.evidence import packets, pcap
from pytest_k8snet.evidence.packets import Capture
from pytest_k8snet.evidence.reading import Reading


@dataclass(frozen=True)
class RawCapture:
    """One tcpdump of the outage watch, which may serve several paths.

    ``id``: "client-uplink", "source-veth", "source-uplink", "target-uplink", "target-veth".
    """

    id: str
    node: str
    interface: str
    content: Reading[bytes]  #: the pcap file
    flaw: str = ""  #: why it may have missed packets, so that what it does not show proves nothing
    pcap: str = ""  #: file name in the bundle, if one is kept

    @property
    def where(self) -> str:
        return f"{self.node} {self.interface}".strip()

    def between(self, start: float, end: float) -> Capture:
        """Its packets of ``start <= time <= end``: seconds since the epoch, by the capturing node's clock.

        They count from 1 within that window. Raises NotObserved where there is no file, and ParseError where
        it can't be read.
        """
        return packets.parse_pcap(pcap.window(self.content.get(), start, end))
