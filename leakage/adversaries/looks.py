"""The adversary's side of a round: what it is given of releases, and the guess that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from leakage.adversaries.base import Adversary, Array, Surface, checked_scores
from leakage.adversaries.posterior import Observed
from leakage.adversaries.views import View
from leakage.releases import Reduce, Releases, reduced

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Look:
    """One adversary and the part of a release that it looks at.

    Args:
        knowledge: of M: `static`, `adaptive`, both where there is no M.
        layers: the name of the part.
        columns: its entries, of those that adversaries see at all.
        adversary: who looks.
        surface: what it knows beside the releases.
        view: what it makes of the entries.
    """

    knowledge: tuple[str, ...]
    layers: str
    columns: slice
    adversary: Adversary
    surface: Surface
    view: View


@dataclass(frozen=True)
class Sight:
    """What a look gets of each split, float32 (n, m)."""

    shadow: Floats
    calibrate: Floats
    challenge: Floats

    def beside(self, shadow: Floats, calibrate: Floats, challenge: Floats) -> Sight:
        """The same with what else is known of each batch, (n, q), in further columns."""
        return Sight(
            np.concatenate([self.shadow, shadow], axis=1),
            np.concatenate([self.calibrate, calibrate], axis=1),
            np.concatenate([self.challenge, challenge], axis=1),
        )


def sights(
    looks: Sequence[tuple[Sequence[Look], Releases, Releases]],
    values: Tensor,
    challenge: Releases,
) -> dict[Look, Sight]:
    """Shows every look its part of the releases, which are gone through as seldom as can be.

    Args:
        looks: those of one knowledge of M, with the shadow releases that they are fitted on and
            the calibrate ones.
        values: the secret of each shadow release, int64 (n,).
        challenge: the trials' releases, the same for all.
    """
    before: dict[tuple[int, str, View], tuple[Floats, Floats]] = {}
    maps: dict[tuple[int, str, View], Reduce] = {}
    for number, (some, fit, calibrate) in enumerate(looks):
        shadow = fit.kept()
        mine = {(number, look.layers, look.view): look for look in some}  # equal views are one
        fitted = {key: _fit(look, shadow, values) for key, look in mine.items()}
        all_maps = list(fitted.values())
        given = fit.through(all_maps) if shadow is fit else reduced(shadow, all_maps)
        known = calibrate.through(all_maps)
        for key, one, other in zip(fitted, given, known, strict=True):
            before[key] = one.numpy(), other.numpy()
        maps |= fitted
    asked = dict(zip(maps, challenge.through(list(maps.values())), strict=True))
    return {
        look: Sight(*before[key], asked[key].numpy())
        for number, (some, _, _) in enumerate(looks)
        for look in some
        for key in [(number, look.layers, look.view)]
    }


def _fit(look: Look, shadow: Sequence[Tensor] | Releases, values: Tensor) -> Reduce:
    part = look.columns
    reduce = look.view.fit((block[:, part] for block in shadow), values)
    return lambda block: reduce(block[:, part])


def guess(
    look: Look,
    sight: Sight,
    values: NDArray[np.int64],
    seed: int,
    beside: Observed,
    threads: int,
) -> Observed:
    """Fits the adversary of a look, and returns the scores that it gives.

    Args:
        look: who guesses.
        sight: what it sees.
        values: the secret of each shadow batch, int64 (n,).
        seed: the only source of randomness.
        beside: scores from what is known without releases; no sources where nothing is.
        threads: that it may use.
    """

    def scored(seen: Floats) -> Array:
        return checked_scores(look.adversary, scores(seen), len(seen), look.surface)

    with _threads(threads):
        scores = look.adversary.fit(sight.shadow, values, look.surface, seed)
        return Observed(
            [scored(sight.calibrate), *beside.calibrate],
            [scored(sight.challenge), *beside.challenge],
        )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Bounds the threads of what runs in this thread, so that adversaries run side by side.

    BLAS is left alone: its bound is not of a thread but of the whole process.
    """
    with (
        threadpool_limits(count, user_api="openmp"),
        joblib.parallel_config("threading", n_jobs=count),
    ):
        yield
