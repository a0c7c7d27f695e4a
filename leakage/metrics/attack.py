"""Shares of trials that an adversary gets right, and the bits that it gets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import special

from leakage.errors import LeakageError
from leakage.metrics.information import entropy_bits, information_floor
from leakage.metrics.intervals import (
    LEVEL,
    Draws,
    Estimate,
    Floats,
    Ints,
    certain_error,
    estimate_share,
)
from leakage.metrics.jackknife import (
    users_are_classes,
    variance_of_mean,
    variance_over_classes,
    variance_over_users,
)
from leakage.metrics.posteriors import check_log_posterior, check_posterior, check_prior


def asr(posterior: Floats, truth: Ints, draws: Draws) -> Estimate:
    """Attack success rate: the share of trials whose most likely value is the secret, in [0, 1].

    Values that tie for the most likely share the trial, as under a random choice among them.

    Args:
        posterior: (n, c).
        truth: (n,) the secret of each trial.
        draws: the units of each trial.
    """
    return top(posterior, truth, draws, most=1)


def top(posterior: Floats, truth: Ints, draws: Draws, most: int) -> Estimate:
    """The share of trials whose secret is among the `most` most likely values, in [0, 1].

    Tied values stand in random order, and a trial counts with its chance under that order.

    Args:
        posterior: (n, c).
        truth: (n,).
        draws: the units of each trial.
        most: 1 to c; c gives 1.
    """
    check_posterior("posterior", posterior, truth, draws)
    if not 1 <= most <= posterior.shape[1]:
        raise LeakageError(f"most is to be 1..{posterior.shape[1]} values, got {most}")

    def share(answer: Floats, secrets: Ints) -> float:
        return float(_among(answer, secrets, most).mean())

    if users_are_classes(truth, draws):
        variance = variance_over_users(share, posterior, truth)
    else:
        variance = variance_of_mean(_among(posterior, truth, most), truth, draws)
    return estimate_share(share(posterior, truth), variance, len(truth), draws.distinct())


def balanced_accuracy(posterior: Floats, truth: Ints, draws: Draws) -> Estimate:
    """The mean over classes of the share of their trials that are right, in [0, 1].

    Args and ties as in `asr`. A class without a trial is left out and named in the note.
    """
    check_posterior("posterior", posterior, truth, draws)

    def balanced(answer: Floats, secrets: Ints) -> float:
        correct = _among(answer, secrets, 1)
        return float(np.mean([correct[secrets == a].mean() for a in np.unique(secrets)]))

    if users_are_classes(truth, draws):
        variance = variance_over_users(balanced, posterior, truth)
    else:
        correct = _among(posterior, truth, 1) / len(np.unique(truth))
        variance = variance_over_classes(correct, truth, draws)
    note = absent_note(truth, posterior.shape[1])
    value = balanced(posterior, truth)
    return estimate_share(value, variance, len(truth), draws.distinct(), note)


def by_class(posterior: Floats, truth: Ints, draws: Draws) -> dict[int, Estimate]:
    """Of each class present the share of its trials that are right, in [0, 1].

    Args and ties as in `asr`. Each interval is that of its class alone. There is none where the
    units are the sample and a class is one unit.
    """
    check_posterior("posterior", posterior, truth, draws)
    shares = {}
    for a in np.unique(truth):
        rows = truth == a
        shares[int(a)] = asr(posterior[rows], truth[rows], draws.take(rows))
    return shares


def worst_class(posterior: Floats, truth: Ints, draws: Draws) -> Estimate:
    """The lowest share of right trials over the classes, in [0, 1]; the note names the class.

    Args and ties as in `asr`. The interval is that of the class named; it does not account for
    its being the lowest of several.
    """
    shares = by_class(posterior, truth, draws)
    worst = min(shares, key=lambda a: shares[a].value)
    notes = [f"class {worst}", absent_note(truth, posterior.shape[1]), shares[worst].note]
    return replace(shares[worst], note="; ".join(filter(None, notes)))


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
    check_prior(prior, c)
    scores = log_posterior[np.arange(len(truth)), truth] / np.log(2)
    infinite = int(np.isinf(scores).sum())
    if infinite:
        raise LeakageError(
            f"log_posterior is -inf at the secret in {infinite} of {len(truth)} trials; "
            "floor the posterior first: (1-l) q + l P"
        )
    entropy = entropy_bits(prior)
    value = entropy + float(scores.mean())
    if users_are_classes(truth, draws):
        variance = variance_over_users(_mean_score, log_posterior, truth)
    else:
        variance = variance_of_mean(scores, truth, draws)
    if variance.reason:
        note = variance.reason
        return Estimate(value, np.nan, np.nan, len(truth), draws.distinct(), note)
    reach = variance.reach(LEVEL)
    loss = entropy - value
    low = entropy - loss * float(np.exp(min(reach / loss, 700))) if loss > 0 else value
    if _among(log_posterior, truth, 1).min() == 1:
        low = min(low, information_floor(certain_error(variance.batches), entropy, c))
    return Estimate(value, low, np.nan, len(truth), draws.distinct(), "one-sided")


def absent_note(truth: Ints, c: int) -> str:
    """Names the classes that no trial has."""
    absent = sorted(set(range(c)) - set(truth.tolist()))
    return f"no trial of class {', '.join(map(str, absent))}" if absent else ""


def _among(posterior: Floats, truth: Ints, most: int) -> Floats:
    """The chance that the secret is among the `most` likeliest, ties in random order; (n,)."""
    own = posterior[np.arange(len(truth)), truth][:, None]
    above, tied = (posterior > own).sum(axis=1), (posterior == own).sum(axis=1)
    return np.asarray(np.clip((most - above) / tied, 0, 1), dtype=np.float64)


def _mean_score(answer: Floats, secrets: Ints) -> float:
    """The mean of log2 q of the secret, of logarithms whose rows need not sum to 1."""
    own = answer[np.arange(len(secrets)), secrets]
    return float((own - special.logsumexp(answer, axis=1)).mean() / np.log(2))
