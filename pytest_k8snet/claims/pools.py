"""Calico's pools: which one an address is from, and the modes that an intent asks of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_k8snet.evidence.objects import IPPool
from pytest_k8snet.evidence.packets import IPAddress

#: Declared encapsulation -> (ipipMode, vxlanMode).
MODES: Mapping[str, tuple[str, str]] = {
    "ipip-always": ("Always", "Never"),
    "ipip-cross-subnet": ("CrossSubnet", "Never"),
    "vxlan-always": ("Never", "Always"),
    "vxlan-cross-subnet": ("Never", "CrossSubnet"),
    "none": ("Never", "Never"),
}


def pool_of(pools: Iterable[IPPool], address: IPAddress) -> IPPool | None:
    """The pool that holds the address: the narrowest, as Calico's own look-up; None where none does."""
    holding = [pool for pool in pools if address in pool.cidr]
    return max(holding, key=lambda pool: (not pool.disabled, pool.cidr.prefixlen), default=None)
