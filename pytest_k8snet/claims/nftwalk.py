"""A connection's first packet, walked through kube-proxy's nftables table as the kernel would walk it.

Only that table is walked. A rule of another one (Calico's, a firewall's) that translates the packet first
shows in conntrack and on the wire, which the claims compare with the walk.
"""

from __future__ import annotations

import base64
import hashlib

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.nftmatch import holds, same, value_of
from pytest_k8snet.claims.walks import (
    FALL,
    RETURN,
    Exits,
    Unknown,
    Walk,
    Walker,
    address,
    concluded,
    merged,
)
from pytest_k8snet.evidence.nftables import NftChain, NftRule, NftTable
from pytest_k8snet.evidence.nftexpr import (
    Element,
    Match,
    Named,
    Passive,
    Random,
    Reject,
    SetMark,
    Statement,
    Translation,
    Unread,
    Verdict,
    VerdictMap,
)

#: Longest name of a chain without its prefix (kube-proxy's chainNameBaseLengthMax).
_LONGEST = 112


class _NftWalker(Walker[NftRule]):
    def __init__(self, table: NftTable, packet: NewConnection) -> None:
        super().__init__({name: chain.rules for name, chain in table.chains.items()})
        self._table, self._packet = table, packet

    def rule(self, rule: NftRule, mark: int) -> Exits:
        for number, statement in enumerate(rule.statements):
            if isinstance(statement, Match):
                answer = holds(statement, self._packet, mark, self._table)
                if answer is None and self._counts(rule.statements[number + 1 :], mark):
                    raise Unknown(f"a match of this rule is not known: {rule}")
                if not answer:
                    return {(FALL, None, mark): 1.0}
            elif isinstance(statement, SetMark):
                value = value_of(statement.value, self._packet, mark)
                if not isinstance(value, int):
                    raise Unknown(f"the mark that this rule sets is not known: {rule}")
                mark = value
                self._passed(str(rule))
            elif isinstance(statement, VerdictMap):
                return self._mapped(statement, rule, mark)
            elif isinstance(statement, Unread):
                raise Unknown(f"a statement of this rule is not known: {rule}")
            elif not isinstance(statement, Passive):
                self._passed(str(rule))
                return self._end(statement, rule, mark)
        return {(FALL, None, mark): 1.0}

    def _counts(self, rest: tuple[Statement, ...], mark: int) -> bool:
        """Whether what follows a match in its rule could change the packet's way."""
        for statement in rest:
            if isinstance(statement, Match):
                if holds(statement, self._packet, mark, self._table) is False:
                    return False
            elif not isinstance(statement, Passive):
                return True
        return False

    def _end(self, statement: Verdict | Translation | Reject, rule: NftRule, mark: int) -> Exits:
        if isinstance(statement, Reject):
            return {("REJECT", None, mark): 1.0}
        if isinstance(statement, Translation):
            end = self._destination(statement, rule) if statement.kind == "dnat" else None
            return {(statement.kind.upper(), end, mark): 1.0}
        if statement.kind == "continue":
            return {(FALL, None, mark): 1.0}
        if statement.kind == "return":
            return {(RETURN, None, mark): 1.0}
        if statement.kind in ("accept", "drop"):
            return {(statement.kind.upper(), None, mark): 1.0}
        if statement.target not in self.chains:
            raise Unknown(f"chain {statement.target} is not in the listing: {rule}")
        return self.into(statement.target, mark, goto=statement.kind == "goto")

    def _mapped(self, statement: VerdictMap, rule: NftRule, mark: int) -> Exits:
        """Where a verdict map sends the packet; a key without an element ends the rule."""
        elements = statement.elements
        if isinstance(elements, Named):
            elements = self._table.maps.get(elements.name, Unread(str(elements)))
        if isinstance(elements, Unread):
            raise Unknown(f"the verdict map of this rule is not known: {rule}")
        if not isinstance(statement.key, Random):
            return self._looked_up(value_of(statement.key, self._packet, mark), elements, rule, mark)
        values = range(statement.key.offset, statement.key.offset + statement.key.modulus)
        share = 1.0 / len(values) if values else 0.0
        return merged(
            (leaving, share * part)
            for value in values
            for leaving, part in self._looked_up(value, elements, rule, mark).items()
        )

    def _looked_up(self, value: object, elements: tuple[Element, ...], rule: NftRule, mark: int) -> Exits:
        for key, verdict in elements:
            answer = None if value is None else same(value, key, self._table)
            if answer is None or (answer and isinstance(verdict, Unread)):
                raise Unknown(f"what this rule looks up is not known: {rule}")
            if answer and isinstance(verdict, Verdict):
                chosen = str(rule).partition(" vmap {")[0]
                self._passed(f"{chosen} -> {verdict}")
                return self._end(verdict, rule, mark)
        return {(FALL, None, mark): 1.0}

    def _passed(self, text: str) -> None:
        if text not in self.path:
            self.path.append(text)

    def _destination(self, statement: Translation, rule: NftRule) -> tuple:  # type: ignore[type-arg]
        ip = address(statement.address) if isinstance(statement.address, str) else None
        port = self._packet.dport if statement.port is None else statement.port
        if ip is None or not isinstance(port, int):
            raise Unknown(f"this dnat names no single destination: {rule}")
        return ip, port


