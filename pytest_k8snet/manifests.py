"""Lab manifests as read from YAML files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

#: The document's machines: what the labs' nodeSelectors name, and the roles that these names stand for.
HOSTNAME = "kubernetes.io/hostname"
DOCUMENT_NODES = {"k8s-master": "master", "k8s-node1": "node1", "k8s-node2": "node2"}


class ManifestError(ValueError):
    """A manifest that can't be used: one line naming the file, the object and the field."""


@dataclass(frozen=True)
class Manifest:
    kind: str
    name: str
    body: Mapping[str, Any]
    source: str  #: file, as the user would name it

    @property
    def label(self) -> str:
        """The object as an error names it: ``pod-src.yaml: Pod pod-src``."""
        return f"{self.source}: {self.kind} {self.name}"


def load(path: Path, source: str = "") -> list[Manifest]:
    """All objects of one YAML file (several documents may be parted by ``---``), in order.

    ``source`` is how errors name the file; its name if empty. Raises :class:`ManifestError` for a
    file that can't be read, is not YAML, holds no object, or one without apiVersion, kind or
    metadata.name.
    """
    source = source or path.name
    try:
        documents = _documents(path.read_bytes())
    except OSError as error:
        raise ManifestError(f"{source}: can't be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ManifestError(f"{source}: not YAML: {_in_one_line(error)}") from None
    # An empty document is what a leading or trailing "---" leaves: kubectl skips it too.
    found = [_manifest(body, source) for body in documents if body is not None]
    if not found:
        raise ManifestError(f"{source}: holds no object")
    return found


def load_all(paths: Iterable[Path]) -> list[Manifest]:
    """The objects of several files, in the order of the files."""
    return [manifest for path in paths for manifest in load(path)]


def roles_of(manifests: Iterable[Manifest]) -> tuple[str, ...]:
    """The roles whose nodes the pods among ``manifests`` select by the document's names."""
    named = []
    for manifest in manifests:
        spec = manifest.body.get("spec")
        selector = spec.get("nodeSelector") if isinstance(spec, dict) else None
        wanted = selector.get(HOSTNAME) if isinstance(selector, dict) else None
        if isinstance(wanted, str) and wanted in DOCUMENT_NODES:
            named.append(DOCUMENT_NODES[wanted])
    return tuple(dict.fromkeys(named))


@cache
def _documents(content: bytes) -> tuple[Any, ...]:
    # A lab's files are read when tests are collected and again when it is set up, and the labs share pods:
    # parsing each content once saves a replay 0.05 s. Nothing changes a manifest's body.
    return tuple(yaml.load_all(content, Loader=_Loader))


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: the same key twice in one mapping is an error, not the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _in_one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def _manifest(body: object, source: str) -> Manifest:
    if not isinstance(body, dict):
        raise ManifestError(f"{source}: an object is a mapping, this is {_yaml_name(body)}")
    for key in ("apiVersion", "kind"):
        if not isinstance(body.get(key), str) or not body[key]:
            raise ManifestError(f"{source}: an object without {key}")
    kind = body["kind"]
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        raise ManifestError(f"{source}: {kind} without metadata")
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        raise ManifestError(f"{source}: {kind} without metadata.name")
    return Manifest(kind, name, body, source)


def _yaml_name(value: object) -> str:
    return {list: "a list", str: "a string", bool: "a boolean"}.get(type(value), f"{value!r}")
