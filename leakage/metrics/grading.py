"""The truth of a game, and the figures that it gives a posterior."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from leakage.adversaries.posterior import Answer
from leakage.metrics.attack import (
    advantage,
    asr,
    balanced_accuracy,
    bits,
    by_class,
    top,
    worst_class,
)
from leakage.metrics.exposure import Exposure, apart, exposed
from leakage.metrics.intervals import Draws, Estimate, Floats, Ints
from leakage.metrics.ordinal import median_error, ranked_probability_score
from leakage.metrics.posteriors import log_odds
from leakage.metrics.ranking import auroc, gain, tpr_at_fpr

_FEW = 5  # candidates among whom a secret is found
_SHOWN = 10  # most exposed units


@dataclass(frozen=True)
class Truth:
    """What no adversary sees: the secret and the records of each trial.

    Args:
        values: the secret of each trial, (n,).
        prior: P(a), (c,).
        pools: of each unit of the challenge split, the pool it is drawn from, (U,).
        levels: the number that each value stands for, where the secret is a quantity.
        clustered: whether each trial is of one unit alone, and the units are the sample.
        aimed: whether the first unit of a trial is the one that it is about.
    """

    values: Ints
    prior: Floats
    pools: Ints
    levels: tuple[float, ...] = ()
    clustered: bool = False
    aimed: bool = False

    def draws(self, units: Ints) -> Draws:
        """The units of each trial, (n, k), with what the truth knows of them."""
        return Draws(units, self.pools, self.clustered)


def grade(
    answer: Answer, truth: Truth, units: Ints, baseline: Answer | None
) -> dict[str, Estimate]:
    """All figures of one answer.

    Args:
        answer: what is graded.
        truth: the truth.
        units: of each trial the units that it drew, (n, k).
        baseline: what the gain is over; none for a baseline itself.

    Returns:
        By metric. `bits` is max(0, .) of `bits_raw`. `tpr_at_1fpr` and `fpr_at_1fpr` (attained)
        are there for two values and with enough calibrate batches alone, `gain` with a baseline,
        `mae` and `rps` where the secret is a quantity, `top5` with more values than five.
    """
    draws = truth.draws(units)
    log_posterior, values = answer.log_posterior, truth.values
    posterior = np.exp(log_posterior)
    success = asr(posterior, values, draws)
    raw = bits(log_posterior, values, truth.prior, draws)
    figures = {
        "auroc": auroc(answer.ranking, values, draws),
        "asr": success,
        "balanced_accuracy": balanced_accuracy(posterior, values, draws),
        "worst_class": worst_class(posterior, values, draws),
        "advantage": advantage(success, truth.prior),
        "bits": replace(raw, value=max(0.0, raw.value), low=_floor(raw.low)),
        "bits_raw": raw,
    }
    if log_posterior.shape[1] == 2:
        rates = tpr_at_fpr(
            log_odds(answer.calibrate, 1),
            answer.calibrate_values,
            log_odds(answer.ranking, 1),
            values,
            draws,
            fpr=0.01,
        )
        if rates is not None:
            figures["tpr_at_1fpr"], figures["fpr_at_1fpr"] = rates
    if truth.levels:
        figures["mae"] = median_error(log_posterior, values, truth.levels, draws)
        figures["rps"] = ranked_probability_score(log_posterior, values, truth.levels, draws)
    if log_posterior.shape[1] > _FEW:
        figures[f"top{_FEW}"] = top(posterior, values, draws, _FEW)
    if baseline is not None:
        figures["gain"] = gain(answer.ranking, baseline.ranking, values, draws)
    return figures


def grade_by_class(answer: Answer, truth: Truth, units: Ints) -> dict[int, Estimate]:
    """The share of right trials of each value of the secret; arguments as in `grade`."""
    return by_class(np.exp(answer.log_posterior), truth.values, truth.draws(units))


def grade_by_unit(answer: Answer, truth: Truth, units: Ints) -> list[Exposure]:
    """The most exposed units, the worst first; arguments as in `grade`.

    The share of right trials of each; where units are the users that are asked for, the AUROC of
    each against the rest: who is always answered is right in all its trials, and not exposed.
    """
    if truth.clustered:
        return apart(answer.ranking, truth.values, units[:, 0], _SHOWN)
    about = units[:, :1] if truth.aimed else units
    return exposed(answer.log_posterior, truth.values, truth.prior, about, _SHOWN)


def _floor(limit: float) -> float:
    return limit if np.isnan(limit) else max(0.0, limit)
