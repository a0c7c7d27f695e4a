"""E1: epsilon from Clopper-Pearson limits of the two error rates (Jagielski et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from typing_extensions import override

from leakage.audit.estimators.base import Bound
from leakage.audit.estimators.counts import Counts, shown_epsilon
from leakage.audit.estimators.rates import RateEstimator
from leakage.audit.estimators.thresholds import Threshold


@dataclass(frozen=True)
class ClopperPearson(RateEstimator):
    """max(0, ln((1 - delta - FNR_up) / FPR_up), ln((1 - delta - FPR_up) / FNR_up)).

    Each upper limit is missed with at most gamma / 2 (Clopper & Pearson 1934), so that both hold
    together with 1 - gamma, and no (epsilon, delta)-DP mechanism lets a test have lower rates than
    epsilon allows (Kairouz, Oh & Viswanath 2015). It needs independent trials and nothing else.

    Args:
        threshold: how the threshold is chosen: Explicit, Split or Bonferroni. Left out, it is
            fixed from theory before the data are seen, and without theory it is Split(0.5).
    """

    threshold: Threshold | None = None

    @property
    @override
    def name(self) -> str:
        return "clopper_pearson"

    @override
    def judge(self, counts: Counts, delta: float) -> Bound:
        value, low, high = (
            max(0.0, float(shown_epsilon(*rates, delta)[0]))
            for rates in (counts.rates(), counts.upper(), counts.lower())
        )
        return Bound(value, low, high, "")

    @override
    def with_threshold(self, threshold: Threshold) -> Self:
        return replace(self, threshold=threshold)
