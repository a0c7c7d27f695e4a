"""A linear map after which rows have no correlation and unit variance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leakage.adversaries.base import Array

_SHARES = np.logspace(-8, 0, 25)  # of the identity in a covariance
_FOLDS = 4


def whitening(centred: Array, share: float) -> Array:
    """W with cov(rows @ W) = 1 for rows (n, m) about their mean, float64 (m, m).

    The covariance of entries scaled to unit variance is mixed with the identity, so that it has an
    inverse where n < m. A constant entry counts 0. The formula for the least squared error of a
    covariance (Ledoit & Wolf 2004) takes far too large a share where directions with little noise
    tell most, so that shares are chosen by what they are for: see below.

    Args:
        centred: rows (n, m) about their mean.
        share: of the identity, in (0, 1].
    """
    axes, variances = _principal(centred)
    return np.asarray(axes / np.sqrt(_mixed(variances, np.array([share]))[0]))


def likeliest_share(centred: Array) -> float:
    """The share under which every second row has the largest Gaussian likelihood given others.

    Args:
        centred: independent rows (n, m) about their mean.
    """
    axes, variances = _principal(centred[::2])
    found = ((centred[1::2] @ axes) ** 2).mean(axis=0)  # (m,)
    mixed = _mixed(variances, _SHARES)
    return float(_SHARES[(np.log(mixed) + found / mixed).sum(axis=1).argmin()])


def telling_share(rows: Array, users: NDArray[np.int64]) -> float:
    """The share under which users who are left out are told apart best, in four folds of users.

    Args:
        rows: releases (n, m), at least two of each user.
        users: 0..U-1, (n,); with fewer than four the share is 1.
    """
    folds = min(_FOLDS, (int(users.max()) + 1) // 2)
    if folds < 2:
        return 1.0
    mistaken = [_mistaken(rows, users, users % folds == fold) for fold in range(folds)]
    return float(_SHARES[np.mean(mistaken, axis=0).argmin()])


def _mistaken(rows: Array, users: NDArray[np.int64], left_out: NDArray[np.bool_]) -> Array:
    """How many of the others lie nearer than a release's own user, a number in [0, 1] a share.

    Of the users who are left out every second release makes the mean, the others are asked about.
    """
    known, own = rows[~left_out], np.unique(users[~left_out], return_inverse=True)[1]
    axes, variances = _principal(known - user_means(known, own)[own])
    order = np.argsort(users[left_out], kind="stable")
    of = np.unique(users[left_out][order], return_inverse=True)[1]
    placed = rows[left_out][order] @ axes
    second = (np.arange(len(of)) - np.searchsorted(of, of)) % 2 == 1
    means, asked, of = user_means(placed[~second], of[~second]), placed[second], of[second]
    found = []
    for mixed in _mixed(variances, _SHARES):
        distance = (means**2 / mixed).sum(axis=1) - 2 * (asked / mixed) @ means.T  # (n, U)
        found.append((distance < distance[np.arange(len(of)), of, None]).mean())
    return np.array(found)


def user_means(rows: Array, users: NDArray[np.int64]) -> Array:
    """The mean of the rows of each user 0..U-1, (U, m)."""
    return np.stack([rows[users == user].mean(axis=0) for user in range(users.max() + 1)])


def _principal(centred: Array) -> tuple[Array, Array]:
    """The principal axes of entries scaled to unit variance (m, m), and the variances (m,)."""
    spread = centred.std(axis=0)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    rows = centred * scale
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    return scale[:, None] * axes, np.maximum(variances, 0)


def _mixed(variances: Array, shares: Array) -> Array:
    """Variances along the axes, for each share of the identity, (shares, m)."""
    return np.asarray(np.outer(1 - shares, variances) + shares[:, None])
