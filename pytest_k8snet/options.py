"""Options and ini values: what they are called.

Imported by every pytest run (see :mod:`pytest_k8snet.plugin`), so it is light; how their values become
:class:`~pytest_k8snet.settings.Settings` stands in a module of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest


class Setting(NamedTuple):
    """One value that has an option ``--k8snet-NAME`` and, unless said otherwise, an ini key."""

    name: str
    metavar: str
    help: str
    ini: str = "string"  #: type of the ini key; "" where there is none
    repeatable: bool = False

    @property
    def option(self) -> str:
        return f"--k8snet-{self.name}"

    @property
    def key(self) -> str:
        stem = self.name.replace("-", "_")
        return f"k8snet_{stem}s" if self.ini == "linelist" else f"k8snet_{stem}"

    @property
    def dest(self) -> str:
        return f"k8snet_{self.name.replace('-', '_')}"


SETTINGS = (
    Setting("provider", "NAME", "auto (default), embedded or replay"),
    Setting("kernel", "WAY", "embedded: auto (default), namespaces of this kernel, or uml"),
    Setting("bundle", "DIR", "keep the run in DIR: every command, object and capture", ini=""),
    Setting("replay", "DIR", "judge the run kept in DIR again, without a cluster", ini=""),
    Setting(
        "encapsulation",
        "MODE",
        "intent: ipip-always (default), ipip-cross-subnet, vxlan-always, vxlan-cross-subnet or none",
    ),
    Setting("pod-cidr", "CIDR", "intent: the pods' range (default 20.96.0.0/12)"),
    Setting("service-cidr", "CIDR", "intent: the services' range (default 10.96.0.0/12)"),
    Setting("uplink", "IFACE", "intent: interface between the nodes (default: found on each node)"),
    Setting("interface-prefix", "PREFIX", "intent: how host ends of pods' veths begin (default cali)"),
    Setting("proxy-mode", "MODE", "intent: iptables (default), nftables or ipvs"),
    Setting("masquerade-all", "", "intent: pod-to-pod traffic may be masqueraded", ini="bool"),
    Setting("node-port", "PORT", "intent: the NodePort lab's port (default 31080)"),
    Setting(
        "role",
        "ROLE=NODE",
        "the node that plays master, node1 or node2; repeatable",
        ini="linelist",
        repeatable=True,
    ),
    Setting(
        "fault",
        "NAME",
        "embedded: have the network wrong in a named way; repeatable; 'list' prints the names",
        ini="",
        repeatable=True,
    ),
)


def add(parser: pytest.Parser) -> None:
    """Register the option group "k8snet" and its ini keys."""
    group = parser.getgroup("k8snet", "Kubernetes networking labs (pytest-k8snet)")
    group.addoption(
        "--k8snet",
        action="store_true",
        default=False,
        help="switch the plugin on; without a path the bundled labs are run",
    )
    for setting in SETTINGS:
        extra: dict[str, Any] = {"metavar": setting.metavar, "action": "store"}
        if setting.repeatable:
            extra["action"] = "append"
        elif setting.ini == "bool":
            extra = {"action": "store_true"}
        group.addoption(setting.option, dest=setting.dest, default=None, help=setting.help, **extra)
        if setting.ini:
            parser.addini(setting.key, setting.help, type=setting.ini, default=None)  # type: ignore[arg-type]
