"""Adversaries for a secret that is a quantity, over any other adversary."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from typing_extensions import override

from leakage.adversaries.base import Adversary, Scores, Surface
from leakage.adversaries.classifiers import Classifier, RandomForest
from leakage.adversaries.identifiers import Identifier
from leakage.adversaries.views import View
from leakage.errors import LeakageError
from leakage.randomness import derived_seed

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Ordinal(Adversary):
    """One two-valued adversary for each threshold between levels (Frank & Hall 2001).

    q(a > level j) of c - 1 copies of the base, made to fall by a cumulative minimum, gives q(a) by
    differences; without the minimum some would be negative.

    Args:
        base: that guesses whether the level is above a threshold.
    """

    base: Adversary = field(default_factory=RandomForest)

    @property
    @override
    def name(self) -> str:
        return f"Ordinal{self.base.name}"

    @override
    def check(self, surface: Surface) -> None:
        check_levels(self, surface)
        if isinstance(self.base, Identifier):
            raise LeakageError(
                f"attack.adversaries: {self.base.name} tells users apart, not levels, so Ordinal"
                " cannot use it"
            )
        self.base.check(_one_threshold(surface))

    @override
    def view(self, surface: Surface, seed: int) -> View:
        return self.base.view(surface, seed)

    @override
    def fit(self, releases: Floats, values: Ints, surface: Surface, seed: int) -> Scores:
        two = _one_threshold(surface)
        fitted = [
            self.base.fit(
                releases, (values > j).astype(np.int64), two, derived_seed(seed, "threshold", j)
            )
            for j in range(surface.classes - 1)
        ]
        floor = 1 / (len(values) + 1)

        def scores(seen: Floats) -> NDArray[np.float64]:
            above = np.stack([softmax(score(seen), axis=1)[:, 1] for score in fitted], axis=1)
            above = np.minimum.accumulate(above, axis=1)  # (n, c - 1)
            edges = np.pad(above, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
            q = -np.diff(edges, axis=1)
            return np.asarray(np.log((1 - floor) * q + floor / surface.classes))

        return scores


@dataclass(frozen=True)
class Regression(Adversary):
    """The base as a regression on the level; scores fall with the square of the distance to it.

    What spread they mean is fixed where scores are calibrated.

    Args:
        base: a classifier that has a regressor of the same kind.
    """

    base: Classifier = field(default_factory=RandomForest)

    @property
    @override
    def name(self) -> str:
        return f"Regression{self.base.name}"

    @override
    def check(self, surface: Surface) -> None:
        check_levels(self, surface)
        self.base.check(surface)
        self.base.regressor(0)  # there is one

    @override
    def view(self, surface: Surface, seed: int) -> View:
        return self.base.view(surface, seed)

    @override
    def fit(self, releases: Floats, values: Ints, surface: Surface, seed: int) -> Scores:
        levels = np.array(surface.levels)
        levels = (levels - levels.mean()) / levels.std()  # a network stops by its absolute loss
        estimator = self.base.regressor(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(releases, levels[values])
        if "n_jobs" in estimator.get_params():
            estimator.set_params(n_jobs=1)

        def scores(seen: Floats) -> NDArray[np.float64]:
            found = estimator.predict(seen)
            return np.asarray(-((found[:, None] - levels) ** 2) / 2)

        return scores


def _one_threshold(surface: Surface) -> Surface:
    """What is known of whether a level is above a threshold: no quantity, and no column of x."""
    return replace(surface, classes=2, one_hot=(), levels=())


def check_levels(adversary: Adversary, surface: Surface) -> None:
    """Refuses a secret that is no quantity."""
    if not surface.levels:
        raise LeakageError(
            f"attack.adversaries: {adversary.name} guesses a quantity, which the values of this"
            " secret are not; use its base, or the secret Distribution"
        )
