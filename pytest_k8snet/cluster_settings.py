"""What was asked of a real cluster: our options and ini values, pytest-kind's and testinfra's options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters import choose
from pytest_k8snet.clusters.asked import ACCESSES, PROFILES, Asked, KindOptions
from pytest_k8snet.clusters.images import Images

#: Settings that only some providers know, with those that do.
BELONGS: Mapping[str, tuple[str, ...]] = {
    "context": ("kubeconfig",),
    "kubeconfig": ("kubeconfig",),
    "node-access": ("kubeconfig",),
    "profile": ("kind",),
    "calico-version": ("kind",),
    "calico-manifest": ("kind",),
    "images": ("kind", "kubeconfig"),
    "image-pull-secret": ("kind", "kubeconfig"),
    "probe-image": ("kind", "kubeconfig"),
    "timeout": ("kind", "kubeconfig"),
    "keep": ("kind", "kubeconfig"),
    "disruptive": ("kubeconfig",),
}
SHORTEST_TIMEOUT = 10.0


def read(
    config: pytest.Config,
    values: Mapping[str, Any],
    refuse: Callable[[str, object], pytest.UsageError],
) -> Asked:
    """Raises what ``refuse(setting, problem)`` makes of a value that can't be used."""

    def checked(name: str, check: Callable[[Any], Any], default: Any) -> Any:
        if values[name] is None:
            return default
        try:
            return check(values[name])
        except ValueError as error:
            raise refuse(name, error) from None

    base = config.invocation_params.dir

    def file(text: str) -> Path:
        # Kubeconfigs may be several, as $KUBECONFIG names them; their loader tells which one is bad.
        path = base / Path(text).expanduser()
        if not text or not path.is_file():
            raise ValueError(f"{text!r} is not a file")
        return path

    mapping, secrets, probe = (values[name] for name in ("images", "image-pull-secret", "probe-image"))
    checked("images", lambda given: Images.read(given, (), ""), None)
    checked("image-pull-secret", lambda given: Images.read((), given, ""), None)
    checked("probe-image", lambda given: Images.read((), (), _name(given)), None)
    return Asked(
        context=checked("context", _name, ""),
        kubeconfig=checked("kubeconfig", file, None),
        access=checked("node-access", _one_of("a way to a node", ACCESSES), "probe"),
        ssh_config=_path(config, "ssh_config"),
        ssh_identity=_path(config, "ssh_identity_file"),
        ssh_extra=config.getoption("ssh_extra_args", None) or "",
        images=Images.read(mapping or (), secrets or (), probe or ""),
        keep=bool(values["keep"]),
        timeout=checked("timeout", _seconds, Asked.timeout),
        profile=checked("profile", _one_of("a profile", PROFILES), "current"),
        calico_version=checked("calico-version", _version, ""),
        calico_manifest=checked("calico-manifest", file, None),
        kind=_kind(config),
    )


def _kind(config: pytest.Config) -> KindOptions:
    """pytest-kind's own options; its defaults where that plugin is switched off."""
    return KindOptions(
        name=config.getoption("cluster_name", None) or KindOptions.name,
        keep=bool(config.getoption("keep_cluster", False)),
        kubeconfig=_path(config, "kubeconfig"),
        image=config.getoption("kind_image", None) or "",
        kind=_path(config, "kind_bin"),
        kubectl=_path(config, "kind_kubectl_bin"),
    )


def _path(config: pytest.Config, option: str) -> Path | None:
    value = config.getoption(option, None)
    return config.invocation_params.dir / Path(value).expanduser() if value else None


def _name(value: str) -> str:
    if not value.strip():
        raise ValueError("needs a name")
    return value


def _version(value: str) -> str:
    """ "v3.30.3" and "3.30.3" are one."""
    numbers = value.removeprefix("v").split(".")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ValueError(f"{value!r} is not a version such as v3.30.3")
    return f"v{'.'.join(numbers)}"


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number of seconds") from None
    if not SHORTEST_TIMEOUT <= seconds < 86400:
        raise ValueError(f"{value!r} is not between {SHORTEST_TIMEOUT:g} seconds and a day")
    return seconds


def _one_of(what: str, known: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in known:
            raise ValueError(choose.one_of(value, what, known))
        return value

    return check
