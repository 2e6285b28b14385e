"""Sets that iptables rules ask (``-m set --match-set``), from ``ipset save``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.lines import lines

WHAT = "ipset save"


@dataclass(frozen=True, slots=True)
class IPSet:
    """One set. A member is what ``ipset add`` takes: "10.107.94.97,tcp:8080", "31080", "20.96.0.0/12"."""

    name: str
    type: str  #: "hash:ip,port", "hash:ip,port,ip", "bitmap:port", "hash:net", "list:set"
    members: tuple[str, ...] = ()
    options: tuple[str, ...] = ()  #: words of ``create`` behind the type: "family", "inet", "netmask", "24"
    exceptions: tuple[str, ...] = ()  #: members that must not match (``nomatch``)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """ "ip", "port", "net", ...: what a member's parts are."""
        return tuple(self.type.partition(":")[2].split(","))


def parse_ipset_save(text: str | bytes) -> Mapping[str, IPSet]:
    """All sets by name. No line at all means that there is none.

    Raises ParseError for a line that is neither ``create`` nor ``add``, and for a member of a set that was
    not created before.
    """
    sets: dict[str, IPSet] = {}
    members: dict[str, list[str]] = {}
    exceptions: dict[str, list[str]] = {}
    for line in lines(text):
        try:
            words = shlex.split(line)
        except ValueError:
            raise ParseError(WHAT, "quotes that don't close", line) from None
        if len(words) >= 3 and words[0] == "create" and ":" in words[2] and words[1] not in sets:
            name = words[1]
            sets[name] = IPSet(name, words[2], options=tuple(words[3:]))
            members[name], exceptions[name] = [], []
        elif len(words) >= 3 and words[0] == "add" and words[1] in sets:
            (exceptions if "nomatch" in words[3:] else members)[words[1]].append(words[2])
        else:
            raise ParseError(WHAT, "unknown line, or a member of an unknown set", line)
    return {
        name: replace(each, members=tuple(members[name]), exceptions=tuple(exceptions[name]))
        for name, each in sets.items()
    }
