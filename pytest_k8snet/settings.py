"""What the user asked for, read from options and ini values and checked: one line for what can't be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet import cluster_settings
from pytest_k8snet.clusters import choose
from pytest_k8snet.clusters.asked import Asked
from pytest_k8snet.intent import ENCAPSULATIONS, PROXY_MODES, ROLES, Intent
from pytest_k8snet.meaning.allowances import allowed
from pytest_k8snet.meaning.comparison import Allowed
from pytest_k8snet.options import SETTINGS, Setting
from pytest_k8snet.paths import Paths, Unusable

PROVIDER_INPUT = "k8snet_provider"  #: in the workerinput of pytest-xdist: what its controller chose
NODE_PORTS = range(30000, 32768)  #: kube-apiserver's default --service-node-port-range


@dataclass(frozen=True)
class Settings:
    """What the user asked for, checked. ``declared`` holds the intent's fields that were given."""

    provider: str = "embedded"  #: "kind", "kubeconfig", "embedded" or "replay"
    why: str = ""  #: why that one, for the header
    kernel: str = "auto"
    bundle: Path | None = None
    replay: Path | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()  #: names of what is wrong in the reference network on purpose
    asked: Asked = field(default_factory=Asked)  #: of a real cluster
    disruptive: bool = True  #: whether claims that kill or add containers are judged
    report: Path | None = None  #: the page to draw
    baseline: Path | None = None  #: the kept run to compare with
    allowed: tuple[Allowed, ...] = ()  #: changes since the baseline that are expected
    watch: str = ""  #: the user's command, run while clients send over every path
    outage_budget: int | None = None  #: milliseconds

    @property
    def subject(self) -> str:
        """What the verdicts of the run are on, in words."""
        return choose.verdict_on(self.provider, self.replay, self.faults, self.asked.context)

    def intent(self, base: Intent | None = None) -> Intent:
        """``base`` (a recorded run's intent; else the document's values) overridden by what was given."""
        if base is None:
            # A cluster that exists has the ranges that it was given, not the document's.
            base = Intent(pod_cidr=None) if self.provider == "kubeconfig" else Intent()
        return replace(base, **self.declared)


def read(config: pytest.Config) -> Settings:
    """The settings of this run.

    Raises :class:`pytest.UsageError`, one line that names the option or the ini key, for any value
    that can't be used.
    """
    given = {setting.name: _given(config, setting) for setting in SETTINGS}
    values = {name: value for name, (value, _) in given.items()}
    origins = {name: origin for name, (_, origin) in given.items()}

    def refuse(name: str, problem: object) -> pytest.UsageError:
        return pytest.UsageError(f"{origins[name]}: {problem}")

    if values["watch"] is not None and not values["watch"].strip():
        raise refuse("watch", "needs a command")
    try:
        paths = Paths.given(values, config.invocation_params.dir)
    except Unusable as error:
        raise refuse(error.setting, error) from None
    kernel = "auto" if values["kernel"] is None else values["kernel"]
    if kernel not in choose.KERNELS:
        raise refuse("kernel", choose.one_of(kernel, "a kernel", choose.KERNELS))
    asked = "auto" if values["provider"] is None else values["provider"]
    asked = getattr(config, "workerinput", {}).get(PROVIDER_INPUT, asked)
    if asked not in choose.PROVIDERS:
        raise refuse("provider", choose.one_of(asked, "a provider", choose.PROVIDERS))
    real = cluster_settings.read(config, values, refuse)
    try:
        provider, why = choose.provider(asked, paths.replay, real)
    except choose.NotOffered as error:
        raise refuse(error.setting, error) from None
    for name, known in cluster_settings.BELONGS.items():
        # An ini file serves several providers; an option without effect is a mistake.
        if values[name] is not None and provider not in known and origins[name].startswith("--"):
            raise refuse(name, f"provider {provider!r} has no use for it, only {' and '.join(known)}")
    if provider == "kind" and real.images.namespace:
        raise refuse("image-pull-secret", "a new kind cluster holds no secret; load the images into Docker")
    if values["watch"] is not None and paths.replay is not None:
        raise refuse("watch", "a replay changes nothing; what was watched then is judged again without it")

    declared: dict[str, Any] = {}
    for name, check in _CHECKS.items():
        if values[name] is not None:
            try:
                declared[_FIELDS.get(name, name.replace("-", "_"))] = check(values[name])
            except ValueError as error:
                raise refuse(name, error) from None
    for name, other in (("baseline-allow", "baseline"), ("outage-budget-ms", "watch")):
        pointless = values[other] is None and (other != "watch" or paths.replay is None)
        if pointless and values[name] is not None and origins[name].startswith("--"):
            raise refuse(name, f"without effect: there is no --k8snet-{other}")
    try:
        expected = allowed(values["baseline-allow"] or ())
    except ValueError as error:
        raise refuse("baseline-allow", error) from None
    try:
        budget = _budget(values["outage-budget-ms"])
    except ValueError as error:
        raise refuse("outage-budget-ms", error) from None
    settings = Settings(
        provider=provider,
        why=why,
        kernel=kernel,
        bundle=paths.bundle,
        replay=paths.replay,
        declared=declared,
        faults=tuple(values["fault"] or ()),
        asked=real,
        disruptive=provider != "kubeconfig" or bool(values["disruptive"]),
        report=paths.report,
        baseline=paths.baseline,
        allowed=expected,
        watch=values["watch"] or "",
        outage_budget=budget,
    )
    intent = settings.intent()
    for problem in choose.problems_with_faults(settings.faults, provider, intent):
        raise refuse("fault", problem)
    ranges = {"pod_cidr", "service_cidr"} & set(declared)
    # Of a cluster that exists the document's ranges say nothing: both must have been declared.
    comparable = len(ranges) == 2 or bool(ranges and provider != "kubeconfig")
    if comparable and intent.pod_cidr and _overlap(intent.pod_cidr, intent.service_cidr):
        name = "pod-cidr" if "pod_cidr" in declared else "service-cidr"
        raise refuse(name, f"pods' range {intent.pod_cidr} and services' range {intent.service_cidr} overlap")
    if provider == "embedded":
        for fieldname, problem in choose.beyond_the_reference_network(intent):
            name = {v: k for k, v in _FIELDS.items()}.get(fieldname, fieldname.replace("_", "-"))
            raise refuse(name, problem)
    if not hasattr(config, "workerinput"):  # xdist's workers find what their controller has checked
        try:
            paths.check(config, declared.get("roles", {}))
        except Unusable as error:
            raise refuse(error.setting, error) from None
    return settings


