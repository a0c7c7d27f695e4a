"""A chart of rows: who, and where the figure lies between its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from leakage.page import svg
from leakage.page.axis import Axis, range_of
from leakage.page.picture import Entry, in_words, key
from leakage.page.wording import known, plain
from leakage.reading.figures import Figure

_EDGE, _LINE, _TRACK, _APART = 10.0, 15.0, 13.0, 13.0


@dataclass(frozen=True)
class Mark:
    """A figure on the track of a row.

    Args:
        figure: with its limits; nothing is drawn of one without a value.
        series: shape and colour.
        hollow: whether it is of a guess without gradients, or of a bound.
    """

    figure: Figure
    series: int = 0
    hollow: bool = False


@dataclass(frozen=True)
class Band:
    """Where the truth lies.

    Args:
        low: nobody gets less.
        high: nobody gets more.
        whole: all that there is, marked by a tick.
        proven: whether `high` is proven, not just all that there is.
    """

    low: float
    high: float
    whole: float
    proven: bool


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        label: who.
        value: the figure, in words.
        marks: what stands on its track.
        band: what lies under it; None for nothing.
    """

    label: str
    value: str
    marks: list[Mark]
    band: Band | None = None


def ranges(
    identity: str,
    title: str,
    rows: Sequence[Row],
    axis_label: str,
    *,
    within: Sequence[float] = (),
    reference: float | None = None,
    stems: bool = False,
    entries: Sequence[Entry] = (),
) -> Markup:
    """Draws rows one below the other, each with its words above its track.

    Args:
        identity: unique in the page.
        title: what the chart is of.
        rows: at least one.
        axis_label: what the figures are.
        within: numbers that the axis has to show.
        reference: where nothing is found, marked on each track; None for nowhere.
        stems: whether a line leads from there to each mark.
        entries: of the key.
    """
    shown = [*within, *([] if reference is None else [reference])]
    axis = Axis(*range_of(_numbers(rows), *shown), _EDGE, svg.WIDTH - _EDGE)
    parts: list[Markup] = []
    y = 2.0
    # All rows are as high as the highest, and either all or none have their value beside the label.
    fits = all(svg.width_of(row.label + row.value) + 24 <= svg.WIDTH for row in rows)
    labels = [[row.label] if fits else svg.wrapped(row.label, svg.WIDTH - 8) for row in rows]
    high = max(map(len, labels))
    for row, lines in zip(rows, labels, strict=True):
        y += _LINE * (high - len(lines))
        for words in lines:
            y += _LINE
            parts.append(svg.text(2, y, words))
        y += 0 if fits else _LINE
        parts.append(svg.text(svg.WIDTH - 2, y, row.value, anchor="end", look="value"))
        y += _TRACK
        if reference is not None:
            parts.append(svg.line(axis(reference), y - 8, axis(reference), y + 8, "reference"))
        parts += _track(row, axis, y, reference if stems else None)
        y += _APART
    bottom = y + 2
    ticks = axis.apart(axis.ticks(), 44)
    marks = [(axis(tick), bottom, axis(tick), bottom + 4) for tick in ticks]
    below = [svg.lines([(_EDGE, bottom, svg.WIDTH - _EDGE, bottom), *marks], "axis")]
    for tick in ticks:
        below.append(svg.text(axis(tick), bottom + 18, plain(tick), anchor="middle", look="tick"))
    below.append(svg.text(svg.WIDTH - 2, bottom + 36, axis_label, anchor="end", look="title"))
    named, end = key(entries, bottom + 60) if entries else ([], bottom + 44)
    told = f"{axis_label}, by row. " + in_words([f"{row.label}: {row.value}" for row in rows])
    return svg.drawing(identity, title, told, end, [*parts, *below, *named])


def _numbers(rows: Sequence[Row]) -> list[float]:
    found = [
        number
        for row in rows
        for mark in row.marks
        for number in (mark.figure.value, mark.figure.low, mark.figure.high)
    ]
    found += [end for row in rows if row.band for end in (row.band.low, row.band.whole)]
    return [number for number in map(known, found) if number is not None]


def _track(row: Row, axis: Axis, y: float, stem: float | None) -> list[Markup]:
    parts = [svg.line(_EDGE, y, svg.WIDTH - _EDGE, y, "track")]
    if row.band is not None:
        look = "band" if row.band.proven else "band open"
        parts.append(svg.box(axis(row.band.low), y - 6, axis(row.band.high), y + 6, look))
        end = axis(row.band.whole)
        parts.append(svg.line(end, y - 6, end, y + 6, "end"))
    for mark in row.marks:
        figure, look = mark.figure, f"whisker s{mark.series}"
        at, low, high = (known(n) for n in (figure.value, figure.low, figure.high))
        if at is None:
            continue
        if stem is not None:
            parts.append(svg.line(axis(stem), y, axis(at), y, f"stem s{mark.series}"))
        if low is not None or high is not None:
            ends = [axis(at if end is None else end) for end in (low, high)]
            pairs = zip(ends, (low, high), strict=True)
            caps = [(end, y - 4, end, y + 4) for end, limit in pairs if limit is not None]
            parts.append(svg.lines([(ends[0], y, ends[1], y), *caps], look))
        parts.append(svg.marker(axis(at), y, mark.series, hollow=mark.hollow, hint=row.value))
    return parts
