"""How an adversary orders the trials: AUROC, its gain over a baseline, and TPR at an FPR."""

from __future__ import annotations

import numpy as np

from leakage.metrics.attack import absent_note
from leakage.metrics.intervals import (
    Draws,
    Estimate,
    Floats,
    Ints,
    estimate_difference,
    estimate_share,
    jackknife_variance,
)
from leakage.metrics.posteriors import check_log_posterior, check_trials, log_odds, refuse_nan


def auroc(log_posterior: Floats, truth: Ints, draws: Draws) -> Estimate:
    """Area under the ROC curve of the log-odds, in [0, 1]; ties count half.

    Two values: P(score of a trial of class 1 > score of one of class 0). More: the mean over the
    classes present of each against all others. Its variance is that of the placements (DeLong et
    al. 1988), by a jackknife over units. The side is never chosen here: .3 is reported as .3.

    Args:
        log_posterior: (n, c), natural logarithm.
        truth: (n,).
        draws: the units of each trial.
    """
    check_log_posterior("log_posterior", log_posterior, truth, draws)
    note = absent_note(truth, log_posterior.shape[1])
    if truth.min() == truth.max():
        return _undefined(f"undefined: every trial has class {truth[0]}", len(truth), draws)
    value, contributions, mixture = _linearised(log_posterior, truth)
    variance = jackknife_variance(contributions, draws, truth).plus(float(mixture @ mixture))
    return estimate_share(value, variance, len(truth), draws.distinct(), note)


def gain(
    log_posterior: Floats, baseline_log_posterior: Floats, truth: Ints, draws: Draws
) -> Estimate:
    """AUROC less that of a baseline on the same trials, in [-1, 1], with the paired interval.

    Args:
        log_posterior: (n, c) of the attack, natural logarithm.
        baseline_log_posterior: (n, c) of the baseline.
        truth: (n,).
        draws: the units of each trial.
    """
    check_log_posterior("log_posterior", log_posterior, truth, draws)
    check_log_posterior("baseline_log_posterior", baseline_log_posterior, truth, draws)
    if truth.min() == truth.max():
        return _undefined(f"undefined: every trial has class {truth[0]}", len(truth), draws)
    value, ours, mixture = _linearised(log_posterior, truth)
    other, theirs, mixture_theirs = _linearised(baseline_log_posterior, truth)
    mixture -= mixture_theirs
    variance = jackknife_variance(ours - theirs, draws, truth).plus(float(mixture @ mixture))
    return estimate_difference(value - other, variance, len(truth), draws.distinct())


def tpr_at_fpr(
    calibrate_scores: Floats,
    calibrate_truth: Ints,
    scores: Floats,
    truth: Ints,
    draws: Draws,
    fpr: float,
) -> tuple[Estimate, Estimate] | None:
    """True positive rate where the false positive rate is f, and the rate f attained.

    A trial is flagged if its score exceeds the threshold, the least calibrate negative that at
    most a share f of the calibrate negatives exceed. Both rates are those of the challenge
    trials at that threshold; their intervals are conditional on it.

    Args:
        calibrate_scores: (m,) log-odds of class 1 on the calibrate split.
        calibrate_truth: (m,) 0 or 1.
        scores: (n,) log-odds of class 1 on the challenge split.
        truth: (n,) 0 or 1.
        draws: the units of the n challenge trials.
        fpr: f, in (0, 1).

    Returns:
        (TPR, attained FPR), or None with fewer than 10/f calibrate negatives, since the threshold
        is then too uncertain for the figure to mean anything.
    """
    refuse_nan("calibrate_scores", calibrate_scores)
    refuse_nan("scores", scores)
    check_trials("scores", len(scores), truth, draws, c=2)
    negatives = np.sort(calibrate_scores[calibrate_truth == 0])
    if len(negatives) * fpr < 10 - 1e-9:
        return None
    allowed = int(np.floor(len(negatives) * fpr + 1e-9))
    flagged = (scores > negatives[-1 - allowed]).astype(np.float64)
    return _rate(flagged, truth == 1, draws, "1"), _rate(flagged, truth == 0, draws, "0")


def _rate(flagged: Floats, rows: np.ndarray, draws: Draws, name: str) -> Estimate:
    drawn = draws.take(rows)
    if not rows.any():
        return _undefined(f"undefined: no trial of class {name}", 0, drawn)
    variance = jackknife_variance(flagged[rows], drawn)
    value = float(flagged[rows].mean())
    return estimate_share(value, variance, int(rows.sum()), drawn.distinct())


def _undefined(note: str, n: int, draws: Draws) -> Estimate:
    return Estimate(np.nan, np.nan, np.nan, n, draws.distinct(), note)


def _placements(scores: Floats, others: Floats) -> Floats:
    """The share of others (m,) below each score (n,), ties half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, side="left")
    return np.asarray((below + np.searchsorted(ordered, scores, side="right")) / (2 * len(others)))


def _linearised(log_posterior: Floats, truth: Ints) -> tuple[float, Floats, Floats]:
    """Macro AUROC over the b classes present, and what its variance is made of.

    A trial of class a contributes (1/b) [V_a + sum_{o != a} (n_a / n_not_o) W_o]: its placement V
    among the others' scores for a, and, for each other class o, its placement W = 1 - (share of
    o's trials below it) as a negative. The mixture is the same sum per class with each W's mean
    less the AUROC of o: with more than two classes, the negatives of o are a random mixture.

    Returns:
        The AUROC; contributions (n,), of which the sum over classes of the mean has its variance
        given the sizes of the classes; (b,) terms whose squares add the variance of the sizes.
    """
    present = np.unique(truth)
    value = 0.0
    contributions = np.zeros(len(truth))
    mixture = np.zeros(len(present))
    sizes = np.array([np.sum(truth == a) for a in present], dtype=np.float64)
    for b in present:
        scores, positive = log_odds(log_posterior, int(b)), truth == b
        contributions[positive] += _placements(scores[positive], scores[~positive])
        negative = 1 - _placements(scores[~positive], scores[positive])  # W, (n_not_b,)
        area = float(negative.mean())
        value += area
        placed = np.zeros(len(truth))
        placed[~positive] = negative
        for index, a in enumerate(present):
            if a != b:
                share = sizes[index] / len(negative)
                contributions[truth == a] += share * placed[truth == a]
                mixture[index] += share * (float(placed[truth == a].mean()) - area)
    # A class of expected size n w has variance about n w, whence the root of its size.
    c = len(present)
    return value / c, contributions / c, mixture / np.sqrt(sizes) / c
