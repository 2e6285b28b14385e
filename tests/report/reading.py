"""Reads a page as a browser's parser would: elements, their attributes and their text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset(["meta", "link", "br", "wbr", "input"])


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None = field(default=None, repr=False)
    children: list[Element | str] = field(default_factory=list)

    def __getitem__(self, attribute: str) -> str:
        return self.attributes[attribute]

    @property
    def looks(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def each(self, *tags: str) -> Iterator[Element]:
        """All elements below of these tags, in the page's order; of any tag where none is named."""
        for child in self.children:
            if isinstance(child, Element):
                if not tags or child.tag in tags:
                    yield child
                yield from child.each(*tags)

    def of(self, look: str) -> list[Element]:
        return [element for element in self.each() if look in element.looks]

    def by_id(self, anchor: str) -> Element:
        (found,) = [element for element in self.each() if element.attributes.get("id") == anchor]
        return found

    def within(self, tag: str) -> Element:
        """The closest element of that tag around this one."""
        at = self.parent
        while at is not None and at.tag != tag:
            at = at.parent
        assert at is not None, f"no {tag} around {self}"
        return at


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.at = Element("", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at.children.append(Element(tag, {name: value or "" for name, value in attrs}, self.at))

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}> at {self.getpos()}"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.children.append(data)


def read(page: str) -> Element:
    """The page's tree. Fails where an element is not closed, or closed by another's end."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    assert parser.at is parser.root, f"<{parser.at.tag}> is not closed"
    return parser.root
