"""An adversary: fitted on shadow releases, it answers a posterior for releases it has not seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leakage.adversaries.views import View, Whole
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout

Array = NDArray[np.float64]
Scores = Callable[[NDArray[np.float32]], Array]
"""Maps releases (n, p) to log scores (n, c); a calibrator turns them into a posterior."""


@dataclass(frozen=True)
class Surface:
    """What an adversary knows before it sees a release: the model and how x is encoded.

    Args:
        layout: the entries of the gradient that it sees.
        classes: c, the number of values of the secret.
        one_hot: for each value of the secret the column of x that is 1 for it; empty where x does
            not encode the secret like that.
        features: d, the number of columns of x.
        levels: the number that each value of the secret stands for, ascending, where the secret
            is a quantity; else empty.
        averaged: records in the mean of a release, as far as the adversary knows.
        paired: whether each row is a release, then the gradient of the target record that may be
            in it: two halves with the same m entries each.
        noisy: whether M adds noise to every entry, and shadow gradients are there without it.
    """

    layout: Layout
    classes: int
    one_hot: tuple[int, ...]
    features: int
    levels: tuple[float, ...] = ()
    averaged: int = 1
    paired: bool = False
    noisy: bool = False


def checked_scores(adversary: Adversary, scores: Array, n: int, surface: Surface) -> Array:
    """The scores (n, c) of an adversary; refuses another shape and NaN, by the class."""
    expected = (n, surface.classes)
    if np.shape(scores) != expected:
        raise LeakageError(
            f"attack.adversaries: {adversary.name} must give log scores of the shape {expected},"
            f" one row a release and one column a value of the secret, found {np.shape(scores)}"
        )
    bad = int(np.isnan(scores).any(axis=1).sum())
    if bad:
        raise LeakageError(
            f"attack.adversaries: {adversary.name} gave NaN scores for {bad} of {n} releases"
        )
    return scores


class Adversary(ABC):
    """Guesses the secret from releases; holds settings only."""

    @property
    def name(self) -> str:
        """A short name for tags and tables."""
        return type(self).__name__

    def check(self, surface: Surface) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuses a game that it cannot play, before anything is computed."""

    def view(self, surface: Surface, seed: int) -> View:
        """What of a release reaches `fit`; every entry, unless an adversary says otherwise.

        Args:
            surface: what is known beside the releases.
            seed: of a random view, the same for all adversaries of a game.
        """
        return Whole()

    @abstractmethod
    def fit(
        self,
        releases: NDArray[np.float32],
        values: NDArray[np.int64],
        surface: Surface,
        seed: int,
    ) -> Scores:
        """Learns from shadow releases, in equal numbers of each value; may run in any thread.

        Args:
            releases: float32 (n, m + q): the m entries of its view (of the p of the surface's
                layout), then q columns of phi(z) where the adversary knows the records but for
                the secret.
            values: positions in the support of the secret, int64 (n,).
            surface: what is known beside them.
            seed: the only source of randomness.

        Returns:
            A function from releases (n, p) to log scores (n, c), in the order of the support.
        """


_REAL = ("strength", "rate")  # settings that are above 0; all others are counts
_REDUCES = ("auto", "f_test", "sketch")


def check_numbers(adversary: Any) -> None:
    """Refuses settings of an adversary that are no numbers of the right kind."""
    for setting in fields(adversary):
        value = getattr(adversary, setting.name)
        where = f"attack.adversaries: {adversary.name}.{setting.name}"
        if setting.name == "reduce":
            if value not in _REDUCES:
                raise LeakageError(f"{where} knows 'auto', 'f_test' and 'sketch', got {value!r}")
        elif not (value > 0 if setting.name in _REAL else value >= 1):
            least = "above 0" if setting.name in _REAL else "of at least 1"
            raise LeakageError(f"{where} is a number {least}, got {value}")
