"""The little of SVG that a chart is made of; colours and fonts are classes of style.css."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from markupsafe import Markup

WIDTH = 400
"""Of every drawing, so that its text is of one size, and can be read on a phone."""
SERIES = 6
"""How many series are told apart by colour, marker and dash at once; more by pairs of them."""
_GLYPH = 6.5  # the width of a letter, on average, at the size of style.css
_CAPITAL = 2.5  # how much wider a capital is


def drawing(identity: str, title: str, told: str, height: float, parts: Iterable[str]) -> Markup:
    """A whole drawing, which says what it shows to those who do not see it.

    Args:
        identity: unique in the page.
        title: what it is of.
        told: what is seen, in words.
        height: of the drawing; it is `WIDTH` wide.
        parts: its marks.
    """
    head = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h:.0f}" role="img"'
        ' aria-labelledby="{id}-title {id}-desc"><title id="{id}-title">{title}</title>'
        '<desc id="{id}-desc">{told}</desc>'
    ).format(w=WIDTH, h=height, id=identity, title=title, told=told)
    return head + Markup("\n").join(Markup(part) for part in parts) + Markup("</svg>")


def text(x: float, y: float, words: str, *, anchor: str = "start", look: str = "") -> Markup:
    """Words, with their baseline at y."""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, anchor, look, words
    )


def line(x1: float, y1: float, x2: float, y2: float, look: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(
        x1, y1, x2, y2, look
    )


def box(x1: float, y1: float, x2: float, y2: float, look: str) -> Markup:
    """A rectangle between two corners, x1 <= x2 and y1 <= y2."""
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"/>').format(
        x1, y1, x2 - x1, y2 - y1, look
    )


def path(places: Sequence[tuple[float, float]], look: str, *, closed: bool = False) -> Markup:
    """A line through places, or the area within it."""
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return Markup('<path d="M{}{}" class="{}"/>').format(steps, "Z" if closed else "", look)


def marker(x: float, y: float, series: int, *, hollow: bool = False, hint: str = "") -> Markup:
    """A mark whose shape and colour are those of a series; a pointer over it shows the hint."""
    shapes = (
        f"M{x - 4.5:.1f} {y:.1f}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",
        f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8Z",
        f"M{x:.1f} {y - 5.2:.1f}l5 9h-10Z",
        f"M{x:.1f} {y - 5.8:.1f}l5.8 5.8l-5.8 5.8l-5.8 -5.8Z",
        f"M{x:.1f} {y + 5.2:.1f}l5 -9h-10Z",
        f"M{x - 1.7:.1f} {y - 5:.1f}h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3Z",
    )
    look = f"mark s{colour(series)}{' hollow' if hollow else ''}"
    title = Markup("<title>{}</title>").format(hint) if hint else ""
    return Markup('<path d="{}" class="{}">{}</path>').format(shapes[series % SERIES], look, title)


def colour(series: int) -> int:
    """The colour of a series; from the second six on it is not the one that its shape had before.

    >>> [colour(series) for series in (0, 5, 6, 11, 12)]
    [0, 5, 1, 0, 2]
    """
    return (series + series // SERIES) % SERIES


def wrapped(words: str, width: float, most: int = 2) -> list[str]:
    """Words in lines that fit a width, the last one cut where there are too many."""
    letters = max(8, int(width / _GLYPH))
    return textwrap.wrap(
        words, letters, max_lines=most, placeholder=" …", break_on_hyphens=False
    ) or [""]


def width_of(words: str) -> float:
    """About how wide words are; capitals are wider."""
    return _GLYPH * len(words) + _CAPITAL * sum(letter.isupper() for letter in words)
