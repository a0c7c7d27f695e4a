"""What the page shows of a figure: a drawing, what it says in words, and its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from leakage.page import svg
from leakage.page.tables import Table


@dataclass(frozen=True)
class Picture:
    """A drawing with its data.

    Args:
        title: what it is of.
        caption: how it is read.
        drawing: SVG.
        table: what is drawn.
    """

    title: str
    caption: str
    drawing: Markup
    table: Table


@dataclass(frozen=True)
class Entry:
    """A line of a key.

    Args:
        words: what a mark stands for.
        series: its shape and colour.
        hollow: whether it is empty.
        line: the look of the line that it stands on; empty without one.
    """

    words: str
    series: int
    hollow: bool = False
    line: str = ""


def key(entries: Sequence[Entry], top: float) -> tuple[list[Markup], float]:
    """The key below a drawing, side by side where that fits, and where it ends."""
    parts: list[Markup] = []
    x, y = 4.0, top
    for entry in entries:
        lines = svg.wrapped(entry.words, svg.WIDTH - 40)
        wide = 44 + svg.width_of(lines[0])
        if x > 4 and x + wide > svg.WIDTH:
            x, y = 4.0, y + 19
        if entry.line:
            parts.append(svg.line(x, y - 4, x + 26, y - 4, entry.line))
        parts.append(svg.marker(x + 13, y - 4, entry.series, hollow=entry.hollow))
        for place, words in enumerate(lines):
            parts.append(svg.text(x + 32, y + 15 * place, words))
        y += 15 * (len(lines) - 1)
        x = svg.WIDTH if len(lines) > 1 else x + wide
    return parts, y + 8


def in_words(said: Sequence[str], most: int = 12) -> str:
    """What is seen, a clause a mark; beyond the most, the table has the others."""
    rest = len(said) - most
    return "; ".join(said[:most]) + (f"; and {rest} more in the table." if rest > 0 else ".")
