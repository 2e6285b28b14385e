"""Each step into a JSON document says where it stood when it found something else."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.jsontree import Tree, parse, parse_all


def tree(value: Any) -> Tree:
    return Tree("kubectl", "$", value)


def test_values_of_every_kind() -> None:
    root = tree({"n": 0, "on": False, "t": "", "ip": "fd00::1", "net": "10.0.0.0/8", "l": [1], "none": None})
    assert (root["n"].integer(), root["on"].flag(), root["t"].text()) == (0, False, "")
    assert (root["ip"].address(), root["net"].network()) == (ip_address("fd00::1"), ip_network("10.0.0.0/8"))
    assert [entry.path for entry in root["l"].items()] == ["$.l[0]"]


def test_falsy_values_are_there_and_null_is_not() -> None:
    root = tree({"n": 0, "on": False, "t": "", "o": {}, "none": None})
    assert (root.integer_or("n", 7), root.flag_or("on", True), root.text_or("t", "x")) == (0, False, "")
    assert root.texts_or_none("o") == {}
    for key in ("none", "absent"):
        assert (root.integer_or(key, 7), root.flag_or(key, True), root.text_or(key, "x")) == (7, True, "x")
        assert root.texts_or_none(key) == {}
        assert root.get(key) is None
        assert root.dig(key, "deeper") is None
        assert list(root.items_of(key)) == []
        with pytest.raises(ParseError, match=rf"kubectl: no '{key}' at \$"):
            root[key]


def test_digging_names_the_whole_path() -> None:
    found = tree({"a": {"b": {"c": 1}}}).dig("a", "b", "c")
    assert found is not None
    assert (found.path, found.value) == ("$.a.b.c", 1)


READERS: list[tuple[Callable[[Tree], object], str, list[Any]]] = [
    (Tree.text, "a string", [1, True, [], {}, None]),
    (Tree.integer, "a number", ["1", 1.5, True, False, [], None]),
    (Tree.flag, "true or false", [0, 1, "true", None]),
    (Tree.texts, "an object", ["a", [], None]),
    (Tree.texts, "a string", [{"a": 1}]),
    (Tree.address, "an IP address", ["", "node1", "10.0.0.1/8"]),
    (Tree.network, "a network", ["", "default", "10.0.0.1/8"]),
    (lambda node: list(node.items()), "a list", ["ab", {}, None]),
    (lambda node: node.get("key"), "an object", ["key", ["key"], None]),
]


@pytest.mark.parametrize(("read", "expected", "values"), READERS)
def test_another_type_is_never_taken_for_it(
    read: Callable[[Tree], object], expected: str, values: list[Any]
) -> None:
    for value in values:
        with pytest.raises(ParseError, match=rf"expected {expected} at \$"):
            read(tree(value))


def test_documents_in_a_row() -> None:
    assert [document.value for document in parse_all("crictl", ' {"a": 1}\n[2]3 ')] == [{"a": 1}, [2], 3]
    assert parse_all("crictl", "\n") == []
    assert parse("crictl", b'{"a": "\xc3\xa9"}')["a"].text() == "é"


@pytest.mark.parametrize(
    ("content", "problem", "near"),
    [
        ("", "expected one JSON document, found 0", ""),
        ("1 2", "expected one JSON document, found 2", ""),
        ('{"a": 1} {"b"', "not JSON, or cut", '{"b"'),
        (b'"ab\xff"', "not UTF-8 at byte 3", "b'\\xff\"'"),
    ],
)
def test_what_is_no_one_document(content: str | bytes, problem: str, near: str) -> None:
    with pytest.raises(ParseError, match=problem) as caught:
        parse("crictl", content)
    assert caught.value.near == near
