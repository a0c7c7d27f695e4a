"""Figures against rounds, against k and clients, and against settings in which runs differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leakage.audit.names import theory_of
from leakage.knowledge import EITHER, MECHANISM, STATIC
from leakage.reading.guessers import (
    AWARE,
    guessers_of,
    last_alone,
    number,
    of_the_game,
    rival_of,
    strongest_of,
)
from leakage.reading.labels import Labels
from leakage.reading.runs import Files
from leakage.reading.schema import Curve, Figure, Guesser, Point
from leakage.reading.settings import is_number, rest_of, settings_of, varying
from leakage.report.epsilons import EpsilonRow
from leakage.report.rows import Row

_METRICS = ("auroc", "gain", "bits")
_SIDES = (AWARE, frozenset({STATIC}), frozenset({MECHANISM}))
Spot = tuple[float, Files, Sequence[Guesser]]
"""Where on the axis, of which run, and who guessed there."""


@dataclass(frozen=True)
class _Series:
    """Guessers along an axis, all else equal."""

    against: str
    label: str
    spots: Sequence[Spot]


def curves_of(runs: Sequence[Files], labels: Labels) -> list[Curve]:
    """All curves with two points or more.

    Of each place the strongest adversary is taken: of those that know of M, and of those that do
    not, each in a curve of its own; and beside it the best baseline.

    Args:
        runs: as they were read.
        labels: of the runs.
    """
    attacked = [files for files in runs if files.run.guessers]
    series = [found for files in attacked for found in _within(files, labels)]
    series += _between(attacked, labels)
    curves = [curve for one in series for side in _SIDES for curve in _drawn(one, side)]
    return curves + list(_epsilons([files for files in runs if files.epsilons], labels))


def _within(files: Files, labels: Labels) -> Iterator[_Series]:
    """Of one run: its rounds, rounds put together, and the points of its aggregation curve."""
    guessers, label = files.run.guessers, labels.of(files.run)
    played = sorted({guesser.round for guesser in guessers})
    alone = {r: [g for g in guessers if (g.round, g.rounds) == (r, "alone")] for r in played}
    summed = {r: [g for g in guessers if (g.round, g.rounds) == (r, "sum")] for r in played}
    summed[played[0]] = alone[played[0]]  # the sum of one
    yield _Series("round", label, [(float(r), files, some) for r, some in alone.items()])
    together = [(float(count), files, summed[r]) for count, r in enumerate(played, 1)]
    yield _Series("rounds together", label, together)
    points: dict[tuple[int, int], list[Row]] = {}
    own = {id(row) for row in of_the_game(files.rows)}
    for row in files.rows:
        if id(row) not in own:
            points.setdefault((row.k, row.others), []).append(row)
    here = (files.run.k, files.run.others)
    found = {place: guessers_of(rows) for place, rows in points.items()} | {
        here: last_alone(files.run.guessers)
    }
    for against, of in (("k", 0), ("clients", 1)):
        places = [place for place in found if place[1 - of] == here[1 - of]]
        yield _Series(
            against,
            labels.of(files.run, without=("k", "others")[of]),
            [
                (place[0] if of == 0 else 1 + place[1] / here[0], files, found[place])
                for place in places
            ],
        )


def _between(runs: Sequence[Files], labels: Labels) -> Iterator[_Series]:
    """Of runs that differ in one number alone."""
    settings = [settings_of(files) for files in runs]
    for name in varying(settings):
        groups: dict[str, list[Spot]] = {}
        for files, values in zip(runs, settings, strict=True):
            if is_number(values.get(name)):
                spot = (float(values[name]), files, last_alone(files.run.guessers))
                groups.setdefault(rest_of(values, name), []).append(spot)
        for spots in groups.values():
            yield _Series(name, labels.of(spots[0][1].run, without=name), spots)


def _drawn(series: _Series, side: frozenset[str]) -> Iterator[Curve]:
    spots = sorted(series.spots, key=lambda spot: spot[0])
    found = [(x, files, strongest_of(some, side), some) for x, files, some in spots]
    best = [(x, files, guesser, some) for x, files, guesser, some in found if guesser is not None]
    knowledge = {guesser.knowledge for _, _, guesser, _ in best} - {EITHER}
    label = ", ".join(filter(None, [series.label, *sorted(knowledge)]))
    curves = []
    for metric in _METRICS:
        told = [(x, f.run.name, g.figures[metric]) for x, f, g, _ in best if metric in g.figures]
        points = [Point(x, figure, name) for x, name, figure in told]
        curves.append(Curve(series.against, metric, label, False, points))
    if side == AWARE:
        rivals = [(x, files, rival_of(guesser, some)) for x, files, guesser, some in best]
        points = [Point(x, r.figures["auroc"], f.run.name) for x, f, r in rivals if r is not None]
        curves.append(Curve(series.against, "auroc", series.label, True, points))
    yield from (curve for curve in curves if len({point.x for point in curve.points}) > 1)


def _epsilons(runs: Sequence[Files], labels: Labels) -> Iterator[Curve]:
    """Against the noise: what audits have proven, and what DP proves from above."""
    groups: dict[str, list[Files]] = {}
    for files in runs:
        settings = settings_of(files) | {"sigmas": None}
        groups.setdefault(rest_of(settings, "sigma"), []).append(files)
    for some in groups.values():
        claim = theory_of(some[0].epsilons[0].secret)
        label = labels.of(some[0].run, without="sigma")
        rows = [(row, files.run.name) for files in some for row in files.epsilons]
        for told, wanted in (
            ("proven by the audit", [pair for pair in rows if pair[0].headline]),
            ("DP proves at most", [pair for pair in rows if pair[0].estimator == claim]),
        ):
            points = _at_noise(wanted)
            if len({point.x for point in points}) > 1:
                named = ", ".join(filter(None, [label, told]))
                yield Curve("sigma", "epsilon", named, False, points)


def _at_noise(rows: Sequence[tuple[EpsilonRow, str]]) -> list[Point]:
    """The lower bound of each row, with the name of its run; of what is exact, the figure."""
    points = [
        Point(row.sigma, Figure(number(row.value if math.isnan(row.low) else row.low)), name)
        for row, name in rows
        if not math.isnan(row.sigma)
    ]
    return sorted(points, key=lambda point: point.x)
