"""How the threshold of a guess is chosen without the choice costing the bound its confidence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from leakage.audit.estimators.counts import Counts, hull
from leakage.audit.estimators.scores import Floats, Scores
from leakage.errors import LeakageError

Merits = Callable[[Counts], Floats]


class Threshold(ABC):
    """Which thresholds are tried, on which scores, and what each may be missed with.

    The best threshold on the very scores that it is judged on misses two to three times as often
    as it says (over Laplace noise, 400 audits); each leaf is a way around that.
    """

    @property
    def assumption(self) -> str:
        """What the confidence rests on beside independent trials, or nothing."""
        return ""

    @abstractmethod
    def counts(
        self, scores: Scores, gamma: float, rng: np.random.Generator, merits: Merits
    ) -> Counts:
        """The errors of the thresholds to try, whose best has to hold with 1 - gamma.

        Args:
            scores: of all trials.
            gamma: in (0, 1), for all thresholds together.
            rng: splits the trials.
            merits: grows with the bound, (m,) for m thresholds.
        """


@dataclass(frozen=True)
class Explicit(Threshold):
    """One threshold, fixed before the data are seen, by theory or by earlier trials.

    Args:
        at: a score above it is guessed "one".
    """

    at: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.at):
            raise LeakageError(f"Explicit.at: a finite score is needed, got {self.at}")

    @override
    def counts(
        self, scores: Scores, gamma: float, rng: np.random.Generator, merits: Merits
    ) -> Counts:
        return Counts.of(scores, np.array([self.at]), gamma)


@dataclass(frozen=True)
class Split(Threshold):
    """The threshold with the best bound on a random share of each side, judged on the rest.

    Args:
        share: of the trials that choose, in (0, 1).
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise LeakageError(f"Split.share: a number in (0, 1) is needed, got {self.share}")

    @override
    def counts(
        self, scores: Scores, gamma: float, rng: np.random.Generator, merits: Merits
    ) -> Counts:
        zero, one = rng.permutation(scores.zero), rng.permutation(scores.one)
        first, second = round(self.share * zero.size), round(self.share * one.size)
        choosing = Scores(zero[:first], one[:second])
        tried = Counts.of(choosing, hull(choosing), gamma)
        best = tried.at[[np.argmax(merits(tried))]]
        return Counts.of(Scores(zero[first:], one[second:]), best, gamma)


@dataclass(frozen=True)
class Bonferroni(Threshold):
    """Many thresholds on all scores, each judged with gamma over their number.

    With `ranks`, the thresholds are the scores under zero at m ranks j that n0 alone fixes, and
    the count of false positives is n0 - j. That needs no assumption: with F the distribution under
    zero, the score of rank j from below is F^-1(U_(j)) with U_(j) the j-th of n0 uniform numbers,
    and F(F^-1(u)) >= u, with equality where F is continuous, so that

        FPR = 1 - F(X_(j)) <= 1 - U_(j) ~ Beta(n0 - j + 1, j),

    whose quantiles are the Clopper-Pearson limits of n0 - j errors in n0. Where scores tie, fewer
    than n0 - j lie above the threshold; to count those would choose the rank by the data, so the
    rank is kept. Given the scores under zero, those under one are independent of the threshold,
    and their limit is Clopper and Pearson's; the m pairs of limits then hold together (Bonferroni).

    With `ranks` none, the thresholds are the corners of the hull of the ROC curve on these very
    scores, gamma divided by their number (jax_privacy 2025): a usual choice, but the corners are
    picked by the data, so that dividing by their number is not proved to suffice.

    Args:
        ranks: how many at most, at least 2; half of them close up on each end of the scores.
    """

    ranks: int | None = 64

    def __post_init__(self) -> None:
        if self.ranks is not None and self.ranks < 2:
            raise LeakageError(
                f"Bonferroni.ranks: a whole number of at least 2 is needed, got {self.ranks}"
            )

    @property
    @override
    def assumption(self) -> str:
        return "" if self.ranks else "thresholds are picked on the scores that they are judged on"

    @override
    def counts(
        self, scores: Scores, gamma: float, rng: np.random.Generator, merits: Merits
    ) -> Counts:
        if self.ranks is None:
            at = hull(scores)
            return Counts.of(scores, at, gamma / at.size)
        above = self._above(scores.zero.size)
        at = np.sort(scores.zero)[scores.zero.size - 1 - above]
        counts = Counts.of(scores, at, gamma / max(1, at.size))
        return Counts(
            at, above.astype(np.float64), counts.n0, counts.false_negatives, counts.n1, counts.gamma
        )

    def _above(self, n0: int) -> NDArray[np.int64]:
        """How many of n0 scores lie above each threshold: 0, 1, 2, ... n0-3, n0-2, n0-1."""
        half = np.geomspace(1, max(1, n0 / 2), (self.ranks or 0) // 2).astype(np.int64) - 1
        near = half[half < n0]
        return np.union1d(near, n0 - 1 - near)
