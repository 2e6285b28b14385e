"""The other way to a kernel: namespaces of a host's kernel that has ipip.

The machines that test this have no ipip, so the host is a User-Mode Linux of our own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from pytest_k8snet.embedded import kernel

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(bool(kernel.missing("uml")), reason="; ".join(kernel.missing("uml")))


def test_the_labs_hold_in_namespaces_and_leave_the_host_as_it_was() -> None:
    paths = f"{ROOT}:{sysconfig.get_path('purelib')}"
    pytest_ = ["-m", "pytest", "--k8snet", "--k8snet-kernel=namespaces", "-q", "-p", "no:cacheprovider"]
    python = os.path.realpath(sys.executable)
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        host = [
            *("taskset", "--cpu-list", str(kernel.pick_cpu())),
            *(kernel.program(kernel.UML_PROGRAM) or "", "mem=700M", "root=/dev/root", "rootfstype=hostfs"),
            *("rootflags=/", "ro", "quiet", "loglevel=1", "con=null", "con0=null,fd:1"),
            *(f"uml_dir={folder}", "umid=host", f"init={python}", "--", "-I", "-S"),
            *(str(ROOT / "tests" / "inside_uml.py"), paths, python, *pytest_),
        ]
        finished = subprocess.run(
            host, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )
    said = finished.stdout
    assert "34 passed" in said, said[-4000:] + finished.stderr[-1000:]
    assert "on reference network in namespaces of Linux" in said
    (ended,) = (json.loads(line) for line in said.splitlines() if line.startswith('{"status"'))
    assert ended == {"status": 0, "links": [], "processes": [], "temporary": []}
