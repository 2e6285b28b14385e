"""Mutation testing of the parsers and the claims: cosmic-ray's mutants, one forked test run each.

``make mutants``, or ``python -m benchmarks.mutants [TASK] [--every N] [MODULE...]`` with modules such as
``evidence/pcap`` (none: all of both packages). Tasks: ``run`` starts afresh, on a copy of the tree in
``build/mutants``; ``again`` judges its survivors anew with the tests as they are now; ``rest`` judges what
has no result yet, because the run was stopped or took every Nth mutant only; ``report`` prints the table
and the survivors once more.

cosmic-ray makes the mutants and keeps the results (``cr-report`` and ``cr-html`` read its database too).
Its own runner starts a Python for each mutant; here a process that has imported pytest, hypothesis and
scapy, and nothing of the project, forks one. Needs the extra "mutants".
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import os
import re
import resource
import select
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

import cosmic_ray.plugins
import hypothesis
import pytest
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult
from hypothesis import strategies

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "mutants"
PACKAGES = ("evidence", "claims")
COPIED = ("pytest_k8snet", "tests", "scenarios")
#: Runs of the recorded bundles, for the mutants that the unit tests leave.
REPLAYS = ("tests/test_matrix.py",)
#: What each operator is replaced with. cosmic-ray knows 7 to 11 others, which nearly always die with these
#: and would make the share look better. For a comparison, its neighbours and, of (in)equality, the opposite
#: (after Kaminski, Ammann and Offutt, "Improving logic-based testing", 2013); for arithmetic, the inverse.
REPLACED = {
    "Eq": "NotEq LtE GtE",
    "NotEq": "Eq Lt Gt",
    "Lt": "LtE NotEq",
    "LtE": "Lt Eq",
    "Gt": "GtE NotEq",
    "GtE": "Gt Eq",
    "Is": "IsNot",
    "IsNot": "Is",
    "Add": "Sub",
    "Sub": "Add",
    "Mul": "FloorDiv",
    "Div": "Mul",
    "FloorDiv": "Mul",
    "Mod": "FloorDiv",
    "LShift": "RShift",
    "RShift": "LShift",
    "BitAnd": "BitOr",
    "BitOr": "BitAnd",
    "BitXor": "BitOr",
    "Pow": "Mul",
}
#: Starts a Python per test: run only for its own module.
STARTS_PYTHON = "tests/evidence/test_layouts.py"
MEMORY = 4 << 30  #: bytes a mutant may take
QUIET = [
    "-x",
    "-q",
    "--tb=no",
    "--color=no",
    "-pno:cacheprovider",
    "-pno:doctest",
    "-pno:unraisableexception",
]
TIMED_OUT = "timeout"

Stage = Sequence[str]  #: test files and folders of one pytest run


def sources(wanted: Sequence[str]) -> list[Path]:
    """The modules to mutate, relative to the tree."""
    found = []
    for package in PACKAGES:
        for path in sorted(Path("pytest_k8snet", package).rglob("*.py")):
            module = path.relative_to("pytest_k8snet").with_suffix("").as_posix()
            if path.name != "__init__.py" and (not wanted or module in wanted):
                found.append(path)
    if len(found) < len(wanted):
        raise SystemExit(f"not all of these are modules: {' '.join(wanted)}")
    return found


def stages(module: Path) -> list[Stage]:
    """What a mutant must pass to survive: its own tests, its package's, the recorded bundles."""
    package = module.parts[1]
    inside, name = ".".join(module.parts[:-1]), module.stem
    imported = re.compile(rf"^from {inside}(\.{name} import|(\.\w+)? import .*\b{name}\b)", re.MULTILINE)
    tests = sorted(Path("tests", package).glob("test_*.py"))
    named = (f"_{name}", f"_{module.parent.name}")
    own = [str(path) for path in tests if path.stem.endswith(named) or imported.search(path.read_text())]
    replays = [path for path in REPLAYS if Path(path).exists()]
    others = [f"tests/{package}", *(f"--ignore={path}" for path in {*own, STARTS_PYTHON})]
    return [stage for stage in (own, others, replays) if stage]


