"""The chart of defenses on the plane of utility and gain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from leakage.page import svg
from leakage.page.axis import Axis, range_of
from leakage.page.picture import Entry, in_words, key
from leakage.page.plane import BOTTOM, LEFT, RIGHT, TOP, frame
from leakage.page.wording import known, number
from leakage.reading.figures import Figure, Tradeoff

Box = tuple[float, float, float, float]
Place = tuple[float, float]


def frontier(
    identity: str,
    title: str,
    tradeoffs: Sequence[Tradeoff],
    series: Sequence[int],
    beside: Sequence[Tradeoff],
) -> Markup | None:
    """Draws defenses with both intervals; those that no other is better than stand on a line.

    Args:
        identity: unique in the page.
        title: what the chart is of.
        tradeoffs: of one data set, secret and k, and one metric of utility.
        series: the mark of each.
        beside: those whose charts stand beside this one, whose axes are the same.

    Returns:
        None where no defense has both figures.
    """
    marked = zip(tradeoffs, series, strict=True)
    points = [(one, mark, *place) for one, mark in marked if (place := _place(one)) is not None]
    if not points:
        return None
    all_x, all_y = (
        _numbers([getattr(one, name) for one in beside]) for name in ("utility", "gain")
    )
    x_axis = Axis(*range_of(all_x, margin=0.1), LEFT + 6, RIGHT - 6)
    y_axis = Axis(*range_of(all_y, 0.0), BOTTOM, TOP)
    ticks = x_axis.apart(x_axis.ticks(), 36)
    parts = frame(x_axis, y_axis, ticks, tradeoffs[0].metric.replace("_", " "), "gain")
    parts.append(svg.line(LEFT, y_axis(0), RIGHT, y_axis(0), "reference"))
    best = sorted((x, y) for one, _, x, y in points if one.best)
    taken: list[Box] = []
    if len(best) > 1:
        steps = _steps([(x_axis(x), y_axis(y)) for x, y in best])
        parts.append(svg.path(steps, "edge"))
        taken += [
            (min(a, c), min(b, d), max(a, c), max(b, d)) for (a, b), (c, d) in pairwise(steps)
        ]
    for one, mark, x, y in points:
        marks, boxes = _cross(one, mark, x, y, x_axis, y_axis)
        parts += marks
        taken += boxes
    places = [(x_axis(x), y_axis(y)) for _, _, x, y in points]
    labels = [svg.wrapped(one.label, 170, most=1)[0] for one, *_ in points]
    for label, place in zip(labels, places, strict=True):
        free = _free(place, label, taken, places)
        if free is not None and labels.count(label) == 1:  # else it names none of them
            taken.append(free)
            parts.append(svg.text(free[0], free[3] - 3, label))
    entries = [Entry(one.label, mark, hollow=not one.best) for one, mark, _, _ in points]
    named, end = key(entries, BOTTOM + 62)
    told = "Gain against utility; the lower right is better. " + in_words(
        [
            f"{one.label}: utility {number(x)}, gain {number(y, signed=True)}"
            + (", on the frontier" if one.best else "")
            for one, _, x, y in points
        ]
    )
    return svg.drawing(identity, title, told, end, [*parts, *named])


def _place(one: Tradeoff) -> Place | None:
    x, y = known(one.utility.value), known(one.gain.value)
    return None if x is None or y is None else (x, y)


def _numbers(figures: Sequence[Figure]) -> list[float]:
    found = [known(n) for f in figures for n in (f.value, f.low, f.high)]
    return [n for n in found if n is not None]


def _cross(
    one: Tradeoff, series: int, x: float, y: float, x_axis: Axis, y_axis: Axis
) -> tuple[list[Markup], list[Box]]:
    """A mark with both intervals, and the boxes that they fill."""
    at, up = x_axis(x), y_axis(y)
    boxes = [(at - 6, up - 6, at + 6, up + 6)]
    if one.utility.low is not None and one.utility.high is not None:
        boxes.append((x_axis(one.utility.low), up, x_axis(one.utility.high), up))
    if one.gain.low is not None and one.gain.high is not None:
        boxes.append((at, y_axis(one.gain.high), at, y_axis(one.gain.low)))
    hint = f"{one.label}: utility {number(x)}, gain {number(y, signed=True)}"
    marks = [svg.line(*box, f"whisker s{svg.colour(series)}") for box in boxes[1:]]
    return [*marks, svg.marker(at, up, series, hollow=not one.best, hint=hint)], boxes


def _steps(places: Sequence[Place]) -> list[Place]:
    """Up, then right: whoever asks for more utility than one has pays the gain of the next."""
    found = [places[0]]
    for (before, _), (x, y) in pairwise(places):
        found += [(before, y), (x, y)]
    return found


def _free(place: Place, label: str, taken: Sequence[Box], places: Sequence[Place]) -> Box | None:
    """A box for a label that covers nothing, and is beside its mark before any other.

    None where there is no such box: the key and the table have its name.
    """
    (x, y), wide = place, svg.width_of(label)
    for down in (0, -15, 15):
        for left in (x + 9, x - 9 - wide, x - wide / 2):
            box = (left, y + down - 9, left + wide, y + down + 8)
            inside = box[0] >= LEFT and box[2] <= svg.WIDTH and box[1] >= TOP - 12
            covers = any(_cross_boxes(box, other) for other in taken)
            if inside and box[3] < BOTTOM and not covers:
                near = min(_away(box, other) for other in places)
                if _away(box, place) <= near:
                    return box
    return None


def _away(box: Box, place: Place) -> float:
    """How far a place is from a box."""
    (left, top, right, bottom), (x, y) = box, place
    return math.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom))


def _cross_boxes(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
