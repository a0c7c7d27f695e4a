"""The charts of all runs: the frontier, curves along settings, and differences."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from leakage.page.frontier import frontier
from leakage.page.names import common
from leakage.page.picture import Entry, Picture
from leakage.page.plane import Line, curves
from leakage.page.ranges import Mark, Row, ranges
from leakage.page.svg import SERIES
from leakage.page.tables import Column, Table
from leakage.page.wording import known, slug, with_limits
from leakage.reading.schema import Curve, Difference, Report, Run, Tradeoff

_METRICS = {
    "auroc": "AUROC",
    "asr": "Share of right guesses",
    "gain": "Gain",
    "bits": "Bits",
    "epsilon": "Epsilon",
}
_AGAINST = {
    "round": "round (epochs before the release)",
    "k": "k (records of a batch)",
    "clients": "clients in the mean",
    "others": "records of other clients in the mean",
    "sigma": "sigma (noise multiplier)",
}
_NOTHING = {"auroc": 0.5, "gain": 0.0, "bits": 0.0, "epsilon": 0.0}


def frontiers(report: Report) -> list[Picture]:
    """Utility against gain, a chart for every data set, secret and k of two runs or more."""
    runs = {run.name: run for run in report.runs}
    groups: dict[tuple[str, str, int, int, str], list[Tradeoff]] = {}
    for one in report.frontier:
        run = runs[one.run]
        place = (run.data, run.secret, run.k, run.others, one.metric)
        groups.setdefault(place, []).append(one)
    found: list[Picture] = []
    for (data, secret, k, others, metric), group in groups.items():
        title = f"{data}, {secret}, k = {k}{f' + {others} of others' if others else ''}"
        beside = [one for one in report.frontier if one.metric == metric]
        group = _named([(one, runs[one.run]) for one in group])
        drawing = frontier(f"frontier-{len(found)}", title, group, beside)
        if drawing is None or len(group) < 2:
            continue
        table = Table(
            f"Utility and gain: {title}",
            (
                Column("defense"),
                Column(metric.replace("_", " "), "number"),
                Column("gain", "signed"),
                Column("on the frontier"),
                Column("run"),
            ),
            [(o.label, o.utility, o.gain, "yes" if o.best else "no", o.run) for o in group],
            f"frontier-{slug(title)}.csv",
        )
        caption = (
            "What the model is worth, and how much more the strongest adversary gets than the best"
            " guess without gradients. The lower right is better; crosses are 95% intervals."
        )
        found.append(Picture(title, caption, drawing, table))
    return found


def _named(pairs: list[tuple[Tradeoff, Run]]) -> list[Tradeoff]:
    """The same with the shortest labels that tell them apart: what else they share is the title."""
    ways = (
        [run.defense.split("(")[0] for _, run in pairs],
        [run.defense for _, run in pairs],
        [one.label for one, _ in pairs],
    )
    names = [run.name for _, run in pairs]
    labels = next((way for way in ways if len(set(way)) == len(way)), names)
    return [replace(one, label=label) for (one, _), label in zip(pairs, labels, strict=True)]


def curve_pictures(report: Report, *, by_round: bool) -> list[Picture]:
    """A chart for every setting and metric, of six labels at most.

    Args:
        report: with curves.
        by_round: whether those against rounds are wanted, or those against what was set.
    """
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in report.curves:
        there = any(known(point.figure.value) is not None for point in curve.points)
        if there and curve.against.startswith("round") == by_round:
            groups.setdefault((curve.against, curve.metric), []).append(curve)
    found: list[Picture] = []
    kind = "rounds" if by_round else "curve"
    for (against, metric), group in groups.items():
        group = _told_apart(_once(group))
        labels = list(dict.fromkeys(curve.label for curve in group))
        parts = [labels[start : start + SERIES] for start in range(0, len(labels), SERIES)]
        for number, part in enumerate(parts, 1):
            title = f"{in_words(metric)} against {against.replace('_', ' ')}"
            if len(parts) > 1:
                title += f", part {number} of {len(parts)}"
            mine = [curve for curve in group if curve.label in part]
            found.append(_curve_picture(f"{kind}-{len(found)}", title, mine, part))
    return found


def _once(curves: list[Curve]) -> list[Curve]:
    """The same curves, but of baselines that are one and the same only one: no M changes them."""
    alike: dict[object, list[Curve]] = {}
    for place, curve in enumerate(curves):
        points = tuple((point.x, point.figure.value) for point in curve.points)
        alike.setdefault(points if curve.baseline else place, []).append(curve)
    return [
        replace(same[0], label=common([curve.label for curve in same])) for same in alike.values()
    ]


def _told_apart(curves: list[Curve]) -> list[Curve]:
    """The same curves with labels that are not empty, and that name runs where they are alike."""
    many = Counter((curve.label, curve.baseline) for curve in curves)
    found = []
    for curve in curves:
        label = curve.label
        if many[label, curve.baseline] > 1:
            runs = ", ".join(dict.fromkeys(point.run for point in curve.points))
            label = f"{label} ({runs})"
        found.append(replace(curve, label=label))
    return found


def _curve_picture(identity: str, title: str, group: list[Curve], labels: list[str]) -> Picture:
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
    drawing = curves(identity, title, lines, across, up, reference=_NOTHING.get(metric))
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
                point.run,
            )
            for curve in group
            for point in curve.points
        ],
        f"{slug(title)}.csv",
    )
    return Picture(title, "Bands and whiskers are 95% intervals.", drawing, table)


def differences(report: Report) -> list[Picture]:
    """One run less another, a chart for every metric."""
    groups: dict[str, list[Difference]] = {}
    for one in report.differences:
        groups.setdefault(one.metric, []).append(one)
    found: list[Picture] = []
    for metric, group in groups.items():
        title = f"{in_words(metric)}: one run less another"
        rows = [
            Row(
                f"{one.one} less {one.other}",
                with_limits(one.figure, signed=True),
                [Mark(one.figure, 0, hollow=not one.paired)],
            )
            for one in group
        ]
        entries = [Entry("the same trials or records (paired)", 0)]
        if not all(one.paired for one in group):
            entries.append(Entry("independent intervals", 0, hollow=True))
        drawing = ranges(
            f"difference-{len(found)}", title, rows, "difference", reference=0.0, entries=entries
        )
        table = Table(
            title,
            (
                Column("one"),
                Column("other"),
                Column("one less other", "signed"),
                Column("interval"),
                Column("note", fold=True),
            ),
            [
                (o.one, o.other, o.figure, "paired" if o.paired else "independent", o.note)
                for o in group
            ],
            f"{slug(title)}.csv",
        )
        caption = "One run less the other with its 95% interval; at the line they are alike."
        found.append(Picture(title, caption, drawing, table))
    return found


def in_words(metric: str) -> str:
    """The name of a metric, as it is read."""
    return _METRICS.get(metric, metric.replace("_", " ").capitalize())
