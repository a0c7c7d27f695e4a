"""What DP proves of a secret: ceilings that no adversary exceeds, whatever it knows.

The secret has c values. Between the releases of value a and of value b every test is at most as
powerful as one between N(0, 1) and N(mu_ab, 1): mu_ab-Gaussian DP (Dong, Roth & Su 2022), here with
the batches of a and b as neighbours. All ceilings follow from the matrix of these mu alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from leakage.metrics.information import entropy_bits, fano_error_floor, gaussian_bits
from leakage.metrics.intervals import Floats


def secret_mu(changed: NDArray[np.integer], sigma: float, rounds: int) -> Floats:
    """mu_ab = 2 h_ab sqrt(rounds) / sigma, (c, c), in [0, inf]; 0 where no record differs.

    Each of the h records that differ between the batches of a and of b moves the clipped sum by at
    most 2C, and the noise has sigma C; releases of independent noise compose as the root of their
    number (Dong, Roth & Su 2022).

    Args:
        changed: h_ab, how many records differ at most, (c, c), symmetric.
        sigma: the noise multiplier, at least 0; without noise what differs is told apart.
        rounds: how many releases, at least 0.

    >>> secret_mu(np.array([[0, 1], [1, 0]]), sigma=2.0, rounds=4)
    array([[0., 2.],
           [2., 0.]])
    """
    moved = 2 * np.asarray(changed, dtype=np.float64) * math.sqrt(rounds)
    if sigma == 0:
        return np.where(moved > 0, np.inf, 0.0)
    return moved / sigma


def success_ceiling(mus: Floats, prior: Floats) -> float:
    """The greatest attack success rate (ASR) of any adversary, in [max P(a), 1].

    Let E_a be the releases that an adversary answers with a, and b any one value. Then
    P_a(E_a) <= G_ab(P_b(E_a)), G_mu(x) = Phi(Phi^-1(x) + mu), and the x_a = P_b(E_a) sum to 1:
    ASR <= max over the simplex of sum_a P(a) G_ab(x_a), which is concave in x. The least over b is
    returned. For two values it is attained by Gaussian releases, at a uniform prior Phi(mu/2); for
    c uniform ones it is at most Phi(Phi^-1(1/c) + mu), which follows from Jensen's inequality.

    Args:
        mus: (c, c), symmetric, 0 on the diagonal; may hold infinity.
        prior: P(a), (c,).

    >>> round(success_ceiling(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0.5, 0.5])), 4)
    0.6915
    """
    ceiling = min(_success_beside(mus[b], prior) for b in range(len(prior)))
    return float(np.clip(ceiling, np.max(prior), 1.0))


def auroc_ceiling(mus: Floats) -> float:
    """The greatest AUROC of any adversary, Phi(max mu / sqrt 2), in [.5, 1].

    For two values it is the area under the ROC curve of N(0, 1) and N(mu, 1). It also holds for
    one value against all others, and so for the macro average: with Q = sum_b w_b P_b the mixture
    of the others and G_mu of `success_ceiling`, which rises in x, every event E has
    P_a(E) <= G_mu(min_b P_b(E)) <= G_mu(Q(E)). The ROC curve against the mixture, too, lies below
    that of the Gaussian pair.

    >>> round(auroc_ceiling(np.array([[0.0, 1.0], [1.0, 0.0]])), 4)
    0.7602
    """
    return float(special.ndtr(np.max(mus) / math.sqrt(2)))


def information_ceiling(mus: Floats, prior: Floats) -> float:
    """The greatest mutual information I(a; g~) that DP allows, in bits, in [0, H(a)].

    Two values: J(mu) of the Gaussian channel with that prior, which is attained (a mu-GDP pair is a
    post-processing of the Gaussian one, Dong, Roth & Su 2022, theorem 2.10). More values: the least
    of H(a) and of two bounds, both from I <= sum_a P(a) KL(P_a || Q) for any Q:

    - Q the releases of one value b: sum_a P(a) mu_ab^2 / 2, the least over b;
    - Q a Gaussian around the centre of the smallest ball about the sums: given the records of all
      values, the c clipped sums lie at most D = mu_max sigma C apart, hence within a ball of radius
      D sqrt((c-1) / (2c)) (Jung 1901), and I <= mu_max^2 (c-1) / (4c), both over ln 2.

    The second needs Gaussian noise, as `DP` adds it, not mu-GDP alone.

    Args:
        mus: (c, c), symmetric, 0 on the diagonal; may hold infinity.
        prior: P(a), (c,).
    """
    c, entropy = len(prior), entropy_bits(prior)
    if c == 2:
        return min(entropy, gaussian_bits(float(mus[0, 1]), float(prior[0])))
    likely = prior > 0  # an impossible value tells nothing, however far it is
    if np.count_nonzero(likely) == 1:
        return 0.0
    near = mus[np.ix_(likely, likely)]
    values = len(near)
    with np.errstate(over="ignore"):
        beside = float(np.min(near**2 @ prior[likely])) / 2
        ball = float(np.max(near) ** 2) * (values - 1) / (4 * values)
    return min(entropy, min(beside, ball) / math.log(2))


def error_floor(mus: Floats, prior: Floats) -> float:
    """The least error of any adversary, in [0, 1 - max P(a)].

    The greater of 1 - `success_ceiling` and of Fano's floor under `information_ceiling`. The first
    is exact for two values, and the tighter one there; with many values and much noise Fano's can
    be tighter, because Jung's ball holds all values at once.
    """
    fano = fano_error_floor(information_ceiling(mus, prior), entropy_bits(prior), len(prior))
    return min(max(1 - success_ceiling(mus, prior), fano), 1 - float(np.max(prior)))


def _success_beside(mu: Floats, prior: Floats) -> float:
    """The most of sum_a P(a) G_a(x_a) over the simplex; mu (c,) is 0 at the value of reference.

    G_mu'(x) = exp(-mu Phi^-1(x) - mu^2/2): at the multiplier l of the constraint the best x_a is
    Phi(z_a), z_a = ln(P(a)/l)/mu - mu/2. Values with mu 0 earn P(a) x: the likeliest of them takes
    what is left, so that l is at least its P(a). An infinite mu earns P(a) from any x_a > 0.
    The dual value, l + sum_a (P(a) Phi(z_a + mu_a) - l Phi(z_a)), is a ceiling at any such l, and
    the least of them the maximum: a root that is off by rounding stays a ceiling.
    """
    free = float(prior[np.isposinf(mu)].sum())
    linear = float(np.max(prior[mu == 0]))
    curved = (mu > 0) & np.isfinite(mu) & (prior > 0)
    if not curved.any():
        return free + linear
    mu, prior = np.maximum(mu[curved], 1e-9), prior[curved]  # less would drown in rounding
    log_prior = np.log(prior)

    def at(slope: float) -> Floats:
        return np.asarray((log_prior - slope) / mu - mu / 2)

    def taken(slope: float) -> float:
        return float(special.ndtr(at(slope)).sum()) - 1

    reach = float(np.max(mu)) * (float(np.max(mu)) / 2 + 9)  # every x_a is 0 or 1 there
    low = math.log(linear) if linear > 0 else float(np.min(log_prior)) - reach
    slope = low
    if taken(low) > 0:  # worth more than the linear ones earn
        slope = float(optimize.brentq(taken, low, max(low, float(np.max(log_prior))) + reach))
    multiplier, z = math.exp(slope), at(slope)
    gain = prior * special.ndtr(z + mu) - multiplier * special.ndtr(z)
    return free + multiplier + float(gain.sum())
