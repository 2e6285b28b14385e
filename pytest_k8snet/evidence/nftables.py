"""kube-proxy's table, from ``nft -j list table ip kube-proxy`` (libnftables-json(5), schema version 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pytest_k8snet.evidence import jsontree
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.jsontree import Tree
from pytest_k8snet.evidence.nftexpr import Element, Expression, Statement, element, expression, statement

WHAT = "nft -j list table"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class NftRule:
    chain: str
    statements: tuple[Statement, ...]
    comment: str = ""

    def __str__(self) -> str:
        """``chain: rule`` in nft's own language, its comment left out."""
        return f"{self.chain}: {' '.join(map(str, self.statements))}"


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain; a base chain has ``type``, ``hook``, ``priority`` and ``policy``, others have none of them."""

    name: str
    rules: tuple[NftRule, ...] = ()
    type: str = ""  #: "nat", "filter", "route"
    hook: str = ""  #: "prerouting", "output", "postrouting", ...
    priority: int | None = None
    policy: str = ""  #: "accept", "drop"


@dataclass(frozen=True, slots=True)
class NftTable:
    """One table. Sets hold members; ``maps`` are verdict maps, elements in the order they were printed."""

    family: str  #: "ip", "ip6", "inet"
    name: str
    chains: Mapping[str, NftChain] = field(default_factory=dict)
    sets: Mapping[str, tuple[Expression, ...]] = field(default_factory=dict)
    maps: Mapping[str, tuple[Element, ...]] = field(default_factory=dict)
    version: str = ""  #: of nft


def parse_table(text: str | bytes) -> NftTable:
    """The one table that ``nft -j list table FAMILY NAME`` prints.

    Statements and expressions that this does not know are kept raw, so that only a packet that reaches them
    can't be judged; so are maps that lead to values instead of verdicts (they are left out).

    Raises ParseError for anything that is no whole listing of one table: output that was cut, another schema
    version, a rule, set or map of another table, and a rule of a chain that the listing lacks.
    """
    document = jsontree.parse(WHAT, text)
    table: NftTable | None = None
    version = ""
    chains: dict[str, NftChain] = {}
    rules: dict[str, list[NftRule]] = {}
    sets: dict[str, tuple[Expression, ...]] = {}
    maps: dict[str, tuple[Element, ...]] = {}
    for entry in document["nftables"].items():
        if meta := entry.get("metainfo"):
            version = _version(meta)
        elif body := entry.get("table"):
            if table is not None:
                raise ParseError(WHAT, "more than one table", str(body.value))
            table = NftTable(body["family"].text(), body["name"].text())
        elif body := entry.get("chain"):
            chain = _chain(_owned(body, table))
            chains[chain.name], rules[chain.name] = chain, []
        elif body := entry.get("rule"):
            rule = _rule(_owned(body, table))
            if rule.chain not in rules:
                raise ParseError(WHAT, f"a rule of chain {rule.chain}, which the listing lacks", str(rule))
            rules[rule.chain].append(rule)
        elif body := entry.get("set"):
            sets[_owned(body, table)["name"].text()] = tuple(map(expression, body.items_of("elem")))
        elif (body := entry.get("map")) and _owned(body, table).text_or("map", "") == "verdict":
            maps[body["name"].text()] = tuple(map(element, body.items_of("elem")))
    if table is None:
        raise ParseError(WHAT, "no table in the listing", text)
    listed = {name: replace(chain, rules=tuple(rules[name])) for name, chain in chains.items()}
    return replace(table, chains=listed, sets=sets, maps=maps, version=version)


def _version(meta: Tree) -> str:
    schema = meta.integer_or("json_schema_version", SCHEMA)
    if schema != SCHEMA:
        raise ParseError(WHAT, f"JSON schema version {schema}; known is {SCHEMA}")
    return meta.text_or("version", "")


def _owned(body: Tree, table: NftTable | None) -> Tree:
    """``body``, which must belong to the table that was listed before it."""
    owner = (body["family"].text(), body["table"].text())
    if table is None or owner != (table.family, table.name):
        raise ParseError(WHAT, f"something of table {' '.join(owner)}, which the listing lacks")
    return body


def _chain(body: Tree) -> NftChain:
    priority = body.get("prio")
    return NftChain(
        body["name"].text(),
        type=body.text_or("type", ""),
        hook=body.text_or("hook", ""),
        priority=priority.integer() if priority else None,
        policy=body.text_or("policy", ""),
    )


def _rule(body: Tree) -> NftRule:
    statements = tuple(map(statement, body["expr"].items()))
    return NftRule(body["chain"].text(), statements, body.text_or("comment", ""))
