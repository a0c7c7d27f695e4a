"""Batches of distinct units and answers to them, drawn by simple means, and their types."""

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


def fresh(n: int) -> Draws:
    """Each trial draws one record that no other draws."""
    return Draws(np.arange(n)[:, None], np.zeros(n, dtype=np.int64))


def both(odds: Floats) -> Floats:
    """The log posterior (n, 2) of log-odds (n,)."""
    return -np.logaddexp(0, np.column_stack([odds, -odds]))


def answers(n: int, c: int, seed: int, digits: int = 1) -> tuple[Floats, Ints]:
    """Rounded random answers, so that ties occur, and secrets that have every class twice."""
    rng = np.random.default_rng(seed)
    raw = np.round(rng.random((n, c)), digits) + 0.05
    truth = np.concatenate([np.arange(c), np.arange(c), rng.integers(0, c, n - 2 * c)])
    return np.log(raw / raw.sum(axis=1, keepdims=True)), truth
