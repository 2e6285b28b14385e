"""kube-proxy's iptables rules for what the fake API holds, by the generator of the reference network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from pytest_k8snet.embedded import kube_proxy_rules
from pytest_k8snet.embedded.description import Network, PodPlan, ServicePlan
from tests.fakeapi.store import Store


def rendered(store: Store, pod_cidr: str, service_cidr: str, table: str = "") -> str:
    """What iptables-save prints; of one ``table`` where that is named."""
    whole = kube_proxy_rules.render(_network(store, pod_cidr, service_cidr))
    parts = [f"*{part}" for part in whole.split("*")[1:]] if table else [whole]
    return "".join(part for part in parts if part.startswith(f"*{table}" if table else "*"))


def _network(store: Store, pod_cidr: str, service_cidr: str) -> Network:
    network = Network(IPv4Network(pod_cidr), IPv4Network(service_cidr))
    for service in store.listed("services"):
        spec, meta = service["spec"], service["metadata"]
        ports = [
            (port.get("name", ""), port["port"], port["targetPort"], port.get("nodePort"))
            for port in spec["ports"]
        ]
        network.services[f"{meta['namespace']}/{meta['name']}"] = ServicePlan(
            name=meta["name"],
            namespace=meta["namespace"],
            type=spec["type"],
            cluster_ip=IPv4Address(spec["clusterIP"]),
            selector=spec.get("selector") or {},
            ports=tuple(ports),
        )
    ready = {
        address
        for endpoints in store.listed("endpoints")
        for subset in endpoints["subsets"]
        for address in (one["ip"] for one in subset["addresses"])
    }
    for pod in store.listed("pods"):
        address, meta = pod["status"].get("podIP", ""), pod["metadata"]
        if address in ready:
            network.pods[f"{meta['namespace']}/{meta['name']}"] = PodPlan(
                name=meta["name"],
                namespace=meta["namespace"],
                node=pod["spec"]["nodeName"],
                ip=IPv4Address(address),
                labels=meta.get("labels") or {},
                containers=tuple((one["name"], one["image"]) for one in pod["spec"]["containers"]),
            )
    return network
