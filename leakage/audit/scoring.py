"""The score of a release: how much it speaks for one of two neighbouring batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """s = <g~ - m0, v>: against Gaussian noise with v = (m1 - m0) / std^2 the likelihood ratio.

    Summed over rounds and divided by the root of the summed variances it is N(0, 1) under the one
    neighbour and N(mu, 1) under the other, mu^2 the sum of their squares (Neyman & Pearson 1933).

    Args:
        centre: m0, the mean release of the neighbour `zero`, (p,).
        direction: v, (p,).
        variance: of s; that of noise, and of other records where they are not known.
        shift: E s under the neighbour `one`.
    """

    centre: Tensor
    direction: Tensor
    variance: float
    shift: float

    def __call__(self, releases: Iterator[Tensor]) -> Floats:
        """The scores (n,) of blocks of releases (rows, p)."""
        v, c = self.direction.double(), float(self.centre.double() @ self.direction.double())
        return np.concatenate([(block.double() @ v - c).numpy() for block in releases])


@dataclass(frozen=True)
class Sampled:
    """The log likelihood ratio where a record takes part in a release with the chance q alone.

    log((1-q) + q e^{l1}) - log((1-q) + q e^{l0}), l_a = (<g~ - m, d_a> - |d_a|^2 / 2) / std^2, with
    m the mean release without the record and d_a what the record adds (Abadi et al. 2016).

    Args:
        without: m, (p,).
        zero: d_0, (p,).
        one: d_1, (p,).
        std: of the noise in each entry.
        q: in (0, 1).
    """

    without: Tensor
    zero: Tensor
    one: Tensor
    std: float
    q: float

    def __call__(self, releases: Iterator[Tensor]) -> Floats:
        """The scores (n,) of blocks of releases (rows, p)."""
        d = torch.stack([self.zero, self.one], 1).double()  # (p, 2)
        c = self.without.double() @ d + (d**2).sum(0) / 2
        logs = torch.cat([(block.double() @ d - c) / self.std**2 for block in releases])
        present = logs + math.log(self.q)
        either = torch.logaddexp(present, torch.tensor(math.log1p(-self.q)).double())
        return np.asarray((either[:, 1] - either[:, 0]).numpy())

    def expected(self, side: Literal["zero", "one"], n: int, rng: np.random.Generator) -> Floats:
        """Scores (n,) as theory expects them, of made-up noise, to plan by before any trial."""
        d = torch.stack([self.zero, self.one], 1).double().numpy() / self.std
        gram = d.T @ d  # of the products of the noise with both d_a
        root = np.linalg.svd(d, full_matrices=False)
        noise = rng.standard_normal((n, root.S.size)) @ (root.S[:, None] * root.Vh)
        taken = rng.random(n) < self.q
        logs = noise + taken[:, None] * gram[["zero", "one"].index(side)] - gram.diagonal() / 2
        either = np.logaddexp(logs + math.log(self.q), math.log1p(-self.q))
        return np.asarray(either[:, 1] - either[:, 0])


def gaussian_score(zero: Tensor, one: Tensor, std: float) -> Linear:
    """The score of Gaussian releases with the means (p,) and this standard deviation."""
    difference = one.double() - zero.double()
    square = float(difference @ difference) / std**2
    return Linear(zero, difference / std**2, square, square)


def whitened_score(zero: Tensor, one: Tensor, std: float, others: Tensor, count: int) -> Linear:
    """The score where `count` other records, drawn anew, are in each batch beside the noise.

    v = S^-1 (m1 - m0), S = std^2 I + count Cov(others) (Fisher 1936), by Woodbury's identity.

    Args:
        zero: mean release of the neighbour zero, (p,).
        one: that of the neighbour one, (p,).
        std: of the noise in each entry, above 0.
        others: what each of some other records adds to a release, (m, p).
        count: others in a batch.
    """
    difference = one.double() - zero.double()
    U = (others.double() - others.double().mean(0)) * math.sqrt(count / max(1, len(others) - 1))
    inner = std**2 * torch.eye(len(U), dtype=torch.float64) + U @ U.T
    v = (difference - U.T @ torch.linalg.solve(inner, U @ difference)) / std**2
    square = float(difference @ v)
    return Linear(zero, v, square, square)


def noise_fits(score: Linear, zero: Tensor, one: Tensor, std: float) -> bool:
    """Whether releases of one batch vary along the score as noise of this deviation does.

    By the chi-squared test of a variance; fresh noise of this deviation fails once in 10^7.

    Args:
        score: whose direction counts.
        zero: releases of one batch, (m, p).
        one: of another one, (m, p).
        std: of the noise in each entry, above 0.
    """
    expected = std**2 * float(score.direction @ score.direction)
    if not expected:
        return True
    sides = [score(iter([side])) for side in (zero, one)]
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in sides)
    degrees = sum(len(side) - 1 for side in sides)
    below = stats.chi2.cdf(squares / expected, degrees)
    above = stats.chi2.sf(squares / expected, degrees)
    return bool(min(below, above) > 5e-8)


def pilot_score(zero: Tensor, one: Tensor) -> Linear:
    """The score of an M without a theory: along the difference of the means of some releases.

    Each entry counts by its own variance (a diagonal linear discriminant, Bickel & Levina 2004).

    Args:
        zero: releases of the one neighbour, (m, p).
        one: those of the other, (m, p).
    """
    difference = one.double().mean(0) - zero.double().mean(0)
    variance = (one.double().var(0) + zero.double().var(0)) / 2
    least = 1e-6 * variance.max() or 1.0  # where nothing varied, all entries count alike
    v = difference / (variance + least)
    return Linear(zero.double().mean(0), v, float(v**2 @ variance), float(difference @ v))


def silent_score(zero: Tensor, one: Tensor, silent: Tensor) -> Linear:
    """The score of the entries (p,) that carry no noise: 0 under one neighbour, else a constant."""
    difference = torch.where(silent, one.double() - zero.double(), 0.0)
    far = 20.0  # standard deviations, far from what chance attains
    return Linear(zero, difference / float(difference @ difference) * far, 1.0, far)