def _given(config: pytest.Config, setting: Setting) -> tuple[Any, str]:
    """The value and where it stands: the option wins over the ini key; None where neither was given."""
    value = config.getoption(setting.dest)
    if value is None and setting.ini:
        origin = setting.key if config.inipath is None else f"{setting.key} ({config.inipath.name})"
        try:
            value = config.getini(setting.key)
        except (
            ValueError,
            TypeError,
            pytest.UsageError,
        ) as error:  # not a bool, or a TOML value of another type
            raise pytest.UsageError(f"{origin}: {error}") from None
        if value is not None:
            return value, origin
    return value, setting.option


def _encapsulation(value: str) -> str:
    if value not in ENCAPSULATIONS:
        raise ValueError(choose.one_of(value, "an encapsulation", ENCAPSULATIONS))
    return value


def _proxy_mode(value: str) -> str:
    if value not in PROXY_MODES:
        raise ValueError(choose.one_of(value, "a proxy mode", PROXY_MODES))
    return value


def _cidr(value: str) -> IPv4Network | IPv6Network:
    if "/" not in value:
        raise ValueError(f"{value!r} has no prefix length; write it as ADDRESS/LENGTH")
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(f"not a CIDR: {error}") from None


def _interface(value: str) -> str:
    # The kernel's own rule (dev_valid_name): 15 characters, no slash, no white space.
    if not 0 < len(value) <= 15 or "/" in value or any(letter.isspace() for letter in value):
        raise ValueError(f"{value!r} can't be (the beginning of) an interface's name")
    return value


def _node_port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) in NODE_PORTS):
        raise ValueError(f"{value!r} is not a port in {NODE_PORTS.start}-{NODE_PORTS.stop - 1}")
    return int(value)


def _roles(values: list[str]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for value in values:
        role, equals, node = (part.strip() for part in value.partition("="))
        if not (role and equals and node):
            raise ValueError(f"{value!r} is not ROLE=NODE")
        if role not in ROLES:
            raise ValueError(f"{value!r}: {choose.one_of(role, 'a role', ROLES)}")
        if role in roles:
            raise ValueError(f"role {role!r} is given twice: {roles[role]!r} and {node!r}")
        for other, taken in roles.items():
            if taken == node:
                raise ValueError(f"node {node!r} can't be both {other} and {role}")
        roles[role] = node
    return roles


_FIELDS = {"role": "roles"}  # where a field of Intent is not called as its setting
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "encapsulation": _encapsulation,
    "pod-cidr": _cidr,
    "service-cidr": _cidr,
    "uplink": _interface,
    "interface-prefix": _interface,
    "proxy-mode": _proxy_mode,
    "masquerade-all": bool,
    "node-port": _node_port,
    "role": _roles,
}


def _budget(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{value!r} is not a number of milliseconds")
    return int(value)


def _overlap(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return one.version == other.version and one.overlaps(other)
