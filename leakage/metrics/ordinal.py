"""Figures of a secret that is a quantity, such as the share of a group, in units of its levels."""

from __future__ import annotations

import numpy as np
from scipy import stats

from leakage.errors import LeakageError
from leakage.metrics.intervals import Draws, Estimate, Floats, Ints, estimate_mean
from leakage.metrics.jackknife import variance_of_mean
from leakage.metrics.posteriors import check_log_posterior, check_prior


def median_error(
    log_posterior: Floats, truth: Ints, levels: tuple[float, ...], draws: Draws
) -> Estimate:
    """Mean absolute error of the posterior's median, in [0, levels[-1] - levels[0]].

    The median is the least level at which the cumulative posterior reaches 1/2 (less 1e-9).

    Args:
        log_posterior: (n, c), natural logarithm.
        truth: (n,) index of the level.
        levels: c numbers, ascending.
        draws: the units of each trial.
    """
    ladder = _ladder(levels, log_posterior, truth, draws)
    reached = np.exp(log_posterior).cumsum(axis=1) >= 0.5 - 1e-9  # (n, c)
    return _mean(np.abs(ladder[reached.argmax(axis=1)] - ladder[truth]), truth, ladder, draws)


def ranked_probability_score(
    log_posterior: Floats, truth: Ints, levels: tuple[float, ...], draws: Draws
) -> Estimate:
    """Mean ranked probability score (Epstein 1969), in [0, levels[-1] - levels[0]]; 0 is certainty.

    Each threshold weighs as the gap above it, so that the score is the continuous one, integral
    of (F(x) - 1[x >= a])^2 dx, of the posterior on the levels (Murphy 1971 weighs all alike). It
    is proper: no answer has a lower mean than the true posterior. Args as in `median_error`.
    """
    ladder = _ladder(levels, log_posterior, truth, draws)
    below = np.exp(log_posterior).cumsum(axis=1)[:, :-1]  # F, (n, c-1)
    step = np.arange(len(ladder) - 1) >= truth[:, None]  # 1[x >= a]
    return _mean((below - step) ** 2 @ np.diff(ladder), truth, ladder, draws)


def composition_ceiling(levels: tuple[float, ...], k: int, prior: Floats) -> float:
    """The best success rate where each of k records is a holder with chance a, in [max P(a), 1].

    sum_h max_a P(a) Bin(h; k, a): whoever sees the number h of holders itself does no better.

    Args:
        levels: c chances a, ascending, in [0, 1].
        k: records a batch, at least 1.
        prior: P(a), (c,).

    >>> quarters = (0.0, 0.25, 0.5, 0.75, 1.0)
    >>> [round(composition_ceiling(quarters, k, np.full(5, 0.2)), 3) for k in (1, 4, 8, 16, 64)]
    [0.4, 0.644, 0.774, 0.878, 0.986]
    """
    chances = _ascending(levels, len(levels))
    check_prior(prior, len(levels))
    if k < 1 or chances[0] < 0 or chances[-1] > 1:
        raise LeakageError(
            f"composition_ceiling takes k of at least 1 and levels in [0, 1], got {k} and {levels}"
        )
    joint = prior * stats.binom.pmf(np.arange(k + 1)[:, None], k, chances)  # (k+1, c)
    return float(joint.max(axis=1).sum())


def _mean(scores: Floats, truth: Ints, ladder: Floats, draws: Draws) -> Estimate:
    """The mean of scores (n,) from 0 to the range of the levels."""
    variance, span = variance_of_mean(scores, truth, draws), float(ladder[-1] - ladder[0])
    return estimate_mean(float(scores.mean()), variance, len(truth), draws.distinct(), 0.0, span)


def _ladder(levels: tuple[float, ...], log_posterior: Floats, truth: Ints, draws: Draws) -> Floats:
    """The levels (c,) of a posterior (n, c), both checked."""
    check_log_posterior("log_posterior", log_posterior, truth, draws)
    return _ascending(levels, log_posterior.shape[1])


def _ascending(levels: tuple[float, ...], c: int) -> Floats:
    ladder = np.array(levels, dtype=np.float64)
    if len(ladder) != c or not np.isfinite(ladder).all() or not (np.diff(ladder) > 0).all():
        raise LeakageError(f"levels are to be {c} finite numbers that ascend, got {levels}")
    return ladder
