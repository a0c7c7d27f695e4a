"""E3: epsilon from the Gaussian trade-off curve through the two error rates (Nasr et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import special
from typing_extensions import override

from leakage.accounting.gaussian import gaussian_epsilon
from leakage.audit.estimators.base import Bound
from leakage.audit.estimators.counts import Counts
from leakage.audit.estimators.rates import RateEstimator
from leakage.audit.estimators.scores import Floats
from leakage.audit.estimators.thresholds import Threshold
from leakage.errors import LeakageError


@dataclass(frozen=True)
class GaussianCurve(RateEstimator):
    """mu_low = Phi^-1(1 - FPR_up) - Phi^-1(FNR_up), then the epsilon of a mu_low-GDP mechanism.

    The limits are those of ClopperPearson. One threshold tells the whole curve only if the curve
    is Gaussian: one full-batch release with Gaussian noise. Over Laplace noise it claims about
    four times the truth.

    Args:
        threshold: as of ClopperPearson.
    """

    threshold: Threshold | None = None
    premise = "valid only if the noise is Gaussian"

    @property
    @override
    def name(self) -> str:
        return "gaussian"

    @override
    def merits(self, counts: Counts, delta: float) -> Floats:
        return _mu(*counts.upper())

    @override
    def judge(self, counts: Counts, delta: float) -> Bound:
        if not delta > 0:
            raise LeakageError(
                "audit.delta: a Gaussian curve has no finite epsilon at delta 0; set a delta above "
                "0, or leave GaussianCurve out of audit.estimators"
            )
        value, low, high = (
            gaussian_epsilon(max(0.0, float(_mu(*rates)[0])), delta)
            for rates in (counts.rates(), counts.upper(), counts.lower())
        )
        return Bound(value, low, high, "")

    @override
    def with_threshold(self, threshold: Threshold) -> Self:
        return replace(self, threshold=threshold)


def _mu(fpr: Floats, fnr: Floats) -> Floats:
    """The mu of the Gaussian curve through (FPR, FNR), (m,); below 0 beyond chance."""
    with np.errstate(invalid="ignore"):
        mu = -special.ndtri(fpr) - special.ndtri(fnr)
    return np.fmax(mu, -np.inf)
