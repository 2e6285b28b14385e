"""Which kind, node image and Calico a run takes: the pins, and what was asked (pure but for reading them)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pytest_k8snet.clusters.asked import Asked

PINS = Path(__file__).with_name("pins.toml")

#: The tag of a node image, "kindest/node:v1.36.1@sha256:...", names its Kubernetes.
_NODE_TAG = re.compile(r":v?(\d+)\.(\d+)(?:\.\d+)?(?:[@+_-]|$)")


@dataclass(frozen=True)
class CalicoPin:
    version: str
    url: str
    sha256: str
    oldest: tuple[int, int]  #: Kubernetes
    newest: tuple[int, int] | None = None
    images: Mapping[str, str] = field(default_factory=dict)  #: image in the manifest -> the one that runs

    def fits(self, kubernetes: tuple[int, int]) -> bool:
        return self.oldest <= kubernetes <= (self.newest or kubernetes)

    @property
    def range(self) -> str:
        """ "1.25 or newer", "1.19 to 1.24": of Kubernetes."""
        oldest = ".".join(map(str, self.oldest))
        return f"{oldest} to {'.'.join(map(str, self.newest))}" if self.newest else f"{oldest} or newer"


@dataclass(frozen=True)
class Pins:
    kind: str  #: version, "0.32.0"
    kind_url: str  #: with {version} and {architecture}
    kind_sha256: Mapping[str, str]  #: by architecture as Go names it
    node_images: Mapping[str, str]  #: by the version of the kind that was released with it
    profiles: Mapping[str, Mapping[str, str]]
    calico: Mapping[str, CalicoPin]  #: by version, newest first


@dataclass(frozen=True)
class Versions:
    """What a cluster is made of. ``node_image`` empty: the one that the kind at hand has as its own."""

    node_image: str
    kubernetes: tuple[int, int] | None  #: of the node image, where its tag tells
    calico: CalicoPin | None  #: None: a manifest of the user's
    calico_manifest: Path | None = None


@cache
def pins() -> Pins:
    """pins.toml, which ships with the package."""
    read = tomllib.loads(PINS.read_text())
    calico = {
        version: CalicoPin(
            version,
            pin["url"],
            pin["sha256"],
            _minor(pin["oldest"]),
            _minor(pin["newest"]) if "newest" in pin else None,
            pin.get("images", {}),
        )
        for version, pin in read["calico"].items()
    }
    return Pins(
        read["kind"]["version"],
        read["kind"]["url"],
        read["kind"]["sha256"],
        read["node_images"],
        read["profiles"],
        dict(sorted(calico.items(), key=lambda item: number(item[0]), reverse=True)),
    )


def versions(asked: Asked, kind: str) -> Versions:
    """What ``asked`` means with a kind of version ``kind`` ("0.27.0", "" where unknown).

    Raises ValueError, one line, for a Calico that is not pinned.
    """
    pinned = pins()
    profile = pinned.profiles[asked.profile]
    image = asked.kind.image or profile.get("node_image") or pinned.node_images.get(kind, "")
    kubernetes = kubernetes_of(image)
    if asked.calico_manifest is not None:
        return Versions(image, kubernetes, None, asked.calico_manifest)
    wanted = asked.calico_version.removeprefix("v") or profile["calico"]
    calico = pinned.calico.get(wanted)
    if calico is None:
        known = ", ".join(pinned.calico)
        raise ValueError(
            f"--k8snet-calico-version: {asked.calico_version!r} is not pinned; choose one of {known},"
            " or name a manifest of your own with --k8snet-calico-manifest"
        )
    return Versions(image, kubernetes, calico)


def kubernetes_of(image: str) -> tuple[int, int] | None:
    """(1, 20) for "kindest/node:v1.20.15@sha256:..."; None where the tag names no version."""
    found = _NODE_TAG.search(image)
    return (int(found[1]), int(found[2])) if found else None


def _minor(version: str) -> tuple[int, int]:
    major, minor = version.split(".")
    return int(major), int(minor)


def number(version: str) -> tuple[int, ...]:
    """ "v0.32.0-alpha" as (0, 32, 0), for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("-")[0]))
