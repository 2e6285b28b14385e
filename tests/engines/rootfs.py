"""Root file systems for images without a registry: static busybox, and programs of this machine."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

APPLETS = ("cat", "hostname", "httpd", "kill", "ls", "sh", "sleep", "stat", "true", "wget")

#: What the labs' images do, with busybox: answer /hostname on port $1 with the pod's name.
SERVE = 'echo "Hostname : $(hostname)" > /www/hostname; exec httpd -f -p "$1" -h /www'


def archive(*programs: str) -> bytes:
    """A tar of busybox, an empty /www, and each of ``programs`` with the libraries it is linked with."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", dereference=True) as tar:
        for folder in ("bin", "etc", "proc", "sys", "tmp", "www", "usr/bin", "usr/sbin"):
            tar.addfile(_folder(folder))
        tar.add(_found("busybox"), "bin/busybox")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for path in sorted(
            {file for program in programs for file in (_found(program), *_libraries(program))}
        ):
            tar.add(path, path.lstrip("/"))
    return stream.getvalue()


def saved(name: str, layer: bytes, command: Sequence[str]) -> bytes:
    """An image of one layer as ``docker save`` writes it, for ``ctr images import``."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/usr/sbin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {"manifest.json": manifest, "config.json": config}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, content in {
            "layer.tar": layer,
            **{k: json.dumps(v).encode() for k, v in files.items()},
        }.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _folder(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(f"{program} is not installed")
    return path


def _libraries(program: str) -> Iterable[str]:
    """By ``ldd``: "libc.so.6 => /lib/.../libc.so.6 (0x...)", and the loader "/lib64/ld-linux... (0x...)"."""
    said = subprocess.run(("ldd", _found(program)), capture_output=True, text=True, check=False).stdout
    return [path for path in re.findall(r"(/\S+) \(0x", said) if Path(path).exists()]
