"""Imports point one way (docs/architecture.md): read from the source, nothing is imported to find out."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "pytest_k8snet"
ROOT = Path(__file__).parent.parent / PACKAGE


def names(words: str) -> frozenset[str]:
    return frozenset(words.split())


#: The standard library as far as it computes: no files, processes, sockets, threads or clocks.
COMPUTING = names(
    "__future__ abc base64 bisect collections contextlib copy dataclasses enum fractions functools hashlib"
    " importlib ipaddress itertools json math operator re shlex string struct textwrap types typing"
    " urllib.parse zlib"
)
#: What reaches out of the process. Allowed where nodes and clusters are reached, nowhere else.
REACHING = names(
    "asyncio ftplib http.client kubernetes multiprocessing paramiko pykube pyroute2 pytest_kind requests"
    " select selectors smtplib socket socketserver ssl subprocess telnetlib testinfra urllib.request"
)
#: Parts of the standard library that every pytest run would pay for.
HEAVY = names("asyncio ctypes email http multiprocessing sqlite3 ssl unittest urllib.request xml")


@dataclass(frozen=True)
class Layer:
    own: frozenset[str] | None  #: parts of the package that it may import; None: all
    outside: frozenset[str] | None = None  #: all that it may import from elsewhere; None: anything
    never: frozenset[str] = frozenset()  #: unless it is one of these


LAYERS = {
    "evidence": Layer(names("evidence"), COMPUTING | {"scapy"}),
    "intent": Layer(names("intent"), COMPUTING),
    "claims": Layer(names("claims evidence intent"), COMPUTING | {"scapy"}),
    "meaning": Layer(names("meaning claims evidence intent"), COMPUTING | {"fnmatch"}),
    "manifests": Layer(names("manifests"), COMPUTING | {"pathlib", "yaml"}),
    "probes": Layer(names("probes evidence intent manifests clusters.base"), COMPUTING),
    "clusters": Layer(
        names("clusters embedded probes manifests evidence intent __version__"), never=names("pytest")
    ),
    "embedded": Layer(
        names("embedded clusters.base manifests evidence intent __version__"), never=names("pytest")
    ),
}
ELSE = Layer(own=None, never=REACHING)  #: plugin, fixtures, report
#: Sent to nodes as text; nobody imports them.
PROGRAMS = {"probes.outage_client": Layer(frozenset(), frozenset(sys.stdlib_module_names))}


def imports(tree: ast.AST, module: str, *, running: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import; ``running``: only of those that importing the module runs.

    ``from a import b`` is "a.b", since b may be a module; ``import_module("a.b")`` counts as an import.
    """
    for node in ast.iter_child_nodes(tree):
        if running and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _typing_only(node)):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [base])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            yield node.lineno, _first_words(node.args[0]) if node.args else "?"
        yield from imports(node, module, running=running)


def _typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _first_words(argument: ast.expr) -> str:
    """The constant beginning of a module's name: "scapy.layers." of f"scapy.layers.{name}"."""
    if isinstance(argument, ast.JoinedStr) and argument.values:
        argument = argument.values[0] if isinstance(argument.values[0], ast.Constant) else argument
    return str(argument.value) if isinstance(argument, ast.Constant) else "?"


