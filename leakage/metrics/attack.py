"""Shares of trials that an adversary gets right, and the bits that it gets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats

from leakage.errors import LeakageError
from leakage.metrics.information import entropy_bits, information_floor
from leakage.metrics.intervals import (
    LEVEL,
    Draws,
    Estimate,
    Floats,
    Ints,
    Variance,
    certain_error,
    estimate_share,
    jackknife_variance,
)
from leakage.metrics.posteriors import check_log_posterior, check_posterior


def asr(posterior: Floats, truth: Ints, draws: Draws) -> Estimate:
    """Attack success rate: the share of trials whose most likely value is the secret, in [0, 1].

    Values that tie for the most likely share the trial, as under a random choice among them.

    Args:
        posterior: (n, c).
        truth: (n,) the secret of each trial.
        draws: the units of each trial.
    """
    check_posterior("posterior", posterior, truth, draws)
    correct = _correct(posterior, truth)
    variance = _variance_of_mean(correct, truth, draws)
    return estimate_share(float(correct.mean()), variance, len(truth), draws.distinct())


def balanced_accuracy(posterior: Floats, truth: Ints, draws: Draws) -> Estimate:
    """The mean over classes of the share of their trials that are right, in [0, 1].

    Args and ties as in `asr`. A class without a trial is left out and named in the note.
    """
    check_posterior("posterior", posterior, truth, draws)
    correct = _correct(posterior, truth)
    present = np.unique(truth)
    value = float(np.mean([correct[truth == a].mean() for a in present]))
    variance = jackknife_variance(correct / len(present), draws, truth)
    note = absent_note(truth, posterior.shape[1])
    return estimate_share(value, variance, len(truth), draws.distinct(), note)


def worst_class(posterior: Floats, truth: Ints, draws: Draws) -> Estimate:
    """The lowest share of right trials over the classes, in [0, 1]; the note names the class.

    Args and ties as in `asr`. The interval is that of the class named; it does not account for
    its being the lowest of several.
    """
    check_posterior("posterior", posterior, truth, draws)
    correct = _correct(posterior, truth)
    shares = {int(a): float(correct[truth == a].mean()) for a in np.unique(truth)}
    worst = min(shares, key=lambda a: shares[a])
    rows = truth == worst
    variance = jackknife_variance(correct[rows], draws.take(rows), truth[rows])
    note = "; ".join(filter(None, [f"class {worst}", absent_note(truth, posterior.shape[1])]))
    units = draws.take(rows).distinct()
    return estimate_share(shares[worst], variance, int(rows.sum()), units, note)


def advantage(success: Estimate, prior: Floats) -> Estimate:
    """What the success rate adds to guessing, (ASR - p)/(1 - p) with p = max_a P(a).

    It is 0 for the best guess without gradients and 1 for certainty; below 0 for worse than
    guessing. Limits are those of `success` on the same scale.

    >>> advantage(Estimate(0.75, 0.7, 0.8, n=100, units=50), np.array([0.5, 0.5])).value
    0.5
    """
    p = float(np.max(prior))
    if p >= 1:
        note = "undefined: the prior leaves one value of the secret"
        return replace(success, value=np.nan, low=np.nan, high=np.nan, note=note)
    value, low, high = ((x - p) / (1 - p) for x in (success.value, success.low, success.high))
    return replace(success, value=value, low=low, high=high)


def bits(log_posterior: Floats, truth: Ints, prior: Floats, draws: Draws) -> Estimate:
    """Information that the adversary gets, H(a) + mean_t log2 q(a_t | g_t), in bits.

    Raw: at most H(a), and negative for an adversary that is surer than right. The figure shown
    is max(0, value); the raw one stays in the file. `high` is nan: an adversary bounds the
    information from below only. `low` is the one-sided 95% limit: on the scale of log L, with L
    the mean loss -log2 q, since L is skewed where it is small. Where every trial is right, `low`
    is at most the Fano bound at the error that the disjoint batches leave open.

    Args:
        log_posterior: (n, c), natural logarithm, floored (no -inf at the secret).
        truth: (n,).
        prior: (c,) P(a), from which H(a) is exact.
        draws: the units of each trial.
    """
    check_log_posterior("log_posterior", log_posterior, truth, draws)
    c = log_posterior.shape[1]
    if prior.shape != (c,) or not np.isclose(prior.sum(), 1) or not (prior >= 0).all():
        raise LeakageError(f"prior is to be {c} probabilities that sum to 1, got {prior.tolist()}")
    scores = log_posterior[np.arange(len(truth)), truth] / np.log(2)
    infinite = int(np.isinf(scores).sum())
    if infinite:
        raise LeakageError(
            f"log_posterior is -inf at the secret in {infinite} of {len(truth)} trials; "
            "floor the posterior first: (1-l) q + l P"
        )
    entropy = entropy_bits(prior)
    value = entropy + float(scores.mean())
    variance = _variance_of_mean(scores, truth, draws)
    if variance.reason:
        note = variance.reason
        return Estimate(value, np.nan, np.nan, len(truth), draws.distinct(), note)
    reach = float(stats.t.ppf(LEVEL, variance.freedom)) * float(np.sqrt(variance.value))
    loss = entropy - value
    low = entropy - loss * float(np.exp(min(reach / loss, 700))) if loss > 0 else value
    if _correct(log_posterior, truth).min() == 1:
        low = min(low, information_floor(certain_error(variance.batches), entropy, c))
    return Estimate(value, low, np.nan, len(truth), draws.distinct(), "one-sided")


def absent_note(truth: Ints, c: int) -> str:
    """Names the classes that no trial has."""
    absent = sorted(set(range(c)) - set(truth.tolist()))
    return f"no trial of class {', '.join(map(str, absent))}" if absent else ""


def _correct(posterior: Floats, truth: Ints) -> Floats:
    """1 where the secret alone is the most likely, 1/m where m values tie with it, else 0; (n,)."""
    best = posterior == posterior.max(axis=1, keepdims=True)  # (n, c)
    return np.asarray(best[np.arange(len(truth)), truth] / best.sum(axis=1), dtype=np.float64)


def _variance_of_mean(contributions: Floats, truth: Ints, draws: Draws) -> Variance:
    """Of the mean over all trials: within classes by the jackknife, and between them.

    The secrets are drawn, so the classes' numbers vary too: sum_a w_a (mean_a - mean)^2 / n,
    w_a = n_a/n. Without it, an adversary that always answers the prior would have no width.
    """
    n = len(truth)
    sizes = np.bincount(truth)
    means = np.bincount(truth, contributions) / np.maximum(sizes, 1)
    between = float((sizes / n) @ (means - contributions.mean()) ** 2) / n
    return jackknife_variance(contributions * sizes[truth] / n, draws, truth).plus(between)
