"""Adversaries that are classifiers over the entries of a release, from scikit-learn."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typing_extensions import override

from leakage.adversaries.base import Adversary, Array, Scores, Surface, check_numbers
from leakage.adversaries.views import View, entries
from leakage.errors import LeakageError

_FARTHEST = 1e12  # in units of the spread of an entry


class Classifier(Adversary):
    """A classifier on some thousand numbers that are made of the entries of a release.

    An F-test on the shadow releases costs trees nothing in AUROC at thousands of entries and
    makes boosting ten times faster; a count sketch costs up to half a point and never needs all
    releases at once; selection by variance or a dense random projection does lose.

    Attributes:
        features: m, how many numbers are left of a release.
        reduce: `f_test` keeps the entries that tell most, `sketch` adds entries up with random
            signs; `auto`: the first up to 65,536 entries, the second above; against noise in
            every entry 32 principal directions of the shadow gradients before it.
    """

    features: int
    reduce: Literal["auto", "f_test", "sketch"]

    @abstractmethod
    def estimator(self, seed: int) -> Any:
        """A fresh scikit-learn classifier with `predict_proba`."""

    def regressor(self, seed: int) -> Any:
        """A fresh scikit-learn regressor of the same kind, where there is one."""
        raise LeakageError(
            f"attack.adversaries: {self.name} has no regressor, so Regression cannot use it"
        )

    @override
    def view(self, surface: Surface, seed: int) -> View:
        # Of two halves no single entry tells anything: it is how they go together.
        reduce = "sketch" if surface.paired else self.reduce
        return entries(reduce, self.features, surface.layout.p, seed, noisy=surface.noisy)

    @override
    def fit(
        self,
        releases: NDArray[np.float32],
        values: NDArray[np.int64],
        surface: Surface,
        seed: int,
    ) -> Scores:
        together = compared(releases) if surface.paired else _as_they_are
        estimator = self.estimator(seed)
        with warnings.catch_warnings():
            # A network that stops at its last epoch and a regression at its last step are usable.
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(together(releases), values)
        # Threads add up the votes of a forest in an order that changes the last digit.
        if "n_jobs" in estimator.get_params():
            estimator.set_params(n_jobs=1)
        return lambda seen: log_probabilities(
            estimator, together(seen), surface.classes, floor=1 / (len(values) + 1)
        )


def _as_they_are(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows


class _Standardised(StandardScaler):  # type: ignore[misc]
    """Entries in units of their spread among shadow releases, within bounds.

    One that has hardly any there, as of a unit that is all but dead, may else be beyond float32.
    """

    @override
    def transform(self, X: Any, copy: bool | None = None) -> Any:
        with np.errstate(over="ignore"):
            return np.clip(super().transform(X, copy), -_FARTHEST, _FARTHEST)


def compared(releases: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], Array]:
    """Puts beside rows of two halves how these go together: (n, 2m) becomes (n, 2m + 3).

    Inner product, cosine and squared distance, each entry in units of its spread in `releases`.
    """
    mean, spread = releases.mean(axis=0, dtype=np.float64), releases.std(axis=0, dtype=np.float64)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)

    def together(rows: NDArray[np.float32]) -> Array:
        one, other = np.split((rows - mean) * scale, 2, axis=1)
        inner = (one * other).sum(axis=1)
        size = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosine = np.divide(inner, size, out=np.zeros_like(inner), where=size > 0)
        distance = ((rows[:, : one.shape[1]] - rows[:, one.shape[1] :]) ** 2).sum(axis=1)
        return np.concatenate([rows, np.stack([inner, cosine, distance], axis=1)], axis=1)

    return together


def log_probabilities(estimator: Any, rows: NDArray[Any], classes: int, floor: float) -> Array:
    """A fitted classifier's log q (n, c), floored and in the order of the support.

    The floor mixes q with a uniform guess: a forest without a vote for a value is no proof
    against it. It keeps the order of q.
    """
    aligned = np.zeros((len(rows), classes))
    aligned[:, estimator.classes_] = estimator.predict_proba(rows)
    return np.asarray(np.log((1 - floor) * aligned + floor / classes))


@dataclass(frozen=True)
class RandomForest(Classifier):
    """A random forest (Breiman 2001).

    Args:
        features: how many numbers are left of a release.
        trees: the number of trees.
        reduce: `f_test`, `sketch`, or `auto`; see `Classifier`.
    """

    features: int = 1024
    trees: int = 200
    reduce: Literal["auto", "f_test", "sketch"] = "auto"

    def __post_init__(self) -> None:
        check_numbers(self)

    @override
    def estimator(self, seed: int) -> Any:
        return RandomForestClassifier(self.trees, random_state=seed)

    @override
    def regressor(self, seed: int) -> Any:
        return RandomForestRegressor(self.trees, max_features="sqrt", random_state=seed)


@dataclass(frozen=True)
class BoostedTrees(Classifier):
    """Gradient-boosted trees on histograms (Ke et al. 2017).

    Args:
        features: how many numbers are left of a release.
        iterations: the number of boosting rounds.
        reduce: `f_test`, `sketch`, or `auto`; see `Classifier`.
    """

    features: int = 1024
    iterations: int = 100
    reduce: Literal["auto", "f_test", "sketch"] = "auto"

    def __post_init__(self) -> None:
        check_numbers(self)

    @override
    def estimator(self, seed: int) -> Any:
        return HistGradientBoostingClassifier(
            max_iter=self.iterations, early_stopping=False, random_state=seed
        )

    @override
    def regressor(self, seed: int) -> Any:
        return HistGradientBoostingRegressor(
            max_iter=self.iterations, early_stopping=False, random_state=seed
        )


@dataclass(frozen=True)
class LogisticRegression(Classifier):
    """A linear classifier on standardised entries: a reference, weak where the leak is not linear.

    Args:
        features: how many numbers are left of a release.
        strength: the inverse of the l2 penalty.
        reduce: `f_test`, `sketch`, or `auto`; see `Classifier`.
    """

    features: int = 1024
    strength: float = 1.0
    reduce: Literal["auto", "f_test", "sketch"] = "auto"

    def __post_init__(self) -> None:
        check_numbers(self)

    @override
    def estimator(self, seed: int) -> Any:
        model = SklearnLogisticRegression(C=self.strength, max_iter=200, random_state=seed)
        return make_pipeline(_Standardised(), model)

    @override
    def regressor(self, seed: int) -> Any:
        return make_pipeline(_Standardised(), Ridge(1 / self.strength, random_state=seed))


@dataclass(frozen=True)
class NeuralNetwork(Classifier):
    """A small multilayer perceptron on standardised entries.

    Args:
        features: how many numbers are left of a release.
        hidden: the width of its hidden layer.
        epochs: passes over the shadow releases.
        reduce: `f_test`, `sketch`, or `auto`; see `Classifier`.
    """

    features: int = 1024
    hidden: int = 256
    epochs: int = 50
    reduce: Literal["auto", "f_test", "sketch"] = "auto"

    def __post_init__(self) -> None:
        check_numbers(self)

    @override
    def estimator(self, seed: int) -> Any:
        model = MLPClassifier((self.hidden,), max_iter=self.epochs, random_state=seed)
        return make_pipeline(_Standardised(), model)

    @override
    def regressor(self, seed: int) -> Any:
        model = MLPRegressor(
            hidden_layer_sizes=(self.hidden,), max_iter=self.epochs, random_state=seed
        )
        return make_pipeline(_Standardised(), model)
