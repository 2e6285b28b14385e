"""Load the modules of User-Mode Linux (no modprobe needed, nothing installed in the guest)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pytest_k8snet.embedded.agent.syscalls import insert_module

#: ipip and what carries it; netfilter as kube-proxy's rules use it; conntrack over netlink for the tool.
NEEDED = (
    "veth",
    "bridge",
    "ipip",
    "iptable_nat",
    "iptable_filter",
    "xt_MASQUERADE",
    "xt_nat",
    "xt_addrtype",
    "xt_comment",
    "xt_conntrack",
    "xt_mark",
    "xt_statistic",
    "xt_tcpudp",
    "ipt_REJECT",
    "nf_conntrack_netlink",
)


def load(names: Sequence[str] = NEEDED, root: str = "/usr/lib/uml/modules") -> None:
    """Insert modules with what they depend on, as ``modules.dep`` (depmod) lists it.

    Names not in ``modules.dep`` are taken as built in. Raises OSError when the kernel refuses one.
    """
    folder = os.path.join(root, os.uname().release)
    depends: dict[str, tuple[str, list[str]]] = {}
    with open(os.path.join(folder, "modules.dep")) as listing:
        for line in listing:
            path, _, needs = line.partition(":")
            depends[_name(path)] = (path, needs.split())
    loaded: set[str] = set()

    def insert(path: str) -> None:
        if path in loaded:
            return
        loaded.add(path)
        for need in reversed(depends[_name(path)][1]):
            insert(need)
        insert_module(os.path.join(folder, path))

    for name in names:
        if name in depends:
            insert(depends[name][0])


def _name(path: str) -> str:
    return os.path.basename(path).removesuffix(".ko").replace("-", "_")
