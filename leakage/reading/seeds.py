"""Runs that differ in nothing but the seed: their figures as one mean, with its own interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from leakage.reading.figures import Figure, Spread
from leakage.reading.guessers import strongest_in, value_of
from leakage.reading.labels import Labels
from leakage.reading.limits import LEVEL, quantile
from leakage.reading.runs import Files, utility_of
from leakage.reading.schema import Guesser, Run
from leakage.reading.settings import rest_of, settings_of
from leakage.reading.told import RANGES

Range = tuple[float, float]
_RANGES = RANGES | {"bits": (0.0, math.inf)}  # what is meant; an estimate may be less
_TOLD = ("auroc", "gain", "bits")
_SHARES = ("_accuracy", "_acc")  # how the names of utilities in [0, 1] end


def alike(runs: Sequence[Files]) -> list[list[Files]]:
    """Runs in groups that only the seed tells apart, each seed once, in the order of their first.

    Args:
        runs: of the report. In a group of its own stands one that comes again with the same seed,
            which is no further sample; one that has not come as far as others; and one without a
            config, of whose model nothing is known.
    """
    groups: dict[tuple[str, int, object], list[Files]] = {}
    seen: Counter[str] = Counter()
    for number, files in enumerate(runs):
        settings = settings_of(files)
        again = seen[rest_of(settings)]
        seen[rest_of(settings)] += 1
        last = max((guesser.round for guesser in files.run.guessers), default=None)
        place = last if files.config else f"run {number}"
        groups.setdefault((rest_of(settings, "seed"), again, place), []).append(files)
    return list(groups.values())


def mean_of(figures: Sequence[Figure], within: Range) -> Figure:
    """The mean over seeds, with a 95% interval for what another seed is expected to give.

    That of Student's t over the seeds, each of them one draw of the training, of what the
    adversary learns from and of the trials, on the same data; but no narrower than the intervals
    of the runs leave their mean, as if they were independent (MOVER, Zou & Donner 2008), since
    figures at the edge of what is possible hardly differ. Simulated coverage: .95 to .99.

    Args:
        figures: of one and the same metric, one a seed.
        within: the least and the largest value that it can have.

    Returns:
        The figure itself where there is one seed; without a value where one of them has none.
    """
    if len(figures) == 1:
        return figures[0]
    n, values = len(figures), [math.nan if f.value is None else f.value for f in figures]
    note = f"mean of {n} seeds"
    mean = float(np.mean(values))
    if math.isnan(mean):
        return Figure(None, note=f"{note}, of which some have no figure")
    reach = quantile(1 - LEVEL, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    below = max(reach, _left(values, [figure.low for figure in figures]))
    above = max(reach, _left(values, [figure.high for figure in figures]))
    if not below and not above:
        return Figure(mean, note=f"{note}, which do not differ: no interval")
    low, high = max(within[0], mean - below), min(within[1], mean + above)
    if all(figure.low is not None and figure.high is None for figure in figures):
        return Figure(mean, low, None, f"{note}, each with a lower limit alone")
    return Figure(mean, low, high, note)


def _left(values: Sequence[float], limits: Sequence[float | None]) -> float:
    """How far the limits of all figures on one side leave their mean; 0 where one has none."""
    apart = [
        value - limit for value, limit in zip(values, limits, strict=True) if limit is not None
    ]
    return math.hypot(*apart) / len(values) if len(apart) == len(values) else 0.0


def range_of(metric: str) -> Range:
    """The least and the largest value of a metric."""
    return (0.0, 1.0) if metric.endswith(_SHARES) else _RANGES.get(metric, (-math.inf, math.inf))


def strongest_of_seeds(runs: Sequence[Run]) -> list[Guesser]:
    """The strongest adversary of each run, all in one place: alone or together.

    The place is that of the largest mean gain; nothing where it is in no run, or not in all.

    Args:
        runs: that differ in the seed alone.
    """
    places: list[list[Guesser]] = []
    for rounds in ("alone", "sum"):
        found = [strongest_in(run.guessers, rounds) for run in runs]
        there = [guesser for guesser in found if guesser is not None]
        places += [there] if len(there) == len(runs) else []
    return max(places, key=lambda some: sum(value_of(g, "gain") for g in some), default=[])


def spreads_of(runs: Sequence[Files], labels: Labels) -> Iterator[Spread]:
    """The figures of the strongest adversary and the utility, over the seeds of each group.

    Args:
        runs: as they were read.
        labels: of the runs.
    """
    for group in alike(runs):
        if len(group) < 2:
            continue
        some = [files.run for files in group]
        label, names = labels.of(some[0], "seed"), [run.name for run in some]
        best = strongest_of_seeds(some)
        place = best[0].when if best else ""
        told = [(name, place, [g.figures.get(name) for g in best]) for name in _TOLD if best]
        worths = [dict([useful]) if (useful := utility_of(run)) else {} for run in some]
        told += [(name, "", [worth.get(name) for worth in worths]) for name in worths[0]]
        for metric, where, found in told:
            figures = [figure for figure in found if figure is not None]
            values = [figure.value for figure in figures if figure.value is not None]
            if values and len(figures) == len(some):
                mean = mean_of(figures, range_of(metric))
                yield Spread(label, metric, mean, min(values), max(values), names, where)
