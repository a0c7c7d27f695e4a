"""Figures of a report: alone, along a setting, against utility, over seeds, side by side."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure with its interval.

    Args:
        value: None where it is undefined.
        low: lower limit; None where there is none.
        high: upper limit; None where there is none.
        note: what the reader has to know.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Point:
    """One place of a curve.

    Args:
        x: where.
        figure: what was found there; of several runs, which differ in the seed, their mean.
        runs: the names of the runs.
    """

    x: float
    figure: Figure
    runs: list[str]


@dataclass(frozen=True)
class Curve:
    """One figure against one setting, all else equal.

    Args:
        against: the setting: `round`, `k`, `clients`, `shadow_batches`, `sigma`, ...
        metric: `auroc`, `gain`, `bits`, `epsilon`, ...
        label: whose: secret, defense and knowledge, as far as they differ in the report.
        baseline: whether it is that of the best guess without gradients.
        points: in the order of x.
    """

    against: str
    metric: str
    label: str
    baseline: bool
    points: list[Point]


@dataclass(frozen=True)
class Tradeoff:
    """A defense on the plane of utility and gain.

    Args:
        runs: the name of the run; of several, which differ in the seed, all of them.
        label: the defense, and the secret where several are asked for.
        utility: accuracy on held-out records where there is one, else the metric of that name.
        metric: its name.
        gain: of the strongest adversary.
        best: whether no other run of the same data and rules of the game has more utility and less
            gain.
    """

    runs: list[str]
    label: str
    utility: Figure
    metric: str
    gain: Figure
    best: bool


@dataclass(frozen=True)
class Spread:
    """One figure of runs that differ in the seed alone.

    Args:
        label: what the runs are about, as far as that differs in the report.
        metric: `auroc`, `gain`, `bits` of the strongest adversary, or that of the utility.
        mean: with the interval for what another seed is expected to give.
        least: of the runs.
        most: of the runs.
        runs: their names.
        place: the round or rounds that it is about, in words; empty of utility.
    """

    label: str
    metric: str
    mean: Figure
    least: float
    most: float
    runs: list[str]
    place: str = ""


@dataclass(frozen=True)
class Difference:
    """Two runs side by side, or two configs of which each was run with the same seeds.

    Args:
        one: the name of a run; of several, which differ in the seed, all of them.
        other: that of another one; as many, seed by seed.
        metric: `auroc`, `gain`, `test_accuracy`, ...
        figure: one less the other, with its interval; of several seeds, the mean.
        paired: whether all intervals are of the same trials or records.
        note: what else differs between the two.
        place: the round or rounds that it is about, in words; empty of utility.
    """

    one: list[str]
    other: list[str]
    metric: str
    figure: Figure
    paired: bool
    note: str = ""
    place: str = ""
