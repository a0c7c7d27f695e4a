"""The truth of a game, and the figures that it gives a posterior."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from leakage.adversaries.posterior import Answer
from leakage.metrics.attack import advantage, asr, balanced_accuracy, bits, worst_class
from leakage.metrics.intervals import Draws, Estimate, Floats, Ints
from leakage.metrics.posteriors import log_odds
from leakage.metrics.ranking import auroc, gain, tpr_at_fpr


@dataclass(frozen=True)
class Truth:
    """What no adversary sees: the secret and the records of each trial.

    Args:
        values: the secret of each trial, (n,).
        prior: P(a), (c,).
        pools: of each unit of the challenge split, the pool it is drawn from, (U,).
    """

    values: Ints
    prior: Floats
    pools: Ints


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
        are there for two values and with enough calibrate batches alone, `gain` with a baseline.
    """
    draws = Draws(units, truth.pools)
    log_posterior, values = answer.log_posterior, truth.values
    posterior = np.exp(log_posterior)
    success = asr(posterior, values, draws)
    raw = bits(log_posterior, values, truth.prior, draws)
    figures = {
        "auroc": auroc(log_posterior, values, draws),
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
            log_odds(log_posterior, 1),
            values,
            draws,
            fpr=0.01,
        )
        if rates is not None:
            figures["tpr_at_1fpr"], figures["fpr_at_1fpr"] = rates
    if baseline is not None:
        figures["gain"] = gain(log_posterior, baseline.log_posterior, values, draws)
    return figures


def _floor(limit: float) -> float:
    return limit if np.isnan(limit) else max(0.0, limit)