def unevaluated(module: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where type annotations stand: nothing evaluates them (``from __future__ import annotations``)."""
    nodes = ast.walk(ast.parse(module.read_text()))
    found = [getattr(node, name, None) for node in nodes for name in ("annotation", "returns")]
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0))
        for node in found
        if isinstance(node, ast.expr)
    ]


def prepare(wanted: Sequence[str]) -> None:
    """A fresh copy of the tree, and every mutant of the wanted modules in the database."""
    shutil.rmtree(BUILD, ignore_errors=True)
    copy_tree(COPIED)
    os.chdir(BUILD)
    modules = sources(wanted)
    with use_db("work.sqlite") as database:
        init(modules, database, {})
        unseen = {module: unevaluated(module) for module in modules}
        for item in database.work_items:
            (mutation,) = item.mutations
            inside = any(
                start <= mutation.start_pos and mutation.end_pos <= end
                for start, end in unseen[mutation.module_path]
            )
            if inside or needless(mutation.operator_name):
                database.set_result(item.job_id, WorkResult(WorkerOutcome.SKIPPED))


def needless(operator: str) -> bool:
    kind, *pair = operator.removeprefix("core/").split("_")
    if kind not in ("ReplaceBinaryOperator", "ReplaceComparisonOperator"):
        return False
    return pair[1] not in REPLACED[pair[0]].split()


def copy_tree(folders: Iterable[str]) -> None:
    for folder in folders:
        shutil.rmtree(BUILD / folder, ignore_errors=True)
        shutil.copytree(ROOT / folder, BUILD / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy2(ROOT / file, BUILD / file)


def passes(stage: Stage, seconds: float, *, compiled: bool = False) -> tuple[bool, str]:
    """Whether ``stage`` passes in a forked process within ``seconds``, and how it ended.

    ``compiled`` keeps the bytecode of what was imported, for the runs that follow.
    """
    child = os.fork()
    if child == 0:
        status = 99
        with contextlib.suppress(BaseException):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            silence = os.open(BUILD / "last-run.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            sys.dont_write_bytecode = not compiled
            status = pytest.main([*QUIET, *stage])
        os._exit(status)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(child, child)
    handle = os.pidfd_open(child)
    ended, _, _ = select.select([handle], [], [], seconds)
    os.close(handle)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what a test has started goes with it
    _, status = os.waitpid(child, 0)
    if not ended:
        return False, TIMED_OUT
    code = os.waitstatus_to_exitcode(status)
    return code == 0, f"pytest ended with exit status {code}"


def judge(mutation: MutationSpec, limits: Sequence[tuple[Stage, float]]) -> WorkResult:
    operator = cosmic_ray.plugins.get_operator(mutation.operator_name)(**mutation.operator_args)
    with use_mutation(mutation.module_path, operator, mutation.occurrence) as (before, mutated):
        if mutated is None:
            return WorkResult(WorkerOutcome.NO_TEST)
        changed = mutated.splitlines()[mutation.start_pos[0] - 1].strip()
        if mutation.operator_name.endswith("RemoveDecorator"):
            changed = f"without {before.splitlines()[mutation.start_pos[0] - 1].strip()}"
        for stage, seconds in limits:
            passed, ending = passes(stage, seconds)
            if not passed:
                return WorkResult(WorkerOutcome.NORMAL, ending, TestOutcome.KILLED, changed)
    return WorkResult(WorkerOutcome.NORMAL, "", TestOutcome.SURVIVED, changed)


def baseline(module: Path) -> list[tuple[Stage, float]]:
    """The stages with the seconds that each may take. Stops where a test fails without a mutation."""
    limits = []
    for stage in stages(module):
        passes(stage, 600.0, compiled=True)
        began = time.monotonic()
        passed, ending = passes(stage, 600.0)
        if not passed:
            said = (BUILD / "last-run.txt").read_text()[-2000:]
            raise SystemExit(f"{' '.join(stage)} fails on {module} as it is: {ending}\n{said}")
        limits.append((stage, 5.0 + 5 * (time.monotonic() - began)))
    return limits


def work(database: WorkDB, items: Iterable[WorkItem], wanted: Sequence[str], every: int) -> None:
    """Judge every Nth of ``items`` in each of the wanted modules."""
    to_judge = in_order(items)
    for module in sources(wanted):
        pending = [item for item in to_judge if item.mutations[0].module_path == module][::every]
        if not pending:
            continue
        limits = baseline(module)
        began = time.monotonic()
        outcomes: Counter[str] = Counter()
        for item in pending:
            result = judge(item.mutations[0], limits)
            database.set_result(item.job_id, result)
            outcomes[str(result.test_outcome.value) if result.test_outcome else "no test"] += 1
        seconds = time.monotonic() - began
        print(f"{module}: {len(pending)} mutants, {dict(outcomes)}, {seconds:.0f} s", flush=True)


def survivors(database: WorkDB) -> list[WorkItem]:
    return [
        item for item, result in database.completed_work_items if result.test_outcome == TestOutcome.SURVIVED
    ]


def in_order(items: Iterable[WorkItem]) -> list[WorkItem]:
    def place(item: WorkItem) -> tuple[Path, tuple[int, int], str, int]:
        (mutation,) = item.mutations
        return mutation.module_path, mutation.start_pos, mutation.operator_name, mutation.occurrence

    return sorted(items, key=place)


def report(database: WorkDB) -> None:
    """The table and the survivors, in Markdown."""
    per_module: dict[Path, Counter[str]] = {}
    changed = {}
    for item, result in database.completed_work_items:
        counts = per_module.setdefault(item.mutations[0].module_path, Counter())
        if result.worker_outcome != WorkerOutcome.NORMAL:
            counts["left out"] += 1
            continue
        counts["mutants"] += 1
        counts["killed"] += result.is_killed
        counts["timed out"] += result.output == TIMED_OUT
        if not result.is_killed:
            changed[item.job_id] = result.diff
    print("| module | mutants | killed | of these timed out | survived | killed, % |")
    print("|---|---|---|---|---|---|")
    total: Counter[str] = Counter()
    for module, counts in sorted(per_module.items()):
        row(module.relative_to("pytest_k8snet").as_posix(), counts)
        total += counts
    row("all", total)
    print(f"\n{total['left out']} left out: annotations, and operators that the others stand for.")
    print(f"{len(database.pending_work_items)} without a result.\n")
    for item in in_order(survivors(database)):
        (mutation,) = item.mutations
        place = f"{mutation.module_path.relative_to('pytest_k8snet').as_posix()}:{mutation.start_pos[0]}"
        operator = mutation.operator_name.removeprefix("core/")
        print(f"{place} {operator} at column {mutation.start_pos[1]}: `{changed[item.job_id]}`")


def row(name: str, counts: Counter[str]) -> None:
    total, killed = counts["mutants"], counts["killed"]
    share = 100 * killed / max(1, total)
    print(f"| {name} | {total} | {killed} | {counts['timed out']} | {total - killed} | {share:.1f} |")


def warm_up() -> None:
    """Whatever each child would do alike: imports, hypothesis' tables, and no garbage left to look at."""
    import_module("scapy.all")
    # The same examples for every mutant: one that survives by luck of the draw tells nothing.
    hypothesis.settings.register_profile(
        "mutants", derandomize=True, database=None, deadline=None, max_examples=25
    )
    hypothesis.settings.load_profile("mutants")
    hypothesis.given(strategies.text(), strategies.binary())(lambda text, content: None)()
    gc.freeze()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", nargs="?", default="run", choices=("run", "again", "rest", "report"))
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("module", nargs="*")
    options = parser.parse_intermixed_args()
    warm_up()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # puts the mutated file back on the way
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # no unit test uses one
    if options.task == "run":
        prepare(options.module)
    os.chdir(BUILD)
    sys.path.insert(0, str(BUILD))
    with use_db("work.sqlite", WorkDB.Mode.open) as database:
        if options.task == "again":
            copy_tree(("tests",))
            work(database, survivors(database), options.module, 1)
        elif options.task != "report":
            work(database, database.pending_work_items, options.module, options.every)
        report(database)


if __name__ == "__main__":
    main()
