"""Rules, from ``iptables-save`` (legacy and nf_tables back end print the same language)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Match:
    """One condition: ``option`` as printed ("-d", "--dport", "--dst-type"), ``module`` of ``-m`` if any."""

    option: str
    values: tuple[str, ...] = ()
    negated: bool = False
    module: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """``-j NAME`` (or ``-g NAME``: ``goto``) and its options in order."""

    name: str
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    goto: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    chain: str
    matches: tuple[Match, ...]
    target: Target | None
    raw: str = field(compare=False)  #: the line as printed, counters taken off
    counters: tuple[int, int] | None = field(default=None, compare=False)  #: packets, bytes

    @property
    def comment(self) -> str:
        for match in self.matches:
            if match.option == "--comment" and match.values:
                return match.values[0]
        return ""


@dataclass(frozen=True, slots=True)
class Chain:
    name: str
    policy: str | None  #: "ACCEPT"/"DROP" for built-in chains, None for the others
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All tables of one ``iptables-save``: ``tables["nat"]["KUBE-SERVICES"]``."""

    tables: Mapping[str, Mapping[str, Chain]]
    backend: str | None = None  #: "nf_tables", "legacy", or None when the header does not say
    legacy_present: bool = False  #: the warning that legacy tables hold rules too stands in the output
