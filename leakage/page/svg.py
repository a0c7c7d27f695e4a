"""The little of SVG that a chart is made of; colours and fonts are classes of style.css."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from markupsafe import Markup

WIDTH = 400
"""Of every drawing, so that its text is of one size, and can be read on a phone."""
SERIES = 6
"""How many series are told apart by colour, marker and dash at once; more by pairs of them."""
Ends = tuple[float, float, float, float]
"""Of a straight line: x1, y1, x2, y2."""
_SHAPES = (  # where each begins, from its middle, and how it goes on
    (-4.5, 0, "a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z"),
    (-4, -4, "h8v8h-8Z"),
    (0, -5.2, "l5 9h-10Z"),
    (0, -5.8, "l5.8 5.8l-5.8 5.8l-5.8 -5.8Z"),
    (0, 5.2, "l5 -9h-10Z"),
    (-1.7, -5, "h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3Z"),
)
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
        '<svg viewBox="0 0 {w} {h:.0f}" role="img"'
        ' aria-labelledby="{id}-title {id}-desc"><title id="{id}-title">{title}</title>'
        '<desc id="{id}-desc">{told}</desc>'
    ).format(w=WIDTH, h=height, id=identity, title=title, told=told)
    return head + Markup("\n").join(Markup(part) for part in parts) + Markup("</svg>")


def text(x: float, y: float, words: str, *, anchor: str = "start", look: str = "") -> Markup:
    """Words, with their baseline at y."""
    said = Markup(' text-anchor="{}"').format(anchor) if anchor != "start" else ""
    said += Markup(' class="{}"').format(look) if look else ""
    return Markup('<text x="{}" y="{}"{}>{}</text>').format(_at(x), _at(y), said, words)


def line(x1: float, y1: float, x2: float, y2: float, look: str) -> Markup:
    """A straight line."""
    return lines([(x1, y1, x2, y2)], look)


def lines(ends: Iterable[Ends], look: str) -> Markup:
    """Straight lines of one look, as one path: most of a page is lines.

    >>> str(lines([(0, 1, 10, 1), (2.5, 3, 2.5, 4)], "grid"))
    '<path d="M0 1H10M2.5 3V4" class="grid"/>'
    """
    steps = ""
    for x1, y1, x2, y2 in ends:
        steps += f"M{_at(x1)} {_at(y1)}"
        steps += f"H{_at(x2)}" if y1 == y2 else f"V{_at(y2)}" if x1 == x2 else _to(x2, y2)
    return Markup('<path d="{}" class="{}"/>').format(steps, look)


def _at(place: float) -> str:
    """A place to a tenth of a unit."""
    return f"{place:.1f}".removesuffix(".0")


def _to(x: float, y: float) -> str:
    return f"L{_at(x)} {_at(y)}"


def box(x1: float, y1: float, x2: float, y2: float, look: str) -> Markup:
    """A rectangle between two corners, x1 <= x2 and y1 <= y2."""
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(
        *map(_at, (x1, y1, x2 - x1, y2 - y1)), look
    )


def path(places: Sequence[tuple[float, float]], look: str, *, closed: bool = False) -> Markup:
    """A line through places, or the area within it."""
    steps = "".join(_to(x, y) for x, y in places).removeprefix("L")
    return Markup('<path d="M{}{}" class="{}"/>').format(steps, "Z" if closed else "", look)


def marker(x: float, y: float, series: int, *, hollow: bool = False, hint: str = "") -> Markup:
    """A mark whose shape and colour are those of a series; a pointer over it shows the hint."""
    look = f"mark s{colour(series)}{' hollow' if hollow else ''}"
    right, down, shape = _SHAPES[series % SERIES]
    title = Markup("<title>{}</title>").format(hint) if hint else ""
    return Markup('<path d="M{} {}{}" class="{}">{}</path>').format(
        _at(x + right), _at(y + down), shape, look, title
    )


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
