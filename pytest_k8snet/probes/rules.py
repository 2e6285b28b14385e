"""What kube-proxy wrote on a node: iptables rules, its nftables table, virtual servers of ip_vs, sets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_k8snet.clusters.base import ClusterError, Node
from pytest_k8snet.evidence import ipsets, ipvs, netfilter, nftables
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.ipsets import IPSet
from pytest_k8snet.evidence.ipvs import VirtualServer
from pytest_k8snet.evidence.netfilter import RuleSet
from pytest_k8snet.evidence.nftables import NftTable
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.intent import Intent
from pytest_k8snet.probes.commands import derive, failed, read, run, unreached

RULES = ("iptables-save",)
#: One node can hold rules of both back ends, and kube-proxy (in its own image) uses either.
RULES_LEGACY, RULES_NFT = ("iptables-legacy-save",), ("iptables-nft-save",)
#: By the version of the services' addresses: the default back end's, then each by name.
IPTABLES = {
    4: (RULES, RULES_LEGACY, RULES_NFT),
    6: (("ip6tables-save",), ("ip6tables-legacy-save",), ("ip6tables-nft-save",)),
}
#: By the version of the services' addresses.
NFTABLES = {
    version: ("nft", "-j", "list", "table", family, "kube-proxy")
    for version, family in ((4, "ip"), (6, "ip6"))
}
VIRTUAL_SERVERS = ("ipvsadm", "-Ln")
VIRTUAL_SERVERS_PROC = ("cat", "/proc/net/ip_vs")
IPSETS = ("ipset", "save")
IPVS_CONNTRACK = ("cat", "/proc/sys/net/ipv4/vs/conntrack")


def read_rules(node: Node, version: int = 4) -> Reading[RuleSet]:
    """iptables-save of the back end that holds kube-proxy's rules, ip6tables-save for IP ``version`` 6; where
    none answers, why each does not."""
    default, *back_ends = IPTABLES[version]
    best = plain = _read_rules(node, default, version)
    failures = [plain.failure]
    for argv in back_ends:
        # iptables-save of one back end warns where the other holds rules too.
        legacy = argv == back_ends[0]
        doubtful = legacy and plain.value is not None and plain.value.legacy_present
        if _kube_rules(best) and not doubtful:
            continue
        other = _read_rules(node, argv, version)
        failures.append(other.failure)
        if _kube_rules(other) > _kube_rules(best):
            best = other
    return replace(best, failure="; ".join(filter(None, failures))) if best.failure else best


def read_nftables(node: Node, intent: Intent) -> Reading[NftTable]:
    """kube-proxy's own table, of the address family of the services."""
    argv = NFTABLES[intent.service_cidr.version]
    command = shlex.join(argv)
    try:
        result = node.run(*argv)
    except ClusterError as error:
        return unreached(node.name, command, error)
    if b"Error: No such file or directory" in result.stderr:
        return Reading(
            node.name,
            command,
            failure=f"{node.name} has no table {' '.join(argv[-2:])}",
            advice="kube-proxy's mode is declared as nftables: see its log, or declare k8snet_proxy_mode",
        )
    if result.exit_status:
        # nft repeats the command below its error, and points at the place.
        said = [line for line in result.stderr.splitlines() if b"rror:" in line or b"not found" in line]
        return failed(node.name, command, replace(result, stderr=b"\n".join(said) or result.stderr))
    return derive(Reading(node.name, command, result.stdout), nftables.parse_table)


def read_ipvs(node: Node) -> Reading[tuple[VirtualServer, ...]]:
    """``ipvsadm``, and the kernel's own listing where that fails: nodes often lack the program.

    The failure is that of the kernel's listing: without it, ip_vs is not loaded.
    """
    listed = read(node, VIRTUAL_SERVERS, ipvs.parse_ipvsadm)
    if not listed.failure:
        return listed
    fallback = read(node, VIRTUAL_SERVERS_PROC, ipvs.parse_proc)
    if fallback.failure:
        advice = "kube-proxy's mode is declared as ipvs: see its log, or declare k8snet_proxy_mode"
        return replace(fallback, failure=f"{listed.failure}; {fallback.failure}", advice=advice)
    return fallback


def read_ipsets(node: Node) -> Reading[Mapping[str, IPSet]]:
    return read(node, IPSETS, ipsets.parse_ipset_save)


def read_ipvs_conntrack(node: Node) -> Reading[bool]:
    """Whether ip_vs keeps conntrack up to date; kube-proxy switches that on."""
    return read(node, IPVS_CONNTRACK, _switch)


def _read_rules(node: Node, argv: Sequence[str], version: int) -> Reading[RuleSet]:
    # The warning that legacy tables exist too is a comment, on either stream by version.
    return derive(
        run(node, argv),
        lambda result: netfilter.parse_iptables_save(
            b"\n".join([result.stdout, *(x for x in result.stderr.splitlines() if x.startswith(b"#"))]),
            version,
        ),
    )


def _kube_rules(reading: Reading[RuleSet]) -> int:
    """How many rules stand in kube-proxy's chains of table nat (canary chains hold none); 0 if unread."""
    chains = reading.value.tables.get("nat", {}) if reading.value else {}
    return sum(len(chain.rules) for name, chain in chains.items() if name.startswith("KUBE-"))


def _switch(text: bytes) -> bool:
    """A setting of the kernel that is 0 or 1."""
    word = text.strip()
    if word not in (b"0", b"1"):
        raise ParseError("sysctl", "expected 0 or 1", word)
    return word == b"1"
