"""Healthy runs in a row, each of which must hold every claim: how steady are the verdicts?

``make steady``, or ``python -m benchmarks.steady [--runs N] [--load]``. ``--load`` keeps every CPU busy
with a job of its own meanwhile. Prints a line for a run that was not held as a whole, and at the end how
many were, and how long they took. Exit status 1 unless all were.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from pytest_k8snet.claims.catalogue import CATALOGUE

BUSY = "while True: sum(range(10000))"


@contextmanager
def load(wanted: bool) -> Iterator[None]:
    """One busy process a CPU, of the same priority as what is measured."""
    count = len(os.sched_getaffinity(0)) if wanted else 0
    jobs = [subprocess.Popen([sys.executable, "-S", "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def run(folder: Path) -> tuple[Counter[str], str]:
    """One run: how many claims came to which verdict, and the first lines of those that were not held."""
    junit = folder / "junit.xml"
    junit.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "pytest", "--k8snet", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}"]
    ended = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if not junit.exists():
        return Counter(), (ended.stdout + ended.stderr)[-500:]
    found: Counter[str] = Counter()
    said = []
    for case in ElementTree.parse(junit).iter("testcase"):
        properties = {p.get("name"): p.get("value", "") for p in case.iter("property")}
        found[properties.get("k8snet_verdict", "none")] += 1
        said += [failure.get("message", "") for failure in case.iter("failure")]
    return found, "\n".join(said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--load", action="store_true")
    options = parser.parse_args()
    steady, seconds = 0, []
    with tempfile.TemporaryDirectory(prefix="steady-") as folder, load(options.load):
        for number in range(1, options.runs + 1):
            began = time.monotonic()
            found, said = run(Path(folder))
            seconds.append(time.monotonic() - began)
            held = found == {"held": len(CATALOGUE)}
            steady += held
            if not held:
                print(f"run {number}: {dict(found)} after {seconds[-1]:.1f} s\n{said}", flush=True)
            elif number % 10 == 0:
                print(f"{steady} of {number} held", flush=True)
    print(
        f"{steady} of {options.runs} runs held all {len(CATALOGUE)} claims"
        f"{', every CPU busy with another job' if options.load else ''}; "
        f"{statistics.median(seconds):.1f} s each (median; {min(seconds):.1f}-{max(seconds):.1f})"
    )
    return 0 if steady == options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
