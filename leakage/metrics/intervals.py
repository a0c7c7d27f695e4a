"""Figures with their 95% limits, and which units each trial drew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from leakage.errors import LeakageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval.

    A figure that does not exist is nan with a note "undefined: ..."; an interval that is refused
    has low and high nan, and the note says why. Beside an edge of the range the interval is
    one-sided (the other limit is the edge), and the note says so.

    Args:
        value: the figure.
        low: lower limit.
        high: upper limit.
        n: trials that the figure rests on.
        units: distinct units (users or records) that those trials drew.
        note: what the reader has to know, or nothing.
    """

    value: float
    low: float
    high: float
    n: int
    units: int
    note: str = ""


@dataclass(frozen=True)
class Draws:
    """Which units each trial drew.

    Args:
        units: (n, k) ids in 0..U-1; -1 is padding, an id that occurs twice counts twice.
        pools: (U,) the pool of each unit, from 0 (such as its class of the trait). The units of
            one pool are exchangeable: a trial draws each with the same chance.
        clustered: each trial draws one unit alone, and the units are the sample: a t-interval
            over them, in place of the jackknife over pools.
    """

    units: Ints
    pools: Ints
    clustered: bool = False

    def __post_init__(self) -> None:
        if self.units.ndim != 2 or self.pools.ndim != 1:
            shapes = f"{self.units.shape} and {self.pools.shape}"
            raise LeakageError(f"Draws takes units (n, k) and pools (U,), got shapes {shapes}")
        if self.units.size and not -1 <= self.units.min() <= self.units.max() < len(self.pools):
            found = f"{self.units.min()}..{self.units.max()}"
            allowed = f"-1 (padding) to {len(self.pools) - 1}"
            raise LeakageError(f"Draws.units holds ids {found}, allowed are {allowed}")
        if self.pools.size and self.pools.min() < 0:
            raise LeakageError(f"Draws.pools are numbered from 0, got {self.pools.min()}")
        if self.clustered:
            unit = self.unit()[:, None]
            off = int(((unit < 0) | ((self.units != unit) & (self.units >= 0))).any(axis=1).sum())
            if off:
                raise LeakageError(
                    f"Draws.clustered takes trials that each draw one unit alone, but {off} of "
                    f"{len(self.units)} draw none or several"
                )

    def take(self, rows: NDArray[Any]) -> Draws:
        """The draws of some trials: a mask (n,) or their indices."""
        return Draws(self.units[rows], self.pools, self.clustered)

    def unit(self) -> Ints:
        """The unit of each trial, (n,), where each draws one alone."""
        return np.asarray(self.units.max(axis=1, initial=-1), dtype=np.int64)

    def distinct(self) -> int:
        """The number of distinct units drawn."""
        return int(np.count_nonzero(np.bincount(self.units[self.units >= 0])))


@dataclass(frozen=True)
class Variance:
    """The variance of a figure, and what its limits need besides.

    Args:
        value: the variance; nan where it is refused.
        batches: independent observations at the least: the smallest, over strata, of the trials
            and of the disjoint batches that each pool allows; where units are the sample, units.
        freedom: degrees of freedom: the smallest pool drawn from or stratum, less one.
        reason: why it is refused, or nothing.
    """

    value: float
    batches: int = 0
    freedom: int = 0
    reason: str = ""

    def plus(self, extra: float) -> Variance:
        """The same with an independent part added."""
        return Variance(self.value + extra, self.batches, self.freedom, self.reason)

    def reach(self, quantile: float = (1 + LEVEL) / 2) -> float:
        """Student's quantile times the standard error."""
        return float(stats.t.ppf(quantile, self.freedom)) * float(np.sqrt(self.value))


def estimate_share(
    value: float, variance: Variance, n: int, units: int, note: str = ""
) -> Estimate:
    """A figure in [0, 1] with its 95% interval.

    Symmetric on the scale of the logit, on which the standard error is sqrt(V) / (value
    (1 - value)), with Student's quantile (Pepe 2003). Where value +- quantile sqrt(V) would leave
    [0, 1], the limit at that edge is the edge itself. At an edge, with m disjoint batches, the
    other limit is one-sided, .05 ** (1/m) at 1. Simulated coverage with 500 units a class, 16 a
    batch, 4000 trials: .95 for AUROC .76 to .998, .93 at .9995; .88 at .9999 with 4, 2000.
    """
    if variance.reason:
        return Estimate(value, np.nan, np.nan, n, units, _join(note, variance.reason))
    slack = certain_error(variance.batches)
    if value in (0.0, 1.0):
        low, high = (1 - slack, 1.0) if value == 1 else (0.0, slack)
        return Estimate(value, low, high, n, units, _join(note, "one-sided"))
    if variance.value < 1e-15:  # each class wholly right or wholly wrong
        low, high = max(0.0, value - slack), min(1.0, value + slack)
        return Estimate(value, low, high, n, units, note)
    reach = variance.reach()
    ends = special.logit(value) + np.array([-reach, reach]) / (value * (1 - value))
    low, high = special.expit(ends).tolist()
    if value - reach <= 0 or value + reach >= 1:
        low, high = 0.0 if value - reach <= 0 else low, 1.0 if value + reach >= 1 else high
        note = _join(note, "one-sided")
    return Estimate(value, low, high, n, units, note)


def estimate_mean(
    value: float, variance: Variance, n: int, units: int, low_edge: float, high_edge: float
) -> Estimate:
    """A mean of scores in [low_edge, high_edge], with its symmetric 95% interval, cut to them.

    Where no trial differs from the others, m disjoint batches leave open that a share
    1 - .05 ** (1/m) of the trials lies at an edge.
    """
    if variance.reason:
        return Estimate(value, np.nan, np.nan, n, units, variance.reason)
    span = high_edge - low_edge
    varies = variance.value >= 1e-15 * span**2
    reach = variance.reach() if varies else certain_error(variance.batches) * span
    low, high = max(low_edge, value - reach), min(high_edge, value + reach)
    note = "one-sided" if low == low_edge or high == high_edge else ""
    return Estimate(value, low, high, n, units, note)


def estimate_difference(first: Estimate, second: Estimate, correlation: float) -> Estimate:
    """First less second with its 95% interval, from the limits of both (Zou & Donner 2008).

    MOVER, with r the correlation of the two and each limit as far off as it is on that side::

        low  = d - sqrt((x - x_low)^2 + (y_high - y)^2 - 2 r (x - x_low) (y_high - y))
        high = d + sqrt((x_high - x)^2 + (y - y_low)^2 - 2 r (x_high - x) (y - y_low))

    So d stays within [x_low - y_high, x_high - y_low], and a second without width shifts the
    limits of the first by its value.

    >>> found = estimate_difference(Estimate(.9, .7, 1, 9, 9), Estimate(.5, .5, .5, 9, 9), 0)
    >>> round(found.low, 9), round(found.high, 9)
    (0.2, 0.5)
    """
    value = first.value - second.value
    low = _apart(first.value - first.low, second.high - second.value, correlation)
    high = _apart(first.high - first.value, second.value - second.low, correlation)
    return replace(first, value=value, low=value - low, high=value + high, note="")


def certain_error(batches: int) -> float:
    """Upper 95% limit of the error where m independent batches show none: 1 - .05 ** (1/m).

    >>> round(certain_error(100), 4)
    0.0295
    """
    return float(1 - (1 - LEVEL) ** (1 / max(1, batches)))


def _apart(x: float, y: float, correlation: float) -> float:
    return float(np.sqrt(max(0.0, x * x + y * y - 2 * correlation * x * y)))


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
