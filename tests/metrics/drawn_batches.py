"""Batches of distinct units, drawn by simple means, and the types of the tests of metrics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leakage.metrics.intervals import Draws

Rng = np.random.Generator
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Game = tuple[Floats, Ints, Draws]
GAMES = 200


def batches(rng: Rng, size: int, k: int, trials: int) -> Ints:
    """k different units of 0..size-1 for each trial: rows with a repetition are redrawn."""
    table = rng.integers(0, size, (trials, k))
    redo = np.arange(trials)
    while len(redo):
        table[redo] = rng.integers(0, size, (len(redo), k))
        ordered = np.sort(table[redo], axis=1)
        redo = redo[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
    return table
