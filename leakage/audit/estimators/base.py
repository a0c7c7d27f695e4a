"""An estimator of an audit: from scores to a lower bound on epsilon."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from leakage.audit.estimators.scores import Scores, separated_scores
from leakage.errors import LeakageError

MOST_TRIALS = 2**22


@dataclass(frozen=True)
class Bound:
    """What scores prove of epsilon at one delta and confidence.

    Args:
        value: the plug-in estimate of epsilon, at least 0 and perhaps infinite; NaN where there is
            none.
        low: the lower bound, at least 0.
        high: one-sided too, the upper limit of the epsilon that this very test shows (not of the
            mechanism's), perhaps infinite; NaN where there is none.
        note: what the reader has to know: the threshold or the guesses, and the errors.
    """

    value: float
    low: float
    high: float
    note: str


class Estimator(ABC):
    """A lower bound on epsilon from the scores of trials with fresh noise in each.

    Settings that are left open are fixed from theory by `planned`, before the data are seen, so
    that the choice costs no confidence.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables and tags call it."""

    @property
    @abstractmethod
    def valid(self) -> bool:
        """Whether it holds at its confidence for any M, given trials as `assumption` says."""

    @property
    @abstractmethod
    def assumption(self) -> str:
        """What it rests on beside independent trials, printed beside it; "" for nothing."""

    @abstractmethod
    def bound(self, scores: Scores, delta: float, gamma: float, rng: np.random.Generator) -> Bound:
        """The bound that scores prove.

        Args:
            scores: of all trials.
            delta: in [0, 1).
            gamma: one less the confidence, in (0, 1): `low` exceeds the truth with at most this
                probability.
            rng: splits trials or breaks ties; nothing else is random.
        """

    @abstractmethod
    def planned(self, theory: Scores, delta: float, gamma: float) -> Estimator:
        """The same with its open settings chosen for scores as theory expects them.

        Args:
            theory: as many on each side as there are trials, but none of them; wrong ones cost
                tightness alone.
            delta: in [0, 1).
            gamma: one less the confidence, in (0, 1).
        """

    def ceiling(self, n0: int, n1: int, delta: float, gamma: float) -> float:
        """Its bound where every guess is right: with so many trials it shows no more."""
        scores = separated_scores(n0, n1)
        return self.bound(scores, delta, gamma, np.random.default_rng(0)).low

    def expected(self, theory: Scores, delta: float, gamma: float) -> float:
        """Its bound on scores as theory expects them, for choosing before the data are seen."""
        return self.bound(theory, delta, gamma, np.random.default_rng(0)).low


def least_trials(estimator: Estimator, delta: float, gamma: float) -> int:
    """The fewest trials, half of them on each side, whose bound can exceed 0 at all.

    Raises:
        LeakageError: four million do not suffice.
    """

    def shows(half: int) -> bool:
        return estimator.ceiling(half, half, delta, gamma) > 0

    enough = 1
    while not shows(enough):
        if enough >= MOST_TRIALS // 2:
            raise LeakageError(
                f"audit.delta: at {delta:g} and confidence {1 - gamma:g} the estimator "
                f"{estimator.name} shows no epsilon above 0 with {MOST_TRIALS} trials; a smaller "
                "delta or a lower confidence is needed"
            )
        enough = 2 * enough
    few = enough // 2
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if shows(middle) else (middle, enough)
    return 2 * enough


def check_level(delta: float, gamma: float) -> None:
    """Refuses a delta outside [0, 1) and a confidence, 1 - gamma, outside (0, 1)."""
    if not 0 <= delta < 1:
        raise LeakageError(f"audit.delta: a number in [0, 1) is needed, got {delta}")
    if not 0 < gamma < 1:
        raise LeakageError(f"audit.confidence: a number in (0, 1) is needed, got {1 - gamma:g}")
