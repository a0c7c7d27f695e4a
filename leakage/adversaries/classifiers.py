"""Adversaries that are classifiers over the entries of a release, from scikit-learn."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typing_extensions import override

from leakage.adversaries.base import Adversary, Array, Scores, Surface
from leakage.adversaries.views import CountSketch, FTest, View
from leakage.errors import LeakageError

_SKETCHED = 2**16  # entries from which on an F-test would keep too many releases


class Classifier(Adversary):
    """A classifier on some thousand numbers that are made of the entries of a release.

    An F-test on the shadow releases costs trees nothing in AUROC at thousands of entries and
    makes boosting ten times faster; a count sketch costs up to half a point and never needs all
    releases at once; selection by variance or a dense random projection does lose.

    Attributes:
        features: m, how many numbers are left of a release.
        reduce: `f_test` keeps the entries that tell most, `sketch` adds entries up with random
            signs; `auto`: the first up to 65,536 entries, the second above.
    """

    features: int
    reduce: Literal["auto", "f_test", "sketch"]

    @abstractmethod
    def estimator(self, seed: int) -> Any:
        """A fresh scikit-learn classifier with `predict_proba`."""

    @override
    def view(self, surface: Surface, seed: int) -> View:
        sketched = self.reduce == "auto" and surface.layout.p > _SKETCHED
        if sketched or self.reduce == "sketch":
            return CountSketch(self.features, seed)
        return FTest(self.features)

    @override
    def fit(
        self,
        releases: NDArray[np.float32],
        values: NDArray[np.int64],
        surface: Surface,
        seed: int,
    ) -> Scores:
        estimator = self.estimator(seed)
        with warnings.catch_warnings():
            # A network that stops at its last epoch and a regression at its last step are usable.
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(releases, values)
        # Threads add up the votes of a forest in an order that changes the last digit.
        if "n_jobs" in estimator.get_params():
            estimator.set_params(n_jobs=1)
        return lambda seen: log_probabilities(
            estimator, seen, surface.classes, floor=1 / (len(values) + 1)
        )


def log_probabilities(estimator: Any, rows: NDArray[Any], classes: int, floor: float) -> Array:
    """A fitted classifier's log q (n, c), floored and in the order of the support.

    The floor mixes q with a uniform guess: a forest without a vote for a value is no proof
    against it. It keeps the order of q.
    """
    aligned = np.zeros((len(rows), classes))
    aligned[:, estimator.classes_] = estimator.predict_proba(rows)
    return np.asarray(np.log((1 - floor) * aligned + floor / classes))


def _check_settings(adversary: Classifier) -> None:
    """Each setting of these classes is a count, but for one strength above 0."""
    if adversary.reduce not in ("auto", "f_test", "sketch"):
        raise LeakageError(
            f"attack.adversaries: {adversary.name}.reduce knows 'auto', 'f_test' and 'sketch',"
            f" got {adversary.reduce!r}"
        )
    for setting in fields(adversary):  # type: ignore[arg-type]
        if setting.name == "reduce":
            continue
        value = getattr(adversary, setting.name)
        if not (value > 0 if setting.name == "strength" else value >= 1):
            least = "above 0" if setting.name == "strength" else "of at least 1"
            raise LeakageError(
                f"attack.adversaries: {adversary.name}.{setting.name} is a number {least},"
                f" got {value}"
            )


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
        _check_settings(self)

    @override
    def estimator(self, seed: int) -> Any:
        return RandomForestClassifier(self.trees, random_state=seed)


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
        _check_settings(self)

    @override
    def estimator(self, seed: int) -> Any:
        return HistGradientBoostingClassifier(
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
        _check_settings(self)

    @override
    def estimator(self, seed: int) -> Any:
        model = SklearnLogisticRegression(C=self.strength, max_iter=200, random_state=seed)
        return make_pipeline(StandardScaler(), model)


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
        _check_settings(self)

    @override
    def estimator(self, seed: int) -> Any:
        model = MLPClassifier((self.hidden,), max_iter=self.epochs, random_state=seed)
        return make_pipeline(StandardScaler(), model)
