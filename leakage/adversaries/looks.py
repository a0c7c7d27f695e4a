"""The adversary's side of a round: what it is given of releases, and the guess that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from glob import escape
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from leakage.adversaries.base import Adversary, Array, Surface, checked_scores
from leakage.adversaries.identifiers import candidate_scores
from leakage.adversaries.posterior import Observed
from leakage.adversaries.views import View
from leakage.population import CALIBRATE, CHALLENGE, FIT
from leakage.releases import Reduce, Releases, reduced

Floats = NDArray[np.float32]
ENROLLED = "enrolled"
NOISELESS = "noiseless"
"""The shadow-fit batches before the noise of M, on which views are fitted where there is some."""
SEEN = "all"
"""The name of all layers that adversaries see."""
LIVE = "live"
"""The releases of a real step, one of each client."""


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


def looks_of(
    knowledge: tuple[str, ...],
    adversaries: Sequence[Adversary],
    surface: Surface,
    seed: int,
    mapper: Adversary | None,
) -> list[Look]:
    """The looks of one knowledge of M: each adversary at all that is seen, one at each layer alone.

    Args:
        knowledge: as in `Look`.
        adversaries: who look at all.
        surface: what they know.
        seed: of the views.
        mapper: who looks at each layer alone, if anybody does.
    """
    looks = [
        Look(knowledge, SEEN, slice(None), a, surface, a.view(surface, seed)) for a in adversaries
    ]
    if mapper is None:
        return looks
    for layer, names in surface.layout.groups().items():
        exact = [escape(name) for name in names]
        part, columns = surface.layout.select(exact, "attack.layers")
        alone = replace(surface, layout=part)
        span = slice(int(columns[0]), int(columns[-1]) + 1)  # a layer's are neighbours
        shown = f"{layer} (layer)" if layer == SEEN else layer
        looks.append(Look(knowledge, shown, span, mapper, alone, mapper.view(alone, seed)))
    return looks


Sight = dict[str, Floats]
"""What a look gets of each part: the splits of the game, enrolled and live; float32 (n, m)."""


def sights(
    looks: Sequence[tuple[Sequence[Look], Mapping[str, Releases]]],
    values: Tensor,
    challenge: Releases,
    targets: Mapping[str, Releases],
    live: Tensor | None = None,
) -> dict[Look, Sight]:
    """Shows every look its part of the releases, which are gone through as seldom as can be.

    Args:
        looks: those of one knowledge of M, with the releases that the adversary makes itself, by
            part; views are fitted on those without noise, else on those of shadow-fit.
        values: what each shadow release was drawn for, int64 (n,).
        challenge: the trials' releases, the same for all.
        targets: by split, the gradients of target records that are wholly known; they stand
            beside the releases in further columns.
        live: releases of a real step, float32 (w, p), of the entries that adversaries see.
    """
    own: dict[tuple[int, str, View], Sight] = {}
    maps: dict[tuple[int, str, View], Reduce] = {}
    for number, (some, parts) in enumerate(looks):
        learned = NOISELESS if NOISELESS in parts else FIT
        shadow = parts[learned].kept()
        mine = {(number, look.layers, look.view): look for look in some}  # equal views are one
        fitted = {key: _fit(look, shadow, values) for key, look in mine.items()}
        for part, releases in parts.items():
            if part == NOISELESS:
                continue
            kept = part == learned and shadow is not releases
            through = partial(reduced, shadow) if kept else releases.through
            for key, rows in zip(fitted, through(list(fitted.values())), strict=True):
                own.setdefault(key, {})[part] = rows.numpy()
        maps |= fitted
    all_maps = list(maps.values())
    for key, rows in zip(maps, challenge.through(all_maps), strict=True):
        own[key][CHALLENGE] = rows.numpy()
    if live is not None:
        for key, rows in zip(maps, reduced([live], all_maps), strict=True):
            own[key][LIVE] = rows.numpy()
    for split, releases in targets.items():
        for key, rows in zip(maps, releases.through(all_maps), strict=True):
            own[key] = beside(own[key], {split: rows.numpy()})
    return {
        look: own[number, look.layers, look.view]
        for number, (some, _) in enumerate(looks)
        for look in some
    }


def beside(sight: Sight, known: Sight) -> Sight:
    """A sight with what else is known of each batch, (n, q), in further columns."""
    return sight | {
        part: np.concatenate([sight[part], _repeated(rows, len(sight[part]))], 1)
        for part, rows in known.items()
    }


def _repeated(rows: NDArray[Any], n: int) -> NDArray[Any]:
    """Each row as often as its batch is released, n in all."""
    return np.repeat(rows, n // len(rows), axis=0)


def _fit(look: Look, shadow: Sequence[Tensor] | Releases, values: Tensor) -> Reduce:
    part = look.columns
    reduce = look.view.fit((block[:, part] for block in shadow), values)
    return lambda block: reduce(block[:, part])


def guess(
    look: Look,
    sight: Sight,
    values: NDArray[np.int64],
    lines: Mapping[str, NDArray[np.int64]],
    users: int,
    seed: int,
    told: Observed,
    threads: int,
) -> Observed:
    """Fits the adversary of a look, and returns the scores that it gives.

    Args:
        look: who guesses.
        sight: what it sees.
        values: what each shadow batch was drawn for, int64 (n,); it may be released several times.
        lines: by split, the candidates of each batch, int64 (n, c), where it is about users.
        users: those enrolled.
        seed: the only source of randomness.
        told: scores from what is known without releases; no sources where nothing is.
        threads: that it may use.
    """

    def scored(split: str) -> Array:
        seen = sight[split]
        found = scores(seen)
        if split in lines:
            met = scores(sight[ENROLLED])
            found = candidate_scores(found, met.reshape(users, -1, met.shape[1]), lines[split])
        return checked_scores(look.adversary, found, len(seen), look.surface)

    with _threads(threads):
        known = _repeated(values, len(sight[FIT]))
        scores = look.adversary.fit(sight[FIT], known, look.surface, seed)
        return Observed(
            [scored(CALIBRATE), *told.calibrate],
            [scored(CHALLENGE), *told.challenge],
            [scored(LIVE)] if LIVE in sight else [],
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
