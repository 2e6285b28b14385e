"""Which images the labs' containers and the probe run, and how they are pulled."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Kubernetes' own test image, built for linux/amd64 and arm64 among others (kubernetes
#: test/images/agnhost/BASEIMAGE). It is Alpine with curl; its entry point serves HTTP by ``netexec``.
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
#: Alpine 3.23 with tcpdump, conntrack, iproute2, iptables (nft back end), nft, ipvsadm, ipset, curl and
#: util-linux's nsenter, for linux/amd64 and arm64. It has no iptables-legacy: that is the host's, by nsenter.
PROBE = "nicolaka/netshoot:v0.15"
#: The document's images and the TCP port that each serves: on what agnhost must do to stand in.
DOCUMENT = {"kubetm/init": 8080, "kubetm/app": 8080, "kubetm/p8000": 8000, "kubetm/p8080": 8080}

#: distribution/reference, as far as it must be: host and port, lower-case path, tag, digest.
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[a-z0-9]+:[0-9a-fA-F]{32,})?"
)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")  # DNS-1123 subdomain


@dataclass(frozen=True)
class Images:
    """The document's images, unless agnhost stands in or a mapping names others.

    ``namespace`` is where the pull secrets are. A secret serves the pods of its own namespace only, and this
    plugin reads no secrets, so copies none: the run then uses that namespace, which stays.
    """

    agnhost: bool = False
    mapping: Mapping[str, str] = field(
        default_factory=dict
    )  #: image as manifests (or the default) name it -> yours
    pull_secrets: tuple[str, ...] = ()
    probe: str = ""
    namespace: str = ""

    @classmethod
    def read(cls, values: Sequence[str], pull_secrets: Sequence[str], probe: str) -> Images:
        """``values``: "agnhost" or "IMAGE=OTHER" each; ``pull_secrets``: "NAME" (the cluster puts it into
        each new namespace by its own means) or "NAMESPACE/NAME". Raises ValueError, one line."""
        agnhost = False
        mapping: dict[str, str] = {}
        for value in values:
            image, equals, other = (part.strip() for part in value.partition("="))
            if not equals:
                if image != "agnhost":
                    raise ValueError(f"{value!r} is neither 'agnhost' nor IMAGE=OTHER")
                agnhost = True
                continue
            for name in (image, other):
                _check_image(name, value)
            if mapping.setdefault(_short(image), other) != other:
                raise ValueError(f"image {image!r} is given twice: {mapping[_short(image)]!r} and {other!r}")
        if probe:
            _check_image(probe, probe)
        names, namespaces = [], set()
        for secret in pull_secrets:
            namespace, slash, name = secret.strip().rpartition("/")
            if not _NAME.fullmatch(name) or (slash and not _NAME.fullmatch(namespace)):
                raise ValueError(f"pull secret {secret!r} is neither NAME nor NAMESPACE/NAME")
            names.append(name)
            namespaces.add(namespace)
        if len(namespaces) > 1:
            raise ValueError(
                f"pull secrets {', '.join(map(repr, pull_secrets))} are not of one namespace,"
                " and pods use those of their own only"
            )
        return cls(agnhost, mapping, tuple(dict.fromkeys(names)), probe, *namespaces)

    def resolved(self, image: str) -> str:
        """The image that runs in the place of ``image``."""
        if self.agnhost and _short(image) in DOCUMENT and _short(image) not in self.mapping:
            image = AGNHOST
        return self.mapping.get(_short(image), image)

    @property
    def probe_image(self) -> str:
        return self.resolved(self.probe or PROBE)

    def container(self, container: Mapping[str, Any]) -> dict[str, Any]:
        """A container of a manifest with the image that runs, and what that image must do to serve the same.

        It is pulled where it is not there yet: an image without a tag would be pulled always.
        """
        made = {"imagePullPolicy": "IfNotPresent", **container}
        image = str(container.get("image", ""))
        made["image"] = self.resolved(image)
        if self.agnhost and _short(image) in DOCUMENT and _short(image) not in self.mapping:
            made.pop("command", None)
            # UDP off: two containers of one pod would both take 8081.
            made["args"] = ["netexec", f"--http-port={DOCUMENT[_short(image)]}", "--udp-port=-1"]
        return made


def _short(image: str) -> str:
    """One spelling for "docker.io/kubetm/app:latest", "kubetm/app" and those between."""
    return image.removeprefix("docker.io/").removeprefix("library/").removesuffix(":latest")


def _check_image(image: str, value: str) -> None:
    if not _IMAGE.fullmatch(image):
        raise ValueError(f"{value!r}: {image!r} is not an image's name")
