"""Files that are fetched once and kept: each is what its SHA-256 says, or it is not there."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import requests

from pytest_k8snet.clusters.asked import KindOptions
from pytest_k8snet.clusters.base import ClusterError
from pytest_k8snet.clusters.kind.versions import pins
from pytest_k8snet.clusters.ways.local import call

#: Seconds for a connection, and for each piece of an answer.
PATIENCE = (15.0, 60.0)
PIECE = 1 << 16
_VERSION = re.compile(r"\bv?(\d+\.\d+\.\d+\S*)")

#: Machine names as uname has them -> as Go and Docker have them. kind is built for these two here.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "amd64": "amd64", "arm64": "arm64"}


def folder() -> Path:
    """Where downloads are kept (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification: a path that is not absolute is to be ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "pytest-k8snet"


def download(
    url: str, sha256: str, name: str, *, what: str, progress: Callable[[str], None], executable: bool = False
) -> Path:
    """The file ``name`` of the cache; fetched from ``url`` unless it is there and is what ``sha256`` says.

    Raises ClusterError, one line: not reachable, another sum (nothing is kept then), no place.
    """
    target = folder() / name
    if target.is_file() and _sum(target) == sha256:
        return target
    progress(f"downloading {what}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{name}.")
    except OSError as error:
        raise ClusterError(
            f"{what} can't be kept in {target.parent}: {error.strerror}; XDG_CACHE_HOME names another place"
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            seen = _fetch(url, file.write, what, target)
        if seen != sha256:
            raise ClusterError(
                f"{what} from {url} is not the one that is pinned: SHA-256 is {seen}, expected {sha256};"
                " it was thrown away"
            )
        os.chmod(part, 0o755 if executable else 0o644)
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    return target


def kind(options: KindOptions, progress: Callable[[str], None]) -> Path:
    """The kind to use: ``--kind-bin``, the one on PATH, else the pinned one, downloaded once."""
    found = kind_at_hand(options)
    if found is not None:
        return found
    pinned = pins()
    chip = pinned_for()
    return download(
        pinned.kind_url.format(version=pinned.kind, architecture=chip),
        pinned.kind_sha256[chip],
        f"kind-{pinned.kind}-linux-{chip}",
        what=f"kind {pinned.kind}",
        progress=progress,
        executable=True,
    )


def kind_at_hand(options: KindOptions) -> Path | None:
    """The kind that needs no download to begin with; None where there is none."""
    if options.kind is not None:
        return options.kind.absolute()
    on_path = shutil.which("kind")
    return Path(on_path) if on_path else None


def version_of(kind: Path) -> str:
    """ "0.27.0", of ``kind --version``. Raises ClusterError where it can't be run or says no version."""
    result = call([str(kind), "--version"], timeout=30.0)
    said = (result.stdout or result.stderr).decode(errors="replace").strip()
    found = _VERSION.search(said)
    if result.exit_status or not found:
        raise ClusterError(f"`{kind} --version` says no version of kind but {said[:80]!r}")
    return found[1]


def pinned_for() -> str:
    """The architecture of the kind that can be downloaded for this machine. Raises ClusterError for none."""
    if platform.system() != "Linux":
        raise ClusterError(
            f"kind is pinned for Linux, and this machine runs {platform.system()}: install kind"
            " (https://kind.sigs.k8s.io/docs/user/quick-start) and put it on PATH"
        )
    return architecture()


def architecture() -> str:
    """ "amd64" or "arm64": of this machine. Raises ClusterError for another one."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise ClusterError(
            f"kind is pinned for {' and '.join(dict.fromkeys(ARCHITECTURES.values()))}, and this machine is"
            f" {machine}: build kind for it and put it on PATH"
        )
    return ARCHITECTURES[machine]


def _fetch(url: str, write: Callable[[bytes], object], what: str, target: Path) -> str:
    """The SHA-256 of what came."""
    digest = hashlib.sha256()
    try:
        with requests.get(url, stream=True, timeout=PATIENCE) as answer:
            answer.raise_for_status()
            for piece in answer.iter_content(PIECE):
                digest.update(piece)
                write(piece)
    except (requests.RequestException, OSError) as error:
        raise ClusterError(
            f"{what} can't be downloaded from {url}: {_reason(error)}; where there is no network, put it at"
            f" {target}"
        ) from None
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    """The innermost reason: requests and urllib3 wrap it in repr after repr."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    inner = re.search(r"(?:\[Errno -?\d+\] |: )([^:\[\]()'\"]+)['\")]*$", str(error))
    return inner[1].strip() if inner else type(error).__name__


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