def walk(table: NftTable, packet: NewConnection, hook: str = "PREROUTING", *, mark: int = 0) -> Walk:
    """Walk ``packet`` through the base chains of a hook ("PREROUTING", "OUTPUT", "POSTROUTING") by priority.

    A packet that is not translated in PREROUTING goes on to INPUT or FORWARD, where kube-proxy refuses what
    has no endpoint. Every name in ``path`` begins with the chain that the rule stands in.
    """
    walker = _NftWalker(table, packet)
    hooks = [hook.lower()]
    if hook == "PREROUTING":
        hooks.append("input" if packet.dst_local else "forward")
    if not any(chain.type == "nat" for chain in _base_chains(table, hooks[0])):
        return Walk(unknown=f"table {table.family} {table.name} has no nat chain at {hooks[0]}")
    exits: Exits = {(FALL, None, mark): 1.0}
    try:
        for each in hooks:
            for chain in _base_chains(table, each):
                exits = _through(walker, chain, exits)
    except Unknown as unknown:
        return Walk(path=tuple(walker.path), unknown=str(unknown))
    return concluded(exits, walker.path, "ACCEPT")


def chain_base(namespace: str, service: str, port_name: str = "", protocol: str = "tcp") -> str:
    """What the names of a service port's chains end in, behind "service-", "external-" and "local-":
    8 letters of base32(sha256(name)), and the name "ns/service/protocol/port" itself, cut where it is long
    (``servicePortChainNameBase`` of Kubernetes' ``pkg/proxy/nftables``)."""
    name = f"{namespace}/{service}/{protocol.lower()}/{port_name}"
    digest = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:8]
    whole = f"{digest}-{name}"
    return whole if len(whole) <= _LONGEST else whole[: _LONGEST - 3] + "..."


def _base_chains(table: NftTable, hook: str) -> list[NftChain]:
    chains = [chain for chain in table.chains.values() if chain.hook == hook]
    return sorted(chains, key=lambda chain: chain.priority or 0)


def _through(walker: _NftWalker, chain: NftChain, exits: Exits) -> Exits:
    """The exits behind one more base chain: what was accepted so far enters it."""
    parts = []
    for (kind, end, mark), share in exits.items():
        if kind != FALL:
            parts.append(((kind, end, mark), share))
            continue
        for (left, to, after), part in walker.chain(chain.name, mark).items():
            dropped = left in (FALL, RETURN) and chain.policy == "drop"
            onward = "DROP" if dropped else FALL if left in (FALL, RETURN, "ACCEPT") else left
            parts.append(((onward, to, after), share * part))
    return merged(parts)