def within(name: str, modules: frozenset[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def violations(module: str, source: str) -> list[str]:
    """What ``module`` (dotted, in the package) imports against its layer's rules, one line each."""
    rules = PROGRAMS.get(module.partition(".")[2]) or LAYERS.get(module.split(".")[1], ELSE)
    found = []
    for line, name in imports(ast.parse(source), module):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            part = name.removeprefix(PACKAGE).removeprefix(".")
            allowed = rules.own is None or within(part, rules.own)
        else:
            listed = rules.outside is None or within(name, rules.outside)
            allowed = listed and not within(name, rules.never)
        if not allowed:
            found.append(f"{module}:{line} imports {name}")
    return found


def sources() -> dict[str, str]:
    """Dotted name -> source of every module; a package's ``__init__`` has that as its last part."""
    return {
        ".".join([PACKAGE, *path.relative_to(ROOT).with_suffix("").parts]): path.read_text()
        for path in sorted(ROOT.rglob("*.py"))
    }


def burdens(start: str, modules: dict[str, str]) -> list[str]:
    """What importing ``start`` loads, through our own modules: all but pytest and light standard library."""
    found = []
    waiting, seen = [start, f"{PACKAGE}.__init__"], set()
    while waiting:
        module = waiting.pop()
        if module in seen or module not in modules:
            continue
        seen.add(module)
        for line, name in imports(ast.parse(modules[module]), module, running=True):
            parts = name.split(".")
            if parts[0] == PACKAGE:
                # Importing a.b.c runs a, a.b and a.b.c; which of them exist, ``modules`` tells.
                for end in range(2, len(parts) + 1):
                    prefix = ".".join(parts[:end])
                    waiting += [prefix, f"{prefix}.__init__"]
            elif within(name, HEAVY) or parts[0] not in {*sys.stdlib_module_names, "pytest", "_pytest"}:
                found.append(f"{module}:{line} imports {name}")
    return found


def test_imports_point_one_way() -> None:
    modules = sources()
    assert {name.split(".")[1] for name in modules} >= LAYERS.keys()
    assert [line for name, source in modules.items() for line in violations(name, source)] == []


def test_a_pytest_run_without_our_options_pays_for_nothing() -> None:
    modules = sources()
    assert f"{PACKAGE}.plugin" in modules
    assert burdens(f"{PACKAGE}.plugin", modules) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("evidence.routes", "import subprocess"),
        ("evidence.routes", "from pathlib import Path"),
        ("evidence.routes", "import os.path"),
        ("evidence.routes", "def f():\n    import socket"),
        ("evidence.routes", "import pytest"),
        ("evidence.routes", "from pytest_k8snet.claims import verdict"),
        ("evidence.routes", "from pytest_k8snet import claims"),
        ("evidence.routes", "from ..claims.verdict import held"),
        ("evidence.routes", "import pytest_k8snet"),
        ("evidence.routes", "import urllib.request"),
        ("evidence.routes", "import importlib\nimportlib.import_module('subprocess')"),
        (
            "evidence.routes",
            "from importlib import import_module as load, import_module\nimport_module(name)",
        ),
        ("evidence.routes", "import_module(f'{name}.x')"),
        ("evidence.routes", "__import__()"),
        ("claims.pause", "from pytest_k8snet.probes import nodes"),
        ("claims.pause", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pytest"),
        ("meaning.nodes", "from pytest_k8snet.report.drawing import Drawing"),
        ("meaning.nodes", "from pytest_k8snet.probes import labs"),
        ("meaning.nodes", "from pathlib import Path"),
        ("intent", "from pytest_k8snet.evidence.routes import Route"),
        ("probes.nodes", "from pytest_k8snet.claims.verdict import Verdict"),
        ("probes.nodes", "from pytest_k8snet.clusters import replay"),
        ("probes.nodes", "import socket"),
        ("clusters.kind", "from pytest_k8snet.claims.verdict import Verdict"),
        ("clusters.kind", "import pytest"),
        ("clusters.kind", "from pytest_k8snet.plugin import hook"),
        ("embedded.agent.pods", "from pytest_k8snet.report import html"),
        ("plugin", "import kubernetes.client"),
        ("report.html", "from subprocess import run"),
    ],
)
def test_the_checker_rejects(module: str, source: str) -> None:
    assert len(violations(f"{PACKAGE}.{module}", source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "evidence.routes",
            "import json, re\nfrom ipaddress import ip_network\nfrom urllib.parse import quote",
        ),
        ("evidence.packets", "from scapy.layers.inet import IP\nimport_module(f'scapy.layers.{name}')"),
        ("evidence.__init__", "from .errors import ParseError"),
        ("claims.pause", "from pytest_k8snet.evidence import routes"),
        ("meaning.nodes", "from pytest_k8snet.claims.ledger import Ledger\nfrom fnmatch import fnmatchcase"),
        ("probes.nodes", "from pytest_k8snet.clusters.base import Node"),
        ("clusters.kind", "import subprocess, kubernetes"),
        ("plugin", "import pytest\nfrom pytest_k8snet import options"),
    ],
)
def test_the_checker_accepts(module: str, source: str) -> None:
    assert violations(f"{PACKAGE}.{module}", source) == []


@pytest.mark.parametrize(
    ("plugin", "found"),
    [
        ("import pytest, json", []),
        ("import rich", ["plugin:1 imports rich"]),
        ("import asyncio", ["plugin:1 imports asyncio"]),
        ("def hook():\n    import rich", []),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import rich", []),
        ("try:\n    import rich\nexcept ImportError: ...", ["plugin:2 imports rich"]),
        ("from pytest_k8snet import wire", ["wire.__init__:1 imports scapy.all"]),
        ("from pytest_k8snet.wire.deep import thing", ["wire.__init__:1 imports scapy.all"]),
    ],
)
def test_the_checker_follows_what_the_plugin_imports(plugin: str, found: list[str]) -> None:
    modules = {"plugin": plugin, "wire.__init__": "import scapy.all", "wire.deep": ""}
    named = {f"{PACKAGE}.{name}": source for name, source in modules.items()}
    assert burdens(f"{PACKAGE}.plugin", named) == [f"{PACKAGE}.{line}" for line in found]
