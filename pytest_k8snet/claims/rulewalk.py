"""A connection's first packet, walked through a table (nat, as a rule) as the kernel would walk it.

Modelled on the packet tracers in Kubernetes' own proxy tests: what the walk does not know, it does
not guess. An unknown match or target that could change the result ends the walk with ``unknown``
naming the rule, which a claim reports as inconclusive. An unknown match changes nothing where the
packet ends the same whether it holds or not.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.rulematch import matches, xmark
from pytest_k8snet.claims.walks import FALL, RETURN, Exit, Exits, Unknown, Walk, Walker, concluded
from pytest_k8snet.evidence.ipsets import IPSet
from pytest_k8snet.evidence.netfilter import Chain, Rule, RuleSet, Target
from pytest_k8snet.evidence.packets import IPAddress

_NO_EFFECT = frozenset({"LOG", "NFLOG", "TRACE"})
_FINAL = frozenset({"ACCEPT", "DROP", "MASQUERADE", "SNAT", "REDIRECT", "REJECT"})
#: Unknown matches that are tried both ways: 2^4 walks at most. A node with Calico and kube-proxy has two
#: sets in POSTROUTING that matter to a packet, and ipvs mode has three in PREROUTING.
_MOST_ASSUMED = 4


class _UnknownMatch(Unknown):
    """A match of ``rule`` is not known, and what the rule would do is not nothing."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(f"a match of this rule is not known: {rule.raw}")
        self.rule = rule


class _RuleWalker(Walker[Rule]):
    """``assumed``: by text of a rule whose match is not known, whether it shall hold."""

    def __init__(
        self,
        chains: Mapping[str, Chain],
        packet: NewConnection,
        sets: Mapping[str, IPSet],
        assumed: Mapping[str, bool],
    ) -> None:
        super().__init__({name: chain.rules for name, chain in chains.items()})
        self._table, self._packet, self._sets, self._assumed = chains, packet, sets, assumed
        self._scouted: dict[tuple[str, int], Exits] = {}

    def rule(self, rule: Rule, mark: int) -> Exits:
        past: Exit = (FALL, None, mark)
        chance = matches(rule, self._packet, mark, self._sets)
        if chance is None:
            if self._changes_nothing(rule, mark):
                return {past: 1.0}
            if rule.raw not in self._assumed:
                raise _UnknownMatch(rule)
            chance = float(self._assumed[rule.raw])
        if chance == 0.0:
            return {past: 1.0}
        if rule.raw not in self.path:
            self.path.append(rule.raw)
        effect = self._effect(rule, mark)
        branches = {exit_: chance * share for exit_, share in effect.items()}
        if chance < 1.0:
            branches[past] = branches.get(past, 0.0) + 1.0 - chance
        return branches

    def _changes_nothing(self, rule: Rule, mark: int) -> bool:
        """Whether the packet would come out of ``rule`` as it went in, did the rule match or not."""
        # A scout of its own: what it finds on the way is not part of the path.
        scout = _RuleWalker(self._table, self._packet, self._sets, {})
        scout.open, scout._known, scout._scouted = list(self.open), self._scouted, self._scouted
        try:
            return scout._effect(rule, mark) == {(FALL, None, mark): 1.0}
        except Unknown:
            return False

    def _effect(self, rule: Rule, mark: int) -> Exits:
        target = rule.target
        if target is None or target.name in _NO_EFFECT:
            return {(FALL, None, mark): 1.0}
        if target.name == "RETURN":
            return {(RETURN, None, mark): 1.0}
        if target.name == "MARK":
            changed = xmark(target, mark)
            if changed is None:
                raise Unknown(f"an option of MARK is not known: {rule.raw}")
            return {(FALL, None, changed): 1.0}
        if target.name == "DNAT":
            return {("DNAT", self._destination(target, rule), mark): 1.0}
        if target.name in _FINAL:
            return {(target.name, None, mark): 1.0}
        if target.name not in self.chains:
            raise Unknown(f"target {target.name} is neither known nor a chain of the dump: {rule.raw}")
        return self.into(target.name, mark, goto=target.goto)

    def _destination(self, target: Target, rule: Rule) -> tuple[IPAddress, int]:
        wanted = [values for option, values in target.options if option == "--to-destination"]
        if len(wanted) == 1 and len(wanted[0]) == 1:
            host, port = _split(wanted[0][0])
            try:
                return ip_address(host), int(port) if port else self._packet.dport
            except ValueError:
                pass  # a range of addresses or ports
        raise Unknown(f"this DNAT names no single destination: {rule.raw}")


