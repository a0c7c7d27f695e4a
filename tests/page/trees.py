"""HTML as a tree, for tests that read a page back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Element:
    """An element, with its attributes and what is in it."""

    name: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def all(self, name: str, look: str = "") -> list[Element]:
        """Elements of a name, or `*`, that have all classes of a look, this one among them."""
        inner = [
            found
            for child in self.children
            if isinstance(child, Element)
            for found in child.all(name, look)
        ]
        mine = name in (self.name, "*") and set(look.split()) <= self.look
        return [self, *inner] if mine else inner

    def lines(self, look: str) -> list[tuple[float, float, float, float]]:
        """The straight lines of a drawing that have a look: x1, y1, x2, y2 each."""
        found = []
        for path in self.all("path", look):
            for step in re.findall(
                r"M([\d.-]+) ([\d.-]+)([HVL])([\d.-]+) ?([\d.-]*)", path.attributes["d"]
            ):
                x, y, kind, a, b = float(step[0]), float(step[1]), *step[2:]
                right = x if kind == "V" else float(a)
                down = y if kind == "H" else float(a if kind == "V" else b)
                found.append((x, y, right, down))
        return found

    def curves(self) -> list[Element]:
        """The lines through points of a drawing; those of its key are straight."""
        return [path for path in self.all("path", "line") if "L" in path.attributes["d"]]

    @property
    def look(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    @property
    def text(self) -> str:
        return "".join(c if isinstance(c, str) else c.text for c in self.children)


class _Parser(HTMLParser):
    """An element that is not closed where it should be is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in {"meta", "link"}:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> within <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def tree(source: str) -> Element:
    """The whole page as one element."""
    parser = _Parser()
    parser.feed(source)
    (root,) = parser.open
    return root
