"""Intervals over trials that share units: the infinitesimal jackknife (Wager et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special, stats

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
    """

    units: Ints
    pools: Ints

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

    def take(self, rows: NDArray[Any]) -> Draws:
        """The draws of some trials: a mask (n,) or their indices."""
        return Draws(self.units[rows], self.pools)

    def distinct(self) -> int:
        """The number of distinct units drawn."""
        return int(np.count_nonzero(np.bincount(self.units[self.units >= 0])))


@dataclass(frozen=True)
class Variance:
    """The variance of a figure, and what its limits need besides.

    Args:
        value: the variance; nan where it is refused.
        batches: independent observations at the least: the smallest, over strata, of the trials
            and of the disjoint batches that each pool allows.
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


def jackknife_variance(contributions: Floats, draws: Draws, strata: Ints | None = None) -> Variance:
    """Variance of the sum over strata of the mean contribution, over trials that share units.

    Per stratum of T trials c_t and pool of N units, with n_tu the count of unit u in trial t,
    K_t = sum_u n_tu and q_t = sum_u (n_tu - K_t/N)^2, both within the pool::

        s_u = mean_t (n_tu - K_t/N) (c_t - mean c)        f = (N-1)/N (mean K / mean q)^2
        V = sum_pools max(0, sum_u (sum_strata sqrt(f) s_u)^2
                             - sum_strata f sum_t q_t (c_t - mean c)^2 / (T (T-1)))
            + sum_strata var(c)/T

    With k units of one pool in each trial, f is (N-1)/N (N/(N-k))^2. The sum over strata stands
    inside the square, since the strata of one figure may draw from the same pool. The correction
    is the part of sum s_u^2 that is noise of the trials.

    Args:
        contributions: (n,) c_t, such as correct or not, or a placement.
        draws: the units of the same n trials.
        strata: (n,) such as the class of each trial; one stratum where left out.

    Returns:
        The variance; refused where a stratum has one trial, or where a trial draws on average
        more than a quarter of the (distinct) units of some pool.
    """
    strata = np.zeros(len(contributions), dtype=np.int64) if strata is None else strata
    sizes = np.bincount(draws.pools).astype(np.float64)  # (pools,)
    counts = _counts(draws)  # (n, U)
    member = sparse.csr_array(
        (np.ones(len(draws.pools)), (np.arange(len(draws.pools)), draws.pools)),
        shape=(len(draws.pools), len(sizes)),
    )
    influence = np.zeros(len(draws.pools))
    noise = np.zeros(len(sizes))
    trial_part, batches, freedom = 0.0, len(contributions), len(draws.pools) - 1
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        trials = len(rows)
        if trials < 2:
            return Variance(np.nan, reason=f"no interval: class {stratum} has {trials} trial")
        n_tu = counts[rows]
        drawn = np.asarray((n_tu @ member).todense(), dtype=np.float64)  # (T, pools)
        squares = np.asarray((n_tu.multiply(n_tu) @ member).todense(), dtype=np.float64)
        k = np.asarray(((n_tu > 0).astype(np.float64) @ member).sum(axis=0)).ravel() / trials
        for pool in np.flatnonzero(k > sizes / 4):
            return Variance(np.nan, reason=_refusal(int(pool), int(sizes[pool]), k[pool]))
        used = k > 0
        batches = min(batches, trials, int((sizes[used] / k[used]).min(initial=trials) + 1e-9))
        freedom = min(freedom, int(sizes[used].min(initial=trials)) - 1)

        centred = contributions[rows] - contributions[rows].mean()
        s = n_tu.T @ centred / trials
        s -= (np.bincount(draws.pools, s) / np.maximum(sizes, 1))[draws.pools]
        spread = squares - drawn**2 / np.maximum(sizes, 1)  # q_t, (T, pools)
        factor = np.zeros(len(sizes))  # sqrt(f)
        factor[used] = drawn.mean(axis=0)[used] / spread.mean(axis=0)[used]
        factor[used] *= np.sqrt((sizes[used] - 1) / sizes[used])
        influence += factor[draws.pools] * s
        noise += factor**2 * (centred**2 @ spread) / (trials * (trials - 1))
        trial_part += float(centred @ centred) / (trials * (trials - 1))
    unit_part = np.bincount(draws.pools, influence**2) - noise
    return Variance(float(np.maximum(unit_part, 0).sum()) + trial_part, batches, freedom)


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
    reach = float(stats.t.ppf((1 + LEVEL) / 2, variance.freedom)) * float(np.sqrt(variance.value))
    ends = special.logit(value) + np.array([-reach, reach]) / (value * (1 - value))
    low, high = special.expit(ends).tolist()
    if value - reach <= 0 or value + reach >= 1:
        low, high = 0.0 if value - reach <= 0 else low, 1.0 if value + reach >= 1 else high
        note = _join(note, "one-sided")
    return Estimate(value, low, high, n, units, note)


def estimate_difference(value: float, variance: Variance, n: int, units: int) -> Estimate:
    """A difference of two shares, in [-1, 1], with its symmetric 95% interval, cut to the range."""
    if variance.reason:
        return Estimate(value, np.nan, np.nan, n, units, variance.reason)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, variance.freedom)) * float(np.sqrt(variance.value))
    if variance.value < 1e-15:  # no trial tells the two apart
        reach = certain_error(variance.batches)
    return Estimate(value, max(-1.0, value - reach), min(1.0, value + reach), n, units)


def certain_error(batches: int) -> float:
    """Upper 95% limit of the error where m independent batches show none: 1 - .05 ** (1/m).

    >>> round(certain_error(100), 4)
    0.0295
    """
    return float(1 - (1 - LEVEL) ** (1 / max(1, batches)))


def _counts(draws: Draws) -> Any:
    """The sparse table n_tu, (n, U)."""
    rows, columns = np.nonzero(draws.units >= 0)
    entries = (np.ones(len(rows)), (rows, draws.units[rows, columns]))
    return sparse.csr_array(entries, shape=(len(draws.units), len(draws.pools)))


def _refusal(pool: int, size: int, k: float) -> str:
    return (
        f"no interval: a trial draws on average {k:.4g} of the {size} units of pool {pool}, "
        "allowed is a quarter of them"
    )


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
