"""Ten runs in a row, every other one interrupted or killed at a random moment; what is left behind?

``make stability``, or ``python -m benchmarks.interrupted [--runs N] [--seed S]``. Odd runs get SIGINT or
SIGKILL in turn, even ones must pass. After each, links, routes, rules, mounts, processes and the
temporary folder must be as before. Exit status 1 when anything is left or a clean run fails.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

from benchmarks.residue import Snapshot

PATIENCE = 10.0  #: seconds for the launcher to clean up after a kill


def one(index: int, rng: random.Random, folder: str) -> str:
    """One run; "" or what went wrong."""
    before = Snapshot.take(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--k8snet", "-q"],
        cwd=folder,
        env=os.environ | {"TMPDIR": folder},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    note = "clean run"
    if index % 2:
        number = signal.SIGKILL if index % 4 == 1 else signal.SIGINT
        moment = rng.uniform(0.2, 14.0)
        note = f"{number.name} after {moment:.1f} s"
        try:
            process.wait(moment)
            note += " (it was done before)"
        except subprocess.TimeoutExpired:
            process.send_signal(number)
    out, _ = process.communicate()
    deadline = time.monotonic() + PATIENCE
    while (left := before.left_behind()) and time.monotonic() < deadline:
        time.sleep(0.05)
    wrong = left
    if index % 2 == 0 and process.returncode != 0:
        wrong += f" exit status {process.returncode}: {out[-1500:]}"
    last = next((line for line in reversed(out.splitlines()) if "passed" in line or "no tests" in line), "")
    print(
        f"run {index}: {note}: exit status {process.returncode}; {last.strip()}; {wrong or 'nothing left'}",
        flush=True,
    )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="interrupted-") as folder:
        wrong = [one(index, rng, folder) for index in range(options.runs)]
    print(f"{options.runs} runs, {sum(map(bool, wrong))} with something wrong")
    return 1 if any(wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
