"""A chart of lines: a figure against a setting, with its interval as a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from leakage.page import svg
from leakage.page.axis import Axis, range_of
from leakage.page.picture import Entry, in_words, key
from leakage.page.wording import known, number, plain, with_limits
from leakage.reading.figures import Figure

LEFT, RIGHT, TOP, BOTTOM = 46.0, 388.0, 32.0, 250.0
_RATIO = 10  # from which the places of an axis stand at equal ratios


@dataclass(frozen=True)
class Line:
    """A line through figures.

    Args:
        label: whose it is.
        points: a place and a figure each, in the order of the places.
        series: its colour, marker and dash.
        baseline: whether it is of a guess without gradients.
    """

    label: str
    points: list[tuple[float, Figure]]
    series: int
    baseline: bool


def curves(
    identity: str,
    title: str,
    lines: Sequence[Line],
    across: str,
    up: str,
    *,
    beside: Sequence[Figure] = (),
    reference: float | None = None,
) -> Markup:
    """Draws lines with their bands, axes and a key.

    Args:
        identity: unique in the page.
        title: what the chart is of.
        lines: with at least one figure that has a value.
        across: what the places are.
        up: what the figures are.
        beside: of charts beside this one, whose upright axis is the same.
        reference: where nothing is found, marked from left to right; None for nowhere.
    """
    places = sorted({x for line in lines for x, figure in line.points})
    log = places[0] > 0 and places[-1] / places[0] >= _RATIO
    low, high = (places[0], places[-1]) if len(places) > 1 else range_of(places)
    x_axis = Axis(low, high, LEFT + 12, RIGHT - 12, log)
    heights = [
        found
        for figure in [*beside, *(figure for line in lines for _, figure in line.points)]
        for found in map(known, (figure.value, figure.low, figure.high))
        if found is not None
    ]
    shown = [] if reference is None else [reference]
    y_axis = Axis(*range_of(heights, *shown), BOTTOM, TOP)
    ticks = x_axis.apart(places, 30)
    parts = frame(x_axis, y_axis, ticks, across, up)
    if reference is not None:
        parts.append(svg.line(LEFT, y_axis(reference), RIGHT, y_axis(reference), "reference"))
    parts += [part for line in lines for part in _band(line, x_axis, y_axis)]
    parts += [part for line in lines for part in _line(line, x_axis, y_axis)]
    entries = [Entry(_named(i), i.series, i.baseline, _look(i)) for i in lines]
    named, end = key(entries, BOTTOM + 62)
    told = f"{up} against {across}. " + in_words([_told(line, across) for line in lines])
    return svg.drawing(identity, title, told, end, [*parts, *named])


def frame(x: Axis, y: Axis, ticks: Sequence[float], across: str, up: str) -> list[Markup]:
    """Both axes with their words, and a line across at every tick of the upright one."""
    parts = [svg.text(2, 14, up, look="title")]
    parts.append(svg.lines([(LEFT, y(tick), RIGHT, y(tick)) for tick in y.ticks()], "grid"))
    for tick in y.ticks():
        parts.append(svg.text(LEFT - 8, y(tick) + 4, plain(tick), anchor="end", look="tick"))
    marks = [(x(tick), BOTTOM, x(tick), BOTTOM + 4) for tick in ticks]
    parts.append(svg.lines([(LEFT, BOTTOM, RIGHT, BOTTOM), *marks], "axis"))
    for tick in ticks:
        parts.append(svg.text(x(tick), BOTTOM + 18, plain(tick), anchor="middle", look="tick"))
    parts.append(svg.text(RIGHT, BOTTOM + 37, across, anchor="end", look="title"))
    return parts


def _band(line: Line, x: Axis, y: Axis) -> list[Markup]:
    """The area between the limits, as far as figures side by side have both."""
    stretches: list[list[tuple[float, float, float]]] = [[]]
    for place, figure in line.points:
        low, high = known(figure.low), known(figure.high)
        if low is None or high is None:
            stretches.append([])
        else:
            stretches[-1].append((x(place), y(low), y(high)))
    return [
        svg.path(
            [(at, low) for at, low, _ in found] + [(at, high) for at, _, high in reversed(found)],
            f"area s{line.series % svg.SERIES}",
            closed=True,
        )
        for found in stretches
        if len(found) > 1
    ]


def _line(line: Line, x: Axis, y: Axis) -> list[Markup]:
    found = [(x(at), f) for at, f in line.points if known(f.value) is not None]
    places = [(at, y(f.value)) for at, f in found if f.value is not None]
    parts = [svg.path(places, _look(line))] if len(places) > 1 else []
    limits = [(at, known(f.low), known(f.high)) for at, f in found]
    whiskers = [(at, y(a), at, y(b)) for at, a, b in limits if a is not None and b is not None]
    if whiskers:
        parts.append(svg.lines(whiskers, f"whisker s{line.series % svg.SERIES}"))
    for at, figure in found:
        if figure.value is None:
            continue
        hint = f"{line.label}: {with_limits(figure)}"
        parts.append(svg.marker(at, y(figure.value), line.series, hollow=line.baseline, hint=hint))
    return parts


def _look(line: Line) -> str:
    return f"line s{line.series % svg.SERIES}{' baseline' if line.baseline else ''}"


def _named(line: Line) -> str:
    who = "best guess without gradients" if line.baseline else "strongest adversary"
    return f"{line.label}, {who}" if line.label and line.baseline else line.label or who


def _told(line: Line, across: str) -> str:
    found = [(at, f.value) for at, f in line.points if known(f.value) is not None]
    if not found:
        return f"{_named(line)}: no figure"
    ends = [f"{number(value)} at {across} {plain(at)}" for at, value in (found[0], found[-1])]
    return (
        f"{_named(line)}: from {ends[0]} to {ends[1]}"
        if len(found) > 1
        else (f"{_named(line)}: {ends[0]}")
    )
