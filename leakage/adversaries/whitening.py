"""A linear map after which rows have no correlation and unit variance."""

from __future__ import annotations

import numpy as np

from leakage.adversaries.base import Array

_SHARES = np.logspace(-8, 0, 25)  # of the identity in a covariance


def whitening(centred: Array) -> Array:
    """W with cov(rows @ W) = 1 for rows (n, m) about their mean, float64 (m, m).

    The covariance of entries scaled to unit variance is mixed with the identity, so that it has an
    inverse where n < m. The share is the one under which every second row has the largest Gaussian
    likelihood given the others: the formula for the least squared error (Ledoit & Wolf 2004) takes
    far too much of it where a direction with little noise tells most. A constant entry counts 0.
    """
    spread = centred.std(axis=0)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    rows = centred * scale
    share = _best_share(rows[::2], rows[1::2])
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    mixed = (1 - share) * np.maximum(variances, 0) + share
    return np.asarray(scale[:, None] * axes / np.sqrt(mixed))


def _best_share(known: Array, asked: Array) -> float:
    """The share of the identity under which rows (n, m) are likeliest, given others."""
    variances, axes = np.linalg.eigh(known.T @ known / len(known))
    found = ((asked @ axes) ** 2).mean(axis=0)  # (m,)
    mixed = np.outer(1 - _SHARES, np.maximum(variances, 0)) + _SHARES[:, None]  # (shares, m)
    return float(_SHARES[(np.log(mixed) + found / mixed).sum(axis=1).argmin()])
