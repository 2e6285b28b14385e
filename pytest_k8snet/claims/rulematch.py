"""Whether one iptables rule matches one new connection: yes, no, by chance, or not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.setmatch import holds_set
from pytest_k8snet.evidence.ipsets import IPSet
from pytest_k8snet.evidence.netfilter import Match, Rule, Target
from pytest_k8snet.evidence.packets import IPAddress

_PROTOCOLS = {"tcp": "6", "udp": "17", "sctp": "132", "icmp": "1"}
_PORTS = {"--dport": "dport", "--dports": "dport", "--sport": "sport", "--sports": "sport"}
#: Modules that say nothing when they are loaded without a condition ("-m tcp -j DNAT").
_SILENT = frozenset({"tcp", "udp", "sctp", "comment", "multiport", "mark", "addrtype", "conntrack"})


def matches(
    rule: Rule, packet: NewConnection, mark: int, sets: Mapping[str, IPSet] | None = None
) -> float | None:
    """The probability that ``rule`` applies: 0.0, 1.0, a ``-m statistic`` chance, or None: not known.

    One condition that certainly fails makes the whole rule fail, whatever else is not known.
    """
    limited = any(match.option in ("--limit-iface-in", "--limit-iface-out") for match in rule.matches)
    answers = [
        _holds(match, packet, mark, limited, sets or {})
        for match in rule.matches
        if match.module != "statistic"
    ]
    if False in answers:
        return 0.0
    chance = _chance([match for match in rule.matches if match.module == "statistic"])
    return None if None in answers else chance


def xmark(target: Target, mark: int) -> int | None:
    """The packet's mark after a MARK target; None when an option is not known."""
    for option, values in target.options:
        parsed = _masked(values)
        if parsed is None:
            return None
        value, mask = parsed
        if option == "--set-xmark":
            mark = (mark & ~mask & 0xFFFFFFFF) ^ value
        elif option == "--set-mark":
            mark = (mark & ~mask & 0xFFFFFFFF) | value
        elif option == "--or-mark":
            mark |= value
        elif option == "--and-mark":
            mark &= value
        elif option == "--xor-mark":
            mark ^= value
        else:
            return None
    return mark


def _holds(
    match: Match, packet: NewConnection, mark: int, limited: bool, sets: Mapping[str, IPSet]
) -> bool | None:
    if match.option == "--comment" or (match.option == "-m" and match.module in _SILENT):
        return True
    if match.option == "--match-set" and match.module == "set":
        named = len(match.values) == 2 and match.values[0] in sets
        answer = holds_set(sets[match.values[0]], match.values[1], packet) if named else None
    else:
        answer = _plain(match, packet, mark, limited)
    return None if answer is None else answer != match.negated


def _plain(match: Match, packet: NewConnection, mark: int, limited: bool) -> bool | None:
    """The condition without its negation."""
    option, values = match.option, match.values
    if option in ("--limit-iface-in", "--limit-iface-out") and match.module == "addrtype":
        return not match.negated  # a restriction on the other addrtype options, judged with them
    if len(values) != 1:
        return None
    if option == "-s":
        return _inside(packet.src, values[0])
    if option == "-d":
        return _inside(packet.dst, values[0])
    if option == "-p":
        return values[0] in (packet.protocol, _PROTOCOLS.get(packet.protocol), "all", "0")
    if option == "-i":
        return _interface(packet.in_interface, values[0])
    if option == "-o":
        return _interface(packet.out_interface, values[0])
    if option in _PORTS and match.module in (None, "tcp", "udp", "sctp", "multiport"):
        return _ports(packet.dport if _PORTS[option] == "dport" else packet.sport, values[0])
    if option == "--dst-type":
        return _address_type(packet.dst_local, values[0], limited)
    if option == "--src-type":
        return _address_type(packet.src_local, values[0], limited)
    if option in ("--ctstate", "--state"):
        return "NEW" in values[0].split(",")
    if option == "--mark" and match.module in (None, "mark"):
        parsed = _masked(values)
        return None if parsed is None else mark & parsed[1] == parsed[0]
    return None


def _inside(address: IPAddress, network: str) -> bool | None:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return None


def _interface(actual: str, wanted: str) -> bool | None:
    if not actual:
        return None
    return actual.startswith(wanted[:-1]) if wanted.endswith("+") else actual == wanted


def _ports(port: int, wanted: str) -> bool | None:
    """``80``, ``80,443`` or ``30000:32767`` (either end may be left out)."""
    try:
        for piece in wanted.split(","):
            low, colon, high = piece.partition(":")
            first = int(low or 0)
            last = int(high or 65535) if colon else first
            if first <= port <= last:
                return True
    except ValueError:
        return None
    return False


def _address_type(local: bool, wanted: str, limited: bool) -> bool | None:
    if wanted != "LOCAL":
        return None
    # With --limit-iface-* the address must be local on one interface: which, the packet does not say.
    return None if local and limited else local


def _masked(values: Sequence[str]) -> tuple[int, int] | None:
    """``0x4000/0x4000`` as value and mask; without a mask all 32 bits count."""
    if len(values) != 1:
        return None
    value, slash, mask = values[0].partition("/")
    try:
        return int(value, 0), int(mask, 0) if slash else 0xFFFFFFFF
    except ValueError:
        return None


def _chance(statistic: Sequence[Match]) -> float | None:
    """The probability of ``-m statistic --mode random --probability P`` or ``--mode nth --every N``."""
    if not statistic:
        return 1.0
    options = {match.option: match for match in statistic}
    mode = options.get("--mode")
    name = "--every" if mode and mode.values == ("nth",) else "--probability"
    number = options.get(name)
    if mode is None or number is None or len(number.values) != 1:
        return None
    try:
        value = float(number.values[0])
    except ValueError:
        return None
    if name == "--every":
        value = 1.0 / value if value >= 1.0 else -1.0
    if not 0.0 <= value <= 1.0:
        return None
    return 1.0 - value if number.negated else value
