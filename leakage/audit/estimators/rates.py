"""What the estimators that judge the two error rates of a threshold have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Self

import numpy as np
from typing_extensions import override

from leakage.audit.estimators.base import Bound, Estimator, check_level
from leakage.audit.estimators.counts import Counts, shown_epsilon
from leakage.audit.estimators.scores import Floats, Scores
from leakage.audit.estimators.thresholds import Explicit, Split, Threshold

STEPS = 2001  # thresholds that a plan compares


class RateEstimator(Estimator):
    """A bound from FPR and FNR, the rates at which a threshold guesses wrong on each side.

    Each leaf is a frozen dataclass with one setting, `threshold`: how it is chosen. None leaves it
    to `planned`, as one explicit threshold; without theory it is `Split(0.5)`.
    """

    threshold: Threshold | None
    premise = ""
    """What a leaf rests on beside what its threshold does; "" for nothing."""

    @property
    @override
    def valid(self) -> bool:
        return not self.assumption

    @property
    @override
    def assumption(self) -> str:
        own = self.threshold.assumption if self.threshold else ""
        return "; ".join(filter(None, (self.premise, own)))

    def merits(self, counts: Counts, delta: float) -> Floats:
        """What the best of m thresholds is chosen by, (m,): grows with the bound."""
        return shown_epsilon(*counts.upper(), delta)

    @abstractmethod
    def judge(self, counts: Counts, delta: float) -> Bound:
        """The bound of one threshold, m = 1, at 1 - gamma of the counts; without a note."""

    @abstractmethod
    def with_threshold(self, threshold: Threshold) -> Self:
        """The same with another threshold."""

    @override
    def bound(self, scores: Scores, delta: float, gamma: float, rng: np.random.Generator) -> Bound:
        check_level(delta, gamma)
        threshold = self.threshold or Split()
        tried = threshold.counts(scores, gamma, rng, lambda counts: self.merits(counts, delta))
        if not (tried.at.size and tried.n0 and tried.n1):
            return Bound(np.nan, 0.0, np.nan, "no trials on one side")
        best = tried.take(int(np.argmax(self.merits(tried, delta))))
        note = (
            f"threshold {best.at[0]:.4g}: {best.false_positives[0]:.0f} of {best.n0} above it under"
            f" zero, {best.false_negatives[0]:.0f} of {best.n1} not above it under one"
        )
        if tried.at.size > 1:
            note += f"; the best of {tried.at.size}, each judged at confidence {1 - best.gamma:.6g}"
        return replace(self.judge(best, delta), note=note)

    @override
    def planned(self, theory: Scores, delta: float, gamma: float) -> Self:
        check_level(delta, gamma)
        both = np.concatenate([theory.zero, theory.one])
        if self.threshold is not None or not (theory.zero.size and theory.one.size):
            return self
        at = np.linspace(both.min(), both.max(), STEPS)
        merits = self.merits(Counts.of(theory, at, gamma), delta)
        # Where none shows anything, merits say which shows least: an extreme one, at any scores.
        best = at[np.argmax(merits)] if merits.max() > 0 else np.median(both)
        return self.with_threshold(Explicit(float(best)))
