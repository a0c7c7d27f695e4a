"""One observed round: the guesses under way, and the figures once they are graded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leakage.adversaries.posterior import Answer, Observed
from leakage.metrics.intervals import Draws, Estimate


@dataclass(frozen=True)
class Graded:
    """One guesser's figures in one round.

    Args:
        round: epochs before the release.
        rounds: `alone`, or `sum` of all rounds so far.
        knowledge: of M: `static`, `adaptive`, both where there is no M; `mechanism`, `surrogate`
            in place of `adaptive` where M is fitted on records; empty for a baseline.
        name: the adversary or the baseline.
        layers: what it saw of a release: all that adversaries see, or the name of one layer.
        best_baseline: over which the gain is; empty for a baseline.
        figures: by metric.
        by_class: the share of right trials, by the name of the secret's value.
        exposed: the most exposed units, the worst first, by their numbers in the population.
        answer: the posterior itself, for curves.
        draws: the units of each trial, in all the rounds that it is about.
    """

    round: int
    rounds: Literal["alone", "sum"]
    knowledge: tuple[str, ...]
    name: str
    layers: str
    best_baseline: str
    figures: dict[str, Estimate]
    by_class: dict[str, Estimate]
    exposed: dict[int, Estimate]
    answer: Answer
    draws: Draws


Key = tuple[tuple[str, ...], str, str]
"""Who guessed: what it knows of M, its name, and the layers that it saw."""
Submit = Callable[[Callable[[], Observed]], "Future[Observed]"]
Progress = Callable[[str], None]


def made(observed: Observed) -> Future[Observed]:
    """A guess that needs no waiting for."""
    future: Future[Observed] = Future()
    future.set_result(observed)
    return future


@dataclass(frozen=True)
class Observation:
    """One observed round, its guesses perhaps still under way.

    Args:
        round: epochs before the release.
        guesses: of each guesser, in the order of the table.
        units: of each trial the units that it drew, (n, k + others).
    """

    round: int
    guesses: dict[Key, Future[Observed]]
    units: NDArray[np.int64]

    @property
    def done(self) -> bool:
        """Whether `judge` would not have to wait."""
        return all(guessed.done() for guessed in self.guesses.values())
