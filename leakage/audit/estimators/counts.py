"""Errors of a threshold on an audit's scores, and the epsilon that error rates show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from leakage.audit.estimators.scores import Floats, Scores


@dataclass(frozen=True, eq=False)
class Counts:
    """Errors of m thresholds, each to be judged at 1 - gamma; "one" is guessed above a threshold.

    Args:
        at: (m,) the thresholds.
        false_positives: (m,) of the n0 trials under zero, guessed one; whole, or expected.
        n0: trials under zero.
        false_negatives: (m,) of the n1 trials under one, guessed zero.
        n1: trials under one.
        gamma: what each threshold's two rates may be missed with, together.
    """

    at: Floats
    false_positives: Floats
    n0: int
    false_negatives: Floats
    n1: int
    gamma: float

    @staticmethod
    def of(scores: Scores, at: Floats, gamma: float) -> Counts:
        """The errors of thresholds (m,) on scores."""
        zero, one = np.sort(scores.zero), np.sort(scores.one)
        false_positives = zero.size - np.searchsorted(zero, at, side="right").astype(np.float64)
        false_negatives = np.searchsorted(one, at, side="right").astype(np.float64)
        return Counts(at, false_positives, zero.size, false_negatives, one.size, gamma)

    def take(self, index: int) -> Counts:
        """One of the thresholds, as m = 1."""
        of = slice(index, index + 1)
        fp, fn = self.false_positives[of], self.false_negatives[of]
        return Counts(self.at[of], fp, self.n0, fn, self.n1, self.gamma)

    def rates(self) -> tuple[Floats, Floats]:
        """FPR and FNR, each (m,); NaN where a side has no trials."""
        with np.errstate(invalid="ignore"):
            return self.false_positives / self.n0, self.false_negatives / self.n1

    def upper(self) -> tuple[Floats, Floats]:
        """Upper limits of FPR and FNR, each (m,), that hold together with 1 - gamma."""
        return (
            upper_rate(self.false_positives, self.n0, self.gamma / 2),
            upper_rate(self.false_negatives, self.n1, self.gamma / 2),
        )

    def lower(self) -> tuple[Floats, Floats]:
        """Lower limits of FPR and FNR, each (m,), that hold together with 1 - gamma."""
        return (
            1 - upper_rate(self.n0 - self.false_positives, self.n0, self.gamma / 2),
            1 - upper_rate(self.n1 - self.false_negatives, self.n1, self.gamma / 2),
        )


def upper_rate(k: Floats, n: int, miss: float) -> Floats:
    """The upper limit of a rate of which n trials showed k, missed with at most `miss`.

    beta.ppf(1 - miss, k + 1, n - k), and 1 where k = n or n = 0 (Clopper & Pearson 1934).

    >>> upper_rate(np.array([0.0, 100.0]), 100, 0.025).round(4).tolist()
    [0.0362, 1.0]
    """
    short = k < n
    limit = np.asarray(special.betainccinv(k + 1, np.where(short, n - k, 1), miss), np.float64)
    return np.where(short, limit, 1.0)


def shown_epsilon(fpr: Floats, fnr: Floats, delta: float) -> Floats:
    """The least epsilon under which a test can have these error rates, (m,); below 0 if any can.

    max(ln((1 - delta - FNR) / FPR), ln((1 - delta - FPR) / FNR)), of which a numerator that is not
    positive says nothing, -inf (Kairouz, Oh & Viswanath 2015). It falls as either rate grows, so
    that upper limits of the rates give a lower one of epsilon.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.log(np.maximum(1 - delta - fnr, 0)) - np.log(fpr)
        second = np.log(np.maximum(1 - delta - fpr, 0)) - np.log(fnr)
    shown: Floats = np.fmax(np.fmax(first, second), -np.inf)
    return shown


def hull(scores: Scores) -> Floats:
    """The thresholds (m,), ascending, at the corners of the convex hull of the ROC curve.

    A ratio of two linear functions of the rates, which `shown_epsilon` is, is greatest at a corner.
    The first threshold is -inf: all are guessed one.
    """
    at = np.concatenate([[-np.inf], np.union1d(scores.zero, scores.one)])
    counts = Counts.of(scores, at, 1.0)
    x, y = scores.zero.size - counts.false_positives, counts.false_negatives
    kept: NDArray[np.intp] = np.arange(at.size)
    while True:  # drops what lies on or above the line between its neighbours, until nothing does
        dx, dy = np.diff(x[kept]), np.diff(y[kept])
        corner = dy[:-1] * dx[1:] < dy[1:] * dx[:-1]
        if corner.all():
            return at[kept]
        kept = kept[np.concatenate([[True], corner, [True]])]
