"""What theory allows an audit to find, beside which each empirical epsilon is told."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leakage.accounting.gaussian import gaussian_epsilon
from leakage.accounting.training import Adjacency, training_epsilon


@dataclass(frozen=True)
class Claim:
    """What DP proves of some releases.

    Args:
        sigma: the noise multiplier, above 0.
        q: the chance with which a record takes part in a release, in (0, 1].
        releases: at least 1.
        delta: in [0, 1).
    """

    sigma: float
    q: float
    releases: int
    delta: float

    def epsilon(self, adjacency: Adjacency) -> float:
        """The epsilon that no pair of neighbours exceeds, in [0, inf].

        Exact where every record takes part: mu = sqrt(releases) / sigma for a record added or
        removed, and twice that where one is replaced, since the clipped sum then moves by 2C (Balle
        & Wang 2018). Else the upper bound of PLD. Gaussian noise keeps no epsilon at delta 0.
        """
        if self.delta == 0:
            return math.inf
        return training_epsilon(self.sigma, self.q, self.releases, self.delta, adjacency=adjacency)


def exact_epsilon(mu: float, delta: float) -> float:
    """E0: the epsilon of one pair whose releases are N(0, 1) and N(mu, 1) to one who knows it.

    mu = ||Delta|| / (sigma C) for one release, Delta the difference of the clipped sums, and the
    root of the sum of squares for several (Dong, Roth & Su 2022).

    >>> round(exact_epsilon(1.0, 1e-5), 3), exact_epsilon(0.0, 0.0), exact_epsilon(1.0, 0.0)
    (4.377, 0.0, inf)
    """
    if mu == 0:
        return 0.0
    return math.inf if delta == 0 else gaussian_epsilon(mu, delta)
