"""Who of m candidates a release is of: embeddings in which releases of a user lie together."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from typing_extensions import override

from leakage.adversaries.base import Adversary, Array, Scores, Surface, check_numbers
from leakage.adversaries.views import View, entries
from leakage.adversaries.whitening import telling_share, user_means, whitening

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Identifier(Adversary):
    """Learns from shadow users how users differ, and places releases accordingly.

    Its `fit` gets the number of the shadow user, 0..S-1, of each release, and returns a map from
    releases to embeddings (n, q) in the place of scores. What is a candidate's own is known from
    its enrolment alone: see `candidate_scores`.

    Attributes:
        features: m, how many numbers are left of a release.
        reduce: `f_test` between the users, `sketch`, or `auto`; see `Classifier`.
    """

    features: int
    reduce: Literal["auto", "f_test", "sketch"]

    @override
    def view(self, surface: Surface, seed: int) -> View:
        return entries(self.reduce, self.features, surface.layout.p, seed)

    @abstractmethod
    @override
    def fit(self, releases: Floats, values: Ints, surface: Surface, seed: int) -> Scores: ...


def candidate_scores(asked: Array, met: Array, candidates: Ints) -> Array:
    """Minus half the squared distance to the mean of a candidate's enrolment, (n, c).

    Args:
        asked: embeddings of what is asked about, (n, q).
        met: those of the e enrolment batches of each of U users, (U, e, q).
        candidates: whom each may be, positions in 0..U-1, (n, c).
    """
    prototypes = met.mean(axis=1)  # (U, q)
    distances = (prototypes**2).sum(axis=1) - 2 * asked @ prototypes.T  # and a constant a row
    return np.asarray(-np.take_along_axis(distances, candidates, axis=1) / 2)


@dataclass(frozen=True)
class NearestMean(Identifier):
    """The candidate whose mean is nearest, each entry in units of its spread: a cheap reference.

    Args:
        features: how many numbers are left of a release.
        reduce: `f_test`, `sketch`, or `auto`.
    """

    features: int = 1024
    reduce: Literal["auto", "f_test", "sketch"] = "auto"

    def __post_init__(self) -> None:
        check_numbers(self)

    @override
    def fit(self, releases: Floats, values: Ints, surface: Surface, seed: int) -> Scores:
        return standardised(releases)


@dataclass(frozen=True)
class LinearDiscriminant(Identifier):
    """Fisher's discriminant (1936) for users who are not among those that it learns from.

    With user means N(0, B) and releases N(mean, W) it whitens W, and weighs each direction by
    its reliability b / (b + 1), b its variance between users (Ioffe 2006, without the noise of
    enrolment). Bayes' rule where B is isotropic and enrolment is long.

    Args:
        features: how many numbers are left of a release.
        reduce: `f_test`, `sketch`, or `auto`.
    """

    features: int = 1024
    reduce: Literal["auto", "f_test", "sketch"] = "auto"

    def __post_init__(self) -> None:
        check_numbers(self)

    @override
    def fit(self, releases: Floats, values: Ints, surface: Surface, seed: int) -> Scores:
        rows = releases.astype(np.float64)
        counts = np.bincount(values)
        several = np.isin(values, np.flatnonzero(counts > 1))  # one alone shows no spread
        if (counts > 1).sum() < 2:
            return standardised(releases)
        rows, values = rows[several], np.unique(values[several], return_inverse=True)[1]
        counts = np.bincount(values)
        means = user_means(rows, values)
        within = whitening(rows - means[values], telling_share(rows, values))
        # A mean of n releases is off by 1 / n; residuals of n have the variance (n - 1) / n.
        lost = len(rows) / (len(rows) - len(counts))
        centres = (means - means.mean(axis=0)) @ within / np.sqrt(lost)
        between, _ = ledoit_wolf(centres)
        variances, axes = np.linalg.eigh(between)
        b = np.maximum(variances - float((1 / counts).mean()), 0)
        used = b > 0
        if not used.any():  # users do not differ more than their batches do
            return standardised(releases)
        matrix = within / np.sqrt(lost) @ (axes[:, used] * np.sqrt(b[used] / (b[used] + 1)))
        return lambda seen: np.asarray(seen.astype(np.float64) @ matrix)


def standardised(releases: Floats) -> Scores:
    """Each entry about its mean in units of its spread; a constant one counts for nothing."""
    mean, spread = releases.mean(axis=0, dtype=np.float64), releases.std(axis=0, dtype=np.float64)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    return lambda seen: np.asarray((seen - mean) * scale)
