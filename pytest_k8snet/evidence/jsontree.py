"""Reading JSON strictly: each step names what was expected and where, in one ``ParseError``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.packets import IPAddress


@dataclass(frozen=True, slots=True)
class Tree:
    """One JSON value and the path that led to it (``$.items[2].status``).

    ``get`` and the ``*_or`` readers treat an absent key and ``null`` alike, as Kubernetes and
    iproute2 do; a value of another type than asked for is never taken for absent.
    """

    what: str
    path: str
    value: Any

    def __getitem__(self, key: str) -> Tree:
        child = self.get(key)
        if child is None:
            raise ParseError(self.what, f"no {key!r} at {self.path}", json.dumps(self.value))
        return child

    def get(self, key: str) -> Tree | None:
        found = self._typed(dict, "an object").get(key)
        return None if found is None else Tree(self.what, f"{self.path}.{key}", found)

    def dig(self, *keys: str) -> Tree | None:
        """The value at a path of keys; None where one of them is absent."""
        node: Tree | None = self
        for key in keys:
            node = node.get(key) if node else None
        return node

    def items(self) -> Iterator[Tree]:
        for index, entry in enumerate(self._typed(list, "a list")):
            yield Tree(self.what, f"{self.path}[{index}]", entry)

    def items_of(self, key: str) -> Iterator[Tree]:
        """Entries of the list at ``key``; none where it is absent."""
        child = self.get(key)
        return child.items() if child else iter(())

    def text(self) -> str:
        return str(self._typed(str, "a string"))

    def integer(self) -> int:
        if isinstance(self.value, bool):
            raise self.wrong("a number")
        return int(self._typed(int, "a number"))

    def flag(self) -> bool:
        return bool(self._typed(bool, "true or false"))

    def texts(self) -> dict[str, str]:
        """An object of strings: labels, annotations, a selector."""
        return {key: self[key].text() for key in self._typed(dict, "an object")}

    def text_or(self, key: str, default: str) -> str:
        child = self.get(key)
        return child.text() if child else default

    def integer_or(self, key: str, default: int) -> int:
        child = self.get(key)
        return child.integer() if child else default

    def flag_or(self, key: str, default: bool) -> bool:
        child = self.get(key)
        return child.flag() if child else default

    def texts_or_none(self, key: str) -> dict[str, str]:
        child = self.get(key)
        return child.texts() if child else {}

    def address(self) -> IPAddress:
        try:
            return ip_address(self.text())
        except ValueError:
            raise self.wrong("an IP address") from None

    def network(self) -> IPv4Network | IPv6Network:
        try:
            return ip_network(self.text())
        except ValueError:
            raise self.wrong("a network") from None

    def wrong(self, expected: str) -> ParseError:
        return ParseError(self.what, f"expected {expected} at {self.path}", json.dumps(self.value))

    def _typed(self, kind: type, expected: str) -> Any:
        if not isinstance(self.value, kind):
            raise self.wrong(expected)
        return self.value


def parse(what: str, content: str | bytes) -> Tree:
    """The one JSON document that ``content`` is. Raises ParseError."""
    documents = parse_all(what, content)
    if len(documents) != 1:
        raise ParseError(what, f"expected one JSON document, found {len(documents)}")
    return documents[0]


def parse_all(what: str, content: str | bytes) -> list[Tree]:
    """JSON documents one after the other, as ``crictl inspect A B`` prints them."""
    try:
        text = content.decode() if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        raise ParseError(what, f"not UTF-8 at byte {error.start}", content[error.start :]) from None
    decoder = json.JSONDecoder()
    found = []
    rest = text.lstrip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError) as error:
            raise ParseError(what, f"not JSON, or cut: {error}", rest) from None
        found.append(Tree(what, "$", value))
        rest = rest[end:].lstrip()
    return found
