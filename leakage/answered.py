"""How each guesser orders the trials, with their truth: what runs are compared by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from leakage.errors import LeakageError
from leakage.knowledge import EITHER
from leakage.metrics.intervals import Draws, Floats, Ints
from leakage.metrics.posteriors import check_log_posterior


@dataclass(frozen=True)
class Answered:
    """The trials of one round alone, or of all rounds so far together.

    Args:
        values: the secret of each trial, int64 (n,).
        draws: the units of each; of all the rounds where they are together.
        rankings: by what is known of M (`either` where there is none; empty for a baseline) and by
            name, the log posterior by which trials are ordered, (n, c).
    """

    values: Ints
    draws: Draws
    rankings: dict[tuple[str, str], Floats]

    def of_the_same_trials(self, other: Answered) -> bool:
        """Whether both are about the same batches of the same records, for the same secrets."""
        ours, theirs = ((a.values, a.draws.units, a.draws.pools) for a in (self, other))
        return all(np.array_equal(mine, yours) for mine, yours in zip(ours, theirs, strict=True))

    def packed(self) -> bytes:
        """As a file, which `read_answered` reads."""
        arrays: dict[str, NDArray[np.generic]] = {
            "values": self.values,
            "units": self.draws.units,
            "pools": self.draws.pools,
        }
        arrays |= {f"ranking/{n}": ranking for n, ranking in enumerate(self.rankings.values())}
        told = {"clustered": self.draws.clustered, "guessers": list(self.rankings)}
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return save(whole, {"answered": json.dumps(told)})


def answered_file(round_: int, rounds: str) -> str:
    """The name of a file in the folder where the run keeps its rounds.

    Args:
        round_: epochs before the release.
        rounds: `alone`, or `sum` of all rounds so far.
    """
    return f"round_{round_:05d}.{rounds}.answered.safetensors"


def read_answered(path: Path) -> Answered | None:
    """What a run has left of a round; None where there is no file, or one that holds no trials."""
    try:
        with safe_open(path, framework="numpy") as file:
            told = json.loads(file.metadata()["answered"])
            units, pools = file.get_tensor("units"), file.get_tensor("pools")
            rankings = {
                (knowledge, name): file.get_tensor(f"ranking/{number}")
                for number, (knowledge, name) in enumerate(told["guessers"])
            }
            values = file.get_tensor("values")
        if any(table.dtype != np.int64 for table in (values, units, pools)):
            return None
        draws = Draws(units, pools, told["clustered"])
        for ranking in rankings.values():
            check_log_posterior("ranking", ranking, values, draws)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, LeakageError):
        return None
    return Answered(values, draws, rankings)


def named(knowledge: tuple[str, ...]) -> str:
    """What is known of M, in the one word that tables have for it."""
    return EITHER if len(knowledge) > 1 else "".join(knowledge)
