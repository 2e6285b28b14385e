"""kube-proxy's three modes: where each keeps a service, and how a packet is walked through it."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_k8snet.claims.modes.base import ProxyMode
from pytest_k8snet.claims.modes.iptables import IPTables
from pytest_k8snet.claims.modes.ipvs import IPVS
from pytest_k8snet.claims.modes.nftables import NFTables
from pytest_k8snet.intent import Intent

_MODES: Mapping[str, ProxyMode] = {"iptables": IPTables(), "nftables": NFTables(), "ipvs": IPVS()}


def proxy_mode(intent: Intent) -> ProxyMode:
    """The mode that is declared."""
    return _MODES[intent.proxy_mode]
