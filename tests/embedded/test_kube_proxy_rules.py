"""The reference network's rules against those of a real Kubernetes 1.20 node."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pytest_k8snet.embedded import kube_proxy_rules
from pytest_k8snet.embedded.description import Network, PodPlan, ServicePlan
from pytest_k8snet.evidence.netfilter import RuleSet, parse_iptables_save

RECORDED = Path(__file__).parent / "iptables-save-1.20.txt"  # k8s-node1, kube-proxy 1.20.8, svc-nodeport


def network(pods: int = 1, **selector: str) -> Network:
    """The recorded cluster: one pod 20.111.156.66 behind svc-nodeport at 10.109.75.208."""
    net = Network(IPv4Network("20.96.0.0/12"), IPv4Network("10.96.0.0/12"))
    for number in range(pods):
        name = f"pod-{number}"
        net.pods[name] = PodPlan(
            name,
            "default",
            "k8s-node1",
            IPv4Address("20.111.156.66") + number,
            {"type": "dest"},
            (("container", "kubetm/app"),),
        )
    net.services["svc-nodeport"] = ServicePlan(
        "svc-nodeport",
        "default",
        "NodePort",
        IPv4Address("10.109.75.208"),
        selector or {"type": "dest"},
        (("", 8080, 8080, 31080),),
    )
    return net


def rules_of(rules: RuleSet, chain: str) -> list[str]:
    return [rule.raw for rule in rules.tables["nat"][chain].rules]


def test_services_and_node_ports_are_as_a_real_node_has_them() -> None:
    real = parse_iptables_save(RECORDED.read_text())
    ours = parse_iptables_save(kube_proxy_rules.render(network()))
    for chain in ("KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-SVC-E2FQLLMSLXOEFNG6"):
        assert rules_of(ours, chain) == rules_of(real, chain)
    assert rules_of(ours, "KUBE-SEP-TI7MSPFELKMJQEZV") == rules_of(real, "KUBE-SEP-TI7MSPFELKMJQEZV")
    real_services = [raw for raw in rules_of(real, "KUBE-SERVICES") if "default/kubernetes" not in raw]
    assert rules_of(ours, "KUBE-SERVICES") == real_services


def test_three_endpoints_share_evenly() -> None:
    jumps = rules_of(parse_iptables_save(kube_proxy_rules.render(network(3))), "KUBE-SVC-E2FQLLMSLXOEFNG6")
    assert ["--probability 0.33333333333" in jumps[0], "--probability 0.50000000000" in jumps[1]] == [
        True,
        True,
    ]
    assert "statistic" not in jumps[2]


def test_a_service_that_selects_nothing_is_rejected_and_not_translated() -> None:
    rules = parse_iptables_save(kube_proxy_rules.render(network(type="nobody")))
    assert rules_of(rules, "KUBE-NODEPORTS") == []
    assert "REJECT" in rules_of_table(rules, "filter")
    assert "10.109.75.208" not in rules_of_table(rules, "nat")


def rules_of_table(rules: RuleSet, table: str) -> str:
    return "\n".join(rule.raw for chain in rules.tables[table].values() for rule in chain.rules)


def test_masquerade_all_marks_pod_traffic_too() -> None:
    rules = parse_iptables_save(kube_proxy_rules.render(network(), masquerade_all=True))
    assert not any("! -s 20.96.0.0/12" in raw for raw in rules_of(rules, "KUBE-SERVICES"))
