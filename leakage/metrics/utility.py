"""What a defense costs: accuracy, and its loss on the same records, with 95% intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from leakage.errors import LeakageError
from leakage.metrics.intervals import LEVEL, Draws, Estimate, Floats, Ints
from leakage.metrics.jackknife import variance_of_mean

Bools = NDArray[np.bool_]

_FEW = 10  # units, below which the reader is told how few they are


def accuracy(hits: Bools, units: Ints) -> Estimate:
    """The share of records whose label is predicted, in [0, 1], with its 95% interval.

    Wilson's (1927) score interval: all shares p' with |p - p'| <= z sqrt(p' (1 - p') / N). Where
    units hold several records, N is the number of independent records that would have the
    variance V of the ratio of the units' hits to their records (Korn & Graubard 1998), and z
    Student's quantile with U-1 degrees of freedom::

        N_eff = p (1 - p) / V      V = U / (U-1) sum_u (sum_{t of u} (h_t - p) / N)^2

    It is at most N, and U where all records are right or all are wrong. Coverage at p = .5 to .95:
    .94 to .96 for N = 200 to 3000; with 1 to 5 records a unit .93 to .98 from 20 units on; with 1
    to 39, whose mistakes are then of few units, .91 to .95 for 20 to 200 units, and .80 to .92 at
    p = .95.

    Args:
        hits: whether the label of each record is predicted, (N,).
        units: of each record, (N,).
    """
    _check(hits, units)
    if not len(hits):
        return _NOTHING
    p = float(hits.mean())
    sample = _sample(hits.astype(np.float64), p * (1 - p), units)
    if sample.reason:
        return Estimate(p, np.nan, np.nan, len(hits), sample.units, sample.reason)
    square = sample.quantile**2 / sample.size
    centre = (p + square / 2) / (1 + square)
    reach = float(np.sqrt(square * (p * (1 - p) + square / 4))) / (1 + square)
    low, high = (0.0 if p == 0 else centre - reach), (1.0 if p == 1 else centre + reach)
    notes = [*(["one-sided"] if p in (0, 1) else []), *sample.notes]
    return Estimate(p, low, high, len(hits), sample.units, "; ".join(notes))


def accuracy_loss(none: Bools, hits: Bools, units: Ints) -> Estimate:
    """The accuracy without a defense less that with it, in [-1, 1], and its paired 95% interval.

    Tango's (1998) score interval for paired shares: all losses d with::

        |b - c - d| <= z sqrt((2 q + d (1 - d)) / N)

    where b is the share of records that are predicted without the defense alone, c with it
    alone, and q the maximum likelihood share of the latter among those with b - c = d. Where no
    record tells the two runs apart it still reaches z^2 / (N + z^2) to either side. Where units
    hold several records, N and z are those of `accuracy`.

    Coverage, N = 200 to 3000: .94 to .97 where 4 or more records are expected to differ (.93 at
    6), .97 to 1 below; with 1 to 5 records a unit .93 to 1 from 20 units on; with 1 to 39, .90 to
    .99.

    Args:
        none: whether the run without a defense predicts the label of each record, (N,).
        hits: whether the run with it does, (N,), on the same records.
        units: of each record, (N,).
    """
    _check(none, units)
    _check(hits, units)
    if not len(hits):
        return _NOTHING
    change = none.astype(np.float64) - hits
    b, c = float((change > 0).mean()), float((change < 0).mean())
    sample = _sample(change, b + c - (b - c) ** 2, units)
    if sample.reason:
        return Estimate(b - c, np.nan, np.nan, len(hits), sample.units, sample.reason)
    low, high = _least_loss(b, c, sample), -_least_loss(c, b, sample)  # the two runs exchanged
    return Estimate(b - c, low, high, len(hits), sample.units, "; ".join(sample.notes))


_NOTHING = Estimate(np.nan, np.nan, np.nan, 0, 0, "undefined: there is no record")


@dataclass(frozen=True)
class _Sample:
    """How much a mean over records tells: independent records, and the quantile that goes with."""

    size: float
    quantile: float
    units: int
    reason: str = ""

    @property
    def notes(self) -> list[str]:
        return [f"few units: {self.units}"] if self.units < _FEW else []


def _sample(values: Floats, variance: float, units: Ints) -> _Sample:
    """The sample behind the mean of values (N,), whose population variance is given."""
    _, index, sizes = np.unique(units, return_inverse=True, return_counts=True)
    n, m = len(values), len(sizes)
    if m == n:
        return _Sample(n, float(stats.norm.ppf((1 + LEVEL) / 2)), m)
    draws = Draws(index[:, None], np.zeros(m, dtype=np.int64), clustered=True)
    found = variance_of_mean(values, np.zeros(n, dtype=np.int64), draws)
    if found.reason:
        return _Sample(0, np.nan, m, found.reason)
    quantile = float(stats.t.ppf((1 + LEVEL) / 2, found.freedom))
    if variance < 1e-15:  # all records agree, and perhaps only within their units
        return _Sample(m, quantile, m)
    # Records of one unit that differ from each other would else tell more than strangers do.
    return _Sample(variance / max(found.value, variance / n), quantile, m)


def _least_loss(b: float, c: float, sample: _Sample) -> float:
    """Tango's lower limit."""

    def excess(d: float) -> float:  # falls from above 0 at -1, and is below it at b - c
        linear = (2 - b + c) * d - b - c
        q = (np.sqrt(max(0.0, linear**2 + 8 * c * d * (1 - d))) - linear) / 4
        spread = max(0.0, (2 * q + d * (1 - d)) / sample.size)
        return float(b - c - d - sample.quantile * np.sqrt(spread))

    # Without spread, b - c itself has no excess either, and is not the limit.
    return float(optimize.brentq(excess, -1.0, b - c - 1e-12, xtol=1e-14))


def _check(hits: Bools, units: Ints) -> None:
    if hits.dtype != np.bool_ or hits.ndim != 1 or units.shape != hits.shape:
        raise LeakageError(
            "the accuracy takes hits (N,) of bool and units (N,), got shapes"
            f" {hits.shape} of {hits.dtype} and {units.shape}"
        )
