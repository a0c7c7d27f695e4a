"""Gaussian differential privacy: epsilon, delta and mu of one Gaussian release."""

from __future__ import annotations

import math

from scipy import optimize, stats

from leakage.errors import LeakageError


def gaussian_delta(epsilon: float, mu: float) -> float:
    """The least delta at which a mu-GDP mechanism is (epsilon, delta)-DP, in [0, 1].

    delta(eps) = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu) (Balle & Wang 2018, theorem 8).
    Here mu is the sensitivity over the standard deviation of the noise, and R releases of the
    same data have sqrt(R) times the mu of one.

    Args:
        epsilon: at least 0.
        mu: at least 0; infinity is a release without noise.

    >>> round(gaussian_delta(1.0, 1.0), 4), gaussian_delta(1.0, 0.0)
    (0.1269, 0.0)
    """
    _check_mu(mu)
    if not epsilon >= 0:
        raise LeakageError(f"epsilon: a number of at least 0 is needed, got {epsilon}")
    if mu == 0 or math.isinf(epsilon):
        return 0.0
    if math.isinf(mu):
        return 1.0
    upper = float(stats.norm.logcdf(mu / 2 - epsilon / mu))
    lower = epsilon + float(stats.norm.logcdf(-mu / 2 - epsilon / mu))
    # The second term never exceeds the first; their difference is taken where it is largest.
    return max(0.0, -math.exp(upper) * math.expm1(min(0.0, lower - upper)))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The least epsilon of a mu-GDP mechanism at delta, in [0, inf]; 0 where delta alone covers it.

    The root of `gaussian_delta(epsilon, mu) = delta` (Balle & Wang 2018).

    Args:
        mu: at least 0; infinity gives infinity.
        delta: in (0, 1).

    >>> round(gaussian_epsilon(1.0, 1e-5), 3), gaussian_epsilon(float("inf"), 1e-5)
    (4.377, inf)
    """
    _check_mu(mu)
    check_delta(delta)
    if gaussian_delta(0.0, mu) <= delta:
        return 0.0
    # delta(eps) <= Phi(mu/2 - eps/mu), which is delta at the upper end.
    most = mu * (mu / 2 + float(stats.norm.isf(delta)))
    if math.isinf(most):  # no noise, or an epsilon beyond what a float holds
        return math.inf
    if gaussian_delta(most, mu) >= delta:  # equal up to rounding: the two ends meet
        return most
    return float(optimize.brentq(lambda e: gaussian_delta(e, mu) - delta, 0.0, most, xtol=1e-13))


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The greatest mu whose mechanism is (epsilon, delta)-DP: the inverse of `gaussian_epsilon`.

    Args:
        epsilon: at least 0; infinity gives infinity.
        delta: in (0, 1).

    >>> round(gaussian_mu(4.377, 1e-5), 3)
    1.0
    """
    check_delta(delta)
    if not epsilon >= 0:
        raise LeakageError(f"epsilon: a number of at least 0 is needed, got {epsilon}")
    if math.isinf(epsilon):
        return math.inf
    if epsilon == 0:
        return 2 * float(stats.norm.ppf((1 + delta) / 2))  # delta(0) = 2 Phi(mu/2) - 1
    low = high = 2 * float(stats.norm.ppf((1 + delta) / 2))
    if gaussian_delta(epsilon, low) >= delta:  # an epsilon that is lost beside 1
        return low
    while gaussian_delta(epsilon, high) < delta:
        high = 2 * high
    return float(optimize.brentq(lambda m: gaussian_delta(epsilon, m) - delta, low, high))


def check_delta(delta: float) -> None:
    """Refuses a delta outside (0, 1)."""
    if not 0 < delta < 1:
        raise LeakageError(f"delta: a number in (0, 1) is needed, got {delta}")


def _check_mu(mu: float) -> None:
    if not mu >= 0:
        raise LeakageError(f"mu: a number of at least 0 is needed, got {mu}")
