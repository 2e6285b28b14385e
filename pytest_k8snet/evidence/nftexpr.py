"""Expressions and statements of one nftables rule, from libnftables' JSON (libnftables-json(5)).

What this does not know is kept as it was printed (:class:`Unread`), for a reader to judge: a rule may hold
it and never be reached. ``str()`` of everything here is nft's own language.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from pytest_k8snet.evidence.jsontree import Tree

#: Statements that change nothing of a packet's way. "set" adds to a dynamic set: session affinity.
PASSIVE = frozenset({"counter", "log", "set"})
VERDICTS = frozenset({"accept", "drop", "return", "continue", "jump", "goto"})
TRANSLATIONS = frozenset({"dnat", "snat", "masquerade", "redirect"})


@dataclass(frozen=True, slots=True)
class Unread:
    """An expression or statement that this does not know, as JSON."""

    raw: str

    def __str__(self) -> str:
        return self.raw


@dataclass(frozen=True, slots=True)
class Payload:
    protocol: str  #: "ip", "ip6", "tcp", "udp", "th" (any transport header)
    field: str  #: "saddr", "daddr", "sport", "dport"

    def __str__(self) -> str:
        return f"{self.protocol} {self.field}"


@dataclass(frozen=True, slots=True)
class Meta:
    key: str  #: "l4proto", "mark", "iifname", "oifname"

    def __str__(self) -> str:
        return f"meta {self.key}"


@dataclass(frozen=True, slots=True)
class Conntrack:
    key: str  #: "state"

    def __str__(self) -> str:
        return f"ct {self.key}"


@dataclass(frozen=True, slots=True)
class Fib:
    """What the routing table says of an address: its type ("local") or the interface it leads to."""

    result: str
    flags: tuple[str, ...]  #: "daddr", "saddr", "iif"

    def __str__(self) -> str:
        return f"fib {' . '.join(self.flags)} {self.result}"


@dataclass(frozen=True, slots=True)
class Random:
    """``numgen random mod N``: one of ``offset`` ... ``offset + modulus - 1``, each as likely."""

    modulus: int
    offset: int = 0

    def __str__(self) -> str:
        return f"numgen random mod {self.modulus}" + (f" offset {self.offset}" if self.offset else "")


@dataclass(frozen=True, slots=True)
class Bitwise:
    operation: str  #: "&", "|", "^"
    left: Expression
    right: Expression

    def __str__(self) -> str:
        return f"{self.left} {self.operation} {_words(self.right)}"


@dataclass(frozen=True, slots=True)
class Concat:
    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return " . ".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class Range:
    low: Expression
    high: Expression

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


@dataclass(frozen=True, slots=True)
class Named:
    """``@name``: a set or map of the same table."""

    name: str

    def __str__(self) -> str:
        return f"@{self.name}"


@dataclass(frozen=True, slots=True)
class OneOf:
    members: tuple[Expression, ...]

    def __str__(self) -> str:
        return f"{{ {', '.join(map(str, self.members))} }}"


Network = IPv4Network | IPv6Network
Expression = (
    str
    | int
    | Network
    | Unread
    | Payload
    | Meta
    | Conntrack
    | Fib
    | Random
    | Bitwise
    | Concat
    | Range
    | Named
    | OneOf
)


@dataclass(frozen=True, slots=True)
class Match:
    left: Expression
    operation: str  #: "==", "!=", "in", "<", ">", "<=", ">="
    right: Expression

    def __str__(self) -> str:
        # nft leaves "==" out, but where it would not be read back: behind an operation on bits.
        silent = self.operation in ("==", "in") and not isinstance(self.left, Bitwise)
        return f"{self.left} {self.right}" if silent else f"{self.left} {self.operation} {self.right}"


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: str  #: one of VERDICTS
    target: str = ""  #: the chain of "jump" and "goto"

    def __str__(self) -> str:
        return f"{self.kind} {self.target}".strip()


Element = tuple[Expression, Verdict | Unread]


@dataclass(frozen=True, slots=True)
class VerdictMap:
    key: Expression
    elements: Named | tuple[Element, ...] | Unread

    def __str__(self) -> str:
        if not isinstance(self.elements, tuple):
            return f"{self.key} vmap {self.elements}"
        return f"{self.key} vmap {{ {', '.join(f'{key} : {verdict}' for key, verdict in self.elements)} }}"


@dataclass(frozen=True, slots=True)
class Translation:
    kind: str  #: one of TRANSLATIONS
    address: Expression | None = None
    port: Expression | None = None

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        address = "" if self.address is None else str(self.address)
        to = (f"[{address}]" if port and ":" in address else address) + port
        return f"{self.kind} to {to}" if to else self.kind


@dataclass(frozen=True, slots=True)
class SetMark:
    value: Expression

    def __str__(self) -> str:
        return f"meta mark set {_words(self.value)}"


@dataclass(frozen=True, slots=True)
class Passive:
    """A statement of PASSIVE."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Reject:
    def __str__(self) -> str:
        return "reject"


