"""Information and error, in both directions (Fano 1961), in bits."""

from __future__ import annotations

import numpy as np
from scipy import integrate, optimize, special

from leakage.metrics.intervals import Floats


def entropy_bits(prior: Floats) -> float:
    """H(a) = -sum_a P(a) log2 P(a) of a prior (c,), in bits, in [0, log2 c].

    >>> entropy_bits(np.array([0.5, 0.25, 0.25]))
    1.5
    """
    return float(special.entr(prior).sum() / np.log(2)) + 0.0


def information_floor(error: float, prior_entropy: float, c: int) -> float:
    """The least I(a; g~) of an attack whose error is at most `error`, in bits, in [0, H(a)].

    max(0, H(a) - h(Pe) - Pe log2(c-1)) (Fano 1961). The error is an upper limit, not an estimate.

    Args:
        error: upper limit of the attack's error, in [0, 1].
        prior_entropy: H(a) in bits.
        c: values of the secret, at least 2.

    >>> information_floor(0.0, 1.0, c=2), information_floor(0.5, 1.0, c=2)
    (1.0, 0.0)
    """
    return max(0.0, prior_entropy - _equivocation(min(error, 1 - 1 / c), c))


def fano_error_floor(information_bits: float, prior_entropy: float, c: int) -> float:
    """The least error of any adversary who gets at most so many bits, in [0, 1 - 1/c].

    The root of h(Pe) + Pe log2(c-1) = H(a) - I (Fano 1961).

    Args:
        information_bits: a *proven* upper bound of I(a; g~); an estimate never enters here.
        prior_entropy: H(a) in bits.
        c: values of the secret, at least 2.

    >>> fano_error_floor(0.0, 1.0, c=2), fano_error_floor(1.0, 1.0, c=2)
    (0.5, 0.0)
    """
    missing, most = prior_entropy - information_bits, 1 - 1 / c
    if missing <= 0:
        return 0.0
    if missing >= _equivocation(most, c):
        return most
    return float(optimize.brentq(lambda error: _equivocation(error, c) - missing, 0.0, most))


def gaussian_bits(d: float, prior: float = 0.5) -> float:
    """J(d): mutual information of a bit and N(+-d/2, 1), in bits, in [0, H(a)].

    H(a) less the mean entropy of the posterior: the log2(1 + exp(-/+ l)) that the truth lacks, l
    the logarithm of the posterior odds, over x ~ N(+-d/2, 1), by quadrature.

    Args:
        d: the distance of the two means in standard deviations; may be infinite.
        prior: of the one value, in [0, 1].

    >>> [round(gaussian_bits(d), 4) for d in (0.25, 0.5, 1.0, 2.0, 4.0)]
    [0.0112, 0.0437, 0.1607, 0.4859, 0.9128]
    """
    entropy = entropy_bits(np.array([prior, 1 - prior]))
    d = abs(d)
    if entropy == 0 or d == 0:
        return 0.0
    if d > 1e3:  # the other value is as good as excluded, whatever the prior
        return entropy
    lost = sum(p * _lost(d, np.log(p / (1 - p))) for p in (prior, 1 - prior))
    return float(np.clip(entropy - lost, 0, entropy))


def _lost(d: float, log_odds: float) -> float:
    """E log2(1 + 1/odds), the odds of the truth after one x ~ N(d/2, 1), `log_odds` before it."""

    def lost(z: float) -> float:
        density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
        return float(density * np.logaddexp(0.0, -log_odds - d * (d / 2 + z)) / np.log(2))

    bend = -log_odds / d - d / 2  # where the odds are even
    return float(integrate.quad(lost, -12, 12, points=[bend] if abs(bend) < 12 else None)[0])


def _equivocation(error: float, c: int) -> float:
    """H(error) + error log2(c-1), which rises in the error up to 1 - 1/c."""
    return float(
        (special.entr(error) + special.entr(1 - error)) / np.log(2) + error * np.log2(c - 1)
    )
