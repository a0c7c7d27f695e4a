"""run.json: what a run was, so that its figures can be judged and repeated."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from leakage import __version__
from leakage.population import Population
from leakage.writing import write_whole

_LIBRARIES = ("torch", "lightning", "scikit-learn", "numpy", "scipy", "torchmetrics")
_ACCOUNTED = ("opacus", "dp-accounting")


def write_run(
    path: Path,
    population: Population,
    game: Mapping[str, Any],
    defense: str,
    seconds: Mapping[str, float],
    utility: Mapping[str, float | list[float]],
    privacy: Mapping[str, float],
    plan: str,
    *,
    ended: bool,
) -> None:
    """Writes the file anew, whole or not at all.

    Args:
        path: where.
        population: the data.
        game: its rules by name.
        defense: M with its settings.
        seconds: spent in each stage so far.
        utility: the model's metrics so far, shares in 0..1; with an interval as value, low, high.
        privacy: what training has spent, by name; empty without DP.
        plan: how gradients were computed.
        ended: whether nothing of it changes any more, as utility and privacy do in training.
    """
    run: dict[str, Any] = {
        "data": population.name,
        "standin": population.standin,
        "contents": population.contents,
        "trained_on": population.trained_on,
        "splits": {name: len(records) for name, records in population.splits.items()},
        "game": dict(game),
        "defense": defense,
        "gradients": plan,
        "ended": ended,
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "utility": dict(utility),
        "privacy": {name: _number(value) for name, value in privacy.items()},
        "versions": {"leakage": __version__, "python": platform.python_version()}
        | {
            library: version(library) for library in (*_LIBRARIES, *(_ACCOUNTED if privacy else ()))
        },
    }
    write_whole(path, json.dumps(run, indent=2) + "\n")


def _number(value: float) -> float | str:
    """A number that JSON has, or the name of one that it lacks."""
    return value if math.isfinite(value) else str(value)
