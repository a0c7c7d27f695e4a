"""The most exposed units: those in whose trials the release gives the secret away most often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score

from leakage.errors import LeakageError
from leakage.metrics.intervals import LEVEL, Draws, Floats, Ints
from leakage.metrics.posteriors import check_log_posterior, check_prior, log_odds

MIN_TRIALS = 5


@dataclass(frozen=True)
class Exposure:
    """How often the secret is told from the trials that hold one unit.

    Args:
        unit: its id.
        value: share of its trials that are right, or the AUROC of a user, in [0, 1].
        low: lower limit of that share; all limits of one list hold at once with 95%. NaN for a
            user, who is one of a sample.
        trials: the trials that hold it.
    """

    unit: int
    value: float
    low: float
    trials: int


def exposed(
    log_posterior: Floats, truth: Ints, prior: Floats, units: Ints, most: int
) -> list[Exposure]:
    """The units whose trials are right most surely, by `low`, then `value`, most exposed first.

    A trial is right if the release raises the secret's probability against the prior, q(a|g) /
    P(a), by more than that of each other value (the guess under equal priors): an answer that
    repeats the prior exposes nobody, however common the unit's value is. Ties are wrong.

    `low` is Clopper & Pearson's (1934), at .05 / (units ranked) each (Bonferroni): exact for
    any scores, over batches drawn anew that hold the unit, given the adversary and the challenge
    split. Compare it with the share of right trials of the unit's class: an adversary that
    always answers one value is right in all its trials.

    Args:
        log_posterior: (n, c), natural logarithm.
        truth: (n,).
        prior: (c,) P(a).
        units: (n, j) ids, -1 is padding; an id that occurs twice in a trial counts once.
        most: the length of the list at most. Units with fewer than 5 trials are not ranked.
    """
    draws = Draws(units, np.zeros(int(units.max(initial=-1)) + 1, dtype=np.int64))
    check_log_posterior("log_posterior", log_posterior, truth, draws)
    check_prior(prior, log_posterior.shape[1])
    if most < 1:
        raise LeakageError(f"most is to be at least 1 unit, got {most}")
    rows, columns = np.nonzero(units >= 0)
    pairs = np.unique(np.column_stack([rows, units[rows, columns]]), axis=0)  # (trial, unit)
    trials = np.bincount(pairs[:, 1], minlength=len(draws.pools))
    right = np.bincount(pairs[:, 1], _told(log_posterior, truth, prior)[pairs[:, 0]])
    ranked = np.flatnonzero(trials >= MIN_TRIALS)
    wrong = trials[ranked] - right[ranked]
    low = stats.beta.ppf((1 - LEVEL) / max(1, len(ranked)), right[ranked], wrong + 1)
    low = np.where(right[ranked] == 0, 0.0, low)
    value = right[ranked] / trials[ranked]
    return [
        Exposure(int(ranked[i]), float(value[i]), float(low[i]), int(trials[ranked[i]]))
        for i in np.lexsort((-value, -low))[:most]
    ]


def apart(log_posterior: Floats, truth: Ints, users: Ints, most: int) -> list[Exposure]:
    """The users who are told from the rest best: the AUROC of each one, .5 by chance.

    Args:
        log_posterior: (n, c), natural logarithm; column a is of one user.
        truth: (n,).
        users: (n,) the id of the user of each trial.
        most: the length of the list at most.
    """
    found = []
    for a in np.unique(truth):
        own = truth == a
        if not own.all():
            area = float(roc_auc_score(own, log_odds(log_posterior, int(a))))
            found.append(Exposure(int(users[own][0]), area, np.nan, int(own.sum())))
    return sorted(found, key=lambda exposure: -exposure.value)[:most]


def _told(log_posterior: Floats, truth: Ints, prior: Floats) -> Floats:
    """1 where the secret's probability rises by more than each other's, else 0; (n,)."""
    possible = prior > 0
    lift = np.full(log_posterior.shape, -np.inf)
    lift[:, possible] = log_posterior[:, possible] - np.log(prior[possible])
    trial = np.arange(len(truth))
    own = lift[trial, truth]
    lift[trial, truth] = -np.inf
    return np.asarray(own > lift.max(axis=1) + 1e-9, dtype=np.float64)