def walk(
    rules: RuleSet,
    packet: NewConnection,
    hook: str = "PREROUTING",
    *,
    table: str = "nat",
    mark: int = 0,
    sets: Mapping[str, IPSet] | None = None,
) -> Walk:
    """Walk ``packet`` through a table from one of its built-in chains (PREROUTING, OUTPUT, POSTROUTING).

    ``sets`` are those that ``-m set`` asks; a set that is not among them is not known.
    """
    if rules.version != packet.dst.version:
        return Walk(unknown=f"the rules are IPv{rules.version}'s, {packet.dst} does not pass them")
    chains = rules.tables.get(table, {})
    if hook not in chains:
        return Walk(unknown=f"the dump has no chain {hook} in table {table}")
    return _walk(chains, packet, hook, mark, sets or {}, {})


def _walk(
    chains: Mapping[str, Chain],
    packet: NewConnection,
    hook: str,
    mark: int,
    sets: Mapping[str, IPSet],
    assumed: Mapping[str, bool],
) -> Walk:
    walker = _RuleWalker(chains, packet, sets, assumed)
    try:
        exits = walker.chain(hook, mark)
    except _UnknownMatch as unknown:
        lost = Walk(path=tuple(walker.path), unknown=str(unknown))
        if len(assumed) >= _MOST_ASSUMED:
            return lost
        without, with_it = (
            _walk(chains, packet, hook, mark, sets, {**assumed, unknown.rule.raw: answer})
            for answer in (False, True)
        )
        return _either(without, with_it) or lost
    except Unknown as unknown:
        return Walk(path=tuple(walker.path), unknown=str(unknown))
    return concluded(exits, walker.path, chains[hook].policy or "ACCEPT")


def _either(one: Walk, other: Walk) -> Walk | None:
    """The walk for a packet that takes one of two: known where both end the same, whatever the mark."""

    def result(of: Walk) -> object:
        # ACCEPT and a policy ACCEPT are one end: nothing is translated.
        return set(of.endpoints), {end.removeprefix("policy ") for end in of.ends}

    if one.unknown is not None or other.unknown is not None or result(one) != result(other):
        return None
    return replace(
        one,
        masquerade=one.masquerade if one.masquerade == other.masquerade else None,
        mark=one.mark if one.mark == other.mark else None,
    )


def service_chain_name(namespace: str, service: str, port_name: str = "", protocol: str = "tcp") -> str:
    """kube-proxy's chain of a service port: ``KUBE-SVC-`` and 16 letters of base32(sha256(name)).

    The hashed name is ``ns/service:port`` (``ns/service`` when the port has no name) and the
    protocol in lower case, as in Kubernetes' ``pkg/proxy/iptables`` (``portProtoHash``).
    """
    name = f"{namespace}/{service}" + (f":{port_name}" if port_name else "")
    digest = hashlib.sha256((name + protocol.lower()).encode()).digest()
    return "KUBE-SVC-" + base64.b32encode(digest).decode()[:16]


def _split(destination: str) -> tuple[str, str]:
    """``10.0.0.1:80`` and ``[fd00::1]:80`` into host and port; the port is empty when there is none."""
    if destination.startswith("["):
        host, _, port = destination[1:].partition("]")
        return host, port.removeprefix(":")
    if destination.count(":") > 1:
        return destination, ""
    host, _, port = destination.partition(":")
    return host, port
