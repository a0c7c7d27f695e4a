"""The charts of a figure against a setting: a few lines in each, and a baseline with them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from leakage.page.names import common
from leakage.page.picture import Picture
from leakage.page.plane import Line, curves
from leakage.page.svg import SERIES
from leakage.page.tables import Column, Table
from leakage.page.wording import OF_SEEDS, in_words, known, slug
from leakage.reading.figures import Curve
from leakage.reading.schema import Report

_AGAINST = {
    "round": "round (epochs before the release)",
    "k": "k (records of a batch)",
    "clients": "clients in the mean",
    "others": "records of other clients in the mean",
    "sigma": "sigma (noise multiplier)",
}
_OF_ATTACKS = ("auroc", "gain", "bits")
_NOTHING = {"auroc": 0.5, "gain": 0.0, "bits": 0.0, "epsilon": 0.0}


def curve_pictures(report: Report, *, by_round: bool) -> list[Picture]:
    """A chart for every setting and metric, of six labels at most.

    Args:
        report: with curves.
        by_round: whether those against rounds are wanted, or those against what was set.
    """
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in report.curves:
        placed = replace(curve, points=[p for p in curve.points if known(p.x) is not None])
        there = any(known(point.figure.value) is not None for point in placed.points)
        if there and curve.against.startswith("round") == by_round:
            groups.setdefault((curve.against, curve.metric), []).append(placed)
    found: list[Picture] = []
    kind = "rounds" if by_round else "curve"
    for (against, metric), group in groups.items():
        own, shared = _once(group)
        # Adversaries first, so that each has the same mark in charts without baselines.
        names = dict.fromkeys(c.label for c in sorted(own, key=lambda curve: curve.baseline))
        parts = _parts(list(names), SERIES - len(shared))
        for number, part in enumerate(parts, 1):
            title = f"{in_words(metric)} against {against.replace('_', ' ')}"
            if len(parts) > 1:
                title += f", part {number} of {len(parts)}"
            mine = [curve for curve in own if curve.label in part] + shared
            labels = part + [curve.label for curve in shared]
            found.append(_picture(f"{kind}-{len(found)}", title, mine, labels, group))
    return found


def _parts(labels: list[str], most: int) -> list[list[str]]:
    """Labels in as few parts as may be, all about as long."""
    many = max(1, math.ceil(len(labels) / max(2, most)))
    long = max(1, math.ceil(len(labels) / many))
    return [labels[start : start + long] for start in range(0, len(labels), long)]


def _once(curves: list[Curve]) -> tuple[list[Curve], list[Curve]]:
    """The curves told apart, and the baselines that several of them share: no M changes those."""
    alike: dict[object, list[Curve]] = {}
    for place, curve in enumerate(curves):
        points = tuple((point.x, point.figure.value) for point in curve.points)
        alike.setdefault(points if curve.baseline else place, []).append(curve)
    own = [same[0] for same in alike.values() if len(same) == 1]
    shared = [
        replace(same[0], label=common([curve.label for curve in same]))
        for same in alike.values()
        if len(same) > 1
    ]
    return _told_apart(own), shared


def _told_apart(curves: list[Curve]) -> list[Curve]:
    """The same curves with labels that are not empty, and that name runs where they are alike."""
    many = Counter((curve.label, curve.baseline) for curve in curves)
    found = []
    for curve in curves:
        label = curve.label
        if many[label, curve.baseline] > 1:
            runs = ", ".join(dict.fromkeys(name for point in curve.points for name in point.runs))
            label = f"{label} ({runs})"
        found.append(replace(curve, label=label))
    return found


def _picture(
    identity: str, title: str, group: list[Curve], labels: list[str], beside: list[Curve]
) -> Picture:
    against, metric = group[0].against, group[0].metric
    lines = [
        Line(
            curve.label,
            [(point.x, point.figure) for point in curve.points],
            labels.index(curve.label),
            curve.baseline,
        )
        for curve in group
    ]
    across = _AGAINST.get(against, against.replace("_", " "))
    up = in_words(metric)
    figures = [point.figure for curve in beside for point in curve.points]
    nothing = _NOTHING.get(metric)
    drawing = curves(identity, title, lines, across, up, beside=figures, reference=nothing)
    table = Table(
        title,
        (
            Column("label", fold=True),
            Column("who", fold=True),
            Column(against, "number"),
            Column(metric, "number"),
            Column("run"),
        ),
        [
            (
                curve.label,
                "best guess without gradients" if curve.baseline else "",
                int(point.x) if float(point.x).is_integer() else point.x,
                point.figure,
                ", ".join(point.runs),
            )
            for curve in group
            for point in curve.points
        ],
        f"{slug(title)}.csv",
    )
    seeds = any(len(point.runs) > 1 for curve in group for point in curve.points)
    caption = f"Bands and whiskers are 95% intervals{OF_SEEDS if seeds else ''}."
    if metric in _OF_ATTACKS and not against.startswith("round"):
        caption = f"Of the last round alone. {caption}"
    return Picture(title, caption, drawing, table)
