"""Scores and counts that several tests bound epsilon with."""

from __future__ import annotations

import numpy as np

from leakage.audit.estimators.base import Bound, Estimator
from leakage.audit.estimators.counts import Counts
from leakage.audit.estimators.scores import Scores

DELTA, GAMMA = 1e-5, 0.05


def normal(mu: float, n: int, seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    return Scores(rng.normal(0, 1, n), rng.normal(mu, 1, n))


def bound(estimator: Estimator, scores: Scores, delta: float = DELTA, seed: int = 0) -> Bound:
    return estimator.bound(scores, delta, GAMMA, np.random.default_rng(seed))


def one(false_positives: float, n0: int, false_negatives: float, n1: int, gamma: float) -> Counts:
    """The counts of one threshold."""
    return Counts(
        np.zeros(1), np.array([false_positives]), n0, np.array([false_negatives]), n1, gamma
    )
