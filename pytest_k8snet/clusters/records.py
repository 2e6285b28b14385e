"""One line of a bundle's ``commands.jsonl``: a command, a capture or an API read, raw, and its failures."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_k8snet.clusters.base import (
    ClusterError,
    CommandTimeout,
    NodeUnreachable,
    NotRecorded,
)

_ERRORS: Mapping[str, type[ClusterError]] = {
    kind.__name__: kind for kind in (ClusterError, CommandTimeout, NodeUnreachable, NotRecorded)
}

#: PEM blocks (keys, certificates) and JSON Web Tokens. No probe asks for them; should some output hold one
#: all the same, the bundle must not.
_SECRET = re.compile(
    rb"-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----"
    rb"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+",
    re.DOTALL,
)
REDACTED = b"[left out by pytest-k8snet]"


def without_secrets(output: bytes) -> bytes:
    return _SECRET.sub(REDACTED, output)


@dataclass(frozen=True)
class Failure:
    """A :class:`ClusterError` that was raised: ``stage`` is "run", "start", "wait" or "stop"."""

    stage: str
    type: str
    message: str

    @classmethod
    def of(cls, stage: str, error: ClusterError) -> Failure:
        known = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS)
        return cls(stage, known, str(error))

    def error(self) -> ClusterError:
        return _ERRORS.get(self.type, ClusterError)(self.message)


@dataclass(frozen=True)
class Record:
    """``number`` counts a lab's records by their start. ``started`` in seconds since the epoch."""

    number: int
    kind: str  #: "command", "running" or "read"
    where: str  #: node name, "pod/POD/CONTAINER", or "" for the API
    argv: tuple[str, ...]  #: for a read: the resource
    started: float
    ms: float
    exit_status: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    pcap: str = ""  #: file beside this one that holds stdout
    size: int = 0  #: of that file, bytes
    sha256: str = ""
    failures: tuple[Failure, ...] = ()

    @property
    def question(self) -> tuple[str, str, tuple[str, ...]]:
        """What a replay asks again."""
        return (self.kind, self.where, self.argv)

    def raise_failure(self, stage: str) -> None:
        for failure in self.failures:
            if failure.stage == stage:
                raise failure.error()

    def line(self) -> bytes:
        fields: dict[str, Any] = {
            "number": self.number,
            "kind": self.kind,
            "where": self.where,
            "argv": self.argv,
            "started": round(self.started, 6),
            "ms": round(self.ms, 1),
            "exit_status": self.exit_status,
        }
        for name, output in (("stdout", self.stdout), ("stderr", self.stderr)):
            fields.update(_text(name, output))
        if self.pcap:
            fields.update(pcap=self.pcap, size=self.size, sha256=self.sha256)
        if self.failures:
            fields["failures"] = [vars(failure) for failure in self.failures]
        return json.dumps(fields, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Record:
        """Raises KeyError, TypeError or ValueError when ``fields`` are not a record's."""
        pcap = str(fields.get("pcap", ""))
        if "/" in pcap:
            raise ValueError("a capture lies beside its record")
        return cls(
            number=int(fields["number"]),
            kind=str(fields["kind"]),
            where=str(fields["where"]),
            argv=tuple(map(str, fields["argv"])),
            started=float(fields["started"]),
            ms=float(fields["ms"]),
            exit_status=int(fields["exit_status"]),
            stdout=_bytes("stdout", fields),
            stderr=_bytes("stderr", fields),
            pcap=pcap,
            size=int(fields.get("size", 0)),
            sha256=str(fields.get("sha256", "")),
            failures=tuple(Failure(**failure) for failure in fields.get("failures", ())),
        )


def _text(name: str, output: bytes) -> dict[str, str]:
    """Text as text, so that a bundle reads well; anything else as base64 under a name that says so."""
    try:
        return {name: output.decode()} if output else {}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(output).decode()}


def _bytes(name: str, fields: Mapping[str, Any]) -> bytes:
    if f"{name}_base64" in fields:
        return base64.b64decode(fields[f"{name}_base64"], validate=True)
    return str(fields.get(name, "")).encode()
