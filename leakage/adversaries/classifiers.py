"""Adversaries that are classifiers over the entries of a release, from scikit-learn."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typing_extensions import override

from leakage.adversaries.base import Adversary, Array, Scores, Surface
from leakage.errors import LeakageError


class Classifier(Adversary):
    """A classifier on the entries that an F-test on the shadow releases ranks highest.

    Selecting costs trees nothing in AUROC at thousands of entries and makes boosting ten times
    faster; selection by variance or by a random projection does lose.

    Attributes:
        features: how many entries of a release are kept.
    """

    features: int

    @abstractmethod
    def estimator(self, seed: int) -> Any:
        """A fresh scikit-learn classifier with `predict_proba`."""

    @override
    def fit(
        self,
        releases: NDArray[np.float32],
        values: NDArray[np.int64],
        surface: Surface,
        seed: int,
    ) -> Scores:
        p = surface.layout.p
        columns = np.concatenate(
            [
                informative_columns(releases[:, :p], values, self.features),
                np.arange(p, releases.shape[1]),  # phi(z), which may tell only beside the gradient
            ]
        )
        estimator = self.estimator(seed)
        with warnings.catch_warnings():
            # A network that stops at its last epoch and a regression at its last step are usable.
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(releases[:, columns], values)
        # Threads add up the votes of a forest in an order that changes the last digit.
        if "n_jobs" in estimator.get_params():
            estimator.set_params(n_jobs=1)
        return lambda seen: log_probabilities(
            estimator, seen[:, columns], surface.classes, floor=1 / (len(values) + 1)
        )


def log_probabilities(estimator: Any, rows: NDArray[Any], classes: int, floor: float) -> Array:
    """A fitted classifier's log q (n, c), floored and in the order of the support.

    The floor mixes q with a uniform guess: a forest without a vote for a value is no proof
    against it. It keeps the order of q.
    """
    aligned = np.zeros((len(rows), classes))
    aligned[:, estimator.classes_] = estimator.predict_proba(rows)
    return np.asarray(np.log((1 - floor) * aligned + floor / classes))


def informative_columns(
    releases: NDArray[np.float32], values: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """The `count` columns of (n, p) with the largest F statistic between values, ascending."""
    if count >= releases.shape[1]:
        return np.arange(releases.shape[1])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # constant columns have no F statistic
        statistic, _ = f_classif(releases, values)
    ranked = np.argsort(-np.nan_to_num(statistic, nan=-1.0, posinf=np.inf), kind="stable")
    return np.sort(ranked[:count]).astype(np.int64)


def _check_settings(adversary: Classifier) -> None:
    """Each setting of these classes is a count, but for one strength above 0."""
    for setting in fields(adversary):  # type: ignore[arg-type]
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
        features: how many entries of a release are kept, by an F-test on the shadow releases.
        trees: the number of trees.
    """

    features: int = 1024
    trees: int = 200

    def __post_init__(self) -> None:
        _check_settings(self)

    @override
    def estimator(self, seed: int) -> Any:
        return RandomForestClassifier(self.trees, n_jobs=-1, random_state=seed)


@dataclass(frozen=True)
class BoostedTrees(Classifier):
    """Gradient-boosted trees on histograms (Ke et al. 2017).

    Args:
        features: how many entries of a release are kept, by an F-test on the shadow releases.
        iterations: the number of boosting rounds.
    """

    features: int = 1024
    iterations: int = 100

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
        features: how many entries of a release are kept, by an F-test on the shadow releases.
        strength: the inverse of the l2 penalty.
    """

    features: int = 1024
    strength: float = 1.0

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
        features: how many entries of a release are kept, by an F-test on the shadow releases.
        hidden: the width of its hidden layer.
        epochs: passes over the shadow releases.
    """

    features: int = 1024
    hidden: int = 256
    epochs: int = 50

    def __post_init__(self) -> None:
        _check_settings(self)

    @override
    def estimator(self, seed: int) -> Any:
        model = MLPClassifier((self.hidden,), max_iter=self.epochs, random_state=seed)
        return make_pipeline(StandardScaler(), model)
