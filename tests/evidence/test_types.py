"""What evidence says of itself, apart from parsing."""

from __future__ import annotations

import dataclasses
import pkgutil
from importlib import import_module
from typing import Any

import pytest

from pytest_k8snet import evidence
from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.layouts import layout, layout_names
from pytest_k8snet.evidence.reading import NotObserved, Reading

TYPES = [
    kind
    for module in pkgutil.iter_modules(evidence.__path__, f"{evidence.__name__}.")
    for kind in vars(import_module(module.name)).values()
    if isinstance(kind, type) and kind.__module__ == module.name and "__annotations__" in vars(kind)
]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_what_was_observed_is_never_changed(kind: Any) -> None:
    name = next(iter(kind.__annotations__))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(object.__new__(kind), name, None)


def test_a_parse_error_names_format_problem_and_place() -> None:
    error = ParseError("ss -ltnp", "unknown line", "x" * 500)
    assert str(error) == f"ss -ltnp: unknown line (near {'x' * 120!r})"
    assert str(ParseError("pcap", "empty")) == "pcap: empty"


def test_a_reading_gives_its_value_or_says_why_not() -> None:
    good = Reading("node1", "cat", "4")
    assert good.get() == "4"
    assert good.map(int) == Reading("node1", "cat", 4)
    failures: list[tuple[Reading[Any], str]] = [
        (Reading("node1", "cat", "4", "exit status 1", "run it again"), "exit status 1"),
        (Reading[str]("node1", "cat"), "nothing"),
        (Reading("node1", "cat", "four").map(int), "unreadable output"),
        (Reading("node1", "cat", "four", "exit status 1").map(int), "exit status 1"),
        (Reading[str]("node1", "cat").map(int), "nothing was read"),
    ]
    for bad, cause in failures:
        with pytest.raises(NotObserved, match=cause) as caught:
            bad.get()
        assert (caught.value.node, caught.value.command) == ("node1", "cat")


def test_a_layout_is_scapy_s() -> None:
    header = layout("inet", "UDP", "chksum")
    assert header.size == 8
    assert header.read(b"\x00\x35\x12\xb5\x00\x08\xab\xcd") == {
        "sport": 53,
        "dport": 4789,
        "len": 8,
        "chksum": 0xABCD,
    }
    assert header.read(b"\x00" * 7) is None
    assert layout_names("inet", "TCP", "flags")[:2] == ("F", "S")
    with pytest.raises(LookupError):
        layout("inet", "UDP", "nothing")
    with pytest.raises(LookupError):
        layout_names("inet", "UDP", "nothing")
