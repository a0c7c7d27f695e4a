"""The likelihood ratio of a target record being in the mean or not (Neyman & Pearson 1933)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from typing_extensions import override

from leakage.adversaries.base import Adversary, Array, Scores, Surface, check_numbers
from leakage.adversaries.scaling import on_standardised
from leakage.adversaries.views import CountSketch, View, Whole
from leakage.adversaries.whitening import likeliest_share, whitening
from leakage.errors import LeakageError

_FOLDS = 4
_EQUAL = 1e-12  # a squared distance of float32 rounding
_ALIKE = 0.2  # how far scales of entries lie apart, in logarithms, by chance and heavy tails


@dataclass(frozen=True)
class LikelihoodRatio(Adversary):
    """Reads membership off a mean of K record gradients as if they were Gaussian.

    Without the target z the mean is N(mu, S/K), with it N(mu + (g_z - mu)/K, (K-1)/K S/K). With
    u the whitened release and d the whitened shift, log p(in) - log p(out) is a sum of u.d,
    |u|^2 and |d|^2, whose weights are fitted by a logistic regression: where gradients are
    Gaussian they tend to the exact ones (K/(K-1), -1/(2(K-1)), -K/(2(K-1))), and elsewhere heavy
    tails do no harm. With K = 1 the distance of the two halves joins them. mu and S come from
    shadow releases; weights from such as S was not fitted on.

    Args:
        features: how many numbers are left of a release: a count sketch where it has more.
    """

    features: int = 1024

    def __post_init__(self) -> None:
        check_numbers(self)

    @override
    def check(self, surface: Surface) -> None:
        if not surface.paired:
            raise LeakageError(
                "attack.adversaries: LikelihoodRatio guesses whether a known record is in a batch;"
                " use it with the secret Membership"
            )

    @override
    def view(self, surface: Surface, seed: int) -> View:
        return Whole() if surface.layout.p <= self.features else CountSketch(self.features, seed)

    @override
    def fit(
        self,
        releases: NDArray[np.float32],
        values: NDArray[np.int64],
        surface: Surface,
        seed: int,
    ) -> Scores:
        size = surface.averaged
        fold = np.arange(len(values)) % _FOLDS  # values are in random order
        terms = np.empty((len(values), 4))
        for held_out in range(_FOLDS):
            rest, own = fold != held_out, fold == held_out
            terms[own] = _Terms(releases[rest], values[rest], size)(releases[own])
        weights = on_standardised(LogisticRegression(C=100.0, max_iter=1000))
        weights.fit(terms, values)
        measured = _Terms(releases, values, size)

        def scores(seen: NDArray[np.float32]) -> Array:
            ratio = weights.decision_function(measured(seen))
            return np.stack([np.zeros_like(ratio), ratio], axis=1)

        return scores


class _Terms:
    """u.d, |u|^2 and |d|^2 of rows [release (m) | gradient of the target (m)]: (n, 4).

    The fourth tells a mean of one from any other: how close to equal the two halves are.
    """

    def __init__(self, rows: NDArray[np.float32], values: NDArray[np.int64], size: int) -> None:
        released, target = _halves(rows)
        outside = released[values == 0]
        self._mean, self._size = outside.mean(axis=0), size
        self._centre, self._unit = self._mean, np.array(1 / size)
        if (target.std(axis=0) > 0).any():
            self._centre = target.mean(axis=0)
            self._unit = _translated(outside.std(axis=0), target.std(axis=0) * size**0.5)
        residuals = self._residuals(released, target, values)
        self._whiten = whitening(residuals, likeliest_share(residuals))

    def _residuals(self, released: Array, target: Array, values: NDArray[np.int64]) -> Array:
        """Releases about their mean with or without the target, on one scale."""
        outside: Array = released[values == 0] - self._mean
        if self._size == 1:  # with it nothing is left
            return outside
        inside = released[values == 1] - self._mean - self._shift(target[values == 1])
        alike: Array = inside * (self._size / (self._size - 1)) ** 0.5
        return np.concatenate([outside, alike], axis=0)

    def _shift(self, target: Array) -> Array:
        return np.asarray((target - self._centre) * self._unit)

    def __call__(self, rows: NDArray[np.float32]) -> Array:
        released, target = _halves(rows)
        u = (released - self._mean) @ self._whiten
        d = self._shift(target) @ self._whiten
        apart = np.zeros(len(rows))
        if self._size == 1:
            apart = np.log((((released - target) @ self._whiten) ** 2).sum(1) + _EQUAL)
        return np.stack([(u * d).sum(1), (u**2).sum(1), (d**2).sum(1), apart], axis=1)


def _translated(released: Array, scaled: Array) -> Array:
    """What a unit of a target is in a release, by the spreads (m,) of both: one number, or (m,).

    A defense may release on another scale than gradients have. Where entries agree on it, it is
    one for all: an error of its own in each would drown the directions with the least noise.
    """
    both = (released > 0) & (scaled > 0)
    if not both.any():
        return np.zeros(())
    ratio = np.divide(released, scaled, out=np.zeros_like(scaled), where=both)
    common = np.median(ratio[both])
    apart = np.median(np.abs(np.log(ratio[both] / common)))
    return np.asarray(common if apart < _ALIKE else ratio)


def _halves(rows: NDArray[np.float32]) -> tuple[Array, Array]:
    m = rows.shape[1] // 2
    return rows[:, :m].astype(np.float64), rows[:, m:].astype(np.float64)
