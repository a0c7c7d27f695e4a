"""What all of training costs under DP-SGD with Poisson sampling: epsilon, and the noise for one."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import dp_accounting
import numpy as np
from dp_accounting import pld, rdp
from scipy import optimize

from leakage.accounting.gaussian import check_delta, gaussian_epsilon, gaussian_mu
from leakage.errors import LeakageError
from leakage.quiet import untouched_logging

Accountant = Literal["pld", "rdp", "prv"]
Adjacency = Literal["add_or_remove", "replace_one"]

# Below the least noise epsilon says nothing; above the most, the noise drowns any training.
LEAST_NOISE, MOST_NOISE = 0.01, 1e4
# Less than this is blurred by the mass that PLD cuts off, 1e-15 in all.
CUT_OFF = 1e-12
# Beyond this many standard deviations a normal variable holds less mass than PLD cuts off.
TAIL = 10.0


def training_epsilon(
    sigma: float,
    q: float,
    steps: int,
    delta: float,
    accountant: Accountant = "pld",
    *,
    adjacency: Adjacency = "add_or_remove",
) -> float:
    """An epsilon at which all steps of DP-SGD together are (epsilon, delta)-DP, in [0, inf].

    Each step takes every record with probability q, clips its gradient to C and adds
    N(0, sigma^2 C^2) to the sum. With q = 1 the figure is exact, that of mu = sqrt(steps)/sigma
    (twice that mu if a record is replaced). Otherwise it is the accountant's upper bound:

    - `pld`: privacy loss distributions, discretized from above by connecting the dots
      (Doroshenko et al. 2022). It exceeds the truth by about 1 part in 10,000. Where it fails,
      at a sigma below .01 or a delta below 1e-12, the same stands in as for `prv`.
    - `rdp`: Renyi DP (Mironov et al. 2019), looser by 5 to 20%.
    - `prv`: privacy random variables (Gopi et al. 2021), as Opacus has them; its upper limit
      lies .01 above its estimate. Where it fails, beyond an epsilon of some hundreds, the
      smaller of RDP and the figure for q = 1 stands in.

    No accountant that can fall below the truth, such as the central limit one, is here.

    Args:
        sigma: the noise multiplier, at least 0; without noise epsilon is infinite.
        q: the sampling rate, in (0, 1].
        steps: at least 0.
        delta: in (0, 1).
        accountant: which upper bound.
        adjacency: a record added or removed, or replaced by another; the latter for pld alone.

    >>> round(training_epsilon(1.0, 0.01, 1000, 1e-5), 2)
    1.83
    """
    _check(sigma, q, steps, delta)
    if adjacency == "replace_one" and accountant != "pld":
        raise LeakageError(
            f"adjacency: the accountant {accountant} knows records added or removed alone, and"
            " replace_one would be told too small; take pld"
        )
    if steps * q <= delta:  # a record is most likely never drawn: delta alone covers it
        return 0.0
    mu = math.sqrt(steps) / sigma if sigma > 0 else math.inf
    if math.isinf(gaussian_epsilon(mu, delta)):
        return math.inf
    if accountant == "rdp":
        return _rdp_epsilon(sigma, q, steps, delta)
    if accountant == "prv":
        return _prv_epsilon(sigma, q, steps, delta)
    return _pld_epsilon(sigma, q, steps, delta, adjacency)


def noise_multiplier(epsilon: float, delta: float, q: float, steps: int) -> float:
    """The least noise multiplier sigma that keeps all of training (epsilon, delta)-DP.

    For a record added or removed, as PLD accounts for it; at most 1 part in 1,000 above the least,
    never below it, and at least 0.01, below which no target says anything.

    Args:
        epsilon: the target, above 0.
        delta: in (0, 1).
        q: the sampling rate, in (0, 1].
        steps: at least 0.

    Raises:
        LeakageError: if the target needs a sigma above 10,000.

    >>> round(noise_multiplier(8.0, 1e-5, 0.04, 2250), 2)
    1.35
    """
    _check(0.0, q, steps, delta)
    if not epsilon > 0:
        raise LeakageError(f"defense.epsilon: a target above 0 is needed, got {epsilon}")

    def excess(sigma: float, coarse: int = 4) -> float:
        return _pld_epsilon(sigma, q, steps, delta, "add_or_remove", coarse) - epsilon

    if steps * q <= delta:
        return LEAST_NOISE
    # Sampling only helps: the noise that does without it is enough.
    enough = math.sqrt(steps) / gaussian_mu(epsilon, delta) * (1 + 1e-9)
    if q == 1 and LEAST_NOISE <= enough <= MOST_NOISE:
        return enough
    high = min(MOST_NOISE, max(LEAST_NOISE, enough))
    if enough > MOST_NOISE and excess(high, coarse=1) > 0:
        least = training_epsilon(MOST_NOISE, q, steps, delta)
        raise LeakageError(
            f"defense.epsilon: a target of {epsilon:g} at delta = {delta:g} needs a sigma above"
            f" {MOST_NOISE:g} over {steps} steps at a sampling rate of {q:g}; the least in reach"
            f" is about {least:.2g}: raise the target, train for fewer steps or on more records"
        )
    while (low := max(high / 2, LEAST_NOISE)) < high and excess(low) <= 0:
        high = low  # loud noise is quick to account for
    if low == high or excess(high) > 0:  # at an end; the coarser grid cannot tell more
        return high
    sigma = float(optimize.brentq(excess, low, high, xtol=1e-12, rtol=1e-4))
    blur = excess(sigma) - excess(sigma, coarse=1)  # what the coarser grid adds around here
    if excess(low) > blur > 0:
        sigma = float(optimize.brentq(lambda s: excess(s) - blur, low, sigma, rtol=1e-4))
    while excess(sigma, coarse=1) > 0:
        sigma *= 1 + 2e-4
    return sigma


def _check(sigma: float, q: float, steps: int, delta: float) -> None:
    check_delta(delta)
    if not (math.isfinite(sigma) and sigma >= 0):
        raise LeakageError(f"sigma: a finite number of at least 0 is needed, got {sigma}")
    if not 0 < q <= 1:
        raise LeakageError(f"q: a sampling rate in (0, 1] is needed, got {q}")
    if steps < 0:
        raise LeakageError(f"steps: a number of at least 0 is needed, got {steps}")


def _pld_epsilon(
    sigma: float, q: float, steps: int, delta: float, adjacency: Adjacency, coarse: int = 1
) -> float:
    replaced = adjacency == "replace_one"
    unsampled = gaussian_epsilon(math.sqrt(steps) * (1 + replaced) / sigma, delta)
    if q == 1 or unsampled == 0 or sigma < LEAST_NOISE:  # so faint that floats overflow
        return unsampled
    if min(q, delta) < CUT_OFF:
        return unsampled if replaced else min(unsampled, _rdp_epsilon(sigma, q, steps, delta))
    interval = coarse * _interval(sigma, q, steps)
    if interval > 500:  # epsilon runs into billions, and exp(interval) overflows
        return unsampled
    relation = dp_accounting.NeighboringRelation
    accountant = pld.PLDAccountant(
        relation.REPLACE_ONE if replaced else relation.ADD_OR_REMOVE_ONE, interval
    )
    accountant.compose(_event(sigma, q, steps))
    return min(float(accountant.get_epsilon(delta)), unsampled)  # sampling cannot hurt


def _interval(sigma: float, q: float, steps: int) -> float:
    """The step of PLD's grid: a fixed one is too coarse for loud noise and endless for faint.

    A fiftieth of a step's standard deviation, unless more than 20,000 points a step or some
    2,000,000 for all steps would come of it, or rounding (1e-13 of a step's mass over the interval)
    would swell all steps by more than a tenth. Powers of two: each grid holds the coarser
    ones, whose bounds are looser, so that epsilon falls as sigma rises.
    """
    largest = 1 / (2 * sigma**2) + TAIL / sigma  # log of the ratio of the densities, unsampled
    reach = math.log1p(q * math.expm1(largest)) if largest < 700 else largest + math.log(q)
    deviation = q * math.sqrt(math.expm1(min(1 / sigma**2, 700.0)))
    mean = min(deviation**2, 1 / (2 * sigma**2), reach)  # at most the chi-squared divergence
    # dp-accounting cuts the tails of the sum by Chernoff bounds of few, large orders.
    whole = steps * mean * (1 + 1 / reach) + TAIL * math.sqrt(steps) * min(deviation, 1 / sigma)
    finest = max(min(deviation, 0.2) / 50, reach / 2e4, whole / 2e6, steps * 1e-12)
    return float(2.0 ** math.floor(math.log2(finest)))


def _rdp_epsilon(sigma: float, q: float, steps: int, delta: float) -> float:
    accountant = rdp.RdpAccountant()
    with _quiet():
        accountant.compose(_event(sigma, q, steps))
        epsilon = float(accountant.get_epsilon(delta))
    return math.inf if math.isnan(epsilon) else max(0.0, epsilon)


def _prv_epsilon(sigma: float, q: float, steps: int, delta: float) -> float:
    bound = _rdp_epsilon(sigma, q, steps, delta)
    bound = min(bound, gaussian_epsilon(math.sqrt(steps) / sigma, delta))
    # Opacus takes exp of the ends of its grid; once that overflows it says too little, unasked.
    if q == 1 or bound == 0 or _rdp_epsilon(sigma, q, steps, delta / (8000 * steps)) > 700:
        return bound
    with untouched_logging():
        from opacus.accountants import PRVAccountant  # seconds to load, and seldom asked for

    accountant = PRVAccountant()
    accountant.history = [(sigma, q, steps)]
    try:
        with _quiet():
            epsilon = float(accountant.get_epsilon(delta))
    except (RuntimeError, ValueError):  # its own checks: rounding would dominate so small a delta
        return bound
    return min(max(0.0, epsilon), bound)


def _event(sigma: float, q: float, steps: int) -> dp_accounting.DpEvent:
    step = dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(sigma))
    return dp_accounting.SelfComposedDpEvent(step, steps)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the accountants say of Renyi orders that they leave out: the bound holds."""
    log = logging.getLogger("absl")
    log.addFilter(_says_nothing_of_orders)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)
            yield
    finally:
        log.removeFilter(_says_nothing_of_orders)


def _says_nothing_of_orders(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return not ("Renyi divergence" in text or "_compute_log_a_frac" in text)