Statement = Match | Verdict | VerdictMap | Translation | SetMark | Passive | Reject | Unread


def statement(tree: Tree) -> Statement:
    """One entry of a rule's ``expr``. Raises ParseError where a known one lacks what it must have."""
    name, body = _single(tree)
    if body is None:
        return _unread(tree)
    if name == "match":
        return Match(expression(body["left"]), body["op"].text(), expression(body["right"]))
    if name in VERDICTS:
        return _verdict(name, body)
    if name == "vmap":
        return VerdictMap(expression(body["key"]), _elements(body["data"]))
    if name in TRANSLATIONS:
        return _translation(name, body)
    if name == "mangle":
        if expression(body["key"]) == Meta("mark"):
            return SetMark(expression(body["value"]))
        return _unread(tree)
    if name == "reject":
        return Reject()
    return Passive(name) if name in PASSIVE else _unread(tree)


def expression(tree: Tree) -> Expression:
    """A value, or what a packet is asked for."""
    value = tree.value
    if isinstance(value, str):
        return Named(value[1:]) if value.startswith("@") else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, list):  # several flags or states: "ct state new,related"
        return OneOf(tuple(map(expression, tree.items())))
    name, body = _single(tree)
    if body is None:
        return _unread(tree)
    if name == "payload" and body.get("protocol") and body.get("field"):
        return Payload(body["protocol"].text(), body["field"].text())
    if name == "meta":
        return Meta(body["key"].text())
    if name == "ct" and not body.get("dir"):
        return Conntrack(body["key"].text())
    if name == "fib":
        return Fib(body["result"].text(), tuple(_texts(body["flags"])))
    if name == "numgen" and body["mode"].text() == "random":
        return Random(body["mod"].integer(), body.integer_or("offset", 0))
    if name == "prefix":
        return _network(body)
    if name in ("concat", "range", "set", "&", "|", "^"):
        return _composed(name, tuple(map(expression, body.items())), tree)
    if name == "elem":  # an element with a comment, a timeout or a counter
        return expression(body["val"])
    return _unread(tree)


def element(tree: Tree) -> Element:
    """An entry of a verdict map: ``[key, verdict]``."""
    pair = list(tree.items())
    if len(pair) != 2:
        raise tree.wrong("a key and its verdict")
    name, body = _single(pair[1])
    known = body is not None and name in VERDICTS
    return expression(pair[0]), _verdict(name, body) if known and body else _unread(pair[1])


def _elements(tree: Tree) -> Named | tuple[Element, ...] | Unread:
    if isinstance(tree.value, dict):
        return tuple(map(element, tree["set"].items()))
    named = expression(tree)
    return named if isinstance(named, Named) else _unread(tree)


def _verdict(name: str, body: Tree) -> Verdict:
    return Verdict(name, body["target"].text() if name in ("jump", "goto") else "")


def _translation(name: str, body: Tree) -> Translation:
    if body.value is None:
        return Translation(name)
    address, port = body.get("addr"), body.get("port")
    return Translation(name, expression(address) if address else None, expression(port) if port else None)


def _composed(name: str, parts: tuple[Expression, ...], tree: Tree) -> Expression:
    if name == "concat":
        return Concat(parts)
    if name == "set":
        return OneOf(parts)
    if len(parts) != 2:
        raise tree.wrong("two operands")
    return Range(*parts) if name == "range" else Bitwise(name, *parts)


def _network(body: Tree) -> Expression:
    text = f"{body['addr'].text()}/{body['len'].integer()}"
    try:
        return ip_network(text)
    except ValueError:
        raise body.wrong("a network") from None


def _texts(tree: Tree) -> list[str]:
    return [tree.text()] if isinstance(tree.value, str) else [each.text() for each in tree.items()]


def _single(tree: Tree) -> tuple[str, Tree | None]:
    """Name and body of an object with one key (the body may be null); no body for anything else."""
    if not isinstance(tree.value, dict) or len(tree.value) != 1:
        return "", None
    ((name, body),) = tree.value.items()
    return name, Tree(tree.what, f"{tree.path}.{name}", body)


def _unread(tree: Tree) -> Unread:
    return Unread(json.dumps(tree.value))


def _words(value: Any) -> str:
    return f"{value:#x}" if isinstance(value, int) else str(value)
