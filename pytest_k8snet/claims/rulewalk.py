"""A connection's first packet, walked through the nat table as the kernel would walk it.

Modelled on the packet tracers in Kubernetes' own proxy tests: what the walk does not know, it does
not guess. An unknown match or target that could change the result ends the walk with ``unknown``
naming the rule, which a claim reports as inconclusive.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from pytest_k8snet.claims.rulematch import NewConnection, matches, xmark
from pytest_k8snet.evidence.netfilter import Chain, Rule, RuleSet, Target
from pytest_k8snet.evidence.packets import IPAddress

MASQUERADE_MARK = 0x4000  #: kube-proxy's iptables.masqueradeBit 14, its default
_DEEPEST = 100  #: nested jumps; kube-proxy and Calico together use about six

_NO_EFFECT = frozenset({"LOG", "NFLOG", "TRACE"})
_FINAL = frozenset({"ACCEPT", "DROP", "MASQUERADE", "SNAT", "REDIRECT"})


@dataclass(frozen=True)
class Walk:
    """Where the rules lead. Probabilities are those of ``-m statistic`` and add up to at most 1."""

    endpoints: tuple[tuple[IPAddress, int, float], ...] = ()  #: DNAT: address, port, probability
    path: tuple[str, ...] = ()  #: the rules that matched and the chains they lead to, in order
    masquerade: bool = False  #: every DNATed branch carries mark 0x4000
    unknown: str | None = None  #: the rule or chain that could not be judged, and why
    ends: tuple[str, ...] = ()  #: ends without DNAT: "ACCEPT", "DROP", "MASQUERADE", "policy ACCEPT"
    mark: int = 0  #: of the first DNATed branch, else of the first end

    def reaches(self, address: IPAddress, port: int) -> bool:
        return any((ip, p) == (address, port) for ip, p, _ in self.endpoints)

    @property
    def text(self) -> str:
        """The path, one rule a line, and what ended it."""
        ends = [f"-> DNAT {ip}:{port} with probability {share:.3g}" for ip, port, share in self.endpoints]
        ends += [f"-> {end}" for end in self.ends]
        if self.unknown is not None:
            ends.append(f"-> unknown: {self.unknown}")
        return "\n".join([*self.path, *ends])


#: How one branch leaves a chain: "fall" off its end, or "return", or an end; DNAT adds its address.
_Exit = tuple[str, tuple[IPAddress, int] | None, int]
_FALL, _RETURN = "fall", "return"


class _Unknown(Exception):
    pass


@dataclass
class _Walker:
    chains: Mapping[str, Chain]
    packet: NewConnection
    path: list[str] = field(default_factory=list)
    known: dict[tuple[str, int], dict[_Exit, float]] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    scouted: dict[tuple[str, int], dict[_Exit, float]] = field(default_factory=dict)

    def chain(self, name: str, mark: int) -> dict[_Exit, float]:
        """The exits of a chain with their probabilities, for a packet that enters with ``mark``."""
        if (name, mark) in self.known:
            return self.known[name, mark]
        if name in self.open:
            raise _Unknown(f"chain {name} jumps back into itself: {' -> '.join([*self.open, name])}")
        if len(self.open) >= _DEEPEST:
            raise _Unknown(f"more than {_DEEPEST} nested chains at {name}")
        self.open.append(name)
        exits: dict[_Exit, float] = {}
        inside = {mark: 1.0}  # marks of the branches still in this chain
        for rule in self.chains[name].rules:
            onward: dict[int, float] = {}
            for now, share in inside.items():
                for (kind, end, after), part in self.rule(rule, now).items():
                    if kind == _FALL:
                        onward[after] = onward.get(after, 0.0) + share * part
                    else:
                        exits[kind, end, after] = exits.get((kind, end, after), 0.0) + share * part
            inside = onward
        for now, share in inside.items():
            exits[_FALL, None, now] = exits.get((_FALL, None, now), 0.0) + share
        self.open.pop()
        self.known[name, mark] = exits
        return exits

    def rule(self, rule: Rule, mark: int) -> dict[_Exit, float]:
        past: _Exit = (_FALL, None, mark)
        chance = matches(rule, self.packet, mark)
        if chance == 0.0:
            return {past: 1.0}
        if chance is None:
            if self.changes_nothing(rule, mark):
                return {past: 1.0}
            raise _Unknown(f"a match of this rule is not known: {rule.raw}")
        if rule.raw not in self.path:
            self.path.append(rule.raw)
        effect = self.effect(rule, mark)
        branches = {exit_: chance * share for exit_, share in effect.items()}
        if chance < 1.0:
            branches[past] = branches.get(past, 0.0) + 1.0 - chance
        return branches

    def changes_nothing(self, rule: Rule, mark: int) -> bool:
        """Whether the packet would come out of ``rule`` as it went in, did the rule match or not."""
        # A scout of its own: what it finds on the way is not part of the path.
        scout = _Walker(self.chains, self.packet, [], self.scouted, list(self.open), self.scouted)
        try:
            return scout.effect(rule, mark) == {(_FALL, None, mark): 1.0}
        except _Unknown:
            return False

    def effect(self, rule: Rule, mark: int) -> dict[_Exit, float]:
        target = rule.target
        if target is None or target.name in _NO_EFFECT:
            return {(_FALL, None, mark): 1.0}
        if target.name == "RETURN":
            return {(_RETURN, None, mark): 1.0}
        if target.name == "MARK":
            changed = xmark(target, mark)
            if changed is None:
                raise _Unknown(f"an option of MARK is not known: {rule.raw}")
            return {(_FALL, None, changed): 1.0}
        if target.name == "DNAT":
            return {("DNAT", self.destination(target, rule), mark): 1.0}
        if target.name in _FINAL:
            return {(target.name, None, mark): 1.0}
        if target.name not in self.chains:
            raise _Unknown(f"target {target.name} is neither known nor a chain of the dump: {rule.raw}")
        # A RETURN comes back to the rule after the jump; after a goto, to the caller's caller.
        back = _RETURN if target.goto else _FALL
        return _merged(
            (((back, None, after) if kind in (_FALL, _RETURN) else (kind, end, after)), share)
            for (kind, end, after), share in self.chain(target.name, mark).items()
        )

    def destination(self, target: Target, rule: Rule) -> tuple[IPAddress, int]:
        wanted = [values for option, values in target.options if option == "--to-destination"]
        if len(wanted) == 1 and len(wanted[0]) == 1:
            host, port = _split(wanted[0][0])
            try:
                return ip_address(host), int(port) if port else self.packet.dport
            except ValueError:
                pass  # a range of addresses or ports
        raise _Unknown(f"this DNAT names no single destination: {rule.raw}")


def walk(rules: RuleSet, packet: NewConnection, hook: str = "PREROUTING", *, mark: int = 0) -> Walk:
    """Walk ``packet`` through the nat table from a built-in chain (PREROUTING, OUTPUT, POSTROUTING)."""
    chains = rules.tables.get("nat", {})
    if hook not in chains:
        return Walk(unknown=f"the dump has no chain {hook} in table nat")
    walker = _Walker(chains, packet)
    try:
        exits = walker.chain(hook, mark)
    except _Unknown as unknown:
        return Walk(path=tuple(walker.path), unknown=str(unknown))
    endpoints: dict[tuple[IPAddress, int], float] = {}
    marks, ends, other_marks = [], [], []
    for (kind, end, after), share in exits.items():
        if end is not None:
            endpoints[end] = endpoints.get(end, 0.0) + share
            marks.append(after)
        else:
            policy = chains[hook].policy or "ACCEPT"
            ends.append(f"policy {policy}" if kind in (_FALL, _RETURN) else kind)
            other_marks.append(after)
    return Walk(
        tuple((ip, port, share) for (ip, port), share in endpoints.items()),
        tuple(walker.path),
        bool(marks) and all(after & MASQUERADE_MARK for after in marks),
        None,
        tuple(dict.fromkeys(ends)),
        (marks + other_marks)[0],
    )


def service_chain_name(namespace: str, service: str, port_name: str = "", protocol: str = "tcp") -> str:
    """kube-proxy's chain of a service port: ``KUBE-SVC-`` and 16 letters of base32(sha256(name)).

    The hashed name is ``ns/service:port`` (``ns/service`` when the port has no name) and the
    protocol in lower case, as in Kubernetes' ``pkg/proxy/iptables`` (``portProtoHash``).
    """
    name = f"{namespace}/{service}" + (f":{port_name}" if port_name else "")
    digest = hashlib.sha256((name + protocol.lower()).encode()).digest()
    return "KUBE-SVC-" + base64.b32encode(digest).decode()[:16]


def _merged(parts: Iterable[tuple[_Exit, float]]) -> dict[_Exit, float]:
    merged: dict[_Exit, float] = {}
    for leaving, share in parts:
        merged[leaving] = merged.get(leaving, 0.0) + share
    return merged


def _split(destination: str) -> tuple[str, str]:
    """``10.0.0.1:80`` and ``[fd00::1]:80`` into host and port; the port is empty when there is none."""
    if destination.startswith("["):
        host, _, port = destination[1:].partition("]")
        return host, port.removeprefix(":")
    if destination.count(":") > 1:
        return destination, ""
    host, _, port = destination.partition(":")
    return host, port
