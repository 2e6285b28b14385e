"""Medians over five runs: the whole labs with their split, a replay, the cost of being installed.

``make bench``, or ``python -m benchmarks.run [--runs N]``. Prints one table; fails nothing. What it
measures and the targets are those of the project's issue 2, on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PYTEST = [sys.executable, "-m", "pytest"]


def timed(argv: list[str], cwd: str) -> tuple[float, str]:
    """Seconds of one whole process, and what it printed; raises when it fails."""
    began = time.perf_counter()
    result = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if result.returncode not in (0, 5):
        raise SystemExit(f"{' '.join(argv)} failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    return seconds, result.stdout


class PeakMemory:
    """Highest sum of the proportional set sizes of this process's descendants (MiB), while it is open."""

    def __init__(self) -> None:
        self._sampler = subprocess.Popen(
            [sys.executable, __file__, "--sample", str(os.getpid())], stdout=subprocess.PIPE, text=True
        )

    def close(self) -> float:
        self._sampler.terminate()
        out, _ = self._sampler.communicate()
        return float(out)


def sample(root: int) -> None:
    """Until told to stop: the peak of what ``root`` and its descendants hold, this process left out."""
    import signal

    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    peak = 0
    while not stopped:
        peak = max(
            peak, sum(proportional(pid) for pid in descendants(root) if pid not in (root, os.getpid()))
        )
        time.sleep(0.1)
    print(peak / 1024)


def descendants(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(stat.rsplit(")", 1)[1].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return sorted(found)


def proportional(pid: int) -> int:
    """Proportional set size in KiB: shared pages are counted once over all that share them."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+)", rollup, re.M)
    return int(found[1]) if found else 0


def labs(runs: int, folder: str) -> tuple[dict[str, list[float]], float, str]:
    """Whole runs on the reference network; the last one's bundle is kept for the replays."""
    times: dict[str, list[float]] = {}
    bundle = ""
    memory = PeakMemory()
    for number in range(runs):
        bundle = os.path.join(folder, f"bundle-{number}")
        seconds, out = timed([*PYTEST, "--k8snet", "--k8snet-bundle", bundle], folder)
        times.setdefault("pytest --k8snet, whole process", []).append(seconds)
        details = json.loads(Path(bundle, "bundle.json").read_text())
        facts = json.dumps(details)
        for key in ("boot_seconds", "build_seconds"):
            found = re.search(rf'"{key}": "([\d.]+)"', facts)
            if found:
                times.setdefault(f"  of which {key.removesuffix('_seconds')}", []).append(float(found[1]))
        for lab, lab_seconds in re.findall(r"^(\S+) +\d+ held.* in ([\d.]+) s", out, re.M):
            times.setdefault(f"  of which lab {lab}", []).append(float(lab_seconds))
    return times, memory.close(), bundle


def replays(runs: int, folder: str, bundle: str) -> dict[str, list[float]]:
    argv = [*PYTEST, "--k8snet", "--k8snet-provider=replay", "--k8snet-replay", bundle]
    times: dict[str, list[float]] = {}
    for _ in range(runs):
        seconds, out = timed([*argv, "--durations=0", "-vv"], folder)
        times.setdefault("replay, whole process", []).append(seconds)
        calls = re.findall(r"^([\d.]+)s call", out, re.M)
        times.setdefault("  of which claims (calls)", []).append(sum(map(float, calls)))
    return times


def installed(runs: int, folder: str) -> dict[str, list[float]]:
    """``pytest --co`` on one trivial test, with the plugin installed but not enabled, and kept out."""
    Path(folder, "test_trivial.py").write_text("def test_trivial():\n    pass\n")
    times: dict[str, list[float]] = {}
    for _ in range(runs * 4):  # the difference is of milliseconds: more runs, taken in turns
        for name, extra in (("with", []), ("without", ["-p", "no:k8snet"])):
            seconds, _ = timed(
                [*PYTEST, "--co", "-q", "-p", "no:cacheprovider", *extra, "test_trivial.py"], folder
            )
            times.setdefault(f"pytest --co, {name} the plugin", []).append(seconds)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sample", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sample:
        sample(options.sample)
        return
    with tempfile.TemporaryDirectory(prefix="k8snet-bench-") as folder:
        table, peak, bundle = labs(options.runs, folder)
        table |= replays(options.runs, folder, bundle)
        idle = installed(options.runs, folder)
    print(f"{'median':>9} {'min':>9} {'max':>9}")
    for name, seconds in (table | idle).items():
        print(f"{statistics.median(seconds):8.3f}s {min(seconds):8.3f}s {max(seconds):8.3f}s  {name}")
    with_, without = idle.values()
    paired = [a - b for a, b in zip(with_, without, strict=True)]
    print(f"{statistics.median(paired) * 1000:8.1f}ms {'':19}  pytest --co, median of the paired differences")
    print(f"{peak:7.0f}MiB {'':19}  peak memory of a whole run (proportional set size, all processes)")
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{largest:7.0f}MiB {'':19}  largest single process (resident)")


if __name__ == "__main__":
    main()
