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
    flag: bool = False
    plural: bool = True  #: whether the ini key of a list has an s at its end

    @property
    def option(self) -> str:
        return f"--k8snet-{self.name}"

    @property
    def key(self) -> str:
        stem = self.name.replace("-", "_")
        listed = self.ini == "linelist" and self.plural
        return f"k8snet_{stem.removesuffix('s')}s" if listed else f"k8snet_{stem}"

    @property
    def dest(self) -> str:
        return f"k8snet_{self.name.replace('-', '_')}"


SETTINGS = (
    Setting("provider", "NAME", "auto (default), kind, kubeconfig, embedded or replay"),
    Setting("kernel", "WAY", "embedded: auto (default), namespaces of this kernel, or uml"),
    Setting("bundle", "DIR", "keep the run in DIR: every command, object and capture", ini=""),
    Setting("replay", "DIR", "judge the run kept in DIR again, without a cluster", ini=""),
    Setting("report", "FILE", "draw the run as a page that a browser opens: FILE.html", ini=""),
    Setting("baseline", "DIR", "fail for what changed, by meaning, since the run kept in DIR", ini=""),
    Setting(
        "baseline-allow",
        "GLOB: REASON",
        "a change since the baseline that is expected, by its id; repeatable",
        ini="linelist",
        repeatable=True,
        plural=False,
    ),
    Setting("watch", "COMMAND", "run COMMAND, an upgrade, while clients send over every path", ini=""),
    Setting("outage-budget-ms", "MS", "the longest gap that a path may have during --k8snet-watch"),
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
    Setting("masquerade-all", "", "intent: pod-to-pod traffic may be masqueraded", ini="bool", flag=True),
    Setting("node-port", "PORT", "intent: the NodePort lab's port (default 31080)"),
    Setting(
        "role",
        "ROLE=NODE",
        "the node that plays master, node1 or node2; repeatable",
        ini="linelist",
        repeatable=True,
    ),
    # A cluster is named on the command line alone: an ini file that came with a clone must not choose it.
    Setting(
        "context", "NAME", "kubeconfig: the context of the cluster to judge (never the current one)", ini=""
    ),
    Setting("kubeconfig", "PATH", "kubeconfig: its file (default: $KUBECONFIG, else ~/.kube/config)", ini=""),
    Setting("node-access", "WAY", "kubeconfig: probe (default), pods of ours on each node, or ssh"),
    Setting(
        "images",
        "WHAT",
        "kind, kubeconfig: 'agnhost' for all of the labs' images, or IMAGE=OTHER for one; repeatable",
        ini="linelist",
        repeatable=True,
    ),
    Setting(
        "image-pull-secret",
        "NAME",
        "kind, kubeconfig: NAME or NAMESPACE/NAME of an imagePullSecret; repeatable",
        ini="linelist",
        repeatable=True,
    ),
    Setting("probe-image", "IMAGE", "kind, kubeconfig: the image that captures and reads on the nodes"),
    Setting("profile", "NAME", "kind: current (default) versions, or those of the document"),
    Setting("calico-version", "VERSION", "kind: another pinned version of Calico"),
    Setting("calico-manifest", "PATH", "kind: Calico's manifest in a file of yours"),
    Setting("timeout", "SECONDS", "kind, kubeconfig: for bringing up, and for each lab (default 600)"),
    Setting("keep", "", "kind, kubeconfig: leave what was made and say how to remove it", ini="", flag=True),
    Setting(
        "disruptive", "", "kubeconfig: also claims that kill or add containers of the labs", "bool", flag=True
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
        elif setting.flag:
            extra = {"action": "store_true"}
        group.addoption(setting.option, dest=setting.dest, default=None, help=setting.help, **extra)
        if setting.ini:
            parser.addini(setting.key, setting.help, type=setting.ini, default=None)  # type: ignore[arg-type]
