"""E5: epsilon from the share of right guesses about fair coins (Steinke, Nasr & Jagielski 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import optimize, special
from typing_extensions import override

from leakage.audit.estimators.base import Bound, Estimator, check_level
from leakage.audit.estimators.scores import Scores
from leakage.errors import LeakageError

SHARE = 0.1  # of the trials, guessed where neither settings nor theory say how many
STEPS = 60  # numbers of guesses that a plan compares


@dataclass(frozen=True)
class OneRun(Estimator):
    """The least epsilon under which so many right guesses are not too unlikely.

    Of m trials, each with a fair coin of its own, r are guessed: the r/2 highest scores as one and
    the r/2 lowest as zero, ties in random order. Under (epsilon, delta)-DP, v or more are right
    with a chance of at most `chance_of_right`; the bound is the largest epsilon at which that is
    below gamma. The trials may share one run or have one each, and the bound is on the adjacency
    of the two neighbours that the coin chooses between.

    Args:
        guesses: r, even and at least 2; left out, it is fixed from theory before the data are
            seen, and without theory it is a tenth of the trials.
    """

    guesses: int | None = None

    def __post_init__(self) -> None:
        if self.guesses is not None and (self.guesses < 2 or self.guesses % 2):
            raise LeakageError(
                f"OneRun.guesses: an even number of at least 2 is needed, got {self.guesses}"
            )

    @property
    @override
    def name(self) -> str:
        return "one_run"

    @property
    @override
    def valid(self) -> bool:
        return True

    @property
    @override
    def assumption(self) -> str:
        return "needs fair independent coins"

    @override
    def bound(self, scores: Scores, delta: float, gamma: float, rng: np.random.Generator) -> Bound:
        check_level(delta, gamma)
        m = scores.zero.size + scores.one.size
        r = self._guessed(m)
        if r > m:
            raise LeakageError(f"OneRun.guesses: at most the {m} trials can be guessed, got {r}")
        if not r:
            return Bound(math.nan, 0.0, math.nan, "no guesses")
        score = np.concatenate([scores.zero, scores.one])
        one = np.arange(m) >= scores.zero.size
        order = one[np.lexsort((rng.random(m), score))]
        v = int(np.sum(~order[: r // 2]) + np.sum(order[m - r // 2 :]))
        value = max(0.0, math.log(v / (r - v))) if 0 < v < r else (math.inf if v else 0.0)
        low = one_run_epsilon(m, r, v, delta, gamma)
        return Bound(value, low, math.nan, f"{v} of {r} guesses right, of {m} trials")

    @override
    def planned(self, theory: Scores, delta: float, gamma: float) -> Self:
        check_level(delta, gamma)
        m = theory.zero.size + theory.one.size
        if self.guesses is not None or m < 2:
            return self
        tried = [2 * int(r) for r in np.unique(np.geomspace(1, m // 2, STEPS).astype(int))]
        merits = [replace(self, guesses=r).expected(theory, delta, gamma) for r in tried]
        return replace(self, guesses=tried[int(np.argmax(merits))]) if max(merits) else self

    @override
    def ceiling(self, n0: int, n1: int, delta: float, gamma: float) -> float:
        check_level(delta, gamma)
        r = self._guessed(n0 + n1)
        return one_run_epsilon(n0 + n1, r, r, delta, gamma) if 0 < r <= n0 + n1 else 0.0

    def _guessed(self, m: int) -> int:
        """How many of m trials are guessed: even, and 0 where there are fewer than 2."""
        if self.guesses is not None:
            return self.guesses
        return 2 * max(min(1, m // 2), round(SHARE * m / 2))


def one_run_epsilon(m: int, r: int, v: int, delta: float, gamma: float) -> float:
    """The largest epsilon that v right of r guesses about m fair coins refute, at least 0.

    Without delta it is the logit of the Clopper-Pearson lower limit of v in r; delta lowers it.

    >>> round(one_run_epsilon(1000, 100, 75, 1e-4, 0.05), 3)
    0.673
    """
    if not v:
        return 0.0
    # P[Bin(r, q) >= v] = gamma at this q; from the other tail, as q may be near 1.
    wrong = float(special.betainccinv(r - v + 1, v, gamma))
    most = math.log1p(-wrong) - math.log(wrong)
    if most <= 0 or not delta:
        return max(0.0, most)

    def excess(epsilon: float) -> float:
        return chance_of_right(m, r, v, delta, epsilon) - gamma

    if excess(0.0) >= 0:
        return 0.0
    if excess(most) <= 0:  # a delta that is lost beside gamma
        return most
    return float(optimize.brentq(excess, 0.0, most, xtol=1e-9))


def chance_of_right(m: int, r: int, v: int, delta: float, epsilon: float) -> float:
    """What the chance of v or more right of r guesses about m coins is at most, capped at 1.

    P[B >= v] + 2 m delta max over i = 1..v of P[v > B >= v - i] / i, for B ~ Bin(r, q) and
    q = 1 / (1 + e^-epsilon) (Steinke, Nasr & Jagielski 2023, theorem 5.2).
    """
    q = float(special.expit(epsilon))
    at_least = float(special.betainc(v, r - v + 1, q))
    k = np.arange(v - 1, -1, -1)
    ways = special.gammaln(r + 1) - special.gammaln(k + 1) - special.gammaln(r - k + 1)
    point = np.exp(ways + k * epsilon + r * float(special.log_expit(-epsilon)))
    extra = float(np.max(np.cumsum(point) / np.arange(1, v + 1)))
    return min(1.0, at_least + 2 * m * delta * extra)
