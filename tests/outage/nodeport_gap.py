"""A gap recorded on the reference network, small enough to keep: the captures around it (no test itself).

``python -m tests.outage.nodeport_gap`` breaks the NodePort path for 300 ms and records it anew. The archive
holds a pcap file for each point, and ``said.json``: the gap and what the client said, in seconds since the
epoch.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

from pytest_k8snet.claims.outage_gaps import Timeline
from pytest_k8snet.clusters.tape import MemoryTape
from pytest_k8snet.evidence import pcap
from pytest_k8snet.evidence.outage import Attempt, OutageLab
from pytest_k8snet.evidence.raw_captures import RawCapture
from pytest_k8snet.evidence.reading import Reading
from tests.outage.breaking import measure, network
from tests.outage.scenes import INTERFACES, watch, watched

ARCHIVE = Path(__file__).with_name("nodeport-gap.tar.xz")
AROUND = 0.5  #: seconds kept before and after the gap


def load() -> tuple[OutageLab, float, float]:
    """The recorded watch of path "nodeport", and its longest gap."""
    with tarfile.open(ARCHIVE) as archive:
        files = {name: _content(archive, name) for name in archive.getnames()}
    said = json.loads(files["said.json"])
    attempts = tuple(Attempt(**attempt) for attempt in said["attempts"])
    captures = tuple(
        RawCapture(point, node, interface, Reading(node, f"tcpdump -i {interface}", files[f"{point}.pcap"]))
        for point, (node, interface) in INTERFACES.items()
    )
    lab = replace(watch("nodeport", []), paths=(watched("nodeport", attempts),), captures=captures)
    return lab, said["start"], said["end"]


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file
    return file.read()


def record() -> None:
    with network(MemoryTape()) as cluster:
        lab = measure(cluster, "nodeport", 0.3).lab
    gap = Timeline(lab, "nodeport").stretch("new").longest
    assert gap, "nothing was lost"
    assert gap.end is not None, "it was never mended"
    begin, end = gap.start - AROUND, gap.end + AROUND
    said = next(path for path in lab.paths if path.path == "nodeport").client_said.get()
    attempts = [
        asdict(each) for each in said.attempts if begin <= each.sent <= end and each.path == "nodeport"
    ]
    told = json.dumps({"start": gap.start, "end": gap.end, "attempts": attempts}).encode()
    with tarfile.open(ARCHIVE, "w:xz") as archive:
        for capture in lab.captures:
            _add(archive, f"{capture.id}.pcap", pcap.window(capture.content.get(), begin, end))
        _add(archive, "said.json", told)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size} bytes")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    record()
