"""E2: epsilon from the joint posterior of the two error rates (Zanella-Béguelin et al. 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import optimize, special
from typing_extensions import override

from leakage.audit.estimators.base import Bound
from leakage.audit.estimators.counts import Counts, shown_epsilon
from leakage.audit.estimators.rates import RateEstimator
from leakage.audit.estimators.thresholds import Threshold

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)
# Shares of a posterior between which it is smooth; what lies beyond the ends is not integrated.
SPREAD = np.array([1e-12, 1e-8, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.99, 1 - 1e-4, 1 - 1e-8, 1 - 1e-12])


@dataclass(frozen=True)
class Credible(RateEstimator):
    """The gamma-quantile of the posterior of the epsilon that the error rates show.

    FPR and FNR are independent a posteriori, each Beta(1/2 + k, 1/2 + n - k) after k errors in n
    trials (Jeffreys' prior). The posterior chance of an epsilon of at most e is that of

        FPR + e^e FNR >= 1 - delta  and  FNR + e^e FPR >= 1 - delta,

    integrated numerically. `high` is the (1 - gamma)-quantile. A credible limit is no confidence
    limit: at some rates it exceeds the truth more often than gamma.

    Args:
        threshold: as of ClopperPearson, whose bound chooses it.
    """

    threshold: Threshold | None = None
    premise = "Bayesian credible, no frequentist coverage"

    @property
    @override
    def name(self) -> str:
        return "credible"

    @override
    def judge(self, counts: Counts, delta: float) -> Bound:
        value = max(0.0, float(shown_epsilon(*counts.rates(), delta)[0]))
        low, high = (epsilon_quantile(counts, delta, q) for q in (counts.gamma, 1 - counts.gamma))
        return Bound(value, low, high, "")

    @override
    def with_threshold(self, threshold: Threshold) -> Self:
        return replace(self, threshold=threshold)


def epsilon_quantile(counts: Counts, delta: float, chance: float) -> float:
    """The epsilon that the posterior puts at most `chance` below, at least 0; m = 1."""

    def excess(epsilon: float) -> float:
        return epsilon_chance(counts, delta, epsilon) - chance

    if excess(0.0) >= 0:
        return 0.0
    high = 1.0
    while excess(high) < 0:
        high = 2 * high
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-7))


def epsilon_chance(counts: Counts, delta: float, epsilon: float) -> float:
    """The posterior chance that the rates of one threshold show at most this epsilon, in [0, 1].

    The integral over u = P(FPR <= x), in (0, 1), of the chance that FNR is at least what epsilon
    asks for at FPR = x, by Gauss-Legendre between the points where that chance bends or falls.
    """
    fp, fn = float(counts.false_positives[0]), float(counts.false_negatives[0])
    a, b = 0.5 + fp, 0.5 + counts.n0 - fp
    c, d = 0.5 + fn, 0.5 + counts.n1 - fn
    grown = math.exp(epsilon)
    fnr = special.betaincinv(c, d, SPREAD)
    bends = (1 - delta) / np.array([1.0, 1 + grown])  # where no FNR suffices; where the lines cross
    falls = np.concatenate([bends, (1 - delta - fnr) / grown, 1 - delta - grown * fnr])
    cuts = special.betainc(a, b, np.clip(falls, 0.0, 1.0))
    edges = np.union1d(np.clip(cuts, SPREAD[0], SPREAD[-1]), SPREAD)
    half = np.diff(edges)[:, None] / 2  # (panels, 1)
    x = special.betaincinv(a, b, edges[:-1, None] + half * (1 + NODES))  # (panels, nodes)
    asked = np.maximum(1 - delta - grown * x, (1 - delta - x) / grown)
    chance = special.betaincc(c, d, np.clip(asked, 0.0, 1.0))
    return float(np.sum(half * WEIGHTS * chance))
