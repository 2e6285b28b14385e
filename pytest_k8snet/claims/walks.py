"""What walks through iptables and nftables rules share: chains, marks, branches, and how a walk ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Generic, TypeVar

from pytest_k8snet.claims.matchers import address_and_port
from pytest_k8snet.evidence.packets import IPAddress

MASQUERADE_MARK = 0x4000  #: kube-proxy's masqueradeBit 14, its default in all three modes
_DEEPEST = 100  #: nested jumps; kube-proxy and Calico together use about six

R = TypeVar("R")


@dataclass(frozen=True)
class Walk:
    """Where the rules lead. Probabilities are those of random choices and add up to at most 1."""

    endpoints: tuple[tuple[IPAddress, int, float], ...] = ()  #: DNAT: address, port, probability
    path: tuple[str, ...] = ()  #: the rules that matched and the chains they lead to, in order
    masquerade: bool | None = False  #: every DNATed branch carries mark 0x4000; None: not known
    unknown: str | None = None  #: the rule or chain that could not be judged, and why
    ends: tuple[str, ...] = ()  #: ends without DNAT: "ACCEPT", "DROP", "MASQUERADE", "policy ACCEPT"
    mark: int | None = 0  #: of the first DNATed branch, else of the first end; None: not known

    def reaches(self, address: IPAddress, port: int) -> bool:
        return any((ip, p) == (address, port) for ip, p, _ in self.endpoints)

    @property
    def text(self) -> str:
        """The path, one rule a line, and what ended it."""
        ends = [
            f"-> DNAT {address_and_port(ip, port)} with probability {share:.3g}"
            for ip, port, share in self.endpoints
        ]
        ends += [f"-> {end}" for end in self.ends]
        if self.unknown is not None:
            ends.append(f"-> unknown: {self.unknown}")
        return "\n".join([*self.path, *ends])


#: How one branch leaves a chain: "fall" off its end, or "return", or an end; DNAT adds its address.
Exit = tuple[str, tuple[IPAddress, int] | None, int]
Exits = dict[Exit, float]
FALL, RETURN = "fall", "return"


class Unknown(Exception):
    """The walk came to something that it can't judge; the text says what."""


class Walker(ABC, Generic[R]):
    """One packet's way through the chains of a table. Rules are the subclass's affair."""

    def __init__(self, chains: Mapping[str, Sequence[R]]) -> None:
        self.chains = chains
        self.path: list[str] = []
        self.open: list[str] = []
        self._known: dict[tuple[str, int], Exits] = {}

    @abstractmethod
    def rule(self, rule: R, mark: int) -> Exits:
        """How the packet leaves ``rule``: FALL leads to the next one."""

    def chain(self, name: str, mark: int) -> Exits:
        """The exits of a chain with their probabilities, for a packet that enters with ``mark``."""
        if (name, mark) in self._known:
            return self._known[name, mark]
        if name in self.open:
            raise Unknown(f"chain {name} jumps back into itself: {' -> '.join([*self.open, name])}")
        if len(self.open) >= _DEEPEST:
            raise Unknown(f"more than {_DEEPEST} nested chains at {name}")
        self.open.append(name)
        exits: Exits = {}
        inside = {mark: 1.0}  # marks of the branches still in this chain
        for rule in self.chains[name]:
            onward: dict[int, float] = {}
            for now, share in inside.items():
                for (kind, end, after), part in self.rule(rule, now).items():
                    if kind == FALL:
                        onward[after] = onward.get(after, 0.0) + share * part
                    else:
                        exits[kind, end, after] = exits.get((kind, end, after), 0.0) + share * part
            inside = onward
        for now, share in inside.items():
            exits[FALL, None, now] = exits.get((FALL, None, now), 0.0) + share
        self.open.pop()
        self._known[name, mark] = exits
        return exits

    def into(self, name: str, mark: int, *, goto: bool) -> Exits:
        """A jump (or goto) to another chain, as it comes back to the rule that makes it."""
        # A RETURN comes back to the rule after the jump; after a goto, to the caller's caller.
        back = RETURN if goto else FALL
        return merged(
            (((back, None, after) if kind in (FALL, RETURN) else (kind, end, after)), share)
            for (kind, end, after), share in self.chain(name, mark).items()
        )


def merged(parts: Iterable[tuple[Exit, float]]) -> Exits:
    found: Exits = {}
    for leaving, share in parts:
        found[leaving] = found.get(leaving, 0.0) + share
    return found


def concluded(exits: Exits, path: Sequence[str], policy: str) -> Walk:
    """The walk that ends in ``exits``; what falls off a base chain meets its ``policy``."""
    endpoints: dict[tuple[IPAddress, int], float] = {}
    marks, ends, other_marks = [], [], []
    for (kind, end, after), share in exits.items():
        if end is not None:
            endpoints[end] = endpoints.get(end, 0.0) + share
            marks.append(after)
        else:
            ends.append(f"policy {policy}" if kind in (FALL, RETURN) else kind)
            other_marks.append(after)
    return Walk(
        tuple((ip, port, share) for (ip, port), share in endpoints.items()),
        tuple(path),
        bool(marks) and all(after & MASQUERADE_MARK for after in marks),
        None,
        tuple(dict.fromkeys(ends)),
        (marks + other_marks)[0],
    )


def address(text: str) -> IPAddress | None:
    """A literal address; None for a range or a name."""
    try:
        return ip_address(text)
    except ValueError:
        return None
