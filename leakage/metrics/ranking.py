"""How an adversary orders the trials: AUROC, its gain over a baseline, and TPR at an FPR."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leakage.metrics.attack import absent_note
from leakage.metrics.intervals import (
    Draws,
    Estimate,
    Floats,
    Ints,
    certain_error,
    estimate_difference,
    estimate_share,
)
from leakage.metrics.jackknife import variance_of_mean, variance_over_classes
from leakage.metrics.posteriors import check_log_posterior, check_trials, log_odds, refuse_nan


def auroc(log_posterior: Floats, truth: Ints, draws: Draws) -> Estimate:
    """Area under the ROC curve of the log-odds, in [0, 1]; ties count half.

    Two values: P(score of a trial of class 1 > score of one of class 0). More: the mean over the
    classes present of each against all others. Its variance is that of the placements (DeLong et
    al. 1988), by a jackknife over units. The side is never chosen here: .3 is reported as .3.
    Simulated coverage with the users as the sample and as the candidates, 20 trials each: .97 for
    AUROC .76 to .91, .92 for .986 with 8 users; .95 to .97 with 30.

    Args:
        log_posterior: (n, c), natural logarithm.
        truth: (n,).
        draws: the units of each trial.
    """
    check_log_posterior("log_posterior", log_posterior, truth, draws)
    note = absent_note(truth, log_posterior.shape[1])
    if truth.min() == truth.max():
        return _undefined(f"undefined: every trial has class {truth[0]}", len(truth), draws)
    value, contributions, sizes_part = _linearised(log_posterior, truth)
    variance = variance_over_classes(contributions, truth, draws, sizes_part)
    return estimate_share(value, variance, len(truth), draws.distinct(), note)


def gain(
    log_posterior: Floats, baseline_log_posterior: Floats, truth: Ints, draws: Draws
) -> Estimate:
    """AUROC less that of a baseline on the same trials, in [-1, 1], with the paired interval.

    From the limits of the two AUROCs (`estimate_difference`), with the correlation that their
    variances and that of their difference leave, (V + V' - V_difference) / (2 sqrt(V V')). Over
    a constant it is the AUROC's own interval less .5. Where no trial tells the two apart, the
    limits are those of the error that the disjoint batches leave open.

    Simulated coverage, AUROC .75 to .998 over a correlated baseline of .65 to .985: .91 to .98
    with 12 units a class, .94 to .96 with 30, .93 to .96 with 500; over a constant .95 to 1, .88
    to .96 and .91 to .94.

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
    value, ours, ours_part = _linearised(log_posterior, truth)
    other, theirs, theirs_part = _linearised(baseline_log_posterior, truth)
    n, units = len(truth), draws.distinct()
    apart = variance_over_classes(ours - theirs, truth, draws, ours_part - theirs_part)
    if apart.reason:
        return Estimate(value - other, np.nan, np.nan, n, units, apart.reason)
    if apart.value < 1e-15 and abs(value - other) < 1e-12:  # no trial tells the two apart
        reach = certain_error(apart.batches)
        return Estimate(value - other, -reach, reach, n, units)
    first = variance_over_classes(ours, truth, draws, ours_part)
    second = variance_over_classes(theirs, truth, draws, theirs_part)
    scale = 2 * float(np.sqrt(first.value * second.value))
    shared = first.value + second.value - apart.value
    return estimate_difference(
        _unless_constant(log_posterior, estimate_share(value, first, n, units)),
        _unless_constant(baseline_log_posterior, estimate_share(other, second, n, units)),
        correlation=float(np.clip(shared / scale, -1, 1)) if scale else 0.0,
    )


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
    variance = variance_of_mean(flagged[rows], np.zeros(int(rows.sum()), dtype=np.int64), drawn)
    value = float(flagged[rows].mean())
    return estimate_share(value, variance, int(rows.sum()), drawn.distinct())


def _unless_constant(log_posterior: Floats, area: Estimate) -> Estimate:
    """One answer to all trials has an AUROC of .5 by definition, without an interval."""
    constant = bool((log_posterior == log_posterior[0]).all())
    return replace(area, low=area.value, high=area.value) if constant else area


def _undefined(note: str, n: int, draws: Draws) -> Estimate:
    return Estimate(np.nan, np.nan, np.nan, n, draws.distinct(), note)


def _placements(scores: Floats, others: Floats) -> Floats:
    """The share of others (m,) below each score (n,), ties half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, side="left")
    return np.asarray((below + np.searchsorted(ordered, scores, side="right")) / (2 * len(others)))


def _linearised(log_posterior: Floats, truth: Ints) -> tuple[float, Floats, Floats]:
    """Macro AUROC over the b classes present, and what its variance is made of.

    A trial of class a contributes (1/b) [V_a + sum_{o != a} (n_a / n_not_o) (W_o - A_o)]: its
    placement V among the others' scores for a, and, for each other class o, its placement W =
    1 - (share of o's trials below it) as a negative, less the AUROC A of o. With more than two
    classes, the negatives of o are a random mixture: the mean of the second part over the class
    is what the class's number of trials adds.

    Returns:
        The AUROC; contributions (n,), of which the mean per class, summed, is the AUROC; (b,) what
        the sizes of the classes add, as `variance_over_classes` takes it.
    """
    present = np.unique(truth)
    value = 0.0
    placed = np.zeros(len(truth))  # V
    against = np.zeros(len(truth))  # sum_o (n_a / n_not_o) (W_o - A_o)
    sizes = np.bincount(truth)
    for a in present:
        scores, positive = log_odds(log_posterior, int(a)), truth == a
        placed[positive] = _placements(scores[positive], scores[~positive])
        negative = 1 - _placements(scores[~positive], scores[positive])  # W, (n_not_a,)
        area = float(negative.mean())
        value += area
        against[~positive] += sizes[truth[~positive]] / len(negative) * (negative - area)
    b = len(present)
    sizes_part = np.array([against[truth == a].mean() for a in present])
    return value / b, (placed + against) / b, sizes_part / b
