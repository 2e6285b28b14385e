"""What tcpdump says when it ends: how many packets it saw, and how many the kernel took from it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.lines import lines

WHAT = "tcpdump"
_COUNTER = re.compile(
    r"([0-9]{1,20}) packets? (captured|received by filter|dropped by kernel|dropped by interface)"
)
_STOPPED = re.compile(r"tcpdump: pcap_(?:loop|dispatch|next\w*): .*")


@dataclass(frozen=True, slots=True)
class Counters:
    captured: int  #: written to the file
    received: int  #: passed the filter; more than ``captured`` where tcpdump was stopped before reading them
    dropped: int  #: by the kernel, for want of buffer: the capture has holes
    dropped_by_interface: int = 0  #: by the device or its driver; printed by some versions only


def all_read(report: bytes) -> bool:
    """Whether tcpdump has read all that passed its filter so far, by its report on SIGUSR1: one line,
    ``tcpdump: 9 packets captured, 9 packets received by filter, 0 packets dropped by kernel``."""
    counters = {
        counter[2]: int(counter[1]) for counter in _COUNTER.finditer(report.decode("ascii", "replace"))
    }
    return counters.get("captured", -1) >= counters.get("received by filter", 0)


def parse_counters(stderr: str | bytes) -> Counters:
    """The counters on tcpdump's standard error.

    Raises ParseError where they are missing (tcpdump was killed, or its output cut) and where it
    stopped by itself (``pcap_loop: The interface disappeared``): the capture then ended too soon.
    """
    found = {}
    said = lines(stderr)
    for line in said:
        if _STOPPED.match(line):
            raise ParseError(WHAT, "the capture ended by itself", line)
        if counter := _COUNTER.fullmatch(line):
            # SIGUSR1 prints the counters so far: those at the end come last.
            found[counter[2]] = int(counter[1])
    missing = {"captured", "received by filter", "dropped by kernel"} - found.keys()
    if missing:
        raise ParseError(WHAT, f"no line says 'packets {sorted(missing)[0]}'", " | ".join(said[-3:]))
    return Counters(
        found["captured"],
        found["received by filter"],
        found["dropped by kernel"],
        found.get("dropped by interface", 0),
    )
