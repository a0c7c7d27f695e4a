"""Figures against rounds, against k and clients, and against settings in which runs differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leakage.audit.names import theory_of
from leakage.knowledge import EITHER, MECHANISM, STATIC
from leakage.reading.figures import Curve, Figure, Point
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
from leakage.reading.schema import Guesser
from leakage.reading.seeds import alike, mean_of, range_of
from leakage.reading.settings import is_number, rest_of, settings_of, varying
from leakage.report.epsilons import EpsilonRow
from leakage.report.rows import Row

_METRICS = ("auroc", "gain", "bits")
_ALONG = {"k": "k", "clients": "others"}  # points of an aggregation curve, by the setting
_SIDES = (AWARE, frozenset({STATIC}), frozenset({MECHANISM}))
Spot = tuple[float, Files, Sequence[Guesser]]
"""Where on the axis, of which run, and who guessed there."""


@dataclass(frozen=True)
class _Series:
    """Guessers along an axis, all else equal but seeds."""

    against: str
    label: str
    spots: Sequence[Spot]


def curves_of(runs: Sequence[Files], labels: Labels) -> list[Curve]:
    """All curves with two points or more; runs that differ in the seed are one, of their means.

    Of each place the strongest adversary is taken: of those that know of M, and of those that do
    not, each in a curve of its own; and beside it the best baseline.

    Args:
        runs: as they were read.
        labels: of the runs.
    """
    groups = alike([files for files in runs if files.run.guessers])
    series = [found for group in groups for found in _within(group, labels)]
    series += _between(groups, labels)
    curves = [curve for one in series for side in _SIDES for curve in _drawn(one, side)]
    return curves + list(_epsilons([files for files in runs if files.epsilons], labels))


def _within(group: Sequence[Files], labels: Labels) -> Iterator[_Series]:
    """Of one run: its rounds, rounds put together, and the points of its aggregation curve."""
    here = (group[0].run.k, group[0].run.others)
    found: dict[str, list[Spot]] = {
        against: [] for against in ("round", "rounds together", *_ALONG)
    }
    for files in group:
        guessers = files.run.guessers
        played = sorted({guesser.round for guesser in guessers})
        alone = {r: [g for g in guessers if (g.round, g.rounds) == (r, "alone")] for r in played}
        summed = {r: [g for g in guessers if (g.round, g.rounds) == (r, "sum")] for r in played}
        summed[played[0]] = alone[played[0]]  # the sum of one
        found["round"] += [(float(r), files, some) for r, some in alone.items()]
        together = [(float(count), files, summed[r]) for count, r in enumerate(played, 1)]
        found["rounds together"] += together
        for place, some in _points(files).items():
            if place[1] == here[1]:
                found["k"].append((place[0], files, some))
            if place[0] == here[0]:
                found["clients"].append((1 + place[1] / here[0], files, some))
    for against, spots in found.items():
        without = [_ALONG[against]] if against in _ALONG else []
        yield _Series(against, _label(spots, labels, *without), spots)


def _points(files: Files) -> dict[tuple[int, int], list[Guesser]]:
    """Who guessed in the last round at each k and others of an aggregation curve."""
    points: dict[tuple[int, int], list[Row]] = {}
    own = {id(row) for row in of_the_game(files.rows)}
    for row in files.rows:
        if id(row) not in own:
            points.setdefault((row.k, row.others), []).append(row)
    found = {place: guessers_of(rows) for place, rows in points.items()}
    return found | {(files.run.k, files.run.others): last_alone(files.run.guessers)}


def _between(groups: Sequence[Sequence[Files]], labels: Labels) -> Iterator[_Series]:
    """Of runs that differ in one number alone, and perhaps in the seed, and have come as far."""
    settings = [settings_of(group[0]) for group in groups]
    for name in varying(settings):
        chains: dict[tuple[str, int, int], list[Spot]] = {}
        again: Counter[str] = Counter()
        for group, values in zip(groups, settings, strict=True):
            if is_number(values.get(name)):
                rest = rest_of(values, name, "seed")
                number = again[whole := rest_of(values, "seed")]
                again[whole] += 1
                x = float(values[name])
                last = max(guesser.round for guesser in group[0].run.guessers)
                chains.setdefault((rest, number, last), []).extend(
                    (x, files, last_alone(files.run.guessers)) for files in group
                )
        for spots in chains.values():
            yield _Series(name, _label(spots, labels, name), spots)


def _label(spots: Sequence[Spot], labels: Labels, *without: str) -> str:
    """That of the runs of a series, without the seed where there are several."""
    several = len({files.run.seed for _, files, _ in spots}) > 1
    return labels.of(spots[0][1].run, *without, *["seed"] * several)


def _drawn(series: _Series, side: frozenset[str]) -> Iterator[Curve]:
    spots = sorted(series.spots, key=lambda spot: spot[0])
    found = [(x, files, strongest_of(some, side), some) for x, files, some in spots]
    best = [(x, files, guesser, some) for x, files, guesser, some in found if guesser is not None]
    knowledge = {guesser.knowledge for _, _, guesser, _ in best} - {EITHER}
    label = ", ".join(filter(None, [series.label, *sorted(knowledge)]))
    curves = []
    for metric in _METRICS:
        told = [(x, f.run.name, g.figures[metric]) for x, f, g, _ in best if metric in g.figures]
        curves.append(Curve(series.against, metric, label, False, _pooled(told, metric)))
    if side == AWARE:
        rivals = [(x, files, rival_of(guesser, some)) for x, files, guesser, some in best]
        told = [(x, f.run.name, r.figures["auroc"]) for x, f, r in rivals if r is not None]
        curves.append(Curve(series.against, "auroc", series.label, True, _pooled(told, "auroc")))
    yield from (curve for curve in curves if len(curve.points) > 1)


def _pooled(told: Sequence[tuple[float, str, Figure]], metric: str) -> list[Point]:
    """A point for each x, of all the runs that stand there."""
    places = dict.fromkeys(x for x, _, _ in told)
    return [
        Point(
            x,
            mean_of([figure for at, _, figure in told if at == x], range_of(metric)),
            [name for at, name, _ in told if at == x],
        )
        for x in places
    ]


def _epsilons(runs: Sequence[Files], labels: Labels) -> Iterator[Curve]:
    """Against the noise: what audits have proven, and what DP proves from above."""
    groups: dict[str, list[Files]] = {}
    for files in runs:
        settings = settings_of(files) | {"sigmas": None}
        groups.setdefault(rest_of(settings, "sigma"), []).append(files)
    for some in groups.values():
        claim = theory_of(some[0].epsilons[0].secret)
        label = labels.of(some[0].run, "sigma")
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
        Point(row.sigma, Figure(number(row.value if math.isnan(row.low) else row.low)), [name])
        for row, name in rows
        if not math.isnan(row.sigma)
    ]
    return sorted(points, key=lambda point: point.x)
